//! What a database holds, whatever its pages look like: the hash that etcdutl calls a snapshot's.

use rayon::prelude::*;

use crate::{
    bolt::{self, Bucket, Db, Leaf, ReadError, walk::Subtree},
    crc32c::Crc32c,
    progress::Progress,
};

/// etcd's status hash and the number of pairs in all buckets. Nothing is left out of the hash.
///
/// # Errors
/// When a page is damaged, and when the caller stopped the operation.
pub fn status_hash(db: &Db<'_>, progress: &dyn Progress) -> Result<(u32, u64), ReadError> {
    let mut sum = Sum::default();
    for item in db.root().items() {
        let item = item?;
        if item.is_bucket() {
            sum.join(&bucket_sum(item.key, &Bucket::from_item(*db, &item)?, progress)?);
        }
    }
    Ok((sum.crc.value(), sum.entries))
}

/// What bucket `name` adds to the status hash.
pub(crate) fn bucket_sum(
    name: &[u8],
    bucket: &Bucket<'_>,
    progress: &dyn Progress,
) -> Result<Sum, ReadError> {
    let mut sum = Sum::default();
    sum.crc.update(name);
    let parts = bucket.subtrees(rayon::current_num_threads() * 64);
    let pieces: Vec<_> = parts.par_iter().map(|part| sum_of(part, progress)).collect();
    // Joined here and not by rayon, which would return any of several errors.
    for piece in pieces {
        sum.join(&piece?);
    }
    Ok(sum)
}

/// A status hash under way.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct Sum {
    /// Of names, keys and values.
    pub(crate) crc: Crc32c,
    /// Number of pairs.
    pub(crate) entries: u64,
}

impl Sum {
    /// Adds what stands right behind.
    pub(crate) fn join(&mut self, next: &Sum) {
        self.crc.join(&next.crc);
        self.entries += next.entries;
    }

    /// Adds a leaf's pairs.
    ///
    /// # Errors
    /// When an element is damaged.
    pub(crate) fn add_leaf(&mut self, leaf: &Leaf<'_>) -> Result<(), bolt::Error> {
        if let Some(run) = leaf.packed()? {
            self.crc.update(run);
        } else {
            for item in leaf.items() {
                let item = item?;
                self.crc.update(item.key);
                // bbolt hands out no value for a bucket within a bucket.
                if !item.is_bucket() {
                    self.crc.update(item.value);
                }
            }
        }
        self.entries += leaf.count() as u64;
        Ok(())
    }

    /// Adds a pair.
    pub(crate) fn add(&mut self, key: &[u8], value: &[u8]) {
        self.crc.update(key);
        self.crc.update(value);
        self.entries += 1;
    }
}

fn sum_of(part: &Subtree<'_>, progress: &dyn Progress) -> Result<Sum, ReadError> {
    let (mut sum, mut done) = (Sum::default(), 0);
    for leaf in part.leaves() {
        let leaf = leaf?;
        progress.go_on()?;
        sum.add_leaf(&leaf)?;
        done += leaf.len_bytes();
    }
    progress.advance(done);
    Ok(sum)
}
