//! A write transaction: all its changes have one main revision.

use prost::Message;

use super::{
    Interval, KeyValues, Written,
    condition::{Bytes, Fields},
};
use crate::{
    mvcc::Error,
    pb::mvccpb::KeyValue,
    schema::{RecordKey, Revision},
};

/// A write transaction. Its changes are seen at once; dropping it ends it.
#[derive(Debug)]
pub struct Write<'k, 'a> {
    keys: &'k mut KeyValues<'a>,
    /// Revision of the changes.
    main: i64,
    /// Number of changes so far.
    sub: i64,
}

impl<'k, 'a> Write<'k, 'a> {
    pub(super) fn begin(keys: &'k mut KeyValues<'a>) -> Self {
        let main = keys.revision.saturating_add(1);
        Self { keys, main, sub: 0 }
    }

    /// The key space as it is now.
    pub fn view(&self) -> &KeyValues<'a> {
        self.keys
    }

    /// Notes that a value of `bytes` is about to be copied; gives the sum of all.
    pub(in crate::replay) fn copy(&mut self, bytes: usize) -> u64 {
        self.keys.copy(bytes)
    }

    /// Puts a key.
    ///
    /// # Errors
    /// When a page or record of the db is damaged.
    pub fn put(&mut self, key: &[u8], value: &[u8], lease: i64) -> Result<(), Error> {
        let old = self.keys.get(key)?;
        let (create_revision, version) =
            old.map_or((self.main, 1), |old| (old.create_revision, old.version.saturating_add(1)));
        let old_lease = old.map_or(0, |old| old.lease);
        let record = KeyValue {
            key: key.to_vec(),
            create_revision,
            mod_revision: self.main,
            version,
            value: value.to_vec(),
            lease,
        };
        self.changes(key, old_lease);
        if lease != 0
            && let Some(leased) = self.keys.leased.get_mut()
        {
            leased.entry(lease).or_default().attach(key);
        }
        if let Some(extremes) = self.keys.extremes.get_mut() {
            let numbers = [version, create_revision, self.main, lease];
            let own = Fields { numbers, value: Bytes::shared(value) };
            extremes.set(Bytes::shared(key), own);
        }
        let at = self.record(&record, false);
        self.keys.deleted.remove(key);
        self.keys.put.insert(record.key, at);
        Ok(())
    }

    /// Deletes the keys of `interval` in order; gives their number.
    ///
    /// # Errors
    /// When a page or record of the db is damaged.
    pub fn delete(&mut self, interval: Interval<'_>) -> Result<usize, Error> {
        let keys = self.keys.keys(interval)?;
        let deleted = keys.len();
        for key in keys {
            // Only those who list the keys of leases ask for the old one.
            let old_lease = match self.keys.leased.get() {
                Some(_) => self.keys.get(&key)?.map_or(0, |old| old.lease),
                None => 0,
            };
            self.changes(&key, old_lease);
            if let Some(extremes) = self.keys.extremes.get_mut() {
                extremes.remove(&key);
            }
            self.record(&KeyValue { key: key.clone(), ..KeyValue::default() }, true);
            self.keys.put.remove(&key);
            self.keys.deleted.insert(key);
        }
        Ok(deleted)
    }

    /// Notes that `key` is no longer what the db says, and leaves its lease.
    fn changes(&mut self, key: &[u8], old_lease: i64) {
        if let Some(unchanged) = self.keys.unchanged.get() {
            unchanged.strike(key);
        }
        if let Some(leased) = self.keys.leased.get_mut()
            && let Some(old) = leased.get_mut(&old_lease)
        {
            old.keys.remove(key);
        }
    }

    fn record(&mut self, record: &KeyValue, tombstone: bool) -> usize {
        let revision = Revision { main: self.main, sub: self.sub };
        self.sub += 1;
        self.keys.revision = self.main;
        self.keys.written.push(Written {
            key: RecordKey { revision, tombstone },
            value: record.encode_to_vec(),
        });
        self.keys.written.len() - 1
    }
}
