//! Every succession of records seen in bounded memory: what an index would hold waits in a file.
//!
//! The slots of each shard are put behind one another in the file, then one shard after the other gets its table. A
//! shard with many keys is gone through several times, each time for some of them.

use std::{fs::File, io, os::unix::fs::FileExt as _};

use hashbrown::HashTable;
use rayon::prelude::*;

use super::{Part, Prints, SHARDS, Slot, Watch, cut, take};
use crate::{
    bolt::Bucket,
    mvcc::{Error, Record, Scan},
    progress::Progress,
};

/// Bytes of a slot in the file.
const SLOT: usize = 28;
/// Slots of a shard that are gathered before they are written.
const GATHERED: usize = 2048;
/// Slots that go into the tables of all threads together: 25 MB of them.
pub(in crate::mvcc) const AT_ONCE: usize = 1 << 19;

/// What a slot keeps, as it is put into the file.
pub(in crate::mvcc) trait Words: Copy + Default + Send + Sync {
    /// As two words.
    fn words(self) -> [u32; 2];
    /// Of two words.
    fn of_words(words: [u32; 2]) -> Self;
}

/// Why it ended early.
pub(in crate::mvcc) enum Stopped {
    /// The key space could not be read.
    KeySpace(Error),
    /// The scratch file could not be written or read.
    Scratch,
}

impl From<Error> for Stopped {
    fn from(error: Error) -> Self {
        Self::KeySpace(error)
    }
}

impl From<io::Error> for Stopped {
    fn from(_: io::Error) -> Self {
        Self::Scratch
    }
}

/// Shows all records and successions of `bucket` to watches, as a watched index does, and to `leased` the newest record of
/// each key that exists and hangs on a lease. `at_once` slots are in tables at a time. Gives the number of keys that exist,
/// and the watches joined into one.
pub(in crate::mvcc) fn watch_spilled<'a, W>(
    bucket: &Bucket<'a>,
    scan: Scan,
    (scratch, at_once): (&File, usize),
    progress: &dyn Progress,
    watch: impl Fn() -> W + Sync,
    leased: impl Fn(&mut W, &Record<'a>) + Sync,
) -> Result<(u64, W), Stopped>
where
    W: Watch<'a, Link = ()>,
    W::Kept: Words,
{
    let prints = Prints::new();
    let mut watched = watch();
    let mut spill = Spill::new(scratch);
    let (parts, wave) = cut(bucket, scan);
    for wave in parts.chunks(wave) {
        let read: Vec<Result<Part<W, W::Kept>, Error>> = wave
            .par_iter()
            .map(|part| Part::read(part, prints, i64::MAX, watch(), progress))
            .collect();
        for part in read {
            let part = part?;
            watched.join(part.watch);
            spill.add(&part.slots)?;
        }
    }
    let runs = spill.finish()?;
    let at_once = (at_once / rayon::current_num_threads().max(1)).max(1);
    let shards: Vec<Result<(u64, W), Stopped>> = runs
        .par_iter()
        .map(|runs| {
            let (mut watch, mut live) = (watch(), 0);
            let slots: usize = runs.iter().map(|run| run.slots).sum();
            let rounds = u32::try_from(slots.div_ceil(at_once)).unwrap_or(u32::MAX);
            for round in 0..rounds {
                let mut table = HashTable::new();
                for run in runs {
                    let mut slots = run.read(scratch)?;
                    // Other bits of the fingerprint than those that chose the shard.
                    slots.retain(|slot| {
                        let [_, other, _] = slot.fingerprint;
                        other % rounds == round
                    });
                    take(bucket, &mut table, &mut watch, &slots, &())?;
                }
                for place in table.iter().map(Slot::place).filter(|place| !place.is_tombstone()) {
                    live += 1;
                    if place.is_leased() {
                        leased(&mut watch, &place.record(bucket)?);
                    }
                }
            }
            Ok((live, watch))
        })
        .collect();
    let mut live = 0;
    for shard in shards {
        let (of_shard, watch) = shard?;
        live += of_shard;
        watched.join(watch);
    }
    Ok((live, watched))
}

/// Slots of one shard that stand together in the file.
struct Run {
    offset: u64,
    slots: usize,
}

impl Run {
    fn read<K: Words>(&self, file: &File) -> io::Result<Vec<Slot<K>>> {
        let mut bytes = vec![0; self.slots * SLOT];
        file.read_exact_at(&mut bytes, self.offset)?;
        Ok(bytes.chunks_exact(SLOT).map(decode).collect())
    }
}

/// Slots on their way into the file.
struct Spill<'f> {
    file: &'f File,
    end: u64,
    gathered: Vec<Vec<u8>>,
    runs: Vec<Vec<Run>>,
}

impl<'f> Spill<'f> {
    fn new(file: &'f File) -> Self {
        let gathered = (0..SHARDS).map(|_| Vec::new()).collect();
        Self { file, end: 0, gathered, runs: (0..SHARDS).map(|_| Vec::new()).collect() }
    }

    fn add<K: Words>(&mut self, slots: &[Slot<K>]) -> io::Result<()> {
        for slot in slots {
            let shard = slot.shard();
            let Some(gathered) = self.gathered.get_mut(shard) else { continue };
            encode(slot, gathered);
            if gathered.len() >= GATHERED * SLOT {
                self.write(shard)?;
            }
        }
        Ok(())
    }

    fn write(&mut self, shard: usize) -> io::Result<()> {
        let (Some(gathered), Some(runs)) = (self.gathered.get_mut(shard), self.runs.get_mut(shard))
        else {
            return Ok(());
        };
        if gathered.is_empty() {
            return Ok(());
        }
        self.file.write_all_at(gathered, self.end)?;
        runs.push(Run { offset: self.end, slots: gathered.len() / SLOT });
        self.end += gathered.len() as u64;
        gathered.clear();
        Ok(())
    }

    /// Where each shard's slots are.
    fn finish(mut self) -> io::Result<Vec<Vec<Run>>> {
        (0..SHARDS).try_for_each(|shard| self.write(shard))?;
        Ok(self.runs)
    }
}

fn encode<K: Words>(slot: &Slot<K>, to: &mut Vec<u8>) {
    let ([a, b, c], [d, e], [f, g]) = (slot.fingerprint, slot.place, slot.kept.words());
    for word in [a, b, c, d, e, f, g] {
        to.extend(word.to_le_bytes());
    }
}

fn decode<K: Words>(bytes: &[u8]) -> Slot<K> {
    let mut words = bytes
        .chunks_exact(4)
        .map(|word| <[u8; 4]>::try_from(word).map(u32::from_le_bytes).unwrap_or_default());
    let mut next = || words.next().unwrap_or_default();
    let (fingerprint, place) = ([next(), next(), next()], [next(), next()]);
    Slot { fingerprint, place, kept: K::of_words([next(), next()]) }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
    struct Two([u32; 2]);

    impl Words for Two {
        fn words(self) -> [u32; 2] {
            self.0
        }
        fn of_words(words: [u32; 2]) -> Self {
            Self(words)
        }
    }

    #[test]
    fn slots_come_back_shard_by_shard_in_their_order() {
        let file = tempfile::tempfile().unwrap();
        let mut spill = Spill::new(&file);
        let slot = |n: u32| Slot {
            fingerprint: [n.wrapping_mul(2_654_435_761), n, !n],
            place: [n, n ^ 7],
            kept: Two([n + 1, n + 2]),
        };
        let all: Vec<Slot<Two>> = (0..300_000).map(slot).collect();
        all.chunks(777).for_each(|slots| spill.add(slots).unwrap());
        let runs = spill.finish().unwrap();
        let mut seen = 0;
        for (shard, runs) in runs.iter().enumerate() {
            let found = runs.iter().flat_map(|run| run.read::<Two>(&file).unwrap());
            let expected = all.iter().filter(|slot| slot.shard() == shard);
            for (found, expected) in found.zip(expected.clone()) {
                assert_eq!(found.fingerprint, expected.fingerprint);
                assert_eq!((found.place, found.kept), (expected.place, expected.kept));
                seen += 1;
            }
        }
        assert_eq!(seen, all.len());
    }
}
