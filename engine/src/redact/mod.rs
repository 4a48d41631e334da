//! A copy of a database that can be shared in a bug report: same structure, sizes and revisions, no values.
//!
//! Every byte of the copy is either structure that was understood, or replaced. `survey` says which pages there are and
//! what they hold, by the tree and where the tree does not reach by their content; `page` renders one of them:
//! it begins with nothing and puts in what `record` says may stay. So what nobody thought of is left out.
//!
//! What replaces a byte depends on its place and on lengths, never on what stood there. Keys stay, or are replaced by a
//! keyed mapping that keeps their shape: see [`Keys`].
//!
//! Start reading at [`redact_file`].

mod json;
mod keys;
mod message;
mod page;
mod record;
mod survey;
mod write;

pub use keys::{KeyMap, Keys};
pub use write::{Error, Redacted, redact_file, redact_nothing};
