//! A database written anew: live pages only, full ones, and of its records those that are wanted.
//!
//! What is not cut or replaced is copied, buckets that etcd does not know among it. The new file is read back and
//! its content compared before anybody calls it done. For a change of a few records see
//! [`Patch`](crate::bolt::patch::Patch), which copies pages as they stand.

use std::{
    borrow::Cow,
    collections::BTreeMap,
    fs::File,
    io::{self, Seek, SeekFrom, Write},
    path::Path,
};

use rayon::prelude::*;

use crate::{
    bolt::{
        self, Bucket, Db, TxId,
        check::check,
        walk::Subtree,
        write::{
            BucketOptions, BucketWriter, Fill, Options, PageSize, Summary, Unsealed, WriteError,
            Writer,
        },
    },
    bulk::Bulk,
    content::{Sum, bucket_sum, status_hash},
    finding::{Finding, Severity},
    limits::Limits,
    mvcc::{self, Cut, Fate},
    progress::Progress,
    schema::{Store, bucket, meta},
    source::{self, Access, FaultGuard, Source},
};

/// All records of a bucket.
pub type Records = BTreeMap<Vec<u8>, Vec<u8>>;

/// Why a database could not be written anew.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum Error {
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
    /// The new file could not be read back.
    #[error("read back")]
    ReadBack(#[from] source::Error),
    /// The new file reads back with damage.
    #[error("what was written reads back damaged ({}); the disk cannot be trusted", first.message)]
    Damaged {
        /// The first finding.
        first: Box<Finding>,
    },
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
        let (unsealed, records_removed) = self.write(Nowhere, progress)?;
        Ok(Rewritten { size_bytes: unsealed.summary().size_bytes, records_removed })
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
        let (unsealed, _) = self.write(Nowhere, progress)?;
        Ok(unsealed.metas(self.txid())?.concat())
    }

    /// Writes the database to `file`, an empty file at `path`; synced, read back and compared.
    ///
    /// # Errors
    /// When the database cannot be read, the system refuses, or what was written reads back differently.
    pub fn write_file(
        &self,
        file: &File,
        path: &Path,
        progress: &dyn Progress,
    ) -> Result<Rewritten, Error> {
        let bulk = Bulk::new(file, self.db.size_bytes()).map_err(Error::Sync)?;
        let (unsealed, records_removed) = self.write(bulk, progress)?;
        file.sync_data().map_err(Error::Sync)?;
        let (bulk, Summary { size_bytes, .. }) = unsealed.seal(self.txid())?;
        drop(bulk);
        file.sync_all().map_err(Error::Sync)?;
        let access = Access::Map(FaultGuard::install()?);
        let written = Source::open(path, access)?;
        self.compare(written.bytes(), progress)?;
        written.check()?;
        Ok(Rewritten { size_bytes, records_removed })
    }

    /// The transaction of the new file's state: the source's, within what a meta can say.
    pub fn txid(&self) -> TxId {
        TxId(self.db.meta().txid.0.clamp(1, u64::MAX - 1))
    }

    /// Holds `written` against what was to be written.
    fn compare(&self, written: &[u8], progress: &dyn Progress) -> Result<(), Error> {
        let db = Db::from_bytes(written, Limits::default())?;
        let findings = check(&db, progress)?;
        if let Some(first) =
            findings.into_iter().find(|finding| finding.severity == Severity::Damage)
        {
            return Err(Error::Damaged { first: Box::new(first) });
        }
        let expected = self.hash(progress)?;
        let (found, _) = status_hash(&db, progress)?;
        if found == expected { Ok(()) } else { Err(Error::Differs { expected, found }) }
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

    /// Writes all pages but the metas; gives the number of records removed, too.
    pub(crate) fn write<W: Write + Seek>(
        &self,
        out: W,
        progress: &dyn Progress,
    ) -> Result<(Unsealed<W>, u64), Error> {
        progress.begin("rewrite", self.db.size_bytes());
        let options = Options {
            page_size: PageSize::new(self.db.meta().page_size)?,
            root_fill: Fill::FULL,
            root_sequence: self.db.meta().sequence,
            ..Options::default()
        };
        let mut writer = Writer::new(out, options)?;
        let mut removed = 0;
        for name in self.names()? {
            let old = self.db.root().bucket(&name)?;
            let options = options_of(old.as_ref());
            let mut new = writer.bucket(&name, options)?;
            match (self.replaced.get(name.as_ref()), &old, &self.cut) {
                (Some(records), ..) => put_all(&mut new, records)?,
                (None, Some(old), Some(cut)) if is_key(&name) => {
                    removed = self.write_cut(&mut new, old, cut, progress)?;
                }
                (None, Some(old), _) => copy(&mut new, old, 0, progress)?,
                (None, None, _) => {}
            }
            if is_key(&name) {
                put_all(&mut new, &self.appended)?;
            }
            new.close()?;
        }
        Ok((writer.finish()?, removed))
    }

    fn write_cut<W: Write>(
        &self,
        new: &mut BucketWriter<'_, W>,
        old: &Bucket<'a>,
        cut: &Cut<'a>,
        progress: &dyn Progress,
    ) -> Result<u64, Error> {
        let mut removed = 0;
        for leaf in old.leaves() {
            let leaf = leaf?;
            if progress.interrupted() {
                return Err(bolt::Error::Interrupted.into());
            }
            for item in leaf.items() {
                let item = item?;
                match cut.fate(&item)? {
                    Fate::Stays(value) => new.put(item.key, &value)?,
                    Fate::Goes => removed += 1,
                }
            }
            progress.advance(leaf.len_bytes());
        }
        Ok(removed)
    }

    /// Status hash of the new database.
    fn hash(&self, progress: &dyn Progress) -> Result<u32, Error> {
        progress.begin("compare", self.db.size_bytes());
        let mut sum = Sum::default();
        for name in self.names()? {
            let old = self.db.root().bucket(&name)?;
            let replaced = self.replaced.get(name.as_ref());
            let appended = is_key(&name).then_some(&self.appended);
            match (replaced, &old, &self.cut) {
                (None, Some(old), Some(cut)) if is_key(&name) => {
                    sum.crc.update(&name);
                    let parts = old.subtrees(rayon::current_num_threads() * 64);
                    let pieces: Vec<_> =
                        parts.par_iter().map(|part| sum_of_cut(part, cut, progress)).collect();
                    for piece in pieces {
                        sum.join(&piece?);
                    }
                }
                (None, Some(old), _) => sum.join(&bucket_sum(&name, old, progress)?),
                _ => sum.crc.update(&name),
            }
            for (key, value) in replaced.into_iter().chain(appended).flatten() {
                sum.add(key, value);
            }
        }
        Ok(sum.crc.value())
    }
}

fn sum_of_cut<'a>(
    part: &Subtree<'a>,
    cut: &Cut<'a>,
    progress: &dyn Progress,
) -> Result<Sum, Error> {
    let mut sum = Sum::default();
    for leaf in part.leaves() {
        let leaf = leaf?;
        if progress.interrupted() {
            return Err(bolt::Error::Interrupted.into());
        }
        for item in leaf.items() {
            let item = item?;
            if let Fate::Stays(value) = cut.fate(&item)? {
                sum.add(item.key, &value);
            }
        }
        progress.advance(leaf.len_bytes());
    }
    Ok(sum)
}

fn is_key(name: &[u8]) -> bool {
    name == bucket::KEY.as_bytes()
}

fn options_of(old: Option<&Bucket<'_>>) -> BucketOptions {
    BucketOptions { fill: Fill::FULL, sequence: old.map_or(0, Bucket::sequence) }
}

fn put_all<W: Write>(new: &mut BucketWriter<'_, W>, records: &Records) -> Result<(), WriteError> {
    records.iter().try_for_each(|(key, value)| new.put(key, value))
}

/// Copies a bucket and what is nested in it; only buckets that etcd does not know nest.
fn copy<W: Write>(
    new: &mut BucketWriter<'_, W>,
    old: &Bucket<'_>,
    depth: usize,
    progress: &dyn Progress,
) -> Result<(), Error> {
    let limit = old.db().limits().max_depth;
    for leaf in old.leaves() {
        let leaf = leaf?;
        if progress.interrupted() {
            return Err(bolt::Error::Interrupted.into());
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
            copy(&mut inner, &nested, depth + 1, progress)?;
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
