//! Databases that a leader sent and that no server took over yet.

use std::path::PathBuf;

use super::{Error, Opened};
use crate::{
    limits::Limits,
    mvcc::{KeyIndex, KeySpace, Scan},
    progress::Progress,
    schema::Store,
    snapshot::Image,
    source::{Access, Source},
};

/// A database that a leader sent.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ReceivedDb {
    /// Where it is.
    pub path: PathBuf,
    /// Raft index of the last entry it contains, by its name.
    pub index: u64,
    /// Its revision and its number of keys; `None` when it cannot be read.
    pub contents: Option<(i64, u64)>,
}

impl Opened {
    /// What the databases hold that a leader sent, in the order of their index.
    ///
    /// # Errors
    /// When one cannot be opened.
    pub fn received(
        &self,
        access: Access,
        progress: &dyn Progress,
    ) -> Result<Vec<ReceivedDb>, Error> {
        let received = self.files().map_or(&[][..], |files| &files.received);
        let look = |(index, path): &(u64, PathBuf)| {
            let source = Source::open(path, access)
                .map_err(|source| Error::Open { path: path.clone(), source })?;
            let contents = contents(source.bytes(), progress);
            source.check().map_err(|source| Error::Moved { path: path.clone(), source })?;
            Ok(ReceivedDb { path: path.clone(), index: *index, contents })
        };
        received.iter().map(look).collect()
    }
}

fn contents(bytes: &[u8], progress: &dyn Progress) -> Option<(i64, u64)> {
    let db = Image::of_member(bytes).db(Limits::default()).ok()?;
    let space = KeySpace::open(&Store::new(db)).ok()?;
    // Side by side only over a tree known to be sound.
    let index = KeyIndex::build_scanned(space.bucket(), i64::MAX, Scan::InOrder, progress).ok()?;
    Some((space.current_revision(), index.live_keys()))
}
