//! Changes in the order in which they were made, and one key's life among them.

use rayon::prelude::*;

use super::{Error, KeySpace, Record, Scan, index::cut};
use crate::{bolt::walk::Subtree, progress::Progress, schema::RecordKey};

/// Which changes are wanted.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Span {
    /// The first revision. `None` for every record that is left, also below the compaction mark, where only the newest
    /// record of each key that existed at the mark remains.
    pub from: Option<i64>,
    /// The last revision; `None` for the newest.
    pub to: Option<i64>,
}

/// Main revisions, both included.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Revisions {
    from: i64,
    to: i64,
}

impl Span {
    fn revisions(&self, space: &KeySpace<'_>) -> Result<Revisions, Error> {
        // As a watch is refused: what begins before the mark would have holes. 0 is no revision that has been.
        let from = match self.from {
            Some(from) if from < space.compact_revision().max(1) => {
                return Err(Error::Compacted {
                    revision: from,
                    compact_revision: space.compact_revision(),
                    current_revision: space.current_revision(),
                });
            }
            Some(from) => space.readable(Some(from))?,
            None => 0,
        };
        Ok(Revisions { from, to: space.readable(self.to)? })
    }
}

/// Reads the changes of `space` that `span` asks for, in revision order: `read` is called for parts side by side,
/// `take` with what it made of them one after the other.
///
/// Pages without such changes are not read. At any time only a few dozen megabytes' worth of parts is under way.
///
/// # Errors
/// When a revision is compacted or in the future; when a page or a record is damaged; what `take` returns.
pub fn changes<'a, T: Send, E: From<Error>>(
    space: &KeySpace<'a>,
    span: &Span,
    progress: &dyn Progress,
    read: impl Fn(&mut dyn Iterator<Item = Result<Record<'a>, Error>>) -> Result<T, Error> + Sync,
    mut take: impl FnMut(T) -> Result<(), E>,
) -> Result<(), E> {
    let revisions = span.revisions(space)?;
    let Some(bucket) = space.bucket() else { return Ok(()) };
    let (parts, wave) = cut(bucket, Scan::Parallel);
    let parts = within(&parts, revisions)?;
    let share = bucket.db().bytes_in_file() / parts.len().max(1) as u64;
    progress.begin("read", share * parts.len() as u64);
    for wave in parts.chunks(wave) {
        let made: Vec<Result<T, Error>> = wave
            .par_iter()
            .map(|part| {
                let made = read(&mut records(part, revisions, progress));
                progress.advance(share);
                made
            })
            .collect();
        for made in made {
            take(made?)?;
        }
    }
    Ok(())
}

/// Those of `parts`, which are in key order, that can hold records of these revisions.
fn within<'p, 'a>(
    parts: &'p [Subtree<'a>],
    revisions: Revisions,
) -> Result<&'p [Subtree<'a>], Error> {
    // The first record of a part says where it begins; a part ends where the next one begins.
    let begins_after = |part: &Subtree<'a>, revision: i64| -> Result<bool, Error> {
        match part.items().next() {
            Some(item) => Ok(Record::key_of(&item?)?.revision.main > revision),
            None => Ok(false),
        }
    };
    let mut end = parts.len();
    let (mut low, mut high) = (0, parts.len());
    while low < high {
        let middle = low + (high - low) / 2;
        let Some(part) = parts.get(middle) else { break };
        if begins_after(part, revisions.to)? {
            (high, end) = (middle, middle);
        } else {
            low = middle + 1;
        }
    }
    let (mut low, mut high) = (0, end);
    while low < high {
        let middle = low + (high - low) / 2;
        let Some(part) = parts.get(middle) else { break };
        if begins_after(part, revisions.from.saturating_sub(1))? {
            high = middle;
        } else {
            low = middle + 1;
        }
    }
    // The one before the first that begins at `from` or later may hold it, too.
    Ok(parts.get(low.saturating_sub(1)..end).unwrap_or_default())
}

/// The records of a part within these revisions.
fn records<'a>(
    part: &Subtree<'a>,
    revisions: Revisions,
    progress: &dyn Progress,
) -> impl Iterator<Item = Result<Record<'a>, Error>> {
    let mut page = None;
    part.items().filter_map(move |item| {
        let item = match item {
            Ok(item) => item,
            Err(error) => return Some(Err(error.into())),
        };
        if page.replace(item.page) != Some(item.page)
            && let Err(interrupted) = progress.go_on()
        {
            return Some(Err(interrupted.into()));
        }
        let outside = |key: &RecordKey| {
            key.revision.main < revisions.from || key.revision.main > revisions.to
        };
        // By its key, before the value is decoded.
        if !item.is_bucket() && RecordKey::parse(item.key).as_ref().is_ok_and(outside) {
            return None;
        }
        Some(Record::decode(&item))
    })
}

/// Every record of `key` that is left up to revision `to` (`None` for the newest), in revision order: puts and
/// deletions, also those below the compaction mark.
///
/// # Errors
/// When `to` is compacted or in the future; when a page or a record is damaged.
pub fn history<'a>(
    space: &KeySpace<'a>,
    key: &[u8],
    to: Option<i64>,
    progress: &dyn Progress,
) -> Result<Vec<Record<'a>>, Error> {
    let mut found = Vec::new();
    changes(
        space,
        &Span { from: None, to },
        progress,
        |records| {
            let of_key = |record: &Result<Record<'a>, Error>| {
                record.as_ref().map_or(true, |record| record.kv.key == key)
            };
            records.filter(of_key).collect::<Result<Vec<_>, _>>()
        },
        |records| {
            found.extend(records);
            Ok::<_, Error>(())
        },
    )?;
    Ok(found)
}
