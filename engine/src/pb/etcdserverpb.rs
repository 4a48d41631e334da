//! Package etcdserverpb: alarms and the WAL's metadata (`api/etcdserverpb/{rpc,etcdserver}.proto`).

/// Why an alarm was raised.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, prost::Enumeration)]
#[repr(i32)]
pub enum AlarmType {
    /// No alarm, or every alarm in a request.
    None = 0,
    /// The backend is over its quota: writes are refused.
    Nospace = 1,
    /// Members disagree: reads and writes are refused.
    Corrupt = 2,
}

/// The key of a record in bucket `alarm`. Proto3: zero fields are not written.
#[derive(Clone, Copy, PartialEq, Eq, prost::Message)]
pub struct AlarmMember {
    /// The member that raised it; etcd's `memberID`.
    #[prost(uint64, tag = "1")]
    pub member_id: u64,
    /// The kind of alarm.
    #[prost(enumeration = "AlarmType", tag = "2")]
    pub alarm: i32,
}

/// What a WAL says of itself at the head of each segment.
#[derive(Clone, Copy, PartialEq, Eq, prost::Message)]
pub struct Metadata {
    /// The member that writes the log; etcd's `NodeID`.
    #[prost(uint64, optional, tag = "1")]
    pub node_id: Option<u64>,
    /// Its cluster; etcd's `ClusterID`.
    #[prost(uint64, optional, tag = "2")]
    pub cluster_id: Option<u64>,
}
