//! What the answers look like: a plain report in, text out.
//!
//! `simple`, `table` and `fields` are what etcdutl 3.7.3 and etcdctl print where they have the command; what we know
//! beyond them is in `json` only. Start at [`Format`], then read the report you need. Nothing here reads a file.

pub mod check;
pub mod escape;
mod format;
pub mod humanize;
pub mod info;
pub mod members;
pub mod status;
mod table;
pub mod verify;

pub use format::{Format, HexId, Output};
