//! Buckets: a tree of pages, or an inline page within the value that names the bucket.

use super::{
    db::Db,
    error::Error,
    layout,
    page::{Item, Leaf, Node, Page, PageFlags, PageHeader, PageId},
    walk::{Items, Leaves, Subtree},
};
use crate::raw::Raw;

/// A bucket, top-level, nested or the root of them all.
#[derive(Clone, Copy, Debug)]
pub struct Bucket<'a> {
    db: Db<'a>,
    root: Root<'a>,
    sequence: u64,
}

/// Where a bucket's contents are.
#[derive(Clone, Copy, Debug)]
pub enum Root<'a> {
    /// A tree of pages.
    Page(PageId),
    /// A leaf within the bucket's value.
    Inline(Leaf<'a>),
}

impl<'a> Bucket<'a> {
    pub(super) fn at_page(db: Db<'a>, root: PageId, sequence: u64) -> Self {
        Self { db, root: Root::Page(root), sequence }
    }

    /// The bucket that `item`'s value describes.
    ///
    /// # Errors
    /// When the value is too short or its inline page is damaged.
    pub fn from_item(db: Db<'a>, item: &Item<'a>) -> Result<Self, Error> {
        let (root, sequence) = root_of(item)?;
        Ok(Self { db, root, sequence })
    }

    /// Where its contents are.
    pub fn root(&self) -> Root<'a> {
        self.root
    }

    /// The database it is in.
    pub fn db(&self) -> &Db<'a> {
        &self.db
    }

    /// Its sequence; etcd leaves it at 0.
    pub fn sequence(&self) -> u64 {
        self.sequence
    }

    /// The element with key `key`.
    ///
    /// # Errors
    /// When a page on the way is damaged.
    pub fn item(&self, key: &[u8]) -> Result<Option<Item<'a>>, Error> {
        let leaf = match self.root {
            Root::Inline(leaf) => leaf,
            Root::Page(id) => self.descend(id, key)?,
        };
        let index = leaf.lower_bound(key)?;
        if index >= leaf.count() {
            return Ok(None);
        }
        let item = leaf.item(index)?;
        Ok((item.key == key).then_some(item))
    }

    /// The value of `key`; `None` when there is none or it is a bucket.
    ///
    /// # Errors
    /// When a page on the way is damaged.
    pub fn get(&self, key: &[u8]) -> Result<Option<&'a [u8]>, Error> {
        Ok(self.item(key)?.filter(|item| !item.is_bucket()).map(|item| item.value))
    }

    /// The bucket named `name` in this one.
    ///
    /// # Errors
    /// When a page on the way, or the bucket's value, is damaged.
    pub fn bucket(&self, name: &[u8]) -> Result<Option<Bucket<'a>>, Error> {
        match self.item(name)? {
            Some(item) if item.is_bucket() => Self::from_item(self.db, &item).map(Some),
            _ => Ok(None),
        }
    }

    /// The leaf in which `key` is or would be.
    fn descend(&self, root: PageId, key: &[u8]) -> Result<Leaf<'a>, Error> {
        let mut id = root;
        for _ in 0..self.db.limits().max_depth {
            match self.db.node(id)? {
                Node::Leaf(leaf) => return Ok(leaf),
                Node::Branch(branch) => id = branch.child_page(branch.child_for(key)?)?,
            }
        }
        Err(Error::TooDeep { page: id, limit: self.db.limits().max_depth })
    }

    /// Its leaves in key order.
    pub fn leaves(&self) -> Leaves<'a> {
        Subtree::of(self).leaves()
    }

    /// Its elements in key order, buckets among them.
    pub fn items(&self) -> Items<'a> {
        Subtree::of(self).items()
    }

    /// The last element; `None` when the bucket is empty.
    ///
    /// # Errors
    /// When a page on the way is damaged.
    pub fn last(&self) -> Result<Option<Item<'a>>, Error> {
        // Rightmost first; a leaf may be empty, then look further left. A sound tree has each page once.
        let mut pending = match self.root {
            Root::Inline(leaf) => return last_of(leaf),
            Root::Page(id) => vec![id],
        };
        let pages = self.db.pages_in_file();
        let mut budget = pages;
        while let Some(id) = pending.pop() {
            let page = self.db.page(id)?;
            budget = budget
                .checked_sub(page.physical())
                .ok_or(Error::TooManyPages { page: id, pages })?;
            match page.node()? {
                Node::Leaf(leaf) => {
                    if let Some(item) = last_of(leaf)? {
                        return Ok(Some(item));
                    }
                }
                Node::Branch(branch) => {
                    for index in 0..branch.count() {
                        pending.push(branch.child_page(index)?);
                    }
                }
            }
        }
        Ok(None)
    }

    /// Cuts the bucket into at least `wanted` subtrees in key order, or as many as its leaves allow:
    /// what can be read in parallel and joined in order. Damage shows when they are read.
    pub fn subtrees(&self, wanted: usize) -> Vec<Subtree<'a>> {
        Subtree::of(self).split(wanted)
    }
}

fn last_of(leaf: Leaf<'_>) -> Result<Option<Item<'_>>, Error> {
    leaf.count().checked_sub(1).map(|index| leaf.item(index)).transpose()
}
/// Where the contents of the bucket are that `item`'s value describes, and its sequence.
///
/// # Errors
/// When the value is too short or its inline page is damaged.
pub fn root_of<'a>(item: &Item<'a>) -> Result<(Root<'a>, u64), Error> {
    let short = Error::BucketValue { page: item.page, index: item.index, len: item.value.len() };
    let raw = Raw::new(item.value);
    let (Some(root), Some(sequence)) =
        (raw.u64_le(layout::BUCKET_ROOT), raw.u64_le(layout::BUCKET_SEQUENCE))
    else {
        return Err(short);
    };
    if root != 0 {
        return Ok((Root::Page(PageId(root)), sequence));
    }
    let inline = raw.tail(layout::BUCKET_HEADER).ok_or(short.clone())?;
    let header = PageHeader::parse(Raw::new(inline)).ok_or(short)?;
    let refused = Error::InlinePage {
        page: item.page,
        index: item.index,
        id: header.id,
        flags: header.flags,
    };
    if header.flags != PageFlags(layout::FLAG_LEAF) || header.id != 0 {
        return Err(refused);
    }
    match Page::new(item.page, header, inline).node()? {
        Node::Leaf(leaf) => Ok((Root::Inline(leaf), sequence)),
        Node::Branch(_) => Err(refused),
    }
}
