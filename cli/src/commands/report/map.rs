//! The page map: a square for each page, or for as many as make the picture a few thousand squares.

use std::fmt::Write as _;

use etcdsnap_engine::{
    bolt::map::{PageMap, PageUse},
    schema::bucket,
};

/// Squares at most: more could not be told apart, and the page must stay small.
const MOST: u64 = 6144;
/// Greatest number of squares in a row.
const WIDEST: u64 = 128;
/// Side of a square; the rest of one is the gap.
const SIDE: &str = "h.88v.88h-.88z";

/// What a square shows.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Kind {
    /// Class in the style sheet, behind `c-` and `b-`.
    pub class: &'static str,
    /// What it is, for people.
    pub name: &'static str,
}

/// From what is the least telling to what must be seen: of several pages, damage shows.
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
    /// Squares in a row.
    pub columns: u64,
    /// Rows.
    pub rows: u64,
    /// Pages in a square.
    pub per: u64,
    /// Pages in the file and those that are missing.
    pub pages: u64,
    /// Kinds that occur with their squares, as the path of an SVG, and how many pages are of that kind.
    pub layers: Vec<(Kind, String, u64)>,
    /// The squares in order: a letter a kind and how often it comes.
    pub runs: String,
}

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
        let pages = map.len() + missing;
        let per = pages.div_ceil(MOST).max(1);
        let squares = pages.div_ceil(per);
        let columns = ((squares as f64 * 2.7).sqrt().ceil() as u64).clamp(16, WIDEST);
        let mut totals = [0_u64; KINDS.len()];
        let mut paths: Vec<String> = vec![String::new(); KINDS.len()];
        let (mut runs, mut last, mut length) = (String::new(), None, 0_u64);
        let mut square = [0_u64; KINDS.len()];
        let (mut number, mut filled) = (0, 0);
        let mut put = |square: &mut [u64; KINDS.len()], number: &mut u64| {
            let kind = shown(square);
            if let Some(path) = paths.get_mut(kind) {
                // Writing to a String cannot fail.
                let _ = write!(path, "M{} {}{SIDE}", *number % columns, *number / columns);
            }
            if last == Some(kind) {
                length += 1;
            } else {
                push_run(&mut runs, last, length);
                (last, length) = (Some(kind), 1);
            }
            *square = [0; KINDS.len()];
            *number += 1;
        };
        let of_file = map.runs().map(|run| (kind_of(run.usage, key), run.pages));
        for (kind, mut pages) in of_file.chain([(GONE, missing)]) {
            if let Some(total) = totals.get_mut(kind) {
                *total += pages;
            }
            while pages > 0 {
                let now = pages.min(per - filled);
                if let Some(count) = square.get_mut(kind) {
                    *count += now;
                }
                (filled, pages) = (filled + now, pages - now);
                if filled == per {
                    put(&mut square, &mut number);
                    filled = 0;
                }
            }
        }
        if filled > 0 {
            put(&mut square, &mut number);
        }
        push_run(&mut runs, last, length);
        let layers = KINDS.into_iter().zip(paths).zip(totals);
        let layers = layers.filter(|(_, total)| *total > 0);
        Picture {
            columns,
            rows: squares.div_ceil(columns),
            per,
            pages,
            layers: layers.map(|((kind, path), total)| (kind, path, total)).collect(),
            runs,
        }
    }

    /// Where page `page` is: the middle of its square. `None` when it is not in the picture.
    pub fn position(&self, page: u64) -> Option<(f64, f64)> {
        let square = page.checked_div(self.per).filter(|_| page < self.pages)?;
        let (x, y) = (square % self.columns, square / self.columns);
        Some((x as f64 + 0.44, y as f64 + 0.44))
    }
}

/// The names of all kinds, in the order of their letters.
pub fn names() -> Vec<&'static str> {
    KINDS.iter().map(|kind| kind.name).collect()
}

fn push_run(runs: &mut String, kind: Option<usize>, length: u64) {
    let Some(letter) = kind.and_then(|kind| u8::try_from(kind).ok()) else { return };
    if !runs.is_empty() {
        runs.push(' ');
    }
    runs.push(char::from(b'a' + letter));
    if length > 1 {
        *runs += &length.to_string();
    }
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

/// What a square with so many pages of each kind shows: damage, else what most are.
fn shown(square: &[u64; KINDS.len()]) -> usize {
    let has = |kind: usize| square.get(kind).is_some_and(|count| *count > 0);
    [BAD, GONE, LOST].into_iter().find(|kind| has(*kind)).unwrap_or_else(|| {
        let most = square.iter().enumerate().max_by_key(|(kind, count)| (**count, *kind));
        most.map_or(FREE, |(kind, _)| kind)
    })
}
