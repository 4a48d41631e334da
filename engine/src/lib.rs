//! Reads, verifies, snapshots and restores etcd's bbolt files directly, without etcd and without a network.

pub mod bolt;
pub mod bulk;
pub mod content;
pub mod crc32c;
pub mod datadir;
pub mod diagnose;
pub mod finding;
pub mod ids;
pub mod limits;
pub mod member;
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
pub mod snapfile;
pub mod snapshot;
pub mod source;
pub mod staging;
pub mod synthetic;
pub mod wal;
