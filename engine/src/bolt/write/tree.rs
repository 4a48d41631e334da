//! A bucket's tree, built from the left: one open page a level, and nothing of what is written.

use std::io::Write;

use super::{
    super::{layout, page::PageId},
    BucketName, Fill, Output, PageSize, WriteError,
    node::{OpenBranch, OpenLeaf, Written},
    output,
};

/// Greatest length of a page: the longest slice that bbolt makes of one (`MaxAllocSize`).
const MAX_PAGE: usize = 0x7FFF_FFFF;

/// Pages of a leaf up to which two large elements share it.
const MAX_SHARED_PAGES: usize = 16;

/// A tree whose right edge is open.
#[derive(Debug)]
pub(in crate::bolt) struct Tree {
    page_size: PageSize,
    threshold: usize,
    leaf: OpenLeaf,
    /// Open branches, the parents of leaves first.
    levels: Vec<OpenBranch>,
    last_key: Vec<u8>,
}

impl Tree {
    /// An empty tree.
    pub(in crate::bolt) fn new(page_size: PageSize, fill: Fill) -> Self {
        Self {
            page_size,
            threshold: fill.threshold(page_size),
            leaf: OpenLeaf::default(),
            levels: Vec::new(),
            last_key: Vec::new(),
        }
    }

    /// Takes `key` as the last one so far; a value of `value_len` bytes is to come with it.
    ///
    /// # Errors
    /// When key or value is none that bbolt can hold, or the key is not greater than the one before
    /// it; the tree is then unchanged.
    pub(in crate::bolt) fn accept(
        &mut self,
        bucket: &BucketName,
        key: &[u8],
        value_len: usize,
    ) -> Result<(), WriteError> {
        check_key(bucket, key)?;
        check_value(bucket, key, value_len)?;
        if !self.last_key.is_empty() && key <= self.last_key.as_slice() {
            let (previous, key) = (self.last_key.clone(), key.to_vec());
            return Err(WriteError::Order { bucket: bucket.clone(), previous, key });
        }
        self.last_key.clear();
        self.last_key.extend_from_slice(key);
        Ok(())
    }

    /// Puts an element whose key was accepted.
    pub(in crate::bolt) fn put<W: Write>(
        &mut self,
        out: &mut Output<W>,
        flags: u32,
        key: &[u8],
        value: &[u8],
    ) -> Result<(), WriteError> {
        let open = (self.leaf.count(), self.leaf.size());
        let room = Room { page_size: self.page_size, threshold: self.threshold };
        if open.0 > 0 && !room.takes(open, key.len() + value.len()) {
            let written = self.leaf.write(out)?;
            self.add_child(out, 0, written)?;
        }
        self.leaf.push(flags, key, value);
        Ok(())
    }

    /// Adds a written page to the open branch of `level`, and so on upwards when that is full.
    fn add_child<W: Write>(
        &mut self,
        out: &mut Output<W>,
        level: usize,
        child: Written,
    ) -> Result<(), WriteError> {
        let (mut level, mut child) = (level, child);
        loop {
            if level == self.levels.len() {
                self.levels.push(OpenBranch::default());
            }
            let branch = &mut self.levels[level];
            branch.push(&child, self.threshold);
            let Some(count) = branch.full() else { return Ok(()) };
            child = branch.write(out, count)?;
            level += 1;
        }
    }

    /// Continues a tree that is already written: `key` and `page` of a branch's element, other than
    /// the last, go to the open branch `level` above the leaves.
    pub(in crate::bolt) fn resume_branch<W: Write>(
        &mut self,
        out: &mut Output<W>,
        level: usize,
        key: &[u8],
        page: PageId,
    ) -> Result<(), WriteError> {
        check_key(&BucketName::default(), key)?;
        if self.levels.len() <= level {
            self.levels.resize_with(level + 1, OpenBranch::default);
        }
        self.add_child(out, level, Written { first_key: key.to_vec(), page })
    }

    /// The bucket's content for its value, when bbolt would inline it: one leaf without buckets, of at
    /// most a quarter of a page.
    pub(in crate::bolt) fn inline_image(&self) -> Option<Vec<u8>> {
        let small = self.leaf.size() <= self.page_size.len() / 4;
        (self.levels.is_empty() && small && !self.leaf.has_buckets())
            .then(|| self.leaf.inline_image())
    }

    /// Writes what is open and gives the root page.
    pub(in crate::bolt) fn finish<W: Write>(
        mut self,
        out: &mut Output<W>,
    ) -> Result<PageId, WriteError> {
        // A tree without entries is an empty leaf. An empty leaf anywhere else is left out.
        let mut open = None;
        if self.levels.is_empty() || self.leaf.count() > 0 {
            open = Some(self.leaf.write(out)?);
        }
        let mut level = 0;
        while level < self.levels.len() {
            if let Some(child) = open.take() {
                self.add_child(out, level, child)?;
            }
            let is_top = level + 1 == self.levels.len();
            let branch = &mut self.levels[level];
            if let (true, Some(page)) = (is_top, branch.only_child()) {
                return Ok(page);
            }
            if let Some(count) = branch.last_cut(self.page_size.len()) {
                let written = branch.write(out, count)?;
                self.add_child(out, level + 1, written)?;
            }
            let branch = &mut self.levels[level];
            if branch.count() > 0 {
                open = Some(branch.write(out, branch.count())?);
            }
            level += 1;
        }
        match open {
            Some(root) => Ok(root.page),
            None => self.leaf.write(out).map(|root| root.page),
        }
    }
}

/// When a leaf is full.
#[derive(Clone, Copy, Debug)]
pub(super) struct Room {
    pub(super) page_size: PageSize,
    pub(super) threshold: usize,
}

impl Room {
    /// Whether an element of `size` bytes of key and value goes into the open leaf, of which the number of elements
    /// and the bytes in use are given.
    pub(super) fn takes(self, (count, used): (usize, usize), size: usize) -> bool {
        let joined = used + layout::ELEMENT + size;
        if joined > MAX_PAGE || count >= layout::MAX_COUNT {
            return false;
        }
        // Of a leaf with overflow pages, these are taken anyway.
        let taken = output::pages(used, self.page_size);
        if joined <= taken.saturating_mul(self.threshold) {
            return true;
        }
        // Two large elements share a leaf, as in bbolt, where that takes fewer pages.
        let together = output::pages(joined, self.page_size);
        let alone = output::pages(OpenLeaf::size_of(1, size), self.page_size);
        count == 1 && together <= MAX_SHARED_PAGES && together < taken + alone
    }
}

fn check_key(bucket: &BucketName, key: &[u8]) -> Result<(), WriteError> {
    if key.is_empty() {
        return Err(WriteError::EmptyKey { bucket: bucket.clone() });
    }
    if key.len() > layout::MAX_KEY {
        return Err(WriteError::KeyTooLong { bucket: bucket.clone(), len: key.len() });
    }
    Ok(())
}

/// Refuses values that bbolt cannot read back. The key was checked.
fn check_value(bucket: &BucketName, key: &[u8], len: usize) -> Result<(), WriteError> {
    // bbolt's own limit on values leaves no room for a key on the page it must address.
    let limit = layout::MAX_VALUE.min(MAX_PAGE - OpenLeaf::size_of(1, key.len()));
    if len > limit {
        let (bucket, key) = (bucket.clone(), key.to_vec());
        return Err(WriteError::ValueTooLong { bucket, key, len, limit });
    }
    Ok(())
}
