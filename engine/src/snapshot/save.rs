//! Writes a snapshot: the bytes a server's snapshot of the same transaction would have.

use std::{
    fs::File,
    io::{self, Read, Write},
    os::unix::fs::FileExt as _,
    path::Path,
};

use rayon::prelude::*;
use sha2::{Digest as _, Sha256};

use super::{Digest, Error, trailer::TRAILER};
use crate::{
    bolt::{Db, TxId, meta::Meta, write::meta_page},
    bulk::Bulk,
    progress::{Progress, Step},
    staging::{Filesystem, IoError, Space, Stage},
};

/// Bytes written and hashed at a time.
const STEP: usize = 4 << 20;

/// What was written.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Saved {
    /// Bytes of the snapshot, trailer included.
    pub bytes: u64,
    /// SHA-256 of the database, the trailer.
    pub digest: Digest,
}

/// Writes the snapshot of `db` to `out`: fresh metas of transactions T and T − 1, all pages as they
/// stand, the digest. Source: bbolt `Tx.WriteTo`, etcd `maintenance.go`.
///
/// The caller has verified `db`.
///
/// # Errors
/// When writing fails, the file ends before the high water mark, or the work was interrupted.
pub fn write(
    db: &Db<'_>,
    out: &mut (impl Write + Send),
    progress: &dyn Progress,
) -> Result<Saved, Error> {
    let size = db.size_bytes();
    progress.begin("save", size);
    let pages = usize::try_from(size).ok().and_then(|size| db.bytes().get(..size)).ok_or(
        Error::Bolt(crate::bolt::Error::BeyondEnd {
            page: db.meta().high_water_mark,
            offset: size,
            len: db.bytes().len() as u64,
        }),
    )?;
    let metas = meta_pages(db);
    let rest = pages.get(metas.len()..).unwrap_or_default();
    let mut hasher = Sha256::new();
    for step in std::iter::once(metas.as_slice()).chain(rest.chunks(STEP)) {
        if progress.interrupted() {
            return Err(crate::bolt::Error::Interrupted.into());
        }
        let (written, ()) = rayon::join(|| out.write_all(step), || hasher.update(step));
        written.map_err(Error::Stream)?;
        progress.advance(step.len() as u64);
    }
    let digest = Digest(hasher.finalize().into());
    out.write_all(&digest.0).and_then(|()| out.flush()).map_err(Error::Stream)?;
    Ok(Saved { bytes: size + TRAILER as u64, digest })
}

/// Bytes of the snapshot of `db`.
pub fn length(db: &Db<'_>) -> u64 {
    db.size_bytes() + TRAILER as u64
}

/// The two meta pages of a snapshot: the active meta as transaction T in page 0, as T − 1 in page 1.
fn meta_pages(db: &Db<'_>) -> Vec<u8> {
    let TxId(txid) = db.meta().txid;
    [(0, txid), (1, txid.wrapping_sub(1))]
        .map(|(slot, txid)| meta_page(&Meta { slot, txid: TxId(txid), ..*db.meta() }))
        .concat()
}

/// Writes the snapshot of `db` as file `target`: whole or not at all. It is synced, read back and
/// compared before it takes its name; an older file of that name stays until then. `settled` is asked
/// last whether the bytes of `db` can be trusted.
///
/// # Errors
/// As [`write()`], when what was written reads back differently, and what `settled` says.
pub fn save_file(
    db: &Db<'_>,
    target: &Path,
    progress: &dyn Progress,
    settled: impl FnOnce() -> io::Result<()>,
) -> Result<Saved, Error> {
    Space::of([(&Filesystem::of(target), length(db))]).iter().try_for_each(Space::check)?;
    progress.step(Step::Create, target);
    let stage = Stage::file(target)?;
    progress.step(Step::Write, stage.path());
    let mut file =
        Bulk::new(stage.handle(), length(db)).map_err(IoError::at("open", stage.path()))?;
    let saved = write(db, &mut file, progress).map_err(|error| match error {
        Error::Stream(source) => Error::Io(IoError::at("write", stage.path())(source)),
        other => other,
    })?;
    drop(file);
    progress.step(Step::Sync, stage.path());
    stage.handle().sync_all().map_err(IoError::at("sync", stage.path()))?;
    read_back(db, &saved, stage.path(), progress)?;
    settled().map_err(Error::Stream)?;
    progress.step(Step::Rename, target);
    stage.commit()?;
    Ok(saved)
}

/// Compares a written snapshot with what was to be written, byte by byte.
fn read_back(
    db: &Db<'_>,
    saved: &Saved,
    path: &Path,
    progress: &dyn Progress,
) -> Result<(), Error> {
    progress.begin("verify", saved.bytes);
    let at = |source: io::Error| Error::Io(IoError::at("read back", path)(source));
    let mut file = File::open(path).map_err(at)?;
    let metas = meta_pages(db);
    let size = usize::try_from(db.size_bytes()).unwrap_or(usize::MAX);
    let rest = db.bytes().get(metas.len()..size).unwrap_or_default();
    let mut wanted = vec![(0, metas.as_slice())];
    let mut offset = metas.len() as u64;
    for step in rest.chunks(STEP).chain([&saved.digest.0[..]]) {
        wanted.push((offset, step));
        offset += step.len() as u64;
    }
    let compared: Vec<io::Result<bool>> = wanted
        .par_iter()
        .map_init(Vec::new, |buffer: &mut Vec<u8>, (offset, wanted)| {
            if progress.interrupted() {
                return Ok(true);
            }
            buffer.resize(wanted.len(), 0);
            file.read_exact_at(buffer, *offset)?;
            progress.advance(wanted.len() as u64);
            Ok(buffer == wanted)
        })
        .collect();
    if progress.interrupted() {
        return Err(crate::bolt::Error::Interrupted.into());
    }
    if compared.into_iter().collect::<io::Result<Vec<_>>>().map_err(at)?.contains(&false) {
        // In words that can be compared with what other tools say of the file.
        let found = hash(&mut file, db.size_bytes(), progress).map_err(at)?;
        let found = found.ok_or(crate::bolt::Error::Interrupted)?;
        return Err(Error::ReadBack { expected: saved.digest, found });
    }
    Ok(())
}

/// SHA-256 of the next `bytes` of `file`; `None` when interrupted.
pub(super) fn hash(
    file: &mut File,
    bytes: u64,
    progress: &dyn Progress,
) -> io::Result<Option<Digest>> {
    let mut left = bytes;
    let mut buffer = vec![0; STEP];
    let mut hasher = Sha256::new();
    while left > 0 {
        if progress.interrupted() {
            return Ok(None);
        }
        let want = usize::try_from(left).unwrap_or(STEP).min(STEP);
        let step = buffer.get_mut(..want).unwrap_or_default();
        file.read_exact(step)?;
        hasher.update(&*step);
        left -= want as u64;
        progress.advance(want as u64);
    }
    Ok(Some(Digest(hasher.finalize().into())))
}
