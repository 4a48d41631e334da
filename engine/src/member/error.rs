//! Why a path could not be opened, and why a log was not applied.

use std::{io, path::PathBuf, sync::Arc};

use crate::{bolt, datadir, progress::Interrupted, replay, schema::NotEtcd, source};

/// Why nothing can be said about a path.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum Error {
    /// The caller stopped the operation.
    #[error(transparent)]
    Interrupted(#[from] Interrupted),
    /// There are no files of etcd's.
    #[error(transparent)]
    Locate(#[from] datadir::Error),
    /// The database file cannot be opened.
    #[error("open {}", path.display())]
    Open {
        /// The file.
        path: PathBuf,
        /// Why.
        source: source::Error,
    },
    /// A file of the log, or a snapfile, cannot be opened.
    #[error("open the WAL")]
    Wal(#[source] source::Error),
    /// There is no memory for the state that the log makes.
    #[error("apply the WAL")]
    Apply(#[source] source::Error),
    /// Something changed while it was read, or a byte could not be read.
    #[error("{}", path.display())]
    Moved {
        /// The database file.
        path: PathBuf,
        /// What happened.
        source: source::Error,
    },
    /// The database is another program's, or nobody's.
    #[error("{} is {found}", path.display())]
    NotEtcd {
        /// The database file.
        path: PathBuf,
        /// What it is.
        found: NotEtcd,
    },
    /// The member has no database file.
    #[error("{} does not exist", path.display())]
    NoDb {
        /// Where it should be.
        path: PathBuf,
    },
    /// An option that needs a member's log was given for a file.
    #[error("{} is a file, which has no log", path.display())]
    NoMember {
        /// The file.
        path: PathBuf,
    },
    /// There is no memory for an empty db.
    #[error(transparent)]
    Empty(#[from] bolt::write::WriteError),
    /// The work was interrupted, or the database cannot be read at all.
    #[error(transparent)]
    Bolt(#[from] bolt::Error),
}

bolt::from_read_error!(Error);

impl Error {
    /// Whether a server wrote, replaced or removed a file while it was read: the same question may succeed now.
    pub fn has_moved(&self) -> bool {
        match self {
            Error::Moved { .. } => true,
            Error::Open { source, .. } | Error::Wal(source) | Error::Apply(source) => {
                match source {
                    source::Error::Changed { .. } => true,
                    source::Error::Open { source, .. } => source.kind() == io::ErrorKind::NotFound,
                    _ => false,
                }
            }
            _ => false,
        }
    }
}

/// Why the log was not applied.
#[derive(Clone, Debug)]
pub struct NotReplayed {
    /// The reason.
    pub error: Arc<replay::Error>,
    /// Whether the member's files are damaged, as opposed to not all there.
    pub damage: bool,
}

impl std::fmt::Display for NotReplayed {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        self.error.fmt(f)
    }
}

impl std::error::Error for NotReplayed {}

impl NotReplayed {
    pub(super) fn new(error: replay::Error) -> Self {
        use replay::BootError;
        let damage = match &error {
            replay::Error::Boot(
                BootError::NoLog { .. } | BootError::NoEntry { .. } | BootError::DbAhead { .. },
            ) => false,
            replay::Error::Bolt(error) => error.is_damage(),
            _ => true,
        };
        Self { error: Arc::new(error), damage }
    }

    /// Why the log does not meet the db; `None` when an entry or a record stopped the replay.
    pub fn boot(&self) -> Option<&replay::BootError> {
        match &*self.error {
            replay::Error::Boot(error) => Some(error),
            _ => None,
        }
    }
}

/// A log is damaged before its end: what it said behind that is not in what is shown.
#[derive(Clone, Debug, thiserror::Error)]
#[error("the WAL is damaged at {}: {}; {}", .0.at, .0.damage, loss(.0))]
pub struct Lacking(pub replay::Broken);

fn loss(broken: &replay::Broken) -> String {
    let good_to = broken.good_to;
    match (broken.bridged, broken.behind) {
        (true, _) if broken.missing == 0 => format!(
            "checksums prove that no entry is missing: everything up to entry {good_to} is good"
        ),
        (true, _) => {
            format!(
                "the db contains the entries that were lost there: everything up to entry {good_to} is good"
            )
        }
        (false, Some((first, last))) => {
            format!("entries up to {good_to} are good, entries {first} to {last} are lost")
        }
        (false, None) => format!("entries up to {good_to} are good, what came after them is lost"),
    }
}
