//! Package mvccpb: a record of the key space (`api/mvccpb/kv.proto`).

/// One revision of a key: the value of a record in bucket `key`. A tombstone has only `key`.
#[derive(Clone, PartialEq, Eq, prost::Message)]
pub struct KeyValue {
    /// The user's key.
    #[prost(bytes = "vec", tag = "1")]
    pub key: Vec<u8>,
    /// Main revision in which this generation of the key was created.
    #[prost(int64, tag = "2")]
    pub create_revision: i64,
    /// Main revision of this change.
    #[prost(int64, tag = "3")]
    pub mod_revision: i64,
    /// Puts since creation, this one included; 1 for the first.
    #[prost(int64, tag = "4")]
    pub version: i64,
    /// The user's value.
    #[prost(bytes = "vec", tag = "5")]
    pub value: Vec<u8>,
    /// Id of the lease the key is attached to; 0 for none.
    #[prost(int64, tag = "6")]
    pub lease: i64,
}
