//! Who fills the file: bytes by prefix, live and historical, the largest values, the keys written most, and what
//! compaction and defragmentation would give back.
//!
//! One pass over the records builds the key index and adds up by key on the way, another lays out what a compaction
//! leaves, by the lengths of the elements alone; both in parallel. Memory beside the index is bounded: at most
//! [`MAX_PREFIXES`] prefixes are told apart. When there are more at the wanted depth, the depth is lowered until they
//! fit, for all of the key space and so independently of threads and of the order of records; [`Usage::depth`] says how
//! far it came.

mod most;
mod predict;
mod prefix;
mod readable;
mod tally;
mod timeline;

pub use predict::{Prediction, Rewritten};
pub use prefix::Grouping;
pub use readable::{Readable, readable};
pub use timeline::{LEAST_STRETCHES, Part, Stretch, Timeline};

use rayon::prelude::*;

use super::{Error, KeyIndex, KeySpace, Scan, index::cut, live::LiveElements};
use crate::{
    bolt::{Item, layout, walk::Subtree},
    progress::Progress,
    schema::{RecordKey, Store},
};
use predict::{Forecast, Sizes};
use tally::{Seen, Tallying};

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
    /// Of one record.
    fn of(item: &Item<'_>) -> Self {
        Self { records: 1, bytes: (layout::ELEMENT + item.key.len() + item.value.len()) as u64 }
    }

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
    let bytes = store.db().bytes_in_file();
    progress.begin("index", bytes);
    let tallying = || Tallying::new(&options.grouping);
    let (index, tallying) =
        KeyIndex::build_watched(space.bucket(), revision, Scan::Parallel, progress, tallying)?;
    let forecast = forecast(&space, &index, (revision, compaction), store, progress)?;
    let most = most::find(space.bucket(), &index, options.most)?;
    let (total, prefixes, depth) = tallying.finish(&index);
    Ok(Usage {
        revision,
        compact_revision: space.compact_revision(),
        total,
        prefixes,
        depth,
        largest: most.largest,
        rewritten: most.rewritten,
        prediction: forecast.finish(store)?,
    })
}

/// Lays out all records and those that a compaction leaves, if there is something to compact; `index` shows the key space
/// at `revision`.
fn forecast<'a>(
    space: &KeySpace<'a>,
    index: &KeyIndex<'a, Seen>,
    (revision, compaction): (i64, Option<i64>),
    store: &Store<'a>,
    progress: &dyn Progress,
) -> Result<Forecast, Error> {
    let db = store.db();
    let newest = match compaction {
        None => None,
        Some(to) if to == revision => Some((to, LiveElements::new(db, index))),
        Some(to) => {
            let index = KeyIndex::build(space.bucket(), to, progress)?;
            Some((to, LiveElements::new(db, &index)))
        }
    };
    progress.begin("lay out", db.bytes_in_file());
    let mut forecast = Forecast::new(db, compaction)?;
    let Some(bucket) = space.bucket() else { return Ok(forecast) };
    let (parts, wave) = cut(bucket, Scan::Parallel);
    // Records stand in the order of their revisions: only the last parts have keys that need to be read.
    let late = newest.as_ref().map_or(parts.len(), |(to, _)| {
        parts.partition_point(|part| first_revision(part) < *to).saturating_sub(1)
    });
    let parts: Vec<(usize, Subtree<'a>)> = parts.into_iter().enumerate().collect();
    for wave in parts.chunks(wave) {
        let read: Vec<Result<Vec<Sizes>, Error>> = wave
            .par_iter()
            .map(|(at, part)| sizes(part, newest.as_ref(), *at >= late, progress))
            .collect();
        for sizes in read {
            forecast.take(&sizes?);
        }
    }
    Ok(forecast)
}

/// Main revision of the first record of `part`; where it cannot be read, the greatest there is.
fn first_revision(part: &Subtree<'_>) -> i64 {
    let first = part.items().next().and_then(Result::ok);
    first.and_then(|item| RecordKey::parse(item.key).ok()).map_or(i64::MAX, |key| key.revision.main)
}

/// The lengths of every record of `part` in order, and whether a compaction leaves it; `late` when some may be of its
/// revision or later.
fn sizes(
    part: &Subtree<'_>,
    newest: Option<&(i64, LiveElements)>,
    late: bool,
    progress: &dyn Progress,
) -> Result<Vec<Sizes>, Error> {
    let (mut sizes, mut done) = (Vec::new(), 0);
    for leaf in part.leaves() {
        let leaf = leaf?;
        progress.go_on()?;
        for item in leaf.items() {
            let item = item?;
            let stays = newest.is_none_or(|(to, live)| {
                live.contains(item.page, item.index)
                    || late && RecordKey::parse(item.key).is_ok_and(|key| at_least(key, *to))
            });
            sizes.push(Sizes::new(item.key.len(), item.value.len(), stays));
        }
        done += leaf.len_bytes();
    }
    progress.advance(done);
    Ok(sizes)
}

/// Whether a compaction to `to` leaves a record whatever its key has become: it is a later one, or a deletion at that
/// very revision, as etcd does.
fn at_least(key: RecordKey, to: i64) -> bool {
    key.revision.main > to || key.revision.main == to && key.tombstone
}
