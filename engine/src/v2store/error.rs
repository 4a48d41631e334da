//! Why a v2 store cannot be read, and why a request changes nothing.

use super::json::NotAStore;
use crate::wal::IndexGap;

/// Why the v2 store cannot be read.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum Error {
    /// The newest snapfile that the log knows holds no v2 store.
    #[error("the snapfile of entry {index} has no readable v2 store")]
    Json {
        /// Index of the last entry that the snapfile contains.
        index: u64,
        /// What stands there instead.
        source: NotAStore,
    },
    /// Entries are missing behind the snapfile.
    #[error("the log lacks entries of the v2 store")]
    Gap(#[from] IndexGap),
    /// Neither a snapfile nor the first entry is there.
    #[error("the log begins at entry {first}, and no snapfile that it knows holds what was before")]
    NoBeginning {
        /// Index of the log's first entry.
        first: u64,
    },
}

/// Why the store refuses a request, which then changes nothing.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum Refused {
    /// etcd's code 100.
    #[error("Key not found")]
    KeyNotFound,
    /// etcd's code 101.
    #[error("Compare failed")]
    TestFailed,
    /// etcd's code 102.
    #[error("Not a file")]
    NotFile,
    /// etcd's code 104.
    #[error("Not a directory")]
    NotDir,
    /// etcd's code 105.
    #[error("Key already exists")]
    NodeExist,
    /// etcd's code 107.
    #[error("Root is read only")]
    RootReadOnly,
    /// etcd's code 108.
    #[error("Directory not empty")]
    DirNotEmpty,
}
