//! One condition of a transaction, put to one key or to many at once.

use std::{borrow::Borrow, cmp::Ordering, sync::Arc};

use crate::pb::{
    kvpb::{Compare, CompareResult, CompareTarget, TargetUnion},
    wire::KeyValueRef,
};

/// Bytes of the db, or written since and shared.
#[derive(Clone, Debug)]
pub(super) enum Bytes<'a> {
    Db(&'a [u8]),
    Shared(Arc<[u8]>),
}

impl Bytes<'_> {
    pub(super) fn shared(bytes: &[u8]) -> Self {
        Self::Shared(bytes.into())
    }

    pub(super) fn as_slice(&self) -> &[u8] {
        match self {
            Self::Db(bytes) => bytes,
            Self::Shared(bytes) => bytes,
        }
    }
}

impl PartialEq for Bytes<'_> {
    fn eq(&self, other: &Self) -> bool {
        self.as_slice() == other.as_slice()
    }
}

impl Eq for Bytes<'_> {}

impl PartialOrd for Bytes<'_> {
    fn partial_cmp(&self, other: &Self) -> Option<Ordering> {
        Some(self.cmp(other))
    }
}

impl Ord for Bytes<'_> {
    fn cmp(&self, other: &Self) -> Ordering {
        self.as_slice().cmp(other.as_slice())
    }
}

impl Borrow<[u8]> for Bytes<'_> {
    fn borrow(&self) -> &[u8] {
        self.as_slice()
    }
}

/// What can be compared of a key.
#[derive(Clone, Debug)]
pub(super) struct Fields<'a> {
    /// Version, create revision, mod revision, lease.
    pub(super) numbers: [i64; 4],
    pub(super) value: Bytes<'a>,
}

impl<'a> Fields<'a> {
    pub(super) fn new(kv: &KeyValueRef<'_>, value: Bytes<'a>) -> Self {
        let numbers = [kv.version, kv.create_revision, kv.mod_revision, kv.lease];
        Self { numbers, value }
    }
}

/// What a condition compares with what is there.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Wanted<'c> {
    /// One of [`Fields::numbers`], by its place.
    Number(usize, i64),
    /// The value.
    Value(&'c [u8]),
    /// A target that servers do not know: everything is equal to it.
    Unknown,
}

/// A condition.
#[derive(Clone, Copy, Debug)]
pub struct Condition<'c> {
    pub(super) wanted: Wanted<'c>,
    /// Absent where servers do not know what is demanded: then it always holds.
    pub(super) result: Option<CompareResult>,
}

impl<'c> Condition<'c> {
    /// What `compare` demands of each key.
    pub fn new(compare: &'c Compare) -> Self {
        use TargetUnion::{CreateRevision, Lease, ModRevision, Value, Version};
        // A number of another target than the one compared counts as zero.
        let union = compare.target_union.as_ref();
        let wanted = match (CompareTarget::try_from(compare.target), union) {
            (Ok(CompareTarget::Version), Some(Version(number))) => Wanted::Number(0, *number),
            (Ok(CompareTarget::Version), _) => Wanted::Number(0, 0),
            (Ok(CompareTarget::Create), Some(CreateRevision(number))) => Wanted::Number(1, *number),
            (Ok(CompareTarget::Create), _) => Wanted::Number(1, 0),
            (Ok(CompareTarget::Mod), Some(ModRevision(number))) => Wanted::Number(2, *number),
            (Ok(CompareTarget::Mod), _) => Wanted::Number(2, 0),
            (Ok(CompareTarget::Lease), Some(Lease(number))) => Wanted::Number(3, *number),
            (Ok(CompareTarget::Lease), _) => Wanted::Number(3, 0),
            (Ok(CompareTarget::Value), Some(Value(value))) => Wanted::Value(value),
            (Ok(CompareTarget::Value), _) => Wanted::Value(&[]),
            (Err(_), _) => Wanted::Unknown,
        };
        Self { wanted, result: CompareResult::try_from(compare.result).ok() }
    }

    /// Whether it holds for a key that is there.
    pub fn holds_for(&self, kv: &KeyValueRef<'_>) -> bool {
        let numbers = [kv.version, kv.create_revision, kv.mod_revision, kv.lease];
        self.accepts(self.compare(&numbers, kv.value))
    }

    /// Whether it holds where there is no key: values are never equal or unequal to nothing, all else is put to
    /// zeros.
    pub fn holds_for_nothing(&self) -> bool {
        !matches!(self.wanted, Wanted::Value(_)) && self.holds_for(&KeyValueRef::default())
    }

    pub(super) fn compare(&self, numbers: &[i64; 4], value: &[u8]) -> Ordering {
        match self.wanted {
            Wanted::Number(place, wanted) => {
                numbers.get(place).copied().unwrap_or_default().cmp(&wanted)
            }
            Wanted::Value(wanted) => value.cmp(wanted),
            Wanted::Unknown => Ordering::Equal,
        }
    }

    fn accepts(&self, found: Ordering) -> bool {
        match self.result {
            Some(CompareResult::Equal) => found.is_eq(),
            Some(CompareResult::NotEqual) => found.is_ne(),
            Some(CompareResult::Greater) => found.is_gt(),
            Some(CompareResult::Less) => found.is_lt(),
            None => true,
        }
    }

    /// Whether it holds for all keys of which the least and the greatest compare like this. That decides every
    /// condition but the one that nothing be equal.
    pub(super) fn holds_between(&self, least: Ordering, greatest: Ordering) -> bool {
        self.accepts(least) && self.accepts(greatest)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn compare(target: i32, result: i32, union: Option<TargetUnion>) -> Compare {
        Compare { result, target, key: Vec::new(), target_union: union, range_end: Vec::new() }
    }

    #[test]
    fn a_condition_is_what_etcd_means() {
        let kv = KeyValueRef { version: 2, value: b"m", lease: 7, ..KeyValueRef::default() };
        let holds =
            |target, result, union| Condition::new(&compare(target, result, union)).holds_for(&kv);
        assert!(holds(0, 0, Some(TargetUnion::Version(2))) && holds(0, 1, None));
        assert!(holds(4, 2, Some(TargetUnion::Lease(8))) && !holds(4, 2, None));
        assert!(holds(3, 3, Some(TargetUnion::Value(b"n".to_vec()))));
        // A number of another target, a target and a result nobody knows.
        assert!(holds(0, 1, Some(TargetUnion::Lease(9))));
        assert!(holds(9, 0, None) && !holds(9, 3, None) && holds(0, 9, None));
    }

    #[test]
    fn nothing_is_zeros_but_has_no_value() {
        let nothing =
            |target, result| Condition::new(&compare(target, result, None)).holds_for_nothing();
        assert!(nothing(2, 0) && !nothing(2, 1) && !nothing(3, 0) && !nothing(3, 3));
    }
}
