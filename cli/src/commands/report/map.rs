//! The page map: a square for each page, or, where squares would be too small to be told apart, strips in file order with
//! the shares of what their pages are.

use std::fmt::Write as _;

use etcdsnap_engine::{
    bolt::map::{PageMap, PageUse},
    schema::bucket,
};

/// Squares at most: on a telephone more could not be told apart.
const SQUARES: u64 = 2048;
/// Strips at most.
const STRIPS: u64 = 128;
/// Height of a strip.
const HEIGHT: u64 = 1000;
/// The least share of a strip that is drawn for what must be seen.
const SEEN: f64 = 0.04;
/// Greatest number of squares in a row.
const WIDEST: u64 = 128;
/// Side of a square; the rest of one is the gap.
const SIDE: &str = "h.88v.88h-.88z";

/// What a page can be.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Kind {
    /// Class in the style sheet, behind `c-` and `b-`.
    pub class: &'static str,
    /// What it is, for people.
    pub name: &'static str,
}

/// From what is the least telling, at the bottom of a strip, to what must be seen.
const KINDS: [Kind; 10] = [
    Kind { class: "free", name: "free" },
    Kind { class: "key", name: "leaf of bucket key" },
    Kind { class: "key-more", name: "large value, continued" },
    Kind { class: "key-branch", name: "branch of bucket key" },
    Kind { class: "other", name: "leaf of another bucket" },
    Kind { class: "other-branch", name: "branch of another bucket" },
    Kind { class: "meta", name: "meta or freelist" },
    Kind { class: "lost", name: "unreachable" },
    Kind { class: "bad", name: "damaged" },
    Kind { class: "gone", name: "beyond the end of the file" },
];
const FREE: usize = 0;
const LOST: usize = 7;
const BAD: usize = 8;
const GONE: usize = 9;

/// A picture of a page map.
pub struct Picture {
    /// Whether each cell is a strip with the shares of its pages, and not a square for one page.
    pub shares: bool,
    /// Cells in a row.
    pub columns: u64,
    /// Height in its own units: rows of squares, or [`HEIGHT`].
    pub height: u64,
    /// Pages in a cell.
    pub per: u64,
    /// Pages in the file and those that are missing.
    pub pages: u64,
    /// Kinds that occur with where they are, as the path of an SVG, and how many pages are of that kind.
    pub layers: Vec<(Kind, String, u64)>,
    /// The cells in order. Of squares a letter a kind and how often it comes; of strips the letter of each kind in it and
    /// how many pages are of that kind.
    pub cells: String,
}

/// Pages of each kind in a cell.
type Cell = [u64; KINDS.len()];

impl Picture {
    /// Of `map`, whose database should have `wanted` pages.
    pub fn new(map: &PageMap, wanted: u64) -> Self {
        let key = map
            .buckets()
            .iter()
            .position(|found| found.parent == Some(0) && found.name == bucket::KEY.as_bytes())
            .and_then(|key| u16::try_from(key).ok());
        // What a damaged meta claims is missing may be anything.
        let missing = wanted.saturating_sub(map.len()).min(map.len().max(64));
        let runs = map.runs().map(|run| (kind_of(run.usage, key), run.pages));
        Self::of_runs(runs.chain([(GONE, missing)]), map.len().saturating_add(missing))
    }

    /// Of runs of pages of a kind, `pages` in all.
    fn of_runs(runs: impl Iterator<Item = (usize, u64)>, pages: u64) -> Self {
        let shares = pages > SQUARES;
        let per = if shares { pages.div_ceil(STRIPS) } else { 1 };
        let mut totals: Cell = [0; KINDS.len()];
        let (mut cells, mut cell, mut filled) = (Vec::new(), totals, 0);
        for (kind, mut pages) in runs {
            if let Some(total) = totals.get_mut(kind) {
                *total += pages;
            }
            while pages > 0 {
                let now = pages.min(per - filled);
                if let Some(count) = cell.get_mut(kind) {
                    *count += now;
                }
                (filled, pages) = (filled + now, pages - now);
                if filled == per {
                    cells.push(std::mem::take(&mut cell));
                    filled = 0;
                }
            }
        }
        if filled > 0 {
            cells.push(cell);
        }
        let count = cells.len() as u64;
        let columns = if shares {
            count
        } else {
            ((count as f64 * 2.7).sqrt().ceil() as u64).clamp(16, WIDEST)
        };
        let (paths, text) = if shares { strips(&cells) } else { squares(&cells, columns) };
        let layers = KINDS.into_iter().zip(paths).zip(totals);
        Picture {
            shares,
            columns,
            height: if shares { HEIGHT } else { count.div_ceil(columns) },
            per,
            pages,
            layers: layers
                .filter(|(_, total)| *total > 0)
                .map(|((kind, path), total)| (kind, path, total))
                .collect(),
            cells: text,
        }
    }

    /// The column and row of the cell of page `page`. `None` when it is not in the picture.
    pub fn cell(&self, page: u64) -> Option<(u64, u64)> {
        let cell = page.checked_div(self.per).filter(|_| page < self.pages)?;
        Some((cell.checked_rem(self.columns)?, cell.checked_div(self.columns)?))
    }
}

/// The names of all kinds, in the order of their letters.
pub fn names() -> Vec<&'static str> {
    KINDS.iter().map(|kind| kind.name).collect()
}

fn letter(kind: usize) -> char {
    u8::try_from(kind).map_or('a', |kind| char::from(b'a'.saturating_add(kind)))
}

/// Writing to a String cannot fail.
fn push(out: &mut String, text: std::fmt::Arguments<'_>) {
    let _ = out.write_fmt(text);
}

/// The squares of each kind, and their runs.
fn squares(cells: &[Cell], columns: u64) -> (Vec<String>, String) {
    let mut paths = vec![String::new(); KINDS.len()];
    let kind_of = |cell: &Cell| cell.iter().position(|count| *count > 0).unwrap_or(FREE);
    let kinds: Vec<usize> = cells.iter().map(kind_of).collect();
    for (number, kind) in (0_u64..).zip(&kinds) {
        if let Some(path) = paths.get_mut(*kind) {
            push(path, format_args!("M{} {}{SIDE}", number % columns, number / columns));
        }
    }
    let mut text = String::new();
    for run in kinds.chunk_by(|one, next| one == next) {
        let Some(kind) = run.first() else { continue };
        let gap = if text.is_empty() { "" } else { " " };
        push(&mut text, format_args!("{gap}{}", letter(*kind)));
        if run.len() > 1 {
            push(&mut text, format_args!("{}", run.len()));
        }
    }
    (paths, text)
}

/// The areas of each kind, stacked in strips one unit wide, and what is in each strip.
fn strips(cells: &[Cell]) -> (Vec<String>, String) {
    let stacks: Vec<[u64; KINDS.len()]> = cells.iter().map(stack).collect();
    let mut paths = vec![String::new(); KINDS.len()];
    for (kind, path) in paths.iter_mut().enumerate() {
        // An area reaches from where the kinds below it end.
        let ends = |stack: &[u64; KINDS.len()]| {
            let below = kind.checked_sub(1).and_then(|below| stack.get(below)).copied();
            let above = stack.get(kind).copied().unwrap_or(HEIGHT);
            (HEIGHT.saturating_sub(above), HEIGHT.saturating_sub(below.unwrap_or(0)))
        };
        for (x, (top, bottom)) in stacks.iter().map(ends).enumerate() {
            if top < bottom {
                push(path, format_args!("M{x} {top}h1V{bottom}h-1z"));
            }
        }
    }
    let mut text = String::new();
    for (number, cell) in cells.iter().enumerate() {
        if number > 0 {
            text.push(' ');
        }
        for (kind, count) in cell.iter().enumerate().filter(|(_, count)| **count > 0) {
            push(&mut text, format_args!("{}{count}", letter(kind)));
        }
    }
    (paths, text)
}

/// Up to where each kind reaches in a strip, from the bottom. What must be seen is never too small to be seen.
fn stack(cell: &Cell) -> [u64; KINDS.len()] {
    let total = cell.iter().sum::<u64>().max(1) as f64;
    let weight = |(kind, count): (usize, &u64)| match *count as f64 / total {
        share if *count > 0 && [BAD, GONE, LOST].contains(&kind) => share.max(SEEN),
        share => share,
    };
    let weights: Vec<f64> = cell.iter().enumerate().map(weight).collect();
    let sum: f64 = weights.iter().sum();
    let mut reached = 0.0;
    let mut ends = [0; KINDS.len()];
    for (end, weight) in ends.iter_mut().zip(weights) {
        reached += weight;
        *end = if sum > 0.0 { (reached / sum * HEIGHT as f64).round() as u64 } else { 0 };
    }
    ends
}

fn kind_of(usage: PageUse, key: Option<u16>) -> usize {
    match usage {
        PageUse::Free => FREE,
        PageUse::Leaf(of) if Some(of) == key => 1,
        PageUse::Overflow(of) if Some(of) == key => 2,
        PageUse::Branch(of) if Some(of) == key => 3,
        PageUse::Leaf(_) | PageUse::Overflow(_) => 4,
        PageUse::Branch(_) => 5,
        PageUse::Meta | PageUse::Freelist => 6,
        PageUse::Unreachable => LOST,
        PageUse::Damaged(_) => BAD,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const KEY: usize = 1;

    fn counts(picture: &Picture) -> u64 {
        picture.layers.iter().map(|(_, _, pages)| pages).sum()
    }

    #[test]
    fn a_small_file_has_a_square_for_each_page() {
        let picture = Picture::of_runs([(6, 2), (KEY, 90), (FREE, 8)].into_iter(), 100);
        assert!(!picture.shares);
        assert_eq!((picture.per, picture.columns, picture.height), (1, 17, 6));
        assert_eq!(picture.cells, "g2 b90 a8");
        assert_eq!(counts(&picture), 100);
        assert_eq!((picture.cell(18), picture.cell(100)), (Some((1, 1)), None));
    }

    #[test]
    fn a_large_file_shows_shares_in_which_a_single_damaged_page_is_seen() {
        let runs = [(6, 2), (KEY, 99_998), (BAD, 1), (KEY, 29_999), (FREE, 20_000)];
        let picture = Picture::of_runs(runs.into_iter(), 150_000);
        assert!(picture.shares);
        assert_eq!((picture.per, picture.columns, picture.height), (1172, 128, HEIGHT));
        assert_eq!(counts(&picture), 150_000);
        let strips: Vec<&str> = picture.cells.split(' ').collect();
        assert_eq!((strips.len(), strips[0]), (128, "b1170g2"));
        let (damaged, _) = picture.cell(100_000).unwrap();
        assert_eq!(strips[damaged as usize], "b1171i1");
        let bad = picture.layers.iter().find(|(kind, _, _)| kind.class == "bad").unwrap();
        assert_eq!(bad.1, format!("M{damaged} 0h1V38h-1z"), "of 1000");
        // A few hundred rectangles and no wall of squares.
        let areas: usize =
            picture.layers.iter().map(|(_, path, _)| path.matches('z').count()).sum();
        assert!(areas < 140, "{areas}");
    }

    #[test]
    fn nothing_and_far_too_much_are_pictures_too() {
        let none = Picture::of_runs([].into_iter(), 0);
        assert_eq!((none.cell(0), none.cells.as_str()), (None, ""));
        let pages = u64::MAX / 2;
        let much = Picture::of_runs([(KEY, pages), (GONE, pages)].into_iter(), pages * 2);
        assert_eq!((much.columns, counts(&much)), (STRIPS, pages * 2));
        assert_eq!(much.cell(u64::MAX), None);
    }
}
