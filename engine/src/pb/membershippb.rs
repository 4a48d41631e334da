//! Package membershippb: requests on the cluster (`api/membershippb/membership.proto`). Since 3.5.

/// What a member publishes of itself.
#[derive(Clone, PartialEq, Eq, prost::Message)]
pub struct Attributes {
    /// Its name.
    #[prost(string, tag = "1")]
    pub name: String,
    /// Where clients reach it.
    #[prost(string, repeated, tag = "2")]
    pub client_urls: Vec<String>,
}

/// Sets the cluster's version.
#[derive(Clone, PartialEq, Eq, prost::Message)]
pub struct ClusterVersionSetRequest {
    /// The version, such as `3.6.0`.
    #[prost(string, tag = "1")]
    pub ver: String,
}

/// A member publishes itself.
#[derive(Clone, PartialEq, Eq, prost::Message)]
pub struct ClusterMemberAttrSetRequest {
    /// The member; etcd's `member_ID`.
    #[prost(uint64, tag = "1")]
    pub member_id: u64,
    /// What it publishes; etcd's `member_attributes`.
    #[prost(message, optional, tag = "2")]
    pub member_attributes: Option<Attributes>,
}

/// Begins or ends a downgrade.
#[derive(Clone, PartialEq, Eq, prost::Message)]
pub struct DowngradeInfoSetRequest {
    /// Whether one is under way.
    #[prost(bool, tag = "1")]
    pub enabled: bool,
    /// The version to go to.
    #[prost(string, tag = "2")]
    pub ver: String,
}

/// Does nothing; since 3.6.
#[derive(Clone, PartialEq, Eq, prost::Message)]
pub struct DowngradeVersionTestRequest {
    /// A version.
    #[prost(string, tag = "1")]
    pub ver: String,
}
