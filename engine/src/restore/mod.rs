//! Restore: a snapshot into a fresh data dir that etcd boots from.
//!
//! [`InitialCluster`] turns the words of the command line into a [`Cluster`] of ids; [`raft`] turns that
//! into the bytes of the log and of the snapfile. Everything equals what etcdutl makes of the same words.
//! [`Plan`] decides everything before the first byte is written, [`execute`] makes the dir beside its
//! target and renames it last: a restore that fails or is killed leaves nothing under the target's name.

mod db;
mod error;
mod escape;
mod execute;
pub mod identity;
mod json;
pub mod peer_url;
mod plan;
pub mod raft;
mod v2store;
mod warnings;

pub use error::Error;
pub use execute::{Restored, execute};
pub use identity::{Cluster, IdentityError, InitialCluster, Member};
pub use json::member_json;
pub use peer_url::{PeerUrl, UrlError, UrlReason};
pub use plan::{Options, Plan};
pub use warnings::warnings;
