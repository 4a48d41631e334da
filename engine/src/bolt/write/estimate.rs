//! How many pages a bucket will take, from the sizes of its elements alone.

use super::{super::layout, Fill, PageSize, node::OpenLeaf, output, tree::Room};

/// Who will write it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Style {
    /// [`Writer`](super::Writer), pages filled so far.
    Packed(Fill),
    /// etcd's defragmentation: bbolt, 10,001 elements a transaction, pages split at 90 percent. Source: etcd
    /// `backend.go` `defragdb`, bbolt `node.go` `split`.
    Defragmented,
}

/// Elements in one transaction of etcd's defragmentation.
const BATCH: usize = 10_001;
/// Pages of a new file that its first transaction replaces: the freelist and the root.
const NEW_FILE: u64 = 2;
/// bbolt leaves two elements on a page, however large they are.
const MIN_KEYS: usize = 2;

/// Pages of a bucket that is to be written, element by element in order. Holds at most one transaction's sizes.
#[derive(Debug)]
pub struct Estimate {
    page_size: PageSize,
    style: Style,
    threshold: usize,
    /// Elements and bytes in use of the open leaf of [`Style::Packed`].
    open: (usize, usize),
    /// Key length and size of what the open transaction of [`Style::Defragmented`] has to place.
    batch: Vec<(u32, u32)>,
    /// Elements since the last commit.
    since: usize,
    commits: u64,
    leaves: u64,
    leaf_pages: u64,
    /// Sum of the lengths of the keys that leaves begin with.
    first_keys: u64,
    buckets: bool,
}

/// What a bucket will take.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Estimated {
    /// Physical pages; 0 for a bucket that will stand in the page that names it.
    pub pages: u64,
    /// Bytes of the value that will name it.
    pub value_len: usize,
    /// Pages that etcd's defragmentation leaves free behind it.
    pub left_free: u64,
}

impl Estimate {
    /// Of an empty bucket.
    pub fn new(page_size: PageSize, style: Style) -> Self {
        let fill = match style {
            Style::Packed(fill) => fill,
            Style::Defragmented => Fill::DENSE,
        };
        Self {
            page_size,
            style,
            threshold: fill.threshold(page_size),
            open: (0, 0),
            batch: Vec::new(),
            since: 0,
            commits: 0,
            leaves: 0,
            leaf_pages: 0,
            first_keys: 0,
            buckets: false,
        }
    }

    /// Adds an element by the lengths of its key and value.
    pub fn put(&mut self, key_len: usize, value_len: usize) {
        let size = key_len.saturating_add(value_len);
        match self.style {
            Style::Packed(_) => {
                let room = Room { page_size: self.page_size, threshold: self.threshold };
                if self.open.0 > 0 && !room.takes(self.open, size) {
                    self.close_leaf(self.open.1);
                    self.open = (0, 0);
                }
                if self.open.0 == 0 {
                    self.first_keys += key_len as u64;
                    self.open.1 = layout::PAGE_HEADER;
                }
                self.open = (self.open.0 + 1, self.open.1 + layout::ELEMENT + size);
            }
            Style::Defragmented => {
                if self.since == BATCH {
                    self.commit();
                }
                let short = |len| u32::try_from(len).unwrap_or(u32::MAX);
                self.batch.push((short(key_len), short(size)));
                self.since += 1;
            }
        }
    }

    /// Adds a bucket that is named within this one.
    pub fn put_bucket(&mut self, name_len: usize, bucket: &Estimated) {
        self.buckets = true;
        self.put(name_len, bucket.value_len);
    }

    fn close_leaf(&mut self, used: usize) {
        self.leaves += 1;
        self.leaf_pages += output::pages(used, self.page_size) as u64;
    }

    /// Places the elements of a transaction; the last leaf stays open for those of the next.
    fn commit(&mut self) {
        self.commits += 1;
        self.since = 0;
        let last = self.split();
        self.batch.drain(..last);
    }

    /// Cuts the batch into leaves as bbolt does and counts all but the last; gives where the last begins.
    fn split(&mut self) -> usize {
        let size = |(_, size): &(u32, u32)| layout::ELEMENT + *size as usize;
        let mut rest: usize = self.batch.iter().map(size).sum();
        let mut start = 0;
        loop {
            let left = self.batch.get(start..).unwrap_or_default();
            let fits = layout::PAGE_HEADER + rest < self.page_size.len();
            if left.len() <= MIN_KEYS * 2 || fits {
                return start;
            }
            let (mut used, mut taken) = (layout::PAGE_HEADER, 0);
            for element in left.iter().take(left.len() - MIN_KEYS) {
                if taken >= MIN_KEYS && used + size(element) > self.threshold {
                    break;
                }
                used += size(element);
                taken += 1;
            }
            // bbolt's index of the split is that of the last element looked at, which goes to the second page.
            let taken = taken.min(left.len() - MIN_KEYS - 1).max(1);
            let used: usize = left.iter().take(taken).map(size).sum();
            self.first_keys += left.first().map_or(0, |(key, _)| u64::from(*key));
            self.close_leaf(layout::PAGE_HEADER + used);
            rest -= used;
            start += taken;
        }
    }

    /// What the bucket takes, now that no more elements come.
    pub fn finish(mut self) -> Estimated {
        const NAMED: usize = layout::BUCKET_HEADER;
        let open = match self.style {
            Style::Packed(_) => self.open,
            Style::Defragmented => {
                let last = self.split();
                let left = self.batch.get(last..).unwrap_or_default();
                let size: usize = left.iter().map(|(_, size)| *size as usize).sum();
                self.first_keys += left.first().map_or(0, |(key, _)| u64::from(*key));
                (left.len(), OpenLeaf::size_of(left.len(), size))
            }
        };
        let used = open.1.max(layout::PAGE_HEADER);
        if self.leaves == 0 && !self.buckets && used <= self.page_size.len() / 4 {
            return Estimated { pages: 0, value_len: NAMED + used, left_free: 0 };
        }
        if self.leaves == 0 || open.0 > 0 {
            self.close_leaf(used);
        }
        let (branches, depth) = self.branches();
        // What the last transactions replaced: the last leaf, the branches above it, the page with the bucket's name.
        let left_free = match self.style {
            Style::Packed(_) => 0,
            Style::Defragmented if self.commits == 0 => NEW_FILE,
            Style::Defragmented => depth + 2,
        };
        Estimated { pages: self.leaf_pages + branches, value_len: NAMED, left_free }
    }

    /// Pages of branches, and their levels.
    fn branches(&self) -> (u64, u64) {
        let key = self.first_keys / self.leaves.max(1);
        let room = self.threshold.saturating_sub(layout::PAGE_HEADER) as u64;
        let children = (room / (layout::ELEMENT as u64 + key)).max(MIN_KEYS as u64);
        let (mut level, mut pages, mut depth) = (self.leaves, 0, 0);
        while level > 1 {
            level = level.div_ceil(children);
            pages += level;
            depth += 1;
        }
        (pages, depth)
    }
}
