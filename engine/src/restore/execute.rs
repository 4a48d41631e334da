//! Does what a plan says: beside the target, synced, renamed last.
//!
//! Order: db, WAL segment and snapfile are written and synced, then every directory from the inside out;
//! then a separate WAL dir gets its name, then the data dir (or `member` in it). A kill before the last
//! rename leaves temporary names only, after a separate WAL dir's rename that dir as well.

use std::{
    fs::{self, DirBuilder, File, OpenOptions},
    io::{self, Write as _},
    os::unix::fs::{DirBuilderExt, OpenOptionsExt},
    path::Path,
};

use super::{Error, Plan, db, plan::Appearance, raft};
use crate::{
    bolt::Db,
    progress::Progress,
    staging::{IoError, Stage, sync_directory},
    wal::SEGMENT_BYTES,
};

/// Bytes copied at a time.
const STEP: usize = 4 << 20;

/// What a restore made.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Restored {
    /// The store's last revision, raised when asked.
    pub revision: i64,
    /// Bytes of the new db.
    pub db_bytes: u64,
}

/// Makes the data dir of `plan` from `db`, which the caller has verified. `settled` is asked before
/// anything gets its name whether the bytes of `db` can be trusted.
///
/// # Errors
/// When the input cannot be edited, the system refuses, or the work was interrupted.
pub fn execute(
    plan: &Plan,
    db: &Db<'_>,
    progress: &dyn Progress,
    settled: impl FnOnce() -> io::Result<()>,
) -> Result<Restored, Error> {
    let (patched, revision) = db::patch(db, plan)?;
    let target = plan.target();
    let parent = plan.data_dir.parent().filter(|parent| !parent.as_os_str().is_empty());
    if let (Appearance::DataDir, Some(parent)) = (plan.appearance, parent) {
        make_directories(parent)?;
    }
    let db_bytes = patched.offset + patched.pages.len() as u64;
    let wal_parent = plan.wal_dir.as_deref().and_then(Path::parent);
    if let Some(parent) = wal_parent.filter(|parent| !parent.as_os_str().is_empty()) {
        make_directories(parent)?;
    }
    let stage = Stage::directory(&target)?;
    let member = match plan.appearance {
        Appearance::DataDir => stage.path().join("member"),
        Appearance::Member => stage.path().to_path_buf(),
    };
    room(stage.path(), db_bytes + SEGMENT_BYTES)?;
    let wal_stage = plan.wal_dir.as_deref().map(Stage::directory).transpose()?;
    let inside = member.join("wal");
    let wal = wal_stage.as_ref().map_or(inside.as_path(), Stage::path);
    let snap = member.join("snap");
    make_directories(&snap)?;
    if wal_stage.is_none() {
        make_directories(wal)?;
    }
    write_db(&snap.join("db"), db, &patched, progress)?;
    write_segment(
        &wal.join(raft::SEGMENT.to_string()),
        &raft::wal_head(&plan.cluster, plan.own.id),
    )?;
    let (name, bytes) = raft::snapfile(&plan.cluster);
    write_file(&snap.join(name.to_string()), &bytes, 0o666)?;
    for directory in [&snap, wal, &member, stage.path()] {
        sync_directory(directory)?;
    }
    settled().map_err(Error::Unsettled)?;
    if progress.interrupted() {
        return Err(crate::bolt::Error::Interrupted.into());
    }
    if let (Some(wal_stage), Some(wal_dir)) = (wal_stage, &plan.wal_dir) {
        wal_stage.commit_new()?;
        if let Err(error) = stage.commit_new() {
            // Nothing may stand under a target's name after a failure.
            fs::remove_dir_all(wal_dir).map_err(IoError::at("remove", wal_dir))?;
            return Err(error.into());
        }
    } else {
        stage.commit_new()?;
    }
    Ok(Restored { revision, db_bytes })
}

fn make_directories(path: &Path) -> Result<(), IoError> {
    DirBuilder::new().recursive(true).mode(0o700).create(path).map_err(IoError::at("create", path))
}

/// Refuses before the first byte what would not fit.
fn room(directory: &Path, needed: u64) -> Result<(), Error> {
    let Ok(stat) = rustix::fs::statvfs(directory) else { return Ok(()) };
    let available = stat.f_bavail.saturating_mul(stat.f_frsize);
    if available < needed {
        return Err(Error::Space { path: directory.to_path_buf(), needed, available });
    }
    Ok(())
}

fn write_db(
    path: &Path,
    db: &Db<'_>,
    patched: &crate::bolt::patch::Patched,
    progress: &dyn Progress,
) -> Result<(), Error> {
    progress.begin("restore", patched.offset);
    let at = |source| Error::Io(IoError::at("write", path)(source));
    let mut file = create(path, 0o600)?;
    let old = usize::try_from(patched.offset)
        .ok()
        .and_then(|size| db.bytes().get(..size))
        .unwrap_or_default();
    for step in old.chunks(STEP) {
        if progress.interrupted() {
            return Err(crate::bolt::Error::Interrupted.into());
        }
        file.write_all(step).map_err(at)?;
        progress.advance(step.len() as u64);
    }
    patched.write_pages(&mut file).map_err(at)?;
    file.sync_all().map_err(at)?;
    patched.write_metas(&mut file).map_err(at)?;
    file.sync_all().map_err(at)
}

/// A segment, allocated to its full size as etcd does, so that a full disk shows now.
fn write_segment(path: &Path, head: &[u8]) -> Result<(), Error> {
    let at = |source| IoError::at("write", path)(source);
    let mut file = create(path, 0o600)?;
    let allocated =
        rustix::fs::fallocate(&file, rustix::fs::FallocateFlags::empty(), 0, SEGMENT_BYTES);
    match allocated {
        Ok(()) => {}
        Err(rustix::io::Errno::OPNOTSUPP | rustix::io::Errno::NOSYS) => {
            file.set_len(SEGMENT_BYTES).map_err(at)?
        }
        Err(error) => return Err(at(error.into()).into()),
    }
    file.write_all(head).and_then(|()| file.sync_all()).map_err(at)?;
    Ok(())
}

fn write_file(path: &Path, bytes: &[u8], mode: u32) -> Result<(), Error> {
    let mut file = create(path, mode)?;
    file.write_all(bytes).and_then(|()| file.sync_all()).map_err(IoError::at("write", path))?;
    Ok(())
}

fn create(path: &Path, mode: u32) -> Result<File, IoError> {
    OpenOptions::new()
        .write(true)
        .create_new(true)
        .mode(mode)
        .open(path)
        .map_err(IoError::at("create", path))
}
