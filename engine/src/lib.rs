//! Reads, verifies, snapshots and restores etcd's bbolt files directly, without etcd and without a network.

pub mod bolt;
pub mod finding;
pub mod limits;
pub mod progress;
pub mod raw;
pub mod source;
