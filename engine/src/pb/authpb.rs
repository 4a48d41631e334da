//! Package `authpb`: users and roles.

/// A user; the record's key is the name.
#[derive(Clone, PartialEq, prost::Message)]
pub struct User {
    /// Name.
    #[prost(bytes = "vec", tag = "1")]
    pub name: Vec<u8>,
    /// bcrypt hash as text; empty for users without a password.
    #[prost(bytes = "vec", tag = "2")]
    pub password: Vec<u8>,
    /// Names of the roles granted, sorted.
    #[prost(string, repeated, tag = "3")]
    pub roles: Vec<String>,
    /// Options; absent for users from before 3.4.
    #[prost(message, optional, tag = "4")]
    pub options: Option<UserAddOptions>,
}

/// Options a user was added with.
#[derive(Clone, Copy, PartialEq, prost::Message)]
pub struct UserAddOptions {
    /// Whether the user may only log in by certificate.
    #[prost(bool, tag = "1")]
    pub no_password: bool,
}

/// A role; the record's key is the name.
#[derive(Clone, PartialEq, prost::Message)]
pub struct Role {
    /// Name.
    #[prost(bytes = "vec", tag = "1")]
    pub name: Vec<u8>,
    /// What it may do, sorted by key.
    #[prost(message, repeated, tag = "2")]
    pub key_permission: Vec<Permission>,
}

/// A right to a key or range.
#[derive(Clone, PartialEq, prost::Message)]
pub struct Permission {
    /// 0 read, 1 write, 2 both.
    #[prost(int32, tag = "1")]
    pub perm_type: i32,
    /// The key, or the first of the range.
    #[prost(bytes = "vec", tag = "2")]
    pub key: Vec<u8>,
    /// Exclusive end of the range; empty: the key alone; a zero byte: no end.
    #[prost(bytes = "vec", tag = "3")]
    pub range_end: Vec<u8>,
}
