//! What can be read of a key space, in whatever state its tree is: records as they stand on pages, one page at a time.

use std::collections::BTreeMap;

use rayon::prelude::*;

use super::{
    Amount, MAX_PREFIXES, PrefixUse, Tally,
    prefix::{Grouping, Table},
};
use crate::{
    bolt::{
        Bucket, Db, Error, Item, Leaf, PageId,
        bucket::Root,
        layout,
        map::{PageMap, PageUse},
        page::Node,
    },
    mvcc::Record,
    progress::Progress,
    schema::bucket,
};

/// Pages looked at by one thread before the next.
const PART: u64 = 4096;
/// Parts held at a time.
const WAVE: usize = 64;

/// What was written in a stretch of history.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Stretch {
    /// Records of puts.
    pub puts: u64,
    /// Records of deletions.
    pub deletions: u64,
    /// Bytes of both in their pages.
    pub bytes: u64,
}

impl Stretch {
    fn add(&mut self, other: Stretch) {
        self.puts += other.puts;
        self.deletions += other.deletions;
        self.bytes += other.bytes;
    }
}

/// Writes over revisions: stretches of equally many of them, one after the other.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Timeline {
    /// First revision of the first stretch.
    pub first: i64,
    /// Revisions in each stretch, a power of two.
    pub width: i64,
    /// The stretches; none when there are no records.
    pub stretches: Vec<Stretch>,
}

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
/// of the timeline, which has at most `stretches` of them (and two where that is less).
///
/// # Errors
/// Only [`Error::Interrupted`].
pub fn readable<'a>(
    db: &Db<'a>,
    map: &PageMap,
    grouping: &Grouping,
    newest: Option<i64>,
    stretches: usize,
    progress: &dyn Progress,
) -> Result<Readable<'a>, Error> {
    let most = stretches.max(2);
    let new = || Sum {
        newest: newest.unwrap_or(i64::MAX),
        records: Amount::default(),
        unreadable: 0,
        table: Table::new(grouping, MAX_PREFIXES),
        history: History { shift: 0, most, stretches: BTreeMap::new() },
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
            if progress.interrupted() {
                return Err(Error::Interrupted);
            }
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
        timeline: sum.history.finish(),
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

/// Stretches of `2^shift` revisions, as few of which as fit. How wide they are in the end depends on the first and the last
/// revision alone.
struct History {
    shift: u32,
    most: usize,
    stretches: BTreeMap<i64, Stretch>,
}

impl History {
    fn add(&mut self, revision: i64, stretch: Stretch) {
        self.stretches.entry(revision >> self.shift).or_default().add(stretch);
        self.fit();
    }

    fn fit(&mut self) {
        let span = |stretches: &BTreeMap<i64, Stretch>| {
            let ends = stretches.first_key_value().zip(stretches.last_key_value());
            ends.map_or(0, |((first, _), (last, _))| last.abs_diff(*first).saturating_add(1))
        };
        while span(&self.stretches) > self.most as u64 {
            self.widen(self.shift + 1);
        }
    }

    fn widen(&mut self, shift: u32) {
        let by = shift.saturating_sub(self.shift);
        if by > 0 {
            for (at, stretch) in std::mem::take(&mut self.stretches) {
                self.stretches.entry(at >> by).or_default().add(stretch);
            }
            self.shift = shift;
        }
    }

    fn join(&mut self, mut other: History) {
        let shift = self.shift.max(other.shift);
        self.widen(shift);
        other.widen(shift);
        for (at, stretch) in other.stretches {
            self.stretches.entry(at).or_default().add(stretch);
        }
        self.fit();
    }

    fn finish(self) -> Timeline {
        let ends = self.stretches.first_key_value().zip(self.stretches.last_key_value());
        let Some(((first, _), (last, _))) = ends else { return Timeline::default() };
        let stretch = |at| self.stretches.get(&at).copied().unwrap_or_default();
        Timeline {
            first: first << self.shift,
            width: 1 << self.shift,
            stretches: (*first..=*last).map(stretch).collect(),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn history(revisions: impl IntoIterator<Item = i64>) -> History {
        let mut history = History { shift: 0, most: 10, stretches: BTreeMap::new() };
        let put = Stretch { puts: 1, deletions: 0, bytes: 7 };
        revisions.into_iter().for_each(|revision| history.add(revision, put));
        history
    }

    #[test]
    fn a_history_is_the_same_in_any_parts_and_order() {
        let all = history(3..1000).finish();
        assert_eq!((all.first, all.width), (0, 128));
        assert_eq!(all.stretches.iter().map(|stretch| stretch.puts).sum::<u64>(), 997);
        assert_eq!(history((3..1000).rev()).finish(), all);
        for cut in [4, 50, 900, 999] {
            let mut joined = history(cut..1000);
            joined.join(history(3..cut));
            assert_eq!(joined.finish(), all, "{cut}");
        }
        assert_eq!(history([i64::MAX, 0]).finish().stretches.len(), 8);
        assert_eq!(history([]).finish(), Timeline::default());
    }
}
