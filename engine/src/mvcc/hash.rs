//! HashKV as etcd computes it, in parallel.

use rayon::prelude::*;

use super::{Error, KeyIndex, KeySpace, Record};
use crate::{
    bolt::{Bucket, Item, walk::Subtree},
    crc32c::Crc32c,
    progress::Progress,
    schema::bucket,
};

/// The answer of `endpoint hashkv` and `etcdutl hashkv`. Two members agree only at equal revisions.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct HashKv {
    /// CRC-32C of the records.
    pub hash: u32,
    /// The revision it was computed at.
    pub revision: i64,
    /// The compaction revision, −1 when never compacted.
    pub compact_revision: i64,
}

/// HashKV at `revision`, or at the latest one when it is `None` or 0.
///
/// Source: `kvHasher` of etcd 3.5.16 and later; earlier patch levels differ only when no key is live.
///
/// # Errors
/// When the revision is compacted or in the future, or a page or record is damaged.
pub fn hash_kv(
    space: &KeySpace<'_>,
    revision: Option<i64>,
    progress: &dyn Progress,
) -> Result<HashKv, Error> {
    let (revision, compact_revision) = (space.readable(revision)?, space.compact_revision());
    let mut crc = Crc32c::new();
    crc.update(bucket::KEY.as_bytes());
    if let Some(bucket) = space.bucket() {
        progress.begin("hashkv", bucket.db().bytes_in_file());
        let index = KeyIndex::build(Some(bucket), revision, progress)?;
        let selection = Selection { bucket: *bucket, index, revision, compact_revision };
        let parts = bucket.subtrees(rayon::current_num_threads() * 64);
        let pieces: Vec<_> = parts.par_iter().map(|part| selection.crc(part, progress)).collect();
        // Joined here and not by rayon, which would return any of several errors.
        for piece in pieces {
            crc.join(&piece?);
        }
    }
    Ok(HashKv { hash: crc.value(), revision, compact_revision })
}

/// Which records count.
struct Selection<'a> {
    bucket: Bucket<'a>,
    index: KeyIndex<'a>,
    revision: i64,
    compact_revision: i64,
}

impl<'a> Selection<'a> {
    fn crc(&self, part: &Subtree<'a>, progress: &dyn Progress) -> Result<Crc32c, Error> {
        let mut run = Run { file: self.bucket.db().bytes(), crc: Crc32c::new(), pending: 0..0 };
        for leaf in part.leaves() {
            progress.go_on()?;
            for item in leaf?.items() {
                let item = item?;
                if self.counts(&item)? {
                    run.add(self.bucket.db().offset_of(item.key), &item);
                }
            }
        }
        Ok(run.finish())
    }

    fn counts(&self, item: &Item<'a>) -> Result<bool, Error> {
        let key = Record::key_of(item)?;
        let main = key.revision.main;
        if main > self.revision {
            return Ok(false);
        }
        if main > self.compact_revision {
            return Ok(true);
        }
        // etcd skips what compaction would have removed only when anything is left at all.
        if self.index.live_keys() > 0
            && (key.tombstone || !self.index.is_live(item, &Record::decode(item)?))
        {
            return Ok(false);
        }
        Ok(!(key.tombstone && main == self.compact_revision))
    }
}

/// Key and value of neighbouring elements stand back to back: hashed as one run, not piece by piece.
struct Run<'a> {
    file: &'a [u8],
    crc: Crc32c,
    pending: std::ops::Range<usize>,
}

impl Run<'_> {
    fn add(&mut self, offset: Option<u64>, item: &Item<'_>) {
        let len = item.key.len() + item.value.len();
        match offset.and_then(|offset| usize::try_from(offset).ok()) {
            Some(start) if start == self.pending.end => self.pending.end += len,
            Some(start) => {
                self.flush();
                self.pending = start..start + len;
            }
            None => {
                self.flush();
                self.pending = 0..0;
                self.crc.update(item.key);
                self.crc.update(item.value);
            }
        }
    }

    fn flush(&mut self) {
        if let Some(bytes) = self.file.get(self.pending.clone()) {
            self.crc.update(bytes);
        }
    }

    fn finish(mut self) -> Crc32c {
        self.flush();
        self.crc
    }
}
