//! What can be wrong with a source of bytes.

use std::path::PathBuf;
use std::{fmt, io};

/// Why bytes could not be had, or can no longer be believed.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum Error {
    /// The file cannot be opened or asked about.
    #[error("open {}", path.display())]
    Open {
        /// The file.
        path: PathBuf,
        /// What the system said.
        source: io::Error,
    },
    /// Reading stopped at a byte the system does not give.
    #[error("read {} at offset {offset:#x}", path.display())]
    Read {
        /// The file.
        path: PathBuf,
        /// First byte that was not read, from the start of the file.
        offset: u64,
        /// What the system said.
        source: io::Error,
    },
    /// The path leads to something that has no bytes at offsets.
    #[error("{} is a {kind}, expected a regular file or a block device", path.display())]
    NotAFile {
        /// The path.
        path: PathBuf,
        /// What is there.
        kind: Kind,
    },
    /// The file is larger than what may hold it.
    #[error("{} has {len_bytes} bytes, more than the {limit_bytes} there is room for in memory", path.display())]
    TooLarge {
        /// The file.
        path: PathBuf,
        /// Its length.
        len_bytes: u64,
        /// Memory of this machine, or its address space.
        limit_bytes: u64,
    },
    /// The system refused to map the file; [`Source::read`](super::Source::read) may still do.
    #[error("map {} ({len_bytes} bytes); reading it instead may work", path.display())]
    Map {
        /// The file.
        path: PathBuf,
        /// Its length.
        len_bytes: u64,
        /// What the system said.
        source: io::Error,
    },
    /// As many files are mapped as the signal handler can watch; [`Source::read`](super::Source::read) has no such limit.
    #[error("map {}: {limit} files are mapped already; read it instead", path.display())]
    TooManyMaps {
        /// The file.
        path: PathBuf,
        /// How many may be mapped at a time.
        limit: usize,
    },
    /// The file is shorter than what is to be kept of it.
    #[error("{len_bytes} bytes, expected at least {wanted_bytes}")]
    Beyond {
        /// Bytes there are.
        len_bytes: u64,
        /// Bytes wanted.
        wanted_bytes: u64,
    },
    /// There is no memory for so many bytes.
    #[error("no memory for {len_bytes} bytes")]
    NoMemory {
        /// Bytes wanted.
        len_bytes: u64,
    },
    /// The handler of [`FaultGuard::install`](super::FaultGuard::install) was refused by the system.
    #[error("install the SIGBUS handler that guards mapped files")]
    Guard {
        /// What the system said.
        source: io::Error,
    },
    /// A mapped page could not be read: the disk failed or the file was cut short. Zeros stood in its place.
    #[error("{} could not be read at offset {offset:#x}: the disk failed or the file was cut short", path.display())]
    Fault {
        /// The file.
        path: PathBuf,
        /// Start of the first page that was missed, from the start of the file.
        offset: u64,
    },
    /// The file is not what it was when it was opened.
    #[error("{} changed while it was read: {change}", path.display())]
    Changed {
        /// The file.
        path: PathBuf,
        /// What is different.
        change: Change,
    },
}

/// What stands at a path that is not a file of bytes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum Kind {
    /// A directory.
    Directory,
    /// A named pipe.
    Fifo,
    /// A socket.
    Socket,
    /// A character device.
    CharDevice,
    /// None of these.
    Other,
}

impl fmt::Display for Kind {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Kind::Directory => "directory",
            Kind::Fifo => "named pipe",
            Kind::Socket => "socket",
            Kind::CharDevice => "character device",
            Kind::Other => "special file",
        })
    }
}

/// How a file differs from the one that was opened.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum Change {
    /// It has another length.
    Length {
        /// Bytes when it was opened.
        opened: u64,
        /// Bytes now, or as far as reading came.
        now: u64,
    },
    /// Another file stands at its path; the bytes are those of the old one.
    Replaced,
    /// No file stands at its path any more.
    Removed,
    /// It was written to (its modification time moved).
    Written,
    /// Its owner, mode, links or times were set (its change time alone moved).
    Status,
}

impl fmt::Display for Change {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Change::Length { opened, now } => {
                write!(f, "it had {opened} bytes when it was opened and has {now} now")
            }
            Change::Replaced => f.write_str("another file stands at its path now"),
            Change::Removed => f.write_str("it was removed from its path"),
            Change::Written => f.write_str("its modification time moved"),
            Change::Status => {
                f.write_str("its change time moved (owner, mode, links or times were set)")
            }
        }
    }
}
