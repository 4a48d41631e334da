//! What stops a restore.

use std::path::PathBuf;

use super::{IdentityError, UrlError};
use crate::{
    bolt::{self, patch::PatchError},
    finding::{Finding, counted},
    mvcc::{self, Orphan},
    progress::Interrupted,
    rewrite,
    staging::{IoError, SpaceError, TargetError},
};

/// Why a restore could not be planned or done. Nothing stands under the target's name then.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum Error {
    /// The caller stopped the operation.
    #[error(transparent)]
    Interrupted(#[from] Interrupted),
    /// The names and URLs do not make a cluster.
    #[error(transparent)]
    Identity(#[from] IdentityError),
    /// An advertised URL is refused.
    #[error("--initial-advertise-peer-urls: {0}")]
    Advertised(#[source] UrlError),
    /// etcd's rule: a raised revision without the mark would let watches miss events.
    #[error(
        "--bump-revision and --mark-compacted go together: a watch must not miss the revisions that the raise skips"
    )]
    BumpWithoutMark,
    /// A revision beyond what etcd can count, or so near to it that the new cluster would soon come to its end.
    #[error(
        "--bump-revision {bump}: revision {latest} cannot be raised that far; 10^12 revisions below 2^63 have to be left"
    )]
    Bump {
        /// The raise asked for.
        bump: u64,
        /// The latest revision.
        latest: i64,
    },
    /// The data dir holds something already.
    #[error("data-dir {path:?} not empty or could not be read", path = path.display().to_string())]
    DataDir {
        /// The data dir.
        path: PathBuf,
    },
    /// The WAL dir holds something already.
    #[error("wal-dir {path:?} exists and is not empty", path = path.display().to_string())]
    WalDir {
        /// The WAL dir.
        path: PathBuf,
    },
    /// The input is damaged.
    #[error("the input is damaged: {}, nothing was written", counted(findings.len() as u64, "finding", "findings"))]
    Damaged {
        /// What is wrong with it.
        findings: Vec<Finding>,
    },
    /// A prefix of keys to keep under which no key is kept.
    #[error("--keep-prefix {}: no key begins with it at revision {revision}", prefix.escape_ascii())]
    KeepsNothing {
        /// The prefix.
        prefix: Vec<u8>,
        /// The revision that is restored.
        revision: i64,
    },
    /// The filesystem is too small.
    #[error(transparent)]
    Space(#[from] SpaceError),
    /// The input cannot be read.
    #[error(transparent)]
    Bolt(#[from] bolt::Error),
    /// The key space cannot be read.
    #[error(transparent)]
    KeySpace(#[from] mvcc::Error),
    /// The input cannot be edited.
    #[error(transparent)]
    Patch(#[from] PatchError),
    /// The database cannot be written anew.
    #[error(transparent)]
    Rewrite(#[from] rewrite::Error),
    /// Keys hang on leases that do not exist, and nobody said what becomes of them.
    #[error("{}", counted(orphans.len() as u64, "key is attached to a lease that no longer exists", "keys are attached to leases that no longer exist"))]
    Orphans {
        /// The keys, in order.
        orphans: Vec<Orphan>,
    },
    /// A member's name that cannot be the name of a directory.
    #[error("member {name:?}: the name cannot be a directory of {}", root.display())]
    DirectoryName {
        /// The name.
        name: String,
        /// Where its directory would be.
        root: PathBuf,
    },
    /// Something stands where all members' directories go.
    #[error("{} is not empty or cannot be read", path.display())]
    Root {
        /// The directory.
        path: PathBuf,
    },
    /// Two of the things to be made would stand within each other.
    #[error("{} and {} lie within each other", outer.display(), inner.display())]
    Nested {
        /// The one.
        outer: PathBuf,
        /// The one in it.
        inner: PathBuf,
    },
    /// Nothing can be written under that name.
    #[error(transparent)]
    Target(#[from] TargetError),
    /// The system refused.
    #[error(transparent)]
    Io(#[from] IoError),
}

impl Error {
    /// Whether the input's damage is the reason.
    pub fn is_damage(&self) -> bool {
        match self {
            Error::Damaged { .. } => true,
            Error::Bolt(error) | Error::Patch(PatchError::Read(error)) => error.is_damage(),
            Error::Patch(PatchError::MissingTail { .. }) => true,
            Error::KeySpace(error) => error.is_damage(),
            Error::Rewrite(error) => error.is_damage(),
            _ => false,
        }
    }
}
