//! A db held against the state that its complete log makes.

use super::compare;
use crate::{
    bolt::Bucket,
    finding::{Finding, Place, counted},
    member::{self, DbState, Opened, WalFacts},
    mvcc::{self, KeySpace, View},
    pb::wire::KeyValueRef,
    progress::Progress,
    replay::Base,
    schema::{RecordKey, Revision, Store},
};

/// Why a db could not be held against its log.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum AgainstError {
    /// The log could not be opened or applied.
    #[error(transparent)]
    Open(#[from] member::Error),
    /// A page or record is damaged.
    #[error(transparent)]
    KeySpace(#[from] mvcc::Error),
}

/// Compares what `opened` shows with the state that its log alone makes; `None` when they are equal.
///
/// No page check sees a value that was changed in the file. A log that has every entry since the first says what was
/// written. Where records differ in more than their values, replaying the log may have taken another way than the
/// server did (etcd 3.5 and 3.6 apply some transactions on one member only): that is a warning.
///
/// # Errors
/// When the log cannot be opened again, or a page is damaged.
pub fn against_log(
    opened: &Opened,
    options: &member::Options,
    progress: &dyn Progress,
) -> Result<Option<Finding>, AgainstError> {
    if !can_compare(opened) {
        return Ok(None);
    }
    let Some(report) = opened.report() else { return Ok(None) };
    let mut from_log = options.clone();
    from_log.from_wal = true;
    from_log.to = Some(report.applied_to());
    let made = member::open(&opened.located().path, &from_log, progress)?;
    if made.report().is_none() {
        return Ok(None);
    }
    let (Ok(ours), Ok(theirs)) = (opened.database(), made.database()) else { return Ok(None) };
    let (ours, theirs) = (Store::new(ours), Store::new(theirs));
    let (ours, theirs) = (KeySpace::open(&ours)?, KeySpace::open(&theirs)?);
    let Some(difference) = compare(&ours, &theirs, progress)? else { return Ok(None) };
    let changed = changed_values(&ours, &theirs, difference.compared_to)?;
    let at = Some(difference.compared_to);
    let (ours, theirs) = (View::at(&ours, at, progress)?, View::at(&theirs, at, progress)?);
    let mut values_only = changed.is_some();
    for key in &difference.keys {
        let (one, other) = (ours.get(key)?, theirs.get(key)?);
        values_only &= one.zip(other).is_some_and(|(one, other)| is_same(&one.kv, &other.kv));
    }
    // Where only superseded records differ, no key does: the revision tells which.
    let older: Vec<String> = changed
        .iter()
        .flatten()
        .map(|(key, revision)| format!("{} at revision {revision}", key.escape_ascii()))
        .collect();
    let named: Vec<String> =
        difference.keys.iter().map(|key| key.escape_ascii().to_string()).collect();
    let named = if named.is_empty() { older.join(" ") } else { named.join(" ") };
    let count = difference.count.max(changed.as_ref().map_or(0, |changed| changed.len() as u64));
    Ok(Some(if values_only {
        let message = format!(
            "{} in the db that the log did not write: {named}; the log has every entry since the first",
            counted(count, "key has a value", "keys have values")
        );
        Finding::damage("value-changed", Place::File, message)
    } else {
        let message = format!(
            "the db differs from the state that its log makes, from revision {} on, in {}: {named}",
            difference.first_revision.unwrap_or(difference.compared_to),
            counted(difference.count, "key", "keys")
        );
        Finding::warning("log-differs", Place::File, message)
    }))
}

/// Records that are told apart by name; the others are counted with their keys.
const NAMED: usize = 20;

/// A key, and the revision of its record whose value differs.
type Changed = (Vec<u8>, i64);

/// Whether two records of a key differ in nothing but the value.
fn is_same(one: &KeyValueRef<'_>, other: &KeyValueRef<'_>) -> bool {
    (one.key, one.create_revision, one.mod_revision, one.version, one.lease)
        == (other.key, other.create_revision, other.mod_revision, other.version, other.lease)
}

/// Keys and revisions of the records above both compaction marks and up to `to` whose values alone differ, the first of
/// them; `None` where records differ in more.
fn changed_values(
    ours: &KeySpace<'_>,
    theirs: &KeySpace<'_>,
    to: i64,
) -> Result<Option<Vec<Changed>>, mvcc::Error> {
    let from = ours.compact_revision().max(theirs.compact_revision()).max(0);
    let start = Revision { main: from.saturating_add(1), sub: 0 }.encode();
    let within = |space: &KeySpace<'_>| {
        let items = space.bucket().map(Bucket::items).into_iter().flatten();
        let mut found = Vec::new();
        for item in items {
            let item = item?;
            let is_in = RecordKey::parse(item.key).is_ok_and(|key| key.revision.main <= to);
            if item.key >= start.as_slice() && is_in {
                found.push((item.key.to_vec(), item.value.to_vec()));
            }
        }
        Ok::<_, mvcc::Error>(found)
    };
    let (ours, theirs) = (within(ours)?, within(theirs)?);
    if ours.len() != theirs.len() {
        return Ok(None);
    }
    let mut changed = Vec::new();
    for ((key, value), (other_key, other)) in ours.iter().zip(&theirs) {
        if key != other_key {
            return Ok(None);
        }
        if value == other {
            continue;
        }
        match (KeyValueRef::decode(value), KeyValueRef::decode(other)) {
            (Ok(one), Ok(other)) if is_same(&one, &other) => {
                if changed.len() < NAMED {
                    changed.push((one.key.to_vec(), one.mod_revision));
                }
            }
            _ => return Ok(None),
        }
    }
    Ok(Some(changed))
}

/// Whether there is a sound db, and a log that has every entry since the first and that no restore made.
pub fn can_compare(opened: &Opened) -> bool {
    let complete = opened.wal().is_some_and(WalFacts::is_complete);
    let own = opened.report().is_some_and(|report| {
        report.base == Base::Db && report.broken.is_none() && report.consistent_index > 0
    });
    complete && own && opened.db_state() == Some(DbState::Sound)
}
