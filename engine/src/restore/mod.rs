//! What a restored member is made of: who it is, and the raft files that say so.
//!
//! [`InitialCluster`] turns the words of the command line into a [`Cluster`] of ids; [`raft`] turns that
//! into the bytes of the log and of the snapfile. Everything equals what etcdutl makes of the same words.
//! Nothing here opens a file. Start reading at [`identity`].

mod escape;
pub mod identity;
mod json;
pub mod peer_url;
pub mod raft;
mod v2store;

pub use identity::{Cluster, IdentityError, InitialCluster, Member};
pub use json::member_json;
pub use peer_url::{PeerUrl, UrlError, UrlReason};
