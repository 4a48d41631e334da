//! Ordered traversal of a bucket's pages, guarded against circles and shared pages.

use std::ops::Range;

use super::{
    bucket::{Bucket, Root},
    db::Db,
    error::Error,
    page::{Branch, Item, Leaf, Node, PageId},
};

/// Part of a bucket: all below some neighbouring children of one page, all below one page, or an inline leaf.
#[derive(Clone, Debug)]
pub struct Subtree<'a> {
    db: Db<'a>,
    top: Top<'a>,
    depth: usize,
}

#[derive(Clone, Debug)]
enum Top<'a> {
    Root(Root<'a>),
    Children(Branch<'a>, Range<usize>),
}

impl<'a> Subtree<'a> {
    pub(super) fn of(bucket: &Bucket<'a>) -> Self {
        Self { db: *bucket.db(), top: Top::Root(bucket.root()), depth: 0 }
    }

    /// Its leaves in key order.
    pub fn leaves(&self) -> Leaves<'a> {
        let (next, stack) = match &self.top {
            Top::Root(root) => (Some(*root), Vec::new()),
            Top::Children(branch, children) => (None, vec![(*branch, children.clone())]),
        };
        let budget = self.db.pages_in_file();
        Leaves { db: self.db, next, stack, depth: self.depth, budget }
    }

    /// Its elements in key order.
    pub fn items(&self) -> Items<'a> {
        Items { leaves: self.leaves(), leaf: None }
    }

    /// This subtree as at least `wanted` smaller ones in key order, or as many as there are leaves.
    ///
    /// What cannot be cut because it is damaged stays whole: its walk meets the error, in key order
    /// among all others. Were it an error here, how many parts are wanted, and so the number of
    /// threads, would decide which of two errors comes first.
    pub(super) fn split(self, wanted: usize) -> Vec<Subtree<'a>> {
        let mut budget = self.db.pages_in_file();
        // No tree has more leaves than the file has pages.
        let wanted = wanted.min(usize::try_from(budget).unwrap_or(usize::MAX));
        let mut parts = vec![self];
        while parts.len() < wanted {
            // Branches have hundreds of children: into that many would be far too many, and each costs.
            let each = wanted.div_ceil(parts.len());
            let mut next = Vec::with_capacity(wanted);
            let mut grew = false;
            for part in parts {
                match part.cut(each, &mut budget) {
                    Some(children) => {
                        grew = true;
                        next.extend(children);
                    }
                    None => next.push(part),
                }
            }
            parts = next;
            if !grew {
                break;
            }
        }
        parts
    }

    /// The children of the branch at its top, in about `pieces` pieces; `None` for a leaf and for what is damaged. Each
    /// child of a page takes one from `budget`, which ends cycles.
    fn cut(&self, pieces: usize, budget: &mut u64) -> Option<Vec<Subtree<'a>>> {
        let (branch, children) = match &self.top {
            Top::Children(branch, children) if children.len() > 1 => (*branch, children.clone()),
            Top::Children(branch, children) => {
                let only = Root::Page(branch.child_page(children.start).ok()?);
                return Subtree { db: self.db, top: Top::Root(only), depth: self.depth + 1 }
                    .cut(pieces, budget);
            }
            Top::Root(Root::Inline(_)) => return None,
            Top::Root(Root::Page(id)) => {
                let Ok(Node::Branch(branch)) = self.db.node(*id) else { return None };
                if self.depth >= self.db.limits().max_depth {
                    return None;
                }
                *budget = budget.checked_sub(u64::try_from(branch.count()).ok()?)?;
                (branch, 0..branch.count())
            }
        };
        let step = children.len().div_ceil(pieces.max(1)).max(1);
        let piece = |start: usize| {
            let end = start.saturating_add(step).min(children.end);
            Subtree { db: self.db, top: Top::Children(branch, start..end), depth: self.depth }
        };
        Some(children.clone().step_by(step).map(piece).collect())
    }
}

/// How many pages ahead the processor is asked for one.
pub(super) const AHEAD: usize = 3;

/// The leaves of a subtree in key order. Ends after the first error.
#[derive(Debug)]
pub struct Leaves<'a> {
    db: Db<'a>,
    next: Option<Root<'a>>,
    /// Branches on the way down, each with the children still to visit.
    stack: Vec<(Branch<'a>, Range<usize>)>,
    depth: usize,
    /// Physical pages that may still be met: a sound tree has each page once. Were an overflowing
    /// page counted as one, a small file could have its largest page read once for each other page.
    budget: u64,
}

impl<'a> Leaves<'a> {
    fn advance(&mut self) -> Result<Option<Leaf<'a>>, Error> {
        loop {
            let id = match self.next.take() {
                Some(Root::Inline(leaf)) => return own_bytes(leaf).map(Some),
                Some(Root::Page(id)) => id,
                None => match self.next_child()? {
                    Some(id) => id,
                    None => return Ok(None),
                },
            };
            let page = self.db.page(id)?;
            self.budget = self
                .budget
                .checked_sub(page.physical())
                .ok_or(Error::TooManyPages { page: id, pages: self.db.pages_in_file() })?;
            match page.node()? {
                Node::Leaf(leaf) => return own_bytes(leaf).map(Some),
                Node::Branch(branch) => {
                    let limit = self.db.limits().max_depth;
                    if self.depth + self.stack.len() >= limit {
                        return Err(Error::TooDeep { page: id, limit });
                    }
                    self.stack.push((branch, 0..branch.count()));
                }
            }
        }
    }

    fn next_child(&mut self) -> Result<Option<PageId>, Error> {
        while let Some((branch, children)) = self.stack.last_mut() {
            if let Some(index) = children.next() {
                // A page's first bytes are never where the processor expects them.
                if let Ok(soon) = branch.child_page(index.saturating_add(AHEAD)) {
                    self.db.prefetch(soon);
                }
                return branch.child_page(index).map(Some);
            }
            self.stack.pop();
        }
        Ok(None)
    }
}

/// Refuses a leaf that costs more to read than its size.
fn own_bytes(leaf: Leaf<'_>) -> Result<Leaf<'_>, Error> {
    let index = leaf.disjoint();
    if index < leaf.count() {
        return Err(Error::SharedBytes { page: leaf.page(), index });
    }
    Ok(leaf)
}

impl<'a> Iterator for Leaves<'a> {
    type Item = Result<Leaf<'a>, Error>;

    fn next(&mut self) -> Option<Self::Item> {
        let result = self.advance();
        if result.is_err() {
            self.stack.clear();
            self.budget = 0;
        }
        result.transpose()
    }
}

/// The elements of a subtree in key order. Ends after the first error.
#[derive(Debug)]
pub struct Items<'a> {
    leaves: Leaves<'a>,
    leaf: Option<(Leaf<'a>, usize)>,
}

impl<'a> Iterator for Items<'a> {
    type Item = Result<Item<'a>, Error>;

    fn next(&mut self) -> Option<Self::Item> {
        loop {
            if let Some((leaf, index)) = &mut self.leaf {
                if *index < leaf.count() {
                    let item = leaf.item(*index);
                    *index = if item.is_ok() { *index + 1 } else { usize::MAX };
                    return Some(item);
                }
                self.leaf = None;
            }
            match self.leaves.next()? {
                Ok(leaf) => self.leaf = Some((leaf, 0)),
                Err(error) => return Some(Err(error)),
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use std::io::Cursor;

    use super::super::{
        Bucket, Db, Error, TxId,
        write::{BucketOptions, Options, PageSize, Writer},
    };
    use super::*;
    use crate::limits::Limits;

    /// Two levels of branches above its leaves.
    fn deep_tree() -> Vec<u8> {
        let options = Options { page_size: PageSize::new(1024).unwrap(), ..Options::default() };
        let mut writer = Writer::new(Cursor::new(Vec::new()), options).unwrap();
        let mut bucket = writer.bucket(b"b", BucketOptions::default()).unwrap();
        for n in 0..4000u32 {
            bucket.put(&n.to_be_bytes(), &[7; 40]).unwrap();
        }
        bucket.close().unwrap();
        writer.finish().unwrap().seal(TxId(2)).unwrap().0.into_inner()
    }

    /// The pages of the bucket's tree, level by level from its root.
    fn levels(bucket: &Bucket<'_>) -> Vec<Vec<PageId>> {
        let Root::Page(root) = bucket.root() else { panic!("inline") };
        let mut levels = vec![vec![root]];
        loop {
            let mut next = Vec::new();
            for id in &levels[levels.len() - 1] {
                match bucket.db().node(*id).unwrap() {
                    Node::Leaf(_) => return levels,
                    Node::Branch(branch) => {
                        next.extend((0..branch.count()).map(|at| branch.child_page(at).unwrap()));
                    }
                }
            }
            levels.push(next);
        }
    }

    fn first_error(bytes: &[u8], wanted: usize) -> Option<String> {
        let db = Db::from_bytes(bytes, Limits::default()).unwrap();
        let bucket = db.root().bucket(b"b").unwrap().unwrap();
        let parts = bucket.subtrees(wanted);
        let walked = parts.iter().flat_map(Subtree::items).collect::<Result<Vec<_>, Error>>();
        walked.err().map(|error| error.to_string())
    }

    #[test]
    fn the_first_error_in_key_order_does_not_depend_on_the_number_of_parts() {
        let mut bytes = deep_tree();
        let db = Db::from_bytes(&bytes, Limits::default()).unwrap();
        let levels = levels(&db.root().bucket(b"b").unwrap().unwrap());
        assert!(levels.len() >= 3, "{} levels", levels.len());
        let (branches, leaves) = (&levels[levels.len() - 2], &levels[levels.len() - 1]);
        // An early leaf and a late branch, which a fine cut reads long before that leaf.
        for page in [leaves[3], branches[branches.len() - 1]] {
            bytes[page.0 as usize * 1024] ^= 0xff;
        }
        let first = first_error(&bytes, 1).unwrap();
        assert!(first.contains(&format!("expected to be: {},", leaves[3].0)), "{first}");
        for wanted in [2, 3, 16, 64, 1000, 100_000] {
            assert_eq!(first_error(&bytes, wanted).as_ref(), Some(&first), "{wanted} parts");
        }
    }
}
