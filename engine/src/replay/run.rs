//! Applies a log to a db.

use std::collections::BTreeSet;

use super::{
    Base, Boot, BootError, Error, Line, Outcome, Refusal, State,
    boot::{Broken, Target, Until},
    image, password,
};
use crate::{
    bolt::{Db, Error as BoltError, patch::Patched},
    ids::MemberId,
    mvcc::KeySpace,
    pb::{entry::Decoded, raftpb},
    progress::Progress,
    schema::{MetaRecords, Store, members, meta::ConfState},
    wal::{Log, LogEnd},
};

/// Refused entries that are kept by name; the others are counted.
const KEPT: usize = 1000;

/// An entry that is not known to be committed and does more than write keys.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Notable {
    /// Raft index of the entry.
    pub index: u64,
    /// What it does.
    pub what: NotableKind,
}

/// What an entry does besides writing keys.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum NotableKind {
    /// It drops history before this revision.
    Compaction(i64),
    /// It changes the membership of the cluster.
    Membership,
}

impl std::fmt::Display for Notable {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "entry {}, which is not known to be committed, ", self.index)?;
        match self.what {
            NotableKind::Compaction(revision) => {
                write!(f, "compacts history up to revision {revision}")
            }
            NotableKind::Membership => f.write_str("changes the membership"),
        }
    }
}

/// What was applied.
#[derive(Clone, Debug)]
pub struct Report {
    /// The line whose rules were followed.
    pub line: Line,
    /// What entries were applied to.
    pub base: Base,
    /// Index of the last entry the db contained.
    pub consistent_index: u64,
    /// How far entries were applied, and why.
    pub target: Target,
    /// Number of entries applied.
    pub applied: u64,
    /// Number of those that were refused, as they were when the member applied them.
    pub refused: u64,
    /// The first refused entries: index and reason.
    pub refusals: Vec<(u64, Refusal)>,
    /// Users whose password came in clear text, as up to 3.4: it works, but the stored bytes are not those of
    /// the member.
    pub resalted: BTreeSet<Vec<u8>>,
    /// The bcrypt cost of those: [`password::COST`] as a server's, less where they are many.
    pub password_cost: u32,
    /// Index of the entry that removed the member itself; none behind it was applied.
    pub removed_self: Option<u64>,
    /// How the log ends.
    pub end: LogEnd,
    /// Entries behind a sector of zeros in the last write: never synced, and never acknowledged by this member.
    pub unsynced: u64,
    /// Where the log is damaged; what it said behind that is lost.
    pub broken: Option<Broken>,
    /// Index of the snapshot a server would start from and refuse the db for, because the db is missing or older.
    pub refused_at: Option<u64>,
    /// Index of the snapshot that the log goes on from, where its snapfile is gone and no server up to 3.6 starts.
    pub without_snapfile: Option<u64>,
    /// Revision of the store once the last entry that is known to be committed is applied.
    pub revision_committed: i64,
    /// Entries not known to be committed that do more than write keys; the first of them.
    pub notable: Vec<Notable>,
}

/// A db that was brought up to date.
#[derive(Clone, Debug)]
pub struct Replayed {
    /// What turns a copy of the db into the state; `None` when the db has it already.
    pub patched: Option<Patched>,
    /// What was applied.
    pub report: Report,
}

/// Applies to `db`, whose pages are sound, the entries it does not contain yet.
///
/// # Errors
/// When db and log do not meet, the db is damaged, or the work was interrupted.
pub fn replay(
    db: &Db<'_>,
    log: &Log<'_>,
    boot: &Boot<'_>,
    until: Until,
    progress: &dyn Progress,
) -> Result<Replayed, Error> {
    let store = Store::new(*db);
    let (meta, _) = MetaRecords::read(&store)?;
    let consistent_index = meta.consistent_index.unwrap_or_default();
    if let Some(member) = foreign(&store, log, boot)? {
        return Err(BootError::Foreign { member }.into());
    }
    let target = boot.target(log, consistent_index, until)?;
    let revision = KeySpace::open(&store)?.current_revision();
    if boot.base == Base::Db && contradicts(log, consistent_index, revision) {
        return Err(BootError::OtherHistory { revision, consistent_index }.into());
    }
    let mut report = Report {
        line: boot.line,
        base: boot.base,
        consistent_index,
        target,
        applied: 0,
        refused: 0,
        refusals: Vec::new(),
        resalted: BTreeSet::new(),
        password_cost: password::COST,
        removed_self: None,
        end: log.end.clone(),
        unsynced: unsynced(log),
        broken: boot.broken.clone(),
        refused_at: boot.is_refused().then_some(boot.snapshot),
        without_snapfile: boot.without_snapfile.then_some(boot.snapshot),
        revision_committed: revision,
        notable: Vec::new(),
    };
    if report.target.index <= consistent_index && boot.base != Base::Empty {
        return Ok(Replayed { patched: None, report });
    }
    progress.begin("keys", db.bytes_in_file());
    let mut state = State::load(&store, boot.line, progress)?;
    let own = log.metadata.map(|metadata| MemberId(metadata.node_id()));
    state.membership_mut().begin(own, &conf_at_start(boot, &meta));
    if let Some(v2_store) = &boot.v2_store {
        state.membership_mut().begin_v2(v2_store);
    }
    let log_bytes = boot.entries.iter().map(|logged| logged.entry.data.len() as u64).sum();
    progress.begin("replay", log_bytes);
    for logged in &boot.entries {
        let entry = &logged.entry;
        if entry.index > report.target.index {
            break;
        }
        progress.go_on()?;
        progress.advance(entry.data.len() as u64);
        let decoded = Decoded::new(entry.r#type.unwrap_or_default(), entry.data);
        if entry.index <= consistent_index {
            state.membership_mut().note(boot.line, &decoded);
            continue;
        }
        report.applied += 1;
        let outcome = state.apply(entry.index, entry.term, &decoded)?;
        report.note(entry.index, &decoded, &outcome, state.keys().revision());
        match outcome {
            Outcome::Applied => {}
            Outcome::Refused(refusal) => {
                report.refused += 1;
                if report.refusals.len() < KEPT {
                    report.refusals.push((entry.index, refusal));
                }
            }
            Outcome::RemovedSelf => {
                report.removed_self = Some(entry.index);
                break;
            }
        }
    }
    report.resalted = state.auth().resalted();
    report.password_cost = password::cost(report.resalted.len());
    let patched = image::patch(db, state)?;
    Ok(Replayed { patched: Some(patched), report })
}

/// Entries behind a sector of zeros, where that is how the log ends.
fn unsynced(log: &Log<'_>) -> u64 {
    match (&log.end, &log.behind) {
        (LogEnd::Torn(_), Some(behind)) => behind.entries.len() as u64,
        _ => 0,
    }
}

/// Raft's configuration at the entry behind which `boot` reads entries.
fn conf_at_start(boot: &Boot<'_>, db: &MetaRecords) -> raftpb::ConfState {
    if boot.start >= boot.snapshot {
        return boot.start_conf.clone();
    }
    let conf = db.conf_state.clone().unwrap_or_default();
    raftpb::ConfState { voters: conf.voters, learners: conf.learners, ..Default::default() }
}

/// Whether a db at `revision` that contains entries up to `consistent_index` cannot come from `log`.
///
/// An entry makes at most one revision, and an empty store is at revision 1. A db that a restore made has more; its
/// own log says so with the mark of a snapshot. A log without such a mark belongs to another history.
fn contradicts(log: &Log<'_>, consistent_index: u64, revision: i64) -> bool {
    let marked = log.snapshots.iter().any(|mark| (1..=consistent_index).contains(&mark.index()));
    let most = i64::try_from(consistent_index).unwrap_or(i64::MAX).saturating_add(1);
    log.entries.first().is_some_and(|first| first.entry.index == 1) && !marked && revision > most
}

/// The member the log names, if the db knows members and not this one.
///
/// A restore by etcd 3.4 leaves the old cluster's members in the db until the member has booted.
fn foreign(
    store: &Store<'_>,
    log: &Log<'_>,
    boot: &Boot<'_>,
) -> Result<Option<MemberId>, BoltError> {
    let Some(metadata) = log.metadata else { return Ok(None) };
    let own = MemberId(metadata.node_id());
    let listed = members::members(store)?.records;
    let known = listed.iter().any(|member| member.id == own)
        || members::removed(store)?.records.contains(&own);
    let left_by_restore = boot.line == Line::V3_4 && log.restored().is_some();
    Ok((!left_by_restore && !listed.is_empty() && !known).then_some(own))
}

impl Report {
    /// Raft's configuration as far as it is known to be committed.
    pub fn conf(&self) -> &ConfState {
        &self.target.conf
    }

    /// Raft index of the last entry in the state that is shown.
    pub fn applied_to(&self) -> u64 {
        self.removed_self.unwrap_or(self.target.index).max(self.consistent_index)
    }

    /// Entries in the state that is shown of which the member's own files do not prove that they are committed; 0 for
    /// a single voter, which commits what it has.
    pub fn entries_uncommitted(&self) -> u64 {
        if self.target.alone { 0 } else { self.applied_to().saturating_sub(self.target.known) }
    }

    /// The entries of [`Report::entries_uncommitted`] in a sentence; `None` where there are none.
    pub fn uncommitted(&self) -> Option<String> {
        let (first, last) = (self.target.known.saturating_add(1), self.applied_to());
        match self.entries_uncommitted() {
            0 => None,
            1 => Some(format!(
                "1 entry after the commit index is included; it is not known to be committed (entry {last}). A client may \
                 have been told of it, and a running leader may overrule it"
            )),
            count => Some(format!(
                "{count} entries after the commit index are included; they are not known to be committed (entries {first} to \
                 {last}). A client may have been told of them, and a running leader may overrule them"
            )),
        }
    }

    /// Entries of the log that were left out, because they are not known to be committed or lie behind the wanted end.
    pub fn left_out(&self) -> u64 {
        self.target.last.saturating_sub(self.applied_to())
    }

    /// Notes what the entry at `index` did, once it is applied and the store is at `revision`.
    fn note(&mut self, index: u64, entry: &Decoded, outcome: &Outcome, revision: i64) {
        if index <= self.target.known || self.target.alone {
            self.revision_committed = revision;
            return;
        }
        let what = match entry {
            _ if matches!(outcome, Outcome::Refused(_)) => return,
            Decoded::ConfChange(_) => NotableKind::Membership,
            Decoded::Request(request) => match &request.compaction {
                Some(compaction) => NotableKind::Compaction(compaction.revision),
                None => return,
            },
            Decoded::Empty | Decoded::V2(_) | Decoded::Unknown => return,
        };
        if self.notable.len() < KEPT {
            self.notable.push(Notable { index, what });
        }
    }
}

impl From<BootError> for Error {
    fn from(error: BootError) -> Self {
        Error::Boot(error)
    }
}
