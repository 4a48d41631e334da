//! URLs of members, read and printed as etcd does. Knows no member and no cluster.

mod escape;
mod peer_url;

pub use peer_url::{PeerUrl, UrlError, UrlReason};
