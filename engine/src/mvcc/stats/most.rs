//! The keys with the largest values, and those written most.

use std::{cmp::Reverse, collections::BinaryHeap};

use rayon::prelude::*;

use super::{KeyUse, tally::Seen};
use crate::{
    bolt::Bucket,
    mvcc::{Error, KeyIndex, Record},
};

/// Both lists, the first the most.
pub(super) struct Found<'a> {
    pub largest: Vec<KeyUse<'a>>,
    pub rewritten: Vec<KeyUse<'a>>,
}

/// Finds so many of either.
pub(super) fn find<'a>(
    bucket: Option<&Bucket<'a>>,
    index: &KeyIndex<'a, Seen>,
    most: usize,
) -> Result<Found<'a>, Error> {
    let Some(bucket) = bucket.filter(|_| most > 0) else {
        return Ok(Found { largest: Vec::new(), rewritten: Vec::new() });
    };
    let list = |number: fn(&Seen) -> u32, rank: fn(&KeyUse<'_>) -> u64| {
        let least = least(index, most, number);
        let found: Vec<Result<Most<'a>, Error>> = index
            .shards()
            .map(|shard| {
                let mut found = Most::new(most);
                for (place, seen) in shard {
                    if !place.is_tombstone() && number(seen) >= least {
                        let key = KeyUse::of(&place.record(bucket)?);
                        found.push(Ranked { rank: (rank(&key), Reverse(key.mod_revision)), key });
                    }
                }
                Ok(found)
            })
            .collect();
        let mut all = Most::new(most);
        for found in found {
            all.join(found?);
        }
        Ok::<_, Error>(all.finish())
    };
    Ok(Found {
        largest: list(|seen| seen.value, |key| key.value_bytes)?,
        rewritten: list(|seen| seen.version, |key| u64::try_from(key.version).unwrap_or_default())?,
    })
}

/// The number that the last of the keys with the greatest ones has; 0 when there are fewer keys.
fn least(index: &KeyIndex<'_, Seen>, most: usize, number: fn(&Seen) -> u32) -> u32 {
    let greatest = |numbers: &mut dyn Iterator<Item = u32>| {
        let mut heap = BinaryHeap::new();
        for number in numbers {
            if heap.len() < most {
                heap.push(Reverse(number));
            } else if let Some(mut least) = heap.peek_mut()
                && least.0 < number
            {
                *least = Reverse(number);
            }
        }
        heap
    };
    let shards: Vec<BinaryHeap<Reverse<u32>>> = index
        .shards()
        .map(|shard| {
            let live = shard.filter(|(place, _)| !place.is_tombstone());
            greatest(&mut live.map(|(_, seen)| number(seen)))
        })
        .collect();
    let heap = greatest(&mut shards.into_iter().flatten().map(|Reverse(number)| number));
    if heap.len() < most { 0 } else { heap.peek().map_or(0, |least| least.0) }
}

impl<'a> KeyUse<'a> {
    fn of(record: &Record<'a>) -> Self {
        Self {
            key: record.kv.key,
            value_bytes: record.kv.value.len() as u64,
            version: record.kv.version,
            create_revision: record.kv.create_revision,
            mod_revision: record.kv.mod_revision,
        }
    }
}

/// The keys with the greatest numbers; of equal ones those written first.
struct Most<'a> {
    most: usize,
    heap: BinaryHeap<Reverse<Ranked<'a>>>,
}

struct Ranked<'a> {
    rank: (u64, Reverse<i64>),
    key: KeyUse<'a>,
}

impl PartialEq for Ranked<'_> {
    fn eq(&self, other: &Self) -> bool {
        self.cmp(other).is_eq()
    }
}

impl Eq for Ranked<'_> {}

impl PartialOrd for Ranked<'_> {
    fn partial_cmp(&self, other: &Self) -> Option<std::cmp::Ordering> {
        Some(self.cmp(other))
    }
}

impl Ord for Ranked<'_> {
    fn cmp(&self, other: &Self) -> std::cmp::Ordering {
        // Two keys may be written in one revision.
        (self.rank, other.key.key).cmp(&(other.rank, self.key.key))
    }
}

impl<'a> Most<'a> {
    fn new(most: usize) -> Self {
        Self { most, heap: BinaryHeap::new() }
    }

    fn push(&mut self, ranked: Ranked<'a>) {
        if self.heap.len() < self.most {
            self.heap.push(Reverse(ranked));
        } else if let Some(mut least) = self.heap.peek_mut()
            && least.0 < ranked
        {
            *least = Reverse(ranked);
        }
    }

    fn join(&mut self, other: Most<'a>) {
        other.heap.into_iter().for_each(|Reverse(ranked)| self.push(ranked));
    }

    fn finish(self) -> Vec<KeyUse<'a>> {
        self.heap.into_sorted_vec().into_iter().map(|Reverse(ranked)| ranked.key).collect()
    }
}
