//! A database written anew: live pages only, full ones, and of its records those that are wanted.
//!
//! What is not cut or replaced is copied, buckets that etcd does not know among it. The new file is read while it is
//! written, from the disk when that is asked for, its page tree checked and its content compared before anybody calls it
//! done. For a change of a few records see
//! [`Patch`](crate::bolt::patch::Patch), which copies pages as they stand.

mod follow;

use std::{
    borrow::Cow,
    collections::BTreeMap,
    fs::File,
    io::{self, Seek, SeekFrom, Write},
    path::Path,
    sync::{Arc, Mutex, PoisonError},
};

pub use self::follow::FollowError;
use self::follow::Follower;
use crate::{
    bolt::{
        self, Bucket, Db, TxId,
        write::{
            BucketOptions, BucketWriter, Fill, Options, PageSize, Summary, Unsealed, WriteError,
            Writer,
        },
    },
    bulk::{Bulk, ReadBack},
    content::Sum,
    mvcc::{self, Cut, Fate},
    progress::{Interrupted, Progress},
    schema::{Store, bucket, meta},
};

/// Is shown the bytes of a file.
pub type Seen = Box<dyn FnMut(&[u8]) + Send>;

/// All records of a bucket.
pub type Records = BTreeMap<Vec<u8>, Vec<u8>>;

/// Why a database could not be written anew.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum Error {
    /// The caller stopped the operation.
    #[error(transparent)]
    Interrupted(#[from] Interrupted),
    /// A page of the database could not be read.
    #[error(transparent)]
    Bolt(#[from] bolt::Error),
    /// A record could not be read.
    #[error(transparent)]
    KeySpace(#[from] mvcc::Error),
    /// The new file could not be written.
    #[error(transparent)]
    Write(#[from] WriteError),
    /// A plain value stands where only buckets can.
    #[error("{} at the top is a value, expected a bucket", name.escape_ascii())]
    NotBucket {
        /// Its key.
        name: Vec<u8>,
    },
    /// The new file could not be synced.
    #[error("sync")]
    Sync(#[source] io::Error),
    /// The source was not the same when it was read again.
    #[error("the source changed between two passes over it")]
    Changed,
    /// The new file reads back with damage.
    #[error("what was written reads back damaged; the disk cannot be trusted")]
    Damaged(#[from] FollowError),
    /// The new file reads back with another content.
    #[error(
        "what was written reads back differently: hash {found:08x}, expected {expected:08x}; the disk cannot be trusted"
    )]
    Differs {
        /// Status hash of what was to be written.
        expected: u32,
        /// Status hash of what was read back.
        found: u32,
    },
}

bolt::from_read_error!(Error);

impl Error {
    /// Whether the input's damage is the reason.
    pub fn is_damage(&self) -> bool {
        match self {
            Error::Bolt(error) => error.is_damage(),
            Error::KeySpace(error) => error.is_damage(),
            Error::NotBucket { .. } => true,
            _ => false,
        }
    }

    /// What the system said, when it refused to write.
    ///
    /// # Errors
    /// This error, when it is another one.
    pub fn into_io(self) -> Result<io::Error, Error> {
        match self {
            Error::Write(WriteError::Io { source, .. }) | Error::Sync(source) => Ok(source),
            other => Err(other),
        }
    }
}

/// What was written.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Rewritten {
    /// Length of the database in bytes.
    pub size_bytes: u64,
    /// Records of bucket `key` that are in the source and not in the result.
    pub records_removed: u64,
}

/// A database to be written anew from one whose pages are sound.
#[derive(Debug)]
pub struct Rewrite<'a> {
    db: Db<'a>,
    cut: Option<Cut<'a>>,
    replaced: BTreeMap<Vec<u8>, Records>,
    appended: Records,
}

impl<'a> Rewrite<'a> {
    /// Everything in `db`.
    pub fn new(db: Db<'a>) -> Self {
        Self { db, cut: None, replaced: BTreeMap::new(), appended: Records::new() }
    }

    /// What `cut` leaves of `db`: records, leases, and the compaction marks in step.
    ///
    /// # Errors
    /// When a page is damaged.
    pub fn with_cut(db: Db<'a>, cut: Cut<'a>) -> Result<Self, Error> {
        let mut rewrite = Self::new(db);
        if let Some(mark) = cut.compaction() {
            let mut records = rewrite.records(bucket::META)?;
            for key in [meta::SCHEDULED_COMPACT, meta::FINISHED_COMPACT] {
                records.insert(key.into(), mark.encode().to_vec());
            }
            rewrite.replace(bucket::META, records);
        }
        if cut.summary().leases_dropped > 0 {
            let mut records = rewrite.records(bucket::LEASE)?;
            records.retain(|key, _| {
                let id = <[u8; 8]>::try_from(key.as_slice()).map(i64::from_be_bytes);
                id.map_or(true, |id| cut.keeps_lease(id))
            });
            rewrite.replace(bucket::LEASE, records);
        }
        rewrite.cut = Some(cut);
        Ok(rewrite)
    }

    /// What is cut away, if anything is.
    pub fn cut(&self) -> Option<&Cut<'a>> {
        self.cut.as_ref()
    }

    /// All records of bucket `name` as they will be; of a small bucket, which `key` is not.
    ///
    /// # Errors
    /// When a page is damaged.
    pub fn records(&self, name: &str) -> Result<Records, bolt::Error> {
        if let Some(records) = self.replaced.get(name.as_bytes()) {
            return Ok(records.clone());
        }
        let Some(bucket) = Store::new(self.db).bucket(name)? else { return Ok(Records::new()) };
        bucket
            .items()
            .map(|item| item.map(|item| (item.key.to_vec(), item.value.to_vec())))
            .collect()
    }

    /// Replaces or creates bucket `name`.
    pub fn replace(&mut self, name: &str, records: Records) {
        self.replaced.insert(name.into(), records);
    }

    /// Puts a record behind all others of bucket `key`.
    pub fn append(&mut self, key: Vec<u8>, value: Vec<u8>) {
        self.appended.insert(key, value);
    }

    /// How long the new database will be, without writing it.
    ///
    /// # Errors
    /// When the database cannot be read.
    pub fn measure(&self, progress: &dyn Progress) -> Result<Rewritten, Error> {
        let (unsealed, Written { removed, .. }) = self.pass(Nowhere, true, progress)?;
        Ok(Rewritten { size_bytes: unsealed.summary().size_bytes, records_removed: removed })
    }

    /// More than the new database can have: all pages of the old one and what may be added.
    pub fn bound(&self) -> u64 {
        const ADDED: u64 = 1 << 20;
        self.db.size_bytes().saturating_add(ADDED)
    }

    /// The two metas the new database will have, page by page. Takes a pass over the old one.
    ///
    /// # Errors
    /// When the database cannot be read.
    pub fn metas(&self, progress: &dyn Progress) -> Result<Vec<u8>, Error> {
        let (unsealed, _) = self.pass(Nowhere, true, progress)?;
        Ok(unsealed.metas(self.txid())?.concat())
    }

    /// Writes the database to `file`, an empty file at `path`; synced, its pages checked and its content compared.
    ///
    /// `seen` is shown the whole file from its first byte to its last, which takes one more pass over the source: a
    /// database begins with metas that say how it ends.
    ///
    /// # Errors
    /// When the database cannot be read, the system refuses, or what was written reads back differently.
    pub fn write_file(
        &self,
        file: &File,
        path: &Path,
        read_back: ReadBack,
        seen: Option<Seen>,
        progress: &dyn Progress,
    ) -> Result<Rewritten, Error> {
        let (mut seen, mut metas) = (seen, None);
        if let Some(seen) = &mut seen {
            seen(metas.insert(self.metas(progress)?));
        }
        let follower = Arc::new(Mutex::new(Follower::new(self.db.meta().page_size)));
        let following = Arc::clone(&follower);
        let reader = Box::new(move |offset, bytes: &[u8]| {
            let mut follower = following.lock().map_err(|_| io::ErrorKind::Other)?;
            if let Some(seen) = &mut seen
                && offset > 0
            {
                seen(bytes);
            }
            let fed = follower.feed(offset, bytes);
            fed.map_err(|error| io::Error::new(io::ErrorKind::InvalidData, Error::Damaged(error)))
        });
        let bulk =
            Bulk::reading_back(file, path, self.bound(), read_back, reader).map_err(Error::Sync)?;
        let (unsealed, Written { removed, sum, .. }) = self.write(bulk, progress)?;
        let written = unsealed.summary().size_bytes;
        progress.begin("sync", written);
        file.sync_data().map_err(Error::Sync)?;
        if metas
            .is_some_and(|metas| unsealed.metas(self.txid()).is_ok_and(|own| own.concat() != metas))
        {
            return Err(Error::Changed);
        }
        let (mut bulk, Summary { size_bytes, .. }) = unsealed.seal(self.txid())?;
        file.sync_all().map_err(Error::Sync)?;
        bulk.read_back_rest().map_err(Error::Sync)?;
        drop(bulk);
        let found = follower.lock().unwrap_or_else(PoisonError::into_inner).finish()?;
        let (expected, found) = (sum.crc.value(), found.crc.value());
        if found != expected {
            return Err(Error::Differs { expected, found });
        }
        progress.advance(written);
        Ok(Rewritten { size_bytes, records_removed: removed })
    }

    /// The transaction of the new file's state: the source's, within what a meta can say.
    pub fn txid(&self) -> TxId {
        TxId(self.db.meta().txid.0.clamp(1, u64::MAX - 1))
    }

    /// Names of the new database's buckets, in order.
    fn names(&self) -> Result<Vec<Cow<'a, [u8]>>, Error> {
        let mut names: BTreeMap<Cow<'a, [u8]>, ()> =
            self.replaced.keys().map(|name| (Cow::Owned(name.clone()), ())).collect();
        for item in self.db.root().items() {
            let item = item?;
            if !item.is_bucket() {
                return Err(Error::NotBucket { name: item.key.to_vec() });
            }
            names.insert(Cow::Borrowed(item.key), ());
        }
        Ok(names.into_keys().collect())
    }

    /// Writes all pages but the metas.
    pub(crate) fn write<W: Write + Seek>(
        &self,
        out: W,
        progress: &dyn Progress,
    ) -> Result<(Unsealed<W>, Written), Error> {
        self.pass(out, false, progress)
    }

    fn pass<W: Write + Seek>(
        &self,
        out: W,
        sizes_only: bool,
        progress: &dyn Progress,
    ) -> Result<(Unsealed<W>, Written), Error> {
        let stage = if sizes_only { "measure" } else { "write" };
        progress.begin(stage, self.db.bytes_in_file());
        let options = Options {
            page_size: PageSize::new(self.db.meta().page_size)?,
            root_fill: Fill::FULL,
            root_sequence: self.db.meta().sequence,
            sizes_only,
            ..Options::default()
        };
        let mut writer = Writer::new(out, options)?;
        let mut written = Written { summing: !sizes_only, ..Written::default() };
        for name in self.names()? {
            let old = self.db.root().bucket(&name)?;
            let options = options_of(old.as_ref());
            let mut new = writer.bucket(&name, options)?;
            written.sum.crc.update(&name);
            match (self.replaced.get(name.as_ref()), &old, &self.cut) {
                (Some(records), ..) => written.put_all(&mut new, records)?,
                (None, Some(old), Some(cut)) if is_key(&name) => {
                    written.put_cut(&mut new, old, cut, progress)?;
                }
                (None, Some(old), _) => copy(&mut new, old, Some(&mut written), 0, progress)?,
                (None, None, _) => {}
            }
            if is_key(&name) {
                written.put_all(&mut new, &self.appended)?;
            }
            new.close()?;
        }
        Ok((writer.finish()?, written))
    }
}

/// What was written of the source.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct Written {
    /// Records of bucket `key` that were not.
    pub(crate) removed: u64,
    /// Whether it is summed up.
    summing: bool,
    /// What the status hash covers, taken from the source and not from what was made of it.
    pub(crate) sum: Sum,
}

impl Written {
    fn add(&mut self, key: &[u8], value: &[u8]) {
        if self.summing {
            self.sum.add(key, value);
        }
    }

    fn put_all<W: Write>(
        &mut self,
        new: &mut BucketWriter<'_, W>,
        records: &Records,
    ) -> Result<(), WriteError> {
        records.iter().try_for_each(|(key, value)| {
            self.add(key, value);
            new.put(key, value)
        })
    }

    fn put_cut<W: Write>(
        &mut self,
        new: &mut BucketWriter<'_, W>,
        old: &Bucket<'_>,
        cut: &Cut<'_>,
        progress: &dyn Progress,
    ) -> Result<(), Error> {
        for leaf in old.leaves() {
            let leaf = leaf?;
            progress.go_on()?;
            for item in leaf.items() {
                let item = item?;
                match cut.fate(&item)? {
                    Fate::Stays(value) => {
                        self.add(item.key, &value);
                        new.put(item.key, &value)?;
                    }
                    Fate::Goes => self.removed += 1,
                }
            }
            progress.advance(leaf.len_bytes());
        }
        Ok(())
    }
}

fn is_key(name: &[u8]) -> bool {
    name == bucket::KEY.as_bytes()
}

fn options_of(old: Option<&Bucket<'_>>) -> BucketOptions {
    BucketOptions { fill: Fill::FULL, sequence: old.map_or(0, Bucket::sequence) }
}

/// Copies a bucket and what is nested in it; only buckets that etcd does not know nest, and what is in them is not
/// part of the status hash.
fn copy<W: Write>(
    new: &mut BucketWriter<'_, W>,
    old: &Bucket<'_>,
    mut written: Option<&mut Written>,
    depth: usize,
    progress: &dyn Progress,
) -> Result<(), Error> {
    let limit = old.db().limits().max_depth;
    for leaf in old.leaves() {
        let leaf = leaf?;
        progress.go_on()?;
        if let Some(written) = &mut written
            && written.summing
        {
            written.sum.add_leaf(&leaf)?;
        }
        for item in leaf.items() {
            let item = item?;
            if !item.is_bucket() {
                new.put(item.key, item.value)?;
                continue;
            }
            if depth >= limit {
                return Err(bolt::Error::TooDeep { page: item.page, limit }.into());
            }
            let nested = Bucket::from_item(*old.db(), &item)?;
            let mut inner = new.bucket(item.key, options_of(Some(&nested)))?;
            copy(&mut inner, &nested, None, depth + 1, progress)?;
            inner.close()?;
        }
        progress.advance(leaf.len_bytes());
    }
    Ok(())
}

/// Takes everything and keeps nothing.
struct Nowhere;

impl Write for Nowhere {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        Ok(bytes.len())
    }
    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

impl Seek for Nowhere {
    fn seek(&mut self, _: SeekFrom) -> io::Result<u64> {
        Ok(0)
    }
}
