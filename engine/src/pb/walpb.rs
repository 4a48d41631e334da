//! Package walpb: records of the log (`server/storage/wal/walpb/record.proto`). Proto2.

use super::raftpb::ConfState;

/// A record as it is framed in a segment.
#[derive(Clone, PartialEq, Eq, prost::Message)]
pub struct Record {
    /// What `data` is: 1 metadata, 2 entry, 3 state, 4 crc, 5 snapshot.
    #[prost(int64, optional, tag = "1")]
    pub r#type: Option<i64>,
    /// CRC-32C of all data since the beginning of the log.
    #[prost(uint32, optional, tag = "2")]
    pub crc: Option<u32>,
    /// The message, absent in crc records.
    #[prost(bytes = "vec", optional, tag = "3")]
    pub data: Option<Vec<u8>>,
}

/// The mark of a snapshot in the log.
#[derive(Clone, PartialEq, Eq, prost::Message)]
pub struct Snapshot {
    /// Last entry the snapshot contains; 0 at the beginning of a log.
    #[prost(uint64, optional, tag = "1")]
    pub index: Option<u64>,
    /// Term of that entry.
    #[prost(uint64, optional, tag = "2")]
    pub term: Option<u64>,
    /// Membership at `index`; written since 3.5, and not for index 0.
    #[prost(message, optional, tag = "3")]
    pub conf_state: Option<ConfState>,
}
