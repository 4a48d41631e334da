//! What stops a read of the key space.

use crate::{
    bolt,
    finding::Place,
    progress::Interrupted,
    schema::{self, RecordError},
};

/// Why the key space could not be read.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum Error {
    /// The caller stopped the operation.
    #[error(transparent)]
    Interrupted(#[from] Interrupted),
    /// The page tree is damaged.
    #[error(transparent)]
    Bolt(#[from] bolt::Error),
    /// A record is damaged.
    #[error("{place}: {error}")]
    Record {
        /// Which record.
        place: Place,
        /// What is wrong with it.
        error: RecordError,
    },
    /// A revision whose history is gone.
    #[error(
        "required revision has been compacted: revision {revision}, there are {} to {current_revision}",
        (*compact_revision).max(1)
    )]
    Compacted {
        /// The revision asked for.
        revision: i64,
        /// The oldest revision there is.
        compact_revision: i64,
        /// The newest revision there is.
        current_revision: i64,
    },
    /// A revision that has not been.
    #[error(
        "required revision is a future revision: revision {revision}, there are {} to {current_revision}",
        (*compact_revision).max(1)
    )]
    Future {
        /// The revision asked for.
        revision: i64,
        /// The oldest revision there is, −1 when history was never compacted.
        compact_revision: i64,
        /// The newest revision there is.
        current_revision: i64,
    },
}

impl Error {
    /// Whether the input's damage is the reason.
    pub fn is_damage(&self) -> bool {
        match self {
            Error::Bolt(error) => error.is_damage(),
            Error::Record { .. } => true,
            Error::Compacted { .. } | Error::Future { .. } | Error::Interrupted(_) => false,
        }
    }
}

bolt::from_read_error!(Error);

impl From<schema::Error> for Error {
    fn from(error: schema::Error) -> Self {
        match error {
            schema::Error::Bolt(error) => Error::Bolt(error),
            schema::Error::Record { place, error } => Error::Record { place, error },
        }
    }
}
