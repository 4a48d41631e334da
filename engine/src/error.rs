//! The error of every job: what went wrong, in which file, and what to do next.

use std::{
    borrow::Cow,
    fmt,
    path::{Path, PathBuf},
};

use crate::{
    bolt::{self, ReadError},
    datadir, diagnose, member, mend, mvcc,
    progress::Interrupted,
    redact, restore, rewrite, salvage, schema, snapshot, source,
    staging::{IoError, SpaceError, TargetError},
};

/// What a caller has to tell apart when a job fails.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
#[non_exhaustive]
pub enum ErrorKind {
    /// The input is damaged.
    Damage,
    /// The input is another program's, or no database.
    NotEtcd,
    /// The caller stopped the job.
    Interrupted,
    /// Something else prevented the job: an option, a missing file, the system.
    Cannot,
}

/// What to do next, as data: a front end says it in its own words and with its own options.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum Hint {
    /// Salvage what can still be read.
    Salvage,
    /// List the damaged pages; salvage what can still be read.
    CheckAndSalvage,
    /// List all damage; salvage what can still be read.
    VerifyAndSalvage,
    /// List all damage.
    Verify,
    /// Read the db without the log.
    DbAlone,
    /// Db and log are of two histories: read the db without the log, or the log without the db.
    DbOrLog,
    /// A restore made the log: it holds what was written since, and the restored snapshot holds the rest.
    LogAlone,
    /// Apply the log up to another raft index.
    OtherEnd,
    /// Apply the log up to this raft index, the last before its damage.
    GoOnTo(u64),
    /// Show pages and buckets, which every bbolt file has.
    PagesOnly,
    /// Options of a log were given for a file, which has none.
    NoLogOptions,
    /// Stop the server that runs on the files, or ask it for a snapshot.
    StopServer,
}

/// Why a job failed.
#[derive(Debug)]
pub struct Error(Box<Inner>);

#[derive(Debug)]
struct Inner {
    path: Option<PathBuf>,
    context: Cow<'static, str>,
    hint: Option<Hint>,
    cause: Cause,
}

/// The error of the room that stopped a job.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
#[expect(missing_docs, reason = "the names are those of the rooms")]
pub enum Cause {
    #[error(transparent)]
    Interrupted(#[from] Interrupted),
    #[error(transparent)]
    Locate(#[from] datadir::Error),
    /// The file is no database, and its content says what it is.
    #[error("{}", file.sentence(path, data_dir.as_deref()))]
    NotDatabase {
        /// What it is.
        file: datadir::Foreign,
        /// Where it is.
        path: PathBuf,
        /// The data dir that it is a part of.
        data_dir: Option<PathBuf>,
    },
    #[error(transparent)]
    Source(#[from] source::Error),
    #[error(transparent)]
    Bolt(#[from] bolt::Error),
    #[error(transparent)]
    Schema(#[from] schema::Error),
    #[error(transparent)]
    KeySpace(#[from] mvcc::Error),
    #[error(transparent)]
    Open(#[from] member::Error),
    #[error(transparent)]
    NotReplayed(#[from] member::NotReplayed),
    #[error(transparent)]
    Lacking(#[from] member::Lacking),
    #[error(transparent)]
    Snapshot(#[from] snapshot::Error),
    #[error(transparent)]
    Restore(#[from] restore::Error),
    #[error(transparent)]
    Rewrite(#[from] rewrite::Error),
    #[error(transparent)]
    Redact(#[from] redact::Error),
    #[error(transparent)]
    Salvage(#[from] salvage::Error),
    #[error(transparent)]
    Mend(#[from] mend::membership::Error),
    #[error(transparent)]
    Against(#[from] diagnose::AgainstError),
    #[error(transparent)]
    Space(#[from] SpaceError),
    #[error(transparent)]
    Target(#[from] TargetError),
    #[error(transparent)]
    Io(#[from] IoError),
    /// An option has a value that cannot be.
    #[error("{0}")]
    Option(Cow<'static, str>),
}

impl Error {
    /// An error without a place; `cause` says it all.
    pub fn new(cause: impl Into<Cause>) -> Self {
        let cause = cause.into();
        Self(Box::new(Inner { path: None, context: Cow::Borrowed(""), hint: None, cause }))
    }

    /// The same error, at `path`. A path that is named already stays.
    #[must_use]
    pub fn at(mut self, path: &Path) -> Self {
        self.0.path.get_or_insert_with(|| path.to_path_buf());
        self
    }

    /// The same error, with what it prevented.
    #[must_use]
    pub fn while_doing(mut self, context: impl Into<Cow<'static, str>>) -> Self {
        self.0.context = context.into();
        self
    }

    /// The same error, with what to do next.
    #[must_use]
    pub fn hint(mut self, hint: Hint) -> Self {
        self.0.hint = Some(hint);
        self
    }

    /// What a caller has to tell apart.
    pub fn kind(&self) -> ErrorKind {
        self.0.cause.kind()
    }

    /// Whether a server wrote, replaced or removed a file while it was read: the same job may succeed now.
    pub fn has_moved(&self) -> bool {
        match &self.0.cause {
            Cause::Open(error) | Cause::Against(diagnose::AgainstError::Open(error)) => {
                error.has_moved()
            }
            Cause::Source(source::Error::Changed { .. }) => true,
            _ => false,
        }
    }

    /// The file or directory that the error is about.
    pub fn path(&self) -> Option<&Path> {
        self.0.path.as_deref()
    }

    /// What to do next.
    pub fn next(&self) -> Option<Hint> {
        self.0.hint
    }

    /// The error of the room that stopped the job, without its place.
    pub fn into_cause(self) -> Cause {
        self.0.cause
    }

    /// The error of the room that stopped the job.
    pub fn cause(&self) -> &Cause {
        &self.0.cause
    }
}

/// Path, what was prevented, and why; sources of the cause are in [`std::error::Error::source`].
impl fmt::Display for Error {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if let Some(path) = &self.0.path {
            write!(f, "{}: ", path.display())?;
        }
        if !self.0.context.is_empty() {
            write!(f, "{}: ", self.0.context)?;
        }
        self.0.cause.fmt(f)
    }
}

impl std::error::Error for Error {
    fn source(&self) -> Option<&(dyn std::error::Error + 'static)> {
        self.0.cause.source()
    }
}

impl<E: Into<Cause>> From<E> for Error {
    fn from(cause: E) -> Self {
        Self::new(cause)
    }
}

impl From<ReadError> for Cause {
    fn from(error: ReadError) -> Self {
        match error {
            ReadError::Bolt(error) => error.into(),
            ReadError::Interrupted(interrupted) => interrupted.into(),
        }
    }
}

impl Cause {
    fn kind(&self) -> ErrorKind {
        match self {
            Cause::Interrupted(Interrupted) => ErrorKind::Interrupted,
            Cause::NotDatabase { .. } => ErrorKind::NotEtcd,
            Cause::Bolt(error) => of_bolt(error),
            Cause::Schema(schema::Error::Bolt(error)) => of_bolt(error),
            Cause::Schema(schema::Error::Record { .. }) => ErrorKind::Damage,
            Cause::KeySpace(error) => of_key_space(error),
            Cause::Open(error) => of_open(error),
            Cause::NotReplayed(error) if error.damage => ErrorKind::Damage,
            Cause::Lacking(_) => ErrorKind::Damage,
            Cause::Snapshot(error) => of_snapshot(error),
            Cause::Restore(error) => of_restore(error),
            Cause::Rewrite(error) => of_rewrite(error),
            Cause::Redact(error) => of_redact(error),
            Cause::Salvage(salvage::Error::Interrupted(_)) => ErrorKind::Interrupted,
            Cause::Mend(error) => of_mend(error),
            Cause::Against(diagnose::AgainstError::Open(error)) => of_open(error),
            Cause::Against(diagnose::AgainstError::KeySpace(error)) => of_key_space(error),
            Cause::Target(error) => of_target(error),
            Cause::Locate(_)
            | Cause::Source(_)
            | Cause::NotReplayed(_)
            | Cause::Salvage(_)
            | Cause::Space(_)
            | Cause::Io(_)
            | Cause::Option(_) => ErrorKind::Cannot,
        }
    }
}

fn of_bolt(error: &bolt::Error) -> ErrorKind {
    match error {
        bolt::Error::NotBolt { .. } | bolt::Error::TooSmall { .. } => ErrorKind::NotEtcd,
        error if error.is_damage() => ErrorKind::Damage,
        _ => ErrorKind::Cannot,
    }
}

fn of_key_space(error: &mvcc::Error) -> ErrorKind {
    match error {
        mvcc::Error::Interrupted(_) => ErrorKind::Interrupted,
        mvcc::Error::Bolt(error) => of_bolt(error),
        error if error.is_damage() => ErrorKind::Damage,
        _ => ErrorKind::Cannot,
    }
}

fn of_open(error: &member::Error) -> ErrorKind {
    match error {
        member::Error::Interrupted(_) => ErrorKind::Interrupted,
        member::Error::NotEtcd { .. } => ErrorKind::NotEtcd,
        member::Error::Bolt(error) => of_bolt(error),
        _ => ErrorKind::Cannot,
    }
}

fn of_rewrite(error: &rewrite::Error) -> ErrorKind {
    match error {
        rewrite::Error::Interrupted(_) => ErrorKind::Interrupted,
        rewrite::Error::Bolt(error) => of_bolt(error),
        rewrite::Error::KeySpace(error) => of_key_space(error),
        error if error.is_damage() => ErrorKind::Damage,
        _ => ErrorKind::Cannot,
    }
}

fn of_target(error: &TargetError) -> ErrorKind {
    match error {
        TargetError::Interrupted(_) => ErrorKind::Interrupted,
        _ => ErrorKind::Cannot,
    }
}

fn of_snapshot(error: &snapshot::Error) -> ErrorKind {
    match error {
        snapshot::Error::Interrupted(_) => ErrorKind::Interrupted,
        snapshot::Error::Bolt(error) => of_bolt(error),
        snapshot::Error::KeySpace(error) => of_key_space(error),
        snapshot::Error::Rewrite(error) => of_rewrite(error),
        snapshot::Error::Target(error) => of_target(error),
        snapshot::Error::Damaged { .. } => ErrorKind::Damage,
        _ => ErrorKind::Cannot,
    }
}

fn of_restore(error: &restore::Error) -> ErrorKind {
    match error {
        restore::Error::Interrupted(_) => ErrorKind::Interrupted,
        restore::Error::Bolt(error) => of_bolt(error),
        restore::Error::KeySpace(error) => of_key_space(error),
        restore::Error::Rewrite(error) => of_rewrite(error),
        restore::Error::Target(error) => of_target(error),
        error if error.is_damage() => ErrorKind::Damage,
        _ => ErrorKind::Cannot,
    }
}

fn of_redact(error: &redact::Error) -> ErrorKind {
    match error {
        redact::Error::Interrupted(_) => ErrorKind::Interrupted,
        redact::Error::Bolt(error) => of_bolt(error),
        redact::Error::Target(error) => of_target(error),
        _ => ErrorKind::Cannot,
    }
}

fn of_mend(error: &mend::membership::Error) -> ErrorKind {
    match error {
        mend::membership::Error::Open(error) => of_open(error),
        mend::membership::Error::Bolt(error) => of_bolt(error),
        mend::membership::Error::Unlisted { .. } => ErrorKind::Damage,
        _ => ErrorKind::Cannot,
    }
}
