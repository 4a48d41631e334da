//! The key space at a revision: what a range request at that revision answers.

use super::{Error, KeyIndex, KeySpace, Record};
use crate::progress::Progress;

/// The keys that exist at a revision. The keys and values stay in the file.
#[derive(Debug)]
pub struct View<'a> {
    index: KeyIndex<'a>,
    keys: Vec<&'a [u8]>,
    revision: i64,
}

impl<'a> View<'a> {
    /// The key space at `revision`, or at the newest one when it is `None` or 0.
    ///
    /// # Errors
    /// When the revision is compacted or in the future, or a page or record is damaged.
    pub fn at(
        space: &KeySpace<'a>,
        revision: Option<i64>,
        progress: &dyn Progress,
    ) -> Result<Self, Error> {
        let revision = space.readable(revision)?;
        let index = KeyIndex::build(space.bucket(), revision, progress)?;
        let keys = index.sorted_keys()?;
        Ok(Self { index, keys, revision })
    }

    /// The revision it shows.
    pub fn revision(&self) -> i64 {
        self.revision
    }

    /// The keys that begin with `prefix`, in order.
    pub fn keys(&self, prefix: &[u8]) -> &[&'a [u8]] {
        let start = self.keys.partition_point(|key| *key < prefix);
        let rest = self.keys.get(start..).unwrap_or_default();
        let end = rest.partition_point(|key| key.starts_with(prefix));
        rest.get(..end).unwrap_or_default()
    }

    /// The record of `key`; `None` when the key does not exist.
    ///
    /// # Errors
    /// When a page or record is damaged.
    pub fn get(&self, key: &[u8]) -> Result<Option<Record<'a>>, Error> {
        self.index.get(key)
    }
}
