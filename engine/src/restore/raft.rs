//! The raft files of a restored member: a log that adds every member and commits that, and a snapfile at
//! its end.
//!
//! The log's bytes are those etcdutl 3.5 and 3.6 write, zero fields included, so that 3.4 to 3.7 all read
//! them. Members of one cluster differ in one field: whose log it is.

use prost::Message;

use super::identity::Cluster;
use super::json::member_json;
use super::v2store::v2_store_json;
use crate::ids::MemberId;
use crate::pb::etcdserverpb::Metadata;
use crate::pb::raftpb::{
    ConfChange, ConfChangeType, ConfState, Entry, EntryType, HardState, Snapshot, SnapshotMetadata,
};
use crate::pb::walpb;
use crate::snapfile::{self, SnapfileName};
use crate::wal::{Encoder, SegmentName};

/// The term all of a restored log is written in.
pub const TERM: u64 = 1;

/// The name of a restored log's only segment.
pub const SEGMENT: SegmentName = SegmentName { sequence: 0, index: 0 };

/// Index of the last entry of a restored log, which is also its commit index and the consistent index
/// the db must get: one entry a member.
pub fn last_index(cluster: &Cluster) -> u64 {
    cluster.members.len() as u64
}

/// What a restored log's segment begins with. A server expects the file to be allocated, with zeros, up
/// to [`SEGMENT_BYTES`](crate::wal::SEGMENT_BYTES).
pub fn wal_head(cluster: &Cluster, own: MemberId) -> Vec<u8> {
    let mut log = Encoder::new(0);
    log.metadata(&Metadata { node_id: Some(own.0), cluster_id: Some(cluster.id.0) });
    log.snapshot(&walpb::Snapshot { index: Some(0), term: Some(0), conf_state: None });
    for (index, member) in (1..).zip(&cluster.members) {
        let change = ConfChange {
            id: Some(0),
            r#type: Some(ConfChangeType::AddNode.into()),
            node_id: Some(member.id.0),
            context: Some(member_json(member).into_bytes()),
        };
        log.entry(&Entry {
            r#type: Some(EntryType::ConfChange.into()),
            term: Some(TERM),
            index: Some(index),
            data: Some(change.encode_to_vec()),
        });
    }
    log.state(&HardState {
        term: Some(TERM),
        // The smallest id, not the member's own: every member's log says the same.
        vote: cluster.members.first().map(|member| member.id.0),
        commit: Some(last_index(cluster)),
    });
    log.snapshot(&walpb::Snapshot {
        index: Some(last_index(cluster)),
        term: Some(TERM),
        conf_state: Some(conf_state(cluster)),
    });
    let (bytes, _) = log.finish();
    bytes
}

/// Name and bytes of a restored member's snapfile. The same for every member.
pub fn snapfile(cluster: &Cluster) -> (SnapfileName, Vec<u8>) {
    let index = last_index(cluster);
    let bytes = snapfile::encode(&Snapshot {
        data: Some(v2_store_json(cluster).into_bytes()),
        metadata: Some(SnapshotMetadata {
            conf_state: Some(conf_state(cluster)),
            index: Some(index),
            term: Some(TERM),
        }),
    });
    (SnapfileName { term: TERM, index }, bytes)
}

fn conf_state(cluster: &Cluster) -> ConfState {
    ConfState {
        voters: cluster.members.iter().map(|member| member.id.0).collect(),
        auto_leave: Some(false),
        ..ConfState::default()
    }
}
