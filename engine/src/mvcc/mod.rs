//! The key space: what the records of bucket `key` mean together. Knows no Kubernetes.
//!
//! Every record is one change of one key, and records stand in revision order. [`KeyIndex`] knows each
//! key's latest record at a revision; [`hash_kv`] is etcd's HashKV; [`rules`] judges the whole history:
//! revision after revision, one generation after another.

mod cut;
mod diff;
mod error;
mod hash;
mod index;
mod known;
mod live;
pub mod log;
mod record;
pub mod rules;
pub mod stats;
mod view;

pub use cut::{Cut, CutSummary, Fate, LeaseOrphans, Orphan, Part, Prefixes};
pub use diff::{Change, Diff, DiffCounts, Difference, Side};
pub use error::Error;
pub use hash::{HashKv, hash_kv};
pub use index::KeyIndex;
pub use record::Record;
pub use view::View;

use crate::{
    bolt::Bucket,
    schema::{MetaRecords, Store, bucket},
};

/// The key space of a database.
#[derive(Clone, Debug)]
pub struct KeySpace<'a> {
    bucket: Option<Bucket<'a>>,
    compact_revision: i64,
    current_revision: i64,
    last_record: i64,
}

impl<'a> KeySpace<'a> {
    /// The key space of `store`.
    ///
    /// # Errors
    /// When the page tree, the last record's key or a compaction mark is damaged.
    pub fn open(store: &Store<'a>) -> Result<Self, Error> {
        let meta = MetaRecords::read_sound(store)?;
        let bucket = store.bucket(bucket::KEY)?;
        let last_record = match bucket.as_ref().map(Bucket::last).transpose()?.flatten() {
            Some(item) => Record::key_of(&item)?.revision.main,
            None => 0,
        };
        let compact_revision = meta.compact_revision();
        let current_revision = last_record.max(compact_revision).max(1);
        Ok(Self { bucket, compact_revision, current_revision, last_record })
    }

    /// `revision` when it can be read, the newest one for `None` and 0.
    ///
    /// # Errors
    /// When it is compacted or in the future.
    pub fn readable(&self, revision: Option<i64>) -> Result<i64, Error> {
        let (compact_revision, current_revision) = (self.compact_revision, self.current_revision);
        match revision {
            None | Some(0) => Ok(current_revision),
            Some(revision) if revision < compact_revision => {
                Err(Error::Compacted { revision, compact_revision, current_revision })
            }
            Some(revision) if revision > current_revision => {
                Err(Error::Future { revision, compact_revision, current_revision })
            }
            Some(revision) => Ok(revision),
        }
    }

    /// `revision` when history can be compacted to it, as a server judges it.
    ///
    /// # Errors
    /// When it is compacted already or in the future.
    pub fn compactable(&self, revision: i64) -> Result<i64, Error> {
        let (compact_revision, current_revision) = (self.compact_revision, self.current_revision);
        // 0 would ask for the newest revision.
        if revision <= compact_revision.max(0) {
            return Err(Error::Compacted { revision, compact_revision, current_revision });
        }
        self.readable(Some(revision))
    }

    /// Bucket `key`; `None` when the file has none.
    pub fn bucket(&self) -> Option<&Bucket<'a>> {
        self.bucket.as_ref()
    }

    /// Revision up to which history is compacted, −1 when it never was.
    pub fn compact_revision(&self) -> i64 {
        self.compact_revision
    }

    /// The store's revision: of the last record or compaction mark, 1 for an empty store.
    pub fn current_revision(&self) -> i64 {
        self.current_revision
    }

    /// Revision of the last record, 0 when there is none: what `snapshot status` shows.
    pub fn last_record(&self) -> i64 {
        self.last_record
    }
}

/// How much of a scan may run side by side.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Scan {
    /// Parts of the tree side by side: for page trees known to be sound.
    Parallel,
    /// One run over all leaves. In a damaged tree, pages met twice and circles make the outcome depend on
    /// where a run begins, and so on the number of threads.
    InOrder,
}
