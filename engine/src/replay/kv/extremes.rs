//! The keys of a range answered for together: the least and the greatest of what can be compared.
//!
//! A condition on a range must hold for each of its keys. A server asks them one by one, so that a log of many such
//! conditions over many keys takes it the product of both. Here the keys are a search tree of which each node knows the
//! extremes below it: a condition costs what the tree is deep. What must not be equal is looked up among all fields, in
//! order. The tree's shape is drawn by lot, so that no log can make it deep; answers do not depend on it.

use std::{
    cmp::Ordering,
    collections::BTreeSet,
    hash::{BuildHasher as _, RandomState},
};

use super::{
    Interval,
    condition::{Bytes, Condition, Fields, Wanted},
};
use crate::pb::kvpb::CompareResult;

type Link<'a> = Option<Box<Node<'a>>>;
/// A field of every key that has it, with the key. Values are there by a hash of them.
type ByField<'a> = BTreeSet<(u64, Bytes<'a>)>;

/// A key, and the extremes of the keys below and with it.
#[derive(Debug)]
struct Node<'a> {
    key: Bytes<'a>,
    own: Fields<'a>,
    lot: u64,
    left: Link<'a>,
    right: Link<'a>,
    least: Fields<'a>,
    greatest: Fields<'a>,
}

/// All keys, by name and by what can be compared of them.
#[derive(Debug, Default)]
pub(super) struct Extremes<'a> {
    root: Link<'a>,
    random: RandomState,
    lots: u64,
    /// By version, create revision, mod revision, lease and value, as far as they were asked for.
    by_field: [Option<ByField<'a>>; 5],
}

impl<'a> Extremes<'a> {
    /// Adds a key, or replaces what is known of it.
    pub(super) fn set(&mut self, key: Bytes<'a>, own: Fields<'a>) {
        self.remove(key.as_slice());
        self.each_field(&own, &key, |set, entry| {
            set.insert(entry);
        });
        self.lots = self.lots.wrapping_add(1);
        let lot = self.random.hash_one(self.lots);
        let (least, greatest) = (own.clone(), own.clone());
        let (before, behind) = split(self.root.take(), key.as_slice());
        let node = Node { key, own, lot, left: None, right: None, least, greatest };
        self.root = merge(merge(before, Some(Box::new(node))), behind);
    }

    /// Takes a key out.
    pub(super) fn remove(&mut self, key: &[u8]) {
        if self.find(key).is_none() {
            return;
        }
        let (before, rest) = split(self.root.take(), key);
        let (found, behind) = split(rest, &[key, &[0]].concat());
        self.root = merge(before, behind);
        if let Some(node) = found {
            self.each_field(&node.own, &node.key, |set, entry| {
                set.remove(&entry);
            });
        }
    }

    /// Whether `condition` holds for each key of `interval`; `None` when there is none.
    pub(super) fn all(
        &mut self,
        interval: Interval<'_>,
        condition: &Condition<'_>,
    ) -> Option<bool> {
        let (from, to) = (Some(interval.from()), Some(interval));
        if condition.result == Some(CompareResult::NotEqual) {
            decide(&self.root, from, to, &ANYTHING)?;
            return Some(!self.some_equals(interval, condition));
        }
        decide(&self.root, from, to, condition)
    }

    /// Whether a key of `interval` has just what `condition` names.
    fn some_equals(&mut self, interval: Interval<'_>, condition: &Condition<'_>) -> bool {
        let (field, wanted) = match condition.wanted {
            Wanted::Number(place, number) => (place, number.cast_unsigned()),
            Wanted::Value(value) => (VALUE, self.random.hash_one(value)),
            Wanted::Unknown => return true,
        };
        if self.by_field.get(field).is_some_and(Option::is_none) {
            let mut set = ByField::new();
            each(&self.root, &mut |node| {
                set.insert((number(&self.random, &node.own, field), node.key.clone()));
            });
            if let Some(place) = self.by_field.get_mut(field) {
                *place = Some(set);
            }
        }
        let Some(Some(set)) = self.by_field.get(field) else { return false };
        let same = set.range((wanted, Bytes::shared(interval.from()))..);
        let mut same =
            same.take_while(|(found, key)| *found == wanted && interval.contains(key.as_slice()));
        // Two values can have one hash.
        same.any(|(_, key)| {
            self.find(key.as_slice()).is_some_and(|node| {
                condition.compare(&node.own.numbers, node.own.value.as_slice()).is_eq()
            })
        })
    }

    fn find(&self, key: &[u8]) -> Option<&Node<'a>> {
        let mut at = self.root.as_deref();
        while let Some(node) = at {
            at = match key.cmp(node.key.as_slice()) {
                Ordering::Equal => return Some(node),
                Ordering::Less => node.left.as_deref(),
                Ordering::Greater => node.right.as_deref(),
            };
        }
        None
    }

    fn each_field(
        &mut self,
        own: &Fields<'a>,
        key: &Bytes<'a>,
        change: impl Fn(&mut ByField<'a>, (u64, Bytes<'a>)),
    ) {
        for (field, set) in self.by_field.iter_mut().enumerate() {
            if let Some(set) = set {
                change(set, (number(&self.random, own, field), key.clone()));
            }
        }
    }
}

/// Holds for every key.
const ANYTHING: Condition<'static> = Condition { wanted: Wanted::Unknown, result: None };
/// Place of the value behind the numbers.
const VALUE: usize = 4;

fn number(random: &RandomState, own: &Fields<'_>, field: usize) -> u64 {
    match own.numbers.get(field) {
        Some(number) => number.cast_unsigned(),
        None => random.hash_one(own.value.as_slice()),
    }
}

impl Node<'_> {
    fn update(&mut self) {
        self.least = self.own.clone();
        self.greatest = self.own.clone();
        for below in [&self.left, &self.right].into_iter().flatten() {
            for (least, other) in self.least.numbers.iter_mut().zip(below.least.numbers) {
                *least = other.min(*least);
            }
            for (greatest, other) in self.greatest.numbers.iter_mut().zip(below.greatest.numbers) {
                *greatest = other.max(*greatest);
            }
            if below.least.value < self.least.value {
                self.least.value = below.least.value.clone();
            }
            if below.greatest.value > self.greatest.value {
                self.greatest.value = below.greatest.value.clone();
            }
        }
    }
}

/// The keys before `key`, and the others.
fn split<'a>(link: Link<'a>, key: &[u8]) -> (Link<'a>, Link<'a>) {
    let Some(mut node) = link else { return (None, None) };
    if node.key.as_slice() < key {
        let (before, behind) = split(node.right.take(), key);
        node.right = before;
        node.update();
        (Some(node), behind)
    } else {
        let (before, behind) = split(node.left.take(), key);
        node.left = behind;
        node.update();
        (before, Some(node))
    }
}

/// One tree of two, of which all keys of the first stand before those of the second.
fn merge<'a>(first: Link<'a>, second: Link<'a>) -> Link<'a> {
    match (first, second) {
        (None, link) | (link, None) => link,
        (Some(mut first), Some(second)) if first.lot > second.lot => {
            first.right = merge(first.right.take(), Some(second));
            first.update();
            Some(first)
        }
        (Some(first), Some(mut second)) => {
            second.left = merge(Some(first), second.left.take());
            second.update();
            Some(second)
        }
    }
}

/// Whether `condition`, which extremes decide, holds for each key below `link`, those before `from` and behind the end
/// of `to` left out; `None` when there is no key.
fn decide(
    link: &Link<'_>,
    from: Option<&[u8]>,
    to: Option<Interval<'_>>,
    condition: &Condition<'_>,
) -> Option<bool> {
    let node = link.as_deref()?;
    let key = node.key.as_slice();
    let compare = |of: &Fields<'_>| condition.compare(&of.numbers, of.value.as_slice());
    if from.is_none() && to.is_none() {
        return Some(condition.holds_between(compare(&node.least), compare(&node.greatest)));
    }
    if from.is_some_and(|from| key < from) {
        return decide(&node.right, from, to, condition);
    }
    if to.is_some_and(|to| !to.ends_behind(key)) {
        return decide(&node.left, from, to, condition);
    }
    let own = compare(&node.own);
    Some(
        condition.holds_between(own, own)
            && decide(&node.left, from, None, condition).unwrap_or(true)
            && decide(&node.right, None, to, condition).unwrap_or(true),
    )
}

fn each<'a>(link: &Link<'a>, visit: &mut impl FnMut(&Node<'a>)) {
    if let Some(node) = link {
        each(&node.left, visit);
        visit(node);
        each(&node.right, visit);
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::pb::{
        kvpb::{Compare, TargetUnion},
        wire::KeyValueRef,
    };

    #[test]
    fn the_tree_answers_as_asking_each_key_does() {
        use std::collections::BTreeMap;
        let mut tree = Extremes::default();
        let mut plain: BTreeMap<Vec<u8>, ([i64; 4], Vec<u8>)> = BTreeMap::new();
        let mut outcomes = [0_usize; 3];
        let mut rng = fastrand::Rng::with_seed(7);
        for n in 0..20_000 {
            let mut name = || format!("{:02}", rng.u8(..60)).into_bytes();
            let (key, other) = (name(), name());
            match rng.u8(..4) {
                0 => {
                    let numbers = [(); 4].map(|()| rng.i64(0..3));
                    let value = vec![b'v'; rng.usize(..3)];
                    let own = Fields { numbers, value: Bytes::shared(&value) };
                    tree.set(Bytes::shared(&key), own);
                    plain.insert(key, (numbers, value));
                }
                1 if rng.bool() => {
                    tree.remove(&key);
                    plain.remove(&key);
                }
                _ => {
                    let wanted = rng.i64(0..3);
                    let target = rng.i32(0..5);
                    let union = match target {
                        0 => TargetUnion::Version(wanted),
                        1 => TargetUnion::CreateRevision(wanted),
                        2 => TargetUnion::ModRevision(wanted),
                        3 => TargetUnion::Value(vec![b'v'; wanted as usize]),
                        _ => TargetUnion::Lease(wanted),
                    };
                    let end = if rng.u8(..5) == 0 { vec![0] } else { other };
                    let compare = Compare {
                        result: rng.i32(0..4),
                        target,
                        key: key.clone(),
                        target_union: Some(union),
                        range_end: end.clone(),
                    };
                    let (condition, interval) =
                        (Condition::new(&compare), Interval::new(&key, &end));
                    let within = plain.iter().filter(|(key, _)| interval.contains(key));
                    let each: Vec<bool> = within
                        .map(|(_, ([version, create_revision, mod_revision, lease], value))| {
                            condition.holds_for(&KeyValueRef {
                                version: *version,
                                create_revision: *create_revision,
                                mod_revision: *mod_revision,
                                lease: *lease,
                                value,
                                ..KeyValueRef::default()
                            })
                        })
                        .collect();
                    let expected = (!each.is_empty()).then(|| each.iter().all(|holds| *holds));
                    assert_eq!(tree.all(interval, &condition), expected, "{n}: {compare:?}");
                    outcomes[expected.map_or(0, |holds| 1 + usize::from(holds))] += 1;
                }
            }
        }
        assert!(outcomes.iter().all(|count| *count > 200), "{outcomes:?}");
    }
}
