//! A finished file that waits for its name.

use std::path::PathBuf;

use super::{Stage, TargetError};
use crate::progress::{Progress, Step};

/// A finished file under a temporary name: synced, and read back where that was asked for. `T` is what is known of it.
///
/// Ask first whether the source held still while it was read ([`Source::check`](crate::source::Source::check)), then
/// call [`Staged::publish`]. Dropped before that, the file is removed.
#[derive(Debug)]
#[must_use = "the file gets its name by `publish`"]
pub struct Staged<T> {
    stage: Stage,
    target: PathBuf,
    about: T,
}

impl<T> Staged<T> {
    /// A file that is finished in `stage` and will be named `target`.
    pub(crate) fn new(stage: Stage, target: PathBuf, about: T) -> Self {
        Self { stage, target, about }
    }

    /// What is known of the file.
    pub fn about(&self) -> &T {
        &self.about
    }

    /// Renames the file to its final name, and syncs the directory.
    ///
    /// # Errors
    /// As [`Stage::commit`].
    pub fn publish(self, progress: &dyn Progress) -> Result<T, TargetError> {
        progress.step(Step::Rename, &self.target);
        self.stage.commit()?;
        Ok(self.about)
    }
}
