//! Progress reports and cancellation of long operations.

use std::path::Path;

/// Receives the progress of a long operation, and cancels it.
///
/// Several threads call all methods.
pub trait Progress: Sync {
    /// A stage begins that will handle `total_bytes`.
    fn begin(&self, stage: &'static str, total_bytes: u64);
    /// `bytes` more of the current stage are done.
    fn advance(&self, bytes: u64);
    /// `step` is about to change what stands at `path`.
    fn step(&self, _step: Step, _path: &Path) {}
    /// Whether the caller wants the operation to stop. The operation then ends in [`Interrupted`].
    fn interrupted(&self) -> bool;

    /// Ends an operation that the caller wants to stop.
    ///
    /// # Errors
    /// [`Interrupted`] once [`Progress::interrupted`] says so.
    fn go_on(&self) -> Result<(), Interrupted> {
        if self.interrupted() { Err(Interrupted) } else { Ok(()) }
    }
}

/// The caller stopped the operation. No result of it may be used.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("interrupted")]
pub struct Interrupted;

/// A change of a directory tree, in the order in which an operation makes them for one file or directory.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Step {
    /// Creates a file or directory.
    Create,
    /// Writes the content of a file.
    Write,
    /// Syncs what was written to the disk.
    Sync,
    /// Renames a finished file or directory to its final name.
    Rename,
}

/// Reports nothing and never stops.
#[derive(Clone, Copy, Debug, Default)]
pub struct Silent;

impl Progress for Silent {
    fn begin(&self, _stage: &'static str, _total_bytes: u64) {}
    fn advance(&self, _bytes: u64) {}
    fn interrupted(&self) -> bool {
        false
    }
}
