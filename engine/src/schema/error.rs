//! What stops a read of etcd's records.

use super::revision::KeyError;
use crate::{bolt, finding::Place};

/// Why one record cannot be decoded.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum RecordError {
    /// A bucket where etcd keeps a plain value.
    #[error("a bucket where a record is expected")]
    Bucket,
    /// A key of the `key` bucket that is no revision.
    #[error("cannot parse revision key: {0}")]
    RevisionKey(#[from] KeyError),
    /// A message that does not decode.
    #[error("not a {message} message: {reason}")]
    Message {
        /// The message's name in etcd.
        message: &'static str,
        /// What the decoder said.
        reason: String,
    },
    /// A value of fixed size with another.
    #[error("{len} bytes, expected {expected}")]
    Length {
        /// Bytes found.
        len: usize,
        /// Bytes expected.
        expected: usize,
    },
    /// JSON that does not decode.
    #[error("not the JSON of a {what}: {reason}")]
    Json {
        /// What should have been there.
        what: &'static str,
        /// What the decoder said.
        reason: String,
    },
    /// A text that is no version.
    #[error("not a version: {0:?}")]
    Version(String),
    /// A member id that is not lower-case hex.
    #[error("not a member id in hex: {0:?}")]
    MemberId(String),
    /// Key and value name different things.
    #[error("the key says {key}, the value {value}")]
    KeyDiffers {
        /// What the record's key says.
        key: String,
        /// What the record's value says.
        value: String,
    },
    /// A value that etcd never writes.
    #[error("{found}, expected {expected}")]
    Value {
        /// What was found.
        found: String,
        /// What etcd writes.
        expected: &'static str,
    },
}

/// Why etcd's records could not be read.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum Error {
    /// The page tree is damaged.
    #[error(transparent)]
    Bolt(#[from] bolt::Error),
    /// A record is damaged.
    #[error("{place}: {error}")]
    Record {
        /// Which record.
        place: Place,
        /// What is wrong with it.
        error: RecordError,
    },
}
