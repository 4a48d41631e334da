//! Whether members hold the same where they should, and what one holds that another lacks.

use std::collections::BTreeSet;

use super::super::{Difference, compare};
use crate::{
    bolt::Bucket,
    mvcc::{Error, KeySpace, Record},
    pb::{
        entry::Decoded,
        requestpb::InternalRaftRequest,
        txnpb::{Request, TxnRequest},
    },
    progress::Progress,
    schema::Revision,
    wal::Log,
};

/// Keys that are named; the others are counted.
const NAMED: usize = 20;

/// Which states hold the same, as far as they reach.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Contents {
    /// Places of the paths whose contents are the same, the largest group first.
    pub groups: Vec<Vec<usize>>,
    /// Where groups differ.
    pub differences: Vec<Differing>,
}

/// Where two states differ.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Differing {
    /// Place of one path.
    pub one: usize,
    /// Place of the other.
    pub other: usize,
    /// What differs.
    pub difference: Difference,
}

impl Contents {
    /// Compares key spaces, each with the place of its path.
    ///
    /// # Errors
    /// When a page or record is damaged.
    pub fn compare(
        spaces: &[(usize, KeySpace<'_>)],
        progress: &dyn Progress,
    ) -> Result<Self, Error> {
        let mut groups: Vec<Vec<&(usize, KeySpace<'_>)>> = Vec::new();
        let mut differences = Vec::new();
        for space in spaces {
            let mut at = None;
            for (number, group) in groups.iter().enumerate() {
                let Some((one, first)) = group.first() else { continue };
                match compare(first, &space.1, progress)? {
                    None => at = at.or(Some(number)),
                    Some(difference) => {
                        differences.push(Differing { one: *one, other: space.0, difference });
                    }
                }
            }
            match at.and_then(|at| groups.get_mut(at)) {
                Some(group) => group.push(space),
                None => groups.push(vec![space]),
            }
        }
        let mut groups: Vec<Vec<usize>> = groups
            .into_iter()
            .map(|group| group.into_iter().map(|(place, _)| *place).collect())
            .collect();
        groups.sort_by_key(|group| (std::cmp::Reverse(group.len()), group.first().copied()));
        Ok(Self { groups, differences })
    }

    /// The paths whose contents are right: all that were compared, or those that are more than half of them.
    pub fn right(&self) -> Option<&[usize]> {
        let all: usize = self.groups.iter().map(Vec::len).sum();
        let largest = self.groups.first()?;
        (largest.len() * 2 > all).then_some(largest.as_slice())
    }
}

/// What one path holds and another lacks.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Held {
    /// Number of raft entries; of a snapshot file, of revisions.
    pub entries: u64,
    /// Keys that they write or delete, in order; the first of them.
    pub keys: Vec<Vec<u8>>,
    /// How many keys.
    pub count: u64,
}

impl Held {
    fn of(entries: u64, keys: BTreeSet<Vec<u8>>) -> Self {
        let count = keys.len() as u64;
        Self { entries, keys: keys.into_iter().take(NAMED).collect(), count }
    }

    /// What the entries of a log from index `from` to `to` write. A deleted range is named by its first key.
    pub fn in_log(log: &Log<'_>, from: u64, to: u64) -> Self {
        let mut keys = BTreeSet::new();
        let mut entries = BTreeSet::new();
        let Ok(behind) = log.entries_behind(from.saturating_sub(1)) else { return Self::default() };
        for logged in behind.iter().filter(|logged| logged.entry.index <= to) {
            let entry = &logged.entry;
            entries.insert(entry.index);
            if let Decoded::Request(request) =
                Decoded::new(entry.r#type.unwrap_or_default(), entry.data)
            {
                written(&request, &mut keys);
            }
        }
        Self::of(entries.len() as u64, keys)
    }

    /// What the changes behind `revision` write.
    ///
    /// # Errors
    /// When a page or record is damaged.
    pub fn behind(space: &KeySpace<'_>, revision: i64) -> Result<Self, Error> {
        let start = Revision { main: revision.max(0).saturating_add(1), sub: 0 }.encode();
        let (mut keys, mut mains) = (BTreeSet::new(), BTreeSet::new());
        for item in space.bucket().map(Bucket::items).into_iter().flatten() {
            let item = item?;
            if item.key < start.as_slice() {
                continue;
            }
            let record = Record::decode(&item)?;
            mains.insert(record.key.revision.main);
            keys.insert(record.kv.key.to_vec());
        }
        Ok(Self::of(mains.len() as u64, keys))
    }
}

fn written(request: &InternalRaftRequest, keys: &mut BTreeSet<Vec<u8>>) {
    if let Some(put) = &request.put {
        keys.insert(put.key.clone());
    }
    if let Some(delete) = &request.delete_range {
        keys.insert(delete.key.clone());
    }
    if let Some(txn) = &request.txn {
        in_txn(txn, keys);
    }
}

fn in_txn(txn: &TxnRequest, keys: &mut BTreeSet<Vec<u8>>) {
    for (_, _, own) in txn.iter() {
        for operation in own.ops() {
            match &operation.request {
                Some(Request::Put(put)) => {
                    keys.insert(put.key.clone());
                }
                Some(Request::DeleteRange(delete)) => {
                    keys.insert(delete.key.clone());
                }
                // Nested ones come by themselves.
                Some(Request::Range(_) | Request::Txn(_)) | None => {}
            }
        }
    }
}
