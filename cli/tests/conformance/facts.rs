//! Everything a client can learn from a live member, in a form that can be compared.

use std::collections::BTreeMap;

use anyhow::{Context, Result};
use serde_json::{Value, json};

use crate::gateway::{Gateway, Reply, id, int, key, list, text};
use crate::load::ROOT_PASSWORD;
use crate::peers::{HashKv, Line, etcdctl};
use crate::server::Member;

/// A live key as a range request shows it; key and value in base64.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Kv {
    pub key: String,
    pub value: String,
    pub create_revision: i64,
    pub mod_revision: i64,
    pub version: i64,
    pub lease: i64,
}

/// A member as the member list shows it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct MemberFact {
    pub id: u64,
    pub name: String,
    pub peer_urls: Vec<String>,
    pub is_learner: bool,
}

/// What the data says, apart from who serves it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Content {
    pub revision: i64,
    pub keys: Vec<Kv>,
    /// Lease id → granted TTL in seconds and the keys attached, in base64.
    pub leases: BTreeMap<i64, (i64, Vec<String>)>,
    /// User → roles.
    pub users: BTreeMap<String, Vec<String>>,
    /// Role → permissions as (type, key, range end).
    pub roles: BTreeMap<String, Vec<(String, String, String)>>,
    /// (member id, kind)
    pub alarms: Vec<(u64, String)>,
}

/// Reads all of [`Content`].
pub fn content(gateway: &Gateway) -> Result<Content> {
    let (revision, keys) = keys_at(gateway, 0)?;
    Ok(Content {
        revision,
        keys,
        leases: leases(gateway)?,
        users: named(gateway, "user", "users", |user| {
            let mut roles: Vec<String> = list(&user["roles"]).iter().map(text).collect();
            roles.sort();
            roles
        })?,
        roles: named(gateway, "role", "roles", |role| {
            let permission = |perm: &Value| {
                // READ is the zero of its enum and may be left out.
                let kind = perm["permType"].as_str().unwrap_or("READ").to_owned();
                (kind, text(&perm["key"]), text(&perm["range_end"]))
            };
            // From 3.6 on the answer shows what root may do, which is not stored.
            let perms = list(&role["perm"]).iter().filter(|perm| !text(&perm["key"]).is_empty());
            perms.map(permission).collect()
        })?,
        alarms: alarms(gateway)?,
    })
}

/// The server's revision, and all keys as of `revision` (0: the latest).
pub fn keys_at(gateway: &Gateway, revision: i64) -> Result<(i64, Vec<Kv>)> {
    let everything =
        json!({"key": key(b"\0"), "range_end": key(b"\0"), "revision": revision.to_string()});
    let range = gateway.call("kv/range", &everything)?;
    let keys = list(&range["kvs"]).iter().map(kv).collect::<Result<Vec<_>>>()?;
    Ok((int(&range["header"]["revision"])?, keys))
}

/// A key as etcd's JSON shows it.
pub fn kv(kv: &Value) -> Result<Kv> {
    Ok(Kv {
        key: text(&kv["key"]),
        value: text(&kv["value"]),
        create_revision: int(&kv["create_revision"])?,
        mod_revision: int(&kv["mod_revision"])?,
        version: int(&kv["version"])?,
        lease: int(&kv["lease"])?,
    })
}

fn leases(gateway: &Gateway) -> Result<BTreeMap<i64, (i64, Vec<String>)>> {
    let answer = gateway.call("lease/leases", &json!({}))?;
    let mut leases = BTreeMap::new();
    for lease in list(&answer["leases"]) {
        let id = int(&lease["ID"])?;
        let asked = json!({"ID": id.to_string(), "keys": true});
        let one = gateway.call("lease/timetolive", &asked)?;
        let mut keys: Vec<String> = list(&one["keys"]).iter().map(text).collect();
        keys.sort();
        leases.insert(id, (int(&one["grantedTTL"])?, keys));
    }
    Ok(leases)
}

/// All users or all roles, each through its own request.
fn named<T>(
    gateway: &Gateway,
    kind: &str,
    plural: &str,
    read: impl Fn(&Value) -> T,
) -> Result<BTreeMap<String, T>> {
    let answer = gateway.call(&format!("auth/{kind}/list"), &json!({}))?;
    let mut all = BTreeMap::new();
    for name in list(&answer[plural]).iter().map(text) {
        // `{"name": …}` for users, `{"role": …}` for roles.
        let field = if kind == "user" { "name" } else { "role" };
        let one = match gateway.send(&format!("auth/{kind}/get"), &json!({ field: name }))? {
            Reply::Done(one) => one,
            // The role `root` may be granted without existing.
            Reply::Refused(_) => Value::Null,
        };
        all.insert(name, read(&one));
    }
    Ok(all)
}

fn alarms(gateway: &Gateway) -> Result<Vec<(u64, String)>> {
    let answer = gateway.call("maintenance/alarm", &json!({"action": "GET"}))?;
    let alarm = |alarm: &Value| Ok((id(&alarm["memberID"])?, text(&alarm["alarm"])));
    let mut alarms = list(&answer["alarms"]).iter().map(alarm).collect::<Result<Vec<_>>>()?;
    alarms.sort();
    Ok(alarms)
}

/// The cluster id and its members, by id.
pub fn members(gateway: &Gateway) -> Result<(u64, Vec<MemberFact>)> {
    let answer = gateway.call("cluster/member/list", &json!({}))?;
    let member = |member: &Value| {
        Ok(MemberFact {
            id: id(&member["ID"])?,
            name: text(&member["name"]),
            peer_urls: list(&member["peerURLs"]).iter().map(text).collect(),
            is_learner: member["isLearner"] == json!(true),
        })
    };
    let mut members = list(&answer["members"]).iter().map(member).collect::<Result<Vec<_>>>()?;
    members.sort_by_key(|member| member.id);
    Ok((id(&answer["header"]["cluster_id"])?, members))
}

/// The member's HashKV at `revision` (0: the latest), or the reason for its refusal.
pub fn hashkv(line: Line, client_url: &str, gateway: &Gateway, revision: i64) -> Result<HashKv> {
    hashkv_as(None, line, client_url, gateway, revision)
}

/// The member's latest HashKV, asked by a user who may do everything when `auth` is on.
pub fn latest_hashkv(member: &Member, gateway: &Gateway, auth: bool) -> Result<HashKv> {
    let root = format!("root:{ROOT_PASSWORD}");
    let user = auth.then_some(root.as_str());
    let ask = |revision| hashkv_as(user, member.spec.line, &member.client_url, gateway, revision);
    let hash = ask(0)?;
    // A compaction at revision 0 leaves its hash in the cache of 3.5 and later, under revision 0.
    if hash.compact_revision < 0 { ask(hash.hash_revision) } else { Ok(hash) }
}

fn hashkv_as(
    user: Option<&str>,
    line: Line,
    client_url: &str,
    gateway: &Gateway,
    revision: i64,
) -> Result<HashKv> {
    let hash = |answer: &Value, header: &Value| -> Result<HashKv> {
        let current = int(&header["revision"])?;
        Ok(HashKv {
            hash: u32::try_from(int(&answer["hash"])?)?,
            hash_revision: if revision == 0 { current } else { revision },
            compact_revision: int(&answer["compact_revision"])?,
        })
    };
    if line == Line::V34 {
        // 3.4 has the call, but does not offer it through the gateway.
        let revision = revision.to_string();
        let args = ["endpoint", "hashkv", "--rev", &revision].map(std::ffi::OsStr::new);
        let answer = etcdctl(line, client_url, user, &args)?;
        let answer = &answer[0]["HashKV"];
        return hash(answer, &answer["header"]).with_context(|| format!("{answer}"));
    }
    let answer = gateway.call("maintenance/hashkv", &json!({"revision": revision.to_string()}))?;
    hash(&answer, &answer["header"]).with_context(|| format!("{answer}"))
}
