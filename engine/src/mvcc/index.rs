//! Each key's newest record, built in parallel in as little memory as can be.
//!
//! The bucket is read in waves of a few dozen megabytes. In each, leaves are decoded side by side into *slots*: a
//! fingerprint of the key and where its record stands. Slots are sorted by shard, a part of the fingerprint, and then
//! the shards take them in side by side, each in revision order. So nothing depends on the number of threads, and
//! memory is 20 bytes a key and what a hash table leaves empty; 28 where successions are watched.
//!
//! A fingerprint has 96 bits of a hash whose key is drawn anew for every index: of a thousand million keys two
//! share one with a probability below 2^−36, and nobody can make them. Who asks for a key is compared with the record.

mod spill;

pub(super) use spill::{AT_ONCE, Stopped, Words, watch_spilled};

use std::hash::{BuildHasher as _, RandomState};

use hashbrown::{HashTable, hash_table::Entry};
use rayon::prelude::*;
use siphasher::sip128::SipHasher13;

use super::{Error, Record, Scan};
use crate::{
    bolt::{
        Bucket, Error as BoltError, Item, PageId,
        bucket::Root,
        page::{Leaf, Node},
        walk::Subtree,
    },
    content::Sum,
    progress::Progress,
    schema::{RecordError, RecordKey},
};

/// Bytes of the file that are read in one wave, for each thread: bounds the slots that are under way.
const WAVE_BYTES: u64 = 16 << 20;
/// Bytes of the file in a part, the smallest piece of parallel work.
const PART_BYTES: u64 = 2 << 20;
/// Tables that the keys are spread over; a power of two.
const SHARDS: usize = 64;

/// Where a record stands: page and element in one word, so that an index of millions stays small.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct RecordRef(u64);

impl RecordRef {
    /// Elements of a page are fewer than 2^16.
    const INDEX_BITS: u32 = 16;
    /// The top bits say what the record is; pages of existing files need far fewer bits.
    const TOMBSTONE: u64 = 1 << 63;
    const LEASED: u64 = 1 << 62;
    const MARKS: u64 = Self::TOMBSTONE | Self::LEASED;

    fn new(item: &Item<'_>, record: &Record<'_>) -> Self {
        let tombstone = if record.key.tombstone { Self::TOMBSTONE } else { 0 };
        let leased = if record.kv.lease == 0 { 0 } else { Self::LEASED };
        Self((item.page.0 << Self::INDEX_BITS | item.index as u64) | tombstone | leased)
    }

    pub(super) fn is_tombstone(self) -> bool {
        self.0 & Self::TOMBSTONE != 0
    }

    fn is_leased(self) -> bool {
        self.0 & Self::LEASED != 0
    }

    pub(super) fn page(self) -> PageId {
        PageId((self.0 & !Self::MARKS) >> Self::INDEX_BITS)
    }

    /// Which element of its page it is.
    pub(super) fn index(self) -> usize {
        (self.0 & ((1 << Self::INDEX_BITS) - 1)) as usize
    }

    pub(super) fn record<'a>(self, bucket: &Bucket<'a>) -> Result<Record<'a>, Error> {
        let leaf = match bucket.root() {
            Root::Inline(leaf) => leaf,
            Root::Page(_) => leaf_at(bucket, self.page())?,
        };
        Record::decode(&leaf.item(self.index())?)
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

/// A key's fingerprint and where a record of it stands, with what a watch keeps of that record. Words of 32 bits, so
/// that nothing is lost to alignment.
#[derive(Clone, Copy, Default)]
struct Slot<K> {
    fingerprint: [u32; 3],
    place: [u32; 2],
    kept: K,
}

impl<K> Slot<K> {
    fn new(fingerprint: [u32; 3], RecordRef(place): RecordRef, kept: K) -> Self {
        Self { fingerprint, place: [(place >> 32) as u32, place as u32], kept }
    }

    fn place(&self) -> RecordRef {
        let [high, low] = self.place;
        RecordRef(u64::from(high) << 32 | u64::from(low))
    }

    fn shard(&self) -> usize {
        shard(self.fingerprint)
    }
}

fn shard([first, ..]: [u32; 3]) -> usize {
    first as usize % SHARDS
}

/// A table takes its place from the low bits of a hash and its tag from the high ones; the shard's bits say nothing.
fn spread([_, second, third]: [u32; 3]) -> u64 {
    u64::from(second) << 32 | u64::from(third)
}

/// Makes fingerprints, others in every index.
#[derive(Clone, Copy)]
struct Prints(SipHasher13);

impl Prints {
    fn new() -> Self {
        let random = RandomState::new();
        Self(SipHasher13::new_with_keys(random.hash_one(0), random.hash_one(1)))
    }

    fn of(self, key: &[u8]) -> [u32; 3] {
        let hash = self.0.hash(key);
        [hash.h1 as u32, (hash.h1 >> 32) as u32, hash.h2 as u32]
    }
}

/// Each key's newest record at a revision; `K` is what a watch kept of it.
pub struct KeyIndex<'a, K = ()> {
    bucket: Option<Bucket<'a>>,
    prints: Prints,
    shards: Vec<HashTable<Slot<K>>>,
    live: u64,
}

impl<K> std::fmt::Debug for KeyIndex<'_, K> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("KeyIndex").field("live", &self.live).finish()
    }
}

/// Sees every record while an index is built, and every succession of two records of one key.
///
/// There are many: one for each part of the bucket, which sees its records in order, and one for each shard, which
/// sees the successions of its keys. They are joined into one, first the parts in order, then the shards.
pub(super) trait Watch<'a>: Send {
    /// What is kept of a key's newest record.
    type Kept: Copy + Default + Send + Sync;
    /// What the joining of a part says about what it kept.
    type Link: Send + Sync;
    /// Whether successions are of interest.
    const SUCCESSIONS: bool;
    /// What to keep of `record`, which `item` holds.
    fn keep(&mut self, item: &Item<'a>, record: &Record<'a>) -> Self::Kept;
    /// What is kept of a key from its record `next` on, whose part was joined with `link`.
    fn follow(_previous: Option<Self::Kept>, next: Self::Kept, _link: &Self::Link) -> Self::Kept {
        next
    }
    /// Whether what was kept shows that `next` follows `previous`, or is a key's first record, as it should. Where it
    /// does not, both records are read once more, and [`Watch::first`] or [`Watch::pair`] looks at them.
    fn settled(_previous: Option<Self::Kept>, _next: Self::Kept) -> bool {
        true
    }
    /// A leaf, before its records.
    fn leaf(&mut self, _: &Leaf<'a>) -> Result<(), Error> {
        Ok(())
    }
    /// An element beyond the revision that is asked for.
    fn beyond(&mut self, _: &Item<'a>) -> Result<(), Error> {
        Ok(())
    }
    /// A record, in revision order.
    fn record(&mut self, _: &Record<'a>) {}
    /// The first record of a key.
    fn first(&mut self, _: &Record<'a>) {}
    /// Two records of one key, one after the other.
    fn pair(&mut self, _previous: &Record<'a>, _next: &Record<'a>) {}
    /// An element that is no record; who does not say otherwise does not go on after one.
    fn undecodable(&mut self, item: &Item<'a>, error: RecordError) -> Result<(), Error> {
        Err(Error::Record { place: super::record::place(item), error })
    }
    /// The records seen by `next` stand right behind those seen by `self`.
    fn join(&mut self, next: Self) -> Self::Link;
}

/// Watches nothing.
struct Plain;

/// Sums up what the status hash covers of a bucket.
struct Summing(Sum);

impl<'a> Watch<'a> for Summing {
    type Kept = ();
    type Link = ();
    const SUCCESSIONS: bool = false;
    fn keep(&mut self, _: &Item<'a>, _: &Record<'a>) {}
    fn leaf(&mut self, leaf: &Leaf<'a>) -> Result<(), Error> {
        Ok(self.0.add_leaf(leaf)?)
    }
    fn join(&mut self, next: Self) {
        self.0.join(&next.0);
    }
}

impl<'a> Watch<'a> for Plain {
    type Kept = ();
    type Link = ();
    const SUCCESSIONS: bool = false;
    fn keep(&mut self, _: &Item<'a>, _: &Record<'a>) {}
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

    /// As [`KeyIndex::build`], with the fingerprints of `self`: see [`KeyIndex::missing_in`].
    ///
    /// # Errors
    /// When a page or a record is damaged.
    pub(super) fn build_alike(
        &self,
        bucket: Option<&Bucket<'a>>,
        at: i64,
        progress: &dyn Progress,
    ) -> Result<Self, Error> {
        Self::build_printed(bucket, at, Scan::Parallel, progress, || Plain, self.prints)
            .map(|(index, _)| index)
    }

    /// The newest record of every key that does not exist in `other`, which was built alike, in no order. Keys are told
    /// apart by their fingerprints.
    pub(super) fn missing_in<'s>(
        &'s self,
        other: &'s Self,
    ) -> impl ParallelIterator<Item = Result<Record<'a>, Error>> + 's {
        let shards = self.shards.par_iter().zip(&other.shards);
        let missing = shards.flat_map_iter(|(own, theirs)| {
            own.iter().filter(|slot| {
                let print = slot.fingerprint;
                theirs.find(spread(print), |known| known.fingerprint == print).is_none()
            })
        });
        missing.filter_map(|slot| {
            let bucket = self.bucket.as_ref()?;
            Some(slot.place().record(bucket))
        })
    }

    /// As [`KeyIndex::build`] of all records, and what the status hash covers of the bucket: both in one pass.
    ///
    /// # Errors
    /// When a page or a record is damaged.
    pub(crate) fn build_summed(
        bucket: &Bucket<'a>,
        progress: &dyn Progress,
    ) -> Result<(Self, Sum), Error> {
        let watch = || Summing(Sum::default());
        let (index, Summing(sum)) =
            Self::build_watched(Some(bucket), i64::MAX, Scan::Parallel, progress, watch)?;
        Ok((index, sum))
    }
}

impl<'a, K: Copy + Default + Send + Sync> KeyIndex<'a, K> {
    /// As [`KeyIndex::build_scanned`], with a watch that sees every record and every succession.
    pub(super) fn build_watched<W: Watch<'a, Kept = K>>(
        bucket: Option<&Bucket<'a>>,
        at: i64,
        scan: Scan,
        progress: &dyn Progress,
        watch: impl Fn() -> W + Sync,
    ) -> Result<(Self, W), Error> {
        Self::build_printed(bucket, at, scan, progress, watch, Prints::new())
    }

    fn build_printed<W: Watch<'a, Kept = K>>(
        bucket: Option<&Bucket<'a>>,
        at: i64,
        scan: Scan,
        progress: &dyn Progress,
        watch: impl Fn() -> W + Sync,
        prints: Prints,
    ) -> Result<(Self, W), Error> {
        let mut watched = watch();
        let mut shards: Vec<(HashTable<Slot<K>>, W)> =
            (0..SHARDS).map(|_| (HashTable::new(), watch())).collect();
        let (parts, wave) = bucket.map_or((Vec::new(), 1), |bucket| cut(bucket, scan));
        for wave in parts.chunks(wave) {
            let read: Vec<Result<Part<W, K>, Error>> = wave
                .par_iter()
                .map(|part| Part::read(part, prints, at, watch(), progress))
                .collect();
            // Gathered here and not by rayon, which would return any of several errors.
            let mut slots = Vec::with_capacity(read.len());
            for part in read {
                let part = part?;
                let link = watched.join(part.watch);
                slots.push((part.slots, part.ends, link));
            }
            let Some(bucket) = bucket else { continue };
            let taken: Vec<Result<(), Error>> = shards
                .par_iter_mut()
                .enumerate()
                .map(|(shard, (table, watch))| {
                    slots.iter().try_for_each(|(slots, ends, link)| {
                        let start = shard.checked_sub(1).and_then(|before| ends.get(before));
                        let range =
                            start.copied().unwrap_or(0)..ends.get(shard).copied().unwrap_or(0);
                        take(bucket, table, watch, slots.get(range).unwrap_or_default(), link)
                    })
                })
                .collect();
            taken.into_iter().collect::<Result<(), Error>>()?;
        }
        let mut tables = Vec::with_capacity(SHARDS);
        for (table, watch) in shards {
            watched.join(watch);
            tables.push(table);
        }
        let live = |table: &HashTable<Slot<K>>| {
            table.iter().filter(|slot| !slot.place().is_tombstone()).count() as u64
        };
        let live = tables.par_iter().map(live).sum();
        Ok((KeyIndex { bucket: bucket.copied(), prints, shards: tables, live }, watched))
    }

    /// Where each key's newest record stands and what was kept of it, shard by shard. With deletions, where successions
    /// were watched.
    pub(super) fn shards(
        &self,
    ) -> impl IndexedParallelIterator<Item = impl Iterator<Item = (RecordRef, &K)>> {
        self.shards.par_iter().map(|table| table.iter().map(|slot| (slot.place(), &slot.kept)))
    }

    /// Number of keys that exist.
    pub fn live_keys(&self) -> u64 {
        self.live
    }

    /// Whether `item`, which holds `record`, is the newest record of a key that exists.
    pub(super) fn is_live(&self, item: &Item<'_>, record: &Record<'_>) -> bool {
        self.slot(record.kv.key).is_some_and(|slot| {
            !record.key.tombstone && slot.place() == RecordRef::new(item, record)
        })
    }

    fn slot(&self, key: &[u8]) -> Option<&Slot<K>> {
        let print = self.prints.of(key);
        self.shards.get(shard(print))?.find(spread(print), |slot| slot.fingerprint == print)
    }

    /// The newest record of `key`; `None` when the key does not exist.
    ///
    /// # Errors
    /// When a page or a record is damaged.
    pub fn get(&self, key: &[u8]) -> Result<Option<Record<'a>>, Error> {
        let Some(bucket) = &self.bucket else { return Ok(None) };
        match self.slot(key) {
            Some(slot) if !slot.place().is_tombstone() => {
                let record = slot.place().record(bucket)?;
                Ok((record.kv.key == key).then_some(record))
            }
            _ => Ok(None),
        }
    }

    /// Every key that exists, in key order. 16 bytes a key: the keys themselves stay in the file.
    ///
    /// # Errors
    /// When a page or a record is damaged.
    pub fn sorted_keys(&self) -> Result<Vec<&'a [u8]>, Error> {
        let mut keys = Vec::with_capacity(usize::try_from(self.live).unwrap_or_default());
        self.for_each_live(|record| keys.push(record.kv.key))?;
        keys.par_sort_unstable();
        Ok(keys)
    }

    /// Calls `each` with the newest record of every key that exists, in no order.
    ///
    /// # Errors
    /// When a page or a record is damaged.
    pub fn for_each_live(&self, mut each: impl FnMut(&Record<'a>)) -> Result<(), Error> {
        self.for_each(|_| true, &mut each)
    }

    /// As [`KeyIndex::for_each_live`], of the keys that hang on a lease.
    ///
    /// # Errors
    /// When a page or a record is damaged.
    pub fn for_each_leased(&self, mut each: impl FnMut(&Record<'a>)) -> Result<(), Error> {
        self.for_each(RecordRef::is_leased, &mut each)
    }

    fn for_each(
        &self,
        wanted: impl Fn(RecordRef) -> bool,
        each: &mut dyn FnMut(&Record<'a>),
    ) -> Result<(), Error> {
        let Some(bucket) = &self.bucket else { return Ok(()) };
        let places = self.shards.iter().flatten().map(Slot::place);
        for place in places.filter(|place| !place.is_tombstone() && wanted(*place)) {
            each(&place.record(bucket)?);
        }
        Ok(())
    }
}

/// Cuts `bucket` into parts, in key order, and says how many make up a wave.
pub(super) fn cut<'a>(bucket: &Bucket<'a>, scan: Scan) -> (Vec<Subtree<'a>>, usize) {
    let threads = rayon::current_num_threads().max(1);
    match scan {
        Scan::InOrder => (bucket.subtrees(1), 1),
        Scan::Parallel => {
            let pieces =
                usize::try_from(bucket.db().bytes_in_file() / PART_BYTES).unwrap_or(usize::MAX);
            let parts = bucket.subtrees(pieces.clamp(threads * 4, 1 << 20));
            let waves = bucket.db().bytes_in_file() / (WAVE_BYTES * threads as u64) + 1;
            let wave = parts.len().div_ceil(usize::try_from(waves).unwrap_or(usize::MAX)).max(1);
            (parts, wave)
        }
    }
}

/// The records of a part.
struct Part<W, K> {
    /// Ordered by shard, and within one by revision.
    slots: Vec<Slot<K>>,
    /// Where each shard's slots end.
    ends: Vec<usize>,
    watch: W,
}

impl<W, K: Copy + Default> Part<W, K> {
    fn read<'a>(
        part: &Subtree<'a>,
        prints: Prints,
        at: i64,
        mut watch: W,
        progress: &dyn Progress,
    ) -> Result<Self, Error>
    where
        W: Watch<'a, Kept = K>,
    {
        let mut found = Vec::new();
        let mut done = 0;
        for leaf in part.leaves() {
            let leaf = leaf?;
            progress.go_on()?;
            leaf.prefetch();
            watch.leaf(&leaf)?;
            for item in leaf.items() {
                let item = item?;
                // By its key, before the value is decoded. Not the end of the part: in a damaged tree
                // smaller revisions may follow.
                let beyond = |key: &RecordKey| key.revision.main > at;
                if !item.is_bucket() && RecordKey::parse(item.key).as_ref().is_ok_and(beyond) {
                    watch.beyond(&item)?;
                    continue;
                }
                match Record::parse(&item) {
                    Ok(record) => {
                        watch.record(&record);
                        let place = RecordRef::new(&item, &record);
                        let kept = watch.keep(&item, &record);
                        found.push(Slot::new(prints.of(record.kv.key), place, kept));
                    }
                    Err(error) => watch.undecodable(&item, error)?,
                }
            }
            done += leaf.len_bytes();
        }
        // Once a part: it asks for the time, which costs more than a leaf's records.
        progress.advance(done);
        let (slots, ends) = by_shard(&found);
        Ok(Self { slots, ends, watch })
    }
}

/// Orders slots by shard, those of one shard staying in their order; and where each shard ends.
fn by_shard<K: Copy + Default>(found: &[Slot<K>]) -> (Vec<Slot<K>>, Vec<usize>) {
    let mut ends = vec![0; SHARDS];
    for slot in found {
        if let Some(count) = ends.get_mut(slot.shard()) {
            *count += 1;
        }
    }
    let mut next = Vec::with_capacity(SHARDS);
    let mut end = 0;
    for count in &mut ends {
        next.push(end);
        end += *count;
        *count = end;
    }
    let mut slots = vec![Slot::default(); found.len()];
    for slot in found {
        if let Some(at) = next.get_mut(slot.shard())
            && let Some(place) = slots.get_mut(*at)
        {
            *place = *slot;
            *at += 1;
        }
    }
    (slots, ends)
}

/// Takes `slots`, which are in revision order, into their shard's table.
fn take<'a, W: Watch<'a>>(
    bucket: &Bucket<'a>,
    table: &mut HashTable<Slot<W::Kept>>,
    watch: &mut W,
    slots: &[Slot<W::Kept>],
    link: &W::Link,
) -> Result<(), Error> {
    let record = |slot: &Slot<W::Kept>| slot.place().record(bucket);
    for slot in slots {
        let print = slot.fingerprint;
        let entry = table.entry(
            spread(print),
            |known| known.fingerprint == print,
            |known| spread(known.fingerprint),
        );
        match entry {
            Entry::Occupied(mut entry) => {
                if W::SUCCESSIONS {
                    if !W::settled(Some(entry.get().kept), slot.kept) {
                        watch.pair(&record(entry.get())?, &record(slot)?);
                    }
                } else if slot.place().is_tombstone() {
                    entry.remove();
                    continue;
                }
                let kept = W::follow(Some(entry.get().kept), slot.kept, link);
                *entry.get_mut() = Slot { kept, ..*slot };
            }
            Entry::Vacant(entry) => {
                if W::SUCCESSIONS {
                    if !W::settled(None, slot.kept) {
                        watch.first(&record(slot)?);
                    }
                } else if slot.place().is_tombstone() {
                    continue;
                }
                entry.insert(Slot { kept: W::follow(None, slot.kept, link), ..*slot });
            }
        }
    }
    Ok(())
}
