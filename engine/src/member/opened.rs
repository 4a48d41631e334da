//! An opened input: what was read, what became of the log, and whether the files held still.

use std::{path::PathBuf, sync::OnceLock};

use super::{Error, Lacking, NotReplayed};
use crate::{
    bolt::{self, Db},
    datadir::{Kind, Located, MemberFiles},
    finding::Finding,
    limits::Limits,
    pb::etcdserverpb::Metadata,
    replay::{Base, RaftFiles, Report, Requests},
    schema::{
        MetaRecords,
        servers::{Obstacle, Server},
    },
    snapshot::Image,
    source::Source,
    v2store,
    wal::{LogEnd, Oversized, Summary},
};

/// What a path names, opened.
#[derive(Debug)]
pub struct Opened {
    pub(super) located: Located,
    /// What is shown.
    pub(super) source: Source,
    /// The database file, where what is shown was made without it.
    pub(super) unused: Option<Source>,
    pub(super) raft: Option<Raft>,
}

/// The raft files of a member, and what became of them.
#[derive(Debug)]
pub(super) struct Raft {
    pub files: RaftFiles,
    pub member: MemberFiles,
    pub facts: WalFacts,
    pub judged: Judged,
    pub state: State,
    /// What the log says when all of it is read again.
    pub again: OnceLock<Again>,
}

/// What only some questions need to know of a log.
#[derive(Debug)]
pub(super) struct Again {
    pub requests: Requests,
    /// `None` where there can be nothing.
    pub v2: Option<Result<v2store::Summary, v2store::Error>>,
}

/// What was found out about a member's database file.
#[derive(Debug)]
pub(super) struct Judged {
    pub state: DbState,
    /// What it says of itself, where that can be read.
    pub meta: Option<MetaRecords>,
    /// What was found in it, where that is not what is shown.
    pub findings: Vec<Finding>,
    /// What was found in its pages; `None` where they were not looked at.
    pub pages: Option<Vec<Finding>>,
    /// Why it cannot be opened.
    pub error: Option<bolt::Error>,
}

impl Judged {
    pub fn of(state: DbState) -> Self {
        Self { state, meta: None, findings: Vec::new(), pages: None, error: None }
    }

    /// The same of a file that is what is shown: whoever reads it finds what was found here.
    pub fn shown(self) -> Self {
        Self { findings: Vec::new(), ..self }
    }
}

/// What became of the log.
#[derive(Debug)]
pub(super) enum State {
    /// It was applied.
    Replayed(Box<Report>),
    /// The db is damaged, and nothing was applied to it.
    DbDamaged,
    /// It could not be applied.
    Failed(NotReplayed),
}

/// What state a member's database file is in.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum DbState {
    /// Pages, records and history are sound, as far as they were looked at.
    Sound,
    /// There is no such file.
    Missing,
    /// The file is all zeros.
    Blank,
    /// No meta page can be chosen.
    Unreadable,
    /// Pages or records are damaged.
    Damaged,
}

/// What the log says of itself.
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
    /// Whether it has every entry since the first.
    pub begins_at_first: bool,
    /// Index of the last entry that a restore wrote, where a restore made the log.
    pub restored: Option<u64>,
    /// Segments and snapfiles that belong to another history than the beginning of the log.
    pub strangers: Vec<PathBuf>,
    /// A record that etcd 3.4 refuses for its length.
    pub oversized: Option<Oversized>,
    /// What kinds of entries the log holds; looked at where there is no db that would tell.
    pub summary: Option<Summary>,
}

impl WalFacts {
    /// Whether the log can take the place of a db: it has every entry since the first, and no restore made it.
    pub fn is_complete(&self) -> bool {
        self.begins_at_first && self.restored.is_none()
    }
}

impl AsRef<Opened> for Opened {
    fn as_ref(&self) -> &Opened {
        self
    }
}

impl Opened {
    /// The files behind the path.
    pub fn located(&self) -> &Located {
        &self.located
    }

    /// What kind of input it is.
    pub fn kind(&self) -> Kind {
        match &self.located.member {
            Some((kind, _)) => *kind,
            None if self.image().is_snapshot() => Kind::Snapshot,
            None => Kind::Db,
        }
    }

    /// Its bytes, database and trailer told apart. Of a member, the state it has with its log applied.
    pub fn image(&self) -> Image<'_> {
        match self.located.member {
            Some(_) => Image::of_member(self.source.bytes()),
            None => Image::split(self.source.bytes()),
        }
    }

    /// All bytes of the file, whatever stands behind the database included; with the log applied where that was done.
    pub fn bytes(&self) -> &[u8] {
        self.source.bytes()
    }

    /// Bytes of the file, whatever stands behind the database included.
    pub fn file_size(&self) -> u64 {
        self.located.db.metadata().map_or(self.source.bytes().len() as u64, |file| file.len())
    }

    /// Its database, whatever became of its log.
    ///
    /// # Errors
    /// When no meta page can be chosen.
    pub fn database(&self) -> Result<Db<'_>, bolt::Error> {
        self.image().db(Limits::default())
    }

    /// What was applied of the log; `None` when it was not looked at or could not be applied.
    pub fn report(&self) -> Option<&Report> {
        match &self.raft.as_ref()?.state {
            State::Replayed(report) => Some(report),
            State::DbDamaged | State::Failed(_) => None,
        }
    }

    /// Why the log was not applied, although it should have been.
    pub fn not_replayed(&self) -> Option<&NotReplayed> {
        match &self.raft.as_ref()?.state {
            State::Failed(why) => Some(why),
            State::Replayed(_) | State::DbDamaged => None,
        }
    }

    /// What was found in the database file and cannot be seen in the state that is shown.
    pub fn file_findings(&self) -> &[Finding] {
        self.raft.as_ref().map_or(&[], |raft| &raft.judged.findings)
    }

    /// What was found in the pages of what is shown, where they were looked at on opening and are sound.
    pub fn known_pages(&self) -> Option<&[Finding]> {
        let raft = self.raft.as_ref()?;
        let of_file =
            || raft.judged.pages.as_deref().filter(|_| raft.judged.state == DbState::Sound);
        match &raft.state {
            State::Replayed(report) => match report.base {
                // Sound pages and those that were added to them.
                Base::Db if report.applied > 0 => of_file().map(|_| &[][..]),
                Base::Db => of_file(),
                Base::Empty => Some(&[]),
                Base::Received(_) => None,
            },
            State::Failed(_) => of_file().filter(|_| self.unused.is_none()),
            State::DbDamaged => None,
        }
    }

    /// Whether the log could take the place of the db that is shown, should a record of it prove to be damaged.
    pub fn is_replaceable(&self) -> bool {
        let complete = self.wal().is_some_and(WalFacts::is_complete);
        complete && self.report().is_some_and(|report| report.base == Base::Db)
    }

    /// What state the member's database file is in; `None` when the log was not looked at.
    pub fn db_state(&self) -> Option<DbState> {
        self.raft.as_ref().map(|raft| raft.judged.state)
    }

    /// Why the member's database file cannot be opened, such as a host's other byte order.
    pub fn db_error(&self) -> Option<&bolt::Error> {
        self.raft.as_ref()?.judged.error.as_ref()
    }

    /// The files of the member, when its log was looked at.
    pub fn files(&self) -> Option<&MemberFiles> {
        self.raft.as_ref().map(|raft| &raft.member)
    }

    /// The raft files, opened, when they were looked at.
    pub fn raft_files(&self) -> Option<&RaftFiles> {
        self.raft.as_ref().map(|raft| &raft.files)
    }

    /// What the log says of itself, when it was looked at.
    pub fn wal(&self) -> Option<&WalFacts> {
        self.raft.as_ref().map(|raft| &raft.facts)
    }

    /// Which of the servers that were tried start on a member's files as they stand; none where its db cannot be read or
    /// its log is damaged. Reads the whole log again, once.
    pub fn starts(&self) -> Vec<(Server, Result<(), Obstacle>)> {
        let Some(raft) = &self.raft else { return Vec::new() };
        let Some(meta) = &raft.judged.meta else { return Vec::new() };
        if matches!(raft.facts.end, Some(LogEnd::Damaged(..))) {
            return Vec::new();
        }
        let requests = &self.again(raft).requests;
        Server::ALL.into_iter().map(|server| (server, requests.starts(server, meta))).collect()
    }

    /// Why what is shown lacks entries: the log is damaged before its end, and no earlier end was asked for.
    pub fn lacking(&self) -> Option<Lacking> {
        let report = self.report().filter(|report| report.target.to.is_none())?;
        report.broken.clone().map(Lacking)
    }

    /// To be asked before any answer is shown: every byte came from the files, and they held still.
    ///
    /// # Errors
    /// [`Error::Moved`] otherwise.
    pub fn check(&self) -> Result<(), Error> {
        let raft = self.raft.as_ref().map_or(Ok(()), |raft| raft.files.check());
        let unused = self.unused.as_ref().map_or(Ok(()), Source::check);
        self.source
            .check()
            .and(unused)
            .and(raft)
            .map_err(|source| Error::Moved { path: self.located.db.clone(), source })
    }
}
