//! Where two members of one cluster differ.

use crate::{
    bolt::{Bucket, Item},
    mvcc::{Error, KeySpace, Record, View},
    progress::Progress,
    schema::Revision,
};

/// Keys that are named; the others are counted.
const NAMED: usize = 20;

/// What two members do not agree on, as far as both have it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Difference {
    /// The first revision whose records differ; `None` when the histories that both have are equal.
    pub first_revision: Option<i64>,
    /// Up to which revision was compared.
    pub compared_to: i64,
    /// Keys whose latest record up to there differs, in order; the first of them.
    pub keys: Vec<Vec<u8>>,
    /// How many keys differ.
    pub count: u64,
}

/// Compares two members at the newest revision that both have.
///
/// # Errors
/// When a page or record is damaged.
pub fn compare(
    a: &KeySpace<'_>,
    b: &KeySpace<'_>,
    progress: &dyn Progress,
) -> Result<Option<Difference>, Error> {
    let to = a.current_revision().min(b.current_revision());
    let from = a.compact_revision().max(b.compact_revision());
    let first_revision = if from < to { first_difference(a, b, from, to)? } else { None };
    let at = to.max(from).min(a.current_revision()).min(b.current_revision());
    let readable = at >= a.compact_revision() && at >= b.compact_revision();
    let (keys, count) =
        if readable { differing_keys(a, b, at, progress)? } else { (Vec::new(), 0) };
    Ok((first_revision.is_some() || count > 0).then_some(Difference {
        first_revision,
        compared_to: to,
        keys,
        count,
    }))
}

/// The first revision above `from` and up to `to` whose records differ.
fn first_difference(
    a: &KeySpace<'_>,
    b: &KeySpace<'_>,
    from: i64,
    to: i64,
) -> Result<Option<i64>, Error> {
    let start = Revision { main: from.max(0).saturating_add(1), sub: 0 }.encode();
    let mut left = records(a.bucket(), &start);
    let mut right = records(b.bucket(), &start);
    loop {
        let next = |records: &mut dyn Iterator<Item = Result<Item<'_>, crate::bolt::Error>>| {
            let item = records.next().transpose()?;
            let main = item.map(|item| Record::key_of(&item)).transpose()?;
            let within = item.zip(main).filter(|(_, key)| key.revision.main <= to);
            Ok::<_, Error>(
                within
                    .map(|(item, key)| (key.revision.main, item.key.to_vec(), item.value.to_vec())),
            )
        };
        match (next(&mut left)?, next(&mut right)?) {
            (None, None) => return Ok(None),
            (Some(one), Some(other)) if one == other => {}
            (one, other) => {
                let mains = [one, other].into_iter().flatten().map(|(main, ..)| main);
                return Ok(mains.min());
            }
        }
    }
}

/// The records of a bucket from `start` on.
fn records<'a>(
    bucket: Option<&Bucket<'a>>,
    start: &[u8],
) -> impl Iterator<Item = Result<Item<'a>, crate::bolt::Error>> {
    let start = start.to_vec();
    bucket
        .map(Bucket::items)
        .into_iter()
        .flatten()
        .skip_while(move |item| item.as_ref().is_ok_and(|item| item.key < start.as_slice()))
}

/// Keys that differ in value, lease or any revision number at `revision`.
fn differing_keys(
    a: &KeySpace<'_>,
    b: &KeySpace<'_>,
    revision: i64,
    progress: &dyn Progress,
) -> Result<(Vec<Vec<u8>>, u64), Error> {
    let a = View::at(a, Some(revision), progress)?;
    let b = View::at(b, Some(revision), progress)?;
    let (mut named, mut count) = (Vec::new(), 0_u64);
    let (mut left, mut right) = (a.keys(b"").iter().peekable(), b.keys(b"").iter().peekable());
    loop {
        let key = match (left.peek(), right.peek()) {
            (None, None) => break,
            (Some(key), None) | (None, Some(key)) => **key,
            (Some(one), Some(other)) => (**one).min(**other),
        };
        left.next_if(|next| **next == key);
        right.next_if(|next| **next == key);
        let (one, other) =
            (a.get(key)?.map(|record| record.kv), b.get(key)?.map(|record| record.kv));
        if one != other {
            count += 1;
            if named.len() < NAMED {
                named.push(key.to_vec());
            }
        }
    }
    Ok((named, count))
}
