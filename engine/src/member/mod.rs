//! Opens what a path names as its server would: the db, brought up to date with the log.
//!
//! [`open`] finds the files, maps or reads them, takes the db that a leader sent where a server would, checks the
//! pages, and applies the log. Where the db is missing or damaged and the log has every entry since the first, the
//! state is made from the log alone, as a server does that finds no db.
//!
//! [`Opened`] holds the result. **No answer may be shown before [`Opened::check`] has passed**: it tells whether every
//! byte came from the files, and whether they held still. [`with`] asks again when they did not.
//!
//! This room judges nothing: it says what it did and what it found. `diagnose` says what that means.

mod committed;
mod error;
mod open;
mod opened;
mod received;
mod strangers;
mod v2;

pub use committed::Committed;
pub use error::{Error, Lacking, NotReplayed};
pub use open::{Options, open, with};
pub use opened::{DbState, Opened, WalFacts};
pub use received::ReceivedDb;
