//! The v2 store's part in membership, up to 3.6: its JSON in a snapfile, and requests on it.

use std::{collections::BTreeMap, fmt};

use serde::{
    Deserialize, Deserializer,
    de::{IgnoredAny, MapAccess, Visitor},
};

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

/// The nodes right below the root.
#[derive(Default)]
struct Top {
    cluster: Option<Node>,
    /// Whether users keep anything in the store.
    used: bool,
}

/// A node of which only the names below it are of interest.
#[derive(Deserialize)]
struct Names {
    #[serde(rename = "Children", default)]
    children: Option<BTreeMap<String, IgnoredAny>>,
}

/// Users and roles of the v2 API, whose two directories stay when all are gone.
#[derive(Deserialize)]
struct Permissions {
    #[serde(rename = "Children", default)]
    children: Option<BTreeMap<String, Names>>,
}

impl<'de> Deserialize<'de> for Top {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        deserializer.deserialize_map(TopVisitor)
    }
}

struct TopVisitor;

impl<'de> Visitor<'de> for TopVisitor {
    type Value = Top;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("the nodes below the root of a v2 store")
    }

    fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<Top, A::Error> {
        let mut top = Top::default();
        while let Some(name) = map.next_key::<String>()? {
            match name.as_str() {
                "0" => top.cluster = map.next_value()?,
                "2" => {
                    let below: Permissions = map.next_value()?;
                    let mut below = below.children.iter().flat_map(BTreeMap::values);
                    top.used |= below.any(has_children);
                }
                _ => top.used |= has_children(&map.next_value()?),
            }
        }
        Ok(top)
    }
}

fn has_children(names: &Names) -> bool {
    names.children.as_ref().is_some_and(|children| !children.is_empty())
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
pub(crate) fn roster(json: &[u8]) -> Option<Roster> {
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

/// What a server looks at in the JSON of a v2 store before it starts.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(in crate::replay) struct Glance {
    /// The cluster's version.
    pub(in crate::replay) version: Option<String>,
    /// Whether users keep anything in it. Source: etcd `IsMetaStoreOnly`.
    pub(in crate::replay) used: bool,
}

/// Looks at the JSON of a v2 store; nothing is there when it cannot be read.
pub(in crate::replay) fn glance(json: &[u8]) -> Glance {
    let tree: Option<Tree> = serde_json::from_slice(json).ok();
    let top = tree.and_then(|tree| tree.root.children).unwrap_or_default();
    let version = top.cluster.as_ref().and_then(|cluster| cluster.child("version")?.value.clone());
    Glance { version, used: top.used }
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

    #[test]
    fn what_users_keep_and_the_version_are_seen() {
        let look = |top: &str| glance(format!(r#"{{"Root":{{"Children":{{{top}}}}}}}"#).as_bytes());
        let version = r#""0":{"Children":{"version":{"Value":"3.5.0","Children":null}}}"#;
        let of = |version: Option<&str>, used| Glance { version: version.map(str::to_owned), used };
        assert_eq!(look(version), of(Some("3.5.0"), false));
        assert_eq!(look(r#""1":{"Children":{}}"#), of(None, false));
        assert_eq!(look(r#""1":{"Children":{"k":{"Value":"v"}}}"#), of(None, true));
        let roles = |roles| {
            format!(
                r#""2":{{"Children":{{"enabled":{{"Value":"true","Children":null}},"roles":{{"Children":{{{roles}}}}}}}}}"#
            )
        };
        assert_eq!((look(&roles("")).used, look(&roles(r#""r":{}"#)).used), (false, true));
        assert_eq!(glance(b"{"), Glance::default());
    }
}
