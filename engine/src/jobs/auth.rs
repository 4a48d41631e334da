//! Authentication: whether it is on, its users and roles.

use std::path::Path;

use base64::{Engine as _, engine::general_purpose::STANDARD};
use serde::{Serialize, Serializer};

use super::{Answered, Input, ask_about_few};
use crate::{
    error::Error,
    finding::Finding,
    member::Options,
    pb::authpb,
    progress::Progress,
    schema::{
        Store,
        auth::{self as records, AuthRecord},
    },
};

/// What the buckets of authentication say. No password is in it, not even as it is stored.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
#[non_exhaustive]
pub struct Auth {
    /// Whether authentication is on.
    pub enabled: bool,
    /// Counter of changes of users, roles and the switch.
    pub revision: u64,
    /// Users by name.
    pub users: Vec<User>,
    /// Roles by name.
    pub roles: Vec<Role>,
    /// Records that do not decode.
    #[serde(skip)]
    pub findings: Vec<Finding>,
}

/// A user.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "camelCase")]
#[non_exhaustive]
pub struct User {
    /// Its name; bytes that are not UTF-8 are replaced.
    pub name: String,
    /// Names of its roles.
    pub roles: Vec<String>,
    /// Whether a password is stored.
    pub password: bool,
    /// Whether the user was added without a password, to be known by certificates only.
    pub no_password: bool,
}

/// A role.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
#[non_exhaustive]
pub struct Role {
    /// Its name; bytes that are not UTF-8 are replaced.
    pub name: String,
    /// What it permits.
    pub permissions: Vec<Permission>,
}

/// What a role permits for one range of keys.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "camelCase")]
#[non_exhaustive]
pub struct Permission {
    /// `READ`, `WRITE` or `READWRITE`; a number that etcd does not know as it is.
    pub r#type: String,
    /// The first key.
    #[serde(rename = "keyBase64", serialize_with = "base64")]
    pub key: Vec<u8>,
    /// The end of the range: empty for one key, one zero byte for all keys from the first on.
    #[serde(rename = "rangeEndBase64", serialize_with = "base64")]
    pub range_end: Vec<u8>,
}

fn base64<S: Serializer>(bytes: &[u8], serializer: S) -> Result<S::Ok, S::Error> {
    serializer.serialize_str(&STANDARD.encode(bytes))
}

/// Tells the switch, users and roles.
///
/// # Errors
/// When the input cannot be read or a page is damaged.
pub fn auth(
    path: &Path,
    reading: &Options,
    progress: &dyn Progress,
) -> Result<Answered<Auth>, Error> {
    let question = |input: &Input| {
        let store = Store::new(input.sound_db(progress)?);
        let settings = records::settings(&store)?;
        let (users, roles) = (records::users(&store)?, records::roles(&store)?);
        let revision = settings.records.iter().find_map(|record| match record {
            AuthRecord::Revision(revision) => Some(*revision),
            AuthRecord::Enabled(_) => None,
        });
        let findings = [settings.findings, users.findings, roles.findings];
        Ok(Auth {
            enabled: settings.records.contains(&AuthRecord::Enabled(true)),
            revision: revision.unwrap_or_default(),
            users: users.records.iter().map(User::of).collect(),
            roles: roles.records.iter().map(Role::of).collect(),
            findings: findings.into_iter().flatten().collect(),
        })
    };
    ask_about_few(path, reading, progress, question, |_| false)
}

fn text(bytes: &[u8]) -> String {
    String::from_utf8_lossy(bytes).into_owned()
}

impl User {
    fn of(user: &authpb::User) -> Self {
        Self {
            name: text(&user.name),
            roles: user.roles.iter().map(|role| text(role)).collect(),
            password: !user.password.is_empty(),
            no_password: user.options.is_some_and(|options| options.no_password),
        }
    }
}

impl Role {
    fn of(role: &authpb::Role) -> Self {
        let permissions = role.key_permission.iter().map(Permission::of).collect();
        Self { name: text(&role.name), permissions }
    }
}

impl Permission {
    fn of(permission: &authpb::Permission) -> Self {
        use authpb::PermissionType::{Read, ReadWrite, Write};
        let kind = match authpb::PermissionType::try_from(permission.perm_type) {
            Ok(Read) => "READ".to_owned(),
            Ok(Write) => "WRITE".to_owned(),
            Ok(ReadWrite) => "READWRITE".to_owned(),
            Err(_) => permission.perm_type.to_string(),
        };
        Self { r#type: kind, key: permission.key.clone(), range_end: permission.range_end.clone() }
    }
}
