//! What can be saved of a damaged database: its records into a fresh one, and a report of what is lost.
//!
//! [`Salvage::read`] finds the best tree there is (of the newest meta, else of the older one, else a root that is
//! recognised by its content) and follows it as far as it stands. Ranges it no longer covers are filled with leaves that
//! are recognised by content. [`Salvage::write`] merges both in revision order into a fresh file and gives the [`Report`].
//!
//! Three facts make that safe. A record of bucket `key` never changes: two copies of a revision are equal or one is
//! damaged. Records are added in revision order and removed by compaction alone: a leaf that spans a revision and lacks it
//! proves that it was compacted away. And what stood next to each other in one intact leaf or tree has nothing between
//! it: that tells lost records from revisions that never had one. What rests on less is said to be doubtful.
//!
//! Every byte of every record comes verbatim from the file. [`Carver`] lists what free pages and slack still hold.

mod carve;
mod fragment;
mod gather;
mod judged;
mod merge;
mod record;
mod report;
mod root;
mod small;
mod write;

pub use carve::{Carved, Carver, Certainty, Origin};
pub use gather::{Options, Salvage};
pub use judged::{DamagedRecord, damaged_records};
pub use report::{BucketFrom, BucketReport, CutRecord, Doubt, Hole, LostPages, Report, Run, Tree};
pub use write::{Doubtful, doubtful};

use crate::{bolt, bolt::write::WriteError, progress::Interrupted};

/// Why nothing could be salvaged.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum Error {
    /// The caller stopped the operation.
    #[error(transparent)]
    Interrupted(#[from] Interrupted),
    /// Not one record of a key space was recognised.
    #[error("nothing of an etcd key space was recognised in {pages} pages of {page_size} bytes")]
    Nothing {
        /// Pages looked at.
        pages: u64,
        /// Bytes of each.
        page_size: usize,
    },
    /// The file is none that can be read, or the work was interrupted.
    #[error(transparent)]
    Bolt(#[from] bolt::Error),
    /// The new file could not be written.
    #[error(transparent)]
    Write(#[from] WriteError),
}

bolt::from_read_error!(Error);
