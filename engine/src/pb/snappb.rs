//! Package snappb: the envelope of a snapfile (`server/etcdserver/api/snap/snappb/snap.proto`). Proto2.

/// A checksummed [`super::raftpb::Snapshot`].
#[derive(Clone, PartialEq, Eq, prost::Message)]
pub struct Snapshot {
    /// CRC-32C of `data`; never 0.
    #[prost(uint32, optional, tag = "1")]
    pub crc: Option<u32>,
    /// The encoded message.
    #[prost(bytes = "vec", optional, tag = "2")]
    pub data: Option<Vec<u8>>,
}
