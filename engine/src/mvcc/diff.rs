//! Where two key spaces differ: of two files, or of two revisions of one.
//!
//! Both are indexed. What the second does not have shows in the indexes; its own newest records are read once more in
//! file order, in parallel, and held against those of the first. Neither keys nor values are held: memory is what two
//! indexes take and 24 bytes for each key that differs.

use rayon::prelude::*;

use super::{Error, KeyIndex, KeySpace, Record, Scan, index::cut, live::LiveElements};
use crate::{bolt::walk::Subtree, progress::Progress};

/// What became of a key.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Change {
    /// It is only in the second key space.
    Added,
    /// It is in both, with another value, lease, version or revision.
    Changed,
    /// It is only in the first key space.
    Removed,
}

/// A key that differs.
#[derive(Clone, Copy, Debug)]
pub struct Difference<'a> {
    /// The key.
    pub key: &'a [u8],
    /// What became of it.
    pub change: Change,
    /// Its record in the first key space.
    pub before: Option<Record<'a>>,
    /// Its record in the second key space.
    pub after: Option<Record<'a>>,
}

/// How many keys are what.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct DiffCounts {
    /// Keys of the second key space only.
    pub added: u64,
    /// Keys of both that differ.
    pub changed: u64,
    /// Keys of the first key space only.
    pub removed: u64,
    /// Keys of both that are equal in everything.
    pub equal: u64,
}

/// Where two key spaces differ.
#[derive(Debug)]
pub struct Diff<'a> {
    before: KeyIndex<'a>,
    after: KeyIndex<'a>,
    revisions: (i64, i64),
    counts: DiffCounts,
    keys: Vec<(&'a [u8], Change)>,
}

/// A key space at a revision; `None` for the newest.
#[derive(Clone, Copy, Debug)]
pub struct Side<'s, 'a> {
    /// The key space.
    pub space: &'s KeySpace<'a>,
    /// Which of its revisions.
    pub revision: Option<i64>,
}

impl<'a> Diff<'a> {
    /// Compares the keys that begin with `prefix`. The page trees are sound.
    ///
    /// # Errors
    /// When a revision is compacted or in the future; when a page or a record is damaged.
    pub fn between(
        before: Side<'_, 'a>,
        after: Side<'_, 'a>,
        prefix: &[u8],
        progress: &dyn Progress,
    ) -> Result<Self, Error> {
        let first_at = before.space.readable(before.revision)?;
        let second_at = after.space.readable(after.revision)?;
        let size = |side: &Side<'_, 'a>| {
            side.space.bucket().map_or(0, |bucket| bucket.db().bytes_in_file())
        };
        progress.begin("index", size(&before).saturating_add(size(&after)));
        let first = KeyIndex::build(before.space.bucket(), first_at, progress)?;
        let second = first.build_alike(after.space.bucket(), second_at, progress)?;
        let mut found = Found::default();
        let missing = first.missing_in(&second).map(|record| Ok::<_, Error>(record?.kv.key));
        for key in missing.collect::<Result<Vec<&'a [u8]>, _>>()? {
            if key.starts_with(prefix) {
                found.note(key, Change::Removed);
            }
        }
        // Everything else shows in the second.
        found.join(read(&after, &second, progress, |record, found| {
            if !record.kv.key.starts_with(prefix) {
                return Ok(());
            }
            match first.get(record.kv.key)? {
                None => found.note(record.kv.key, Change::Added),
                Some(was) if is_same(&was, record) => found.counts.equal += 1,
                Some(_) => found.note(record.kv.key, Change::Changed),
            }
            Ok(())
        })?);
        found.keys.par_sort_unstable();
        let Found { counts, keys } = found;
        Ok(Self { before: first, after: second, revisions: (first_at, second_at), counts, keys })
    }

    /// How many keys are what.
    pub fn counts(&self) -> &DiffCounts {
        &self.counts
    }

    /// Whether nothing differs.
    pub fn is_empty(&self) -> bool {
        self.keys.is_empty()
    }

    /// The revisions that were compared.
    pub fn revisions(&self) -> (i64, i64) {
        self.revisions
    }

    /// The keys that differ, in key order.
    pub fn differences(&self) -> impl Iterator<Item = Result<Difference<'a>, Error>> + '_ {
        self.keys.iter().map(|(key, change)| {
            let before = if *change == Change::Added { None } else { self.before.get(key)? };
            let after = if *change == Change::Removed { None } else { self.after.get(key)? };
            Ok(Difference { key, change: *change, before, after })
        })
    }
}

#[derive(Default)]
struct Found<'a> {
    counts: DiffCounts,
    keys: Vec<(&'a [u8], Change)>,
}

impl<'a> Found<'a> {
    fn note(&mut self, key: &'a [u8], change: Change) {
        *match change {
            Change::Added => &mut self.counts.added,
            Change::Changed => &mut self.counts.changed,
            Change::Removed => &mut self.counts.removed,
        } += 1;
        self.keys.push((key, change));
    }

    fn join(&mut self, other: Found<'a>) {
        self.counts.added += other.counts.added;
        self.counts.changed += other.counts.changed;
        self.counts.removed += other.counts.removed;
        self.counts.equal += other.counts.equal;
        self.keys.extend(other.keys);
    }
}

/// Whether two records say the same. What is one and the same record of one file is not read to see that.
fn is_same(was: &Record<'_>, is: &Record<'_>) -> bool {
    std::ptr::eq(was.kv.key, is.kv.key) || was.kv == is.kv
}

/// Calls `look` with the newest record of every key that `index` has, in file order, parts side by side.
fn read<'a>(
    side: &Side<'_, 'a>,
    index: &KeyIndex<'a>,
    progress: &dyn Progress,
    look: impl Fn(&Record<'a>, &mut Found<'a>) -> Result<(), Error> + Sync,
) -> Result<Found<'a>, Error> {
    let mut all = Found::default();
    let Some(bucket) = side.space.bucket() else { return Ok(all) };
    let live = LiveElements::new(bucket.db(), index);
    progress.begin("compare", bucket.db().bytes_in_file());
    let (parts, wave) = cut(bucket, Scan::Parallel);
    for wave in parts.chunks(wave) {
        let found: Vec<Result<Found<'a>, Error>> = wave
            .par_iter()
            .map(|part| {
                let mut found = Found::default();
                part_of(part, &live, progress, |record| look(record, &mut found))?;
                Ok(found)
            })
            .collect();
        for found in found {
            all.join(found?);
        }
    }
    Ok(all)
}

fn part_of<'a>(
    part: &Subtree<'a>,
    live: &LiveElements,
    progress: &dyn Progress,
    mut look: impl FnMut(&Record<'a>) -> Result<(), Error>,
) -> Result<(), Error> {
    let mut done = 0;
    for leaf in part.leaves() {
        let leaf = leaf?;
        progress.go_on()?;
        leaf.prefetch();
        for item in leaf.items() {
            let item = item?;
            if live.contains(item.page, item.index) {
                look(&Record::decode(&item)?)?;
            }
        }
        done += leaf.len_bytes();
    }
    progress.advance(done);
    Ok(())
}
