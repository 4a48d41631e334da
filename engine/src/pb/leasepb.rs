//! Package `leasepb`.

/// A lease.
#[derive(Clone, Copy, PartialEq, prost::Message)]
pub struct Lease {
    /// Its id.
    #[prost(int64, tag = "1")]
    pub id: i64,
    /// Time to live granted, in seconds.
    #[prost(int64, tag = "2")]
    pub ttl: i64,
    /// Time left at the last checkpoint, in seconds; 0 when there was none.
    #[prost(int64, tag = "3")]
    pub remaining_ttl: i64,
}
