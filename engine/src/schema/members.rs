//! Buckets `members` and `members_removed`.

use serde::Deserialize;

use super::{Listed, RecordError, Store, bucket, meta::json};
use crate::{bolt, ids::MemberId};

/// A member as the db records it.
#[derive(Clone, Debug, PartialEq, Eq, Deserialize)]
pub struct Member {
    /// Its id.
    #[serde(deserialize_with = "member_number")]
    pub id: MemberId,
    /// Where its peers reach it.
    #[serde(rename = "peerURLs", default, deserialize_with = "null_as_empty")]
    pub peer_urls: Vec<String>,
    /// Whether it does not vote.
    #[serde(rename = "isLearner", default)]
    pub is_learner: bool,
    /// Its name; empty until a member added at run time publishes itself.
    #[serde(default)]
    pub name: String,
    /// Where clients reach it; empty until it publishes itself.
    #[serde(rename = "clientURLs", default, deserialize_with = "null_as_empty")]
    pub client_urls: Vec<String>,
}

/// In JSON an id is a number, beyond 2^53 too.
fn member_number<'de, D: serde::Deserializer<'de>>(deserializer: D) -> Result<MemberId, D::Error> {
    u64::deserialize(deserializer).map(MemberId)
}

/// Go writes a nil slice as null.
fn null_as_empty<'de, D: serde::Deserializer<'de>>(
    deserializer: D,
) -> Result<Vec<String>, D::Error> {
    Ok(Option::deserialize(deserializer)?.unwrap_or_default())
}

/// The members of the cluster, by key order of their ids' hex.
///
/// A db of 3.5 or older may list members that are long gone: never derive a quorum from it.
///
/// # Errors
/// When a page is damaged.
pub fn members(store: &Store<'_>) -> Result<Listed<Member>, bolt::Error> {
    store.list(bucket::MEMBERS, |item| {
        let id = member_id(item.key)?;
        let member: Member = json("member", item.value)?;
        if member.id != id {
            return Err(RecordError::KeyDiffers {
                key: id.to_string(),
                value: member.id.to_string(),
            });
        }
        Ok(member)
    })
}

/// Ids of the members that were removed; they can never come back.
///
/// # Errors
/// When a page is damaged.
pub fn removed(store: &Store<'_>) -> Result<Listed<MemberId>, bolt::Error> {
    store.list(bucket::MEMBERS_REMOVED, |item| {
        let id = member_id(item.key)?;
        if item.value != b"removed" {
            let found = format!("{:?}", String::from_utf8_lossy(item.value));
            return Err(RecordError::Value { found, expected: "\"removed\"" });
        }
        Ok(id)
    })
}

/// etcd writes ids as lower-case hex without padding.
fn member_id(key: &[u8]) -> Result<MemberId, RecordError> {
    let wrong = || RecordError::MemberId(String::from_utf8_lossy(key).into_owned());
    let text = std::str::from_utf8(key).map_err(|_| wrong())?;
    let id = u64::from_str_radix(text, 16).map(MemberId).map_err(|_| wrong())?;
    if id.to_string() == text { Ok(id) } else { Err(wrong()) }
}
