//! What a bbolt file cannot hold, and what stops its writing.

use std::{fmt, io};

use super::super::{layout, page::PageId};

/// Name of a bucket for messages; empty for the root bucket, which has none.
#[derive(Clone, Debug, Default, PartialEq, Eq, Hash)]
pub struct BucketName(pub Vec<u8>);

impl fmt::Display for BucketName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if self.0.is_empty() {
            f.write_str("the root bucket")
        } else {
            write!(f, "bucket {}", self.0.escape_ascii())
        }
    }
}

/// Why an entry was refused or the writing stopped. Lengths are bytes.
///
/// After a refused key, value or bucket the writer is as it was before the call. After
/// [`WriteError::Io`] and [`WriteError::TooLarge`] every further
/// call is [`WriteError::Broken`].
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum WriteError {
    /// Not a page size of bbolt.
    #[error("page size {found}, expected a power of two from 1024 to 65536")]
    PageSize {
        /// The page size asked for.
        found: u32,
    },
    /// Not a fill that bbolt allows.
    #[error("fill of {percent} percent, expected 10 to 100")]
    Fill {
        /// The fill asked for.
        percent: u8,
    },
    /// A key or bucket name without bytes, on which bbolt panics.
    #[error("{bucket}: empty key")]
    EmptyKey {
        /// The bucket it was meant for.
        bucket: BucketName,
    },
    /// A key or bucket name longer than bbolt allows.
    #[error("{bucket}: key of {len} bytes, at most {} are allowed", layout::MAX_KEY)]
    KeyTooLong {
        /// The bucket it was meant for.
        bucket: BucketName,
        /// Length of the key.
        len: usize,
    },
    /// A value longer than bbolt allows, alone or together with its key.
    #[error("{bucket} key {}: value of {len} bytes, at most {limit} are allowed", key.escape_ascii())]
    ValueTooLong {
        /// The bucket it was meant for.
        bucket: BucketName,
        /// Its key.
        key: Vec<u8>,
        /// Length of the value.
        len: usize,
        /// The greatest length that fits beside this key.
        limit: usize,
    },
    /// A key or bucket name that is not greater than the one before it.
    #[error(
        "{bucket}: key {} after {}, expected ascending keys",
        key.escape_ascii(),
        previous.escape_ascii()
    )]
    Order {
        /// The bucket it was meant for.
        bucket: BucketName,
        /// The key before it.
        previous: Vec<u8>,
        /// The key that is equal or smaller.
        key: Vec<u8>,
    },
    /// Buckets nested deeper than the limit.
    #[error("bucket {}: nested deeper than {limit} levels", name.escape_ascii())]
    TooDeep {
        /// The bucket.
        name: Vec<u8>,
        /// The limit.
        limit: usize,
    },
    /// A transaction id that leaves none for the older meta, or none for the next transaction.
    #[error("transaction id {txid}, expected 1 to 2^64 - 2")]
    TxId {
        /// The id asked for.
        txid: u64,
    },
    /// More pages than a file can address.
    #[error("page {page}: beyond what a file can hold")]
    TooLarge {
        /// The page.
        page: PageId,
    },
    /// The output refused bytes.
    #[error("page {page}: {source}")]
    Io {
        /// The page that was being written, or in a buffer behind it.
        page: PageId,
        /// What the output said.
        source: io::Error,
    },
    /// The output refused bytes earlier; the file is incomplete.
    #[error("an earlier write was refused, the file is incomplete")]
    Broken,
}
