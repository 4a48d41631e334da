//! Package raftpb: what raft stores (`raftpb/raft.proto`). Proto2; lists are written unpacked.

/// What an entry's data is.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, prost::Enumeration)]
#[repr(i32)]
pub enum EntryType {
    /// A request, or nothing when a new leader opens its term.
    Normal = 0,
    /// A [`ConfChange`].
    ConfChange = 1,
    /// A ConfChangeV2, which etcd never proposes.
    ConfChangeV2 = 2,
}

/// An entry of the raft log.
#[derive(Clone, PartialEq, Eq, prost::Message)]
pub struct Entry {
    /// What `data` is; etcd's `Type`.
    #[prost(enumeration = "EntryType", optional, tag = "1")]
    pub r#type: Option<i32>,
    /// Term of the leader that proposed it; etcd's `Term`.
    #[prost(uint64, optional, tag = "2")]
    pub term: Option<u64>,
    /// Position in the log, from 1; etcd's `Index`.
    #[prost(uint64, optional, tag = "3")]
    pub index: Option<u64>,
    /// The request; etcd's `Data`.
    #[prost(bytes = "vec", optional, tag = "4")]
    pub data: Option<Vec<u8>>,
}

/// What a member must remember besides its log.
#[derive(Clone, Copy, PartialEq, Eq, prost::Message)]
pub struct HardState {
    /// Latest term the member knows.
    #[prost(uint64, optional, tag = "1")]
    pub term: Option<u64>,
    /// Member it voted for in that term; 0 for none.
    #[prost(uint64, optional, tag = "2")]
    pub vote: Option<u64>,
    /// Index up to which entries are known to be committed: a lower bound.
    #[prost(uint64, optional, tag = "3")]
    pub commit: Option<u64>,
}

/// Who takes part in raft.
#[derive(Clone, PartialEq, Eq, prost::Message)]
pub struct ConfState {
    /// Voting members, ascending.
    #[prost(uint64, repeated, packed = "false", tag = "1")]
    pub voters: Vec<u64>,
    /// Members that follow without a vote, ascending.
    #[prost(uint64, repeated, packed = "false", tag = "2")]
    pub learners: Vec<u64>,
    /// Voters of the configuration being left.
    #[prost(uint64, repeated, packed = "false", tag = "3")]
    pub voters_outgoing: Vec<u64>,
    /// Voters that become learners when it is left.
    #[prost(uint64, repeated, packed = "false", tag = "4")]
    pub learners_next: Vec<u64>,
    /// Whether raft leaves a joint configuration by itself.
    #[prost(bool, optional, tag = "5")]
    pub auto_leave: Option<bool>,
}

/// Where in the log a snapshot stands.
#[derive(Clone, PartialEq, Eq, prost::Message)]
pub struct SnapshotMetadata {
    /// Membership at `index`.
    #[prost(message, optional, tag = "1")]
    pub conf_state: Option<ConfState>,
    /// Last entry the snapshot contains.
    #[prost(uint64, optional, tag = "2")]
    pub index: Option<u64>,
    /// Term of that entry.
    #[prost(uint64, optional, tag = "3")]
    pub term: Option<u64>,
}

/// What a snapfile holds.
#[derive(Clone, PartialEq, Eq, prost::Message)]
pub struct Snapshot {
    /// JSON of the v2 store.
    #[prost(bytes = "vec", optional, tag = "1")]
    pub data: Option<Vec<u8>>,
    /// Where in the log it stands.
    #[prost(message, optional, tag = "2")]
    pub metadata: Option<SnapshotMetadata>,
}

/// What a [`ConfChange`] does.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, prost::Enumeration)]
#[repr(i32)]
pub enum ConfChangeType {
    /// Adds a voter, or promotes a learner.
    AddNode = 0,
    /// Removes a member.
    RemoveNode = 1,
    /// Changes a member's peer URLs.
    UpdateNode = 2,
    /// Adds a learner.
    AddLearnerNode = 3,
}

/// A change of membership: the data of an entry of type `ConfChange`.
#[derive(Clone, PartialEq, Eq, prost::Message)]
pub struct ConfChange {
    /// Id of the request; 0 in a bootstrapped or restored log.
    #[prost(uint64, optional, tag = "1")]
    pub id: Option<u64>,
    /// What is done.
    #[prost(enumeration = "ConfChangeType", optional, tag = "2")]
    pub r#type: Option<i32>,
    /// The member it is done to.
    #[prost(uint64, optional, tag = "3")]
    pub node_id: Option<u64>,
    /// JSON of the member.
    #[prost(bytes = "vec", optional, tag = "4")]
    pub context: Option<Vec<u8>>,
}
