//! Opens what a path names, brings a data dir's db up to date with its WAL, and makes sure afterwards that
//! everything held still.

use std::{io, path::Path, sync::Arc};

use anyhow::{Context as _, Result, anyhow};
use etcdsnap_engine::{
    bolt::{self, Db, check},
    datadir::{self, Kind, Located, MemberFiles},
    diagnose::Outcome,
    finding::{Finding, Severity},
    limits::Limits,
    mvcc,
    pb::etcdserverpb::Metadata,
    replay::{self, Boot, BootError, RaftFiles, Report},
    schema::{MetaRecords, Store},
    snapshot::{Image, Trailer},
    source::{self, Access, FaultGuard, Source},
    wal::LogEnd,
};

use crate::{
    args::{Commit, Reading},
    commands::Context,
};

/// What to do with a damaged file.
pub const SALVAGE: &str = "`etcdsnap salvage` saves what can still be read";

/// An opened input.
#[derive(Debug)]
pub struct Input {
    located: Located,
    source: Source,
    raft: Option<Raft>,
}

/// The raft files of a member, and what became of them.
#[derive(Debug)]
struct Raft {
    files: RaftFiles,
    member: MemberFiles,
    facts: WalFacts,
    state: State,
    /// What the page check found in the file, where the state that is shown has new metas.
    findings: Vec<Finding>,
}

/// What became of the WAL.
#[derive(Debug)]
enum State {
    /// It was applied.
    Replayed(Box<Report>),
    /// The db is damaged, and nothing was applied to it: the command finds the damage.
    DbDamaged,
    /// It could not be applied.
    Failed(NotReplayed),
}

/// What the WAL says of itself.
#[derive(Clone, Debug, Default)]
pub struct WalFacts {
    /// Index of the first entry.
    pub first_index: Option<u64>,
    /// Index of the last entry.
    pub last_index: Option<u64>,
    /// Commit index of the last hard state.
    pub commit: Option<u64>,
    /// Number of segments.
    pub segments: usize,
    /// How it ends.
    pub end: Option<LogEnd>,
    /// Whose it is.
    pub metadata: Option<Metadata>,
}

/// Why the WAL was not applied.
#[derive(Clone, Debug)]
pub struct NotReplayed {
    /// The engine's reason.
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
    fn new(error: replay::Error) -> Self {
        let damage = match &error {
            replay::Error::Boot(BootError::NoLog { .. }) => false,
            replay::Error::Bolt(error) => error.is_damage(),
            _ => true,
        };
        Self { error: Arc::new(error), damage }
    }
}

impl Input {
    /// Opens the database behind `path`, mapped or read, and applies its WAL unless told otherwise.
    pub fn open(context: &Context, path: &Path, reading: &Reading) -> Result<Self> {
        if path == Path::new("-") {
            return Err(anyhow!(
                "standard input cannot be read here: a database is read in any order; save it to a file first"
            ));
        }
        let located = datadir::locate(path)?;
        let access = Self::access(context)?;
        let source = Source::open(&located.db, access)
            .with_context(|| format!("open {}", located.db.display()))?;
        let input = Self { located, source, raft: None };
        match &input.located.member {
            Some((_, member)) if !reading.no_wal => {
                let files = MemberFiles::list(member, reading.wal_dir.as_deref())?;
                input.with_wal(context, &files, access, reading)
            }
            None if reading.wal_dir.is_some() || reading.commit.is_some() => Err(anyhow!(
                "--wal-dir and --commit are for a data dir or a member dir; {} is a file",
                path.display()
            )),
            _ => Ok(input),
        }
    }

    /// The member as its server would be after a restart.
    fn with_wal(
        mut self,
        context: &Context,
        files: &MemberFiles,
        access: Access,
        reading: &Reading,
    ) -> Result<Self> {
        let raft = RaftFiles::open(files, access).context("open the WAL")?;
        let log = raft.log();
        let facts = WalFacts {
            first_index: log.entries.first().map(|first| first.entry.index),
            last_index: log.last_index(),
            commit: (!files.segments.is_empty()).then(|| log.hard_state.commit()),
            segments: files.segments.len(),
            metadata: log.metadata,
            end: (!files.segments.is_empty()).then(|| log.end.clone()),
        };
        let commit = reading.commit.map(|commit| match commit {
            Commit::Known => replay::Commit::Known,
            Commit::All => replay::Commit::All,
        });
        let mut in_file = Vec::new();
        let mut apply = || -> Result<_, Stop> {
            // A db that is older than the snapshot the log starts from makes way for the one received with it.
            let boot = boot(&self.source, files, &log, &raft)?;
            if let Some((boot, consistent_index)) = &boot
                && boot.needs_received(*consistent_index)
                && let Some((_, path)) =
                    files.received.iter().find(|(index, _)| *index == boot.start)
            {
                self.located.db.clone_from(path);
                self.source = Source::open(path, access)
                    .with_context(|| format!("open {}", path.display()))?;
            }
            let Some((boot, _)) = boot else { return Ok(None) };
            let Ok(db) = Image::split(self.source.bytes()).db(Limits::default()) else {
                return Ok(None);
            };
            // Entries are applied to a sound tree alone; a damaged one is for the command to judge.
            in_file = check::check(&db, &context.ui)?;
            if in_file.iter().any(|finding| finding.severity == Severity::Damage) {
                return Ok(None);
            }
            let replayed = replay::replay(&db, &log, &boot, commit, &context.ui);
            match replayed {
                Err(replay::Error::Bolt(bolt::Error::Interrupted)) => {
                    Err(bolt::Error::Interrupted.into())
                }
                other => Ok(Some(other)),
            }
        };
        let outcome = match apply() {
            Ok(outcome) => outcome,
            Err(Stop::Boot(error)) => Some(Err(error.into())),
            Err(Stop::Other(error)) => return Err(error),
        };
        drop(log);
        let mut findings = Vec::new();
        let state = match outcome {
            None => State::DbDamaged,
            Some(Err(error)) => State::Failed(NotReplayed::new(error)),
            Some(Ok(replayed)) => {
                if let Some(patched) = &replayed.patched {
                    self.source = self
                        .source
                        .overlaid(patched.offset, &patched.writes())
                        .context("apply the WAL")?;
                    findings = in_file;
                }
                State::Replayed(Box::new(replayed.report))
            }
        };
        self.raft = Some(Raft { files: raft, member: files.clone(), facts, state, findings });
        Ok(self)
    }

    /// Its bytes, database and trailer told apart. Of a data dir, the state it has with its WAL applied.
    pub fn image(&self) -> Image<'_> {
        Image::split(self.source.bytes())
    }

    /// All bytes of the file, whatever stands behind the database included; with its WAL applied where that was.
    pub fn bytes(&self) -> &[u8] {
        self.source.bytes()
    }

    /// Its database; of a data dir, with its WAL applied.
    ///
    /// The WAL of a damaged db is not applied: the command finds the damage.
    pub fn db(&self) -> Result<Db<'_>> {
        let db = self.file_db()?;
        match self.not_replayed() {
            Some(why) => Err(anyhow::Error::new(why.clone()).context(format!(
                "{}: the WAL could not be applied; --no-wal shows the db alone",
                self.located.path.display()
            ))),
            None => Ok(db),
        }
    }

    /// Its database, whatever became of its WAL.
    pub fn file_db(&self) -> Result<Db<'_>> {
        self.image().db(Limits::default()).map_err(|error| self.explain(error))
    }

    /// What was applied of the WAL; `None` when it was not looked at or could not be applied.
    pub fn report(&self) -> Option<&Report> {
        match &self.raft.as_ref()?.state {
            State::Replayed(report) => Some(report),
            State::DbDamaged | State::Failed(_) => None,
        }
    }

    /// What was found in the db file and cannot be seen in the state that is shown, such as a torn meta.
    pub fn file_findings(&self) -> &[Finding] {
        self.raft.as_ref().map_or(&[], |raft| &raft.findings)
    }

    /// Why the WAL was not applied, although it should have been.
    pub fn not_replayed(&self) -> Option<&NotReplayed> {
        match &self.raft.as_ref()?.state {
            State::Failed(why) => Some(why),
            State::Replayed(_) | State::DbDamaged => None,
        }
    }

    /// The files of the member and what became of its log, when it was looked at.
    pub fn member(&self) -> Option<(&MemberFiles, Outcome<'_>)> {
        let raft = self.raft.as_ref()?;
        let outcome = match &raft.state {
            State::Replayed(report) => Outcome::Replayed(report),
            State::DbDamaged => Outcome::DbDamaged,
            State::Failed(why) => Outcome::Failed(&why.error),
        };
        Some((&raft.member, outcome))
    }

    /// What the WAL says of itself, when it was looked at.
    pub fn wal(&self) -> Option<&WalFacts> {
        self.raft.as_ref().map(|raft| &raft.facts)
    }

    /// An error of the database with the file's name, and what the file is instead when that is known.
    pub fn explain(&self, error: bolt::Error) -> anyhow::Error {
        let path = self.located.db.display();
        let foreign = match error {
            bolt::Error::NotBolt { .. } | bolt::Error::TooSmall { .. } => {
                datadir::foreign(self.source.bytes())
            }
            _ => None,
        };
        match (foreign, &error) {
            (Some(foreign), _) => {
                anyhow!(
                    "{path} is {}, not an etcd database: unpack it first with `{} {path}`",
                    foreign.name,
                    foreign.unpack
                )
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
        let path = self.located.path.display();
        match &error {
            mvcc::Error::Bolt(bolt::Error::Interrupted) => error.into(),
            _ if error.is_damage() => anyhow::Error::new(error)
                .context(format!("{path}: see `etcdsnap verify`; {SALVAGE}")),
            _ => anyhow::Error::new(error).context(path.to_string()),
        }
    }

    /// How its files are read.
    pub fn access(context: &Context) -> Result<Access> {
        Ok(if context.global.no_mmap {
            Access::Read
        } else {
            Access::Map(FaultGuard::install().context("map files; --no-mmap reads them")?)
        })
    }

    /// What kind of input it is.
    pub fn kind(&self) -> Kind {
        match (&self.located.member, self.image().trailer()) {
            (Some((kind, _)), _) => *kind,
            (None, Trailer::Present(_)) => Kind::Snapshot,
            (None, Trailer::Absent | Trailer::Odd { .. }) => Kind::Db,
        }
    }

    /// Bytes of the file, whatever stands behind the database included.
    pub fn file_size(&self) -> u64 {
        self.located.db.metadata().map_or(self.source.bytes().len() as u64, |file| file.len())
    }

    /// The files behind it.
    pub fn located(&self) -> &Located {
        &self.located
    }

    /// To be asked before any result is shown: every byte came from the files, and they held still.
    pub fn settle(&self) -> Result<()> {
        let raft = self.raft.as_ref().map_or(Ok(()), |raft| raft.files.check());
        self.source.check().and(raft).with_context(|| moved(&self.located.db))
    }
}

/// What to do about files that change while they are read.
fn moved(path: &Path) -> String {
    format!(
        "{}: what was read cannot be trusted; if a server is running on it, take the snapshot from the server (etcdctl snapshot save)",
        path.display()
    )
}

/// Whether an input could not be opened because a server wrote, replaced or removed a file of it meanwhile.
fn has_moved(error: &anyhow::Error) -> bool {
    error.chain().any(|cause| match cause.downcast_ref::<source::Error>() {
        Some(source::Error::Changed { .. }) => true,
        Some(source::Error::Open { source, .. }) => source.kind() == io::ErrorKind::NotFound,
        _ => false,
    })
}

/// Why the WAL was not applied, or why nothing can be said at all.
enum Stop {
    Boot(BootError),
    Other(anyhow::Error),
}

impl From<BootError> for Stop {
    fn from(error: BootError) -> Self {
        Stop::Boot(error)
    }
}

impl From<anyhow::Error> for Stop {
    fn from(error: anyhow::Error) -> Self {
        Stop::Other(error)
    }
}

impl From<bolt::Error> for Stop {
    fn from(error: bolt::Error) -> Self {
        Stop::Other(error.into())
    }
}

/// Where a server would start, and the consistent index of the db; `None` when the db cannot be opened.
fn boot<'a>(
    source: &Source,
    files: &MemberFiles,
    log: &etcdsnap_engine::wal::Log<'a>,
    raft: &RaftFiles,
) -> Result<Option<(Boot<'a>, u64)>, BootError> {
    let Ok(db) = Image::split(source.bytes()).db(Limits::default()) else { return Ok(None) };
    let Ok((meta, _)) = MetaRecords::read(&Store::new(db)) else { return Ok(None) };
    let boot = Boot::new(files, log, &meta, &raft.snapfiles())?;
    Ok(Some((boot, meta.consistent_index.unwrap_or_default())))
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
    const ATTEMPTS: usize = 3;
    let mut attempt = 1;
    loop {
        let input = match Input::open(context, path, reading) {
            Err(error) if has_moved(&error) && attempt < ATTEMPTS => {
                attempt += 1;
                continue;
            }
            Err(error) if has_moved(&error) => return Err(error.context(moved(path))),
            input => input?,
        };
        let answer = question(&input);
        match input.settle() {
            Ok(()) => {
                if answer.is_ok() {
                    context.say_replayed(&input);
                }
                return answer.map_err(|error| {
                    // Unless it says already which of several inputs it is about.
                    if !error.chain().next().is_some_and(|first| first.is::<mvcc::Error>()) {
                        return error;
                    }
                    error.downcast().map_or_else(|error| error, |error| input.named(error))
                });
            }
            // What went wrong in files that change is no finding about them.
            Err(error) if attempt >= ATTEMPTS => return Err(error),
            Err(_) => attempt += 1,
        }
    }
}
