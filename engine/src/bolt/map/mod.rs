//! What every page of the file is: of which bucket, free, the continuation of another page, or nothing that can be told.
//!
//! Two bytes a page, so that a file of 100 GB costs 52 MB. [`PageMap::read`] walks all trees, the buckets one after
//! the other and the pages of each side by side. Every page has one [`PageUse`] however damaged the trees are: of two
//! buckets the first has it, and to be referred to counts more than to be the continuation of another page. So nothing
//! depends on the number of threads.
//!
//! What is wrong is not judged here but only named, see [`PageMap::problems`]; [`check`](super::check) judges.

mod bare;
mod walk;

use super::{
    db::Db,
    error::Error,
    page::{PageHeader, PageId},
};
use crate::progress::{Interrupted, Progress};

/// What a page is. Bucket numbers count as in [`PageMap::buckets`].
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum PageUse {
    /// One of the two metas.
    Meta,
    /// The stored freelist or its continuation.
    Freelist,
    /// A branch of this bucket's tree.
    Branch(u16),
    /// A leaf of this bucket's tree.
    Leaf(u16),
    /// The continuation of a page of this bucket's tree.
    Overflow(u16),
    /// A page that this bucket's tree refers to and that cannot be read, in whole or in part.
    Damaged(u16),
    /// Free to be used: on the freelist, or, where none is stored, reached by no tree.
    Free,
    /// Reached by no tree and not free as far as can be told: the stored freelist does not name it, or part of a tree
    /// could not be read.
    Unreachable,
}

impl PageUse {
    /// The bucket whose tree it belongs to.
    pub fn bucket(self) -> Option<u16> {
        match self {
            PageUse::Branch(bucket)
            | PageUse::Leaf(bucket)
            | PageUse::Overflow(bucket)
            | PageUse::Damaged(bucket) => Some(bucket),
            PageUse::Meta | PageUse::Freelist | PageUse::Free | PageUse::Unreachable => None,
        }
    }

    /// A stable word for scripts.
    pub fn word(self) -> &'static str {
        match self {
            PageUse::Meta => "meta",
            PageUse::Freelist => "freelist",
            PageUse::Branch(_) => "branch",
            PageUse::Leaf(_) => "leaf",
            PageUse::Overflow(_) => "overflow",
            PageUse::Damaged(_) => "damaged",
            PageUse::Free => "free",
            PageUse::Unreachable => "unreachable",
        }
    }
}

/// The pages of one bucket. Pages of buckets within it are theirs.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct BucketPages {
    /// Its name; empty for the bucket that holds the top-level ones.
    pub name: Vec<u8>,
    /// Number of the bucket that names it; `None` for the bucket that holds the top-level ones.
    pub parent: Option<usize>,
    /// Buckets above it: 0 for the bucket that holds the top-level ones, 1 for those.
    pub level: u64,
    /// Root of its tree; `None` when it stands in the page that names it.
    pub root: Option<PageId>,
    /// Its sequence; etcd leaves it at 0.
    pub sequence: u64,
    /// Levels of its tree, 1 for a single leaf; 0 when it has no page of its own.
    pub depth: u64,
    /// Branches, without their continuations.
    pub branch_pages: u64,
    /// Continuations of branches.
    pub branch_overflow: u64,
    /// Bytes of branches in use: header, elements, keys.
    pub branch_used: u64,
    /// Leaves, without their continuations.
    pub leaf_pages: u64,
    /// Continuations of leaves.
    pub leaf_overflow: u64,
    /// Bytes of leaves in use: header, elements, keys, values; of an inline bucket, of its image.
    pub leaf_used: u64,
    /// Pages that could not be read, in whole or in part; those read in part are counted above, too.
    pub damaged_pages: u64,
    /// Elements of its leaves, buckets among them.
    pub elements: u64,
    /// Buckets among them.
    pub buckets: u64,
}

impl BucketPages {
    /// Whether it stands in the page that names it.
    pub fn is_inline(&self) -> bool {
        self.root.is_none()
    }

    /// Physical pages that could be read.
    pub fn physical(&self) -> u64 {
        self.branch_pages + self.branch_overflow + self.leaf_pages + self.leaf_overflow
    }

    fn add(&mut self, other: &BucketPages) {
        self.branch_pages += other.branch_pages;
        self.branch_overflow += other.branch_overflow;
        self.branch_used += other.branch_used;
        self.leaf_pages += other.leaf_pages;
        self.leaf_overflow += other.leaf_overflow;
        self.leaf_used += other.leaf_used;
        self.damaged_pages += other.damaged_pages;
        self.elements += other.elements;
        self.buckets += other.buckets;
    }
}

/// How many physical pages are what.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct PageCounts {
    /// The metas.
    pub meta: u64,
    /// The stored freelist.
    pub freelist: u64,
    /// Branches.
    pub branch: u64,
    /// Leaves.
    pub leaf: u64,
    /// Continuations.
    pub overflow: u64,
    /// See [`PageUse::Damaged`].
    pub damaged: u64,
    /// Free ones.
    pub free: u64,
    /// See [`PageUse::Unreachable`].
    pub unreachable: u64,
}

impl PageCounts {
    /// All of them together.
    pub fn total(&self) -> u64 {
        let Self { meta, freelist, branch, leaf, overflow, damaged, free, unreachable } = *self;
        meta + freelist + branch + leaf + overflow + damaged + free + unreachable
    }
}

/// Neighbouring pages of the same use.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Run {
    /// The first of them.
    pub first: PageId,
    /// How many there are, at least 1.
    pub pages: u64,
    /// What they are.
    pub usage: PageUse,
}

/// What every page of the file is.
#[derive(Clone, Debug)]
pub struct PageMap {
    codes: Vec<u16>,
    buckets: Vec<BucketPages>,
    problems: Vec<Error>,
    problems_dropped: u64,
    shared: u64,
    counts: PageCounts,
}

/// Two bytes that hold a [`PageUse`]: how much a claim weighs, whether the page claims others, and the bucket.
#[derive(Clone, Copy, PartialEq, Eq)]
struct Code(u16);

impl Code {
    const RANK_SHIFT: u32 = 12;
    /// The page claims the pages behind it as its continuation.
    const CONTINUED: u16 = 1 << 11;
    const BUCKET_BITS: u32 = 11;
    /// The last number stands for all later buckets.
    const LAST_BUCKET: u16 = (1 << Self::BUCKET_BITS) - 1;
    const UNCLAIMED: Code = Code(0);

    fn new(usage: PageUse) -> Self {
        let rank: u16 = match usage {
            PageUse::Unreachable => 1,
            PageUse::Free => 2,
            PageUse::Overflow(_) => 3,
            PageUse::Leaf(_) => 4,
            PageUse::Branch(_) => 5,
            PageUse::Damaged(_) => 6,
            PageUse::Freelist => 7,
            PageUse::Meta => 8,
        };
        let bucket = usage.bucket().unwrap_or(0).min(Self::LAST_BUCKET);
        Code(rank << Self::RANK_SHIFT | bucket)
    }

    fn continued(self, continued: bool) -> Self {
        if continued { Code(self.0 | Self::CONTINUED) } else { self }
    }

    fn is_continued(self) -> bool {
        self.0 & Self::CONTINUED != 0
    }

    fn rank(self) -> u16 {
        self.0 >> Self::RANK_SHIFT
    }

    fn usage(self) -> PageUse {
        let bucket = self.0 & Self::LAST_BUCKET;
        match self.rank() {
            2 => PageUse::Free,
            3 => PageUse::Overflow(bucket),
            4 => PageUse::Leaf(bucket),
            5 => PageUse::Branch(bucket),
            6 => PageUse::Damaged(bucket),
            7 => PageUse::Freelist,
            8 => PageUse::Meta,
            _ => PageUse::Unreachable,
        }
    }
}

impl PageMap {
    /// Buckets that have a number of their own; all later ones share the last.
    pub const NUMBERED_BUCKETS: usize = Code::LAST_BUCKET as usize;

    /// Looks at every page that the trees of `db` reach. Reads headers and element tables, not keys and values.
    ///
    /// # Errors
    /// Only [`Interrupted`]: damage is named in the map.
    pub fn read(db: &Db<'_>, progress: &dyn Progress) -> Result<PageMap, Interrupted> {
        walk::read(db, progress)
    }

    /// What each page says of itself, for a database made by [`Db::without_meta`]: no tree can be followed. Pages of trees
    /// belong to no bucket that is known, and `why` no meta is valid is the map's only problem.
    pub fn by_headers(db: &Db<'_>, why: Error) -> PageMap {
        bare::read(db, why)
    }

    /// Pages of the file below the high water mark.
    pub fn len(&self) -> u64 {
        self.codes.len() as u64
    }

    /// Whether there are none, which no database can have.
    pub fn is_empty(&self) -> bool {
        self.codes.is_empty()
    }

    /// What page `id` is; `None` beyond the last page.
    pub fn usage(&self, id: PageId) -> Option<PageUse> {
        let code = self.codes.get(usize::try_from(id.0).ok()?)?;
        Some(Code(*code).usage())
    }

    /// The pages in file order, neighbours of the same use together.
    pub fn runs(&self) -> impl Iterator<Item = Run> + '_ {
        let mut next = 0;
        self.codes.chunk_by(|a, b| Code(*a).usage() == Code(*b).usage()).map(move |run| {
            let first = PageId(next);
            next += run.len() as u64;
            let usage = Code(run.first().copied().unwrap_or_default()).usage();
            Run { first, pages: run.len() as u64, usage }
        })
    }

    /// The page that overflow page `id` of `db` continues: the nearest before it that reaches so far.
    pub fn owner(&self, db: &Db<'_>, id: PageId) -> Option<PageId> {
        if !matches!(self.usage(id)?, PageUse::Overflow(_)) {
            return None;
        }
        (0..id.0).rev().map(PageId).find(|head| {
            let is_head = !matches!(
                self.usage(*head),
                None | Some(PageUse::Overflow(_) | PageUse::Free | PageUse::Unreachable)
            );
            is_head && db.header(*head).is_ok_and(|header| reaches(*head, header, id))
        })
    }

    /// The buckets: first the one that holds the top-level ones, then those in key order, then buckets within them.
    pub fn buckets(&self) -> &[BucketPages] {
        &self.buckets
    }

    /// Names of bucket number `bucket` and the buckets above it, from the top down; empty for the bucket that holds the
    /// top-level ones. Of a long path only the last part: as many names as the bucket's [`level`](BucketPages::level)
    /// says are there when nothing is left out.
    ///
    /// Buckets nest without limit: whole paths of all of them could take the file's size squared.
    pub fn path(&self, bucket: usize) -> Vec<&[u8]> {
        const NAMES: usize = 256;
        const BYTES: usize = 4096;
        let (mut names, mut bytes): (Vec<&[u8]>, usize) = (Vec::new(), 0);
        let mut next = self.buckets.get(bucket);
        while let Some(bucket) = next
            && let Some(parent) = bucket.parent
            && names.len() < NAMES
        {
            bytes = bytes.saturating_add(bucket.name.len());
            // Its own name in any case.
            if bytes > BYTES && !names.is_empty() {
                break;
            }
            names.push(bucket.name.as_slice());
            next = self.buckets.get(parent);
        }
        names.reverse();
        names
    }

    /// How many pages are what.
    pub fn counts(&self) -> &PageCounts {
        &self.counts
    }

    /// What could not be read on the way, by place; at most as many as `Limits` allow.
    pub fn problems(&self) -> &[Error] {
        &self.problems
    }

    /// Problems that are not listed, because there are too many.
    pub fn problems_dropped(&self) -> u64 {
        self.problems_dropped
    }

    /// References to pages that were claimed already: trees that share pages or run in circles.
    pub fn shared(&self) -> u64 {
        self.shared
    }

    /// Whether every page has one owner and all could be read.
    pub fn is_whole(&self) -> bool {
        self.problems.is_empty() && self.problems_dropped == 0 && self.shared == 0
    }
}

/// Whether the page at `head` claims page `id` as its continuation.
fn reaches(head: PageId, header: PageHeader, id: PageId) -> bool {
    header.id == head.0 && head.0.saturating_add(u64::from(header.overflow)) >= id.0
}
