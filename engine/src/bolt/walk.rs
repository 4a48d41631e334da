//! Ordered traversal of a bucket's pages, guarded against circles and shared pages.

use super::{
    bucket::{Bucket, Root},
    db::Db,
    error::Error,
    page::{Branch, Item, Leaf, Node, PageId},
};

/// Part of a bucket: all below one page, or an inline leaf.
#[derive(Clone, Copy, Debug)]
pub struct Subtree<'a> {
    db: Db<'a>,
    root: Root<'a>,
    depth: usize,
}

impl<'a> Subtree<'a> {
    pub(super) fn of(bucket: &Bucket<'a>) -> Self {
        Self { db: *bucket.db(), root: bucket.root(), depth: 0 }
    }

    /// Its leaves in key order.
    pub fn leaves(&self) -> Leaves<'a> {
        Leaves {
            db: self.db,
            next: Some(self.root),
            stack: Vec::new(),
            depth: self.depth,
            budget: self.db.pages_in_file(),
        }
    }

    /// Its elements in key order.
    pub fn items(&self) -> Items<'a> {
        Items { leaves: self.leaves(), leaf: None }
    }

    /// This subtree as at least `wanted` smaller ones in key order, or as many as there are leaves.
    pub(super) fn split(self, wanted: usize) -> Result<Vec<Subtree<'a>>, Error> {
        let mut parts = vec![self];
        let mut budget = self.db.pages_in_file();
        while parts.len() < wanted {
            let mut next = Vec::with_capacity(parts.len());
            let mut grew = false;
            for part in parts {
                let Root::Page(id) = part.root else {
                    next.push(part);
                    continue;
                };
                match self.db.node(id)? {
                    Node::Leaf(_) => next.push(part),
                    Node::Branch(branch) => {
                        grew = true;
                        if part.depth >= self.db.limits().max_depth {
                            return Err(Error::TooDeep {
                                page: id,
                                limit: self.db.limits().max_depth,
                            });
                        }
                        for index in 0..branch.count() {
                            budget = budget.checked_sub(1).ok_or(Error::TooManyPages {
                                page: id,
                                pages: self.db.pages_in_file(),
                            })?;
                            let root = Root::Page(branch.child_page(index)?);
                            next.push(Subtree { db: self.db, root, depth: part.depth + 1 });
                        }
                    }
                }
            }
            parts = next;
            if !grew {
                break;
            }
        }
        Ok(parts)
    }
}

/// The leaves of a subtree in key order. Ends after the first error.
#[derive(Debug)]
pub struct Leaves<'a> {
    db: Db<'a>,
    next: Option<Root<'a>>,
    /// Branches on the way down, each with the index of the child to visit next.
    stack: Vec<(Branch<'a>, usize)>,
    depth: usize,
    /// Pages that may still be met: a sound tree has each page once.
    budget: u64,
}

impl<'a> Leaves<'a> {
    fn advance(&mut self) -> Result<Option<Leaf<'a>>, Error> {
        loop {
            let id = match self.next.take() {
                Some(Root::Inline(leaf)) => return Ok(Some(leaf)),
                Some(Root::Page(id)) => id,
                None => match self.next_child()? {
                    Some(id) => id,
                    None => return Ok(None),
                },
            };
            self.budget = self
                .budget
                .checked_sub(1)
                .ok_or(Error::TooManyPages { page: id, pages: self.db.pages_in_file() })?;
            match self.db.node(id)? {
                Node::Leaf(leaf) => return Ok(Some(leaf)),
                Node::Branch(branch) => {
                    let limit = self.db.limits().max_depth;
                    if self.depth + self.stack.len() >= limit {
                        return Err(Error::TooDeep { page: id, limit });
                    }
                    self.stack.push((branch, 0));
                }
            }
        }
    }

    fn next_child(&mut self) -> Result<Option<PageId>, Error> {
        while let Some((branch, index)) = self.stack.last_mut() {
            if *index < branch.count() {
                let id = branch.child_page(*index)?;
                *index += 1;
                return Ok(Some(id));
            }
            self.stack.pop();
        }
        Ok(None)
    }
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
