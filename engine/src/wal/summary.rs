//! What kinds of entries a log holds.

use super::{Log, LoggedEntry};
use crate::pb::entry::Decoded;

/// How many entries of each kind a log holds; of those with the same index the last one counts. Entries behind
/// damage count too.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Summary {
    /// The smallest index.
    pub first_index: Option<u64>,
    /// The greatest index.
    pub last_index: Option<u64>,
    /// All entries.
    pub entries: u64,
    /// Requests of the v2 API, those by which servers up to 3.5 publish themselves and the cluster version included.
    pub v2_requests: u64,
    /// Those of the v2 requests that change keys of users.
    pub v2_writes: u64,
    /// Requests of the v3 API.
    pub v3_requests: u64,
    /// Changes of membership.
    pub conf_changes: u64,
    /// Entries without data, by which leaders begin a term.
    pub empty: u64,
    /// Entries that no etcd writes.
    pub unknown: u64,
}

impl Summary {
    fn add(&mut self, logged: &LoggedEntry<'_>) {
        let entry = &logged.entry;
        self.first_index = self.first_index.or(Some(entry.index));
        self.last_index = Some(entry.index);
        self.entries += 1;
        match Decoded::new(entry.r#type.unwrap_or_default(), entry.data) {
            Decoded::Empty => self.empty += 1,
            Decoded::Request(_) => self.v3_requests += 1,
            Decoded::V2(request) => {
                self.v2_requests += 1;
                let changes = matches!(request.method.as_str(), "PUT" | "POST" | "DELETE");
                // etcd 2.x and 3.x keep users' keys below /1, and what they say of themselves below /0.
                if changes && request.path.starts_with("/1") {
                    self.v2_writes += 1;
                }
            }
            Decoded::ConfChange(_) => self.conf_changes += 1,
            Decoded::Unknown => self.unknown += 1,
        }
    }

    /// Whether the log is of etcd 2.x, or of a later one that was used through the v2 API alone.
    pub fn is_v2(&self) -> bool {
        self.v2_requests > 0 && self.v3_requests == 0
    }
}

impl Log<'_> {
    /// Counts the entries by what they hold. Reads all of them.
    pub fn summary(&self) -> Summary {
        let behind = self.behind.iter().flat_map(|behind| &behind.entries);
        let mut entries: Vec<&LoggedEntry<'_>> = Vec::with_capacity(self.entries.len());
        for logged in self.entries.iter().chain(behind) {
            // What is written again takes the place of all that followed.
            while entries.pop_if(|last| last.entry.index >= logged.entry.index).is_some() {}
            entries.push(logged);
        }
        let mut summary = Summary::default();
        entries.into_iter().for_each(|logged| summary.add(logged));
        summary
    }
}
