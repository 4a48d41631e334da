//! Package `snappb`: the frame of a snapfile.

/// A snapfile.
#[derive(Clone, PartialEq, prost::Message)]
pub struct Snapshot {
    /// CRC-32C of `data`.
    #[prost(uint32, optional, tag = "1")]
    pub crc: Option<u32>,
    /// A `raftpb.Snapshot`.
    #[prost(bytes = "vec", optional, tag = "2")]
    pub data: Option<Vec<u8>>,
}
