//! What the permissions of a user's roles allow together.

use std::{cmp::Ordering, collections::BTreeMap, ops::Bound as RangeBound};

use crate::pb::authpb::{Permission, PermissionType};

/// An end of an interval.
#[derive(Clone, Copy, Debug)]
enum Bound<K> {
    /// This key.
    Key(K),
    /// The first key behind this one: it and a zero byte.
    After(K),
    /// Behind every key.
    Open,
}

impl<K: AsRef<[u8]>> Bound<K> {
    fn compare<L: AsRef<[u8]>>(&self, other: &Bound<L>) -> Ordering {
        match (self, other) {
            (Bound::Open, Bound::Open) => Ordering::Equal,
            (Bound::Open, _) => Ordering::Greater,
            (_, Bound::Open) => Ordering::Less,
            (Bound::Key(own), Bound::Key(other)) | (Bound::After(own), Bound::After(other)) => {
                own.as_ref().cmp(other.as_ref())
            }
            (Bound::After(own), Bound::Key(other)) => after(own.as_ref(), other.as_ref()),
            (Bound::Key(own), Bound::After(other)) => after(other.as_ref(), own.as_ref()).reverse(),
        }
    }

    fn to_owned(&self) -> Bound<Vec<u8>> {
        match self {
            Bound::Key(key) => Bound::Key(key.as_ref().to_vec()),
            Bound::After(key) => Bound::After(key.as_ref().to_vec()),
            Bound::Open => Bound::Open,
        }
    }
}

/// Compares the first key behind `own` with `other`.
fn after(own: &[u8], other: &[u8]) -> Ordering {
    match other.strip_prefix(own) {
        Some([]) => Ordering::Greater,
        Some([0]) => Ordering::Equal,
        Some(_) => Ordering::Less,
        None => own.cmp(other),
    }
}

/// Keys from `begin` up to, and without, `end`.
#[derive(Clone, Copy, Debug)]
pub(super) struct Span<K> {
    begin: Bound<K>,
    end: Bound<K>,
}

impl<'k> Span<&'k [u8]> {
    /// The keys that `key` and `range_end` mean, of a permission as of a request. etcd takes the empty key for the
    /// one behind all others.
    pub(super) fn new(key: &'k [u8], range_end: &'k [u8]) -> Self {
        let begin = if key.is_empty() { Bound::Open } else { Bound::Key(key) };
        let end = match range_end {
            [] => Bound::After(key),
            [0] => Bound::Open,
            end => Bound::Key(end),
        };
        Self { begin, end }
    }
}

/// The keys of a permission, if it allows `wanted`.
fn allowed(permission: &Permission, wanted: PermissionType) -> Option<Span<&[u8]>> {
    let allows = match PermissionType::try_from(permission.perm_type) {
        Ok(PermissionType::ReadWrite) => true,
        Ok(held) => held == wanted,
        Err(_) => false,
    };
    let span = Span::new(&permission.key, &permission.range_end);
    // Older servers let an empty range be granted.
    (allows && span.begin.compare(&span.end).is_lt()).then_some(span)
}

/// The keys that some permissions together allow something on.
#[derive(Clone, Debug, Default)]
pub(super) struct Coverage {
    /// Spans by their first key. None touches or overlaps the next.
    spans: BTreeMap<Vec<u8>, Bound<Vec<u8>>>,
}

impl Coverage {
    /// Of those `permissions` that allow `wanted`.
    pub(super) fn of<'p>(
        permissions: impl Iterator<Item = &'p Permission>,
        wanted: PermissionType,
    ) -> Self {
        let mut coverage = Self::default();
        coverage.extend(permissions, wanted);
        coverage
    }

    /// Adds what `permission` allows, if that is `wanted`. Spans that touch or overlap one another count as one. Source:
    /// etcd `adt.IntervalTree.Contains`.
    pub(super) fn add(&mut self, permission: &Permission, wanted: PermissionType) {
        let Some(Span { begin, end }) = allowed(permission, wanted) else { return };
        let Bound::Key(mut key) = begin else { return };
        let before = self.before(key).filter(|(_, own)| own.compare(&begin).is_ge());
        let before = before.map(|(key, _)| key.clone());
        if let Some(before) = &before {
            key = before;
        }
        let mut end = end.to_owned();
        // What begins in it, or where it ends, goes into it.
        let from = |key| (RangeBound::Included(key), RangeBound::Unbounded);
        while let Some((next, _)) = self.spans.range::<[u8], _>(from(key)).next()
            && Bound::Key(next).compare(&end).is_le()
        {
            let next = next.clone();
            if let Some(own) = self.spans.remove(&next)
                && own.compare(&end).is_gt()
            {
                end = own;
            }
        }
        self.spans.insert(key.to_vec(), end);
    }

    /// Gathers anew what stands around `permission`, which no longer allows what it did, from what all `roles` hold.
    pub(super) fn renew(
        &mut self,
        permission: &Permission,
        roles: &[&Held],
        wanted: PermissionType,
    ) {
        let Span { begin, .. } = Span::new(&permission.key, &permission.range_end);
        let around = self.before(&permission.key);
        let around = around.filter(|(_, end)| end.compare(&begin).is_gt());
        let Some(first) = around.map(|(first, _)| first.clone()) else { return };
        let Some(end) = self.spans.remove(&first) else { return };
        let within = roles.iter().flat_map(|held| held.within(&first, &end));
        self.extend(within, wanted);
    }

    /// Adds those `permissions` that allow `wanted`, none of which touches what is there.
    fn extend<'p>(
        &mut self,
        permissions: impl Iterator<Item = &'p Permission>,
        wanted: PermissionType,
    ) {
        let mut spans: Vec<Span<&[u8]>> =
            permissions.filter_map(|permission| allowed(permission, wanted)).collect();
        spans.sort_by(|a, b| a.begin.compare(&b.begin));
        let mut spans = spans.into_iter();
        let Some(mut last) = spans.next() else { return };
        let mut insert = |span: Span<&[u8]>| {
            if let Bound::Key(begin) = span.begin {
                self.spans.insert(begin.to_vec(), span.end.to_owned());
            }
        };
        for span in spans {
            if last.end.compare(&span.begin).is_lt() {
                insert(std::mem::replace(&mut last, span));
            } else if last.end.compare(&span.end).is_lt() {
                last.end = span.end;
            }
        }
        insert(last);
    }

    /// The last span that begins at `key` or before.
    fn before(&self, key: &[u8]) -> Option<(&Vec<u8>, &Bound<Vec<u8>>)> {
        let up_to = (RangeBound::Unbounded, RangeBound::Included(key));
        self.spans.range::<[u8], _>(up_to).next_back()
    }

    /// Whether it holds every key of `span`.
    pub(super) fn holds(&self, span: &Span<&[u8]>) -> bool {
        let Bound::Key(key) = span.begin else { return false };
        let before =
            self.spans.range::<[u8], _>((RangeBound::Unbounded, RangeBound::Included(key)));
        before.last().is_some_and(|(begin, end)| {
            end.compare(&span.end).is_ge()
                // A request whose end is not behind its start meets only what lies around both.
                && Bound::Key(begin).compare(&span.end).is_lt()
                && end.compare(&span.begin).is_gt()
        })
    }
}

/// The permissions of a role.
#[derive(Clone, Debug)]
pub(super) enum Held {
    /// In order of their keys, those of one key in the order in which they were granted. So servers keep them.
    Sorted(BTreeMap<Vec<u8>, Vec<Permission>>),
    /// In the order the db has them in, which is another.
    Stored(Vec<Permission>),
}

impl Default for Held {
    fn default() -> Self {
        Held::Sorted(BTreeMap::new())
    }
}

impl Held {
    /// As the db has them.
    pub(super) fn new(permissions: Vec<Permission>) -> Self {
        if permissions.is_sorted_by(|a, b| a.key <= b.key) {
            Held::Sorted(by_key(permissions))
        } else {
            Held::Stored(permissions)
        }
    }

    pub(super) fn iter(&self) -> impl Iterator<Item = &Permission> {
        let (sorted, stored) = match self {
            Held::Sorted(sorted) => (Some(sorted), None),
            Held::Stored(stored) => (None, Some(stored)),
        };
        let sorted = sorted.into_iter().flat_map(BTreeMap::values).flatten();
        sorted.chain(stored.into_iter().flatten())
    }

    /// Those whose key is in a span.
    fn within(&self, first: &[u8], end: &Bound<Vec<u8>>) -> impl Iterator<Item = &Permission> {
        let (sorted, stored) = match self {
            Held::Sorted(sorted) => (Some(sorted), None),
            Held::Stored(stored) => (None, Some(stored)),
        };
        let from = (RangeBound::Included(first), RangeBound::Unbounded);
        let sorted = sorted.into_iter().flat_map(move |sorted| sorted.range::<[u8], _>(from));
        let inside = move |key: &[u8]| key >= first && Bound::Key(key).compare(end).is_lt();
        let sorted = sorted.take_while(move |(key, _)| inside(key)).flat_map(|(_, same)| same);
        sorted.chain(stored.into_iter().flatten().filter(move |own| inside(&own.key)))
    }

    /// Adds a permission; or changes the type of the one that stands first among those of its key, if its range is the
    /// same, and then it is false.
    pub(super) fn grant(&mut self, permission: &Permission) -> bool {
        if let Held::Stored(stored) = self {
            // Go's sort keeps the order of equal keys in short lists, which these are.
            *self = Held::Sorted(by_key(std::mem::take(stored)));
        }
        let Held::Sorted(sorted) = self else { return false };
        let same = sorted.entry(permission.key.clone()).or_default();
        match same.first_mut() {
            Some(first) if first.range_end == permission.range_end => {
                first.perm_type = permission.perm_type;
                false
            }
            _ => {
                same.push(permission.clone());
                true
            }
        }
    }

    /// Takes away what was granted on just this range; false when nothing was.
    pub(super) fn revoke(&mut self, key: &[u8], range_end: &[u8]) -> bool {
        let stays = |own: &Permission| own.key != key || own.range_end != range_end;
        match self {
            Held::Sorted(sorted) => {
                let Some(same) = sorted.get_mut(key) else { return false };
                let before = same.len();
                same.retain(stays);
                let revoked = same.len() != before;
                if same.is_empty() {
                    sorted.remove(key);
                }
                revoked
            }
            Held::Stored(stored) => {
                let before = stored.len();
                stored.retain(stays);
                stored.len() != before
            }
        }
    }
}

fn by_key(permissions: Vec<Permission>) -> BTreeMap<Vec<u8>, Vec<Permission>> {
    let mut sorted: BTreeMap<Vec<u8>, Vec<Permission>> = BTreeMap::new();
    for permission in permissions {
        sorted.entry(permission.key.clone()).or_default().push(permission);
    }
    sorted
}

/// Whether a permission may be granted: a key, or a range that is not empty.
pub(super) fn is_valid(key: &[u8], range_end: &[u8]) -> bool {
    !key.is_empty() && (matches!(range_end, [] | [0]) || key < range_end)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn held(kind: PermissionType, key: &[u8], range_end: &[u8]) -> Permission {
        Permission { perm_type: kind.into(), key: key.to_vec(), range_end: range_end.to_vec() }
    }

    fn covers(permissions: &[Permission], key: &[u8], range_end: &[u8]) -> bool {
        Coverage::of(permissions.iter(), PermissionType::Write).holds(&Span::new(key, range_end))
    }

    #[test]
    fn touching_permissions_hold_a_range_together_and_gaps_break_it() {
        use PermissionType::{Read, ReadWrite, Write};
        let permissions =
            [held(Write, b"c", b"e"), held(ReadWrite, b"a", b"c"), held(Write, b"x", b"")];
        assert!(covers(&permissions, b"a", b"e") && covers(&permissions, b"b", b"d"));
        assert!(!covers(&permissions, b"a", b"f") && !covers(&permissions, b"0", b"b"));
        assert!(covers(&permissions, b"x", b"") && !covers(&permissions, b"x", b"x\0\0"));
        assert!(!covers(&permissions, b"e", b""));
        assert!(!covers(&[held(Read, b"a", b"c")], b"a", b""));
        assert!(!covers(&[held(Write, b"a", b"b"), held(Write, b"c", b"d")], b"a", b"d"));
        assert!(!covers(&[], b"a", b""));
    }

    #[test]
    fn open_ended_permissions_hold_everything_behind_their_key() {
        let all = [held(PermissionType::Write, b"\0", b"\0")];
        assert!(covers(&all, b"a", b"\0") && covers(&all, b"\0", b"\0") && covers(&all, b"a", b""));
        let tail = [held(PermissionType::Write, b"m", b"\0")];
        assert!(covers(&tail, b"m", b"\0") && !covers(&tail, b"l", b"\0"));
        assert!(!covers(&[held(PermissionType::Write, b"a", b"z")], b"b", b"\0"));
    }

    #[test]
    fn a_key_and_the_next_one_touch() {
        let three = [b"a".as_slice(), b"a\0", b"a\0\0"];
        let three = three.map(|key| held(PermissionType::Write, key, b""));
        assert!(covers(&three, b"a", b"a\0\0\0") && !covers(&three, b"a", b"a\0\x01"));
        assert_eq!(Coverage::of(three.iter(), PermissionType::Write).spans.len(), 1);
        // A request that ends before it starts.
        let around = [held(PermissionType::Write, b"a", b"z")];
        assert!(covers(&around, b"m", b"c") && !covers(&around, b"m", b"a"));
    }

    #[test]
    fn spans_added_in_any_order_or_left_of_more_are_those_added_in_order() {
        let write = |key: &[u8], end: &[u8]| held(PermissionType::Write, key, end);
        let all = [
            write(b"b", b"d"),
            write(b"d", b""),
            write(b"d\0", b"f"),
            write(b"h", b"k"),
            write(b"i", b"j"),
            write(b"k\0", b"m"),
            write(b"m", b"\0"),
        ];
        let ends = [&b""[..], b"c", b"d", b"d\0", b"f", b"h", b"k", b"l", b"m", b"\0"];
        for chosen in 0..1_usize << all.len() {
            let picked: Vec<&Permission> = all
                .iter()
                .enumerate()
                .filter(|(at, _)| chosen >> at & 1 == 1)
                .map(|(_, own)| own)
                .collect();
            let ahead = Coverage::of(picked.iter().copied(), PermissionType::Write);
            let back = Coverage::of(picked.iter().rev().copied(), PermissionType::Write);
            let mixed = picked.iter().skip(2).chain(picked.iter().take(2)).copied();
            let mixed = mixed.fold(Coverage::default(), |mut coverage, own| {
                coverage.add(own, PermissionType::Write);
                coverage
            });
            // All of them were granted, and those not picked revoked again.
            let held = Held::new(picked.iter().copied().cloned().collect());
            let mut renewed = Coverage::of(all.iter(), PermissionType::Write);
            for gone in all.iter().filter(|own| !picked.contains(own)) {
                renewed.renew(gone, &[&held], PermissionType::Write);
            }
            for key in [&b"a"[..], b"b", b"c", b"d", b"d\0", b"e", b"h", b"k", b"k\0", b"z"] {
                for end in ends {
                    let span = Span::new(key, end);
                    let answers =
                        [&ahead, &back, &mixed, &renewed].map(|coverage| coverage.holds(&span));
                    assert!(answers == [answers[0]; 4], "{picked:?} {key:?} {end:?}: {answers:?}");
                }
            }
        }
    }

    #[test]
    fn permissions_are_kept_in_order_and_the_first_of_a_key_changes_its_type() {
        use PermissionType::{Read, Write};
        let mut own = Held::new(vec![held(Read, b"b", b""), held(Read, b"a", b"")]);
        assert!(!own.revoke(b"c", b"") && own.revoke(b"b", b""));
        own.grant(&held(Read, b"b", b"d"));
        own.grant(&held(Read, b"b", b"c"));
        own.grant(&held(Write, b"b", b"d"));
        own.grant(&held(Write, b"b", b"c"));
        let all = [
            held(Read, b"a", b""),
            held(Write, b"b", b"d"),
            held(Read, b"b", b"c"),
            held(Write, b"b", b"c"),
        ];
        assert_eq!(own.iter().cloned().collect::<Vec<_>>(), all);
        assert!(own.revoke(b"b", b"c") && !own.revoke(b"b", b"c"));
        assert_eq!(own.iter().count(), 2);
    }
}
