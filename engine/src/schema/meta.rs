//! Bucket `meta` and the small values beside it: consistent index, term, versions, compaction marks.

use serde::{Deserialize, Serialize};

use super::{
    Error, RecordError, Store, bucket,
    revision::{RecordKey, Revision},
};
use crate::{bolt, finding::Finding, finding::Place, raw::Raw};

/// Key of the raft index of the last applied entry, u64 BE.
pub const CONSISTENT_INDEX: &str = "consistent_index";
/// Key of the raft term of that entry, u64 BE; since 3.5.
pub const TERM: &str = "term";
/// Key of raft's configuration, JSON; since 3.5.
pub const CONF_STATE: &str = "confState";
/// Key of the storage version, text such as `3.6.0`; since 3.6.
pub const STORAGE_VERSION: &str = "storageVersion";
/// Key of the revision of the last accepted compaction.
pub const SCHEDULED_COMPACT: &str = "scheduledCompactRev";
/// Key of the revision of the last finished compaction.
pub const FINISHED_COMPACT: &str = "finishedCompactRev";
/// Key in bucket `cluster`: the cluster's version, text such as `3.6.0`.
pub const CLUSTER_VERSION: &str = "clusterVersion";
/// Key in bucket `cluster`: JSON of a downgrade under way.
pub const DOWNGRADE: &str = "downgrade";

/// Raft's configuration as the db records it; informational, no server reads it back.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct ConfState {
    /// Voting members, ascending.
    pub voters: Vec<u64>,
    /// Learners, ascending.
    pub learners: Vec<u64>,
    /// Voters that leave in a joint configuration.
    pub voters_outgoing: Vec<u64>,
    /// Voters that become learners in a joint configuration.
    pub learners_next: Vec<u64>,
    /// Whether raft leaves a joint configuration by itself.
    pub auto_leave: bool,
}

/// The state of a cluster downgrade.
#[derive(Clone, Debug, Default, PartialEq, Eq, Deserialize)]
#[serde(default)]
pub struct Downgrade {
    /// Version to go to; empty when none is under way.
    #[serde(rename = "target-version")]
    pub target_version: String,
    /// Whether a downgrade is under way.
    pub enabled: bool,
}

impl Downgrade {
    /// The version to go to, while a downgrade is under way.
    pub fn target(&self) -> Option<&str> {
        Some(self.target_version.as_str()).filter(|target| self.enabled && !target.is_empty())
    }
}

/// What buckets `meta` and `cluster` say. A field is `None` when its record is absent.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct MetaRecords {
    /// Raft index of the last entry that the db contains.
    pub consistent_index: Option<u64>,
    /// Raft term of that entry.
    pub term: Option<u64>,
    /// Raft's configuration.
    pub conf_state: Option<ConfState>,
    /// Version of the storage schema, as text.
    pub storage_version: Option<String>,
    /// Revision of the last accepted compaction.
    pub scheduled_compact: Option<Revision>,
    /// Revision of the last finished compaction.
    pub finished_compact: Option<Revision>,
    /// The cluster's version, as text.
    pub cluster_version: Option<String>,
    /// A downgrade under way.
    pub downgrade: Option<Downgrade>,
}

/// A version of the form `major.minor.patch`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Version {
    /// Major version.
    pub major: u64,
    /// Minor version.
    pub minor: u64,
    /// Patch level.
    pub patch: u64,
}

impl Version {
    /// Parses `major.minor.patch`, with an optional pre-release or build suffix, which is dropped.
    pub fn parse(text: &str) -> Option<Version> {
        let core = text.split(['-', '+']).next()?;
        let mut parts = core.split('.');
        let mut number = || {
            let part = parts.next()?;
            (!part.is_empty() && part.bytes().all(|byte| byte.is_ascii_digit()))
                .then(|| part.parse().ok())?
        };
        let version = Version { major: number()?, minor: number()?, patch: number()? };
        parts.next().is_none().then_some(version)
    }
}

impl MetaRecords {
    /// Reads the records; one that cannot be decoded is absent and a finding.
    ///
    /// # Errors
    /// When a page is damaged.
    pub fn read(store: &Store<'_>) -> Result<(MetaRecords, Vec<Finding>), bolt::Error> {
        let mut reader = Reader { store, findings: Vec::new() };
        let records = MetaRecords {
            consistent_index: reader.field(bucket::META, CONSISTENT_INDEX, number)?,
            term: reader.field(bucket::META, TERM, number)?,
            conf_state: reader
                .field(bucket::META, CONF_STATE, |value| json("conf state", value))?,
            storage_version: reader.field(bucket::META, STORAGE_VERSION, version)?,
            scheduled_compact: reader.field(bucket::META, SCHEDULED_COMPACT, mark)?,
            finished_compact: reader.field(bucket::META, FINISHED_COMPACT, mark)?,
            cluster_version: reader.field(bucket::CLUSTER, CLUSTER_VERSION, version)?,
            downgrade: reader
                .field(bucket::CLUSTER, DOWNGRADE, |value| json("downgrade", value))?,
        };
        Ok((records, reader.findings))
    }

    /// Reads the records of which all must decode.
    ///
    /// # Errors
    /// When a page or a record is damaged.
    pub fn read_sound(store: &Store<'_>) -> Result<MetaRecords, Error> {
        // Only the marks decide what is computed; the rest is for show and is judged by verify.
        let mark_of = |key: &str| -> Result<Option<Revision>, Error> {
            let Some(value) = store.value(bucket::META, key)? else { return Ok(None) };
            mark(value).map(Some).map_err(|error| Error::Record {
                place: Place::Record { bucket: bucket::META, key: key.as_bytes().to_vec() },
                error,
            })
        };
        let (mut records, _) = Self::read(store)?;
        records.scheduled_compact = mark_of(SCHEDULED_COMPACT)?;
        records.finished_compact = mark_of(FINISHED_COMPACT)?;
        Ok(records)
    }

    /// The revision up to which history is compacted, −1 when it never was.
    ///
    /// A compaction that was accepted but not finished counts: a server resumes it at open.
    pub fn compact_revision(&self) -> i64 {
        let main = |mark: Option<Revision>| mark.map_or(-1, |revision| revision.main);
        main(self.scheduled_compact).max(main(self.finished_compact))
    }

    /// Whether a compaction was accepted and is not finished.
    pub fn compaction_pending(&self) -> bool {
        self.scheduled_compact > self.finished_compact
    }
}

struct Reader<'s, 'a> {
    store: &'s Store<'a>,
    findings: Vec<Finding>,
}

impl Reader<'_, '_> {
    fn field<T>(
        &mut self,
        bucket: &'static str,
        key: &str,
        decode: impl Fn(&[u8]) -> Result<T, RecordError>,
    ) -> Result<Option<T>, bolt::Error> {
        let Some(value) = self.store.value(bucket, key)? else { return Ok(None) };
        match decode(value) {
            Ok(record) => Ok(Some(record)),
            Err(error) => {
                let place = Place::Record { bucket, key: key.as_bytes().to_vec() };
                self.findings.push(Finding::damage("undecodable", place, error.to_string()));
                Ok(None)
            }
        }
    }
}

fn number(value: &[u8]) -> Result<u64, RecordError> {
    let wrong = RecordError::Length { len: value.len(), expected: 8 };
    if value.len() != 8 {
        return Err(wrong);
    }
    Raw::new(value).u64_be(0).ok_or(wrong)
}

/// A compaction mark: a revision, never a tombstone.
fn mark(value: &[u8]) -> Result<Revision, RecordError> {
    let key = RecordKey::parse(value)?;
    if key.tombstone {
        return Err(RecordError::Length { len: value.len(), expected: 17 });
    }
    Ok(key.revision)
}

fn version(value: &[u8]) -> Result<String, RecordError> {
    let text = String::from_utf8_lossy(value).into_owned();
    if Version::parse(&text).is_some() { Ok(text) } else { Err(RecordError::Version(text)) }
}

pub(super) fn json<T: serde::de::DeserializeOwned>(
    what: &'static str,
    value: &[u8],
) -> Result<T, RecordError> {
    serde_json::from_slice(value)
        .map_err(|error| RecordError::Json { what, reason: error.to_string() })
}

/// A compaction mark in words: `compacted to 209`, or `never compacted` where there is none.
pub fn compacted(mark: i64) -> String {
    if mark < 0 { "never compacted".to_owned() } else { format!("compacted to {mark}") }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn versions_need_three_numbers() {
        assert_eq!(Version::parse("3.6.0"), Some(Version { major: 3, minor: 6, patch: 0 }));
        assert_eq!(Version::parse("3.7.0-alpha.0"), Some(Version { major: 3, minor: 7, patch: 0 }));
        for text in ["", "3", "3.6", "3.6.", "3.6.x", "3.6.0.1", "+3.6.0", "-1.0.0"] {
            assert_eq!(Version::parse(text), None, "{text}");
        }
    }

    #[test]
    fn a_pending_compaction_counts_as_compacted() {
        let revision = |main| Some(Revision { main, sub: 0 });
        let mut records = MetaRecords::default();
        assert_eq!((records.compact_revision(), records.compaction_pending()), (-1, false));
        records.scheduled_compact = revision(9);
        assert_eq!((records.compact_revision(), records.compaction_pending()), (9, true));
        records.finished_compact = revision(9);
        assert_eq!((records.compact_revision(), records.compaction_pending()), (9, false));
    }
}
