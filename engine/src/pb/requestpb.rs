//! Package etcdserverpb: the envelope of every entry, and requests on leases, alarms and auth
//! (`api/etcdserverpb/{raft_internal,rpc,etcdserver}.proto`).
//!
//! Names, passwords and what the v2 API stores are bytes here, though etcd says `string`: its servers up to 3.6
//! take what is no UTF-8 as well.

use super::{
    authpb::{Permission, UserAddOptions},
    etcdserverpb::AlarmType,
    kvpb::{CompactionRequest, DeleteRangeRequest, PutRequest, RangeRequest},
    membershippb::{
        ClusterMemberAttrSetRequest, ClusterVersionSetRequest, DowngradeInfoSetRequest,
        DowngradeVersionTestRequest,
    },
    txnpb::TxnRequest,
};

/// Who asked.
#[derive(Clone, PartialEq, Eq, prost::Message)]
pub struct RequestHeader {
    /// Id of the request; etcd's `ID`.
    #[prost(uint64, tag = "1")]
    pub id: u64,
    /// The user; empty without auth.
    #[prost(bytes = "vec", tag = "2")]
    pub username: Vec<u8>,
    /// Auth revision the user signed in at; 0 without auth.
    #[prost(uint64, tag = "3")]
    pub auth_revision: u64,
}

/// Makes a lease.
#[derive(Clone, Copy, PartialEq, Eq, prost::Message)]
pub struct LeaseGrantRequest {
    /// Time to live in seconds; etcd's `TTL`.
    #[prost(int64, tag = "1")]
    pub ttl: i64,
    /// Its id; etcd's `ID`.
    #[prost(int64, tag = "2")]
    pub id: i64,
}

/// Ends a lease and deletes its keys.
#[derive(Clone, Copy, PartialEq, Eq, prost::Message)]
pub struct LeaseRevokeRequest {
    /// Its id; etcd's `ID`.
    #[prost(int64, tag = "1")]
    pub id: i64,
}

/// What is left of a lease.
#[derive(Clone, Copy, PartialEq, Eq, prost::Message)]
pub struct LeaseCheckpoint {
    /// Its id; etcd's `ID`.
    #[prost(int64, tag = "1")]
    pub id: i64,
    /// Seconds left; etcd's `remaining_TTL`.
    #[prost(int64, tag = "2")]
    pub remaining_ttl: i64,
}

/// What is left of some leases.
#[derive(Clone, PartialEq, Eq, prost::Message)]
pub struct LeaseCheckpointRequest {
    /// One each.
    #[prost(message, repeated, tag = "1")]
    pub checkpoints: Vec<LeaseCheckpoint>,
}

/// What is done to an alarm.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, prost::Enumeration)]
#[repr(i32)]
pub enum AlarmAction {
    /// It is asked for.
    Get = 0,
    /// It is raised.
    Activate = 1,
    /// It is disarmed.
    Deactivate = 2,
}

/// Raises or disarms an alarm.
#[derive(Clone, Copy, PartialEq, Eq, prost::Message)]
pub struct AlarmRequest {
    /// What is done.
    #[prost(enumeration = "AlarmAction", tag = "1")]
    pub action: i32,
    /// The member it concerns; etcd's `memberID`.
    #[prost(uint64, tag = "2")]
    pub member_id: u64,
    /// Which alarm.
    #[prost(enumeration = "AlarmType", tag = "3")]
    pub alarm: i32,
}

/// Signs a user in.
#[derive(Clone, PartialEq, Eq, prost::Message)]
pub struct InternalAuthenticateRequest {
    /// The user.
    #[prost(bytes = "vec", tag = "1")]
    pub name: Vec<u8>,
    /// The password in clear text, up to 3.4.
    #[prost(bytes = "vec", tag = "2")]
    pub password: Vec<u8>,
    /// The token given out.
    #[prost(bytes = "vec", tag = "3")]
    pub simple_token: Vec<u8>,
}

/// A request without fields: switches, status and lists of auth.
#[derive(Clone, Copy, PartialEq, Eq, prost::Message)]
pub struct EmptyRequest {}

/// Adds a user.
#[derive(Clone, PartialEq, Eq, prost::Message)]
pub struct AuthUserAddRequest {
    /// The user.
    #[prost(bytes = "vec", tag = "1")]
    pub name: Vec<u8>,
    /// The password in clear text, up to 3.4.
    #[prost(bytes = "vec", tag = "2")]
    pub password: Vec<u8>,
    /// How the user may sign in.
    #[prost(message, optional, tag = "3")]
    pub options: Option<UserAddOptions>,
    /// Base64 of the bcrypt text, from 3.5; etcd's `hashedPassword`.
    #[prost(bytes = "vec", tag = "4")]
    pub hashed_password: Vec<u8>,
}

/// Asks for a user.
#[derive(Clone, PartialEq, Eq, prost::Message)]
pub struct AuthUserGetRequest {
    /// The user.
    #[prost(bytes = "vec", tag = "1")]
    pub name: Vec<u8>,
}

/// Deletes a user.
#[derive(Clone, PartialEq, Eq, prost::Message)]
pub struct AuthUserDeleteRequest {
    /// The user.
    #[prost(bytes = "vec", tag = "1")]
    pub name: Vec<u8>,
}

/// Gives a user a new password.
#[derive(Clone, PartialEq, Eq, prost::Message)]
pub struct AuthUserChangePasswordRequest {
    /// The user.
    #[prost(bytes = "vec", tag = "1")]
    pub name: Vec<u8>,
    /// The password in clear text, up to 3.4.
    #[prost(bytes = "vec", tag = "2")]
    pub password: Vec<u8>,
    /// Base64 of the bcrypt text, from 3.5; etcd's `hashedPassword`.
    #[prost(bytes = "vec", tag = "3")]
    pub hashed_password: Vec<u8>,
}

/// Gives a user a role.
#[derive(Clone, PartialEq, Eq, prost::Message)]
pub struct AuthUserGrantRoleRequest {
    /// The user.
    #[prost(bytes = "vec", tag = "1")]
    pub user: Vec<u8>,
    /// The role.
    #[prost(bytes = "vec", tag = "2")]
    pub role: Vec<u8>,
}

/// Takes a role from a user.
#[derive(Clone, PartialEq, Eq, prost::Message)]
pub struct AuthUserRevokeRoleRequest {
    /// The user.
    #[prost(bytes = "vec", tag = "1")]
    pub name: Vec<u8>,
    /// The role.
    #[prost(bytes = "vec", tag = "2")]
    pub role: Vec<u8>,
}

/// Adds a role.
#[derive(Clone, PartialEq, Eq, prost::Message)]
pub struct AuthRoleAddRequest {
    /// The role.
    #[prost(bytes = "vec", tag = "1")]
    pub name: Vec<u8>,
}

/// Asks for a role.
#[derive(Clone, PartialEq, Eq, prost::Message)]
pub struct AuthRoleGetRequest {
    /// The role.
    #[prost(bytes = "vec", tag = "1")]
    pub role: Vec<u8>,
}

/// Deletes a role.
#[derive(Clone, PartialEq, Eq, prost::Message)]
pub struct AuthRoleDeleteRequest {
    /// The role.
    #[prost(bytes = "vec", tag = "1")]
    pub role: Vec<u8>,
}

/// Gives a role a permission.
#[derive(Clone, PartialEq, Eq, prost::Message)]
pub struct AuthRoleGrantPermissionRequest {
    /// The role.
    #[prost(bytes = "vec", tag = "1")]
    pub name: Vec<u8>,
    /// The permission.
    #[prost(message, optional, tag = "2")]
    pub perm: Option<Permission>,
}

/// Takes permissions from a role.
#[derive(Clone, PartialEq, Eq, prost::Message)]
pub struct AuthRoleRevokePermissionRequest {
    /// The role.
    #[prost(bytes = "vec", tag = "1")]
    pub role: Vec<u8>,
    /// Key of the permission.
    #[prost(bytes = "vec", tag = "2")]
    pub key: Vec<u8>,
    /// Range end of the permission.
    #[prost(bytes = "vec", tag = "3")]
    pub range_end: Vec<u8>,
}

/// A request of the v2 API, up to 3.6; etcd's `Request`. Only two kinds of it touch the db.
#[derive(Clone, PartialEq, Eq, prost::Message)]
pub struct V2Request {
    /// Id of the request; etcd's `ID`.
    #[prost(uint64, tag = "1")]
    pub id: u64,
    /// PUT, GET, DELETE, SYNC or QGET.
    #[prost(bytes = "vec", tag = "2")]
    pub method: Vec<u8>,
    /// Key in the v2 store.
    #[prost(bytes = "vec", tag = "3")]
    pub path: Vec<u8>,
    /// Its value.
    #[prost(bytes = "vec", tag = "4")]
    pub val: Vec<u8>,
    /// Whether it is a directory.
    #[prost(bool, tag = "5")]
    pub dir: bool,
    /// Condition on the old value.
    #[prost(bytes = "vec", tag = "6")]
    pub prev_value: Vec<u8>,
    /// Condition on the old index.
    #[prost(uint64, tag = "7")]
    pub prev_index: u64,
    /// Condition on whether there is one; `None` for no such condition.
    #[prost(bool, optional, tag = "8")]
    pub prev_exist: Option<bool>,
    /// When it ends.
    #[prost(int64, tag = "9")]
    pub expiration: i64,
    /// Whether the answer waits for a change.
    #[prost(bool, tag = "10")]
    pub wait: bool,
    /// From which index changes are answered.
    #[prost(uint64, tag = "11")]
    pub since: u64,
    /// Whether what is below counts.
    #[prost(bool, tag = "12")]
    pub recursive: bool,
    /// Whether the answer is sorted.
    #[prost(bool, tag = "13")]
    pub sorted: bool,
    /// Whether the leader answers.
    #[prost(bool, tag = "14")]
    pub quorum: bool,
    /// Time of a SYNC.
    #[prost(int64, tag = "15")]
    pub time: i64,
    /// Whether the answer goes on.
    #[prost(bool, tag = "16")]
    pub stream: bool,
    /// Whether only the expiration changes.
    #[prost(bool, tag = "17")]
    pub refresh: bool,
}

/// What an entry holds: one request in an envelope.
#[derive(Clone, PartialEq, Eq, prost::Message)]
pub struct InternalRaftRequest {
    /// Id of the request in old logs; etcd's `ID`.
    #[prost(uint64, tag = "1")]
    pub id: u64,
    /// Up to 3.6.
    #[prost(message, optional, tag = "2")]
    pub v2: Option<V2Request>,
    /// A read.
    #[prost(message, optional, tag = "3")]
    pub range: Option<RangeRequest>,
    /// A put.
    #[prost(message, optional, tag = "4")]
    pub put: Option<PutRequest>,
    /// A deletion.
    #[prost(message, optional, tag = "5")]
    pub delete_range: Option<DeleteRangeRequest>,
    /// A transaction.
    #[prost(message, optional, tag = "6")]
    pub txn: Option<TxnRequest>,
    /// A compaction.
    #[prost(message, optional, tag = "7")]
    pub compaction: Option<CompactionRequest>,
    /// Makes a lease.
    #[prost(message, optional, tag = "8")]
    pub lease_grant: Option<LeaseGrantRequest>,
    /// Ends a lease.
    #[prost(message, optional, tag = "9")]
    pub lease_revoke: Option<LeaseRevokeRequest>,
    /// Raises or disarms an alarm.
    #[prost(message, optional, tag = "10")]
    pub alarm: Option<AlarmRequest>,
    /// What is left of leases.
    #[prost(message, optional, tag = "11")]
    pub lease_checkpoint: Option<LeaseCheckpointRequest>,
    /// Who asked.
    #[prost(message, optional, tag = "100")]
    pub header: Option<RequestHeader>,
    /// Switches auth on.
    #[prost(message, optional, tag = "1000")]
    pub auth_enable: Option<EmptyRequest>,
    /// Switches auth off.
    #[prost(message, optional, tag = "1011")]
    pub auth_disable: Option<EmptyRequest>,
    /// Signs a user in.
    #[prost(message, optional, tag = "1012")]
    pub authenticate: Option<InternalAuthenticateRequest>,
    /// Asks whether auth is on.
    #[prost(message, optional, tag = "1013")]
    pub auth_status: Option<EmptyRequest>,
    /// Adds a user.
    #[prost(message, optional, tag = "1100")]
    pub auth_user_add: Option<AuthUserAddRequest>,
    /// Deletes a user.
    #[prost(message, optional, tag = "1101")]
    pub auth_user_delete: Option<AuthUserDeleteRequest>,
    /// Asks for a user.
    #[prost(message, optional, tag = "1102")]
    pub auth_user_get: Option<AuthUserGetRequest>,
    /// Gives a user a new password.
    #[prost(message, optional, tag = "1103")]
    pub auth_user_change_password: Option<AuthUserChangePasswordRequest>,
    /// Gives a user a role.
    #[prost(message, optional, tag = "1104")]
    pub auth_user_grant_role: Option<AuthUserGrantRoleRequest>,
    /// Takes a role from a user.
    #[prost(message, optional, tag = "1105")]
    pub auth_user_revoke_role: Option<AuthUserRevokeRoleRequest>,
    /// Asks for all users.
    #[prost(message, optional, tag = "1106")]
    pub auth_user_list: Option<EmptyRequest>,
    /// Asks for all roles.
    #[prost(message, optional, tag = "1107")]
    pub auth_role_list: Option<EmptyRequest>,
    /// Adds a role.
    #[prost(message, optional, tag = "1200")]
    pub auth_role_add: Option<AuthRoleAddRequest>,
    /// Deletes a role.
    #[prost(message, optional, tag = "1201")]
    pub auth_role_delete: Option<AuthRoleDeleteRequest>,
    /// Asks for a role.
    #[prost(message, optional, tag = "1202")]
    pub auth_role_get: Option<AuthRoleGetRequest>,
    /// Gives a role a permission.
    #[prost(message, optional, tag = "1203")]
    pub auth_role_grant_permission: Option<AuthRoleGrantPermissionRequest>,
    /// Takes permissions from a role.
    #[prost(message, optional, tag = "1204")]
    pub auth_role_revoke_permission: Option<AuthRoleRevokePermissionRequest>,
    /// Sets the cluster's version; since 3.5.
    #[prost(message, optional, tag = "1300")]
    pub cluster_version_set: Option<ClusterVersionSetRequest>,
    /// A member publishes its name and client URLs; since 3.5.
    #[prost(message, optional, tag = "1301")]
    pub cluster_member_attr_set: Option<ClusterMemberAttrSetRequest>,
    /// Begins or ends a downgrade; since 3.5.
    #[prost(message, optional, tag = "1302")]
    pub downgrade_info_set: Option<DowngradeInfoSetRequest>,
    /// Does nothing; since 3.6.
    #[prost(message, optional, tag = "9900")]
    pub downgrade_version_test: Option<DowngradeVersionTestRequest>,
}

#[cfg(test)]
mod tests {
    use prost::Message;

    use super::*;

    #[test]
    fn a_put_is_read_as_servers_write_it() {
        // Header {ID 7587, username, auth revision}, put {key a, value b, lease 5}.
        let bytes =
            b"\x22\x08\x0a\x01a\x12\x01b\x18\x05\xa2\x06\x0b\x08\xa3\x3b\x12\x04root\x18\x09";
        let request = InternalRaftRequest::decode(&bytes[..]).unwrap();
        let header = request.header.as_ref().unwrap();
        assert_eq!(
            (header.id, header.username.as_slice(), header.auth_revision),
            (7587, &b"root"[..], 9)
        );
        let put = request.put.unwrap();
        assert_eq!(
            (put.key.as_slice(), put.value.as_slice(), put.lease),
            (&b"a"[..], &b"b"[..], 5)
        );
    }
}
