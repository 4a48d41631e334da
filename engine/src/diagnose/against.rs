//! A db held against the state that its complete log makes.

use super::compare;
use crate::{
    finding::{Finding, Place},
    member::{self, DbState, Opened},
    mvcc::{self, KeySpace, View},
    progress::Progress,
    replay::Base,
    schema::Store,
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
    let at = Some(difference.compared_to);
    let (ours, theirs) = (View::at(&ours, at, progress)?, View::at(&theirs, at, progress)?);
    let mut values_only = !difference.keys.is_empty();
    for key in &difference.keys {
        let (one, other) = (ours.get(key)?, theirs.get(key)?);
        values_only &= match (one, other) {
            (Some(one), Some(other)) => {
                let (one, other) = (one.kv, other.kv);
                (one.mod_revision, one.create_revision, one.version, one.lease)
                    == (other.mod_revision, other.create_revision, other.version, other.lease)
            }
            _ => false,
        };
    }
    let named: Vec<String> =
        difference.keys.iter().map(|key| key.escape_ascii().to_string()).collect();
    let keys = if difference.count == 1 { "key" } else { "keys" };
    let named = if named.is_empty() { "older records".to_owned() } else { named.join(" ") };
    Ok(Some(if values_only {
        let message = format!(
            "the db holds other values than the log wrote for {} {keys}: {named}; the log has every entry since the first",
            difference.count
        );
        Finding::damage("value-changed", Place::File, message)
    } else {
        let message = format!(
            "the db differs from the state that its log makes, from revision {} on, in {} {keys}: {named}",
            difference.first_revision.unwrap_or(difference.compared_to),
            difference.count
        );
        Finding::warning("log-differs", Place::File, message)
    }))
}

/// Whether there is a sound db, and a log that has every entry since the first and that no restore made.
pub fn can_compare(opened: &Opened) -> bool {
    let complete = opened.wal().is_some_and(|wal| wal.begins_at_first && wal.restored.is_none());
    let own = opened.report().is_some_and(|report| {
        report.base == Base::Db && report.broken.is_none() && report.consistent_index > 0
    });
    complete && own && opened.db_state() == Some(DbState::Sound)
}
