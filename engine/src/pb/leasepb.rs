//! Package leasepb: a stored lease (`server/lease/leasepb/lease.proto`).

/// The value of a record in bucket `lease`.
#[derive(Clone, Copy, PartialEq, Eq, prost::Message)]
pub struct Lease {
    /// The lease's id; etcd's `ID`.
    #[prost(int64, tag = "1")]
    pub id: i64,
    /// Granted time to live in seconds; etcd's `TTL`.
    #[prost(int64, tag = "2")]
    pub ttl: i64,
    /// Time left at the last checkpoint in seconds, 0 when none was stored; etcd's `RemainingTTL`.
    #[prost(int64, tag = "3")]
    pub remaining_ttl: i64,
}
