//! Edits a database by adding pages: what is there stays, new pages follow the high water mark, new
//! metas point at a new root.
//!
//! Restore changes a few small buckets and adds a record or two to a large one. With a patch it copies
//! the file and writes some pages, instead of writing all of it anew. As in bbolt's own commits, pages
//! that are replaced become free; the freelist is not stored, so bbolt finds them by walking the trees.

use std::{
    collections::BTreeMap,
    io::{self, Seek, SeekFrom, Write},
};

use super::{
    Bucket, Db, Error, Item, TxId,
    bucket::Root,
    db::MissingTail,
    layout,
    meta::Meta,
    page::{Leaf, Node, PageId},
    write::{
        BucketName, BucketOptions, Fill, Output, PageSize, Tree, WriteError, bucket_value,
        sealing_metas,
    },
};

/// Why a database could not be patched.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum PatchError {
    /// A page of the database could not be read.
    #[error(transparent)]
    Read(#[from] Error),
    /// What was to be put does not fit bbolt's rules.
    #[error(transparent)]
    Write(#[from] WriteError),
    /// The file ends before its high water mark, behind which the new pages go.
    #[error("the file has {} bytes of the database's {}", missing.found, missing.expected)]
    MissingTail {
        /// What it has and should have.
        missing: MissingTail,
    },
    /// Elements of the database take more bytes than its pages have: they overlap.
    #[error("page {page}: its elements overlap others")]
    Overlap {
        /// Where the copying was given up.
        page: PageId,
    },
    /// There is no such top-level bucket.
    #[error("no bucket {}", name.escape_ascii())]
    NoBucket {
        /// The name asked for.
        name: Vec<u8>,
    },
    /// A plain value has the name of a top-level bucket.
    #[error("{} at the top is a value, expected a bucket", name.escape_ascii())]
    NotBucket {
        /// The name asked for.
        name: Vec<u8>,
    },
}

/// Changes to a database whose pages are sound; see [`check`](super::check::check).
///
/// On unsound pages nothing worse happens than an error or new pages as unsound as the old.
#[derive(Debug)]
pub struct Patch<'a> {
    db: Db<'a>,
    output: Output<Vec<u8>>,
    page_size: PageSize,
    buckets: BTreeMap<Vec<u8>, Changed>,
    /// Bytes of elements that may still be copied: each page is copied at most once.
    budget: u64,
}

/// A top-level bucket with a tree whose right edge is open.
#[derive(Debug)]
struct Changed {
    name: BucketName,
    sequence: u64,
    tree: Tree,
}

/// The bytes that turn a copy of the database into the patched one.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Patched {
    /// The state the new metas describe; `slot` is the page of the newer one.
    pub meta: Meta,
    /// Where `pages` go, in bytes from the start of the file: the old high water mark's page.
    pub offset: u64,
    /// The new pages.
    pub pages: Vec<u8>,
    /// Pages 0 and 1.
    pub metas: [Vec<u8>; 2],
}

impl<'a> Patch<'a> {
    /// A patch of `db` that changes nothing yet.
    ///
    /// # Errors
    /// [`PatchError::MissingTail`] when the file is shorter than the database.
    pub fn new(db: &Db<'a>) -> Result<Self, PatchError> {
        if let Some(missing) = db.missing_tail() {
            return Err(PatchError::MissingTail { missing });
        }
        let meta = db.meta();
        let page_size = PageSize::new(meta.page_size)?;
        let output = Output::new(Vec::new(), page_size, meta.high_water_mark);
        let budget = db.size_bytes();
        Ok(Self { db: *db, output, page_size, buckets: BTreeMap::new(), budget })
    }

    /// Replaces all contents of the top-level bucket `name`, or creates it, with `entries` in key
    /// order. More can be appended.
    ///
    /// # Errors
    /// When the name, a key or a value is refused; the patch is then of no further use for this bucket.
    pub fn replace_bucket<K: AsRef<[u8]>, V: AsRef<[u8]>>(
        &mut self,
        name: &[u8],
        options: BucketOptions,
        entries: impl IntoIterator<Item = (K, V)>,
    ) -> Result<(), PatchError> {
        let root_name = BucketName::default();
        Tree::new(self.page_size, Fill::FULL).accept(&root_name, name, 0)?;
        if let Some(item) = self.db.root().item(name)?
            && !item.is_bucket()
        {
            return Err(PatchError::NotBucket { name: name.to_vec() });
        }
        let tree = Tree::new(self.page_size, options.fill);
        let bucket = Changed { name: BucketName(name.to_vec()), sequence: options.sequence, tree };
        self.buckets.insert(name.to_vec(), bucket);
        for (key, value) in entries {
            self.append(name, key.as_ref(), value.as_ref())?;
        }
        Ok(())
    }

    /// Puts an entry behind all others of the top-level bucket `name`. Only the pages on the way to
    /// the bucket's last entry are written anew, with bbolt's fill for growing data, 90 percent.
    ///
    /// # Errors
    /// [`PatchError::NoBucket`] when there is none; [`WriteError::Order`] when `key` is not greater than
    /// every key in the bucket; when a page on the way is damaged.
    pub fn append(&mut self, name: &[u8], key: &[u8], value: &[u8]) -> Result<(), PatchError> {
        if !self.buckets.contains_key(name) {
            let changed = self.resume(name)?;
            self.buckets.insert(name.to_vec(), changed);
        }
        let changed = self
            .buckets
            .get_mut(name)
            .ok_or_else(|| PatchError::NoBucket { name: name.to_vec() })?;
        changed.tree.accept(&changed.name, key, value.len())?;
        changed.tree.put(&mut self.output, 0, key, value)?;
        Ok(())
    }

    /// Whether the top-level bucket `name` is changed by this patch.
    pub fn has_bucket(&self, name: &[u8]) -> bool {
        self.buckets.contains_key(name)
    }

    /// The bucket `name` with its right edge opened.
    fn resume(&mut self, name: &[u8]) -> Result<Changed, PatchError> {
        let item = self
            .db
            .root()
            .item(name)?
            .ok_or_else(|| PatchError::NoBucket { name: name.to_vec() })?;
        if !item.is_bucket() {
            return Err(PatchError::NotBucket { name: name.to_vec() });
        }
        let bucket = Bucket::from_item(self.db, &item)?;
        let name = BucketName(name.to_vec());
        let mut tree = Tree::new(self.page_size, Fill::DENSE);
        // The last leaf may be empty, so the last key can be elsewhere.
        let last = bucket.last()?;
        let leaf = match bucket.root() {
            Root::Inline(leaf) => leaf,
            Root::Page(root) => self.resume_branches(&mut tree, root)?,
        };
        for item in leaf.items() {
            let Item { flags, key, value, .. } = item?;
            spend(&mut self.budget, leaf.page(), key.len() + value.len())?;
            tree.accept(&name, key, value.len())?;
            tree.put(&mut self.output, flags, key, value)?;
        }
        if let Some(last) = last
            && leaf.count() == 0
        {
            tree.accept(&name, last.key, 0)?;
        }
        Ok(Changed { name, sequence: bucket.sequence(), tree })
    }

    /// Puts all but the last child of each branch on the right edge into `tree`; gives the last leaf.
    fn resume_branches(&mut self, tree: &mut Tree, root: PageId) -> Result<Leaf<'a>, PatchError> {
        let limit = self.db.limits().max_depth;
        let mut branches = Vec::new();
        let mut id = root;
        let leaf = loop {
            match self.db.node(id)? {
                Node::Leaf(leaf) => break leaf,
                Node::Branch(_) if branches.len() >= limit => {
                    return Err(Error::TooDeep { page: id, limit }.into());
                }
                Node::Branch(branch) => {
                    id = branch.child_page(branch.count() - 1)?;
                    branches.push(branch);
                }
            }
        };
        let levels = branches.len();
        for (from_root, branch) in branches.into_iter().enumerate() {
            for index in 0..branch.count() - 1 {
                let child = branch.child(index)?;
                spend(&mut self.budget, branch.page(), child.key.len())?;
                let level = levels - 1 - from_root;
                tree.resume_branch(&mut self.output, level, child.key, child.page)?;
            }
        }
        Ok(leaf)
    }

    /// Ends the patch: writes the root bucket anew and makes two metas, of the transaction after the
    /// database's and, with the same state, of the database's own.
    ///
    /// # Errors
    /// When a page of the root bucket is damaged, or the database has no transaction id left.
    pub fn finish(mut self) -> Result<Patched, PatchError> {
        let mut values = BTreeMap::new();
        for (name, Changed { sequence, tree, .. }) in self.buckets {
            values.insert(name, bucket_value(tree, sequence, true, &mut self.output)?);
        }
        let root_name = BucketName::default();
        let mut root = Tree::new(self.page_size, Fill::DENSE);
        let mut put = |flags, key: &[u8], value: &[u8]| {
            root.accept(&root_name, key, value.len())?;
            root.put(&mut self.output, flags, key, value)
        };
        let budget = &mut self.budget;
        let mut values = values.into_iter().peekable();
        for item in self.db.root().items() {
            let item = item?;
            spend(budget, item.page, item.key.len() + item.value.len())?;
            while let Some((name, value)) = values.next_if(|(name, _)| name.as_slice() < item.key) {
                put(layout::LEAF_FLAG_BUCKET, &name, &value)?;
            }
            match values.next_if(|(name, _)| name.as_slice() == item.key) {
                Some((name, value)) => put(layout::LEAF_FLAG_BUCKET, &name, &value)?,
                None => put(item.flags, item.key, item.value)?,
            }
        }
        for (name, value) in values {
            put(layout::LEAF_FLAG_BUCKET, &name, &value)?;
        }
        let old = *self.db.meta();
        let root = root.finish(&mut self.output)?;
        let high_water_mark = self.output.next();
        let txid = TxId(old.txid.0.saturating_add(1));
        let slot = u8::from(txid.0 % 2 == 1);
        let meta = Meta { slot, root, freelist: None, high_water_mark, txid, ..old };
        Ok(Patched {
            meta,
            offset: old.size_bytes(),
            pages: self.output.into_inner()?,
            metas: sealing_metas(meta)?,
        })
    }
}

/// Takes an element of `len` bytes of key and value from what may be copied.
fn spend(budget: &mut u64, page: PageId, len: usize) -> Result<(), PatchError> {
    let bytes = len as u64 + layout::ELEMENT as u64;
    *budget = budget.checked_sub(bytes).ok_or(PatchError::Overlap { page })?;
    Ok(())
}

impl Patched {
    /// What is written where, in bytes from the start of the file; the metas last.
    pub fn writes(&self) -> [(u64, &[u8]); 3] {
        let [first, second] = &self.metas;
        [(self.offset, &self.pages), (0, first), (first.len() as u64, second)]
    }

    /// Writes the new pages to `out`, a copy of the database; a tail behind it should be cut to
    /// [`Meta::size_bytes`] afterwards. Sync before the metas.
    ///
    /// # Errors
    /// When `out` cannot be positioned or written.
    pub fn write_pages<W: Write + Seek>(&self, out: &mut W) -> io::Result<()> {
        out.seek(SeekFrom::Start(self.offset))?;
        out.write_all(&self.pages)?;
        out.flush()
    }

    /// Writes the new metas, which bring the patch into force.
    ///
    /// # Errors
    /// When `out` cannot be positioned or written.
    pub fn write_metas<W: Write + Seek>(&self, out: &mut W) -> io::Result<()> {
        out.seek(SeekFrom::Start(0))?;
        out.write_all(&self.metas.concat())?;
        out.flush()
    }
}
