//! The buckets beside the key space: small, and each record known by its form.

use std::collections::BTreeMap;

use prost::Message as _;

use crate::{
    bolt::Item,
    pb::{authpb, etcdserverpb::AlarmMember, leasepb::Lease},
    rewrite::Records,
    schema::{RecordKey, SETTINGS, auth, bucket, meta},
};

/// Which bucket other than `key` `item` belongs to by its form; `None` when it could belong to several or to none.
pub(super) fn bucket_of(item: &Item<'_>) -> Option<&'static str> {
    if item.is_bucket() || item.key.is_empty() {
        return None;
    }
    let text = std::str::from_utf8(item.key).ok();
    match text {
        Some(meta::CONSISTENT_INDEX | meta::TERM) if item.value.len() == 8 => {
            return Some(bucket::META);
        }
        Some(meta::SCHEDULED_COMPACT | meta::FINISHED_COMPACT)
            if RecordKey::parse(item.value).is_ok() =>
        {
            return Some(bucket::META);
        }
        Some(meta::CONF_STATE) if is_object(item.value) => return Some(bucket::META),
        Some(meta::STORAGE_VERSION) if is_version(item.value) => return Some(bucket::META),
        Some(meta::CLUSTER_VERSION) if is_version(item.value) => return Some(bucket::CLUSTER),
        Some(meta::DOWNGRADE) if is_object(item.value) => return Some(bucket::CLUSTER),
        Some(auth::ENABLED) if matches!(item.value, [0 | 1]) => return Some(bucket::AUTH),
        Some(auth::REVISION) if item.value.len() == 8 => return Some(bucket::AUTH),
        _ => {}
    }
    if let Some(text) = text
        && is_id(text)
    {
        if item.value == b"removed" {
            return Some(bucket::MEMBERS_REMOVED);
        }
        if is_object(item.value) {
            return Some(bucket::MEMBERS);
        }
    }
    if let (Ok(id), Ok(lease)) = (<[u8; 8]>::try_from(item.key), Lease::decode(item.value))
        && lease.id == i64::from_be_bytes(id)
        && lease.id != 0
    {
        return Some(bucket::LEASE);
    }
    let user = authpb::User::decode(item.value).is_ok_and(|user| user.name == item.key);
    let role = authpb::Role::decode(item.value).is_ok_and(|role| role.name == item.key);
    match (user, role) {
        (true, false) => return Some(bucket::AUTH_USERS),
        (false, true) => return Some(bucket::AUTH_ROLES),
        _ => {}
    }
    let alarm = AlarmMember::decode(item.key)
        .is_ok_and(|alarm| alarm.member_id != 0 && alarm.encode_to_vec() == item.key);
    (item.value.is_empty() && alarm).then_some(bucket::ALARM)
}

/// Whether `item` can be a record of bucket `name`; servers stop at some that cannot. What a later etcd may have added is
/// let through.
pub(super) fn fits(name: &[u8], item: &Item<'_>) -> bool {
    let named = |known: &str| name == known.as_bytes();
    if item.is_bucket() {
        return false;
    }
    if named(bucket::AUTH_USERS) {
        return authpb::User::decode(item.value).is_ok_and(|user| user.name == item.key);
    }
    if named(bucket::AUTH_ROLES) {
        return authpb::Role::decode(item.value).is_ok_and(|role| role.name == item.key);
    }
    if [bucket::LEASE, bucket::MEMBERS, bucket::MEMBERS_REMOVED].into_iter().any(named) {
        return bucket_of(item).is_some_and(named);
    }
    if named(bucket::ALARM) {
        return AlarmMember::decode(item.key).is_ok();
    }
    if [bucket::META, bucket::CLUSTER, bucket::AUTH].into_iter().any(named) {
        let known = SETTINGS.iter().any(|known| known.as_bytes() == item.key);
        let name = item.key.iter().all(u8::is_ascii_graphic);
        return if known { bucket_of(item).is_some_and(named) } else { name };
    }
    true
}

fn is_id(text: &str) -> bool {
    u64::from_str_radix(text, 16).is_ok_and(|id| format!("{id:x}") == text)
}

fn is_object(value: &[u8]) -> bool {
    serde_json::from_slice::<BTreeMap<String, serde_json::Value>>(value).is_ok()
}

fn is_version(value: &[u8]) -> bool {
    std::str::from_utf8(value).is_ok_and(|text| meta::Version::parse(text).is_some())
}

/// Takes `item` among the records of its bucket; of numbers that only grow the greater stays.
pub(super) fn take(records: &mut Records, item: &Item<'_>) {
    let grows = [
        meta::CONSISTENT_INDEX,
        meta::TERM,
        meta::SCHEDULED_COMPACT,
        meta::FINISHED_COMPACT,
        auth::REVISION,
    ];
    let grows = grows.iter().any(|name| name.as_bytes() == item.key);
    match records.get(item.key) {
        Some(known) if !grows || known.as_slice() >= item.value => {}
        _ => {
            records.insert(item.key.to_vec(), item.value.to_vec());
        }
    }
}
