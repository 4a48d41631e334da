//! Opens an input.

use std::{
    path::{Path, PathBuf},
    sync::OnceLock,
};

use super::{
    DbState, Error, NotReplayed, Opened, WalFacts,
    opened::{Judged, Raft, State},
    strangers::strangers,
};
use crate::{
    bolt,
    datadir::{MemberFiles, is_blank, locate},
    finding,
    limits::Limits,
    progress::Progress,
    replay::{self, Base, Boot, BootError, Commit, RaftFiles, ReadSnapfile, Until, empty_db},
    schema::{MetaRecords, NotEtcd, Program, Store, program},
    snapshot::{Depth, Image, verify_records},
    source::{Access, Source},
    wal::Log,
};

/// How an input is opened.
#[derive(Clone, Debug)]
pub struct Options {
    /// Whether files are mapped or read.
    pub access: Access,
    /// Read the database file alone, without the log.
    pub no_wal: bool,
    /// Make the state from the log alone, without the database file. The log must have every entry since the first.
    pub from_wal: bool,
    /// Where the log is, when it is not in the member dir.
    pub wal_dir: Option<PathBuf>,
    /// Which entries of the log count.
    pub commit: Commit,
    /// Raft index of the last entry to apply.
    pub to: Option<u64>,
    /// How far the records of a db are looked at that its log could replace, before it is taken. A question about few records
    /// need not wait until all are: it meets damage in those itself ([`Opened::is_replaceable`]).
    pub depth: Depth,
    /// Open a bbolt file whoever wrote it: to look at its pages and buckets.
    pub any_program: bool,
}

impl Default for Options {
    /// Everything that the member has, read instead of mapped.
    fn default() -> Self {
        Self::new(Access::Read)
    }
}

impl Options {
    /// Everything that the member has.
    pub fn new(access: Access) -> Self {
        Self {
            access,
            no_wal: false,
            from_wal: false,
            wal_dir: None,
            commit: Commit::default(),
            to: None,
            depth: Depth::All,
            any_program: false,
        }
    }

    /// Whether something was asked for that only a member's log can answer.
    fn asks_for_log(&self) -> bool {
        self.from_wal
            || self.wal_dir.is_some()
            || self.to.is_some()
            || self.commit != Commit::default()
    }
}

/// Opens what `path` names and brings it up to date with its log.
///
/// # Errors
/// When there is nothing of etcd's, the database is another program's, a file cannot be opened, or the work was
/// interrupted. A damaged db or log is no error here: [`Opened`] says what became of it.
pub fn open(path: &Path, options: &Options, progress: &dyn Progress) -> Result<Opened, Error> {
    let located = locate(path)?;
    let access = options.access;
    let Some((_, member)) = located.member.clone() else {
        if options.asks_for_log() {
            return Err(Error::NoMember { path: path.to_path_buf() });
        }
        let source = open_db(&located.db, access)?;
        require_etcd(&located.db, Image::split(source.bytes()), false, options)?;
        return Ok(Opened { located, source, unused: None, raft: None });
    };
    if options.no_wal {
        if !located.db.exists() {
            return Err(Error::NoDb { path: located.db });
        }
        let source = open_db(&located.db, access)?;
        require_etcd(&located.db, Image::of_member(source.bytes()), true, options)?;
        return Ok(Opened { located, source, unused: None, raft: None });
    }
    let member = MemberFiles::list(&member, options.wal_dir.as_deref())?;
    let file = if located.db.exists() { Some(open_db(&located.db, access)?) } else { None };
    if let Some(file) = &file {
        require_etcd(&located.db, Image::of_member(file.bytes()), true, options)?;
    }
    let files = RaftFiles::open(&member, access).map_err(Error::Wal)?;
    let (facts, made) = {
        let log = files.log();
        let facts = facts(&member, &files, &log);
        let snapfiles = files.snapfiles();
        let look = Look { member: &member, log: &log, facts: &facts, snapfiles, options };
        let made = look.make(file, progress)?;
        (facts, made)
    };
    let Made { source, unused, judged, state, taken } = made;
    let mut located = located;
    if let Some(taken) = taken {
        located.db = taken;
    }
    let raft = Raft { files, member, facts, judged, state, again: OnceLock::new() };
    Ok(Opened { located, source, unused, raft: Some(raft) })
}

/// Opens `path`, asks `question` of it, and gives the input and the answer once the files are known to have held still;
/// when they changed meanwhile, as those of a running server do at every commit, it asks again, three times at most. `I` is
/// [`Opened`], or a type of the caller's around it.
///
/// # Errors
/// As [`open`], and [`Error::Moved`] when the files never held still. The inner result is the question's own.
pub fn with<I: From<Opened> + AsRef<Opened>, T>(
    path: &Path,
    options: &Options,
    progress: &dyn Progress,
    question: impl Fn(&I) -> T,
) -> Result<(I, T), Error> {
    const ATTEMPTS: usize = 3;
    let mut attempt = 1;
    loop {
        let answered = open(path, options, progress).and_then(|opened| {
            let input = I::from(opened);
            let answer = question(&input);
            input.as_ref().check().map(|()| (input, answer))
        });
        match answered {
            Err(error) if error.has_moved() && attempt < ATTEMPTS => attempt += 1,
            answered => return answered,
        }
    }
}

fn open_db(path: &Path, access: Access) -> Result<Source, Error> {
    Source::open(path, access).map_err(|source| Error::Open { path: path.to_path_buf(), source })
}

/// Refuses a database that is another program's. One without buckets is etcd's in a member's dir, where a server leaves it
/// that was killed before its first commit; alone it says nothing. What cannot be opened is for others to judge.
fn require_etcd(
    path: &Path,
    image: Image<'_>,
    of_member: bool,
    options: &Options,
) -> Result<(), Error> {
    let Ok(db) = image.db(Limits::default()) else { return Ok(()) };
    let found = match program(&db) {
        _ if options.any_program => return Ok(()),
        Program::Etcd => return Ok(()),
        Program::Nobody if of_member => return Ok(()),
        Program::Nobody => NotEtcd::default(),
        Program::Other(found) => found,
    };
    Err(Error::NotEtcd { path: path.to_path_buf(), found })
}

fn facts(member: &MemberFiles, raft: &RaftFiles, log: &Log<'_>) -> WalFacts {
    let any = !member.segments.is_empty();
    WalFacts {
        first_index: log.entries.first().map(|first| first.entry.index),
        last_index: log.last_index(),
        commit: any.then(|| log.hard_state.commit()),
        segments: member.segments.len(),
        end: any.then(|| log.end.clone()),
        metadata: log.metadata,
        begins_at_first: log.begins_at_first(),
        restored: log.restored(),
        strangers: strangers(member, raft, log),
        oversized: log.oversized,
        summary: (!member.db.exists() && any).then(|| log.summary()),
    }
}

/// What is shown, and how it was made.
struct Made {
    source: Source,
    unused: Option<Source>,
    judged: Judged,
    state: State,
    /// The db received from a leader, where that is what is shown.
    taken: Option<PathBuf>,
}

/// A member's files, while the state is made from them.
struct Look<'l, 'a> {
    member: &'l MemberFiles,
    log: &'l Log<'a>,
    facts: &'l WalFacts,
    snapfiles: Vec<ReadSnapfile>,
    options: &'l Options,
}

impl<'a> Look<'_, 'a> {
    fn make(&self, file: Option<Source>, progress: &dyn Progress) -> Result<Made, Error> {
        let judged = self.judge(file.as_ref(), progress)?;
        let usable = (judged.state == DbState::Sound).then_some(judged.meta.as_ref()).flatten();
        let boot = self.boot(usable, judged.meta.as_ref());
        let boot = match boot {
            Ok(boot) => boot,
            Err(error) => return Ok(self.not_made(file, judged, error)),
        };
        let (base, unused, taken) = match self.base(&boot, file)? {
            Ok(base) => base,
            Err(made) => return Ok(made),
        };
        let until = Until { commit: self.options.commit, to: self.options.to };
        let replayed = {
            let db = Image::of_member(base.bytes()).db(Limits::default())?;
            replay::replay(&db, self.log, &boot, until, progress)
        };
        let replayed = match replayed {
            Ok(replayed) => replayed,
            Err(replay::Error::Interrupted(interrupted)) => return Err(interrupted.into()),
            Err(error) => {
                let state = State::Failed(NotReplayed::new(error));
                let (source, unused) = match (boot.base, unused) {
                    // A failed replay must not leave an empty db that looks like an answer.
                    (Base::Empty, Some(file)) => (file, None),
                    (_, unused) => (base, unused),
                };
                return Ok(Made { source, unused, judged: judged.shown(), state, taken });
            }
        };
        let source = match &replayed.patched {
            Some(patched) => {
                base.overlaid(patched.offset, &patched.writes()).map_err(Error::Apply)?
            }
            None => base,
        };
        let hidden = replayed.patched.is_some() || boot.base != Base::Db;
        let judged = if hidden { judged } else { judged.shown() };
        let state = State::Replayed(Box::new(replayed.report));
        Ok(Made { source, unused, judged, state, taken })
    }

    /// How the state is made.
    fn boot(
        &self,
        usable: Option<&MetaRecords>,
        readable: Option<&MetaRecords>,
    ) -> Result<Boot<'a>, BootError> {
        let from_log = || Boot::from_log(self.member, self.log, readable, &self.snapfiles);
        if self.options.from_wal {
            return from_log();
        }
        let contained = readable.and_then(|meta| meta.consistent_index).unwrap_or_default();
        let earlier = self.options.to.is_some_and(|to| to < contained);
        if earlier && self.facts.is_complete() {
            return from_log();
        }
        let last = self.log.last_index().unwrap_or_default();
        if usable.is_none() && contained > last {
            // The log lacks what the damaged db had: the state it makes is not the newest.
            return Err(BootError::LogBehind { committed: contained, last });
        }
        Boot::new(self.member, self.log, usable, &self.snapfiles)
    }

    /// Where nothing can be made of the log: the file as it is.
    fn not_made(&self, file: Option<Source>, judged: Judged, error: BootError) -> Made {
        let damaged =
            matches!(judged.state, DbState::Unreadable | DbState::Damaged | DbState::Blank);
        let about_log = matches!(error, BootError::NoLog { .. });
        let state = if damaged && file.is_some() && !about_log {
            State::DbDamaged
        } else {
            State::Failed(NotReplayed::new(error.into()))
        };
        let source = file.unwrap_or_else(|| Source::from_bytes(Vec::new()));
        Made { source, unused: None, judged: judged.shown(), state, taken: None }
    }

    /// The db that entries are applied to, and the database file where it is another one.
    #[expect(clippy::type_complexity, reason = "the three belong together and go no further")]
    fn base(
        &self,
        boot: &Boot<'a>,
        file: Option<Source>,
    ) -> Result<Result<(Source, Option<Source>, Option<PathBuf>), Made>, Error> {
        match boot.base {
            Base::Db => match file {
                Some(file) => Ok(Ok((file, None, None))),
                // A usable db was found, so that there is a file.
                None => Err(Error::NoDb { path: self.member.db.clone() }),
            },
            Base::Received(index) => {
                let received = self.member.received.iter().find(|(found, _)| *found == index);
                let Some((_, path)) = received else {
                    return Err(Error::NoDb { path: self.member.db.clone() });
                };
                let source = open_db(path, self.options.access)?;
                let openable = Image::of_member(source.bytes()).db(Limits::default()).is_ok();
                let taken = Some(path.clone());
                if !openable {
                    let judged = Judged::of(DbState::Unreadable);
                    let state = State::DbDamaged;
                    return Ok(Err(Made { source, unused: file, judged, state, taken }));
                }
                Ok(Ok((source, file, taken)))
            }
            Base::Empty => {
                let bytes = empty_db()?;
                Ok(Ok((Source::from_bytes(bytes), file, None)))
            }
        }
    }

    /// What state the database file is in, and what it says of itself.
    fn judge(&self, file: Option<&Source>, progress: &dyn Progress) -> Result<Judged, Error> {
        let Some(file) = file else { return Ok(Judged::of(DbState::Missing)) };
        if is_blank(file.bytes()) {
            return Ok(Judged::of(DbState::Blank));
        }
        let image = Image::without_trailer(Image::of_member(file.bytes()).database());
        let db = match image.db(Limits::default()) {
            Ok(db) => db,
            Err(error) => {
                return Ok(Judged { error: Some(error), ..Judged::of(DbState::Unreadable) });
            }
        };
        let meta = MetaRecords::read(&Store::new(db)).ok().map(|(meta, _)| meta);
        if self.member.segments.is_empty() {
            // Without a log nothing is applied: whoever reads the file judges it.
            return Ok(Judged { meta, ..Judged::of(DbState::Sound) });
        }
        // Entries are applied to a sound tree alone. Where the log could replace the db, more is looked at.
        let is_damage = bolt::check::is_obstacle;
        let pages = bolt::check::check(&db, progress)?;
        let mut findings = pages.clone();
        if self.facts.is_complete() && !pages.iter().any(is_damage) {
            let found = verify_records(&db, self.options.depth, progress)?;
            findings.extend(found.into_iter().filter(is_damage));
            finding::sort(&mut findings);
        }
        let damaged = findings.iter().any(is_damage);
        let state = if damaged || meta.is_none() { DbState::Damaged } else { DbState::Sound };
        Ok(Judged { state, meta, findings, pages: Some(pages), error: None })
    }
}
