//! What etcd keeps in which bucket, from 3.4 to 3.7. Knows records, not the key space they make.
//!
//! [`Store`] is the front door: it finds etcd's buckets in a [`Db`]. The modules beside it decode one
//! kind of record each; a record that cannot be decoded is a [`Finding`], the others are still read.

pub mod auth;
mod error;
pub mod json;
pub mod members;
pub mod meta;
mod program;
pub mod revision;
pub mod servers;
pub mod small;

pub use error::{Error, RecordError};
pub use meta::{MetaRecords, compacted};
pub use program::{NotEtcd, Program, program};
pub use revision::{RecordKey, Revision};

use crate::{
    bolt::{self, Bucket, Db, Item, PageId},
    finding::{Finding, Place},
};

/// Names of etcd's buckets, in the byte order in which they stand in the file.
pub mod bucket {
    /// Alarms. Key: `AlarmMember` message; value empty.
    pub const ALARM: &str = "alarm";
    /// `authEnabled` and `authRevision`.
    pub const AUTH: &str = "auth";
    /// Role name → `authpb.Role`.
    pub const AUTH_ROLES: &str = "authRoles";
    /// User name → `authpb.User`.
    pub const AUTH_USERS: &str = "authUsers";
    /// `clusterVersion` and `downgrade`.
    pub const CLUSTER: &str = "cluster";
    /// Revision → `mvccpb.KeyValue`: the key space and its history.
    pub const KEY: &str = "key";
    /// Lease id → `leasepb.Lease`.
    pub const LEASE: &str = "lease";
    /// Member id → member JSON.
    pub const MEMBERS: &str = "members";
    /// Member id → `removed`.
    pub const MEMBERS_REMOVED: &str = "members_removed";
    /// Consistent index, term, conf state, versions, compaction marks.
    pub const META: &str = "meta";

    /// All ten, which exist after the first boot of a server.
    pub const ALL: [&str; 10] =
        [ALARM, AUTH, AUTH_ROLES, AUTH_USERS, CLUSTER, KEY, LEASE, MEMBERS, MEMBERS_REMOVED, META];
}

/// Keys of buckets `meta`, `cluster` and `auth`: what there is once, from 3.4 to 3.7.
pub const SETTINGS: [&str; 10] = [
    meta::CONSISTENT_INDEX,
    meta::TERM,
    meta::CONF_STATE,
    meta::STORAGE_VERSION,
    meta::SCHEDULED_COMPACT,
    meta::FINISHED_COMPACT,
    meta::CLUSTER_VERSION,
    meta::DOWNGRADE,
    auth::ENABLED,
    auth::REVISION,
];

/// An etcd database: a bbolt file with etcd's buckets.
#[derive(Clone, Copy, Debug)]
pub struct Store<'a> {
    db: Db<'a>,
}

/// The records of one bucket that could be decoded, and what was wrong with the others.
#[derive(Clone, Debug)]
pub struct Listed<T> {
    /// Decoded records in key order.
    pub records: Vec<T>,
    /// One finding for each record that could not be decoded.
    pub findings: Vec<Finding>,
}

impl<T> Default for Listed<T> {
    fn default() -> Self {
        Self { records: Vec::new(), findings: Vec::new() }
    }
}

impl<'a> Store<'a> {
    /// etcd's view of `db`.
    pub fn new(db: Db<'a>) -> Self {
        Self { db }
    }

    /// The bbolt file.
    pub fn db(&self) -> &Db<'a> {
        &self.db
    }

    /// Bucket `name`; `None` when the file has none.
    ///
    /// # Errors
    /// When a page on the way is damaged, or the bucket is not there and the root holds what is no bucket: then the
    /// root page is another bucket's, as in a copy made while a server wrote, and nobody knows what the file has.
    pub fn bucket(&self, name: &str) -> Result<Option<Bucket<'a>>, bolt::Error> {
        let root = self.db.root();
        let found = root.bucket(name.as_bytes())?;
        if found.is_none() {
            for item in root.items() {
                let item = item?;
                if !item.is_bucket() {
                    return Err(bolt::Error::PairAmongBuckets {
                        page: item.page,
                        index: item.index,
                    });
                }
            }
        }
        Ok(found)
    }

    /// The value of `key` in bucket `name`.
    ///
    /// # Errors
    /// When a page on the way is damaged.
    pub fn value(&self, name: &str, key: &str) -> Result<Option<&'a [u8]>, bolt::Error> {
        self.bucket(name)?.map_or(Ok(None), |bucket| bucket.get(key.as_bytes()))
    }

    /// The page that holds `place`: of a record or a revision, the leaf that it stands in. `None` for the file or a
    /// bucket as a whole, for what is not in the file, and where a page on the way is damaged.
    pub fn page_of(&self, place: &Place) -> Option<PageId> {
        let record = |name: &str, key: &[u8]| {
            let bucket = self.bucket(name).ok().flatten()?;
            Some(bucket.item(key).ok().flatten()?.page)
        };
        match place {
            Place::Record { bucket, key } if !key.is_empty() => record(bucket, key),
            Place::Revision { main, sub } => {
                let revision = Revision { main: *main, sub: *sub };
                [false, true].into_iter().find_map(|tombstone| {
                    record(bucket::KEY, &RecordKey { revision, tombstone }.encode())
                })
            }
            other => other.page(self.db.page_size()).map(PageId),
        }
    }

    /// Decodes every record of bucket `name`.
    ///
    /// # Errors
    /// When a page is damaged.
    pub fn list<T>(
        &self,
        name: &'static str,
        decode: impl Fn(&Item<'a>) -> Result<T, RecordError>,
    ) -> Result<Listed<T>, bolt::Error> {
        let mut listed = Listed::default();
        let Some(bucket) = self.bucket(name)? else { return Ok(listed) };
        for item in bucket.items() {
            let item = item?;
            let decoded = if item.is_bucket() { Err(RecordError::Bucket) } else { decode(&item) };
            match decoded {
                Ok(record) => listed.records.push(record),
                Err(error) => {
                    let place = Place::Record { bucket: name, key: item.key.to_vec() };
                    listed.findings.push(Finding::damage("undecodable", place, error.to_string()));
                }
            }
        }
        Ok(listed)
    }
}
