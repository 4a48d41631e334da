//! The replayed state as changes to the db's pages.

use std::collections::BTreeMap;

use super::{Error, Line, State};
use crate::{
    bolt::{
        Db,
        patch::{Patch, Patched},
        write::BucketOptions,
    },
    schema::{Revision, Store, bucket, meta},
};

/// What turns a copy of `db` into the db the member would have had, had it committed all of `state`.
///
/// # Errors
/// When a page of the db is damaged.
pub fn patch(db: &Db<'_>, state: State<'_>) -> Result<Patched, Error> {
    let store = Store::new(*db);
    let mut patch = Patch::new(db)?;
    let mut meta_records: BTreeMap<Vec<u8>, Vec<u8>> = BTreeMap::new();
    if let Some(existing) = store.bucket(bucket::META)? {
        for item in existing.items() {
            let item = item?;
            meta_records.insert(item.key.to_vec(), item.value.to_vec());
        }
    }
    meta_records.extend(
        state.meta_records().into_iter().map(|(key, value)| (key.as_bytes().to_vec(), value)),
    );
    if let Some(version) = first_storage_version(&state) {
        meta_records.insert(meta::STORAGE_VERSION.as_bytes().to_vec(), version.into_bytes());
    }
    for (name, records) in state.small_buckets() {
        patch.replace_bucket(name.as_bytes(), BucketOptions::default(), records)?;
    }
    patch.replace_bucket(bucket::META.as_bytes(), BucketOptions::default(), meta_records)?;
    // A member that was killed while it made its db has none of the buckets yet.
    for name in bucket::ALL {
        if store.bucket(name)?.is_none() && !patch.has_bucket(name.as_bytes()) {
            let none = std::iter::empty::<(Vec<u8>, Vec<u8>)>();
            patch.replace_bucket(name.as_bytes(), BucketOptions::default(), none)?;
        }
    }
    for written in state.into_written() {
        patch.append(bucket::KEY.as_bytes(), &written.key.encode(), &written.value)?;
    }
    Ok(patch.finish()?)
}

/// The storage version that a server writes to a db it has just made, without an entry: the cluster's, from 3.6 on.
/// Source: etcd `server/etcdserver/version/monitor.go`, `UpdateStorageVersionIfNeeded`.
fn first_storage_version(state: &State<'_>) -> Option<String> {
    let text = state.membership().cluster_version()?;
    let version = meta::Version::parse(text)?;
    let made_now =
        state.meta().consistent_index.is_none() && state.meta().storage_version.is_none();
    let kept = state.line() >= Line::V3_6 && (version.major, version.minor) >= (3, 6);
    (made_now && kept).then(|| text.to_owned())
}

/// A compaction mark as bucket `meta` holds it.
pub(super) fn mark(revision: i64) -> (&'static str, Vec<u8>) {
    (meta::SCHEDULED_COMPACT, Revision { main: revision, sub: 0 }.encode().to_vec())
}
