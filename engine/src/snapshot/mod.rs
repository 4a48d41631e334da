//! etcd's snapshot file: the database and a SHA-256 of it. What it says, whether it is sound, how it is made.
//!
//! The format has no magic and no version: `high water mark × page size` bytes of database, then 32
//! bytes of digest. A database copied from a data dir has no digest; then only structure can be judged.

mod causes;
mod compact;
mod error;
mod marks;
mod save;
mod status;
mod trailer;
mod verify;

pub use crate::content::status_hash;
pub use compact::{Compacted, Form, append_digest, compact_file, compact_stream};
pub use error::Error;
pub use save::{Saved, carried_digest, length, save_file, write};
pub use status::{Status, status};
pub use trailer::{Digest, Image, Trailer};
pub use verify::{Check, Depth, Verification, verify, verify_records, verify_with_scratch};
