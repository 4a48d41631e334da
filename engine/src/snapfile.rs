//! Raft's `.snap` files ("snapfiles", to keep them apart from snapshots, which are backups).
//!
//! A snapfile is one checksummed message. Up to 3.7 a server writes one beside the log's mark of each
//! snapshot; up to 3.6 it also starts from one. Its data is the v2 store as JSON, which `v2store` reads.

use std::fmt;

use prost::Message;

use crate::crc32c::crc32c;
use crate::pb::{raftpb, snappb};

/// Why a snapfile is not one. A server renames such a file to `*.broken` and tries the next older.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum Error {
    /// The file has no bytes.
    #[error("snapfile has no bytes")]
    NoBytes,
    /// No data, or a checksum of 0, which etcd takes for none.
    #[error("snapfile is empty: {data_bytes} bytes of data with checksum {stored:08x}")]
    Empty {
        /// Bytes of data found.
        data_bytes: usize,
        /// The checksum the file says.
        stored: u32,
    },
    /// The data is not what was written.
    #[error("snapfile data: stored checksum {stored:08x}, computed {computed:08x}")]
    Checksum {
        /// What the file says.
        stored: u32,
        /// What its data gives.
        computed: u32,
    },
    /// The file is not a checksummed message.
    #[error("not a snapfile")]
    Envelope(#[source] prost::DecodeError),
    /// The data is not a raft snapshot, although its checksum is right.
    #[error("snapfile data is not a raft snapshot")]
    Message(#[source] prost::DecodeError),
}

/// Reads a whole snapfile.
///
/// # Errors
/// In the order and for the reasons etcd has: no bytes, no envelope, empty, checksum, no message.
pub fn decode(bytes: &[u8]) -> Result<raftpb::Snapshot, Error> {
    if bytes.is_empty() {
        return Err(Error::NoBytes);
    }
    let envelope = snappb::Snapshot::decode(bytes).map_err(Error::Envelope)?;
    let stored = envelope.crc();
    let data = envelope.data.unwrap_or_default();
    if data.is_empty() || stored == 0 {
        return Err(Error::Empty { data_bytes: data.len(), stored });
    }
    let computed = crc32c(&data);
    if computed != stored {
        return Err(Error::Checksum { stored, computed });
    }
    raftpb::Snapshot::decode(data.as_slice()).map_err(Error::Message)
}

/// The bytes of a snapfile.
pub fn encode(snapshot: &raftpb::Snapshot) -> Vec<u8> {
    let data = snapshot.encode_to_vec();
    snappb::Snapshot { crc: Some(crc32c(&data)), data: Some(data) }.encode_to_vec()
}

/// The name of a snapfile. The greatest one is the newest.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct SnapfileName {
    /// Term of the last entry contained.
    pub term: u64,
    /// Raft index of the last entry contained.
    pub index: u64,
}

impl SnapfileName {
    /// Reads a file name as etcd prints it; `None` for anything else, such as `*.snap.db` or `*.broken`.
    pub fn parse(file_name: &str) -> Option<Self> {
        let (term, index) = crate::ids::hex_pair(file_name.strip_suffix(".snap")?)?;
        Some(Self { term, index })
    }
}

impl fmt::Display for SnapfileName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:016x}-{:016x}.snap", self.term, self.index)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn snapshot() -> raftpb::Snapshot {
        raftpb::Snapshot {
            data: Some(b"{}".to_vec()),
            metadata: Some(raftpb::SnapshotMetadata {
                conf_state: Some(raftpb::ConfState { voters: vec![1, 2], ..Default::default() }),
                index: Some(5),
                term: Some(2),
            }),
        }
    }

    #[test]
    fn a_snapfile_is_read_back() {
        assert_eq!(decode(&encode(&snapshot())), Ok(snapshot()));
    }

    #[test]
    fn every_flipped_bit_is_an_error_or_changes_nothing() {
        let bytes = encode(&snapshot());
        for bit in 0..bytes.len() * 8 {
            let mut damaged = bytes.clone();
            damaged[bit / 8] ^= 1 << (bit % 8);
            // Bits of the checksum's varint above the 32nd are dropped by every decoder.
            let noticed = decode(&damaged).map_or(true, |decoded| decoded == snapshot());
            assert!(noticed, "bit {bit}");
        }
    }

    #[test]
    fn what_etcd_calls_empty_is_empty() {
        assert_eq!(decode(b""), Err(Error::NoBytes));
        assert_eq!(decode(b"\x08\x01"), Err(Error::Empty { data_bytes: 0, stored: 1 }));
        assert_eq!(decode(b"\x08\x00\x12\x01\x00"), Err(Error::Empty { data_bytes: 1, stored: 0 }));
    }

    #[test]
    fn data_that_is_no_snapshot_is_told_from_a_wrong_checksum() {
        let envelope = |data: &[u8], crc| {
            snappb::Snapshot { crc: Some(crc), data: Some(data.to_vec()) }.encode_to_vec()
        };
        let crc = crc32c(b"\x0a");
        assert!(matches!(decode(&envelope(b"\x0a", crc)), Err(Error::Message(_))));
        assert!(matches!(decode(b"\x12"), Err(Error::Envelope(_))));
        let checksum = Error::Checksum { stored: 1, computed: crc };
        assert_eq!(decode(&envelope(b"\x0a", 1)), Err(checksum));
    }

    #[test]
    fn names_are_printed_as_etcd_does_and_order_by_term_first() {
        let name = SnapfileName { term: 2, index: 0x1f5 };
        assert_eq!(name.to_string(), "0000000000000002-00000000000001f5.snap");
        assert_eq!(SnapfileName::parse(&name.to_string()), Some(name));
        assert!(name > SnapfileName { term: 1, index: 0x300 });
        for other in
            ["00000000000001f5.snap.db", "db", "0000000000000002-00000000000001f5.snap.broken"]
        {
            assert_eq!(SnapfileName::parse(other), None, "{other}");
        }
    }
}
