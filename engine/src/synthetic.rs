//! Databases made up from a seed, with the sizes and histories of a Kubernetes cluster's: what is measured on when no
//! real one is at hand. The same words give the same bytes everywhere.
//!
//! Every key is put once; then one in five is rewritten over and over, the others now and then, and one in five of all
//! comes and goes, as events do. History is compacted at three fifths.

use std::io::{Seek, Write};

use prost::Message as _;

use crate::{
    bolt::{
        TxId,
        write::{BucketOptions, Options, Summary, WriteError, Writer},
    },
    pb::mvccpb::KeyValue,
    progress::Progress,
    schema::{RecordKey, Revision, bucket, meta},
};

/// What a made-up database holds.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Workload {
    /// Revisions, of which the first is 2; at most 2^32 − 2. Those in the file are fewer: history is compacted.
    pub revisions: u64,
    /// Distinct keys; at least 1.
    pub keys: u64,
    /// Least and greatest value, in bytes. Three in four are in the lower quarter.
    pub value_bytes: (u64, u64),
    /// Seed of everything random.
    pub seed: u64,
}

/// A change of a key.
struct Change {
    key: usize,
    deletes: bool,
    /// Seed of its value.
    random: u64,
}

/// What is known of a key on the way.
#[derive(Clone, Copy, Default)]
struct State {
    create: u32,
    /// 0 while the key does not exist.
    version: u32,
    /// Revision of its newest put at the compaction, 0 when it does not exist then.
    kept: u32,
}

/// splitmix64: enough for sizes and a spread of keys, and the same everywhere.
fn mixed(seed: u64) -> u64 {
    let mut z = seed.wrapping_add(0x9e37_79b9_7f4a_7c15);
    z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
    z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
    z ^ (z >> 31)
}

/// The name of key number `key`.
pub fn key_name(key: usize) -> Vec<u8> {
    const KINDS: [&str; 5] = ["leases", "pods", "configmaps", "secrets", "events"];
    let kind = KINDS.get(key % 5).copied().unwrap_or_default();
    format!("/registry/{kind}/namespace-{:03}/object-{key:08x}", key / 5 % 97).into_bytes()
}

impl Workload {
    /// A workload whose file has about `size_bytes`.
    pub fn of_size(size_bytes: u64, keys: Option<u64>, value_bytes: (u64, u64), seed: u64) -> Self {
        let (least, greatest) = value_bytes;
        // Three in four have an eighth of the range on average, the others half of it.
        let mean = least + greatest.saturating_sub(least) * 7 / 32;
        // With name, numbers and element; on pages that are nine tenths full, less what the last one of a page leaves.
        const FULL: u64 = 4096 * 9 / 10;
        let alone = mean + 105;
        let record = alone * 10 / 9 * (2 * FULL + alone) / (2 * FULL);
        let keys = keys.unwrap_or(size_bytes / record / 2).clamp(1, u64::from(u32::MAX) / 4);
        // About nine in ten keys exist at the compaction; what comes after it is all there.
        let after = (size_bytes / record).saturating_sub(keys * 9 / 10);
        let revisions = (after * 5 / 2).clamp(1, u64::from(u32::MAX) - 2);
        Self { revisions, keys, value_bytes, seed }
    }

    /// Revision of the last record.
    pub fn last_revision(&self) -> i64 {
        i64::try_from(self.revisions).unwrap_or(i64::MAX - 1) + 1
    }

    /// Revision up to which history is compacted.
    pub fn compact_revision(&self) -> i64 {
        i64::try_from(self.revisions / 5 * 3).unwrap_or_default() + 1
    }

    fn change(&self, revision: u32, states: &[State]) -> Change {
        let random = mixed(self.seed ^ u64::from(revision).wrapping_mul(0xd134_2543_de82_ef95));
        let keys = self.keys.max(1);
        let first = u64::from(revision) - 2;
        let chosen = match () {
            () if first < keys => first,
            // Keys whose number is a multiple of five are the ones that are written all the time.
            () if random % 100 < 60 => mixed(random) % keys.div_ceil(5) * 5 % keys,
            () => mixed(random) % keys,
        };
        let key = usize::try_from(chosen).unwrap_or_default();
        let exists = states.get(key).is_some_and(|state| state.version > 0);
        let deletes = exists && key % 5 == 4 && !random.is_multiple_of(10);
        Change { key, deletes, random }
    }

    fn value(&self, random: u64) -> Vec<u8> {
        let (least, greatest) = self.value_bytes;
        let range = greatest.saturating_sub(least) + 1;
        let range = if random >> 32 & 7 < 6 { range.div_ceil(4) } else { range };
        let len = least + mixed(random ^ 1) % range;
        let words = len.div_ceil(8);
        let mut value: Vec<u8> =
            (0..words).flat_map(|word| mixed(random.wrapping_add(word)).to_le_bytes()).collect();
        value.truncate(usize::try_from(len).unwrap_or(usize::MAX));
        value
    }

    /// Writes the database to `out`. 12 bytes of memory a key.
    ///
    /// # Errors
    /// When writing fails.
    pub fn write<W: Write + Seek>(
        &self,
        out: W,
        progress: &dyn Progress,
    ) -> Result<(W, Summary), WriteError> {
        let last = u32::try_from(self.last_revision()).unwrap_or(u32::MAX);
        let compacted = u32::try_from(self.compact_revision()).unwrap_or(u32::MAX);
        let keys = usize::try_from(self.keys.max(1)).unwrap_or(usize::MAX);
        let mut states = vec![State::default(); keys];
        for revision in 2..=compacted {
            self.apply(revision, &mut states, true);
        }
        // Once more from the beginning, now that it is known what the compaction keeps.
        states.iter_mut().for_each(|state| state.version = 0);
        let mut writer = Writer::new(out, Options::default())?;
        for bucket_name in bucket::ALL {
            let mut records = writer.bucket(bucket_name.as_bytes(), BucketOptions::default())?;
            if bucket_name == bucket::META {
                let mark = Revision { main: self.compact_revision(), sub: 0 }.encode();
                records.put(meta::FINISHED_COMPACT.as_bytes(), &mark)?;
                records.put(meta::SCHEDULED_COMPACT.as_bytes(), &mark)?;
                records.put(meta::STORAGE_VERSION.as_bytes(), b"3.6.0")?;
            }
            if bucket_name != bucket::KEY {
                continue;
            }
            progress.begin("make", u64::from(last));
            for revision in 2..=last {
                let change = self.apply(revision, &mut states, false);
                let Some(state) = states.get(change.key) else { continue };
                // As a server's compaction: live keys' newest records, and a deletion at the mark itself.
                let stays = revision > compacted
                    || (!change.deletes && state.kept == revision)
                    || (change.deletes && revision == compacted);
                if stays {
                    let at = RecordKey {
                        revision: Revision { main: i64::from(revision), sub: 0 },
                        tombstone: change.deletes,
                    };
                    records.put(&at.encode(), &self.record(revision, &change, state))?;
                }
                if revision % 4096 == 0 {
                    progress.advance(4096);
                }
            }
        }
        writer.finish()?.seal(TxId(u64::from(last)))
    }

    /// Applies the change of `revision`; `compacting` notes what a compaction there would keep.
    fn apply(&self, revision: u32, states: &mut [State], compacting: bool) -> Change {
        let change = self.change(revision, states);
        if let Some(state) = states.get_mut(change.key) {
            if change.deletes {
                state.version = 0;
            } else {
                if state.version == 0 {
                    state.create = revision;
                }
                state.version += 1;
            }
            if compacting {
                state.kept = if change.deletes { 0 } else { revision };
            }
        }
        change
    }

    fn record(&self, revision: u32, change: &Change, state: &State) -> Vec<u8> {
        if change.deletes {
            return KeyValue { key: key_name(change.key), ..KeyValue::default() }.encode_to_vec();
        }
        let record = KeyValue {
            key: key_name(change.key),
            create_revision: i64::from(state.create),
            mod_revision: i64::from(revision),
            version: i64::from(state.version),
            value: self.value(change.random),
            lease: 0,
        };
        record.encode_to_vec()
    }
}

#[cfg(test)]
mod tests {
    use std::io::Cursor;

    use super::*;
    use crate::{
        limits::Limits,
        progress::Silent,
        snapshot::{Image, status, verify},
    };

    #[test]
    fn what_is_made_up_is_sound_and_as_large_as_asked() {
        for (size, keys, value_bytes) in
            [(4 << 20, None, (100, 3000)), (1 << 20, Some(300), (0, 50)), (300_000, None, (10, 10))]
        {
            let workload = Workload::of_size(size, keys, value_bytes, 7);
            let (out, summary) = workload.write(Cursor::new(Vec::new()), &Silent).unwrap();
            let bytes = out.into_inner();
            let image = Image::split(&bytes);
            let verification = verify(&image, Limits::default(), &Silent).unwrap();
            assert!(verification.is_sound(), "{:?}", verification.findings);
            let (low, high) = (size * 8 / 10, size * 12 / 10);
            assert!((low..high).contains(&summary.size_bytes), "{summary:?} for {size}");
            let status = status(&image.db(Limits::default()).unwrap(), &Silent).unwrap();
            assert_eq!(status.revision, workload.last_revision());
            assert_eq!(status.compact_revision, workload.compact_revision());
            assert!(status.live_keys * 10 > workload.keys * 7, "{status:?}");
            assert!(status.live_keys < workload.keys, "some are deleted: {status:?}");
        }
    }

    #[test]
    fn the_same_words_give_the_same_bytes() {
        let made = |seed| {
            let workload = Workload::of_size(200_000, None, (10, 500), seed);
            workload.write(Cursor::new(Vec::new()), &Silent).unwrap().0.into_inner()
        };
        assert!(made(1) == made(1) && made(1) != made(2));
    }
}
