//! The v2 store's part in membership, up to 3.6: its JSON in a snapfile, and requests on it.

use std::collections::BTreeMap;

use serde::Deserialize;

use super::roster::Roster;
use crate::{ids::MemberId, pb::requestpb::V2Request, schema::members::Member};

/// What a request of the v2 API does to the db.
#[derive(Debug, PartialEq, Eq)]
pub(in crate::replay) enum Effect {
    /// A member publishes name and client URLs.
    Attributes(MemberId, String, Vec<String>),
    /// The cluster's version is set.
    Version(String),
}

#[derive(Deserialize)]
struct Attributes {
    #[serde(default)]
    name: String,
    #[serde(rename = "clientURLs", default)]
    client_urls: Option<Vec<String>>,
}

#[derive(Deserialize)]
struct RaftAttributes {
    #[serde(rename = "peerURLs", default)]
    peer_urls: Option<Vec<String>>,
    #[serde(rename = "isLearner", default)]
    is_learner: bool,
}

/// The effect of `request`; `None` when it touches the v2 store alone.
pub(in crate::replay) fn effect(request: &V2Request) -> Option<Effect> {
    if request.method != b"PUT" {
        return None;
    }
    // As Go's decoder does with what is no UTF-8.
    let val = String::from_utf8_lossy(&request.val);
    if request.path == b"/0/version" {
        return Some(Effect::Version(val.into_owned()));
    }
    let path = std::str::from_utf8(&request.path).ok()?;
    let id = path.strip_prefix("/0/members/")?.strip_suffix("/attributes")?;
    let id = MemberId(u64::from_str_radix(id, 16).ok()?);
    let attributes: Attributes = serde_json::from_str(&val).ok()?;
    Some(Effect::Attributes(id, attributes.name, attributes.client_urls.unwrap_or_default()))
}

/// A node of the v2 store: a file or a directory.
#[derive(Deserialize)]
struct Node {
    #[serde(rename = "Value", default)]
    value: Option<String>,
    #[serde(rename = "Children", default)]
    children: Option<BTreeMap<String, Node>>,
}

/// Of all nodes only those of the cluster are looked at: what users keep beside them may be nested to any depth.
#[derive(Deserialize)]
struct Tree {
    #[serde(rename = "Root")]
    root: Root,
}

#[derive(Deserialize)]
struct Root {
    #[serde(rename = "Children")]
    children: Option<Top>,
}

#[derive(Deserialize)]
struct Top {
    #[serde(rename = "0")]
    cluster: Option<Node>,
}

impl Node {
    fn child(&self, name: &str) -> Option<&Node> {
        self.children.as_ref()?.get(name)
    }

    fn json<T: serde::de::DeserializeOwned>(&self, name: &str) -> Option<T> {
        serde_json::from_str(self.child(name)?.value.as_deref()?).ok()
    }
}

/// The members in the JSON of a v2 store; `None` when it has none.
pub(super) fn roster(json: &[u8]) -> Option<Roster> {
    let Tree { root } = serde_json::from_slice(json).ok()?;
    let cluster = root.children?.cluster?;
    let mut roster = Roster::default();
    for (id, node) in cluster.child("members")?.children.iter().flatten() {
        let id = MemberId(u64::from_str_radix(id, 16).ok()?);
        let raft: RaftAttributes = node.json("raftAttributes")?;
        let attributes: Option<Attributes> = node.json("attributes");
        let (name, client_urls) = attributes
            .map_or_else(Default::default, |own| (own.name, own.client_urls.unwrap_or_default()));
        let peer_urls = raft.peer_urls.unwrap_or_default();
        let is_learner = raft.is_learner;
        roster.insert(Member { id, peer_urls, is_learner, name, client_urls });
    }
    for (id, _) in cluster
        .child("removed_members")
        .and_then(|node| node.children.as_ref())
        .into_iter()
        .flatten()
    {
        roster.ban(MemberId(u64::from_str_radix(id, 16).ok()?));
    }
    Some(roster)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn put(path: &str, val: &str) -> V2Request {
        V2Request {
            method: b"PUT".to_vec(),
            path: path.into(),
            val: val.into(),
            ..V2Request::default()
        }
    }

    #[test]
    fn two_requests_touch_the_db() {
        let attributes = r#"{"name":"n0","clientURLs":["http://c"]}"#;
        assert_eq!(
            effect(&put("/0/members/8e9e05c52164694d/attributes", attributes)),
            Some(Effect::Attributes(
                MemberId(0x8e9e05c52164694d),
                "n0".into(),
                vec!["http://c".into()]
            ))
        );
        assert_eq!(effect(&put("/0/version", "3.5.0")), Some(Effect::Version("3.5.0".into())));
        assert_eq!(effect(&put("/1/key", "value")), None);
        assert_eq!(effect(&V2Request { method: b"SYNC".to_vec(), ..put("/0/version", "1") }), None);
    }

    #[test]
    fn members_are_read_from_a_v2_store() {
        let json = br#"{"Root":{"Path":"/","Value":"","Children":{"0":{"Children":{
            "members":{"Children":{"a1":{"Children":{
                "raftAttributes":{"Value":"{\"peerURLs\":[\"http://p\"],\"isLearner\":true}","Children":null},
                "attributes":{"Value":"{\"name\":\"n\",\"clientURLs\":[\"http://c\"]}","Children":null}}}}},
            "removed_members":{"Children":{"b2":{"Value":"removed","Children":null}}}}}}}}"#;
        let roster = roster(json).unwrap();
        let member = roster.get(MemberId(0xa1)).unwrap();
        assert_eq!((member.name.as_str(), member.is_learner), ("n", true));
        assert_eq!(member.peer_urls, ["http://p"]);
        assert!(roster.removed().contains(&MemberId(0xb2)));
        assert_eq!(super::roster(b"{}"), None);
    }

    #[test]
    fn what_users_keep_beside_the_members_may_be_nested_to_any_depth() {
        let deep = [r#"{"Children":{"k":"#.repeat(5000), "{}".into(), "}}".repeat(5000)].concat();
        let member = r#"{"Children":{"raftAttributes":{"Value":"{\"peerURLs\":[\"http://p\"]}"}}}"#;
        let json = format!(
            r#"{{"Root":{{"Children":{{"1":{deep},"0":{{"Children":{{"members":{{"Children":{{"a1":{member}}}}}}}}}}}}}}}"#
        );
        assert!(roster(json.as_bytes()).unwrap().get(MemberId(0xa1)).is_some());
    }
}
