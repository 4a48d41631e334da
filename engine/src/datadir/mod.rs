//! What a path is: a data dir, a member dir, a file, or something that is not etcd's.
//!
//! Recognised from content, never from a name.

mod foreign;
mod identity;
mod member;
mod nearby;
mod running;

pub use foreign::{Advice, Foreign, foreign, is_blank};
pub use identity::{RaftIdentity, raft_identity};
pub use member::{MemberFiles, size_bytes};
pub use nearby::{Near, Nearby, data_dir_of};
pub use running::is_running;

use std::{
    io,
    os::unix::fs::MetadataExt as _,
    path::{Path, PathBuf},
};

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

impl serde::Serialize for Kind {
    fn serialize<S: serde::Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.serialize_str(self.as_str())
    }
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
    /// A directory on the way may not be searched by this user.
    #[error(
        "{}: permission denied: this user may not search {} (mode {mode:04o}, owner uid {owner}); run as that owner or as root",
        path.display(), directory.display()
    )]
    Denied {
        /// What was looked for.
        path: PathBuf,
        /// The directory.
        directory: PathBuf,
        /// The directory's permission bits.
        mode: u32,
        /// The user id of the directory's owner.
        owner: u32,
    },
    /// A directory without a database where etcd keeps it.
    #[error(
        "{}: neither a data dir (member/snap/db) nor a member dir (snap/db){}{nearby}",
        path.display(), if nearby.is_empty() { "" } else { "; " }
    )]
    NoDatabase {
        /// The directory.
        path: PathBuf,
        /// What was found near it.
        nearby: Box<Nearby>,
    },
}

/// Finds the database file behind `path`. Of a member whose db is missing, it is where the db should be.
///
/// # Errors
/// When there is nothing of etcd's, and when this user may not look.
pub fn locate(path: &Path) -> Result<Located, Error> {
    let metadata = path.metadata().map_err(|source| refused(path, source))?;
    if !metadata.is_dir() {
        return Ok(Located { path: path.to_path_buf(), db: path.to_path_buf(), member: None });
    }
    for (kind, member) in
        [(Kind::DataDir, path.join("member")), (Kind::MemberDir, path.to_path_buf())]
    {
        let db = member.join("snap").join("db");
        if is_there(&db)? {
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
    Err(Error::NoDatabase { path: path.to_path_buf(), nearby: Box::new(Nearby::of(path)) })
}

/// Whether there is a file or directory at `path`. Not being allowed to look is an error, not a no.
fn is_there(path: &Path) -> Result<bool, Error> {
    use io::ErrorKind::{NotADirectory, NotFound};
    match path.metadata() {
        Ok(_) => Ok(true),
        Err(error) if matches!(error.kind(), NotFound | NotADirectory) => Ok(false),
        Err(error) => Err(refused(path, error)),
    }
}

/// Why `path` cannot be looked at, with the directory that forbids it.
fn refused(path: &Path, source: io::Error) -> Error {
    const PERMISSIONS: u32 = 0o7777;
    let denied = (source.kind() == io::ErrorKind::PermissionDenied)
        .then(|| {
            let directory = path.ancestors().skip(1).find_map(|above| {
                let above = if above.as_os_str().is_empty() { Path::new(".") } else { above };
                Some((above, above.metadata().ok()?))
            });
            directory.map(|(directory, metadata)| Error::Denied {
                path: path.to_path_buf(),
                directory: directory.to_path_buf(),
                mode: metadata.mode() & PERMISSIONS,
                owner: metadata.uid(),
            })
        })
        .flatten();
    denied.unwrap_or_else(|| IoError::at("open", path)(source).into())
}
