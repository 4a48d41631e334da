//! What people are told about the WAL that was applied.

use etcdsnap_engine::{
    finding::counted,
    member::Lacking,
    replay::{Base, Commit, Report, password},
    wal::LogEnd,
};

use crate::output::escape;

/// Lines for stderr that `-q` silences; none when the db had everything.
pub fn replayed(report: &Report) -> Vec<String> {
    let mut lines = Vec::new();
    let target = &report.target;
    if report.applied > 0 {
        let refused = match report.refused {
            0 => String::new(),
            1 => "; 1 of them changed nothing, as on the server, which refused it".to_owned(),
            count => {
                format!("; {count} of them changed nothing, as on the server, which refused them")
            }
        };
        let (first, last) = (report.consistent_index.saturating_add(1), report.applied_to());
        let indexes = if first == last { first.to_string() } else { format!("{first} to {last}") };
        let to = match report.base {
            Base::Empty => "an empty db",
            Base::Db | Base::Received(_) => "the db",
        };
        lines.push(format!(
            "note: applied {} of the WAL ({indexes}) to {to}, by the rules of etcd {}{refused}",
            counted(report.applied, "entry", "entries"),
            report.line
        ));
    }
    if report.target.commit == Commit::Known && report.left_out() > 0 && target.to.is_none() {
        lines.push(match target.known.saturating_add(1) {
            first if first == target.last => {
                format!("note: left out entry {first}, which is not known to be committed")
            }
            first => format!(
                "note: left out entries {first} to {}, which are not known to be committed",
                target.last
            ),
        });
    }
    if let Some(to) = target.to {
        lines.push(format!(
            "note: the WAL was applied up to entry {to} of {}, as --to says",
            target.last
        ));
    }
    if let Some(index) = report.removed_self {
        lines.push(format!(
            "warning: entry {index} removes this member from its cluster; no entry after it was applied"
        ));
    }
    if let LogEnd::Torn(at) = &report.end
        && report.unsynced == 0
    {
        lines.push(format!(
            "note: the last WAL record, at {at}, was torn by the crash; it was never acknowledged"
        ));
    }
    if !report.resalted.is_empty() {
        const NAMED: usize = 20;
        let names = report.resalted.iter().take(NAMED);
        let mut names: Vec<String> =
            names.map(|name| escape(&String::from_utf8_lossy(name))).collect();
        if let Some(more @ 1..) = report.resalted.len().checked_sub(NAMED) {
            names.push(format!("and {more} more"));
        }
        let cost = match report.password_cost {
            password::COST => String::new(),
            cost => format!(
                " (there are {}, so they are hashed at bcrypt cost {cost}; servers use {}: set new ones)",
                report.resalted.len(),
                password::COST
            ),
        };
        lines.push(format!(
            "note: the WAL has the passwords of these users in clear text; they work, but their hashes differ from the member's{cost}: {}",
            names.join(", ")
        ));
    }
    lines
}

/// Lines for stderr that `-q` keeps: what decides whether the answer is the right one.
pub fn uncertain(report: &Report) -> Vec<String> {
    let mut lines = Vec::new();
    if let Some(sentence) = report.uncommitted() {
        let them = if report.entries_uncommitted() == 1 { "it" } else { "them" };
        lines.push(format!("warning: {sentence}; --commit known leaves {them} out"));
    }
    lines.extend(report.notable.iter().map(|notable| format!("warning: {notable}")));
    if report.unsynced > 0 {
        lines.push(format!(
            "warning: only part of the last write to the WAL reached the disk: {} after a sector of zeros left out; a server \
             cuts them off too, and the member never acknowledged them",
            counted(report.unsynced, "entry is", "entries are")
        ));
    }
    if let Some(broken) = &report.broken {
        lines.push(format!("damage: {}", Lacking(broken.clone())));
    }
    lines
}
