//! What a path is: a data dir, a member dir, a file, or something that is not etcd's.
//!
//! Recognised from content, never from a name.

mod foreign;
mod identity;
mod member;
mod running;

pub use foreign::{Foreign, foreign};
pub use identity::{RaftIdentity, raft_identity};
pub use member::{MemberFiles, size_bytes};
pub use running::is_running;

use std::path::{Path, PathBuf};

use crate::staging::IoError;

/// What a path turned out to be.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Kind {
    /// An etcd data dir: it holds `member/`.
    DataDir,
    /// A member dir: it holds `snap/db`.
    MemberDir,
    /// A db file: a database without a trailer.
    Db,
    /// A snapshot: a database with a trailer.
    Snapshot,
}

impl Kind {
    /// The stable word for scripts.
    pub fn as_str(self) -> &'static str {
        match self {
            Kind::DataDir => "data-dir",
            Kind::MemberDir => "member-dir",
            Kind::Db => "db",
            Kind::Snapshot => "snapshot",
        }
    }
}

/// The files behind a path.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Located {
    /// The path as it was given.
    pub path: PathBuf,
    /// The database file.
    pub db: PathBuf,
    /// The member directory and what kind of path it was found by; `None` for a file.
    pub member: Option<(Kind, PathBuf)>,
}

/// Why a path holds nothing to read.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum Error {
    /// The system refused.
    #[error(transparent)]
    Io(#[from] IoError),
    /// A directory without a database where etcd keeps it.
    #[error("{}: neither a data dir (member/snap/db) nor a member dir (snap/db)", path.display())]
    NoDatabase {
        /// The directory.
        path: PathBuf,
    },
}

/// Finds the database file behind `path`. Of a member whose db is missing, it is where the db should be.
///
/// # Errors
/// When there is nothing of etcd's.
pub fn locate(path: &Path) -> Result<Located, Error> {
    let metadata = path.metadata().map_err(IoError::at("open", path))?;
    if !metadata.is_dir() {
        return Ok(Located { path: path.to_path_buf(), db: path.to_path_buf(), member: None });
    }
    for (kind, member) in
        [(Kind::DataDir, path.join("member")), (Kind::MemberDir, path.to_path_buf())]
    {
        let db = member.join("snap").join("db");
        if db.exists() {
            return Ok(Located { path: path.to_path_buf(), db, member: Some((kind, member)) });
        }
    }
    // A member whose db is gone is a member all the same: its log may have everything.
    for (kind, member) in
        [(Kind::DataDir, path.join("member")), (Kind::MemberDir, path.to_path_buf())]
    {
        let is_member = match kind {
            Kind::DataDir => member.join("snap").is_dir() || member.join("wal").is_dir(),
            _ => MemberFiles::list(&member, None)?.is_some(),
        };
        if is_member {
            let db = member.join("snap").join("db");
            return Ok(Located { path: path.to_path_buf(), db, member: Some((kind, member)) });
        }
    }
    Err(Error::NoDatabase { path: path.to_path_buf() })
}
