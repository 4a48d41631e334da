//! Reads a new database while it is being written, page by page in the order of the file, and tells at its end whether
//! it is sound and what it holds.
//!
//! [`bolt::write`](crate::bolt::write) writes children before their branches, one tree after the other and the root
//! bucket last. So a page can be judged when it comes: what a branch names must be the oldest pages of some level that
//! no branch has named yet. In the end one page is left, the root. Of a level only the pages without a branch are kept.

use crate::{
    bolt::{
        self, Db, PageId,
        bucket::{Root, root_of},
        layout,
        page::{Branch, Leaf, Node, Page, PageHeader},
    },
    content::Sum,
    limits::Limits,
    raw::Raw,
};

/// What is wrong with a database that is being written.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum FollowError {
    /// A page cannot be read.
    #[error(transparent)]
    Bolt(#[from] bolt::Error),
    /// Bytes came that do not follow those before.
    #[error("bytes from offset {found} on, expected {expected}")]
    Offset {
        /// Where they were expected.
        expected: u64,
        /// Where they stand.
        found: u64,
    },
    /// Keys are not in order, or elements are not packed as bbolt packs them.
    #[error("page {page}: keys are not in order, or not where bbolt puts them")]
    Elements {
        /// The page.
        page: PageId,
    },
    /// A page is named that does not stand where the next one of its tree should.
    #[error("page {page} names page {child}, which is not the next one without a parent")]
    Child {
        /// Who names it.
        page: PageId,
        /// The page that is named.
        child: PageId,
    },
    /// The metas do not fit what was written, or something was written that nothing names.
    #[error(
        "the metas name root page {root} of {pages} pages, expected {expected} pages and one root"
    )]
    Metas {
        /// The root page they name.
        root: PageId,
        /// The pages they say there are.
        pages: u64,
        /// The pages that there are.
        expected: u64,
    },
}

/// A tree without a parent.
struct Tree {
    page: PageId,
    first: Vec<u8>,
    last: Vec<u8>,
    /// What its elements are to the status hash within a bucket.
    inside: Sum,
    /// What they are in the root bucket: names of buckets, and what is in these.
    top: Sum,
}

/// See the [module](self).
pub(super) struct Follower {
    page_size: u64,
    /// Page that comes next.
    next: u64,
    /// Offset of the byte that comes next.
    offset: u64,
    /// The beginning of a page whose end has not come.
    begun: Vec<u8>,
    /// Trees without a parent by their height, in page order.
    levels: Vec<Vec<Tree>>,
    metas: Vec<u8>,
}

impl Follower {
    /// For a file with pages of `page_size` bytes.
    pub(super) fn new(page_size: u32) -> Self {
        let page_size = u64::from(page_size);
        let (next, offset) = (2, 2 * page_size);
        Self { page_size, next, offset, begun: Vec::new(), levels: Vec::new(), metas: Vec::new() }
    }

    /// The bytes at `offset`: those that follow the last ones, or the metas at 0.
    pub(super) fn feed(&mut self, offset: u64, mut bytes: &[u8]) -> Result<(), FollowError> {
        if offset == 0 {
            self.metas = bytes.to_vec();
            return Ok(());
        }
        if offset != self.offset {
            return Err(FollowError::Offset { expected: self.offset, found: offset });
        }
        self.offset += bytes.len() as u64;
        while !bytes.is_empty() {
            if self.begun.is_empty()
                && let Some(len) = self.len_of(bytes)
                && let Some((page, rest)) = bytes.split_at_checked(len)
            {
                self.page(page)?;
                bytes = rest;
                continue;
            }
            // A header is read first: it says how much is missing.
            let wanted =
                self.len_of(&self.begun).unwrap_or(layout::PAGE_HEADER).max(self.begun.len() + 1);
            let (more, rest) = bytes.split_at(bytes.len().min(wanted - self.begun.len()));
            self.begun.extend_from_slice(more);
            bytes = rest;
            if self.len_of(&self.begun).is_some_and(|len| len == self.begun.len()) {
                let page = std::mem::take(&mut self.begun);
                self.page(&page)?;
            }
        }
        Ok(())
    }

    /// Length of the page whose header is at the start of `bytes`.
    fn len_of(&self, bytes: &[u8]) -> Option<usize> {
        let header = PageHeader::parse(Raw::new(bytes))?;
        let pages = 1 + u64::from(header.overflow);
        usize::try_from(pages.checked_mul(self.page_size)?).ok()
    }

    fn page(&mut self, bytes: &[u8]) -> Result<(), FollowError> {
        let id = PageId(self.next);
        let page = Page::alone(id, bytes)?;
        self.next += page.physical();
        match page.node()? {
            Node::Leaf(leaf) => self.leaf(id, &leaf),
            Node::Branch(branch) => self.branch(id, &branch),
        }
    }

    fn leaf(&mut self, id: PageId, leaf: &Leaf<'_>) -> Result<(), FollowError> {
        let disorder = FollowError::Elements { page: id };
        if leaf.unpacked().is_some() {
            return Err(disorder);
        }
        let (mut inside, mut top) = (Sum::default(), Sum::default());
        inside.add_leaf(leaf)?;
        let (mut first, mut last): (Option<&[u8]>, &[u8]) = (None, &[]);
        for item in leaf.items() {
            let item = item?;
            // An empty key comes after nothing, so none is let through.
            if item.key <= last || item.flags & !layout::LEAF_FLAG_BUCKET != 0 {
                return Err(disorder);
            }
            first = first.or(Some(item.key));
            last = item.key;
            if item.is_bucket() {
                top.crc.update(item.key);
                top.join(&self.bucket(id, root_of(&item)?.0)?);
            }
        }
        let first = first.unwrap_or_default().to_vec();
        self.push(0, Tree { page: id, first, last: last.to_vec(), inside, top });
        Ok(())
    }

    /// What a bucket that is named in page `id` holds.
    fn bucket(&mut self, id: PageId, root: Root<'_>) -> Result<Sum, FollowError> {
        match root {
            Root::Page(child) => {
                let (level, at) = self.find(child).ok_or(FollowError::Child { page: id, child })?;
                let tree = self.levels.get_mut(level).map(|trees| trees.remove(at));
                tree.map(|tree| tree.inside).ok_or(FollowError::Child { page: id, child })
            }
            Root::Inline(leaf) => {
                let mut sum = Sum::default();
                let mut last: &[u8] = &[];
                if leaf.unpacked().is_some() {
                    return Err(FollowError::Elements { page: id });
                }
                for item in leaf.items() {
                    let item = item?;
                    if item.key <= last || item.flags != 0 {
                        return Err(FollowError::Elements { page: id });
                    }
                    last = item.key;
                }
                sum.add_leaf(&leaf)?;
                Ok(sum)
            }
        }
    }

    fn branch(&mut self, id: PageId, branch: &Branch<'_>) -> Result<(), FollowError> {
        if branch.unpacked().is_some() {
            return Err(FollowError::Elements { page: id });
        }
        let first = branch.child_page(0)?;
        let (level, at) = self.find(first).ok_or(FollowError::Child { page: id, child: first })?;
        let trees = self.levels.get_mut(level).map(std::mem::take).unwrap_or_default();
        let mut trees = trees.into_iter();
        let mut left: Vec<Tree> = trees.by_ref().take(at).collect();
        let mut joined: Option<Tree> = None;
        for child in branch.children() {
            let child = child?;
            let wrong = FollowError::Child { page: id, child: child.page };
            let tree = trees.next().filter(|tree| tree.page == child.page).ok_or(wrong)?;
            if tree.first != child.key {
                return Err(FollowError::Elements { page: id });
            }
            match &mut joined {
                None => joined = Some(Tree { page: id, ..tree }),
                Some(joined) => {
                    if joined.last >= tree.first {
                        return Err(FollowError::Elements { page: id });
                    }
                    joined.last = tree.last;
                    joined.inside.join(&tree.inside);
                    joined.top.join(&tree.top);
                }
            }
        }
        left.extend(trees);
        if let Some(place) = self.levels.get_mut(level) {
            *place = left;
        }
        if let Some(tree) = joined {
            self.push(level + 1, tree);
        }
        Ok(())
    }

    fn push(&mut self, level: usize, tree: Tree) {
        if self.levels.len() <= level {
            self.levels.resize_with(level + 1, Vec::new);
        }
        // Behind all others: pages come in the order of their ids.
        if let Some(trees) = self.levels.get_mut(level) {
            trees.push(tree);
        }
    }

    /// Where the tree of `page` waits for a parent.
    fn find(&self, page: PageId) -> Option<(usize, usize)> {
        self.levels.iter().enumerate().find_map(|(level, trees)| {
            trees.binary_search_by_key(&page, |tree| tree.page).ok().map(|at| (level, at))
        })
    }

    /// What the whole database holds, now that all has come.
    pub(super) fn finish(&self) -> Result<Sum, FollowError> {
        let metas = Db::from_bytes(&self.metas, Limits::default())?;
        let meta = metas.meta();
        let mut trees = self.levels.iter().flatten();
        let root = trees.next().filter(|tree| tree.page == meta.root);
        match (root, trees.next()) {
            (Some(root), None) if self.begun.is_empty() && meta.high_water_mark.0 == self.next => {
                Ok(root.top)
            }
            _ => Err(FollowError::Metas {
                root: meta.root,
                pages: meta.high_water_mark.0,
                expected: self.next,
            }),
        }
    }
}

#[cfg(test)]
mod tests {
    use std::io::Cursor;

    use proptest::prelude::*;

    use super::*;
    use crate::{
        bolt::{
            TxId,
            check::check,
            write::{BucketOptions, Options, PageSize, Writer},
        },
        content::status_hash,
        progress::Silent,
    };

    /// Buckets, some of them inline and some nested, with `sizes` of values.
    fn made(page_size: u32, sizes: &[usize]) -> Vec<u8> {
        let options =
            Options { page_size: PageSize::new(page_size).unwrap(), ..Options::default() };
        let mut writer = Writer::new(Cursor::new(Vec::new()), options).unwrap();
        for (name, share) in [(b"a", 1), (b"b", 7), (b"c", 1000)] {
            let mut bucket = writer.bucket(name, BucketOptions::default()).unwrap();
            for (n, size) in sizes.iter().enumerate().step_by(share) {
                let key = u32::try_from(n).unwrap().to_be_bytes();
                if n % 50 == 49 {
                    let mut nested = bucket.bucket(&key, BucketOptions::default()).unwrap();
                    nested.put(b"k", &vec![1; *size]).unwrap();
                    nested.close().unwrap();
                } else {
                    bucket.put(&key, &vec![u8::try_from(n % 251).unwrap(); *size]).unwrap();
                }
            }
            bucket.close().unwrap();
        }
        writer.finish().unwrap().seal(TxId(2)).unwrap().0.into_inner()
    }

    /// As the file is written: the metas last.
    fn followed(bytes: &[u8], page_size: u32, step: usize) -> Result<Sum, FollowError> {
        let (metas, pages) = bytes.split_at(2 * page_size as usize);
        let mut follower = Follower::new(page_size);
        let mut offset = metas.len() as u64;
        for piece in pages.chunks(step) {
            follower.feed(offset, piece)?;
            offset += piece.len() as u64;
        }
        follower.feed(0, metas)?;
        follower.finish()
    }

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(40))]
        /// Reading the finished file is the oracle, and so is its check.
        #[test]
        fn what_is_followed_is_what_the_finished_file_holds(
            sizes in proptest::collection::vec(prop_oneof![5 => 0_usize..200, 1 => 0_usize..9000], 0..600),
            page_size in prop_oneof![Just(1024), Just(4096)],
            step in prop_oneof![Just(1), 2_usize..5000, Just(1 << 20)],
            at: prop::sample::Index,
            bit in 0_u8..8,
        ) {
            let mut bytes = made(page_size, &sizes);
            let sum = followed(&bytes, page_size, step).unwrap();
            let db = Db::from_bytes(&bytes, Limits::default()).unwrap();
            let (hash, _) = status_hash(&db, &Silent).unwrap();
            prop_assert_eq!(sum.crc.value(), hash);
            // One flipped bit is told, or it changes nothing that a check and the hash of the finished file see.
            let start = 2 * page_size as usize;
            let place = start + at.index(bytes.len() - start);
            bytes[place] ^= 1_u8 << bit;
            let db = Db::from_bytes(&bytes, Limits::default()).unwrap();
            let sound = check(&db, &Silent).unwrap().is_empty();
            let same = sound && status_hash(&db, &Silent).is_ok_and(|(found, _)| found == hash);
            let told = followed(&bytes, page_size, step).map_or(true, |found| found.crc.value() != hash);
            prop_assert!(told || same, "a flip at {place} was missed");
        }
    }

    #[test]
    fn pages_in_another_order_and_metas_of_another_file_are_told() {
        let bytes = made(1024, &[100; 300]);
        let other = made(1024, &[100; 200]);
        assert!(followed(&bytes, 1024, 999).is_ok());
        let mut swapped = bytes.clone();
        let (first, second) = swapped[2048..4096].split_at_mut(1024);
        first[16..].swap_with_slice(&mut second[16..]);
        assert!(matches!(followed(&swapped, 1024, 999), Err(FollowError::Elements { .. })));
        let mut mixed = bytes.clone();
        mixed[..2048].copy_from_slice(&other[..2048]);
        assert!(matches!(followed(&mixed, 1024, 999), Err(FollowError::Metas { .. })));
        let short = &bytes[..bytes.len() - 1024];
        assert!(matches!(followed(short, 1024, 999), Err(FollowError::Metas { .. })));
        let mut follower = Follower::new(1024);
        assert!(matches!(follower.feed(4096, &[0]), Err(FollowError::Offset { .. })));
    }
}
