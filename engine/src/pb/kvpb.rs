//! Package etcdserverpb: requests on keys, as the raft log holds them (`api/etcdserverpb/rpc.proto`).

/// A read. In the log only where it has to be answered in order, and inside transactions.
#[derive(Clone, PartialEq, Eq, prost::Message)]
pub struct RangeRequest {
    /// The key, or the first of a range.
    #[prost(bytes = "vec", tag = "1")]
    pub key: Vec<u8>,
    /// Empty for the key alone, one zero byte for everything from `key` on, else the exclusive end.
    #[prost(bytes = "vec", tag = "2")]
    pub range_end: Vec<u8>,
    /// Most keys to answer; 0 for all.
    #[prost(int64, tag = "3")]
    pub limit: i64,
    /// Revision to read at; 0 or less for the newest.
    #[prost(int64, tag = "4")]
    pub revision: i64,
    /// How the answer is sorted.
    #[prost(int32, tag = "5")]
    pub sort_order: i32,
    /// By what the answer is sorted.
    #[prost(int32, tag = "6")]
    pub sort_target: i32,
    /// Whether one member may answer alone.
    #[prost(bool, tag = "7")]
    pub serializable: bool,
    /// Whether values are left out of the answer.
    #[prost(bool, tag = "8")]
    pub keys_only: bool,
    /// Whether only the count is answered.
    #[prost(bool, tag = "9")]
    pub count_only: bool,
    /// Filter on the answer.
    #[prost(int64, tag = "10")]
    pub min_mod_revision: i64,
    /// Filter on the answer.
    #[prost(int64, tag = "11")]
    pub max_mod_revision: i64,
    /// Filter on the answer.
    #[prost(int64, tag = "12")]
    pub min_create_revision: i64,
    /// Filter on the answer.
    #[prost(int64, tag = "13")]
    pub max_create_revision: i64,
}

/// A put.
#[derive(Clone, PartialEq, Eq, prost::Message)]
pub struct PutRequest {
    /// The key.
    #[prost(bytes = "vec", tag = "1")]
    pub key: Vec<u8>,
    /// Its new value.
    #[prost(bytes = "vec", tag = "2")]
    pub value: Vec<u8>,
    /// Id of the lease to attach it to; 0 for none.
    #[prost(int64, tag = "3")]
    pub lease: i64,
    /// Whether the old record is answered; with auth this needs the right to read.
    #[prost(bool, tag = "4")]
    pub prev_kv: bool,
    /// Keep the old value; the key must exist.
    #[prost(bool, tag = "5")]
    pub ignore_value: bool,
    /// Keep the old lease; the key must exist.
    #[prost(bool, tag = "6")]
    pub ignore_lease: bool,
}

/// A deletion of a key or a range.
#[derive(Clone, PartialEq, Eq, prost::Message)]
pub struct DeleteRangeRequest {
    /// The key, or the first of a range.
    #[prost(bytes = "vec", tag = "1")]
    pub key: Vec<u8>,
    /// Empty for the key alone, one zero byte for everything from `key` on, else the exclusive end.
    #[prost(bytes = "vec", tag = "2")]
    pub range_end: Vec<u8>,
    /// Whether the old records are answered; with auth this needs the right to read.
    #[prost(bool, tag = "3")]
    pub prev_kv: bool,
}

/// What a comparison demands; etcd's `CompareResult`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, prost::Enumeration)]
#[repr(i32)]
pub enum CompareResult {
    /// Equal.
    Equal = 0,
    /// The stored one is greater.
    Greater = 1,
    /// The stored one is less.
    Less = 2,
    /// Not equal.
    NotEqual = 3,
}

/// What is compared; etcd's `CompareTarget`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, prost::Enumeration)]
#[repr(i32)]
pub enum CompareTarget {
    /// The version.
    Version = 0,
    /// The create revision.
    Create = 1,
    /// The mod revision.
    Mod = 2,
    /// The value.
    Value = 3,
    /// The lease.
    Lease = 4,
}

/// What a comparison compares with.
#[derive(Clone, PartialEq, Eq, prost::Oneof)]
pub enum TargetUnion {
    /// A version.
    #[prost(int64, tag = "4")]
    Version(i64),
    /// A create revision.
    #[prost(int64, tag = "5")]
    CreateRevision(i64),
    /// A mod revision.
    #[prost(int64, tag = "6")]
    ModRevision(i64),
    /// A value.
    #[prost(bytes = "vec", tag = "7")]
    Value(Vec<u8>),
    /// A lease.
    #[prost(int64, tag = "8")]
    Lease(i64),
}

/// A condition of a transaction.
#[derive(Clone, PartialEq, Eq, prost::Message)]
pub struct Compare {
    /// What is demanded.
    #[prost(enumeration = "CompareResult", tag = "1")]
    pub result: i32,
    /// What is compared.
    #[prost(enumeration = "CompareTarget", tag = "2")]
    pub target: i32,
    /// The key, or the first of a range.
    #[prost(bytes = "vec", tag = "3")]
    pub key: Vec<u8>,
    /// What it is compared with; absent is 0 or empty.
    #[prost(oneof = "TargetUnion", tags = "4, 5, 6, 7, 8")]
    pub target_union: Option<TargetUnion>,
    /// As in a range: the condition must hold for each of its keys.
    #[prost(bytes = "vec", tag = "64")]
    pub range_end: Vec<u8>,
}

/// A compaction.
#[derive(Clone, Copy, PartialEq, Eq, prost::Message)]
pub struct CompactionRequest {
    /// Revision below which superseded records go.
    #[prost(int64, tag = "1")]
    pub revision: i64,
    /// Whether the answer waits until they are gone.
    #[prost(bool, tag = "2")]
    pub physical: bool,
}
