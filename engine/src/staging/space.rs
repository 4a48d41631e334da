//! Whether what is to be written fits.

use std::{
    fs,
    os::unix::fs::MetadataExt as _,
    path::{Path, PathBuf},
};

use super::parent;

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
