//! Who fills the file: bytes by prefix, live and historical, the largest values, the keys written most, and what
//! compaction and defragmentation would give back.
//!
//! One pass over the records builds the key index, another adds up, both in parallel. Memory beside the index is
//! bounded: at most [`MAX_PREFIXES`] prefixes are told apart. When there are more at the wanted depth, the depth is
//! lowered until they fit, for all of the key space and so independently of threads and of the order of records;
//! [`Usage::depth`] says how far it came.

mod predict;
mod prefix;
mod readable;

pub use predict::{Prediction, Rewritten};
pub use prefix::Grouping;
pub use readable::{Readable, Stretch, Timeline, readable};

use std::{cmp::Reverse, collections::BinaryHeap};

use rayon::prelude::*;

use super::{
    Error, KeyIndex, KeySpace, Record, Scan,
    index::{Standing, cut},
};
use crate::{
    bolt::{Error as BoltError, layout, walk::Subtree},
    progress::Progress,
    schema::Store,
};
use predict::{Forecast, Sizes};
use prefix::Table;

/// Prefixes that are told apart at most.
pub const MAX_PREFIXES: usize = 1 << 18;

/// What is asked for.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Options {
    /// How keys are put together.
    pub grouping: Grouping,
    /// The key space as of this revision; `None` for the newest.
    pub revision: Option<i64>,
    /// The revision a compaction is predicted for; `None` for the newest.
    pub compaction: Option<i64>,
    /// How many of the largest values and the keys written most are wanted.
    pub most: usize,
}

/// Records and the bytes they take in their pages: element, revision, and message with key and value.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord)]
pub struct Amount {
    /// Number of records.
    pub records: u64,
    /// Their bytes.
    pub bytes: u64,
}

impl Amount {
    fn add(&mut self, other: Amount) {
        self.records += other.records;
        self.bytes += other.bytes;
    }
}

/// Records by what has become of them.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Tally {
    /// The newest records of keys that exist: as many as there are keys.
    pub live: Amount,
    /// Older records of keys that exist.
    pub superseded: Amount,
    /// Records of keys that do not exist, their deletions among them.
    pub deleted: Amount,
    /// Records of later revisions than the one asked for.
    pub later: Amount,
}

impl Tally {
    /// All bytes.
    pub fn bytes(&self) -> u64 {
        self.live.bytes + self.superseded.bytes + self.deleted.bytes + self.later.bytes
    }

    /// All records.
    pub fn records(&self) -> u64 {
        self.live.records + self.superseded.records + self.deleted.records + self.later.records
    }

    /// Superseded and deleted records.
    pub fn history(&self) -> Amount {
        let mut history = self.superseded;
        history.add(self.deleted);
        history
    }

    /// Adds `other` to it.
    pub fn add(&mut self, other: &Tally) {
        self.live.add(other.live);
        self.superseded.add(other.superseded);
        self.deleted.add(other.deleted);
        self.later.add(other.later);
    }
}

/// The records of the keys that begin with a prefix.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct PrefixUse<'a> {
    /// The prefix.
    pub prefix: &'a [u8],
    /// The records.
    pub tally: Tally,
}

/// A key that exists, with what is known of its newest record.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct KeyUse<'a> {
    /// The key.
    pub key: &'a [u8],
    /// Bytes of its value.
    pub value_bytes: u64,
    /// How often it was written since it was created.
    pub version: i64,
    /// When it was created.
    pub create_revision: i64,
    /// When it was last written.
    pub mod_revision: i64,
}

/// What fills a key space.
#[derive(Clone, Debug)]
pub struct Usage<'a> {
    /// The revision it is of.
    pub revision: i64,
    /// Revision to which history is compacted, −1 when it never was.
    pub compact_revision: i64,
    /// All records of bucket `key`.
    pub total: Tally,
    /// By prefix, in key order.
    pub prefixes: Vec<PrefixUse<'a>>,
    /// Depth of the prefixes; less than was asked for where there would be more than [`MAX_PREFIXES`].
    pub depth: usize,
    /// The largest values, the largest first.
    pub largest: Vec<KeyUse<'a>>,
    /// The keys written most since they were created, the one written most first.
    pub rewritten: Vec<KeyUse<'a>>,
    /// What compaction and defragmentation would give back.
    pub prediction: Prediction,
}

/// Adds up the key space of `store`, whose page tree is sound.
///
/// # Errors
/// When a revision is compacted or in the future; when a page or a record is damaged.
pub fn usage<'a>(
    store: &Store<'a>,
    options: &Options,
    progress: &dyn Progress,
) -> Result<Usage<'a>, Error> {
    let space = KeySpace::open(store)?;
    let revision = space.readable(options.revision)?;
    let current = space.current_revision();
    // Where all history is compacted already, there is nothing left to compact.
    let compaction = match options.compaction {
        Some(revision) => Some(space.compactable(revision)?),
        None => (current > space.compact_revision().max(0)).then_some(current),
    };
    let bytes = store.db().size_bytes();
    progress.begin("index", bytes);
    let index = KeyIndex::build(space.bucket(), revision, progress)?;
    let at_compaction = match compaction {
        Some(to) if to != revision => Some(KeyIndex::build(space.bucket(), to, progress)?),
        _ => None,
    };
    progress.begin("add up", bytes);
    let pass = Pass {
        options,
        revision,
        compaction,
        index: &index,
        at_compaction: at_compaction.as_ref().unwrap_or(&index),
        progress,
    };
    let mut sum = Sum::new(options);
    let mut forecast = Forecast::new(store.db(), compaction)?;
    let (parts, wave) =
        space.bucket().map_or((Vec::new(), 1), |bucket| cut(bucket, Scan::Parallel));
    for wave in parts.chunks(wave) {
        let read: Vec<Result<Part<'a>, Error>> =
            wave.par_iter().map(|part| pass.read(part)).collect();
        for part in read {
            let part = part?;
            sum.join(part.sum);
            forecast.take(&part.sizes);
        }
    }
    let prediction = forecast.finish(store)?;
    let (prefixes, depth) = sum.table.finish();
    Ok(Usage {
        revision,
        compact_revision: space.compact_revision(),
        total: sum.total,
        prefixes,
        depth,
        largest: sum.largest.finish(),
        rewritten: sum.rewritten.finish(),
        prediction,
    })
}

/// What a part of the bucket adds.
struct Part<'a> {
    sum: Sum<'a>,
    /// Of each record in order.
    sizes: Vec<Sizes>,
}

struct Sum<'a> {
    total: Tally,
    table: Table<'a>,
    largest: Most<'a>,
    rewritten: Most<'a>,
}

impl<'a> Sum<'a> {
    fn new(options: &Options) -> Self {
        Self {
            total: Tally::default(),
            table: Table::new(&options.grouping, MAX_PREFIXES),
            largest: Most::new(options.most),
            rewritten: Most::new(options.most),
        }
    }

    fn join(&mut self, other: Sum<'a>) {
        self.total.add(&other.total);
        self.table.join(other.table);
        self.largest.join(other.largest);
        self.rewritten.join(other.rewritten);
    }
}

/// The keys with the greatest numbers; of equal ones those written first.
struct Most<'a> {
    most: usize,
    heap: BinaryHeap<Reverse<Ranked<'a>>>,
}

struct Ranked<'a> {
    rank: (u64, Reverse<i64>),
    key: KeyUse<'a>,
}

impl PartialEq for Ranked<'_> {
    fn eq(&self, other: &Self) -> bool {
        self.cmp(other).is_eq()
    }
}

impl Eq for Ranked<'_> {}

impl PartialOrd for Ranked<'_> {
    fn partial_cmp(&self, other: &Self) -> Option<std::cmp::Ordering> {
        Some(self.cmp(other))
    }
}

impl Ord for Ranked<'_> {
    fn cmp(&self, other: &Self) -> std::cmp::Ordering {
        // Two keys may be written in one revision.
        (self.rank, other.key.key).cmp(&(other.rank, self.key.key))
    }
}

impl<'a> Most<'a> {
    fn new(most: usize) -> Self {
        Self { most, heap: BinaryHeap::new() }
    }

    fn add(&mut self, number: u64, key: KeyUse<'a>) {
        self.push(Ranked { rank: (number, Reverse(key.mod_revision)), key });
    }

    fn push(&mut self, ranked: Ranked<'a>) {
        if self.heap.len() < self.most {
            self.heap.push(Reverse(ranked));
        } else if let Some(mut least) = self.heap.peek_mut()
            && least.0 < ranked
        {
            *least = Reverse(ranked);
        }
    }

    fn join(&mut self, other: Most<'a>) {
        other.heap.into_iter().for_each(|Reverse(ranked)| self.push(ranked));
    }

    fn finish(self) -> Vec<KeyUse<'a>> {
        self.heap.into_sorted_vec().into_iter().map(|Reverse(ranked)| ranked.key).collect()
    }
}

struct Pass<'a, 'p> {
    options: &'p Options,
    revision: i64,
    compaction: Option<i64>,
    /// At the revision.
    index: &'p KeyIndex<'a>,
    /// At the compaction.
    at_compaction: &'p KeyIndex<'a>,
    progress: &'p dyn Progress,
}

impl<'a> Pass<'a, '_> {
    fn read(&self, part: &Subtree<'a>) -> Result<Part<'a>, Error> {
        let (mut sum, mut sizes, mut done) = (Sum::new(self.options), Vec::new(), 0);
        for leaf in part.leaves() {
            let leaf = leaf?;
            if self.progress.interrupted() {
                return Err(BoltError::Interrupted.into());
            }
            for item in leaf.items() {
                let item = item?;
                let record = Record::decode(&item)?;
                let bytes = (layout::ELEMENT + item.key.len() + item.value.len()) as u64;
                let amount = Amount { records: 1, bytes };
                let main = record.key.revision.main;
                let standing = self.index.standing(&item, &record);
                let mut tally = Tally::default();
                *match standing {
                    _ if main > self.revision => &mut tally.later,
                    Standing::Newest => &mut tally.live,
                    Standing::Superseded => &mut tally.superseded,
                    Standing::Deleted => &mut tally.deleted,
                } = amount;
                sum.total.add(&tally);
                sum.table.add(record.kv.key, &tally);
                if tally.live.records > 0 {
                    let key = KeyUse {
                        key: record.kv.key,
                        value_bytes: record.kv.value.len() as u64,
                        version: record.kv.version,
                        create_revision: record.kv.create_revision,
                        mod_revision: record.kv.mod_revision,
                    };
                    sum.largest.add(key.value_bytes, key);
                    sum.rewritten.add(u64::try_from(key.version).unwrap_or_default(), key);
                }
                let stays = self.compaction.is_none_or(|to| {
                    main > to
                        || (main == to && record.key.tombstone)
                        || self.at_compaction.standing(&item, &record) == Standing::Newest
                });
                sizes.push(Sizes::new(item.key.len(), item.value.len(), stays));
            }
            done += leaf.len_bytes();
        }
        self.progress.advance(done);
        Ok(Part { sum, sizes })
    }
}
