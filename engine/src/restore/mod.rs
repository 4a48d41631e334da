//! Restore: a snapshot into a fresh data dir that etcd boots from.
//!
//! [`InitialCluster`] turns the words of the command line into a [`Cluster`] of ids; [`raft`] turns that
//! into the bytes of the log and of the snapfile. Everything equals what etcdutl makes of the same words.
//! [`Plan`] decides what the words alone decide, [`Prepared`] what the input decides too; then everything
//! is known and nothing written. [`Prepared::write`] makes the dirs beside their targets, and
//! [`Written::publish`] renames them last: a restore that fails or is killed leaves nothing under a
//! target's name.

mod db;
mod error;
mod execute;
pub mod identity;
mod json;
mod place;
mod plan;
mod prepare;
pub mod raft;
mod start;
mod v2store;
mod warnings;

pub use crate::url::{PeerUrl, UrlError, UrlReason};
pub use error::Error;
pub use execute::Written;
pub use identity::{Cluster, IdentityError, InitialCluster, Member};
pub use json::member_json;
pub use plan::{Contents, Options, Plan, Restoring, Target};
pub use prepare::{Outcome, Prepared};
pub use start::start;
pub use warnings::warnings;
