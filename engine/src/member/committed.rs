//! How much of what is shown is known to be committed.

use serde::Serialize;

use super::Opened;
use crate::{mvcc::KeySpace, schema::Store};

/// How much of what is shown the member's own files prove to be committed.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct Committed {
    /// Entries that are shown and not known to be committed; 0 for a file, and for a member that votes alone.
    pub entries_uncommitted: u64,
    /// The newest revision that is known to be committed; `None` when the database cannot be read.
    pub revision_committed: Option<i64>,
}

impl Committed {
    /// Whether a change of revision `main` comes from an entry that is not known to be committed.
    pub fn lacks(&self, main: i64) -> bool {
        self.entries_uncommitted > 0 && self.revision_committed.is_some_and(|known| main > known)
    }
}

impl Opened {
    /// How much of what is shown is known to be committed.
    pub fn committed(&self) -> Committed {
        if let Some(report) = self.report() {
            return Committed {
                entries_uncommitted: report.entries_uncommitted(),
                revision_committed: Some(report.revision_committed),
            };
        }
        let revision = || {
            let store = Store::new(self.database().ok()?);
            KeySpace::open(&store).ok().map(|space| space.current_revision())
        };
        Committed { entries_uncommitted: 0, revision_committed: revision() }
    }
}
