//! What stops the work on a snapshot.

use crate::{
    bolt,
    finding::{Finding, counted},
    mvcc,
    progress::Interrupted,
    rewrite, schema,
    staging::{IoError, SpaceError, TargetError},
};

/// Why a snapshot could not be read or made.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum Error {
    /// The caller stopped the operation.
    #[error(transparent)]
    Interrupted(#[from] Interrupted),
    /// The page tree is damaged, or this is no bbolt file.
    #[error(transparent)]
    Bolt(#[from] bolt::Error),
    /// The key space is damaged, or the revision asked for is not there.
    #[error(transparent)]
    KeySpace(#[from] mvcc::Error),
    /// The input is damaged: nothing was done with it.
    #[error("the input is damaged: {}", counted(findings.len() as u64, "finding", "findings"))]
    Damaged {
        /// What is wrong with it.
        findings: Vec<Finding>,
    },
    /// The database cannot be written anew.
    #[error(transparent)]
    Rewrite(#[from] rewrite::Error),
    /// The filesystem is too small.
    #[error(transparent)]
    Space(#[from] SpaceError),
    /// Nothing can be written under that name.
    #[error(transparent)]
    Target(#[from] TargetError),
    /// The system refused.
    #[error(transparent)]
    Io(#[from] IoError),
    /// Writing to a stream failed.
    #[error("write the snapshot")]
    Stream(#[source] std::io::Error),
}

bolt::from_read_error!(Error);

impl From<schema::Error> for Error {
    fn from(error: schema::Error) -> Self {
        Error::KeySpace(error.into())
    }
}
