//! Buckets `auth`, `authUsers` and `authRoles`.

use super::{Listed, RecordError, Store, bucket, small::decode};
use crate::{bolt, pb::authpb, raw::Raw};

/// Key of the switch: one byte, 1 when auth is on. Absent until it was enabled once.
pub const ENABLED: &str = "authEnabled";
/// Key of the counter of auth changes, u64 BE; 1 from the first boot.
pub const REVISION: &str = "authRevision";

/// One record of bucket `auth`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum AuthRecord {
    /// Whether auth is on.
    Enabled(bool),
    /// Counter of auth changes.
    Revision(u64),
}

/// The records of bucket `auth`.
///
/// # Errors
/// When a page is damaged.
pub fn settings(store: &Store<'_>) -> Result<Listed<AuthRecord>, bolt::Error> {
    store.list(bucket::AUTH, |item| match item.key {
        key if key == ENABLED.as_bytes() => match item.value {
            [0] => Ok(AuthRecord::Enabled(false)),
            [1] => Ok(AuthRecord::Enabled(true)),
            other => Err(RecordError::Value {
                found: format!("{other:02x?}"),
                expected: "one byte, 0 or 1",
            }),
        },
        key if key == REVISION.as_bytes() => match item.value.len() {
            8 => Ok(AuthRecord::Revision(Raw::new(item.value).u64_be(0).unwrap_or_default())),
            len => Err(RecordError::Length { len, expected: 8 }),
        },
        key => Err(RecordError::Value {
            found: format!("key {:?}", String::from_utf8_lossy(key)),
            expected: "authEnabled or authRevision",
        }),
    })
}

/// Whether the server will ask for users and passwords.
///
/// # Errors
/// When a page is damaged.
pub fn enabled(store: &Store<'_>) -> Result<bool, bolt::Error> {
    Ok(store.value(bucket::AUTH, ENABLED)? == Some(&[1]))
}

/// All users, by name.
///
/// # Errors
/// When a page is damaged.
pub fn users(store: &Store<'_>) -> Result<Listed<authpb::User>, bolt::Error> {
    store.list(bucket::AUTH_USERS, |item| {
        let user: authpb::User = decode("authpb.User", item.value)?;
        named(item.key, &user.name)?;
        Ok(user)
    })
}

/// All roles, by name.
///
/// # Errors
/// When a page is damaged.
pub fn roles(store: &Store<'_>) -> Result<Listed<authpb::Role>, bolt::Error> {
    store.list(bucket::AUTH_ROLES, |item| {
        let role: authpb::Role = decode("authpb.Role", item.value)?;
        named(item.key, &role.name)?;
        Ok(role)
    })
}

fn named(key: &[u8], name: &[u8]) -> Result<(), RecordError> {
    if key == name {
        return Ok(());
    }
    let text = |bytes| String::from_utf8_lossy(bytes).into_owned();
    Err(RecordError::KeyDiffers { key: text(key), value: text(name) })
}
