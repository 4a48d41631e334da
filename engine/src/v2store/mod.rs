//! The v2 store: keys of etcd's v2 API, which no db holds. Knows nothing of the v3 key space.
//!
//! Up to 3.5 every server keeps the v2 store in memory, writes it as JSON into its snapfiles, and applies the v2 requests
//! of the log behind them. [`V2Store::read`] does the same. Members and the cluster's version live in it as well, below
//! `/0`; the keys of users are below `/1`, users and roles of the v2 API below `/2`.
//!
//! Start at [`V2Store`]. `tree` has the store's operations; `apply` says which request calls which.

mod apply;
mod error;
mod json;
mod path;
mod read;
mod summary;
mod time;
mod tree;

pub use error::{Error, Refused};
pub use json::NotAStore;
pub use read::{V2Key, V2Store};
pub use summary::Summary;
pub use time::rfc3339;
