//! Whether logs tell one history, and up to which entry.

use std::ops::RangeInclusive;

use super::facts::{Conf, Facts, LogFacts, StateFacts};

/// How two logs stand to each other.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Relation {
    /// One history.
    Same {
        /// Index up to which their entries are the same.
        to: u64,
        /// First index at which they are known to differ: from there on a leader of a later term overruled the entries
        /// of the log that is less up-to-date. Between both one of the logs does not tell.
        differ_from: Option<u64>,
    },
    /// Two histories: both were told of different entries that these are committed.
    Split {
        /// Lowest index at which they are known to differ; `None` when the logs have no index in common and only the
        /// revisions tell.
        at: Option<u64>,
    },
}

/// Compares two members.
pub fn relate(a: &Facts, b: &Facts) -> Option<Relation> {
    let (log_a, log_b) = (a.log.as_ref()?, b.log.as_ref()?);
    if (log_a.from_db || log_b.from_db) && are_strangers(&log_a.conf, &log_b.conf) {
        return Some(Relation::Split { at: None });
    }
    let committed = log_a.committed(a.member).min(log_b.committed(b.member));
    if let Some(at) = parting(log_a, log_b, committed) {
        return Some(Relation::Split { at: Some(at) });
    }
    let overlap = log_a.lowest().max(log_b.lowest())..=log_a.tip().index.min(log_b.tip().index);
    if overlap.is_empty() {
        // What the longer log has dropped was committed, and so was what the shorter knows to be.
        let same = plausible(a.state.as_ref(), b.state.as_ref()) && origins(log_a, log_b);
        return Some(match same {
            true => Relation::Same { to: committed, differ_from: None },
            false => Relation::Split { at: None },
        });
    }
    if !origins(log_a, log_b) {
        return Some(Relation::Split { at: None });
    }
    let agrees =
        |index: &u64| log_a.term_at(*index).is_some_and(|term| log_b.term_at(*index) == Some(term));
    let differs = |index: &u64| differ(log_a, log_b, *index);
    let (lowest, last) = (*overlap.start(), *overlap.end());
    let known = known(log_a, log_b, overlap);
    Some(match known.iter().copied().rev().find(agrees) {
        Some(to) => {
            let differ_from = known.into_iter().find(|index| *index > to && differs(index));
            Relation::Same { to, differ_from }
        }
        None if known.iter().any(differs) => {
            Relation::Same { to: committed, differ_from: Some(lowest) }
        }
        // A db of 3.4 tells no term, and nothing else is common to both.
        None => Relation::Same { to: last, differ_from: None },
    })
}

/// The indexes within `overlap` at which one of two logs tells something, ascending.
fn known(a: &LogFacts, b: &LogFacts, overlap: RangeInclusive<u64>) -> Vec<u64> {
    let of = |log: &LogFacts| {
        let (first, behind) = (log.first, log.first.saturating_add(log.marks.len() as u64));
        let entries = first.max(*overlap.start())..behind.min(overlap.end().saturating_add(1));
        entries.chain([log.start.index, log.db.index])
    };
    let mut known: Vec<u64> = of(a).chain(of(b)).filter(|index| overlap.contains(index)).collect();
    known.sort_unstable();
    known.dedup();
    known
}

/// Whether both logs have an entry at `index`, and not the same.
fn differ(a: &LogFacts, b: &LogFacts, index: u64) -> bool {
    let both = a.terms_at(index).zip(b.terms_at(index));
    both.is_some_and(|((least, most), (from, to))| most < from || to < least)
}

/// The lowest index at which both logs have committed entries that differ, or entries of one term that do.
fn parting(a: &LogFacts, b: &LogFacts, committed: u64) -> Option<u64> {
    let lowest = a.lowest().max(b.lowest());
    let last = a.tip().index.min(b.tip().index);
    let mut differing = None;
    for index in known(a, b, lowest..=last) {
        if differ(a, b, index) {
            differing = differing.or(Some(index));
            if index <= committed {
                return differing;
            }
            continue;
        }
        if a.term_at(index).is_none() || a.term_at(index) != b.term_at(index) {
            continue;
        }
        match (a.mark(index), b.mark(index)) {
            // One leader never appends two entries at one index, and logs that agree at an index agree before it.
            (Some(one), Some(other)) if one != other => return differing.or(Some(index)),
            _ if differing.is_some() => return differing,
            _ => {}
        }
    }
    None
}

/// Whether both logs can have begun alike: a restore begins a log anew.
fn origins(a: &LogFacts, b: &LogFacts) -> bool {
    !(a.is_complete() && b.is_complete() && a.restored != b.restored)
}

/// Whether two memberships have nobody in common. Ids of members are those of one cluster.
fn are_strangers(a: &Conf, b: &Conf) -> bool {
    let ids = |conf: &Conf| [conf.voters.as_slice(), &conf.learners].concat();
    let (a, b) = (ids(a), ids(b));
    !a.is_empty() && !b.is_empty() && !a.iter().any(|id| b.contains(id))
}

/// Whether two states can be of one history: an entry makes at most one revision, and none takes one back. What is not
/// known to be committed may have been overruled, and its revisions written anew.
fn plausible(a: Option<&StateFacts>, b: Option<&StateFacts>) -> bool {
    let at = |state: Option<&StateFacts>| {
        let (state, applied) = (state?, state?.applied?);
        let revision = state.revision_committed.unwrap_or(state.revision);
        Some((applied.saturating_sub(state.entries_uncommitted), revision))
    };
    let (Some(a), Some(b)) = (at(a), at(b)) else { return true };
    let ((index, revision), (later, later_revision)) = (a.min(b), a.max(b));
    let entries = i64::try_from(later.saturating_sub(index)).unwrap_or(i64::MAX);
    (revision..=revision.saturating_add(entries)).contains(&later_revision)
}
