//! The words of the command line.

use std::path::Path;

use super::urls::{client_urls, listened};
use crate::{ids::MemberId, schema::members};

/// Size of the database from which etcd takes no writes unless told otherwise, in bytes. Source: etcd
/// `server/storage/quota.go`.
const DEFAULT_QUOTA: u64 = 2 << 30;
/// The largest quota that etcd recommends, in bytes.
const RECOMMENDED_QUOTA: u64 = 8 << 30;
/// Flags that a start with https needs, each with what stands for the operator's own file.
const PEER_CERTIFICATES: [(&str, &str); 3] = [
    ("--peer-cert-file", "/path/to/peer.crt"),
    ("--peer-key-file", "/path/to/peer.key"),
    ("--peer-trusted-ca-file", "/path/to/peer-ca.crt"),
];
const CLIENT_CERTIFICATES: [(&str, &str); 3] = [
    ("--cert-file", "/path/to/server.crt"),
    ("--key-file", "/path/to/server.key"),
    ("--trusted-ca-file", "/path/to/client-ca.crt"),
];

/// A member of a cluster that is started.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Node {
    /// Its id; tells members of one name apart.
    pub id: MemberId,
    /// Its name.
    pub name: String,
    /// Its peer URLs; at least one.
    pub peer_urls: Vec<String>,
}

/// How members of one cluster are started.
#[derive(Clone, Debug)]
pub struct Start<'s> {
    /// `--initial-cluster`.
    pub initial_cluster: &'s str,
    /// `--initial-cluster-token`; `None` for a member that joins.
    pub token: Option<&'s str>,
    /// Size of the database in bytes, or 0.
    pub db_bytes: u64,
    clients: Vec<(MemberId, Vec<String>)>,
}

impl<'s> Start<'s> {
    /// Of `nodes`, with all that share a host among them. `old` are the members that the data lists: a member of the same
    /// name serves clients where it did.
    pub fn new(nodes: &[Node], old: &[members::Member], initial_cluster: &'s str) -> Self {
        let clients = client_urls(nodes, old).into_iter();
        let clients = clients.map(|(node, urls)| (node.id, urls)).collect();
        Self { initial_cluster, token: None, db_bytes: 0, clients }
    }

    /// The command line of `node`, as words.
    pub fn words(&self, node: &Node, data_dir: &Path, wal_dir: Option<&Path>) -> Vec<String> {
        let found = self.clients.iter().find(|(id, _)| *id == node.id);
        let clients = found.map_or(&[][..], |(_, urls)| urls);
        let peers = &node.peer_urls;
        let mut words = vec!["etcd".to_owned()];
        let mut flag = |name: &str, value: &str| words.extend([name.to_owned(), value.to_owned()]);
        flag("--name", &node.name);
        flag("--data-dir", &data_dir.display().to_string());
        if let Some(wal_dir) = wal_dir {
            flag("--wal-dir", &wal_dir.display().to_string());
        }
        flag("--initial-advertise-peer-urls", &peers.join(","));
        flag("--listen-peer-urls", &listened(peers).join(","));
        flag("--listen-client-urls", &listened(clients).join(","));
        flag("--advertise-client-urls", &clients.join(","));
        flag("--initial-cluster", self.initial_cluster);
        match self.token {
            Some(token) => flag("--initial-cluster-token", token),
            None => flag("--initial-cluster-state", "existing"),
        }
        for (urls, certificates) in
            [(&peers[..], PEER_CERTIFICATES), (clients, CLIENT_CERTIFICATES)]
        {
            if urls.iter().any(|url| url.starts_with("https:") || url.starts_with("unixs:")) {
                certificates.iter().for_each(|(name, placeholder)| flag(name, placeholder));
            }
        }
        if let Some(quota) = quota(self.db_bytes) {
            flag("--quota-backend-bytes", &quota.to_string());
        }
        words
    }
}

/// The quota a database needs that etcd's default would keep from taking writes.
fn quota(db_bytes: u64) -> Option<u64> {
    const GIB: u64 = 1 << 30;
    (db_bytes >= DEFAULT_QUOTA).then(|| {
        let roomy = db_bytes.saturating_add(db_bytes / 2).div_ceil(GIB).saturating_mul(GIB);
        roomy.max(RECOMMENDED_QUOTA)
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_database_above_the_default_quota_gets_a_larger_one() {
        const GIB: u64 = 1 << 30;
        assert_eq!(quota(2 * GIB - 1), None);
        assert_eq!(quota(2 * GIB), Some(8 * GIB));
        assert_eq!(quota(8 * GIB), Some(12 * GIB));
        assert_eq!(quota(u64::MAX), Some(u64::MAX));
    }

    #[test]
    fn https_asks_for_certificates() {
        let url = "https://h:2380".to_owned();
        let node = Node { id: MemberId(1), name: "a".into(), peer_urls: vec![url] };
        let old = |clients: &str| members::Member {
            id: MemberId(9),
            peer_urls: Vec::new(),
            is_learner: false,
            name: "a".into(),
            client_urls: vec![clients.to_owned()],
        };
        let line = |clients: &str| {
            let nodes = [node.clone()];
            let mut start = Start::new(&nodes, &[old(clients)], "a=https://h:2380");
            start.token = Some("t");
            start.words(&node, "/nowhere/a".as_ref(), Some("/nowhere/wal".as_ref())).join(" ")
        };
        let text = line("https://h:2379");
        for (name, placeholder) in PEER_CERTIFICATES.into_iter().chain(CLIENT_CERTIFICATES) {
            assert!(text.contains(&format!(" {name} {placeholder}")), "{text}");
        }
        assert!(
            text.contains("--wal-dir /nowhere/wal --initial-advertise-peer-urls https://h:2380")
        );
        assert!(text.contains("--listen-peer-urls https://0.0.0.0:2380"), "{text}");
        let text = line("http://h:2379");
        assert!(text.contains("--peer-cert-file") && !text.contains(" --cert-file"), "{text}");
    }
}
