//! Package `raftpb` of raft.

/// An entry of the log.
#[derive(Clone, PartialEq, prost::Message)]
pub struct Entry {
    /// 0 normal, 1 a [`ConfChange`], 2 a ConfChangeV2 (never proposed by etcd).
    #[prost(int32, optional, tag = "1")]
    pub entry_type: Option<i32>,
    /// Raft term.
    #[prost(uint64, optional, tag = "2")]
    pub term: Option<u64>,
    /// Raft index.
    #[prost(uint64, optional, tag = "3")]
    pub index: Option<u64>,
    /// The request, or the [`ConfChange`]; empty for the no-op of a new leader.
    #[prost(bytes = "vec", optional, tag = "4")]
    pub data: Option<Vec<u8>>,
}

/// What raft must remember besides entries.
#[derive(Clone, Copy, PartialEq, Eq, prost::Message)]
pub struct HardState {
    /// Current term.
    #[prost(uint64, optional, tag = "1")]
    pub term: Option<u64>,
    /// Member voted for in it.
    #[prost(uint64, optional, tag = "2")]
    pub vote: Option<u64>,
    /// Index known to be committed: a lower bound.
    #[prost(uint64, optional, tag = "3")]
    pub commit: Option<u64>,
}

/// Who votes.
#[derive(Clone, PartialEq, Eq, prost::Message)]
pub struct ConfState {
    /// Voting members, ascending.
    #[prost(uint64, repeated, packed = "false", tag = "1")]
    pub voters: Vec<u64>,
    /// Learners, ascending.
    #[prost(uint64, repeated, packed = "false", tag = "2")]
    pub learners: Vec<u64>,
    /// Voters that leave in a joint configuration.
    #[prost(uint64, repeated, packed = "false", tag = "3")]
    pub voters_outgoing: Vec<u64>,
    /// Voters that become learners in a joint configuration.
    #[prost(uint64, repeated, packed = "false", tag = "4")]
    pub learners_next: Vec<u64>,
    /// Whether raft leaves a joint configuration by itself.
    #[prost(bool, optional, tag = "5")]
    pub auto_leave: Option<bool>,
}

/// What a snapfile stands for.
#[derive(Clone, PartialEq, prost::Message)]
pub struct SnapshotMetadata {
    /// Who votes at that index.
    #[prost(message, optional, tag = "1")]
    pub conf_state: Option<ConfState>,
    /// Last index contained.
    #[prost(uint64, optional, tag = "2")]
    pub index: Option<u64>,
    /// Its term.
    #[prost(uint64, optional, tag = "3")]
    pub term: Option<u64>,
}

/// Contents of a snapfile.
#[derive(Clone, PartialEq, prost::Message)]
pub struct Snapshot {
    /// JSON of the v2 store.
    #[prost(bytes = "vec", optional, tag = "1")]
    pub data: Option<Vec<u8>>,
    /// What it stands for.
    #[prost(message, optional, tag = "2")]
    pub metadata: Option<SnapshotMetadata>,
}

/// A change of membership.
#[derive(Clone, PartialEq, prost::Message)]
pub struct ConfChange {
    /// Id of the request.
    #[prost(uint64, optional, tag = "1")]
    pub id: Option<u64>,
    /// 0 add, 1 remove, 2 update, 3 add as learner.
    #[prost(int32, optional, tag = "2")]
    pub change_type: Option<i32>,
    /// The member.
    #[prost(uint64, optional, tag = "3")]
    pub node_id: Option<u64>,
    /// JSON of the member.
    #[prost(bytes = "vec", optional, tag = "4")]
    pub context: Option<Vec<u8>>,
}
