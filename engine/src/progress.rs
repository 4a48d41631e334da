//! How long work reports how far it is, and how it is told to stop.

use std::path::Path;

/// Told about the advance of a long call; asked whether to go on.
///
/// All methods are called from several threads.
pub trait Progress: Sync {
    /// A stage begins that will handle `total_bytes`.
    fn begin(&self, stage: &'static str, total_bytes: u64);
    /// `bytes` more of the current stage are done.
    fn advance(&self, bytes: u64);
    /// `step` is about to change what stands at `path`.
    fn step(&self, _step: Step, _path: &Path) {}
    /// Whether the caller wants the work to stop; it then ends in the room's `Interrupted` error.
    fn interrupted(&self) -> bool;
}

/// What changes a directory tree, in the order in which it is done for a thing.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Step {
    /// A file or directory is made.
    Create,
    /// A file gets its content.
    Write,
    /// What was written is made durable.
    Sync,
    /// A finished thing gets its name.
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
