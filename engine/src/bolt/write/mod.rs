//! Writes a fresh bbolt file in one pass, from entries that come sorted.
//!
//! Start at [`Writer`]: open a bucket, put its entries in key order, open the next one. Pages are
//! written in the order of their ids as they fill; of a tree only one open page a level is held, so
//! memory does not grow with the file. [`Writer::finish`] leaves a file without metas, which nobody
//! takes for a database; [`Unsealed::seal`] writes them, and between the two the caller syncs.
//!
//! What bbolt's own writer would panic on is refused here with a [`WriteError`]: empty keys, keys out
//! of order, keys, values and pages beyond what it can address. Branches always have two children or
//! more, because bbolt's rebalancing asserts that. Slack is zero: no old memory reaches the file.

mod error;
mod estimate;
mod finish;
mod node;
mod options;
mod output;
mod tree;
mod writer;

pub use error::{BucketName, WriteError};
pub use estimate::{Estimate, Estimated, Style};
pub use finish::{Summary, Unsealed, meta_page};
pub use options::{BucketOptions, Fill, FreelistKind, Options, PageSize};
pub use writer::{BucketWriter, Writer};

pub(super) use finish::sealing_metas;
pub(super) use output::Output;
pub(super) use tree::Tree;
pub(super) use writer::bucket_value;
