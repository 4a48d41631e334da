//! The records of a restored db: the new members, where its log ends, and a raised revision.

use std::collections::BTreeMap;

use super::{Error, Plan, json::member_json, raft};
use crate::{
    bolt::{
        Db,
        patch::{Patch, Patched},
        write::BucketOptions,
    },
    mvcc::KeySpace,
    schema::{Revision, Store, bucket, meta},
};

/// The changes that make a member of `plan`'s cluster of `db`; and the revision after a raise.
///
/// Source: etcd `v3_snapshot.go`: old members go, new ones come, `cluster` is made when missing,
/// consistent index and term are those of the new log. Everything else stays as it is.
pub(super) fn patch(db: &Db<'_>, plan: &Plan) -> Result<(Patched, i64), Error> {
    let store = Store::new(*db);
    let mut patch = Patch::new(db)?;
    let mut records: BTreeMap<Vec<u8>, Vec<u8>> = BTreeMap::new();
    if let Some(existing) = store.bucket(bucket::META)? {
        for item in existing.items() {
            let item = item?;
            records.insert(item.key.to_vec(), item.value.to_vec());
        }
    }
    let mut set = |key: &str, value: &[u8]| records.insert(key.as_bytes().to_vec(), value.to_vec());
    set(meta::CONSISTENT_INDEX, &raft::last_index(&plan.cluster).to_be_bytes());
    set(meta::TERM, &raft::TERM.to_be_bytes());
    let space = KeySpace::open(&store)?;
    let mut revision = space.last_record();
    if plan.bump_revision > 0 {
        let bump = plan.bump_revision;
        let too_far = Error::Bump { bump, latest: revision };
        revision =
            i64::try_from(bump).ok().and_then(|bump| revision.checked_add(bump)).ok_or(too_far)?;
        let key = Revision { main: revision, sub: 0 }.encode();
        // The record is empty, as etcdutl's: the server compacts around it at boot.
        patch.append(bucket::KEY.as_bytes(), &key, &[])?;
        set(meta::SCHEDULED_COMPACT, &key);
    }
    let options = BucketOptions::default;
    let none = || std::iter::empty::<(Vec<u8>, Vec<u8>)>();
    patch.replace_bucket(bucket::META.as_bytes(), options(), records)?;
    let members: BTreeMap<String, String> = plan
        .cluster
        .members
        .iter()
        .map(|member| (member.id.to_string(), member_json(member)))
        .collect();
    patch.replace_bucket(bucket::MEMBERS.as_bytes(), options(), members)?;
    patch.replace_bucket(bucket::MEMBERS_REMOVED.as_bytes(), options(), none())?;
    if store.bucket(bucket::CLUSTER)?.is_none() {
        patch.replace_bucket(bucket::CLUSTER.as_bytes(), options(), none())?;
    }
    Ok((patch.finish()?, revision))
}
