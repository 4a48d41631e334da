//! Package `walpb`: frames of the write-ahead log.

use super::raftpb::ConfState;

/// A record of the WAL.
#[derive(Clone, PartialEq, prost::Message)]
pub struct Record {
    /// What it is; 1 metadata, 2 entry, 3 state, 4 crc, 5 snapshot.
    #[prost(int64, optional, tag = "1")]
    pub record_type: Option<i64>,
    /// Running CRC-32C over all data since the log began.
    #[prost(uint32, optional, tag = "2")]
    pub crc: Option<u32>,
    /// The message within.
    #[prost(bytes = "vec", optional, tag = "3")]
    pub data: Option<Vec<u8>>,
}

/// Says that a snapshot was taken.
#[derive(Clone, PartialEq, prost::Message)]
pub struct Snapshot {
    /// Last index contained.
    #[prost(uint64, optional, tag = "1")]
    pub index: Option<u64>,
    /// Its term.
    #[prost(uint64, optional, tag = "2")]
    pub term: Option<u64>,
    /// Who votes; since 3.5.
    #[prost(message, optional, tag = "3")]
    pub conf_state: Option<ConfState>,
}
