//! Applies a log to a db.

use std::collections::BTreeSet;

use super::{
    Boot, BootError, Error, Line, Outcome, Refusal, State,
    boot::{Commit, Target},
    image,
};
use crate::{
    bolt::{Db, Error as BoltError, patch::Patched},
    ids::MemberId,
    pb::entry::Decoded,
    progress::Progress,
    schema::{MetaRecords, Store, members, meta::ConfState},
    wal::{Log, LogEnd},
};

/// Refused entries that are kept by name; the others are counted.
const KEPT: usize = 1000;

/// What was applied.
#[derive(Clone, Debug)]
pub struct Report {
    /// The line whose rules were followed.
    pub line: Line,
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
    /// Index of the entry that removed the member itself; none behind it was applied.
    pub removed_self: Option<u64>,
    /// How the log ends.
    pub end: LogEnd,
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
    commit: Option<Commit>,
    progress: &dyn Progress,
) -> Result<Replayed, Error> {
    let store = Store::new(*db);
    let (meta, _) = MetaRecords::read(&store)?;
    let consistent_index = meta.consistent_index.unwrap_or_default();
    if let Some(member) = foreign(&store, log, boot)? {
        return Err(BootError::Foreign { member }.into());
    }
    let target = boot.target(log, consistent_index, commit)?;
    let mut report = Report {
        line: boot.line,
        consistent_index,
        target,
        applied: 0,
        refused: 0,
        refusals: Vec::new(),
        resalted: BTreeSet::new(),
        removed_self: None,
        end: log.end.clone(),
    };
    if report.target.index <= consistent_index {
        return Ok(Replayed { patched: None, report });
    }
    progress.begin("keys", db.size_bytes());
    let mut state = State::load(&store, boot.line, progress)?;
    let own = log.metadata.map(|metadata| MemberId(metadata.node_id()));
    state.membership_mut().begin(own, &boot.start_conf);
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
        if progress.interrupted() {
            return Err(BoltError::Interrupted.into());
        }
        progress.advance(entry.data.len() as u64);
        let decoded = Decoded::new(entry.r#type.unwrap_or_default(), entry.data);
        if entry.index <= consistent_index {
            state.membership_mut().note(&decoded);
            continue;
        }
        report.applied += 1;
        match state.apply(entry.index, entry.term, &decoded)? {
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
    report.resalted = state.auth().resalted().clone();
    let patched = image::patch(db, state)?;
    Ok(Replayed { patched: Some(patched), report })
}

/// The member the log names, if the db knows members and not this one.
///
/// A restore by etcd 3.4 leaves the old cluster's members in the db, so that nothing follows from it there.
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
    Ok((boot.line > Line::V3_4 && !listed.is_empty() && !known).then_some(own))
}

impl Report {
    /// Raft's configuration as far as it is known to be committed.
    pub fn conf(&self) -> &ConfState {
        &self.target.conf
    }
}

impl From<BootError> for Error {
    fn from(error: BootError) -> Self {
        Error::Boot(error)
    }
}
