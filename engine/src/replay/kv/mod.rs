//! The key space while entries are applied to it: what the db has, and what was written since.
//!
//! The db's keys stay where they are; only changes are held. A record that is written is kept once, as the
//! bytes that go into bucket `key`, and everything else refers to it.

mod condition;
mod extremes;
mod interval;
mod sorted;
mod write;

pub use condition::Condition;
pub use interval::Interval;
pub use write::Write;

use std::{
    cell::{Cell, OnceCell, RefCell},
    collections::{BTreeMap, BTreeSet, HashMap, HashSet},
    ops::Bound,
};

use condition::{Bytes, Fields};
use extremes::Extremes;
use sorted::Sorted;

use crate::{
    mvcc::{Error, KeyIndex, KeySpace},
    pb::wire::KeyValueRef,
    progress::Progress,
    schema::{RecordError, RecordKey},
};

/// A record that bucket `key` gets.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Written {
    /// Its revision, and whether it is a deletion.
    pub key: RecordKey,
    /// The encoded `KeyValue`.
    pub value: Vec<u8>,
}

/// The keys attached to a lease.
#[derive(Clone, Debug, Default)]
pub struct LeaseKeys {
    /// In order.
    pub keys: BTreeSet<Vec<u8>>,
    /// Every key that was ever attached, in the order in which that happened; it may have left again.
    pub attached: Vec<Vec<u8>>,
}

impl LeaseKeys {
    fn attach(&mut self, key: &[u8]) {
        if self.keys.insert(key.to_vec()) {
            self.attached.push(key.to_vec());
        }
    }
}

/// By lease, those that have no keys any more included.
type Leased = HashMap<i64, LeaseKeys>;

/// The key space: that of a db, and the changes since.
#[derive(Debug)]
pub struct KeyValues<'a> {
    index: KeyIndex<'a>,
    /// The db's keys that have not changed, in order. Only ranges need them.
    unchanged: OnceCell<Sorted<'a>>,
    /// The keys attached to each lease. Only revocations and checks of leases need them.
    leased: OnceCell<Leased>,
    /// What answers conditions on ranges, once asking each key has cost too much.
    extremes: RefCell<Option<Extremes<'a>>>,
    /// Keys that were asked one by one.
    asked: Cell<u64>,
    /// Changed keys that exist, and which of those written is their latest record.
    put: BTreeMap<Vec<u8>, usize>,
    /// Keys that were deleted.
    deleted: HashSet<Vec<u8>>,
    written: Vec<Written>,
    /// Bytes of values that puts took from their keys: only these are not in the log.
    copied_bytes: u64,
    revision: i64,
    compact_revision: i64,
}

impl<'a> KeyValues<'a> {
    /// The key space as the db has it.
    ///
    /// # Errors
    /// When a page or record is damaged.
    pub fn open(space: &KeySpace<'a>, progress: &dyn Progress) -> Result<Self, Error> {
        Ok(Self {
            index: KeyIndex::build(space.bucket(), i64::MAX, progress)?,
            unchanged: OnceCell::new(),
            leased: OnceCell::new(),
            extremes: RefCell::new(None),
            asked: Cell::new(0),
            put: BTreeMap::new(),
            deleted: HashSet::new(),
            written: Vec::new(),
            copied_bytes: 0,
            revision: space.current_revision(),
            compact_revision: space.compact_revision(),
        })
    }

    /// The newest revision.
    pub fn revision(&self) -> i64 {
        self.revision
    }

    /// The compaction revision, −1 when never compacted.
    pub fn compact_revision(&self) -> i64 {
        self.compact_revision
    }

    /// Accepts a compaction: what it makes superfluous is deleted by the server that boots, which changes
    /// neither what is served nor HashKV. False when `revision` is compacted already or in the future.
    pub fn compact(&mut self, revision: i64) -> bool {
        let accepted = revision > self.compact_revision && revision <= self.revision;
        if accepted {
            self.compact_revision = revision;
        }
        accepted
    }

    /// Bytes of values that puts have taken from their keys, `more` of them now.
    pub(super) fn copy(&mut self, more: usize) -> u64 {
        self.copied_bytes = self.copied_bytes.saturating_add(more as u64);
        self.copied_bytes
    }

    /// The records written, in revision order.
    pub fn into_written(self) -> Vec<Written> {
        self.written
    }

    /// The latest record of `key`; `None` when it does not exist.
    ///
    /// # Errors
    /// When a page or record of the db is damaged.
    pub fn get(&self, key: &[u8]) -> Result<Option<KeyValueRef<'_>>, Error> {
        match self.put.get(key) {
            Some(at) => self.at(*at).map(Some),
            None if self.deleted.contains(key) => Ok(None),
            None => Ok(self.index.get(key)?.map(|record| record.kv)),
        }
    }

    fn is_changed(&self, key: &[u8]) -> bool {
        self.put.contains_key(key) || self.deleted.contains(key)
    }

    fn at(&self, at: usize) -> Result<KeyValueRef<'_>, Error> {
        // Out of range cannot be: `put` refers to what was pushed, and nothing is taken away.
        let Some(written) = self.written.get(at) else { return Ok(KeyValueRef::default()) };
        KeyValueRef::decode(&written.value).map_err(|error| Error::Record {
            place: crate::finding::Place::Revision {
                main: written.key.revision.main,
                sub: written.key.revision.sub,
            },
            error: RecordError::Message { message: "mvccpb.KeyValue", reason: error.to_string() },
        })
    }

    /// The keys of `interval` that exist, in order.
    ///
    /// # Errors
    /// When a page or record of the db is damaged.
    pub fn keys(&self, interval: Interval<'_>) -> Result<Vec<Vec<u8>>, Error> {
        if let Some(key) = interval.single() {
            return Ok(if self.exists(key)? { vec![key.to_vec()] } else { Vec::new() });
        }
        let mut keys: Vec<Vec<u8>> = Vec::new();
        let old = self.unchanged()?.from(interval.from());
        keys.extend(old.take_while(|key| interval.contains(key)).map(<[u8]>::to_vec));
        keys.extend(self.put_in(interval).map(|(key, _)| key.clone()));
        // Two rows in order, which the sort joins.
        keys.sort();
        Ok(keys)
    }

    /// The changed keys of `interval` that exist, in order.
    fn put_in(&self, interval: Interval<'_>) -> impl Iterator<Item = (&Vec<u8>, &usize)> {
        let from = (Bound::Included(interval.from()), Bound::Unbounded);
        let put = self.put.range::<[u8], _>(from);
        put.take_while(move |(key, _)| interval.contains(key))
    }

    fn unchanged(&self) -> Result<&Sorted<'a>, Error> {
        if let Some(unchanged) = self.unchanged.get() {
            return Ok(unchanged);
        }
        let unchanged = Sorted::new(self.index.sorted_keys()?);
        self.put.keys().chain(&self.deleted).for_each(|key| unchanged.strike(key));
        Ok(self.unchanged.get_or_init(|| unchanged))
    }

    fn exists(&self, key: &[u8]) -> Result<bool, Error> {
        Ok(self.get(key)?.is_some())
    }

    /// Whether `condition` holds for each key of `interval`; where there is none, whether it holds for nothing.
    ///
    /// # Errors
    /// When a page or record of the db is damaged.
    pub fn all(&self, interval: Interval<'_>, condition: &Condition<'_>) -> Result<bool, Error> {
        if let Some(key) = interval.single() {
            let found = self.get(key)?;
            return Ok(
                found.map_or_else(|| condition.holds_for_nothing(), |kv| condition.holds_for(&kv))
            );
        }
        // Asking each key some times over costs less than the tree that answers for all at once.
        let keys = self.index.live_keys().saturating_add(self.put.len() as u64);
        if self.extremes.borrow().is_none() && self.asked.get() > keys.saturating_mul(4) + 1000 {
            *self.extremes.borrow_mut() = Some(self.extremes()?);
        }
        let all = match &mut *self.extremes.borrow_mut() {
            Some(extremes) => extremes.all(interval, condition),
            None => self.ask_each(interval, condition)?,
        };
        Ok(all.unwrap_or_else(|| condition.holds_for_nothing()))
    }

    fn ask_each(
        &self,
        interval: Interval<'_>,
        condition: &Condition<'_>,
    ) -> Result<Option<bool>, Error> {
        let mut asked = 0;
        let mut holds = true;
        let old = self.unchanged()?.from(interval.from());
        for key in old.take_while(|key| interval.contains(key)) {
            asked += 1;
            holds = self.index.get(key)?.is_none_or(|record| condition.holds_for(&record.kv));
            if !holds {
                break;
            }
        }
        if holds {
            for (_, at) in self.put_in(interval) {
                asked += 1;
                holds = condition.holds_for(&self.at(*at)?);
                if !holds {
                    break;
                }
            }
        }
        self.asked.set(self.asked.get().saturating_add(asked));
        Ok((asked > 0).then_some(holds))
    }

    fn extremes(&self) -> Result<Extremes<'a>, Error> {
        let mut extremes = Extremes::default();
        self.index.for_each_live(|record| {
            if !self.is_changed(record.kv.key) {
                let own = Fields::new(&record.kv, Bytes::Db(record.kv.value));
                extremes.set(Bytes::Db(record.kv.key), own);
            }
        })?;
        for (key, at) in &self.put {
            let kv = self.at(*at)?;
            extremes.set(Bytes::shared(key), Fields::new(&kv, Bytes::shared(kv.value)));
        }
        Ok(extremes)
    }

    /// The keys attached to `lease`; `None` when there never was one.
    ///
    /// # Errors
    /// When a page or record of the db is damaged.
    pub fn keys_of_lease(&self, lease: i64) -> Result<Option<&LeaseKeys>, Error> {
        if let Some(leased) = self.leased.get() {
            return Ok(leased.get(&lease));
        }
        let mut leased = Leased::new();
        self.index.for_each_leased(|record| {
            if !self.is_changed(record.kv.key) {
                leased.entry(record.kv.lease).or_default().attach(record.kv.key);
            }
        })?;
        for (key, at) in &self.put {
            let lease = self.at(*at)?.lease;
            if lease != 0 {
                leased.entry(lease).or_default().attach(key);
            }
        }
        Ok(self.leased.get_or_init(|| leased).get(&lease))
    }

    /// Begins a write transaction. It has a revision only if it changes something.
    pub fn write(&mut self) -> Write<'_, 'a> {
        Write::begin(self)
    }
}
