//! The numbers that `etcdutl snapshot status` prints.

use super::Error;
use crate::{
    bolt::{Bucket, Db},
    content::{Sum, bucket_sum},
    mvcc::{KeyIndex, KeySpace},
    progress::Progress,
    schema::{MetaRecords, Store, bucket},
};

/// What a database holds, in etcd's numbers.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Status {
    /// CRC-32C over the names and contents of all buckets.
    pub hash: u32,
    /// Main revision of the last record; 0 when there is none.
    pub revision: i64,
    /// Keys that exist: what 3.6 and 3.7 call the total.
    pub live_keys: u64,
    /// Pairs in all buckets together: what 3.4 and 3.5 call the total.
    pub entries: u64,
    /// High water mark × page size, in bytes.
    pub size_bytes: u64,
    /// Storage version as text; empty when the file has none, as before 3.6.
    pub version: String,
    /// Revision up to which history is compacted; −1 when it never was.
    pub compact_revision: i64,
}

/// Computes the status of a database whose page tree is sound.
///
/// # Errors
/// When a page or record is damaged all the same.
pub fn status(db: &Db<'_>, progress: &dyn Progress) -> Result<Status, Error> {
    let store = Store::new(*db);
    let space = KeySpace::open(&store)?;
    let (meta, _) = MetaRecords::read(&store)?;
    progress.begin("status", db.bytes_in_file());
    let (mut sum, mut live_keys) = (Sum::default(), 0);
    for item in db.root().items() {
        let item = item?;
        if !item.is_bucket() {
            continue;
        }
        let bucket = Bucket::from_item(*db, &item)?;
        if item.key == bucket::KEY.as_bytes() {
            sum.crc.update(item.key);
            let (index, of_keys) = KeyIndex::build_summed(&bucket, progress)?;
            sum.join(&of_keys);
            live_keys = index.live_keys();
        } else {
            sum.join(&bucket_sum(item.key, &bucket, progress)?);
        }
    }
    Ok(Status {
        hash: sum.crc.value(),
        revision: space.last_record(),
        live_keys,
        entries: sum.entries,
        size_bytes: db.size_bytes(),
        version: meta.storage_version.unwrap_or_default(),
        compact_revision: space.compact_revision(),
    })
}
