//! What fills the file: shares, a treemap of prefixes, the largest and most written keys, buckets.

use std::cmp::Reverse;

use etcdsnap_engine::mvcc::stats::{KeyUse, Tally};
use maud::{Markup, html};

use super::{
    gather::{DbFacts, grouping},
    page::{grouped, several, strange},
    treemap::{Rect, squarified},
};
use crate::{
    commands::top::account,
    output::{bytes, for_terminal},
};

/// Groups of prefixes in the treemap.
const GROUPS: usize = 28;
/// Prefixes within a group.
const WITHIN: usize = 14;

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
            past: tally.history().bytes + tally.later.bytes,
            keys: tally.live.records,
        }
    }

    fn add(&mut self, other: Weight) {
        self.bytes += other.bytes;
        self.past += other.past;
        self.keys += other.keys;
    }
}

/// A rectangle of the treemap.
struct Tile {
    name: String,
    weight: Weight,
    /// Whether it holds no records.
    plain: bool,
    within: Vec<Tile>,
}

/// The section on space.
pub fn space(db: &DbFacts<'_>) -> Markup {
    let shares = shares(db);
    let total: u64 = shares.iter().map(|(_, _, bytes, _)| bytes).sum();
    html! {
        section #space {
            h2 { "Space" }
            p.lead {
                @match &db.usage {
                    Ok(_) => { "Every byte of the database, once. Live records are the newest ones of keys that exist; history is what a compaction removes; free pages go with a defragmentation." }
                    Err(why) => { (why) ". Shown is what can be read." }
                }
            }
            div.bar {
                @for (class, name, size, _) in &shares {
                    @if *size > 0 {
                        i class={ "b-" (class) } style={ "flex:" (size) } title={ (name) ": " (bytes(*size)) } {}
                    }
                }
            }
            ul.legend {
                @for (class, name, size, records) in &shares {
                    @if *size > 0 {
                        li {
                            i class={ "b-" (class) } {} (name) " "
                            span {
                                (bytes(*size)) ", " (percent(*size, total))
                                @if let Some(records) = records { ", " (several(*records, "record", "records")) }
                            }
                        }
                    }
                }
            }
            @if let Ok(usage) = &db.usage {
                @let prediction = &usage.prediction;
                ul.plain {
                    @if let Some(revision) = prediction.compaction {
                        li {
                            "Compacting to revision " (grouped(revision.unsigned_abs())) " would remove "
                            (several(prediction.removed.records, "record", "records")) " (" (bytes(prediction.removed.bytes))
                            "); with a defragmentation the file would have " b { (bytes(prediction.compacted.defragmented)) } "."
                        }
                    } @else { li { "History is compacted already." } }
                    li {
                        "A defragmentation alone would leave " b { (bytes(prediction.rewritten.defragmented)) }
                        " and give back " (bytes(prediction.bytes.saturating_sub(prediction.rewritten.defragmented))) "."
                    }
                }
            }
            (treemap(db, &shares))
        }
    }
}

fn percent(part: u64, total: u64) -> String {
    let share = part as f64 / total.max(1) as f64 * 100.0;
    if share >= 10.0 || share == 0.0 { format!("{share:.0}%") } else { format!("{share:.1}%") }
}

type Share = (&'static str, &'static str, u64, Option<u64>);

fn shares(db: &DbFacts<'_>) -> Vec<Share> {
    let size = db.store.db().page_size();
    let counts = db.map.counts();
    let pages = |count: u64| count.saturating_mul(size);
    match &db.usage {
        Ok(usage) => {
            let of = account(usage, &db.map, size);
            let total = &usage.total;
            vec![
                ("live", "live", of.live, Some(total.live.records)),
                ("past", "superseded", of.superseded, Some(total.superseded.records)),
                ("gone", "of deleted keys", of.deleted, Some(total.deleted.records)),
                ("other", "other buckets", of.other_buckets, None),
                ("frame", "structure", of.structure, None),
                ("slack", "unused in pages", of.slack, None),
                ("free", "free pages", of.free, None),
                ("lost", "unreachable pages", of.unreachable, None),
            ]
        }
        Err(_) => {
            let records = db.readable.records;
            let rest = [counts.free, counts.unreachable, counts.damaged].map(pages);
            let known = rest.iter().sum::<u64>().saturating_add(records.bytes);
            vec![
                ("live", "records that can be read", records.bytes, Some(records.records)),
                (
                    "frame",
                    "structure and other buckets",
                    pages(db.map.len()).saturating_sub(known),
                    None,
                ),
                ("free", "free pages", pages(counts.free), None),
                ("lost", "unreachable pages", pages(counts.unreachable), None),
                ("bad", "damaged pages", pages(counts.damaged), None),
            ]
        }
    }
}

/// Prefixes in two levels, and what is no record beside them.
fn tiles(db: &DbFacts<'_>, shares: &[Share]) -> (Vec<Tile>, String) {
    let prefixes = match &db.usage {
        Ok(usage) => &usage.prefixes,
        Err(_) => &db.readable.prefixes,
    };
    let grouping = grouping();
    let mut groups: Vec<Tile> = Vec::new();
    let mut group: &[u8] = b"";
    for one in prefixes {
        let outer = grouping.prefix_of(one.prefix, 2).unwrap_or_default();
        if groups.is_empty() || outer != group {
            group = outer;
            groups.push(Tile {
                name: named(outer),
                weight: Weight::default(),
                plain: false,
                within: Vec::new(),
            });
        }
        let Some(group) = groups.last_mut() else { continue };
        let weight = Weight::of(&one.tally);
        group.weight.add(weight);
        let rest = one.prefix.strip_prefix(outer).unwrap_or_default();
        let name = if rest.is_empty() { named(outer) } else { for_terminal(rest) };
        group.within.push(Tile { name, weight, plain: false, within: Vec::new() });
    }
    let common = common(&groups);
    for group in &mut groups {
        // Of names that all begin alike, what makes them differ.
        if let Some(rest) = group.name.get(common.len()..).filter(|rest| !rest.is_empty()) {
            group.name = rest.to_owned();
        }
    }
    let mut groups = largest(groups, GROUPS);
    for group in &mut groups {
        group.within = largest(std::mem::take(&mut group.within), WITHIN);
    }
    for (class, name, size, _) in shares {
        if *size > 0 && matches!(*class, "other" | "frame" | "slack" | "free" | "lost" | "bad") {
            let weight = Weight { bytes: *size, ..Weight::default() };
            groups.push(Tile { name: (*name).to_owned(), weight, plain: true, within: Vec::new() });
        }
    }
    groups.sort_by_key(|tile| Reverse(tile.weight.bytes));
    (groups, common)
}

/// What all names begin with, up to a separator; nothing when there is but one.
fn common(groups: &[Tile]) -> String {
    let [first, rest @ ..] = groups else { return String::new() };
    let mut common = if rest.is_empty() { "" } else { first.name.as_str() };
    for other in rest {
        while !other.name.starts_with(common) {
            let shorter = common.get(..common.len().saturating_sub(1)).unwrap_or_default();
            common = common.get(..shorter.rfind('/').map_or(0, |at| at + 1)).unwrap_or_default();
        }
    }
    common.to_owned()
}

fn named(prefix: &[u8]) -> String {
    if prefix.is_empty() { "(no prefix)".to_owned() } else { for_terminal(prefix) }
}

/// The largest of `tiles`, the largest first, and one for all others.
fn largest(mut tiles: Vec<Tile>, most: usize) -> Vec<Tile> {
    // Sorting keeps the order of equal ones, which is that of their keys.
    tiles.sort_by_key(|tile| Reverse(tile.weight.bytes));
    if tiles.len() > most {
        let rest = tiles.split_off(most - 1);
        let mut weight = Weight::default();
        rest.iter().for_each(|tile| weight.add(tile.weight));
        let name = format!("{} more", grouped(rest.len() as u64));
        tiles.push(Tile { name, weight, plain: false, within: Vec::new() });
        tiles.sort_by_key(|tile| Reverse(tile.weight.bytes));
    }
    tiles
}

fn treemap(db: &DbFacts<'_>, shares: &[Share]) -> Markup {
    let (tiles, common) = tiles(db, shares);
    let weights: Vec<u64> = tiles.iter().map(|tile| tile.weight.bytes).collect();
    let total: u64 = weights.iter().sum();
    if total == 0 {
        return html! {};
    }
    html! {
        // Shapes that are square on a wide screen are not on a narrow one: each has its own.
        @for (class, aspect) in [("tree wide-only", 2.4), ("tree narrow-only", 0.68)] {
            div class=(class) {
                @for (tile, rect) in tiles.iter().zip(squarified(&weights, aspect)) {
                    // Large groups show what is in them.
                    @let open = tile.within.len() > 1 && rect.w * rect.h > 300.0 && rect.h > 12.0;
                    (rectangle(tile, rect, open, aspect, total))
                }
            }
        }
        ul.legend {
            li { i.b-tile {} "prefixes of keys" @if common.len() > 1 { span { " below " bdi { (common) } } } }
            @if db.usage.is_ok() { li { i.b-past {} "the part of it that is history" } }
            li { i.b-free {} "no records" }
        }
    }
}

fn rectangle(tile: &Tile, rect: Rect, open: bool, aspect: f64, total: u64) -> Markup {
    let Rect { x, y, w, h } = rect;
    let Weight { bytes: size, past, keys } = tile.weight;
    let place = format!("left:{x:.3}%;top:{y:.3}%;width:{w:.3}%;height:{h:.3}%");
    let mut about = format!("{}: {}, {}", tile.name, bytes(size), percent(size, total));
    if keys > 0 {
        about += &format!(", {}", several(keys, "key", "keys"));
    }
    if past > 0 {
        about += &format!(", {} of it history", bytes(past));
    }
    html! {
        div.g style=(place) title=(about) {
            div.plainer[tile.plain] {
                @if open {
                    div.title { bdi { (tile.name) } " " (bytes(size)) }
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
                    div.n { span { bdi { (tile.name) } } small { (bytes(size)) } }
                }
            }
        }
    }
}

/// The section on single keys.
pub fn keys(db: &DbFacts<'_>) -> Markup {
    let Ok(usage) = &db.usage else { return html! {} };
    if usage.largest.is_empty() {
        return html! {};
    }
    let most = usage.largest.first().map_or(1, |of| of.value_bytes);
    let often = usage.rewritten.first().map_or(1, |of| of.version.unsigned_abs());
    html! {
        section #keys {
            h2 { "Keys" }
            p.lead { "Of those that exist." }
            div.two {
                div {
                    h3 { "Largest values" }
                    ol.rank { @for of in &usage.largest { (ranked(of, bytes(of.value_bytes), of.value_bytes, most)) } }
                }
                div {
                    h3 { "Written most since their creation" }
                    ol.rank.past {
                        @for of in &usage.rewritten {
                            (ranked(of, grouped(of.version.unsigned_abs()), of.version.unsigned_abs(), often))
                        }
                    }
                }
            }
        }
    }
}

fn ranked(of: &KeyUse<'_>, shown: String, number: u64, most: u64) -> Markup {
    let share = number as f64 / most.max(1) as f64 * 100.0;
    html! {
        li {
            div.row {
                span.key { (strange(&of.key[..of.key.len().min(512)])) @if of.key.len() > 512 { "…" } }
                b { (shown) }
            }
            div.m { i style={ "width:" (format!("{share:.1}")) "%" } {} }
        }
    }
}

/// The section on buckets.
pub fn buckets(db: &DbFacts<'_>) -> Markup {
    let size = db.store.db().page_size();
    let all = db.map.buckets();
    html! {
        section #buckets {
            h2 { "Buckets" }
            p.lead { "What bbolt keeps: a tree of pages each, or, of small ones, a place in the page that names them." }
            div.scroll {
                table {
                    thead { tr { th { "Bucket" } th.num { "Elements" } th.num { "Pages" } th.num { "Filled" } th.num { "Depth" } th.num { "Damaged" } } }
                    tbody {
                        @for (number, of) in all.iter().enumerate().take(64) {
                            @let used = of.branch_used + of.leaf_used;
                            tr {
                                td { @if of.parent.is_none() { i { "names of buckets" } } @else { (strange(&db.map.path(number).join(&b'/'))) } }
                                td.num { (grouped(of.elements)) }
                                td.num { @if of.is_inline() { "inline" } @else { (grouped(of.physical())) } }
                                td.num { @if of.is_inline() || of.physical() == 0 { "" } @else { (percent(used, of.physical() * size)) } }
                                td.num { @if of.depth > 0 { (of.depth) } }
                                td.num { @if of.damaged_pages > 0 { span.no { (grouped(of.damaged_pages)) } } }
                            }
                        }
                    }
                }
            }
            @if all.len() > 64 { p.lead { "and " (all.len() - 64) " more" } }
        }
    }
}
