//! The bulk writer: a stack of open buckets over one run of pages.

use std::io::{Seek, SeekFrom, Write};

use super::{
    super::{layout, page::PageId},
    BucketName, BucketOptions, Fill, FreelistKind, Options, Output, Tree, Unsealed, WriteError,
};

/// A bucket that is being filled.
#[derive(Debug)]
struct Open {
    name: BucketName,
    sequence: u64,
    tree: Tree,
}

/// Writes a fresh bbolt file. Buckets and entries come in key order; see the [module](super).
///
/// ```
/// use std::io::Cursor;
/// use etcdsnap_engine::bolt::{Db, TxId, write::{BucketOptions, Options, Writer}};
///
/// let mut writer = Writer::new(Cursor::new(Vec::new()), Options::default())?;
/// let mut fruit = writer.bucket(b"fruit", BucketOptions::default())?;
/// fruit.put(b"apple", b"red")?;
/// fruit.put(b"pear", b"green")?;
/// let (file, _) = writer.finish()?.seal(TxId(1))?;
///
/// let bytes = file.into_inner();
/// let db = Db::from_bytes(&bytes, Default::default())?;
/// let fruit = db.root().bucket(b"fruit")?.expect("just written");
/// assert_eq!(fruit.get(b"pear")?, Some(&b"green"[..]));
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
#[derive(Debug)]
pub struct Writer<W: Write> {
    options: Options,
    out: Output<W>,
    freelist: Option<PageId>,
    /// The root bucket, the bucket open in it, the bucket open in that one, and so on.
    open: Vec<Open>,
}

/// A bucket that is being filled. It ends with [`BucketWriter::close`] or when it is dropped and the
/// writer goes on; what goes wrong then is the error of the call that follows.
#[derive(Debug)]
pub struct BucketWriter<'w, W: Write> {
    writer: &'w mut Writer<W>,
    /// Its place in the stack; 0 is the root bucket.
    depth: usize,
}

impl<W: Write + Seek> Writer<W> {
    /// Writes to `out`, an empty file or one whose content may go; offsets count from its start.
    ///
    /// # Errors
    /// [`WriteError::Io`] when it cannot be positioned or written.
    pub fn new(mut out: W, options: Options) -> Result<Self, WriteError> {
        // The metas come last: until then pages 0 and 1 are a gap.
        out.seek(SeekFrom::Start(2 * u64::from(options.page_size.bytes())))
            .map_err(|source| WriteError::Io { page: PageId(2), source })?;
        let mut out = Output::new(out, options.page_size, PageId(2));
        let freelist = match options.freelist {
            FreelistKind::Absent => None,
            FreelistKind::Stored => Some(out.page(layout::FLAG_FREELIST, 0, &[], &[])?),
        };
        let root = Open {
            name: BucketName::default(),
            sequence: options.root_sequence,
            tree: tree(&options, options.root_fill),
        };
        Ok(Self { options, out, freelist, open: vec![root] })
    }

    /// Opens the top-level bucket `name`, which must be greater than the one before it.
    ///
    /// # Errors
    /// When the name is refused, or the buckets before it could not be written.
    pub fn bucket(
        &mut self,
        name: &[u8],
        options: BucketOptions,
    ) -> Result<BucketWriter<'_, W>, WriteError> {
        self.open_bucket(0, name, options)
    }

    /// Ends all buckets and writes all pages but the metas.
    ///
    /// # Errors
    /// [`WriteError::Io`], [`WriteError::Broken`] or [`WriteError::TooLarge`].
    pub fn finish(mut self) -> Result<Unsealed<W>, WriteError> {
        self.settle(0)?;
        let root = self.open.pop().expect("the root bucket is never closed");
        let root = root.tree.finish(&mut self.out)?;
        let high_water_mark = self.out.next();
        let out = self.out.into_inner()?;
        Ok(Unsealed::new(out, &self.options, root, high_water_mark, self.freelist))
    }
}

impl<W: Write> Writer<W> {
    fn open_bucket(
        &mut self,
        parent: usize,
        name: &[u8],
        options: BucketOptions,
    ) -> Result<BucketWriter<'_, W>, WriteError> {
        self.settle(parent)?;
        let limit = self.options.limits.max_depth;
        if parent >= limit {
            return Err(WriteError::TooDeep { name: name.to_vec(), limit });
        }
        let parent_bucket = &mut self.open[parent];
        parent_bucket.tree.accept(&parent_bucket.name, name, 0)?;
        self.open.push(Open {
            name: BucketName(name.to_vec()),
            sequence: options.sequence,
            tree: tree(&self.options, options.fill),
        });
        Ok(BucketWriter { writer: self, depth: parent + 1 })
    }

    /// Ends all buckets deeper than `depth` and names each in its parent.
    fn settle(&mut self, depth: usize) -> Result<(), WriteError> {
        while self.open.len() > depth + 1
            && let Some(Open { name: BucketName(name), sequence, tree }) = self.open.pop()
        {
            let value = bucket_value(tree, sequence, self.options.inline, &mut self.out)?;
            let parent = self.open.last_mut().expect("the root bucket is never closed");
            parent.tree.put(&mut self.out, layout::LEAF_FLAG_BUCKET, &name, &value)?;
        }
        Ok(())
    }
}

fn tree(options: &Options, fill: Fill) -> Tree {
    let new = if options.sizes_only { Tree::of_sizes } else { Tree::new };
    new(options.page_size, fill)
}

/// Ends a bucket's tree; gives the value that stands beside its name.
pub(in crate::bolt) fn bucket_value<W: Write>(
    tree: Tree,
    sequence: u64,
    inline: bool,
    out: &mut Output<W>,
) -> Result<Vec<u8>, WriteError> {
    let image = if inline { tree.inline_image() } else { None };
    let root = if image.is_some() { PageId(0) } else { tree.finish(out)? };
    let mut value = root.0.to_le_bytes().to_vec();
    value.extend_from_slice(&sequence.to_le_bytes());
    value.extend_from_slice(&image.unwrap_or_default());
    Ok(value)
}

impl<W: Write> BucketWriter<'_, W> {
    /// Puts an entry; `key` must be greater than the one before it, a bucket's name included.
    ///
    /// # Errors
    /// When key or value is refused; [`WriteError::Io`].
    pub fn put(&mut self, key: &[u8], value: &[u8]) -> Result<(), WriteError> {
        self.writer.settle(self.depth)?;
        let bucket = &mut self.writer.open[self.depth];
        bucket.tree.accept(&bucket.name, key, value.len())?;
        bucket.tree.put(&mut self.writer.out, 0, key, value)
    }

    /// Opens the bucket `name` within this one; the name counts among its keys.
    ///
    /// # Errors
    /// As [`Writer::bucket`], and [`WriteError::TooDeep`].
    pub fn bucket(
        &mut self,
        name: &[u8],
        options: BucketOptions,
    ) -> Result<BucketWriter<'_, W>, WriteError> {
        self.writer.open_bucket(self.depth, name, options)
    }

    /// Ends the bucket.
    ///
    /// # Errors
    /// [`WriteError::Io`], [`WriteError::Broken`] or [`WriteError::TooLarge`].
    pub fn close(self) -> Result<(), WriteError> {
        self.writer.settle(self.depth - 1)
    }
}
