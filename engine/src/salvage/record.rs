//! What makes bytes a record of bucket `key`, whoever leads to them.

use crate::{
    bolt::Item,
    pb::wire::KeyValueRef,
    schema::{RecordKey, Revision},
};

/// Changes of one transaction; more than any has.
const MAX_SUB: i64 = 1 << 32;

/// The record in `item`, when key and value agree with each other.
pub(super) fn record<'a>(item: &Item<'a>) -> Option<(RecordKey, KeyValueRef<'a>)> {
    if item.is_bucket() {
        return None;
    }
    let key = revision(item.key)?;
    let kv = KeyValueRef::decode(item.value).ok()?;
    agrees(key, &kv).then_some((key, kv))
}

/// A key of bucket `key` that a server can have written.
pub(super) fn revision(key: &[u8]) -> Option<RecordKey> {
    let key = RecordKey::parse(key).ok()?;
    (key.revision.main >= 1 && key.revision.sub < MAX_SUB).then_some(key)
}

/// Whether a record at `key` can say `kv`.
pub(super) fn agrees(key: RecordKey, kv: &KeyValueRef<'_>) -> bool {
    if kv.key.is_empty() {
        return false;
    }
    if key.tombstone {
        let bare = KeyValueRef { key: kv.key, ..KeyValueRef::default() };
        return *kv == bare;
    }
    let main = key.revision.main;
    kv.mod_revision == main && (1..=main).contains(&kv.create_revision) && kv.version >= 1
}

/// What `restore --bump-revision` leaves: a revision with an empty value. Only a tree can vouch for it.
pub(super) fn is_bump(item: &Item<'_>) -> bool {
    item.value.is_empty()
        && !item.is_bucket()
        && revision(item.key).is_some_and(|key| !key.tombstone)
}

/// Whether `value`, which stands at `offset` in the file, has a whole unit of zeros as a disk or a file system leaves
/// them: what a value seldom has and a hole always.
pub(super) fn has_hole(value: &[u8], offset: u64, unit: usize) -> bool {
    let skip = offset.next_multiple_of(unit as u64) - offset;
    let aligned = usize::try_from(skip).ok().and_then(|skip| value.get(skip..)).unwrap_or_default();
    aligned.chunks_exact(unit).any(|unit| unit.iter().all(|byte| *byte == 0))
}

/// The first revision of all.
pub(super) const START: RecordKey =
    RecordKey { revision: Revision { main: 0, sub: 0 }, tombstone: false };
