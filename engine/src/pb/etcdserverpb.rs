//! Package `etcdserverpb`: what of it stands in files.

/// An alarm; the key of a record in bucket `alarm`.
#[derive(Clone, Copy, PartialEq, prost::Message)]
pub struct AlarmMember {
    /// The member that raised it.
    #[prost(uint64, tag = "1")]
    pub member_id: u64,
    /// What is wrong: see [`AlarmType`].
    #[prost(enumeration = "AlarmType", tag = "2")]
    pub alarm: i32,
}

/// Kinds of alarms.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord, prost::Enumeration)]
#[repr(i32)]
pub enum AlarmType {
    /// None at all; never stored.
    None = 0,
    /// The space quota is used up: puts are refused.
    Nospace = 1,
    /// Members disagree: everything is refused.
    Corrupt = 2,
}

/// Data of a WAL's metadata record.
#[derive(Clone, Copy, PartialEq, prost::Message)]
pub struct Metadata {
    /// Id of the member that writes the log.
    #[prost(uint64, optional, tag = "1")]
    pub node_id: Option<u64>,
    /// Id of its cluster.
    #[prost(uint64, optional, tag = "2")]
    pub cluster_id: Option<u64>,
}
