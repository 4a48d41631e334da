//! The keys that exist, in as little memory as can be: what a replay works on.
//!
//! [`KeyIndex`](super::KeyIndex) is built in parallel and knows deleted keys and first records too; here a key takes
//! 12 bytes of a hash table, which refer to its record in the file, and the table is built in one pass.

use std::hash::BuildHasher;

use hashbrown::{DefaultHashBuilder, HashTable, hash_table::Entry};
use rayon::prelude::*;

use super::{Error, Record, index::RecordRef};
use crate::{
    bolt::{Bucket, Error as BoltError},
    progress::Progress,
};

/// A key's hash and where its latest record stands. Words of 32 bits, so that nothing is lost to alignment.
#[derive(Clone, Copy)]
struct Slot {
    hash: u32,
    place: [u32; 2],
}

impl Slot {
    fn new(hash: u32, place: RecordRef) -> Self {
        let word = place.word();
        Self { hash, place: [(word >> 32) as u32, word as u32] }
    }

    fn place(self) -> RecordRef {
        let [high, low] = self.place;
        RecordRef::from_word(u64::from(high) << 32 | u64::from(low))
    }
}

/// The keys that exist, each with its latest record.
pub struct LiveIndex<'a> {
    bucket: Option<Bucket<'a>>,
    hasher: DefaultHashBuilder,
    table: HashTable<Slot>,
}

impl std::fmt::Debug for LiveIndex<'_> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("LiveIndex").field("keys", &self.table.len()).finish()
    }
}

impl<'a> LiveIndex<'a> {
    /// Indexes the records of `bucket`, whose page tree is sound; absent is empty.
    ///
    /// # Errors
    /// When a page or a record is damaged.
    pub fn build(bucket: Option<&Bucket<'a>>, progress: &dyn Progress) -> Result<Self, Error> {
        let mut index = Self {
            bucket: bucket.copied(),
            hasher: DefaultHashBuilder::default(),
            table: HashTable::new(),
        };
        let Some(bucket) = bucket else { return Ok(index) };
        for leaf in bucket.subtrees(1).iter().flat_map(|part| part.leaves()) {
            let leaf = leaf?;
            if progress.interrupted() {
                return Err(BoltError::Interrupted.into());
            }
            for item in leaf.items() {
                let item = item?;
                let record = Record::decode(&item)?;
                index.add(&record, RecordRef::new(&item, record.key.tombstone));
            }
            progress.advance(leaf.len_bytes());
        }
        Ok(index)
    }

    fn add(&mut self, record: &Record<'a>, place: RecordRef) {
        let hash = self.hash(record.kv.key);
        let bucket = self.bucket;
        let same = |slot: &Slot| slot.hash == hash && is_key(bucket, *slot, record.kv.key);
        match self.table.entry(spread(hash), same, |slot| spread(slot.hash)) {
            Entry::Occupied(entry) if record.key.tombstone => {
                entry.remove();
            }
            Entry::Occupied(mut entry) => *entry.get_mut() = Slot::new(hash, place),
            Entry::Vacant(entry) if !record.key.tombstone => {
                entry.insert(Slot::new(hash, place));
            }
            Entry::Vacant(_) => {}
        }
    }

    fn hash(&self, key: &[u8]) -> u32 {
        (self.hasher.hash_one(key) >> 32) as u32
    }

    /// The latest record of `key`; `None` when it does not exist.
    ///
    /// # Errors
    /// When a page or a record is damaged.
    pub fn get(&self, key: &[u8]) -> Result<Option<Record<'a>>, Error> {
        let (hash, Some(bucket)) = (self.hash(key), &self.bucket) else { return Ok(None) };
        let same = |slot: &Slot| slot.hash == hash && is_key(self.bucket, *slot, key);
        let slot = self.table.find(spread(hash), same);
        slot.map(|slot| Record::decode(&slot.place().item(bucket)?)).transpose()
    }

    /// Every key, in key order. 16 bytes a key: the keys themselves stay in the file.
    ///
    /// # Errors
    /// When a page or a record is damaged.
    pub fn sorted_keys(&self) -> Result<Vec<&'a [u8]>, Error> {
        let mut keys = Vec::with_capacity(self.table.len());
        self.for_each(|record| keys.push(record.kv.key))?;
        keys.par_sort_unstable();
        Ok(keys)
    }

    /// Calls `each` with the latest record of every key, in no order.
    ///
    /// # Errors
    /// When a page or a record is damaged.
    pub fn for_each(&self, mut each: impl FnMut(&Record<'a>)) -> Result<(), Error> {
        let Some(bucket) = &self.bucket else { return Ok(()) };
        for slot in &self.table {
            each(&Record::decode(&slot.place().item(bucket)?)?);
        }
        Ok(())
    }
}

/// A table takes its place from the low bits of a hash and its tag from the high ones.
fn spread(hash: u32) -> u64 {
    u64::from(hash).wrapping_mul(0x9e37_79b9_7f4a_7c15)
}

/// Whether the record of `slot` is of `key`. Pages were read once already when a slot was made of them.
fn is_key(bucket: Option<Bucket<'_>>, slot: Slot, key: &[u8]) -> bool {
    let Some(bucket) = bucket else { return false };
    let item = slot.place().item(&bucket);
    item.is_ok_and(|item| Record::decode(&item).is_ok_and(|record| record.kv.key == key))
}
