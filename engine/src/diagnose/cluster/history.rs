//! Whether logs tell one history, and up to which entry.

use super::facts::{Facts, LogFacts, StateFacts};

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
    let committed = log_a.committed(a.member).min(log_b.committed(b.member));
    if let Some(at) = parting(log_a, log_b, committed) {
        return Some(Relation::Split { at: Some(at) });
    }
    let overlap = log_a.lowest().max(log_b.lowest())..=log_a.last().index.min(log_b.last().index);
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
    let (lowest, last) = (*overlap.start(), *overlap.end());
    Some(match overlap.rev().find(agrees) {
        Some(to) => Relation::Same { to, differ_from: (to < last).then(|| to.saturating_add(1)) },
        None => Relation::Same { to: committed, differ_from: Some(lowest) },
    })
}

/// The lowest index at which both logs have committed entries that differ, or entries of one term that do.
fn parting(a: &LogFacts, b: &LogFacts, committed: u64) -> Option<u64> {
    let lowest = a.lowest().max(b.lowest());
    let last = a.last().index.min(b.last().index);
    let mut differing = None;
    for index in lowest..=last {
        let (Some(term_a), Some(term_b)) = (a.term_at(index), b.term_at(index)) else { continue };
        if term_a != term_b {
            differing = differing.or(Some(index));
            if index <= committed {
                return differing;
            }
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

/// Whether two states can be of one history: an entry makes at most one revision, and none takes one back.
fn plausible(a: Option<&StateFacts>, b: Option<&StateFacts>) -> bool {
    let at = |state: Option<&StateFacts>| Some((state?.applied?, state?.revision));
    let (Some(a), Some(b)) = (at(a), at(b)) else { return true };
    let ((index, revision), (later, later_revision)) = (a.min(b), a.max(b));
    let entries = i64::try_from(later.saturating_sub(index)).unwrap_or(i64::MAX);
    (revision..=revision.saturating_add(entries)).contains(&later_revision)
}
