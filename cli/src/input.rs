//! Opens what a path names, with the words of the program for what goes wrong.

use std::{ops::Deref, path::Path};

use anyhow::{Context as _, Result, anyhow};
use etcdsnap_engine::{
    bolt::{self, Db},
    datadir::{self, MemberFiles},
    diagnose,
    member::{self, NotReplayed, Opened},
    mvcc,
    replay::BootError,
    source::{Access, FaultGuard},
    staging::Staged,
};

use crate::{args::Reading, commands::Context};

/// What to do with a damaged file.
pub const SALVAGE: &str = "`etcdsnap salvage` saves what can still be read";

/// An opened input.
#[derive(Debug)]
pub struct Input(Opened);

impl Deref for Input {
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
    /// Opens the database behind `path`, mapped or read, and applies its log unless told otherwise.
    pub fn open(context: &Context, path: &Path, reading: &Reading) -> Result<Self> {
        let options = Self::options(context, path, reading)?;
        let opened = member::open(path, &options, &context.ui);
        opened.map(Self).map_err(|error| refused(path, error))
    }

    /// How `path` is opened.
    fn options(context: &Context, path: &Path, reading: &Reading) -> Result<member::Options> {
        if path == Path::new("-") {
            return Err(anyhow!(
                "standard input cannot be read here: a database is read in any order; save it to a file first"
            ));
        }
        Ok(reading.options(Self::access(context)?))
    }

    /// Its database; of a data dir, with its log applied.
    ///
    /// The log of a damaged db is not applied: the command finds the damage.
    pub fn db(&self) -> Result<Db<'_>> {
        if let Some(why) = self.not_replayed() {
            let hint = hint(why);
            return Err(anyhow::Error::new(why.clone()).context(format!(
                "{}: the WAL could not be applied; {hint}",
                self.located().path.display()
            )));
        }
        self.file_db()
    }

    /// Refuses to write what lacks entries of a damaged log, unless that was asked for.
    pub fn whole(&self) -> Result<()> {
        let Some(lacking) = self.lacking() else { return Ok(()) };
        let to = lacking.0.good_to;
        Err(anyhow::Error::new(lacking).context(format!(
            "{}: nothing was written; --to {to} goes on with what is good",
            self.located().path.display()
        )))
    }

    /// Its database, whatever became of its log.
    pub fn file_db(&self) -> Result<Db<'_>> {
        if self.db_state() == Some(member::DbState::Missing)
            && let Some(why) = self.not_replayed()
        {
            return Err(anyhow::Error::new(why.clone())
                .context(format!("{} does not exist", self.located().db.display())));
        }
        self.database().map_err(|error| self.explain(error))
    }

    /// An error of the database with the file's name, and what the file is instead when that is known.
    pub fn explain(&self, error: impl Into<bolt::ReadError>) -> anyhow::Error {
        let error = match error.into() {
            bolt::ReadError::Bolt(error) => error,
            other => return other.into(),
        };
        let path = self.located().db.display();
        let foreign = match error {
            bolt::Error::NotBolt { .. } | bolt::Error::TooSmall { .. } => {
                datadir::foreign(self.bytes())
            }
            _ => None,
        };
        match (foreign, &error) {
            (Some(foreign), _) => {
                let data_dir = datadir::data_dir_of(&self.located().db);
                anyhow!("{}", foreign.sentence(&self.located().db, data_dir.as_deref()))
            }
            (None, bolt::Error::NotBolt { .. } | bolt::Error::TooSmall { .. }) => {
                anyhow::Error::new(error).context(format!("{path} is not an etcd database"))
            }
            (None, _) if error.is_damage() => {
                anyhow::Error::new(error).context(format!("{path}: {SALVAGE}"))
            }
            (None, _) => anyhow::Error::new(error).context(path.to_string()),
        }
    }

    /// An error of the key space with the file's name, and the next command when damage is the reason.
    pub fn named(&self, error: mvcc::Error) -> anyhow::Error {
        let path = self.located().path.display();
        match &error {
            mvcc::Error::Interrupted(interrupted) => (*interrupted).into(),
            _ if error.is_damage() => anyhow::Error::new(error)
                .context(format!("{path}: see `etcdsnap verify`; {SALVAGE}")),
            _ => anyhow::Error::new(error).context(path.to_string()),
        }
    }

    /// What the engine opened.
    pub fn into_opened(self) -> Opened {
        self.0
    }

    /// Whether a server has its files open.
    pub fn is_running(&self) -> bool {
        let db = || MemberFiles { db: self.located().db.clone(), ..MemberFiles::default() };
        let running = self.files().map_or_else(|| datadir::is_running(&db()), datadir::is_running);
        running == Some(true)
    }

    /// How its files are read.
    pub fn access(context: &Context) -> Result<Access> {
        Ok(if context.global.no_mmap {
            Access::Read
        } else {
            Access::Map(FaultGuard::install().context("map files; --no-mmap reads them")?)
        })
    }

    /// Publishes a file that was made of this input, once the input is known to have held still.
    pub fn publish<T>(&self, context: &Context, staged: Staged<T>) -> Result<T> {
        self.settle()?;
        Ok(staged.publish(&context.ui)?)
    }

    /// To be asked before any result is shown: every byte came from the files, and they held still.
    pub fn settle(&self) -> Result<()> {
        self.check().map_err(|error| refused(&self.located().db, error))
    }
}

/// What to do where the log does not meet the db.
fn hint(why: &NotReplayed) -> &'static str {
    match why.boot() {
        Some(BootError::OtherHistory { .. }) => {
            "--no-wal reads the db alone, which is what was restored; --from-wal reads the old log alone"
        }
        Some(BootError::RestoredLog { .. }) => {
            "--from-wal reads what was written since the restore; the snapshot that was restored has the rest"
        }
        Some(BootError::NoEntry { .. } | BootError::DbAhead { .. }) => "choose another --to",
        Some(BootError::NoBase { .. }) => SALVAGE,
        _ => "--no-wal shows the db alone",
    }
}

/// An error of opening, with what to do.
fn refused(path: &Path, error: member::Error) -> anyhow::Error {
    match error {
        member::Error::NoMember { .. } => anyhow!(
            "--wal-dir, --commit, --to and --from-wal are for a data dir or a member dir; {} is a file",
            path.display()
        ),
        error @ member::Error::NotEtcd { .. } => anyhow!(
            "{error}; of such a file `etcdsnap check`, `pages`, `page` and `buckets` show pages and buckets"
        ),
        member::Error::Locate(error) => error.into(),
        member::Error::Bolt(error) => error.into(),
        member::Error::Moved { path, source } => anyhow::Error::new(source).context(moved(&path)),
        error if error.has_moved() => anyhow::Error::new(error).context(moved(path)),
        error => error.into(),
    }
}

/// What to do about files that change while they are read.
fn moved(path: &Path) -> String {
    format!("{}: what was read cannot be trusted: {}", path.display(), diagnose::RUNNING)
}

/// Refuses to write to `target` when that is, or is within, what is read: evidence stays as it is.
pub fn apart(source: &Path, target: &Path) -> Result<()> {
    let Ok(source_at) = source.canonicalize() else { return Ok(()) };
    // The target may be to be made, with directories above it.
    let above = target.ancestors().find_map(|above| {
        let above = if above.as_os_str().is_empty() { Path::new(".") } else { above };
        Some((above.canonicalize().ok()?, target.strip_prefix(above).unwrap_or(target)))
    });
    let Some((above, rest)) = above else { return Ok(()) };
    let target_at = if rest.as_os_str().is_empty() { above } else { above.join(rest) };
    let read = member_of(&source_at).unwrap_or(&source_at);
    if target_at.starts_with(read) {
        return Err(anyhow!(
            "{} is in what is read, {}, which is never changed",
            target.display(),
            if read == source_at { source.display() } else { read.display() }
        ));
    }
    Ok(())
}

/// The member dir whose db `path` is: a file of one member is evidence with all that stands around it.
fn member_of(path: &Path) -> Option<&Path> {
    path.parent()?.parent().filter(|_| path.ends_with("member/snap/db"))
}

/// Opens `path` and asks `question` of it, again when the files changed meanwhile: a running server commits
/// now and then, and between two commits its files hold still.
pub fn ask<T>(
    context: &Context,
    path: &Path,
    reading: &Reading,
    question: impl Fn(&Input) -> Result<T>,
) -> Result<T> {
    let options = Input::options(context, path, reading)?;
    let answered = member::with(path, &options, &context.ui, question);
    let (input, answer) = answered.map_err(|error| refused(path, error))?;
    if answer.is_ok() {
        context.say_replayed(&input);
    }
    answer.map_err(|error| {
        // Unless it says already which of several inputs it is about.
        if !error.chain().next().is_some_and(|first| first.is::<mvcc::Error>()) {
            return error;
        }
        error.downcast().map_or_else(|error| error, |error| input.named(error))
    })
}
