//! Reads, verifies, snapshots and restores etcd's bbolt files directly, without etcd and without a network.

pub mod bolt;
pub mod crc32c;
pub mod finding;
pub mod ids;
pub mod limits;
pub mod pb;
pub mod progress;
pub mod raw;
pub mod restore;
pub mod snapfile;
pub mod wal;
