//! The treemap: prefixes of keys in two levels, as large as their records, and what holds no records beside them.

use std::cmp::Reverse;

use etcdsnap_engine::mvcc::stats::{PrefixUse, Tally};
use maud::{Markup, html};

use super::{
    gather::{DbFacts, grouping},
    keys::ranked,
    space::Share,
    text::{grouped, percent, several, short},
    treemap::{Rect, squarified},
};
use crate::output::bytes;

/// Groups of prefixes, and how many more there may be when what is left over would be larger than the largest.
const GROUPS: (usize, usize) = (28, 160);
/// The same of the prefixes within a group.
const WITHIN: (usize, usize) = (14, 60);
/// Prefixes that are listed.
const LISTED: usize = 12;

/// Bytes of something, and of them what is history.
#[derive(Clone, Copy, Default)]
struct Weight {
    bytes: u64,
    past: u64,
    keys: u64,
}

impl Weight {
    fn of(tally: &Tally) -> Self {
        Self {
            bytes: tally.bytes(),
            past: tally.history().bytes.saturating_add(tally.later.bytes),
            keys: tally.live.records,
        }
    }

    fn add(&mut self, other: Weight) {
        self.bytes = self.bytes.saturating_add(other.bytes);
        self.past = self.past.saturating_add(other.past);
        self.keys = self.keys.saturating_add(other.keys);
    }
}

/// What a rectangle stands for.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Kind {
    /// A prefix.
    Prefix,
    /// So many prefixes that are too small to be drawn one by one; it has no name.
    Rest(usize),
    /// Bytes that are no records.
    Plain,
}

/// A rectangle of the treemap.
struct Tile {
    /// What stands in it.
    label: String,
    /// What it is in full.
    name: String,
    kind: Kind,
    weight: Weight,
    within: Vec<Tile>,
}

impl Tile {
    fn prefix(label: String, prefix: &[u8], weight: Weight) -> Self {
        Self { label, name: named(prefix), kind: Kind::Prefix, weight, within: Vec::new() }
    }
}

/// The treemap, its legend and the largest prefixes; nothing when there is nothing to show.
pub fn tiles(db: &DbFacts<'_>, shares: &[Share]) -> Markup {
    let prefixes = match &db.usage {
        Ok(usage) => &usage.prefixes,
        Err(_) => &db.readable.prefixes,
    };
    let (mut groups, below) = groups(prefixes);
    groups = largest(groups, GROUPS);
    for group in &mut groups {
        let all = group.within.len();
        group.within = largest(std::mem::take(&mut group.within), WITHIN);
        // What shows little but what is left over is better shown as one.
        if group.within.first().is_some_and(|first| matches!(first.kind, Kind::Rest(_))) {
            group.within.clear();
        }
        if group.kind == Kind::Prefix && all > 1 {
            group.name += &format!(" with {} below it", several(all as u64, "prefix", "prefixes"));
        }
    }
    let rest = groups.iter().find(|tile| matches!(tile.kind, Kind::Rest(_)));
    let rest = rest.map(|tile| about(tile, None));
    for share in shares.iter().filter(|share| share.is_plain() && share.bytes > 0) {
        let weight = Weight { bytes: share.bytes, ..Weight::default() };
        let (label, name) = (share.name.to_owned(), share.name.to_owned());
        groups.push(Tile { label, name, kind: Kind::Plain, weight, within: Vec::new() });
    }
    groups.sort_by_key(|tile| Reverse(tile.weight.bytes));
    let weights: Vec<u64> = groups.iter().map(|tile| tile.weight.bytes).collect();
    let total = weights.iter().fold(0_u64, |sum, weight| sum.saturating_add(*weight));
    if total == 0 {
        return html! {};
    }
    html! {
        // Shapes that are square on a wide screen are not on a narrow one: each has its own.
        @for (class, aspect) in [("tree wide-only", 2.4), ("tree narrow-only", 0.68)] {
            div class=(class) {
                @for (tile, rect) in groups.iter().zip(squarified(&weights, aspect)) {
                    // Large groups show what is in them.
                    @let open = tile.within.len() > 1 && rect.w * rect.h > 300.0 && rect.h > 12.0;
                    (rectangle(tile, rect, open, aspect, total))
                }
            }
        }
        ul.legend {
            li { i.b-tile {} "prefixes of keys" @if !below.is_empty() { span { " below " bdi { (short(below)) } } } }
            @if db.usage.is_ok() { li { i.b-past {} "the part of it that is history" } }
            @if let Some(rest) = rest { li { i.b-rest {} (rest) } }
            li { i.b-free {} "no records" }
        }
        (list(prefixes))
    }
}

/// The largest prefixes by name: in a tile there is not always room for one.
fn list(prefixes: &[PrefixUse<'_>]) -> Markup {
    let mut order: Vec<&PrefixUse<'_>> = prefixes.iter().collect();
    order.sort_by_key(|one| Reverse(one.tally.bytes()));
    let most = order.first().map_or(1, |one| one.tally.bytes());
    html! {
        @if order.len() > 1 {
            div.list {
                h3 { "Largest prefixes" @if order.len() > LISTED { ", the first " (LISTED) " of " (grouped(order.len() as u64)) } }
                ol.rank.columns {
                    @for one in order.iter().take(LISTED) {
                        @let prefix = if one.prefix.is_empty() { NO_PREFIX.as_bytes() } else { one.prefix };
                        (ranked(prefix, &bytes(one.tally.bytes()), one.tally.bytes(), most))
                    }
                }
            }
        }
    }
}

/// Prefixes in two levels, and what all of them begin with that is left out of their labels.
fn groups<'a>(prefixes: &[PrefixUse<'a>]) -> (Vec<Tile>, &'a [u8]) {
    let grouping = grouping();
    let outer = |one: &PrefixUse<'a>| grouping.prefix_of(one.prefix, 2).unwrap_or_default();
    let names: Vec<&[u8]> = prefixes.iter().map(outer).collect();
    // Keys without any separator have a group, too, in every Kubernetes.
    let named_ones: Vec<&[u8]> = names.iter().copied().filter(|name| !name.is_empty()).collect();
    let below = common(&named_ones);
    let mut groups: Vec<Tile> = Vec::new();
    let mut group: Option<&[u8]> = None;
    for (one, name) in prefixes.iter().zip(names) {
        if group != Some(name) {
            group = Some(name);
            // Of names that all begin alike, what makes them differ.
            let label = named(beyond(name, below.len()));
            groups.push(Tile::prefix(label, name, Weight::default()));
        }
        let Some(group) = groups.last_mut() else { continue };
        let weight = Weight::of(&one.tally);
        group.weight.add(weight);
        // With the separator, as all prefixes begin.
        let from = name.len().saturating_sub(usize::from(name.ends_with(b"/")));
        let label = named(beyond(one.prefix, from));
        group.within.push(Tile::prefix(label, one.prefix, weight));
    }
    (groups, below)
}

/// `prefix` from byte `from` on; all of it where no more than a separator is left.
fn beyond(prefix: &[u8], from: usize) -> &[u8] {
    prefix.get(from..).filter(|rest| rest.len() > 1).unwrap_or(prefix)
}

/// What all names begin with, up to a separator that is left to the names; nothing when there is but one.
fn common<'a>(names: &[&'a [u8]]) -> &'a [u8] {
    let (Some(first), Some(last)) = (names.first(), names.last()) else { return b"" };
    // In key order the first and the last differ the most.
    let alike = first.iter().zip(*last).take_while(|(one, other)| one == other).count();
    if alike == first.len() && alike == last.len() {
        return b"";
    }
    let alike = first.get(..alike).unwrap_or_default();
    let end = alike.iter().rposition(|byte| *byte == b'/').unwrap_or_default();
    alike.get(..end).unwrap_or_default()
}

const NO_PREFIX: &str = "(no prefix)";

fn named(prefix: &[u8]) -> String {
    if prefix.is_empty() { NO_PREFIX.to_owned() } else { short(prefix) }
}

/// The largest of `tiles`, the largest first, and one for all others: of `(usual, most)` as many as it takes for that not to
/// be the largest.
fn largest(mut tiles: Vec<Tile>, (usual, most): (usize, usize)) -> Vec<Tile> {
    // Sorting keeps the order of equal ones, which is that of their keys.
    tiles.sort_by_key(|tile| Reverse(tile.weight.bytes));
    let greatest = tiles.first().map_or(0, |tile| tile.weight.bytes);
    let mut left: u128 = tiles.iter().map(|tile| u128::from(tile.weight.bytes)).sum();
    let mut kept = 0;
    for tile in &tiles {
        if kept >= most || kept >= usual && left < greatest.into() {
            break;
        }
        left = left.saturating_sub(tile.weight.bytes.into());
        kept += 1;
    }
    let rest = tiles.split_off(kept.min(tiles.len()));
    if !rest.is_empty() {
        let mut weight = Weight::default();
        rest.iter().for_each(|tile| weight.add(tile.weight));
        let name = several(rest.len() as u64, "smaller prefix", "smaller prefixes");
        let kind = Kind::Rest(rest.len());
        tiles.push(Tile { label: String::new(), name, kind, weight, within: Vec::new() });
        tiles.sort_by_key(|tile| Reverse(tile.weight.bytes));
    }
    tiles
}

/// What a tile is, in a line; with its share where the whole is given.
fn about(tile: &Tile, total: Option<u64>) -> String {
    let Weight { bytes: size, past, keys } = tile.weight;
    let mut about = format!("{}: {}", tile.name, bytes(size));
    if let Some(total) = total {
        about += &format!(", {}", percent(size, total));
    }
    if keys > 0 {
        about += &format!(", {}", several(keys, "key", "keys"));
    }
    if past > 0 && total.is_some() {
        about += &format!(", {} of it history", bytes(past));
    }
    about
}

fn rectangle(tile: &Tile, rect: Rect, open: bool, aspect: f64, total: u64) -> Markup {
    let Rect { x, y, w, h } = rect;
    let Weight { bytes: size, past, .. } = tile.weight;
    let place = format!("left:{x:.3}%;top:{y:.3}%;width:{w:.3}%;height:{h:.3}%");
    let (plain, rest) = (tile.kind == Kind::Plain, matches!(tile.kind, Kind::Rest(_)));
    html! {
        div.g style=(place) title=(about(tile, Some(total))) {
            div.plainer[plain].rest[rest] {
                @if open {
                    div.title { span { bdi { (tile.label) } " " small { (bytes(size)) } } }
                    div.in {
                        @let weights: Vec<u64> = tile.within.iter().map(|tile| tile.weight.bytes).collect();
                        @for (inner, rect) in tile.within.iter().zip(squarified(&weights, w / h * aspect)) {
                            (rectangle(inner, rect, false, aspect, total))
                        }
                    }
                } @else {
                    @if past > 0 {
                        div.p style={ "height:" (format!("{:.2}", past as f64 / size.max(1) as f64 * 100.0)) "%" } {}
                    }
                    @if !rest {
                        div.n { span { bdi { (tile.label) } small { (bytes(size)) } } }
                    }
                }
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn tile(bytes: u64) -> Tile {
        Tile::prefix("/a/".to_owned(), b"/a/", Weight { bytes, ..Weight::default() })
    }

    #[test]
    fn what_is_left_over_is_not_the_largest_as_long_as_more_can_be_shown() {
        let mut tiles: Vec<Tile> = (0..112).map(|_| tile(10)).collect();
        tiles.push(tile(300));
        let shown = largest(tiles, (28, 160));
        assert!(shown.len() < 113);
        assert_eq!(shown.iter().map(|tile| tile.weight.bytes).sum::<u64>(), 1420);
        assert!(shown[0].kind == Kind::Prefix && shown[0].weight.bytes == 300);
        let left: Vec<&Tile> = shown.iter().filter(|tile| tile.kind != Kind::Prefix).collect();
        assert_eq!(left.len(), 1);
        assert!(left[0].kind == Kind::Rest(113 - (shown.len() - 1)) && left[0].label.is_empty());
        // Few have nothing left over, and thousands of equal ones no more than so many.
        assert_eq!(largest((0..28).map(tile).collect(), (28, 160)).len(), 28);
        let many = largest((0..5000).map(|_| tile(u64::MAX / 4)).collect(), (28, 160));
        assert_eq!(many.len(), 161);
    }

    #[test]
    fn labels_begin_as_prefixes_do() {
        let names = |names: &[&'static str]| -> Vec<&'static [u8]> {
            names.iter().map(|name| name.as_bytes()).collect()
        };
        let kube = names(&["/registry/leases/", "/registry/pods/"]);
        assert_eq!(common(&kube), b"/registry");
        assert_eq!(common(&names(&["/registry/pods/"])), b"");
        assert_eq!(common(&names(&["/registry/pods/", "/registry/pods/"])), b"");
        assert_eq!(common(&names(&["/a/", "/b/"])), b"");
        assert_eq!(common(&names(&["", "/b/"])), b"");
        assert_eq!(common(&names(&["a/b/", "a/c/"])), b"a");
        assert_eq!(common(&[]), b"");
        let tally = Tally::default();
        let prefixes = ["", "/r/pods/", "/r/pods/db/", "/r/pods/shop/", "/r/x/"];
        let prefixes = prefixes.map(|prefix| PrefixUse { prefix: prefix.as_bytes(), tally });
        let (groups, below) = groups(&prefixes);
        let labels: Vec<&str> = groups.iter().map(|group| group.label.as_str()).collect();
        assert_eq!((labels, below), (vec![NO_PREFIX, "/pods/", "/x/"], b"/r".as_slice()));
        let within: Vec<&str> = groups[1].within.iter().map(|tile| tile.label.as_str()).collect();
        assert_eq!(within, ["/r/pods/", "/db/", "/shop/"]);
    }
}
