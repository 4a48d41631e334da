//! What was read from where, and what is lost or doubtful.

use crate::{
    bolt::{
        PageId,
        salvage::{Sizing, Why},
    },
    schema::{RecordKey, Revision},
};

/// A tree that was followed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Tree {
    /// The one that a valid meta names.
    OfMeta {
        /// Which meta page.
        slot: u8,
        /// Its transaction.
        txid: u64,
        /// Whether no other meta is newer; not when the other one is lost.
        newest: bool,
    },
    /// One whose root was recognised by its content.
    Recognised {
        /// The root page.
        root: PageId,
    },
    /// None: every record was recognised by itself.
    None,
}

/// Why a key may not be what the undamaged file had.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Doubt {
    /// Revisions behind its newest record are lost: it may be older than it was, or deleted.
    LaterLost,
    /// Its record comes from a page that no tree leads to and may have been compacted away.
    Unattached,
    /// Its record comes from a page that is free; taken because that was asked for.
    Freed,
    /// Two copies of its record differ.
    Conflict,
    /// Its value has zeros where a hole would be.
    Zeros,
    /// The WAL was applied to what is incomplete.
    Replayed,
}

impl Doubt {
    /// The stable word for scripts.
    pub fn as_str(self) -> &'static str {
        match self {
            Doubt::LaterLost => "later-lost",
            Doubt::Unattached => "unattached",
            Doubt::Freed => "freed",
            Doubt::Conflict => "conflict",
            Doubt::Zeros => "zeros",
            Doubt::Replayed => "replayed",
        }
    }
}

/// Neighbouring records that are doubtful for the same reason.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Run {
    /// The first.
    pub first: RecordKey,
    /// The last.
    pub last: RecordKey,
    /// Why.
    pub doubt: Doubt,
}

/// A place in the history where records may be missing.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Hole {
    /// The record before it; `None` for the beginning.
    pub after: Option<Revision>,
    /// The record behind it; `None` for the end of the history.
    pub before: Option<Revision>,
    /// Whether revisions between them are missing for certain.
    pub certain: bool,
}

/// Pages that should have been read and could not.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct LostPages {
    /// The first.
    pub first: PageId,
    /// How many.
    pub count: u64,
    /// Which bucket's tree leads there; empty for the root of them all or when nobody knows.
    pub bucket: String,
    /// What is wrong.
    pub why: &'static str,
}

/// A record of a tree that could not be read.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct CutRecord {
    /// Its page.
    pub page: PageId,
    /// Its element.
    pub index: usize,
    /// Its revision, when that is there.
    pub revision: Option<Revision>,
    /// The key it is about, when that is there.
    pub key: Option<Vec<u8>>,
}

/// Where a bucket's records came from.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum BucketFrom {
    /// The tree, which is whole.
    Tree,
    /// The tree as far as it stands.
    PartOfTree,
    /// The older tree.
    OlderTree,
    /// Leaves recognised by their content.
    Content,
    /// The tree as far as it stands, and leaves recognised by their content.
    TreeAndContent,
    /// Nowhere: it is empty now.
    Lost,
}

impl BucketFrom {
    /// The stable word for scripts.
    pub fn as_str(self) -> &'static str {
        match self {
            BucketFrom::Tree => "tree",
            BucketFrom::PartOfTree => "part-of-tree",
            BucketFrom::OlderTree => "older-tree",
            BucketFrom::Content => "content",
            BucketFrom::TreeAndContent => "tree-and-content",
            BucketFrom::Lost => "lost",
        }
    }
}

/// A bucket and where its records came from.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct BucketReport {
    /// Its name.
    pub name: String,
    /// Where its records came from.
    pub from: BucketFrom,
    /// Records in the result.
    pub records: u64,
}

/// What was read from where, and what is lost or doubtful.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Report {
    /// Bytes of a page.
    pub page_size: usize,
    /// Where that comes from.
    pub sizing: Sizing,
    /// Pages in the file.
    pub pages: u64,
    /// Valid metas.
    pub metas: usize,
    /// The tree that was followed.
    pub tree: Tree,
    /// The tree that helped to fill its gaps.
    pub older_tree: Option<Tree>,
    /// Pages that could not be read where a tree leads to them, in page order.
    pub lost_pages: Vec<LostPages>,
    /// Pages that name another place than theirs and were read all the same, and what they name.
    pub misnamed: Vec<(PageId, u64)>,
    /// Pages of which nobody can say what they were.
    pub unknown_pages: u64,
    /// Leaves of the tree of bucket `key`.
    pub tree_leaves: u64,
    /// Leaves of bucket `key` recognised by content that records were taken from or held against.
    pub found_leaves: u64,
    /// Records of bucket `key` taken from its tree.
    pub tree_records: u64,
    /// Records of bucket `key` taken from leaves recognised by content.
    pub found_records: u64,
    /// Records on free pages that were left out: superseded, or compacted away.
    pub superseded: u64,
    /// Records of a tree that could not be read; the first ones.
    pub cut: Vec<CutRecord>,
    /// How many of them there are.
    pub cut_records: u64,
    /// Where history may have holes; the first ones.
    pub holes: Vec<Hole>,
    /// How many of them there are.
    pub hole_count: u64,
    /// A hole behind everything or behind this revision makes older keys doubtful; `None` when none does.
    pub doubt_below: Option<RecordKey>,
    /// Whether records at or below the compaction mark may be missing: their keys are lost, and no other key is doubtful
    /// for it.
    pub missing_below_mark: bool,
    /// Records that are doubtful, in revision order.
    pub runs: Vec<Run>,
    /// All buckets, in name order.
    pub buckets: Vec<BucketReport>,
    /// The greatest revision that was found, 0 for none.
    pub revision: i64,
    /// The compaction mark that was found, −1 for none.
    pub compact_revision: i64,
    /// The compaction mark that was written; greater where history has holes, so that nobody is told a wrong one.
    pub compaction: i64,
    /// Whether consistent index and term are those of the newest commit, so that a WAL can connect to them.
    pub index_certain: bool,
}

impl Report {
    /// Whether anything is lost or doubtful.
    pub fn is_whole(&self) -> bool {
        self.lost_pages.is_empty()
            && self.misnamed.is_empty()
            && self.metas > 0
            && matches!(self.tree, Tree::OfMeta { newest: true, .. })
            && self.cut_records == 0
            && self.hole_count == 0
            && self.doubt_below.is_none()
            && self.runs.is_empty()
            && self.buckets.iter().all(|bucket| bucket.from == BucketFrom::Tree)
    }

    /// Whether nothing of the key space is lost or doubtful.
    pub fn keys_are_whole(&self) -> bool {
        self.cut_records == 0
            && self.hole_count == 0
            && self.doubt_below.is_none()
            && !self.missing_below_mark
            && self.runs.is_empty()
            && self.found_records == 0
            && matches!(self.tree, Tree::OfMeta { newest: true, .. })
    }

    /// Why the key whose newest record is `key` is doubtful, when it is.
    pub fn doubt(&self, key: RecordKey) -> Option<Doubt> {
        let at = self.runs.partition_point(|run| run.last < key);
        let run = self.runs.get(at).filter(|run| run.first <= key).map(|run| run.doubt);
        run.or_else(|| self.doubt_below.filter(|below| key < *below).map(|_| Doubt::LaterLost))
    }
}

/// In words, of a page that does not lead on.
pub(super) fn why(why: Why) -> &'static str {
    why.as_str()
}
