//! etcd's HashKV of an input.

use std::path::Path;

use serde::Serialize;

use super::{Answered, ask};
use crate::{
    error::{Cause, Error},
    member,
    mvcc::{KeySpace, hash_kv},
    progress::Progress,
    schema::Store,
};

/// How the hash is computed.
#[derive(Clone, Debug, Default)]
#[non_exhaustive]
pub struct Options {
    /// How the input is read.
    pub reading: member::Options,
    /// Revision up to which records are hashed; 0 is the latest.
    pub revision: i64,
}

/// The hash, equal on all members of a cluster that have the same history.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "camelCase")]
#[non_exhaustive]
pub struct HashKv {
    /// etcd's HashKV.
    pub hash: u32,
    /// Revision up to which records were hashed.
    pub hash_revision: i64,
    /// Revision of the last compaction; −1 when history was never compacted.
    pub compact_revision: i64,
}

/// Computes etcd's HashKV.
///
/// # Errors
/// When the input cannot be read, a page or record is damaged, or the revision is compacted or not reached.
pub fn hashkv(
    path: &Path,
    options: &Options,
    progress: &dyn Progress,
) -> Result<Answered<HashKv>, Error> {
    if options.revision < 0 {
        let message = format!("revision {}: a revision is not negative", options.revision);
        return Err(Cause::Option(message.into()).into());
    }
    ask(path, &options.reading, progress, |input| {
        let space = KeySpace::open(&Store::new(input.sound_db(progress)?))?;
        let hash = hash_kv(&space, Some(options.revision), progress)?;
        Ok(HashKv {
            hash: hash.hash,
            hash_revision: hash.revision,
            compact_revision: hash.compact_revision,
        })
    })
}
