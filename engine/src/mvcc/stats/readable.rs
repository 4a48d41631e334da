//! What can be read of a key space, in whatever state its tree is: records as they stand on pages, one page at a time.

use rayon::prelude::*;

use super::{
    Amount, MAX_PREFIXES, PrefixUse, Tally,
    prefix::{Grouping, Table},
    timeline::{History, Stretch, Timeline},
};
use crate::{
    bolt::{
        Bucket, Db, Item, Leaf, PageId,
        bucket::Root,
        layout,
        map::{PageMap, PageUse},
        page::Node,
    },
    mvcc::Record,
    progress::{Interrupted, Progress},
    schema::bucket,
};

/// Pages looked at by one thread before the next.
const PART: u64 = 4096;
/// Parts held at a time.
const WAVE: usize = 64;

/// Records that could be read.
#[derive(Clone, Debug, Default)]
pub struct Readable<'a> {
    /// All of them.
    pub records: Amount,
    /// Elements that are no records, and pages of the bucket that could not be read.
    pub unreadable: u64,
    /// By prefix, in key order. Whether a record is its key's newest is not asked: all count as live.
    pub prefixes: Vec<PrefixUse<'a>>,
    /// When they were written.
    pub timeline: Timeline,
}

/// Reads what can be read of bucket `key` of `db`, whose pages are as `map` says. Revisions beyond `newest` are left out
/// of the timeline, which has at most `stretches` of them ([`LEAST_STRETCHES`](super::LEAST_STRETCHES) where that is less).
///
/// # Errors
/// Only [`Interrupted`].
pub fn readable<'a>(
    db: &Db<'a>,
    map: &PageMap,
    grouping: &Grouping,
    newest: Option<i64>,
    stretches: usize,
    progress: &dyn Progress,
) -> Result<Readable<'a>, Interrupted> {
    let new = || Sum {
        newest: newest.unwrap_or(i64::MAX),
        records: Amount::default(),
        unreadable: 0,
        table: Table::new(grouping, MAX_PREFIXES),
        history: History::default(),
    };
    let mut sum = new();
    let number = map
        .buckets()
        .iter()
        .position(|found| found.parent == Some(0) && found.name == bucket::KEY.as_bytes());
    progress.begin("read", db.bytes_in_file());
    if let Some(number) = number {
        let number = u16::try_from(number).unwrap_or(u16::MAX);
        let parts: Vec<u64> = (0..map.len().div_ceil(PART)).collect();
        for wave in parts.chunks(WAVE) {
            let read: Vec<Sum<'a>> = wave
                .par_iter()
                .map(|part| {
                    let mut sum = new();
                    for id in part * PART..(part * PART + PART).min(map.len()) {
                        if progress.interrupted() {
                            break;
                        }
                        sum.page(db, PageId(id), map.usage(PageId(id)), number);
                    }
                    progress.advance(PART * db.page_size());
                    sum
                })
                .collect();
            progress.go_on()?;
            read.into_iter().for_each(|part| sum.join(part));
        }
        // A bucket of a few records stands in the page that names it.
        if let Ok(Some(found)) = db.root().bucket(bucket::KEY.as_bytes())
            && let Root::Inline(leaf) = Bucket::root(&found)
        {
            sum.leaf(leaf);
        }
    }
    let (prefixes, _) = sum.table.finish();
    Ok(Readable {
        records: sum.records,
        unreadable: sum.unreadable,
        prefixes,
        timeline: sum.history.finish(stretches),
    })
}

struct Sum<'a> {
    newest: i64,
    records: Amount,
    unreadable: u64,
    table: Table<'a>,
    history: History,
}

impl<'a> Sum<'a> {
    fn page(&mut self, db: &Db<'a>, id: PageId, usage: Option<PageUse>, bucket: u16) {
        let damaged = match usage {
            Some(PageUse::Leaf(of)) if of == bucket => false,
            Some(PageUse::Damaged(of)) if of == bucket => true,
            _ => return,
        };
        match db.node(id) {
            Ok(Node::Leaf(leaf)) => self.leaf(leaf),
            _ => self.unreadable += u64::from(damaged),
        }
    }

    fn leaf(&mut self, leaf: Leaf<'a>) {
        self.unreadable += leaf.count().saturating_sub(leaf.disjoint()) as u64;
        for item in leaf.items().take(leaf.disjoint()) {
            let read = item.ok().is_some_and(|item| self.record(&item));
            self.unreadable += u64::from(!read);
        }
    }

    fn record(&mut self, item: &Item<'a>) -> bool {
        let Ok(record) = Record::decode(item) else { return false };
        let bytes = (layout::ELEMENT + item.key.len() + item.value.len()) as u64;
        let amount = Amount { records: 1, bytes };
        self.records.add(amount);
        self.table.add(record.kv.key, &Tally { live: amount, ..Tally::default() });
        let deletes = u64::from(record.key.tombstone);
        if record.key.revision.main <= self.newest {
            let stretch = Stretch { puts: 1 - deletes, deletions: deletes, bytes };
            self.history.add(record.key.revision.main, stretch);
        }
        true
    }

    fn join(&mut self, other: Sum<'a>) {
        self.records.add(other.records);
        self.unreadable += other.unreadable;
        self.table.join(&other.table);
        self.history.join(other.history);
    }
}
