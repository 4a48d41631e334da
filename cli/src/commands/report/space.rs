//! What fills the file: shares of all bytes, and what compaction and defragmentation would give back.

use maud::{Markup, html};

use super::{
    gather::DbFacts,
    page::Scope,
    text::{percent, revision, several},
    tiles,
};
use crate::{commands::top::account, output::bytes};

/// The section on space.
pub fn space(scope: &Scope, db: &DbFacts<'_>) -> Markup {
    let shares = shares(db);
    let total = shares.iter().fold(0_u64, |sum, share| sum.saturating_add(share.bytes));
    html! {
        section id=(scope.id("space")) {
            h2 { "Space" }
            p.lead {
                @match &db.usage {
                    Ok(_) => { "Every byte of the database, once. Live records are the newest ones of keys that exist; history is what a compaction removes; free pages go with a defragmentation." }
                    Err(why) => { (why) ". Shown is what can be read." }
                }
            }
            div.bar {
                @for share in &shares {
                    @if share.bytes > 0 {
                        i class={ "b-" (share.class) } style={ "flex:" (share.bytes) } title={ (share.name) ": " (bytes(share.bytes)) } {}
                    }
                }
            }
            ul.legend {
                @for share in &shares {
                    @if share.bytes > 0 {
                        li {
                            i class={ "b-" (share.class) } {} (share.name) " "
                            span {
                                (bytes(share.bytes)) ", " (percent(share.bytes, total))
                                @if let Some(records) = share.records { ", " (several(records, "record", "records")) }
                            }
                        }
                    }
                }
            }
            @if let Ok(usage) = &db.usage {
                @let prediction = &usage.prediction;
                ul.plain {
                    @if let Some(newest) = prediction.compaction {
                        li {
                            "Compacting to revision " (revision(newest)) " would remove "
                            (several(prediction.removed.records, "record", "records")) " (" (bytes(prediction.removed.bytes))
                            "); with a defragmentation the file would have " b { (bytes(prediction.compacted.defragmented)) } "."
                        }
                    } @else { li { "History is compacted already." } }
                    @let back = prediction.bytes.saturating_sub(prediction.rewritten.defragmented);
                    li {
                        @if back > 0 {
                            "A defragmentation alone would leave " b { (bytes(prediction.rewritten.defragmented)) } " and give back " (bytes(back)) "."
                        } @else { "A defragmentation alone would give back nothing." }
                    }
                }
            }
            (tiles::tiles(db, &shares))
        }
    }
}

/// Bytes of one kind.
pub struct Share {
    /// Class in the style sheet, behind `b-`.
    pub class: &'static str,
    /// What they are, for people.
    pub name: &'static str,
    /// How many.
    pub bytes: u64,
    /// Records among them, where they hold any.
    records: Option<u64>,
}

impl Share {
    fn new(class: &'static str, name: &'static str, bytes: u64) -> Self {
        Self { class, name, bytes, records: None }
    }

    fn records(self, records: u64) -> Self {
        Self { records: Some(records), ..self }
    }

    /// Whether these bytes are no records of keys.
    pub fn is_plain(&self) -> bool {
        self.records.is_none()
    }
}

fn shares(db: &DbFacts<'_>) -> Vec<Share> {
    let size = db.store.db().page_size();
    let counts = db.map.counts();
    let pages = |count: u64| count.saturating_mul(size);
    match &db.usage {
        Ok(usage) => {
            let of = account(usage, &db.map, size);
            let total = &usage.total;
            vec![
                Share::new("live", "live", of.live).records(total.live.records),
                Share::new("past", "superseded", of.superseded).records(total.superseded.records),
                Share::new("gone", "of deleted keys", of.deleted).records(total.deleted.records),
                Share::new("other", "other buckets", of.other_buckets),
                Share::new("frame", "structure", of.structure),
                Share::new("slack", "unused in pages", of.slack),
                Share::new("free", "free pages", of.free),
                Share::new("lost", "unreachable pages", of.unreachable),
            ]
        }
        Err(_) => {
            let records = db.readable.records;
            let rest = [counts.free, counts.unreachable, counts.damaged].map(pages);
            let known = rest.iter().fold(records.bytes, |sum, bytes| sum.saturating_add(*bytes));
            vec![
                Share::new("live", "records that can be read", records.bytes)
                    .records(records.records),
                Share::new(
                    "frame",
                    "structure and other buckets",
                    pages(db.map.len()).saturating_sub(known),
                ),
                Share::new("free", "free pages", pages(counts.free)),
                Share::new("lost", "unreachable pages", pages(counts.unreachable)),
                Share::new("bad", "damaged pages", pages(counts.damaged)),
            ]
        }
    }
}
