//! What people are told about the WAL that was applied.

use etcdsnap_engine::{
    replay::{Commit, Report},
    wal::LogEnd,
};

use crate::output::escape;

/// Lines for stderr; none when the db had everything.
pub fn replayed(report: &Report) -> Vec<String> {
    let mut lines = Vec::new();
    let target = &report.target;
    if report.applied > 0 {
        let refused = match report.refused {
            0 => String::new(),
            count => format!(" ({count} of them refused, as they were then)"),
        };
        lines.push(format!(
            "note: {} entries of the WAL were applied to the db, {} to {}, by the rules of etcd {}{refused}",
            report.applied,
            report.consistent_index.saturating_add(1),
            report.consistent_index.saturating_add(report.applied),
            report.line
        ));
    }
    if target.commit == Commit::Known && target.last > target.known {
        lines.push(format!(
            "note: entries {} to {} are not known to be committed and were left out; --commit all applies them",
            target.known.saturating_add(1),
            target.last
        ));
    }
    if target.commit == Commit::All && target.last > target.known && target.conf.voters.len() > 1 {
        lines.push(format!(
            "warning: entries {} to {} may never have been committed: other members may have different ones",
            target.known.saturating_add(1),
            target.last
        ));
    }
    if let Some(index) = report.removed_self {
        lines.push(format!(
            "warning: entry {index} removes this member from its cluster; nothing behind it was applied"
        ));
    }
    if let LogEnd::Torn(at) = &report.end {
        lines.push(format!(
            "note: the WAL ends in a record that the crash cut short, at {at}; nobody was told of it"
        ));
    }
    if !report.resalted.is_empty() {
        let names: Vec<String> =
            report.resalted.iter().map(|name| escape(&String::from_utf8_lossy(name))).collect();
        lines.push(format!(
            "note: the WAL has the passwords of these users in clear text; they work, but their stored bytes differ from the member's: {}",
            names.join(", ")
        ));
    }
    lines
}
