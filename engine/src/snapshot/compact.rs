//! Writes a database anew as a file: a db, or a snapshot with its digest.

use std::{
    fs::File,
    io::{self, Read, Seek, SeekFrom, Write},
    os::unix::fs::FileExt as _,
    path::Path,
    sync::{Arc, Mutex},
};

use sha2::{Digest as _, Sha256};

use super::{Digest, Error, save::replacing, trailer::TRAILER};
use crate::{
    bulk::ReadBack,
    progress::{Interrupted, Progress, Step},
    rewrite::{Rewrite, Rewritten, Seen},
    staging::{Filesystem, IoError, Space, Stage, Staged, Target},
};

/// What a compacted file is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Form {
    /// A database alone.
    Db,
    /// A database and its digest.
    Snapshot,
}

impl Form {
    /// Length of a file with `db_bytes` of database.
    pub fn len(self, db_bytes: u64) -> u64 {
        match self {
            Form::Db => db_bytes,
            Form::Snapshot => db_bytes + TRAILER as u64,
        }
    }
}

/// What was written.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Compacted {
    /// Bytes of the file.
    pub bytes: u64,
    /// SHA-256 of the database, of a snapshot.
    pub digest: Option<Digest>,
    /// Records of bucket `key` that were left out.
    pub records_removed: u64,
}

/// Writes `rewrite` as file `target`: whole or not at all. Its pages are checked and its content is compared while it is
/// written, and it is synced before it takes its name; an older file of that name stays until then, and is replaced
/// only when every byte of the database was read back from the disk. The caller publishes it once the source is known to
/// have held still.
///
/// # Errors
/// When the space does not suffice, the source cannot be read, the system refuses, or what was written reads back
/// differently.
pub fn compact_file(
    rewrite: &Rewrite<'_>,
    form: Form,
    target: &Path,
    read_back: ReadBack,
    progress: &dyn Progress,
) -> Result<Staged<Compacted>, Error> {
    let target = Target::find(target)?;
    let path = target.require_file()?;
    let read_back = replacing(&target, read_back);
    check_space(rewrite, form, path, progress)?;
    progress.step(Step::Create, path);
    let stage = Stage::of(&target)?;
    progress.step(Step::Write, stage.path());
    let at = |source| Error::Io(IoError::at("write", stage.path())(source));
    let hasher = (form == Form::Snapshot).then(|| Arc::new(Mutex::new(Sha256::new())));
    let seen = hasher.clone().map(|hasher| -> Seen {
        Box::new(move |bytes| {
            if let Ok(mut hasher) = hasher.lock() {
                hasher.update(bytes);
            }
        })
    });
    let Rewritten { size_bytes, records_removed } = rewrite
        .write_file(stage.handle(), stage.path(), read_back, seen, progress)
        .map_err(|error| match error.into_io() {
            Ok(source) => at(source),
            Err(error) => error.into(),
        })?;
    let hasher = hasher.and_then(Arc::into_inner).and_then(|hasher| hasher.into_inner().ok());
    let digest = hasher.map(|hasher| Digest(hasher.finalize().into()));
    if let Some(digest) = digest {
        stage.handle().write_all_at(&digest.0, size_bytes).map_err(at)?;
        progress.step(Step::Sync, stage.path());
        stage.handle().sync_all().map_err(at)?;
    }
    let compacted = Compacted { bytes: form.len(size_bytes), digest, records_removed };
    Ok(Staged::new(stage, path.to_path_buf(), compacted))
}

/// Writes `rewrite` as a snapshot to `out`, which need not be a file. The source is read twice: a snapshot begins
/// with metas that say how it ends.
///
/// # Errors
/// When the source cannot be read or writing fails.
pub fn compact_stream(
    rewrite: &Rewrite<'_>,
    out: &mut impl Write,
    progress: &dyn Progress,
) -> Result<Compacted, Error> {
    let metas = rewrite.metas(progress)?;
    let mut stream = Hashing { out, hasher: Sha256::new() };
    stream.write_all(&metas).map_err(Error::Stream)?;
    let (mut unsealed, written) = rewrite.write(&mut stream, progress)?;
    unsealed.get_mut().flush().map_err(Error::Stream)?;
    let bytes = unsealed.summary().size_bytes;
    let digest = Digest(stream.hasher.clone().finalize().into());
    stream.out.write_all(&digest.0).and_then(|()| stream.out.flush()).map_err(Error::Stream)?;
    let bytes = Form::Snapshot.len(bytes);
    Ok(Compacted { bytes, digest: Some(digest), records_removed: written.removed })
}

/// Refuses what will not fit; the new database is measured only when the old one would not fit.
fn check_space(
    rewrite: &Rewrite<'_>,
    form: Form,
    target: &Path,
    progress: &dyn Progress,
) -> Result<(), Error> {
    let on = Filesystem::of(target);
    let fits = |bytes| Space::of([(&on, form.len(bytes))]).iter().try_for_each(Space::check);
    if fits(rewrite.bound()).is_ok() {
        return Ok(());
    }
    Ok(fits(rewrite.measure(progress)?.size_bytes)?)
}

/// Makes a snapshot of a file that holds `bytes` of database: reads it, and writes the digest behind it. The length of
/// the snapshot in bytes.
///
/// # Errors
/// When it cannot be read or written, or the work was interrupted.
pub fn append_digest(file: &mut File, bytes: u64, progress: &dyn Progress) -> Result<u64, Error> {
    progress.begin("digest", bytes);
    let digest = file.rewind().and_then(|()| hash(file, bytes, progress)).map_err(Error::Stream)?;
    let digest = digest.ok_or(Interrupted)?;
    file.write_all_at(&digest.0, bytes).map_err(Error::Stream)?;
    Ok(Form::Snapshot.len(bytes))
}

/// SHA-256 of the next `bytes` of `file`; `None` when interrupted.
fn hash(file: &mut File, bytes: u64, progress: &dyn Progress) -> io::Result<Option<Digest>> {
    /// Bytes read at a time.
    const STEP: usize = 4 << 20;
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

/// Hashes what goes by. Its position cannot change; the writer's first step, over the metas, was done before.
struct Hashing<'o, W> {
    out: &'o mut W,
    hasher: Sha256,
}

impl<W: Write> Write for Hashing<'_, W> {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        let written = self.out.write(bytes)?;
        self.hasher.update(bytes.get(..written).unwrap_or_default());
        Ok(written)
    }
    fn flush(&mut self) -> io::Result<()> {
        self.out.flush()
    }
}

impl<W> Seek for Hashing<'_, W> {
    fn seek(&mut self, position: SeekFrom) -> io::Result<u64> {
        match position {
            SeekFrom::Start(position) => Ok(position),
            _ => Err(io::ErrorKind::Unsupported.into()),
        }
    }
}
