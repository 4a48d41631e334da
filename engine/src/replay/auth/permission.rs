//! What the permissions of a user's roles allow together.

use std::cmp::Ordering;

use crate::pb::authpb::{Permission, PermissionType};

/// An end of an interval: a key, or behind every key.
#[derive(Clone, Debug, PartialEq, Eq)]
enum Bound {
    Key(Vec<u8>),
    Open,
}

impl Bound {
    /// etcd takes the empty key for the one behind all others.
    fn new(key: &[u8]) -> Self {
        if key.is_empty() { Bound::Open } else { Bound::Key(key.to_vec()) }
    }
}

impl PartialOrd for Bound {
    fn partial_cmp(&self, other: &Self) -> Option<Ordering> {
        Some(self.cmp(other))
    }
}

impl Ord for Bound {
    fn cmp(&self, other: &Self) -> Ordering {
        match (self, other) {
            (Bound::Open, Bound::Open) => Ordering::Equal,
            (Bound::Open, Bound::Key(_)) => Ordering::Greater,
            (Bound::Key(_), Bound::Open) => Ordering::Less,
            (Bound::Key(own), Bound::Key(other)) => own.cmp(other),
        }
    }
}

/// Keys from `begin` up to, and without, `end`.
#[derive(Clone, Debug)]
pub(super) struct Span {
    begin: Bound,
    end: Bound,
}

impl Span {
    /// The keys that `key` and `range_end` mean, of a permission as of a request.
    pub(super) fn new(key: &[u8], range_end: &[u8]) -> Self {
        let end = match range_end {
            [] => Bound::Key([key, &[0]].concat()),
            [0] => Bound::Open,
            end => Bound::new(end),
        };
        Self { begin: Bound::new(key), end }
    }
}

/// Whether `permissions` of type `wanted` together hold every key of `span`: spans that touch or overlap one
/// another count as one. Source: etcd `adt.IntervalTree.Contains`.
pub(super) fn cover<'p>(
    permissions: impl Iterator<Item = &'p Permission>,
    wanted: PermissionType,
    span: &Span,
) -> bool {
    let mut touching: Vec<Span> = permissions
        .filter(|permission| allows(permission.perm_type, wanted))
        .map(|permission| Span::new(&permission.key, &permission.range_end))
        .filter(|own| own.begin < span.end && own.end > span.begin)
        .collect();
    touching.sort_by(|a, b| a.begin.cmp(&b.begin));
    let mut touching = touching.into_iter();
    let Some(first) = touching.next() else { return false };
    let mut end = first.end;
    for next in touching {
        if end < next.begin {
            return false;
        }
        end = end.max(next.end);
    }
    end >= span.end && first.begin <= span.begin
}

/// Whether a permission may be granted: a key, or a range that is not empty.
pub(super) fn is_valid(key: &[u8], range_end: &[u8]) -> bool {
    !key.is_empty() && (matches!(range_end, [] | [0]) || key < range_end)
}

fn allows(held: i32, wanted: PermissionType) -> bool {
    match PermissionType::try_from(held) {
        Ok(PermissionType::ReadWrite) => true,
        Ok(held) => held == wanted,
        Err(_) => false,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn held(kind: PermissionType, key: &[u8], range_end: &[u8]) -> Permission {
        Permission { perm_type: kind.into(), key: key.to_vec(), range_end: range_end.to_vec() }
    }

    fn covers(permissions: &[Permission], key: &[u8], range_end: &[u8]) -> bool {
        cover(permissions.iter(), PermissionType::Write, &Span::new(key, range_end))
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
}
