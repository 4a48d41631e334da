//! The key space while entries are applied to it: what the db has, and what was written since.
//!
//! The db's keys stay where they are; only changes are held. A record that is written is kept once, as the
//! bytes that go into bucket `key`, and everything else refers to it.

mod interval;
mod write;

pub use interval::Interval;
pub use write::Write;

use std::{
    cell::OnceCell,
    collections::{BTreeMap, BTreeSet, HashMap},
};

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

/// What became of a key since the db was written.
#[derive(Clone, Copy, Debug)]
enum Change {
    /// It exists; its latest record is this one of those written.
    Put(usize),
    /// It was deleted.
    Deleted,
}

/// The key space: that of a db, and the changes since.
#[derive(Debug)]
pub struct KeyValues<'a> {
    index: KeyIndex<'a>,
    /// The db's keys in order. Only ranges need them.
    sorted: OnceCell<Vec<&'a [u8]>>,
    /// The db's keys that hang on a lease. Only revocations and checks of leases need them.
    leased: OnceCell<HashMap<i64, Vec<&'a [u8]>>>,
    changed: BTreeMap<Vec<u8>, Change>,
    /// Keys that were put with a lease since; they may have left it again.
    attached: HashMap<i64, BTreeSet<Vec<u8>>>,
    written: Vec<Written>,
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
            sorted: OnceCell::new(),
            leased: OnceCell::new(),
            changed: BTreeMap::new(),
            attached: HashMap::new(),
            written: Vec::new(),
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

    /// The records written, in revision order.
    pub fn into_written(self) -> Vec<Written> {
        self.written
    }

    /// The latest record of `key`; `None` when it does not exist.
    ///
    /// # Errors
    /// When a page or record of the db is damaged.
    pub fn get(&self, key: &[u8]) -> Result<Option<KeyValueRef<'_>>, Error> {
        match self.changed.get(key) {
            Some(Change::Deleted) => Ok(None),
            Some(Change::Put(at)) => self.at(*at).map(Some),
            None => Ok(self.index.get(key)?.map(|record| record.kv)),
        }
    }

    fn at(&self, at: usize) -> Result<KeyValueRef<'_>, Error> {
        // Out of range cannot be: `changed` refers to what was pushed, and nothing is taken away.
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
        let sorted = match self.sorted.get() {
            Some(sorted) => sorted,
            None => {
                let keys = self.index.sorted_keys()?;
                self.sorted.get_or_init(|| keys)
            }
        };
        let start = sorted.partition_point(|key| *key < interval.from());
        let old = sorted.get(start..).unwrap_or_default().iter();
        let old = old.take_while(|key| interval.contains(key));
        let mut keys: BTreeSet<Vec<u8>> =
            old.filter(|key| !self.changed.contains_key(**key)).map(|key| key.to_vec()).collect();
        let new = self.changed.range(interval.from().to_vec()..);
        let new = new.take_while(|(key, _)| interval.contains(key));
        keys.extend(
            new.filter(|(_, change)| matches!(change, Change::Put(_))).map(|(key, _)| key.clone()),
        );
        Ok(keys.into_iter().collect())
    }

    fn exists(&self, key: &[u8]) -> Result<bool, Error> {
        Ok(self.get(key)?.is_some())
    }

    /// The keys that hang on `lease`, in order.
    ///
    /// # Errors
    /// When a page or record of the db is damaged.
    pub fn keys_of_lease(&self, lease: i64) -> Result<Vec<Vec<u8>>, Error> {
        let mut keys: BTreeSet<Vec<u8>> = self.attached.get(&lease).cloned().unwrap_or_default();
        let leased = match self.leased.get() {
            Some(leased) => leased,
            None => {
                let found = self.find_leased()?;
                self.leased.get_or_init(|| found)
            }
        };
        keys.extend(leased.get(&lease).into_iter().flatten().map(|key| key.to_vec()));
        let mut still = Vec::with_capacity(keys.len());
        for key in keys {
            if self.get(&key)?.is_some_and(|kv| kv.lease == lease) {
                still.push(key);
            }
        }
        Ok(still)
    }

    fn find_leased(&self) -> Result<HashMap<i64, Vec<&'a [u8]>>, Error> {
        let mut leased: HashMap<i64, Vec<&'a [u8]>> = HashMap::new();
        self.index.for_each_leased(|record| {
            leased.entry(record.kv.lease).or_default().push(record.kv.key);
        })?;
        Ok(leased)
    }

    /// Begins a write transaction. It has a revision only if it changes something.
    pub fn write(&mut self) -> Write<'_, 'a> {
        Write::begin(self)
    }
}
