//! What makes a log unreadable.

use super::Kind;
use crate::pb::wire::WireError;

/// A record that is not what a server wrote. Offsets are from the start of the segment file.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum Error {
    /// The frame does not hold a record.
    #[error("record at offset {offset:#x}: not a record")]
    Envelope {
        /// Where the record's length word is.
        offset: u64,
        /// What is wrong with the bytes.
        source: WireError,
    },
    /// The record's checksum is not that of the data up to it.
    #[error("record at offset {offset:#x}: stored checksum {stored:08x}, computed {computed:08x}")]
    Checksum {
        /// Where the record's length word is.
        offset: u64,
        /// What the record says.
        stored: u32,
        /// What the data up to it gives.
        computed: u32,
    },
    /// The record's data is not the message its kind says.
    #[error("{kind} record at offset {offset:#x}: data is not the message")]
    Message {
        /// Where the record's length word is.
        offset: u64,
        /// What the data should be.
        kind: Kind,
        /// What is wrong with the bytes.
        source: prost::DecodeError,
    },
    /// A kind of record no etcd writes.
    #[error("record at offset {offset:#x}: unknown kind {kind}")]
    UnknownKind {
        /// Where the record's length word is.
        offset: u64,
        /// The kind found.
        kind: Kind,
    },
}
