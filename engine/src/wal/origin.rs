//! Where a log comes from: the first boot of a member, or a restore.

use super::Log;
use crate::pb::{entry::Decoded, raftpb::EntryType};

impl Log<'_> {
    /// Whether the log has every entry from entry 1 on, and at least that one.
    pub fn begins_at_first(&self) -> bool {
        self.entries_behind(0).is_ok_and(|entries| !entries.is_empty())
    }

    /// Index of the last entry that a restore wrote; `None` where no restore made this log, or its beginning is gone.
    ///
    /// A restore writes an entry for each member, a hard state that votes for the smallest member id, and the mark of
    /// a snapshot at the last of these entries. A member that boots for the first time writes the same entries, and its
    /// first hard state has no vote. Source: etcdutl `v3_snapshot.go`, `saveWALAndSnap`; raft `bootstrap.go`.
    pub fn restored(&self) -> Option<u64> {
        let state = self.first_state?;
        let last = state.commit();
        if state.vote() == 0 || state.term() != 1 || last == 0 {
            return None;
        }
        let mark = self.snapshots.iter().any(|mark| (mark.index(), mark.term()) == (last, 1));
        let count = usize::try_from(last).ok().filter(|count| *count <= self.entries.len())?;
        let mut smallest = u64::MAX;
        for (expected, logged) in (1..).zip(self.entries.iter().take(count)) {
            let kind = logged.entry.r#type.unwrap_or_default();
            let in_place = (logged.entry.index, logged.entry.term) == (expected, 1);
            if !in_place || kind == EntryType::Normal as i32 {
                return None;
            }
            let Decoded::ConfChange(change) = Decoded::new(kind, logged.entry.data) else {
                return None;
            };
            smallest = smallest.min(change.node_id());
        }
        (mark && state.vote() == smallest).then_some(last)
    }
}
