//! Reads, verifies, snapshots and restores etcd's bbolt files directly, without etcd and without a network.

pub mod bolt;
pub mod bulk;
pub mod content;
pub mod crc32c;
pub mod datadir;
pub mod diagnose;
mod error;
pub mod finding;
pub mod ids;
pub mod jobs;
pub mod limits;
pub mod member;
pub mod mend;
pub mod mvcc;
pub mod pb;
pub mod progress;
pub mod raw;
pub mod redact;
pub mod replay;
pub mod restore;
pub mod rewrite;
pub mod salvage;
pub mod schema;
pub mod shell;
pub mod snapfile;
pub mod snapshot;
pub mod source;
pub mod staging;
pub mod start;
pub mod synthetic;
pub mod url;
pub mod v2store;
pub mod wal;

pub use error::{Cause, Error, ErrorKind, Hint};
