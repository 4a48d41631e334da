//! Why something cannot be written.

use std::{
    io,
    path::{Path, PathBuf},
};

use crate::progress::Interrupted;

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

/// Why nothing is written under a name.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum TargetError {
    /// The name leads to something that is not written to.
    #[error("{} {reason}", path.display())]
    Refused {
        /// The name as it was given.
        path: PathBuf,
        /// What it leads to.
        reason: Refusal,
    },
    /// The system refused.
    #[error(transparent)]
    Io(#[from] IoError),
    /// The caller stopped the wait for a reader of the FIFO.
    #[error(transparent)]
    Interrupted(#[from] Interrupted),
}

/// What a name leads to that is not written to.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum Refusal {
    /// A directory, or a name that only a directory can have.
    #[error("is a directory; name the file to write")]
    Directory,
    /// A disk.
    #[error("is a block device, which this program never writes to; name the file to write")]
    BlockDevice,
    /// A socket.
    #[error("is a socket, which this program cannot write to; name the file to write")]
    Socket,
    /// A file that a rename cannot replace.
    #[error("is a mount point, which a new file cannot replace; name the file to write")]
    MountPoint,
    /// Standard output, a FIFO or a device, and what is written has to be read back.
    #[error("is not a file: what this command writes is read back, so name the file to write")]
    Stream,
    /// A link that the kernel's `protected_symlinks` does not let this user follow.
    #[error(
        "is another user's symbolic link in a sticky, world-writable directory; the kernel's protected_symlinks forbids to follow it"
    )]
    ForeignLink,
    /// A FIFO that the kernel's `protected_fifos` does not let this user open.
    #[error(
        "is another user's FIFO in a sticky, world-writable directory; the kernel's protected_fifos forbids to open it"
    )]
    ForeignFifo,
    /// A file that only its owner may replace.
    #[error("is another user's file in a sticky directory; only its owner may replace it")]
    ForeignFile,
    /// More links than the kernel follows, or a circle of them.
    #[error("is a symbolic link that leads to itself, or through more than 40 links")]
    TooManyLinks,
    /// The name of a descriptor that is not open.
    #[error("leads to nothing that is open")]
    NotOpen,
    /// A name that is too long for the temporary name beside it.
    #[error("has a name that leaves no room for the temporary name beside it")]
    LongName,
    /// What was there changed while the work went on.
    #[error("became something else while the work went on; nothing was replaced")]
    Changed,
}
