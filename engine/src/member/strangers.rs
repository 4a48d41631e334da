//! Files of another history among a member's own.
//!
//! A copy of one data dir over another, as `rsync` makes it without `--delete`, leaves the files of the older one that
//! the newer one has no name for: segments behind the new log, snapfiles of entries that the new log never had.

use std::path::PathBuf;

use super::Opened;
use crate::{
    datadir::MemberFiles,
    replay::RaftFiles,
    wal::{Log, LogEnd, SegmentName},
};

impl Opened {
    /// Segments and snapfiles that belong to another history than the beginning of the log.
    pub fn strangers(&self) -> &[PathBuf] {
        self.raft.as_ref().map_or(&[], |raft| &raft.facts.strangers)
    }
}

/// Files that do not belong to the history with which the log begins.
pub(super) fn strangers(files: &MemberFiles, raft: &RaftFiles, log: &Log<'_>) -> Vec<PathBuf> {
    let mut found = Vec::new();
    // Segments that join without damage are of one history.
    let damaged = matches!(log.end, LogEnd::Damaged(..));
    if let Some(first) = damaged.then(|| first_strange_segment(raft, log)).flatten() {
        let strange = files.segments.iter().filter(|(name, _)| *name >= first);
        found.extend(strange.map(|(_, path)| path.clone()));
    }
    let Some(last) = log.last_index() else { return found };
    let last = log.snapshots.iter().map(|mark| mark.index()).fold(last, u64::max);
    for (name, path) in &files.snapfiles {
        let term = log.entries.iter().rev().find(|logged| logged.entry.index == name.index);
        let other_term = term.is_some_and(|logged| logged.entry.term != name.term);
        // A snapfile is written once its entry is committed, so that the log has the entry.
        if name.index > last || other_term {
            found.push(path.clone());
        }
    }
    found
}

/// The first segment that another log left: it names another member or cluster, or it stands behind a restore's log
/// without continuing it.
fn first_strange_segment(raft: &RaftFiles, log: &Log<'_>) -> Option<SegmentName> {
    let mut own = None;
    let restored = log.restored().is_some();
    for (name, metadata, crc_before, crc) in raft.joints() {
        let other = own.is_some() && metadata.is_some() && metadata != own;
        let torn_off = crc_before.zip(crc).is_some_and(|(before, crc)| before != crc);
        if other || restored && torn_off {
            return Some(name);
        }
        own = own.or(metadata);
    }
    None
}
