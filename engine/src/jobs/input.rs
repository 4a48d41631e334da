//! An opened input, and what a job needs of it.

use std::path::Path;

use crate::{
    bolt::{self, Db, ReadError},
    datadir::{self, MemberFiles},
    error::{Cause, Error, Hint},
    finding::{Finding, Severity},
    member::{self, DbState, NotReplayed, Opened, Options},
    mvcc,
    progress::Progress,
    replay::BootError,
    snapshot,
    staging::Staged,
};

/// An opened input, whose errors name their file and what to do next.
#[derive(Debug)]
pub struct Input(Opened);

impl std::ops::Deref for Input {
    type Target = Opened;

    fn deref(&self) -> &Opened {
        &self.0
    }
}

impl AsRef<Opened> for Input {
    fn as_ref(&self) -> &Opened {
        &self.0
    }
}

impl From<Opened> for Input {
    fn from(opened: Opened) -> Self {
        Self(opened)
    }
}

impl Input {
    /// Opens what `path` names, as [`member::open`] does.
    ///
    /// # Errors
    /// As [`member::open`].
    pub fn open(path: &Path, options: &Options, progress: &dyn Progress) -> Result<Self, Error> {
        member::open(path, options, progress).map(Self).map_err(|error| refused(path, error))
    }

    /// The opened files.
    pub fn into_opened(self) -> Opened {
        self.0
    }

    /// The database; of a data dir, with the log applied. The log of a damaged db is not applied: the job finds the
    /// damage.
    ///
    /// # Errors
    /// When the log could not be applied, or the file is no database that can be opened.
    pub fn db(&self) -> Result<Db<'_>, Error> {
        if let Some(why) = self.not_replayed() {
            return Err(Error::new(why.clone())
                .at(&self.located().path)
                .while_doing("the WAL could not be applied")
                .hint(way_around(why)));
        }
        self.file_db()
    }

    /// The database as the file has it, whether or not the log could be applied.
    ///
    /// # Errors
    /// When the file does not exist or is no database that can be opened.
    pub fn file_db(&self) -> Result<Db<'_>, Error> {
        if self.db_state() == Some(DbState::Missing)
            && let Some(why) = self.not_replayed()
        {
            return Err(Error::new(why.clone())
                .at(&self.located().db)
                .while_doing("the file does not exist"));
        }
        self.database().map_err(|error| self.explain(error))
    }

    /// The database, whose page tree must be sound. A damaged freelist is accepted: nothing that is read needs it.
    ///
    /// # Errors
    /// As [`Input::db`], and when pages are damaged.
    pub fn sound_db(&self, progress: &dyn Progress) -> Result<Db<'_>, Error> {
        let db = self.db()?;
        let mut findings = self.page_findings(&db, progress)?;
        findings.retain(hides_data);
        if findings.is_empty() {
            return Ok(db);
        }
        Err(Error::new(snapshot::Error::Damaged { findings })
            .at(&self.located().path)
            .hint(Hint::CheckAndSalvage))
    }

    /// What the check finds in the pages of `db`, which is this input's. One that was done on opening is not done again.
    ///
    /// # Errors
    /// When the work was interrupted.
    pub fn page_findings(
        &self,
        db: &Db<'_>,
        progress: &dyn Progress,
    ) -> Result<Vec<Finding>, Error> {
        match self.known_pages() {
            Some(known) => Ok(known.to_vec()),
            None => Ok(bolt::check::check(db, progress)?),
        }
    }

    /// Refuses an input that lacks entries of a damaged log, unless an earlier end was asked for.
    ///
    /// # Errors
    /// When entries are lacking.
    pub fn require_whole(&self) -> Result<(), Error> {
        let Some(lacking) = self.lacking() else { return Ok(()) };
        let hint = Hint::GoOnTo(lacking.0.good_to);
        Err(Error::new(lacking)
            .at(&self.located().path)
            .while_doing("nothing was written")
            .hint(hint))
    }

    /// Whether a server has the files open.
    pub fn is_running(&self) -> bool {
        let db = || MemberFiles { db: self.located().db.clone(), ..MemberFiles::default() };
        let running = self.files().map_or_else(|| datadir::is_running(&db()), datadir::is_running);
        running == Some(true)
    }

    /// Refuses to go on unless every byte came from the files, and they held still.
    ///
    /// # Errors
    /// When the files changed, or a byte could not be read.
    pub fn settle(&self) -> Result<(), Error> {
        self.check().map_err(|error| refused(&self.located().db, error))
    }

    /// Publishes a file that was made of this input, once the input is known to have held still.
    ///
    /// # Errors
    /// As [`Input::settle`] and [`Staged::publish`].
    pub fn publish<T>(&self, staged: Staged<T>, progress: &dyn Progress) -> Result<T, Error> {
        self.settle()?;
        Ok(staged.publish(progress)?)
    }

    /// An error of reading the database file, with what the file is instead where that is known.
    pub fn explain(&self, error: impl Into<ReadError>) -> Error {
        let error = match error.into() {
            ReadError::Bolt(error) => error,
            ReadError::Interrupted(interrupted) => return interrupted.into(),
        };
        let path = &self.located().db;
        let is_bolt = !matches!(error, bolt::Error::NotBolt { .. } | bolt::Error::TooSmall { .. });
        if is_bolt {
            let hint = error.is_damage().then_some(Hint::Salvage);
            let error = Error::new(error).at(path);
            return hint.into_iter().fold(error, Error::hint);
        }
        match datadir::foreign(self.bytes()) {
            Some(file) => Error::new(Cause::NotDatabase {
                file,
                path: path.clone(),
                data_dir: datadir::data_dir_of(path),
            }),
            None => Error::new(error).at(path).while_doing("not an etcd database"),
        }
    }

    /// An error of reading the key space, with the file's name.
    pub fn name(&self, error: mvcc::Error) -> Error {
        let hint = error.is_damage().then_some(Hint::VerifyAndSalvage);
        let error = match error {
            mvcc::Error::Interrupted(interrupted) => return interrupted.into(),
            error => Error::new(error).at(&self.located().path),
        };
        hint.into_iter().fold(error, Error::hint)
    }
}

/// Whether damage of the page tree hides data from a reader.
pub(super) fn hides_data(finding: &Finding) -> bool {
    finding.severity == Severity::Damage && finding.code != "freelist"
}

/// What to do where the log does not meet the db.
fn way_around(why: &NotReplayed) -> Hint {
    match why.boot() {
        Some(BootError::OtherHistory { .. }) => Hint::DbOrLog,
        Some(BootError::RestoredLog { .. }) => Hint::LogAlone,
        Some(BootError::NoEntry { .. } | BootError::DbAhead { .. }) => Hint::OtherEnd,
        Some(BootError::NoBase { .. }) => Hint::Salvage,
        _ => Hint::DbAlone,
    }
}

/// An error of opening `path`, with what to do.
pub(super) fn refused(path: &Path, error: member::Error) -> Error {
    match error {
        error @ member::Error::NoMember { .. } => Error::new(error).hint(Hint::NoLogOptions),
        error @ member::Error::NotEtcd { .. } => Error::new(error).hint(Hint::PagesOnly),
        member::Error::Locate(error) => error.into(),
        member::Error::Bolt(error) => error.into(),
        member::Error::Moved { path, source } => moved(&path, source),
        error if error.has_moved() => moved(path, error),
        error => error.into(),
    }
}

fn moved(path: &Path, cause: impl Into<Cause>) -> Error {
    Error::new(cause).at(path).while_doing("what was read cannot be trusted").hint(Hint::StopServer)
}
