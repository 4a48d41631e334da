//! The v2 store's JSON inside a restored snapfile.
//!
//! etcd up to 3.5 reads its membership from it, 3.6 reads it and looks elsewhere, 3.7 does not read it.
//! Written is the least that all of them accept: the tree of members and the counters, without the
//! history of events and the statistics that a server adds.

use std::collections::BTreeMap;

use serde::Serialize;

use super::identity::Cluster;
use super::json;

#[derive(Serialize)]
#[serde(rename_all = "PascalCase")]
struct Store {
    root: Node,
    current_index: u64,
    current_version: u64,
}

#[derive(Serialize)]
#[serde(rename_all = "PascalCase")]
struct Node {
    path: String,
    created_index: u64,
    modified_index: u64,
    expire_time: &'static str,
    value: String,
    /// `None` for a file, which is what tells it from an empty directory.
    children: Option<BTreeMap<String, Node>>,
}

/// Go's zero time: the node never expires.
const NEVER: &str = "0001-01-01T00:00:00Z";
/// The only version of this JSON there is.
const STORE_VERSION: u64 = 2;

impl Node {
    fn file(path: String, index: u64, value: String) -> Self {
        Self {
            path,
            created_index: index,
            modified_index: index,
            expire_time: NEVER,
            value,
            children: None,
        }
    }

    fn directory<const N: usize>(path: &str, index: u64, children: [(&str, Node); N]) -> Self {
        let children = children.map(|(name, node)| (name.to_owned(), node));
        Self {
            children: Some(children.into()),
            ..Self::file(path.to_owned(), index, String::new())
        }
    }
}

/// The JSON for a cluster whose members joined in the order of their ids.
pub(super) fn v2_store_json(cluster: &Cluster) -> String {
    let mut members = Node::directory("/0/members", 1, []);
    let mut index = 0;
    for member in &cluster.members {
        index += 1;
        let path = format!("/0/members/{}", member.id);
        let attributes = format!("{path}/raftAttributes");
        let attributes = Node::file(attributes, index, json::raft_attributes_json(member));
        let node = Node::directory(&path, index, [("raftAttributes", attributes)]);
        members.children.get_or_insert_default().insert(member.id.to_string(), node);
    }
    let cluster_root = Node::directory("/0", 0, [("members", members)]);
    let keys_root = Node::directory("/1", 0, []);
    let root = Node::directory("/", 0, [("0", cluster_root), ("1", keys_root)]);
    crate::schema::json::go_json(&Store {
        root,
        current_index: index,
        current_version: STORE_VERSION,
    })
}
