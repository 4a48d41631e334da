//! What a member would serve after a restart: its db, and the entries of its log that the db has not applied.
//!
//! [`Boot`] decides as a server does where it would start; [`replay`] applies the entries from there on to a
//! [`State`], one at a time and by the rules of the release [`Line`] that wrote the log; the result is a patch
//! of the db ([`Replayed`]). An entry that a server refuses is refused here, with the same error. Time does not
//! pass: only a request ends a lease. Only [`RaftFiles`] opens files; all else works on bytes.

pub mod alarm;
pub mod auth;
mod base;
mod boot;
mod error;
mod files;
mod image;
pub mod kv;
pub mod lease;
mod line;
pub mod membership;
pub mod password;
mod run;
mod servers;
mod state;
pub mod txn;

pub use base::empty_db;
pub(crate) use boot::v2_start;
pub use boot::{Base, Boot, BootError, Broken, Commit, ReadSnapfile, Target, Until};
pub use error::{Error, Refusal};
pub use files::RaftFiles;
pub use line::Line;
pub use run::{Notable, NotableKind, Replayed, Report, replay};
pub use servers::Requests;
pub use state::{Outcome, Records, State};
