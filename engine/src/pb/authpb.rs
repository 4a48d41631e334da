//! Package authpb: users and roles (`api/authpb/auth.proto`).

/// Options a user was added with. Absent for users made before 3.4.
#[derive(Clone, Copy, PartialEq, Eq, prost::Message)]
pub struct UserAddOptions {
    /// The user signs in by certificate only.
    #[prost(bool, tag = "1")]
    pub no_password: bool,
}

/// The value of a record in bucket `authUsers`.
#[derive(Clone, PartialEq, Eq, prost::Message)]
pub struct User {
    /// The user's name.
    #[prost(bytes = "vec", tag = "1")]
    pub name: Vec<u8>,
    /// bcrypt text; empty for a user without password.
    #[prost(bytes = "vec", tag = "2")]
    pub password: Vec<u8>,
    /// Names of the roles granted, sorted. Bytes, though etcd says `string`: servers up to 3.6 take any.
    #[prost(bytes = "vec", repeated, tag = "3")]
    pub roles: Vec<Vec<u8>>,
    /// Options given when the user was added.
    #[prost(message, optional, tag = "4")]
    pub options: Option<UserAddOptions>,
}

/// What a permission allows; etcd's `Permission.Type`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, prost::Enumeration)]
#[repr(i32)]
pub enum PermissionType {
    /// Ranges and watches.
    Read = 0,
    /// Puts and deletes.
    Write = 1,
    /// Both.
    ReadWrite = 2,
}

/// A permission on a key or a range of keys.
#[derive(Clone, PartialEq, Eq, prost::Message)]
pub struct Permission {
    /// What is allowed; etcd's `permType`.
    #[prost(enumeration = "PermissionType", tag = "1")]
    pub perm_type: i32,
    /// The key, or the first key of the range.
    #[prost(bytes = "vec", tag = "2")]
    pub key: Vec<u8>,
    /// Empty for the key alone, one zero byte for everything from `key` on, else the exclusive end.
    #[prost(bytes = "vec", tag = "3")]
    pub range_end: Vec<u8>,
}

/// The value of a record in bucket `authRoles`.
#[derive(Clone, PartialEq, Eq, prost::Message)]
pub struct Role {
    /// The role's name.
    #[prost(bytes = "vec", tag = "1")]
    pub name: Vec<u8>,
    /// What the role allows, sorted by key; etcd's `keyPermission`.
    #[prost(message, repeated, tag = "2")]
    pub key_permission: Vec<Permission>,
}
