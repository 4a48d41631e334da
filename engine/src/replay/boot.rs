//! How a server would start on a member's files: from which snapshot, on which db, up to which entry.

use super::{Line, membership};
use crate::{
    datadir::MemberFiles,
    ids::MemberId,
    pb::{entry::Decoded, raftpb},
    schema::{MetaRecords, meta::ConfState},
    snapfile::{self, SnapfileName},
    wal::{At, Damage, IndexGap, Log, LogEnd, LoggedEntry},
};

/// Which entries of the log are applied.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Commit {
    /// Only entries that the member's own files prove to be committed.
    Known,
    /// Every entry of the log. A member writes its commit index to disk late, so a client may have been told of any of them.
    #[default]
    All,
}

/// Where the entries that are applied end.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Until {
    /// Which entries count.
    pub commit: Commit,
    /// Raft index of the last entry to apply; `None` for no limit.
    pub to: Option<u64>,
}

/// The db that entries are applied to.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Base {
    /// The member's db.
    Db,
    /// The db that came with the leader's snapshot at this raft index and was not taken over yet.
    Received(u64),
    /// An empty db: the log has every entry since the first.
    Empty,
}

/// Where a damaged log stops being readable.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Broken {
    /// Where.
    pub at: At,
    /// How.
    pub damage: Damage,
    /// Raft index of the last entry that can be used; 0 when there is none.
    pub good_to: u64,
    /// First and last raft index of the entries that stand behind the damage and cannot be used.
    pub behind: Option<(u64, u64)>,
    /// Whether nothing is lost, and the entries behind the damage are used.
    pub bridged: bool,
    /// Entries that are missing in the log and that the db contains; none where checksums prove the entries behind.
    pub missing: u64,
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
    /// Entries are missing.
    #[error(transparent)]
    Gap(#[from] IndexGap),
    /// The log is another member's.
    #[error(
        "the log belongs to member {member}, which the db does not list: the log or the db is another member's"
    )]
    Foreign {
        /// The member the log names.
        member: MemberId,
    },
    /// The log starts behind what the db contains: its beginning is gone, or it belongs to another db.
    #[error(
        "the db contains entries up to {db}, but the log begins after entry {start}: what lies between is in neither"
    )]
    DbBehind {
        /// Consistent index of the db.
        db: u64,
        /// Index of the snapshot the log starts from.
        start: u64,
    },
    /// There is no usable db, and the log does not reach back to the first entry.
    #[error(
        "there is no usable db, and the log lacks its beginning: it begins after entry {start}"
    )]
    NoBase {
        /// Index behind which the log begins.
        start: u64,
    },
    /// A restore made the log: what was restored is in no entry.
    #[error(
        "a restore made this log, so no entry holds what was restored, and the db that held it is missing or is an older one"
    )]
    RestoredLog {
        /// Index of the last entry that the restore wrote.
        index: u64,
    },
    /// The db has more revisions than the log's entries can have made.
    #[error(
        "the db is at revision {revision}, but entries up to {consistent_index}, which it says it contains, make at most \
         revision {}: the db was restored, and the log is from before the restore", consistent_index.saturating_add(1)
    )]
    OtherHistory {
        /// Revision of the db.
        revision: i64,
        /// Consistent index of the db.
        consistent_index: u64,
    },
    /// The db contains more entries than are wanted.
    #[error(
        "the db already contains entries up to {db}: to show the state at entry {to}, the log must begin at entry 1"
    )]
    DbAhead {
        /// Consistent index of the db.
        db: u64,
        /// Index of the last entry that is wanted.
        to: u64,
    },
    /// There is no such entry.
    #[error("the log ends at entry {last}; there is no entry {to}")]
    NoEntry {
        /// Index of the log's last entry.
        last: u64,
        /// Index of the last entry that is wanted.
        to: u64,
    },
    /// The log ends before what was committed.
    #[error(
        "entries up to {committed} were committed, but the log ends at entry {last}: its end is missing, or it belongs to another db"
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
    /// What entries are applied to.
    pub base: Base,
    /// Index behind which entries are read; 0 for the log's beginning.
    pub start: u64,
    /// Index of the snapshot a server would start from; 0 for none. Greater than `start` where the db is older
    /// than that snapshot and the log has the entries between.
    pub snapshot: u64,
    /// Raft's configuration at `snapshot`.
    pub start_conf: raftpb::ConfState,
    /// JSON of the v2 store at `start`, up to 3.6.
    pub v2_store: Option<Vec<u8>>,
    /// Entries behind `start`.
    pub entries: Vec<LoggedEntry<'a>>,
    /// Where the log is damaged; entries behind that are not among `entries`.
    pub broken: Option<Broken>,
    /// Whether the log does not begin at entry 1 and the snapfile that it goes on from is gone: no server up to 3.6 starts
    /// on it. The db contains what came before.
    pub without_snapfile: bool,
}

/// How far entries are applied, and why.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Target {
    /// The choice that was made.
    pub commit: Commit,
    /// The end that was asked for.
    pub to: Option<u64>,
    /// Index up to which entries are applied.
    pub index: u64,
    /// Index up to which they are known to be committed.
    pub known: u64,
    /// Index of the log's last entry.
    pub last: u64,
    /// Raft's configuration at `known`, or at `to` where that is earlier.
    pub conf: ConfState,
    /// Whether this member is the only voter: it commits every entry of its log when it starts.
    pub alone: bool,
}

/// The snapshot a server would start from.
pub(super) struct Chosen<'s> {
    pub(super) index: u64,
    conf: raftpb::ConfState,
    pub(super) content: Option<&'s raftpb::Snapshot>,
}

impl<'a> Boot<'a> {
    /// Decides where a server would start, on a db that says `db` of itself; `None` where there is no usable one.
    /// Source: etcd `bootstrap.go`.
    ///
    /// Servers refuse a db that is older than the snapshot they start from. Where the log has the entries between,
    /// nothing is missing, and entries are applied from the db's index on.
    ///
    /// # Errors
    /// When there is no log, or entries are missing.
    pub fn new(
        files: &MemberFiles,
        log: &Log<'a>,
        db: Option<&MetaRecords>,
        snapfiles: &[ReadSnapfile],
    ) -> Result<Self, BootError> {
        let line = Self::line(files, log, db)?;
        let contained = db.map(|meta| meta.consistent_index.unwrap_or_default());
        let chosen = Chosen::of(log, line, snapfiles);
        let marked = chosen.mark_instead(log, contained.unwrap_or_default());
        let without_snapfile = marked.is_some();
        let chosen = marked.unwrap_or(chosen);
        let received = files.received.iter().any(|(index, _)| *index == chosen.index);
        let (base, start) = match contained {
            Some(contained) if contained >= chosen.index => (Base::Db, chosen.index),
            _ if received => (Base::Received(chosen.index), chosen.index),
            Some(contained) if log.entries_behind(contained).is_ok() => (Base::Db, contained),
            Some(db) => return Err(BootError::DbBehind { db, start: chosen.index }),
            None if log.begins_at_first() => (Base::Empty, 0),
            None => return Err(chosen.no_base(log)),
        };
        if let Some(index) = log.restored()
            && !matches!(base, Base::Received(_))
            && contained.unwrap_or_default() < index
        {
            return Err(BootError::RestoredLog { index });
        }
        let contained = if base == Base::Db { contained.unwrap_or_default() } else { start };
        let boot = Self::on(base, (start, contained), line, log, chosen)?;
        Ok(Self { without_snapfile, ..boot })
    }

    /// Decides how the state is made from the log alone, on an empty db.
    ///
    /// # Errors
    /// When there is no log, or it does not begin at entry 1.
    pub fn from_log(
        files: &MemberFiles,
        log: &Log<'a>,
        db: Option<&MetaRecords>,
        snapfiles: &[ReadSnapfile],
    ) -> Result<Self, BootError> {
        let line = Self::line(files, log, db)?;
        let chosen = Chosen::of(log, line, snapfiles);
        if !log.begins_at_first() {
            return Err(chosen.no_base(log));
        }
        Self::on(Base::Empty, (0, 0), line, log, chosen)
    }

    fn line(
        files: &MemberFiles,
        log: &Log<'_>,
        db: Option<&MetaRecords>,
    ) -> Result<Line, BootError> {
        if files.segments.is_empty() {
            return Err(BootError::NoLog { wal_dir: files.wal_dir.clone() });
        }
        Ok(db.map_or_else(
            || Line::detect(&MetaRecords::default(), log),
            |meta| Line::detect(meta, log),
        ))
    }

    fn on(
        base: Base,
        (start, contained): (u64, u64),
        line: Line,
        log: &Log<'a>,
        chosen: Chosen<'_>,
    ) -> Result<Self, BootError> {
        let (entries, broken) = match &log.end {
            LogEnd::Damaged(at, damage) => {
                let (entries, bridged, missing) = across(log, start, contained)?;
                let last = entries.last().map_or(start, |last| last.entry.index);
                let behind = log.behind.as_ref().filter(|_| !bridged);
                let behind =
                    behind.and_then(|behind| behind.first_index().zip(behind.last_index()));
                let (at, damage) = (*at, damage.clone());
                (entries, Some(Broken { at, damage, good_to: last, behind, bridged, missing }))
            }
            LogEnd::Clean(_) | LogEnd::Torn(_) => (log.entries_behind(start)?, None),
        };
        let at_start = chosen.content.filter(|_| start == chosen.index);
        Ok(Self {
            line,
            base,
            start,
            snapshot: chosen.index,
            start_conf: chosen.conf,
            v2_store: at_start.and_then(|snapshot| snapshot.data.clone()),
            entries,
            broken,
            without_snapfile: false,
        })
    }

    /// Index of the last entry.
    pub fn last(&self) -> u64 {
        self.entries.last().map_or(self.start, |last| last.entry.index)
    }

    /// Whether a server refuses to start because the db is missing, or older than the snapshot it would start from,
    /// although the log has every entry that is needed.
    pub fn is_refused(&self) -> bool {
        self.snapshot > self.start
    }

    /// Decides how far entries are applied to a db that contains those up to `consistent_index`.
    ///
    /// # Errors
    /// When db and log do not meet, or there is no entry where they should end.
    pub fn target(
        &self,
        log: &Log<'_>,
        consistent_index: u64,
        until: Until,
    ) -> Result<Target, BootError> {
        if self.start > consistent_index {
            return Err(BootError::DbBehind { db: consistent_index, start: self.start });
        }
        let mut last = self.last();
        let mut known = log.hard_state.commit().max(consistent_index).max(self.snapshot);
        if let Some(broken) = &self.broken {
            let behind = log.behind.as_ref().filter(|_| broken.bridged);
            let state = behind.and_then(|behind| behind.hard_state);
            known = known.max(state.map_or(0, |state| state.commit()));
            // What was committed behind the damage is lost with it.
            last = last.max(consistent_index);
            known = known.min(last);
        }
        if known > last {
            return Err(BootError::LogBehind { committed: known, last });
        }
        let conf = self.conf_at(until.to.map_or(known, |to| known.min(to)));
        let own = log.metadata.map(|metadata| metadata.node_id());
        let alone = own.is_some_and(|own| conf.voters == [own]);
        let mut index = match until.commit {
            Commit::Known => known,
            Commit::All => last,
        };
        if let Some(to) = until.to {
            if to > last {
                return Err(BootError::NoEntry { last, to });
            }
            if to < consistent_index {
                return Err(BootError::DbAhead { db: consistent_index, to });
            }
            index = index.min(to);
        }
        let (commit, to) = (until.commit, until.to);
        Ok(Target { commit, to, index, known, last, conf, alone })
    }

    /// Raft's configuration once entries up to `index` are applied, where that is not before `snapshot`.
    fn conf_at(&self, index: u64) -> ConfState {
        let mut members = membership::Membership::default();
        members.begin(None, &self.start_conf);
        let within = self.snapshot.saturating_add(1)..=index;
        for logged in self.entries.iter().filter(|logged| within.contains(&logged.entry.index)) {
            let kind = logged.entry.r#type.unwrap_or_default();
            if kind != raftpb::EntryType::Normal as i32
                && let Decoded::ConfChange(change) = Decoded::new(kind, logged.entry.data)
            {
                members.note_applied(self.line, &change);
            }
        }
        members.conf_state()
    }
}

/// The entries of a damaged log behind `start`, for a db that contains those up to `contained`; whether they go on
/// behind the damage, because nothing is lost in it or the db contains that; and how many the db alone contains.
fn across<'a>(
    log: &Log<'a>,
    start: u64,
    contained: u64,
) -> Result<(Vec<LoggedEntry<'a>>, bool, u64), IndexGap> {
    let good = log.last_index().unwrap_or_default();
    if let (Some(_), Ok(row)) = (&log.behind, log.entries_across_gaps(start, contained))
        && row.entries.last().is_some_and(|last| last.entry.index > good.max(start))
    {
        let missing = row.missing.iter().map(|range| range.end().saturating_sub(*range.start()));
        let missing = missing.fold(0, |sum: u64, more| sum.saturating_add(more).saturating_add(1));
        return Ok((row.entries, true, missing));
    }
    log.entries_behind(start).map(|entries| (entries, false, 0))
}

impl<'s> Chosen<'s> {
    /// Why nothing can be made of `log` alone: it begins behind the first entry.
    fn no_base(&self, log: &Log<'_>) -> BootError {
        let before = |logged: &LoggedEntry<'_>| logged.entry.index.saturating_sub(1);
        BootError::NoBase { start: log.entries.first().map_or(self.index, before) }
    }

    /// A snapshot that the log marks and a db with entries up to `contained` contains, where the log's beginning is gone
    /// and no snapfile stands for it. The log must say who voted then.
    fn mark_instead(&self, log: &Log<'_>, contained: u64) -> Option<Self> {
        if self.index > 0 || log.entries_behind(0).is_ok() {
            return None;
        }
        let goes_on = |index: u64| index <= contained && log.entries_behind(index).is_ok();
        let mark = log.valid_snapshots().rev().find(|mark| goes_on(mark.index()))?;
        Some(Self { index: mark.index(), conf: mark.conf_state.clone()?, content: None })
    }

    /// The snapshot a server of `line` would start from.
    pub(super) fn of(log: &Log<'_>, line: Line, snapfiles: &'s [ReadSnapfile]) -> Self {
        let valid = |name: &SnapfileName| {
            log.valid_snapshots().any(|mark| (mark.term(), mark.index()) == (name.term, name.index))
        };
        // 3.7 reads no snapfile; where an older server could not read one, it takes the next.
        let snapfile = snapfiles.iter().filter(|file| valid(&file.name)).find_map(|file| {
            let content = file.content.as_ref().ok()?;
            Some((file.name.index, content))
        });
        let (index, content) = if line >= Line::V3_7 {
            (log.valid_snapshots().next_back().map_or(0, |mark| mark.index()), None)
        } else {
            snapfile.map_or((0, None), |(index, content)| (index, Some(content)))
        };
        let marked = log.valid_snapshots().rev().find(|mark| mark.index() == index);
        let conf = marked
            .and_then(|mark| mark.conf_state.clone())
            .or_else(|| content?.metadata.clone()?.conf_state)
            .unwrap_or_default();
        Self { index, conf, content }
    }
}

/// Raft index of the snapfile that servers up to 3.6 start from, 0 for none, and its v2 store as JSON.
pub(crate) fn v2_start<'s>(
    log: &Log<'_>,
    snapfiles: &'s [ReadSnapfile],
) -> (u64, Option<&'s [u8]>) {
    let Chosen { index, content, .. } = Chosen::of(log, Line::V3_6, snapfiles);
    (index, content.map(|content| content.data.as_deref().unwrap_or_default()))
}
