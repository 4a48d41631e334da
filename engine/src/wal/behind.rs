//! What stands behind the place where a log ends before its files do.

use super::Kind;
use super::log::{At, LoggedEntry};
use super::stretch::Stretch;
use crate::pb::{etcdserverpb::Metadata, raftpb::HardState, walpb::Snapshot};

/// Whole records at and behind the end of a log. Their checksums prove them, not that nothing is missing before them.
#[derive(Clone, Debug)]
pub struct Behind<'a> {
    /// Where the first of them starts.
    pub at: At,
    /// How many there are, of all kinds.
    pub records: u64,
    /// The entries among them, in the order in which they were written.
    pub entries: Vec<LoggedEntry<'a>>,
    /// Whose log it is, where nothing before the end of the log says so.
    pub metadata: Option<Metadata>,
    /// The last hard state among them.
    pub hard_state: Option<HardState>,
    /// The marks of snapshots among them, in order.
    pub snapshots: Vec<Snapshot>,
    /// Where they stand, in order.
    pub stretches: Vec<Stretch<'a>>,
    /// What could not be read before and between them, in order; the first is where the log ends.
    pub gaps: Vec<Gap>,
}

/// A place in a log that could not be read, with whole records behind it.
#[derive(Clone, Debug)]
pub struct Gap {
    /// Where it begins.
    pub from: At,
    /// Where the next record starts of which all is right.
    pub to: At,
    /// How many of [`Behind::entries`] stand before it.
    pub entries_before: usize,
    /// How many of [`Behind::stretches`] stand before it.
    pub stretches_before: usize,
    /// Entries that are lost in it; `None` when nobody can tell. 0 is proven: by a checksum, or by the kind of the only
    /// record in it. More is what the indexes on both sides say.
    pub lost: Option<u64>,
    /// What the only record in it is, where its length word or its checksum is wrong, and its data is proven by a
    /// checksum. It counts among the whole records.
    pub recovered: Option<Kind>,
}

/// What there is to say of [`Behind`].
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct BehindFacts {
    /// Where the first record starts.
    pub at: At,
    /// How many records there are, of all kinds.
    pub records: u64,
    /// How many of them are entries.
    pub entries: u64,
    /// The smallest and the greatest index of the entries.
    pub indexes: Option<(u64, u64)>,
    /// Entries that are lost before and between them; `None` when nobody can tell.
    pub lost: Option<u64>,
}

impl Behind<'_> {
    /// Index of the first entry written behind the end of the log.
    pub fn first_index(&self) -> Option<u64> {
        self.entries.first().map(|first| first.entry.index)
    }

    /// Index of the last entry written behind the end of the log.
    pub fn last_index(&self) -> Option<u64> {
        self.entries.last().map(|last| last.entry.index)
    }

    /// What there is to say of them.
    pub fn facts(&self) -> BehindFacts {
        let indexes = || self.entries.iter().map(|logged| logged.entry.index);
        BehindFacts {
            at: self.at,
            records: self.records,
            entries: self.entries.len() as u64,
            indexes: indexes().min().zip(indexes().max()),
            lost: self.lost(),
        }
    }

    /// Entries that are lost in all gaps; `None` when that is not known of one of them.
    pub fn lost(&self) -> Option<u64> {
        self.gaps.iter().try_fold(0u64, |sum, gap| sum.checked_add(gap.lost?))
    }
}

#[cfg(test)]
mod tests;
