//! A write transaction: all its changes have one main revision.

use prost::Message;

use super::{Change, Interval, KeyValues, Written};
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

    /// Puts a key.
    ///
    /// # Errors
    /// When a page or record of the db is damaged.
    pub fn put(&mut self, key: &[u8], value: &[u8], lease: i64) -> Result<(), Error> {
        let old = self.keys.get(key)?;
        let (create_revision, version) =
            old.map_or((self.main, 1), |old| (old.create_revision, old.version.saturating_add(1)));
        let record = KeyValue {
            key: key.to_vec(),
            create_revision,
            mod_revision: self.main,
            version,
            value: value.to_vec(),
            lease,
        };
        if lease != 0 {
            self.keys.attached.entry(lease).or_default().insert(key.to_vec());
        }
        let at = self.record(&record, false);
        self.keys.changed.insert(record.key, Change::Put(at));
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
            self.record(&KeyValue { key: key.clone(), ..KeyValue::default() }, true);
            self.keys.changed.insert(key, Change::Deleted);
        }
        Ok(deleted)
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
