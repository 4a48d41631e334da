//! etcd's protobuf messages as plain structs, a file per proto package. No logic.
//!
//! Names and field numbers are etcd's. Scalars of proto2 messages are `Option`s: servers up to 3.6
//! write them even when zero, 3.7 only when set, and a reader takes an absent one as zero (the getters
//! do). Unknown fields are skipped, and are lost when a message is written again.
//!
//! [`wire`] reads the two messages that occur by the million without allocating; start reading there
//! when speed or the exact rules of acceptance matter.

pub mod authpb;
pub mod entry;
pub mod etcdserverpb;
pub mod kvpb;
pub mod leasepb;
pub mod membershippb;
pub mod mvccpb;
pub mod raftpb;
pub mod requestpb;
pub mod snappb;
pub mod txnpb;
pub mod walpb;
pub mod wire;
