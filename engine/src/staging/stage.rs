//! A file or directory under way: made beside its target, synced, renamed last.

use std::{
    fs::{self, File, OpenOptions},
    io,
    os::unix::fs::{DirBuilderExt, MetadataExt, OpenOptionsExt},
    path::{Path, PathBuf},
};

use rustix::fs::{FlockOperation, RenameFlags};

use super::{IoError, Refusal, Target, TargetError};

/// What stands between a target's name and a number in a temporary name.
const MARK: &str = ".tmp-";
/// Bytes by which a temporary name is longer than its target's: the mark and a process id, or one a little higher.
pub(super) const NAME_ROOM: usize = MARK.len() + 10;

/// A file or directory under way. Dropped without [`Stage::commit`], it is removed.
#[derive(Debug)]
pub struct Stage {
    temporary: PathBuf,
    target: PathBuf,
    /// Locked while the work goes on, so that a later run can tell remains from work.
    lock: File,
    /// Of a file: whether it replaces one.
    replaces: bool,
    done: bool,
}

impl Stage {
    /// Begins a file, readable by its owner only, that will be named `target`; a link there is followed.
    ///
    /// # Errors
    /// When the target is nothing that a file may replace, or its directory cannot be written.
    pub fn file(target: &Path) -> Result<Self, TargetError> {
        Self::of(&Target::find(target)?)
    }

    /// As [`Stage::file`], of a target that was looked at.
    ///
    /// # Errors
    /// When the target is a stream, or its directory cannot be written.
    pub fn of(target: &Target) -> Result<Self, TargetError> {
        let mut stage = Self::begin(target.require_file()?, |path| {
            OpenOptions::new().write(true).create_new(true).mode(0o600).open(path)
        })?;
        stage.replaces = target.replaces();
        Ok(stage)
    }

    /// Begins a directory, open to its owner only, that will be named `target`.
    ///
    /// # Errors
    /// When the target's parent cannot be written.
    pub fn directory(target: &Path) -> Result<Self, IoError> {
        let mut stage = Self::begin(target, |path| {
            fs::DirBuilder::new().mode(0o700).create(path)?;
            File::open(path)
        })?;
        stage.replaces = true;
        Ok(stage)
    }

    fn begin(target: &Path, create: impl Fn(&Path) -> io::Result<File>) -> Result<Self, IoError> {
        let mut attempt = u64::from(std::process::id());
        loop {
            let temporary = temporary(target, attempt);
            match create(&temporary) {
                Ok(lock) => {
                    // A filesystem without locks only loses the courtesy of telling remains from work.
                    let _ = rustix::fs::flock(&lock, FlockOperation::NonBlockingLockExclusive);
                    let target = target.to_path_buf();
                    return Ok(Self { temporary, target, lock, replaces: false, done: false });
                }
                Err(error) if error.kind() == io::ErrorKind::AlreadyExists => {
                    attempt = attempt.wrapping_add(1)
                }
                Err(error) => return Err(IoError::at("create", &temporary)(error)),
            }
        }
    }

    /// Where the work goes on.
    pub fn path(&self) -> &Path {
        &self.temporary
    }

    /// The open file; of a directory, the directory itself.
    pub fn handle(&self) -> &File {
        &self.lock
    }

    /// Whether a file stood under the target's name, which [`Stage::commit`] replaces.
    pub fn replaces(&self) -> bool {
        self.replaces
    }

    /// Gives the work its name: a file replaces the file that was there when it was begun, a directory replaces an empty
    /// one. The parent directory is synced.
    ///
    /// # Errors
    /// When something else stands there meanwhile, or the rename or the sync fails; the temporary thing is then removed.
    pub fn commit(mut self) -> Result<(), TargetError> {
        if !self.replaces {
            return Ok(self.commit_new()?);
        }
        // A rename refuses a directory in a file's place and a file in a directory's, and nothing else.
        let is_file = self.lock.metadata().is_ok_and(|own| own.is_file());
        if is_file && fs::symlink_metadata(&self.target).is_ok_and(|there| !there.is_file()) {
            let (path, reason) = (self.target.clone(), Refusal::Changed);
            return Err(TargetError::Refused { path, reason });
        }
        fs::rename(&self.temporary, &self.target)
            .map_err(IoError::at("rename into place", &self.target))?;
        self.done = true;
        Ok(sync_directory(parent(&self.target))?)
    }

    /// As [`Stage::commit`], but nothing may stand under the target's name.
    ///
    /// # Errors
    /// When something does, or the rename or the sync fails; the temporary thing is then removed.
    pub fn commit_new(mut self) -> Result<(), IoError> {
        let here = rustix::fs::CWD;
        let renamed = rustix::fs::renameat_with(
            here,
            &self.temporary,
            here,
            &self.target,
            RenameFlags::NOREPLACE,
        );
        match renamed {
            Ok(()) => {}
            // Filesystems that cannot refuse: rename replaces at most an empty directory.
            Err(rustix::io::Errno::INVAL | rustix::io::Errno::NOSYS)
                if fs::symlink_metadata(&self.target).is_err() =>
            {
                fs::rename(&self.temporary, &self.target)
                    .map_err(IoError::at("rename into place", &self.target))?;
            }
            Err(error) => return Err(IoError::at("rename into place", &self.target)(error.into())),
        }
        self.done = true;
        sync_directory(parent(&self.target))
    }
}

impl Drop for Stage {
    fn drop(&mut self) {
        if self.done {
            return;
        }
        // Nothing more can be done when this fails: the next run names what is left.
        let _ = if self.temporary.is_dir() {
            fs::remove_dir_all(&self.temporary)
        } else {
            fs::remove_file(&self.temporary)
        };
    }
}

/// The directory `target` stands in.
pub fn parent(target: &Path) -> &Path {
    match target.parent() {
        Some(parent) if !parent.as_os_str().is_empty() => parent,
        None if target.has_root() => target,
        _ => Path::new("."),
    }
}

fn temporary(target: &Path, number: u64) -> PathBuf {
    let mut name = target.file_name().unwrap_or_default().to_os_string();
    name.push(format!("{MARK}{number}"));
    parent(target).join(name)
}

/// Makes the entries of `directory` durable.
///
/// # Errors
/// When it cannot be opened or synced.
pub fn sync_directory(directory: &Path) -> Result<(), IoError> {
    File::open(directory).and_then(|open| open.sync_all()).map_err(IoError::at("sync", directory))
}

/// Whether a filesystem is mounted at `directory`.
pub fn is_mount_point(directory: &Path) -> bool {
    use rustix::fs::{AtFlags, StatxAttributes, StatxFlags};
    let stat =
        rustix::fs::statx(rustix::fs::CWD, directory, AtFlags::empty(), StatxFlags::BASIC_STATS);
    if let Ok(stat) = stat
        && stat.stx_attributes_mask.contains(StatxAttributes::MOUNT_ROOT)
    {
        return stat.stx_attributes.contains(StatxAttributes::MOUNT_ROOT);
    }
    // Before Linux 5.8; misses what is mounted from within the same filesystem.
    let device = |path: &Path| fs::metadata(path).map(|metadata| metadata.dev());
    match (device(directory), device(&directory.join(".."))) {
        (Ok(own), Ok(parent)) => own != parent,
        _ => false,
    }
}

/// What earlier, killed runs left beside `target`; what a run still works on is not among it.
pub fn remains(target: &Path) -> Vec<PathBuf> {
    let Some(name) = target.file_name() else { return Vec::new() };
    let mut prefix = name.to_os_string();
    prefix.push(MARK);
    let Ok(entries) = fs::read_dir(parent(target)) else { return Vec::new() };
    let mut found: Vec<PathBuf> = entries
        .flatten()
        .filter(|entry| {
            let name = entry.file_name();
            let number = name.as_encoded_bytes().strip_prefix(prefix.as_encoded_bytes());
            number.is_some_and(|number| !number.is_empty() && number.iter().all(u8::is_ascii_digit))
        })
        .map(|entry| entry.path())
        .filter(|path| !in_use(path))
        .collect();
    found.sort();
    found
}

fn in_use(path: &Path) -> bool {
    File::open(path)
        .is_ok_and(|file| rustix::fs::flock(&file, FlockOperation::NonBlockingLockShared).is_err())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_not_committed_is_gone_and_what_was_killed_is_named() {
        let dir = tempfile::tempdir().unwrap();
        let target = dir.path().join("out.db");
        let stage = Stage::file(&target).unwrap();
        let path = stage.path().to_path_buf();
        assert!(path.exists() && remains(&target).is_empty(), "work under way is no remains");
        drop(stage);
        assert!(!path.exists() && !target.exists());
        // A killed run leaves the file without its lock.
        fs::write(&path, b"half").unwrap();
        assert_eq!(remains(&target), std::slice::from_ref(&path));
        let stage = Stage::file(&target).unwrap();
        fs::write(stage.path(), b"whole").unwrap();
        stage.commit().unwrap();
        assert_eq!(fs::read(&target).unwrap(), b"whole");
        assert_eq!(fs::read(&path).unwrap(), b"half", "remains are named, never touched");
    }

    #[test]
    fn a_new_directory_never_replaces_anything() {
        let dir = tempfile::tempdir().unwrap();
        let target = dir.path().join("data");
        fs::create_dir(&target).unwrap();
        assert!(Stage::directory(&target).unwrap().commit_new().is_err());
        assert!(remains(&target).is_empty());
        Stage::directory(&target).unwrap().commit().unwrap();
        fs::write(target.join("file"), b"").unwrap();
        assert!(Stage::directory(&target).unwrap().commit().is_err(), "not over a full directory");
        assert!(target.join("file").exists());
    }
}
