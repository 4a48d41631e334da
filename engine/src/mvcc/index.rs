//! Each key's first and latest record, built in parallel and joined in revision order.

use std::hash::BuildHasher;

use hashbrown::{DefaultHashBuilder, HashTable, hash_table::Entry};
use rayon::prelude::*;

use super::{Error, Record, Scan, runs};
use crate::{
    bolt::{
        Bucket, Error as BoltError, Item, PageId,
        bucket::Root,
        page::{Leaf, Node},
        walk::Subtree,
    },
    progress::Progress,
    schema::{RecordError, RecordKey},
};

/// Where a record stands: page and element in one word, so that an index of millions stays small.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct RecordRef(u64);

impl RecordRef {
    /// Elements of a page are fewer than 2^16.
    const INDEX_BITS: u32 = 16;
    /// The top bit says that the record is a deletion; pages of existing files need far fewer bits.
    const TOMBSTONE: u64 = 1 << 63;

    pub(super) fn new(item: &Item<'_>, tombstone: bool) -> Self {
        let mark = if tombstone { Self::TOMBSTONE } else { 0 };
        Self((item.page.0 << Self::INDEX_BITS | item.index as u64) | mark)
    }

    /// All of it in one word.
    pub(super) fn word(self) -> u64 {
        self.0
    }

    pub(super) fn from_word(word: u64) -> Self {
        Self(word)
    }

    fn is_tombstone(self) -> bool {
        self.0 & Self::TOMBSTONE != 0
    }

    pub(super) fn item<'a>(self, bucket: &Bucket<'a>) -> Result<Item<'a>, BoltError> {
        let index = (self.0 & ((1 << Self::INDEX_BITS) - 1)) as usize;
        let page = PageId((self.0 & !Self::TOMBSTONE) >> Self::INDEX_BITS);
        match bucket.root() {
            Root::Inline(leaf) => leaf.item(index),
            Root::Page(_) => leaf_at(bucket, page)?.item(index),
        }
    }
}

fn leaf_at<'a>(bucket: &Bucket<'a>, page: PageId) -> Result<Leaf<'a>, BoltError> {
    let page = bucket.db().page(page)?;
    match page.node()? {
        Node::Leaf(leaf) => Ok(leaf),
        Node::Branch(_) => {
            Err(BoltError::WrongKind { page: page.id, found: page.header.flags, expected: "leaf" })
        }
    }
}

#[derive(Clone, Copy)]
struct Slot<'a> {
    key: &'a [u8],
    first: RecordRef,
    last: RecordRef,
}

/// Each key's latest record at a revision.
pub struct KeyIndex<'a> {
    bucket: Option<Bucket<'a>>,
    hasher: DefaultHashBuilder,
    slots: HashTable<Slot<'a>>,
    live: u64,
}

impl std::fmt::Debug for KeyIndex<'_> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("KeyIndex")
            .field("keys", &self.slots.len())
            .field("live", &self.live)
            .finish()
    }
}

/// Sees every record while an index is built: a run of neighbouring records each, joined in order.
pub(super) trait Watch<'a>: Send {
    /// A record, in revision order.
    fn record(&mut self, item: &Item<'a>, record: &Record<'a>);
    /// Two records of one key, one after the other.
    fn pair(&mut self, previous: &Record<'a>, next: &Record<'a>);
    /// An element that is no record.
    fn undecodable(&mut self, item: &Item<'a>, error: RecordError) -> Result<(), Error>;
    /// The records seen by `next` stand right behind those seen by `self`.
    fn join(&mut self, next: Self);
}

/// Watches nothing; an undecodable record is an error.
struct Plain;

impl<'a> Watch<'a> for Plain {
    fn record(&mut self, _: &Item<'a>, _: &Record<'a>) {}
    fn pair(&mut self, _: &Record<'a>, _: &Record<'a>) {}
    fn undecodable(&mut self, item: &Item<'a>, error: RecordError) -> Result<(), Error> {
        Err(Error::Record { place: super::record::place(item), error })
    }
    fn join(&mut self, Plain: Plain) {}
}

impl<'a> KeyIndex<'a> {
    /// Indexes the records of `bucket`, whose page tree is sound, with a main revision of at most `at`; absent
    /// is empty.
    ///
    /// # Errors
    /// When a page or a record is damaged.
    pub fn build(
        bucket: Option<&Bucket<'a>>,
        at: i64,
        progress: &dyn Progress,
    ) -> Result<Self, Error> {
        Self::build_scanned(bucket, at, Scan::Parallel, progress)
    }

    /// As [`KeyIndex::build`], of a page tree that need not be sound when `scan` is [`Scan::InOrder`].
    ///
    /// # Errors
    /// When a page or a record is damaged.
    pub fn build_scanned(
        bucket: Option<&Bucket<'a>>,
        at: i64,
        scan: Scan,
        progress: &dyn Progress,
    ) -> Result<Self, Error> {
        Self::build_watched(bucket, at, scan, progress, || Plain).map(|(index, _)| index)
    }

    /// As [`KeyIndex::build`], with a watch that sees every record and every succession.
    pub(super) fn build_watched<W: Watch<'a>>(
        bucket: Option<&Bucket<'a>>,
        at: i64,
        scan: Scan,
        progress: &dyn Progress,
        watch: impl Fn() -> W + Sync,
    ) -> Result<(Self, W), Error> {
        let hasher = DefaultHashBuilder::default();
        let empty = KeyIndex { bucket: bucket.copied(), hasher, slots: HashTable::new(), live: 0 };
        let Some(bucket) = bucket else { return Ok((empty, watch())) };
        let scans: Vec<Result<Run<'a, W>, Error>> = runs(bucket, scan)
            .into_par_iter()
            .map(|run| {
                Run {
                    bucket: *bucket,
                    hasher: empty.hasher,
                    slots: HashTable::new(),
                    watch: watch(),
                }
                .over(&run, at, progress)
            })
            .collect();
        // Gathered here and not by rayon, which would return any of several errors.
        let mut scans = scans.into_iter().collect::<Result<Vec<_>, Error>>()?.into_iter();
        let Some(mut joined) = scans.next() else { return Ok((empty, watch())) };
        for next in scans {
            joined.join(next)?;
        }
        let live = joined.slots.iter().filter(|slot| !slot.last.is_tombstone()).count() as u64;
        let index =
            KeyIndex { bucket: Some(*bucket), hasher: joined.hasher, slots: joined.slots, live };
        Ok((index, joined.watch))
    }

    /// Number of keys that exist.
    pub fn live_keys(&self) -> u64 {
        self.live
    }

    /// Number of keys with a record, deleted ones included.
    pub fn keys(&self) -> u64 {
        self.slots.len() as u64
    }

    /// Whether `item`, which holds `record`, is the latest record of a key that exists.
    pub(super) fn is_live(&self, item: &Item<'_>, record: &Record<'_>) -> bool {
        let hash = self.hasher.hash_one(record.kv.key);
        let slot = self.slots.find(hash, |slot| slot.key == record.kv.key);
        slot.is_some_and(|slot| slot.last == RecordRef::new(item, false))
    }

    /// The latest record of `key`; `None` when the key does not exist.
    ///
    /// # Errors
    /// When a page or a record is damaged.
    pub fn get(&self, key: &[u8]) -> Result<Option<Record<'a>>, Error> {
        let Some(bucket) = &self.bucket else { return Ok(None) };
        let slot = self.slots.find(self.hasher.hash_one(key), |slot| slot.key == key);
        match slot {
            Some(slot) if !slot.last.is_tombstone() => {
                Record::decode(&slot.last.item(bucket)?).map(Some)
            }
            _ => Ok(None),
        }
    }

    /// Every key that exists, in key order. 16 bytes a key: the keys themselves stay in the file.
    pub fn sorted_keys(&self) -> Vec<&'a [u8]> {
        let live = self.slots.iter().filter(|slot| !slot.last.is_tombstone());
        let mut keys: Vec<&'a [u8]> = live.map(|slot| slot.key).collect();
        keys.par_sort_unstable();
        keys
    }

    /// Calls `each` with the latest record of every key that exists, in no order.
    ///
    /// # Errors
    /// When a page or a record is damaged.
    pub fn for_each_live(&self, mut each: impl FnMut(&Record<'a>)) -> Result<(), Error> {
        self.for_each(|slot| (!slot.last.is_tombstone()).then_some(slot.last), &mut each)
    }

    /// Calls `each` with the first record of every key, in no order.
    pub(super) fn for_each_first(&self, mut each: impl FnMut(&Record<'a>)) -> Result<(), Error> {
        self.for_each(|slot| Some(slot.first), &mut each)
    }

    fn for_each(
        &self,
        pick: impl Fn(&Slot<'a>) -> Option<RecordRef>,
        each: &mut dyn FnMut(&Record<'a>),
    ) -> Result<(), Error> {
        let Some(bucket) = &self.bucket else { return Ok(()) };
        for record in self.slots.iter().filter_map(pick) {
            each(&Record::decode(&record.item(bucket)?)?);
        }
        Ok(())
    }
}

/// The records of one run of subtrees.
struct Run<'a, W> {
    bucket: Bucket<'a>,
    hasher: DefaultHashBuilder,
    slots: HashTable<Slot<'a>>,
    watch: W,
}

impl<'a, W: Watch<'a>> Run<'a, W> {
    fn over(
        mut self,
        run: &[Subtree<'a>],
        at: i64,
        progress: &dyn Progress,
    ) -> Result<Self, Error> {
        for leaf in run.iter().flat_map(Subtree::leaves) {
            let leaf = leaf?;
            if progress.interrupted() {
                return Err(BoltError::Interrupted.into());
            }
            for item in leaf.items() {
                let item = item?;
                // By its key, before the value is decoded. Not the end of the run: in a damaged tree
                // smaller revisions may follow.
                let beyond = |key: &RecordKey| key.revision.main > at;
                if !item.is_bucket() && RecordKey::parse(item.key).as_ref().is_ok_and(beyond) {
                    continue;
                }
                match Record::parse(&item) {
                    Ok(record) => self.add(&item, &record)?,
                    Err(error) => self.watch.undecodable(&item, error)?,
                }
            }
            progress.advance(leaf.len_bytes());
        }
        Ok(self)
    }

    fn add(&mut self, item: &Item<'a>, record: &Record<'a>) -> Result<(), Error> {
        self.watch.record(item, record);
        let key = record.kv.key;
        let place = RecordRef::new(item, record.key.tombstone);
        let hasher = &self.hasher;
        let hash = hasher.hash_one(key);
        match self.slots.entry(hash, |slot| slot.key == key, |slot| hasher.hash_one(slot.key)) {
            Entry::Occupied(mut entry) => {
                let previous = Record::decode(&entry.get().last.item(&self.bucket)?)?;
                self.watch.pair(&previous, record);
                entry.get_mut().last = place;
            }
            Entry::Vacant(entry) => {
                entry.insert(Slot { key, first: place, last: place });
            }
        }
        Ok(())
    }

    fn join(&mut self, next: Run<'a, W>) -> Result<(), Error> {
        let hasher = &self.hasher;
        for slot in &next.slots {
            let hash = hasher.hash_one(slot.key);
            match self.slots.entry(hash, |own| own.key == slot.key, |own| hasher.hash_one(own.key))
            {
                Entry::Occupied(mut entry) => {
                    let previous = Record::decode(&entry.get().last.item(&self.bucket)?)?;
                    let following = Record::decode(&slot.first.item(&self.bucket)?)?;
                    self.watch.pair(&previous, &following);
                    entry.get_mut().last = slot.last;
                }
                Entry::Vacant(entry) => {
                    entry.insert(*slot);
                }
            }
        }
        self.watch.join(next.watch);
        Ok(())
    }
}
