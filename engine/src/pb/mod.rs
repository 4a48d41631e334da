//! etcd's messages as plain structs, a file per proto package, with etcd's field numbers. No logic.
//!
//! Writers up to etcd 3.6 put the scalar fields of raft's and the WAL's messages even when they are
//! zero, 3.7 leaves unset ones out: those fields are optional here, absent reads as 0.

pub mod authpb;
pub mod etcdserverpb;
pub mod leasepb;
pub mod mvccpb;
pub mod raftpb;
pub mod snappb;
pub mod walpb;
mod wire;
