//! How a server would start on a member's files: from which snapshot, on which db, up to which entry.

use super::{Line, membership};
use crate::{
    datadir::MemberFiles,
    ids::MemberId,
    pb::{entry::Decoded, raftpb},
    schema::{MetaRecords, meta::ConfState},
    snapfile::{self, SnapfileName},
    wal::{IndexGap, Log, LogEnd, LoggedEntry},
};

/// How far entries are applied.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Commit {
    /// Only entries that the member's files prove to be committed.
    Known,
    /// All entries of the log: what a single voter commits when it starts.
    All,
}

/// A snapfile that was read.
#[derive(Clone, Debug)]
pub struct ReadSnapfile {
    /// Its name.
    pub name: SnapfileName,
    /// Its message, or why there is none.
    pub content: Result<raftpb::Snapshot, snapfile::Error>,
}

/// Why the log cannot be applied to the db.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum BootError {
    /// There is no log.
    #[error("no log: {} has no segments; name the directory with --wal-dir, or look at the db alone with --no-wal", wal_dir.display())]
    NoLog {
        /// Where it should be.
        wal_dir: std::path::PathBuf,
    },
    /// The log is damaged, and a server would refuse it.
    #[error("the log is damaged at {at}: {damage}; entries up to {good_to} are good")]
    Damaged {
        /// Where.
        at: crate::wal::At,
        /// How.
        damage: crate::wal::Damage,
        /// Index of the last good entry.
        good_to: u64,
    },
    /// Entries are missing.
    #[error(transparent)]
    Gap(#[from] IndexGap),
    /// The log is another member's.
    #[error(
        "the log belongs to member {member}, which the db does not know: it is another member's log or db"
    )]
    Foreign {
        /// The member the log names.
        member: MemberId,
    },
    /// The log starts behind what the db contains: its beginning is gone, or it belongs to another db.
    #[error(
        "the db contains entries up to {db}, the log begins behind {start} and has no db of its own"
    )]
    DbBehind {
        /// Consistent index of the db.
        db: u64,
        /// Index of the snapshot the log starts from.
        start: u64,
    },
    /// The log ends before what was committed.
    #[error(
        "entries up to {committed} were committed, the log ends at {last}: its end is missing, or it belongs to another db"
    )]
    LogBehind {
        /// Index known to be committed.
        committed: u64,
        /// Index of the log's last entry.
        last: u64,
    },
}

/// How a server would start.
#[derive(Clone, Debug)]
pub struct Boot<'a> {
    /// The line whose rules apply.
    pub line: Line,
    /// Index of the snapshot the log is read from; 0 for its beginning.
    pub start: u64,
    /// Raft's configuration there.
    pub start_conf: raftpb::ConfState,
    /// JSON of the v2 store there, up to 3.6.
    pub v2_store: Option<Vec<u8>>,
    /// Entries behind the snapshot.
    pub entries: Vec<LoggedEntry<'a>>,
}

/// How far entries are applied, and why.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Target {
    /// The choice that was made.
    pub commit: Commit,
    /// Index up to which entries are applied.
    pub index: u64,
    /// Index up to which they are known to be committed.
    pub known: u64,
    /// Index of the log's last entry.
    pub last: u64,
    /// Raft's configuration at `known`.
    pub conf: ConfState,
}

impl<'a> Boot<'a> {
    /// Decides where a server would start. Source: etcd `bootstrap.go`.
    ///
    /// # Errors
    /// When there is no log, it is damaged, or entries are missing.
    pub fn new(
        files: &MemberFiles,
        log: &Log<'a>,
        meta: &MetaRecords,
        snapfiles: &[ReadSnapfile],
    ) -> Result<Self, BootError> {
        if files.segments.is_empty() {
            return Err(BootError::NoLog { wal_dir: files.wal_dir.clone() });
        }
        if let LogEnd::Damaged(at, damage) = &log.end {
            let good_to = log.last_index().unwrap_or_default();
            return Err(BootError::Damaged { at: *at, damage: damage.clone(), good_to });
        }
        let line = Line::detect(meta, log);
        let valid = |name: &SnapfileName| {
            log.valid_snapshots().any(|mark| (mark.term(), mark.index()) == (name.term, name.index))
        };
        // 3.7 reads no snapfile; where an older server could not read one, it takes the next.
        let snapfile = snapfiles.iter().filter(|file| valid(&file.name)).find_map(|file| {
            let content = file.content.as_ref().ok()?;
            Some((file.name.index, content))
        });
        let (start, snapshot) = if line >= Line::V3_7 {
            (log.valid_snapshots().next_back().map_or(0, |mark| mark.index()), None)
        } else {
            snapfile.map_or((0, None), |(index, content)| (index, Some(content)))
        };
        let marked = log.valid_snapshots().rev().find(|mark| mark.index() == start);
        let start_conf = marked
            .and_then(|mark| mark.conf_state.clone())
            .or_else(|| snapshot?.metadata.clone()?.conf_state)
            .unwrap_or_default();
        let entries = log.entries_behind(start)?;
        let v2_store = snapshot.and_then(|snapshot| snapshot.data.clone());
        Ok(Self { line, start, start_conf, v2_store, entries })
    }

    /// Index of the last entry.
    pub fn last(&self) -> u64 {
        self.start.saturating_add(self.entries.len() as u64)
    }

    /// Whether the db is older than the snapshot the log starts from: then the db that came with the
    /// snapshot takes its place.
    pub fn needs_received(&self, consistent_index: u64) -> bool {
        self.start > consistent_index
    }

    /// Decides how far entries are applied to a db that contains those up to `consistent_index`.
    ///
    /// # Errors
    /// When db and log do not meet.
    pub fn target(
        &self,
        log: &Log<'_>,
        consistent_index: u64,
        commit: Option<Commit>,
    ) -> Result<Target, BootError> {
        if self.needs_received(consistent_index) {
            return Err(BootError::DbBehind { db: consistent_index, start: self.start });
        }
        let last = self.last();
        let known = log.hard_state.commit().max(consistent_index).max(self.start);
        if known > last {
            return Err(BootError::LogBehind { committed: known, last });
        }
        let conf = self.conf_at(known);
        let own = log.metadata.map(|metadata| metadata.node_id());
        // Whoever votes alone commits everything it has.
        let alone = own.is_some_and(|own| conf.voters == [own]);
        let commit = commit.unwrap_or(if alone { Commit::All } else { Commit::Known });
        let index = match commit {
            Commit::Known => known,
            Commit::All => last,
        };
        Ok(Target { commit, index, known, last, conf })
    }

    /// Raft's configuration once entries up to `index` are applied.
    fn conf_at(&self, index: u64) -> ConfState {
        let mut members = membership::Membership::default();
        members.begin(None, &self.start_conf);
        for logged in self.entries.iter().filter(|logged| logged.entry.index <= index) {
            let kind = logged.entry.r#type.unwrap_or_default();
            if kind != raftpb::EntryType::Normal as i32
                && let Decoded::ConfChange(change) = Decoded::new(kind, logged.entry.data)
            {
                members.note_applied(&change);
            }
        }
        members.conf_state().clone()
    }
}
