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
                let changes = matches!(request.method.as_slice(), b"PUT" | b"POST" | b"DELETE");
                // etcd 2.x and 3.x keep users' keys below /1, and what they say of themselves below /0.
                if changes && request.path.starts_with(b"/1") {
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

impl std::fmt::Display for Summary {
    /// As in "entries 1 to 40, v2 requests".
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self.first_index.zip(self.last_index) {
            None => f.write_str("no entries")?,
            Some((first, last)) if first == last => write!(f, "entry {first}")?,
            Some((first, last)) => write!(f, "entries {first} to {last}")?,
        }
        let v2 = self.is_v2() || self.v2_writes > 0;
        f.write_str(match (v2, self.v3_requests > 0) {
            (true, false) => ", v2 requests",
            (true, true) => ", v2 and v3 requests",
            (false, true) => ", v3 requests",
            (false, false) => "",
        })
    }
}

impl Log<'_> {
    /// Counts the entries by what they hold. Reads all of them.
    pub fn summary(&self) -> Summary {
        let mut summary = Summary::default();
        self.effective().iter().for_each(|logged| summary.add(logged));
        summary
    }
}

#[cfg(test)]
mod tests {
    use prost::Message as _;

    use super::*;
    use crate::pb::kvpb::PutRequest;
    use crate::pb::raftpb::{ConfChange, Entry};
    use crate::pb::requestpb::{InternalRaftRequest, V2Request};
    use crate::wal::{Encoder, Segment, SegmentName};

    fn summary(entries: &[(u64, i32, Vec<u8>)]) -> Summary {
        let mut encoder = Encoder::new(0);
        for (index, kind, data) in entries {
            let data = Some(data.clone());
            encoder.entry(&Entry { r#type: Some(*kind), term: Some(1), index: Some(*index), data });
        }
        let (bytes, _) = encoder.finish();
        let name = SegmentName { sequence: 0, index: 0 };
        Log::read(&[Segment { name, bytes: &bytes }]).summary()
    }

    fn v2(method: &str, path: &str) -> Vec<u8> {
        let (method, path) = (method.into(), path.into());
        V2Request { id: 7, method, path, ..V2Request::default() }.encode_to_vec()
    }

    fn v3() -> Vec<u8> {
        let put = PutRequest { key: b"k".to_vec(), ..PutRequest::default() };
        InternalRaftRequest { put: Some(put), ..InternalRaftRequest::default() }.encode_to_vec()
    }

    #[test]
    fn kinds_of_entries_are_counted_once_for_each_index() {
        let change = ConfChange { node_id: Some(7), ..ConfChange::default() };
        let entries = [
            (5, 1, change.encode_to_vec()),
            (6, 0, vec![]),
            (7, 0, v3()),
            (8, 0, v3()),
            // Written again: 7 and 8 above are gone.
            (7, 0, v2("PUT", "/1/a")),
            (8, 0, v2("SYNC", "")),
            (9, 0, vec![0xff; 3]),
        ];
        let summary = summary(&entries);
        let expected = Summary {
            first_index: Some(5),
            last_index: Some(9),
            entries: 5,
            v2_requests: 2,
            v2_writes: 1,
            v3_requests: 0,
            conf_changes: 1,
            empty: 1,
            unknown: 1,
        };
        assert_eq!(summary, expected);
        assert!(summary.is_v2());
        assert_eq!(summary.to_string(), "entries 5 to 9, v2 requests");
    }

    #[test]
    fn a_sentence_names_the_api_that_was_used() {
        assert_eq!(summary(&[]).to_string(), "no entries");
        assert_eq!(summary(&[(3, 0, v3())]).to_string(), "entry 3, v3 requests");
        let published = [(1, 0, v2("PUT", "/0/members/9/attributes")), (2, 0, v3())];
        assert_eq!(summary(&published).to_string(), "entries 1 to 2, v3 requests");
        let both = [(1, 0, v2("PUT", "/1/a")), (2, 0, v3())];
        assert_eq!(summary(&both).to_string(), "entries 1 to 2, v2 and v3 requests");
    }
}
