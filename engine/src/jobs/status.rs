//! The numbers of a snapshot, as `etcdutl snapshot status` gives them.

use std::path::Path;

use serde::Serialize;

use super::{Answered, ask, input::hides_data};
use crate::{
    datadir::Kind, error::Error, finding::Finding, member::Options, progress::Progress, snapshot,
};

/// Whether the page tree is sound, and the numbers where it can be read.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct Checked {
    /// What is wrong with the page tree, in bbolt's words.
    pub findings: Vec<Finding>,
    /// The numbers; `None` when damage hides data.
    pub status: Option<Status>,
}

/// The numbers of a snapshot: the first five are etcdutl 3.7's.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "camelCase")]
#[non_exhaustive]
pub struct Status {
    /// CRC-32C over the names and contents of all buckets.
    pub hash: u32,
    /// Main revision of the last record; 0 when there is none.
    pub revision: i64,
    /// Keys that exist: what 3.6 and 3.7 call the total.
    pub total_key: u64,
    /// High water mark × page size, in bytes.
    pub total_size: u64,
    /// Storage version; empty when the file has none, as before 3.6.
    pub version: String,
    /// Pairs in all buckets together: what 3.4 and 3.5 call the total.
    pub entries: u64,
    /// Revision up to which history is compacted; −1 when it never was.
    pub compact_revision: i64,
    /// What the input is.
    pub kind: Kind,
}

/// Checks the page tree and computes the numbers. A damaged freelist hides nothing: the numbers are there all the same.
///
/// # Errors
/// When the input cannot be read, or a record is damaged.
pub fn status(
    path: &Path,
    reading: &Options,
    progress: &dyn Progress,
) -> Result<Answered<Checked>, Error> {
    ask(path, reading, progress, |input| {
        let db = input.db()?;
        let findings = input.page_findings(&db, progress)?;
        if findings.iter().any(hides_data) {
            return Ok(Checked { findings, status: None });
        }
        let numbers = snapshot::status(&db, progress)?;
        let status = Status {
            hash: numbers.hash,
            revision: numbers.revision,
            total_key: numbers.live_keys,
            total_size: numbers.size_bytes,
            version: numbers.version,
            entries: numbers.entries,
            compact_revision: numbers.compact_revision,
            kind: input.kind(),
        };
        Ok(Checked { findings, status: Some(status) })
    })
}
