//! The bbolt file format: read, check and write. Knows no etcd.

pub mod layout;
