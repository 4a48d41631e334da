//! Files and directories that appear whole or not at all.
//!
//! A thing is made under a temporary name beside its target, synced, and renamed last. What a killed run
//! leaves behind keeps its temporary name, is found by [`remains`], and is never mistaken for the target.

use std::{
    fs::{self, File, OpenOptions},
    io,
    os::unix::fs::{DirBuilderExt, MetadataExt, OpenOptionsExt},
    path::{Path, PathBuf},
};

use rustix::fs::{FlockOperation, RenameFlags};

/// A filesystem that is too small.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{}: {needed} bytes are needed, {available} are free", path.display())]
pub struct SpaceError {
    /// A directory of the filesystem.
    pub path: PathBuf,
    /// Bytes needed.
    pub needed: u64,
    /// Bytes available.
    pub available: u64,
}

/// Where a file will stand, as it is before anything is made.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Filesystem {
    /// The nearest directory that exists.
    path: PathBuf,
    device: u64,
    available: Option<u64>,
}

impl Filesystem {
    /// The filesystem on which a file of that name will be.
    pub fn of(file: &Path) -> Self {
        let path = existing(file);
        let device = fs::metadata(&path).map_or(0, |metadata| metadata.dev());
        let stat = rustix::fs::statvfs(&path).ok();
        let available = stat.map(|stat| stat.f_bavail.saturating_mul(stat.f_frsize));
        Self { path, device, available }
    }
}

/// What a filesystem will be asked for, and what it has.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Space {
    /// A directory of the filesystem.
    pub path: PathBuf,
    /// Bytes needed.
    pub needed: u64,
    /// Bytes available; `None` when the filesystem does not say.
    pub available: Option<u64>,
}

impl Space {
    /// What files with these lengths in bytes take on their filesystems, in the order of the files.
    pub fn of<'f>(files: impl IntoIterator<Item = (&'f Filesystem, u64)>) -> Vec<Space> {
        let mut found: Vec<(u64, Space)> = Vec::new();
        for (on, bytes) in files {
            if let Some((_, space)) = found.iter_mut().find(|(device, _)| *device == on.device) {
                space.needed = space.needed.saturating_add(bytes);
                continue;
            }
            let space = Space { path: on.path.clone(), needed: bytes, available: on.available };
            found.push((on.device, space));
        }
        found.into_iter().map(|(_, space)| space).collect()
    }

    /// Refuses what would not fit.
    ///
    /// # Errors
    /// When less is available than needed.
    pub fn check(&self) -> Result<(), SpaceError> {
        match self.available {
            Some(available) if available < self.needed => {
                Err(SpaceError { path: self.path.clone(), needed: self.needed, available })
            }
            _ => Ok(()),
        }
    }
}

/// The nearest directory above `path` that exists.
fn existing(path: &Path) -> PathBuf {
    let mut directory = parent(path);
    while !directory.is_dir() {
        directory = parent(directory);
    }
    directory.to_path_buf()
}

/// Whom files and directories belong to.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Owner {
    /// User id.
    pub uid: u32,
    /// Group id.
    pub gid: u32,
}

impl Owner {
    /// Gives `file` to this owner.
    ///
    /// # Errors
    /// When the system refuses, as it does to all but root for other users.
    pub fn take(self, file: &File) -> io::Result<()> {
        std::os::unix::fs::fchown(file, Some(self.uid), Some(self.gid))
    }
}

/// What stands between a target's name and a number in a temporary name.
const MARK: &str = ".tmp-";

/// A file or directory under way. Dropped without [`Stage::commit`], it is removed.
#[derive(Debug)]
pub struct Stage {
    temporary: PathBuf,
    target: PathBuf,
    /// Locked while the work goes on, so that a later run can tell remains from work.
    lock: File,
    done: bool,
}

/// An I/O error with the path it happened at.
#[derive(Debug, thiserror::Error)]
#[error("{}: {action}", path.display())]
pub struct IoError {
    /// What was being done.
    pub action: &'static str,
    /// The file or directory.
    pub path: PathBuf,
    /// What the system said.
    pub source: io::Error,
}

impl IoError {
    /// An error of `action` on `path`, for `map_err`.
    pub fn at<'p>(action: &'static str, path: &'p Path) -> impl FnOnce(io::Error) -> IoError + 'p {
        move |source| IoError { action, path: path.to_path_buf(), source }
    }
}

impl Stage {
    /// Begins a file, readable by its owner only, that will be named `target`.
    ///
    /// # Errors
    /// When the target's directory cannot be written.
    pub fn file(target: &Path) -> Result<Self, IoError> {
        Self::begin(target, |path| {
            OpenOptions::new().write(true).create_new(true).mode(0o600).open(path)
        })
    }

    /// Begins a directory, open to its owner only, that will be named `target`.
    ///
    /// # Errors
    /// When the target's parent cannot be written.
    pub fn directory(target: &Path) -> Result<Self, IoError> {
        Self::begin(target, |path| {
            fs::DirBuilder::new().mode(0o700).create(path)?;
            File::open(path)
        })
    }

    fn begin(target: &Path, create: impl Fn(&Path) -> io::Result<File>) -> Result<Self, IoError> {
        let mut attempt = u64::from(std::process::id());
        loop {
            let temporary = temporary(target, attempt);
            match create(&temporary) {
                Ok(lock) => {
                    // A filesystem without locks only loses the courtesy of telling remains from work.
                    let _ = rustix::fs::flock(&lock, FlockOperation::NonBlockingLockExclusive);
                    return Ok(Self { temporary, target: target.to_path_buf(), lock, done: false });
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

    /// Gives the work its name: what was there under that name is replaced, but a directory only when
    /// it is empty. The parent directory is synced.
    ///
    /// # Errors
    /// When the rename or the sync fails; the temporary thing is then removed.
    pub fn commit(mut self) -> Result<(), IoError> {
        fs::rename(&self.temporary, &self.target)
            .map_err(IoError::at("rename into place", &self.target))?;
        self.done = true;
        sync_directory(parent(&self.target))
    }

    /// As [`Stage::commit`], but nothing may stand under the target's name.
    ///
    /// # Errors
    /// As [`Stage::commit`], and when something does.
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
            Err(rustix::io::Errno::INVAL | rustix::io::Errno::NOSYS) if !self.target.exists() => {
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
