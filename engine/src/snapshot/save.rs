//! Writes a snapshot: the bytes a server's snapshot of the same transaction would have.

use std::{
    io::Write,
    path::Path,
    sync::atomic::{AtomicBool, Ordering},
};

use sha2::{Digest as _, Sha256};

use super::{
    Digest, Error,
    trailer::{Image, TRAILER, Trailer},
};
use crate::{
    bolt::{Db, TxId, meta::Meta, write::meta_page},
    bulk::{Bulk, ReadBack},
    progress::{Interrupted, Progress, Step},
    staging::{Filesystem, IoError, Space, Stage, Staged, Target},
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
pub fn write(db: &Db<'_>, out: &mut impl Write, progress: &dyn Progress) -> Result<Saved, Error> {
    copy(db, None, out, progress)
}

/// The digest of the snapshot of `db`, when `image`, which it stands in, is that snapshot already and says so: to be
/// believed when the image has been verified.
pub fn carried_digest(image: &Image<'_>, db: &Db<'_>) -> Option<Digest> {
    let Trailer::Present(digest) = image.trailer() else { return None };
    let same_end = image.database().len() as u64 == db.size_bytes();
    (same_end && image.database().starts_with(&meta_pages(db))).then_some(digest)
}

/// Writes metas, pages and digest, which is computed beside the writing when it is not known.
fn copy(
    db: &Db<'_>,
    known: Option<Digest>,
    out: &mut impl Write,
    progress: &dyn Progress,
) -> Result<Saved, Error> {
    let size = db.size_bytes();
    progress.begin("write", size);
    let pages = usize::try_from(size).ok().and_then(|size| db.bytes().get(..size)).ok_or(
        Error::Bolt(crate::bolt::Error::BeyondEnd {
            page: db.meta().high_water_mark,
            offset: size,
            len: db.bytes().len() as u64,
        }),
    )?;
    let metas = meta_pages(db);
    let rest = pages.get(metas.len()..).unwrap_or_default();
    let steps = || std::iter::once(metas.as_slice()).chain(rest.chunks(STEP));
    let stop = AtomicBool::new(false);
    let interrupted = || progress.interrupted() || stop.load(Ordering::Relaxed);
    let digest = std::thread::scope(|scope| -> Result<Digest, Error> {
        let hash = || {
            let mut hasher = Sha256::new();
            steps().take_while(|_| !interrupted()).for_each(|step| hasher.update(step));
            Digest(hasher.finalize().into())
        };
        let hashing = known.is_none().then(|| scope.spawn(hash));
        let written = steps().try_for_each(|step| -> Result<(), Error> {
            progress.go_on()?;
            out.write_all(step).map_err(Error::Stream)?;
            progress.advance(step.len() as u64);
            Ok(())
        });
        stop.store(written.is_err(), Ordering::Relaxed);
        let hashed = hashing.map(|hashing| hashing.join());
        written?;
        match (known, hashed) {
            (Some(digest), _) | (None, Some(Ok(digest))) if !progress.interrupted() => Ok(digest),
            _ => Err(Interrupted.into()),
        }
    });
    let digest = digest?;
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

/// Writes the snapshot of `db` as file `target`: whole or not at all. It is synced before it takes its name; an older file
/// of that name stays until then, and is replaced only when every byte was read back from the disk. `known` is the
/// digest, where there is one: see [`carried_digest`]. The caller publishes the file once the source of `db` is known to
/// have held still.
///
/// # Errors
/// As [`write()`], and when what was written reads back differently.
pub fn save_file(
    db: &Db<'_>,
    known: Option<Digest>,
    target: &Path,
    read_back: ReadBack,
    progress: &dyn Progress,
) -> Result<Staged<Saved>, Error> {
    let target = Target::find(target)?;
    let path = target.require_file()?;
    Space::of([(&Filesystem::of(path), length(db))]).iter().try_for_each(Space::check)?;
    progress.step(Step::Create, path);
    let stage = Stage::of(&target)?;
    progress.step(Step::Write, stage.path());
    let at = |source| Error::Io(IoError::at("write", stage.path())(source));
    let nobody = Box::new(|_, _: &[u8]| Ok(()));
    let read_back = replacing(&target, read_back);
    let mut file = Bulk::reading_back(stage.handle(), stage.path(), length(db), read_back, nobody)
        .map_err(at)?;
    let saved = copy(db, known, &mut file, progress).map_err(|error| match error {
        Error::Stream(source) => at(source),
        other => other,
    })?;
    progress.begin("sync", saved.bytes);
    progress.step(Step::Sync, stage.path());
    stage.handle().sync_all().map_err(IoError::at("sync", stage.path()))?;
    file.read_back_rest().map_err(IoError::at("read back", stage.path()))?;
    progress.advance(saved.bytes);
    drop(file);
    Ok(Staged::new(stage, path.to_path_buf(), saved))
}

/// What is read back of a file that will be named `target`: all when there is a file that would be lost.
pub(super) fn replacing(target: &Target, asked: ReadBack) -> ReadBack {
    if target.replaces() { ReadBack::All } else { asked }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn all_is_read_back_where_a_file_would_be_lost() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("snapshot.db");
        let replacing = |asked| replacing(&Target::find(&path).unwrap(), asked);
        assert_eq!(replacing(ReadBack::Ends), ReadBack::Ends);
        assert_eq!(replacing(ReadBack::All), ReadBack::All);
        std::fs::write(&path, "the only backup").unwrap();
        assert_eq!(replacing(ReadBack::Ends), ReadBack::All);
    }
}
