//! A short life with known facts, told on a real server: leases whose keys all begin alike, a
//! lease whose keys do not, and one that is revoked after the point that tests go back to.

use std::collections::BTreeMap;
use std::path::PathBuf;
use std::sync::Arc;

use anyhow::{Result, ensure};
use serde_json::json;

use crate::dataset::{Slot, new_dir, shared};
use crate::facts::{Content, Kv, content, keys_at};
use crate::gateway::{Gateway, bytes, key};
use crate::peers::{Line, etcdctl};
use crate::server::{Member, Spec, free_url};

/// Its keys all begin with `drop/`.
pub const OF_DROPPED: i64 = 0x1001;
/// One key of either kind.
pub const MIXED: i64 = 0x1002;
/// Its keys all begin with `keep/`.
pub const OF_KEPT: i64 = 0x1003;
/// Revoked right after [`Story::point`]; one key of either kind.
pub const LOST: i64 = 0x1004;
/// Never had a key.
pub const IDLE: i64 = 0x1005;
/// The keys of [`LOST`], in order.
pub const LOST_KEYS: [&str; 2] = ["drop/lost", "keep/lost"];

/// What the server said, and what it streamed.
pub struct Story {
    pub line: Line,
    pub snapshot: PathBuf,
    /// A revision at which the keys of [`LOST`] exist; now the lease does not.
    pub point: i64,
    pub at_point: Vec<Kv>,
    pub content: Content,
}

/// The story as told on `line`. It was never compacted, and the newest record belongs to a key
/// that begins with `drop/`.
pub fn of(line: Line) -> Result<Arc<Story>> {
    static SLOTS: [Slot<Story>; 4] = [const { Slot::new() }; 4];
    shared(&SLOTS[line as usize], || make(line))
}

fn make(line: Line) -> Result<Story> {
    let dir = new_dir(&format!("story-{}", line.tag()))?;
    let member = Member::start(Spec::single(line, &dir.join("live"), &free_url()?))?;
    let gateway = member.gateway();
    for lease in [OF_DROPPED, MIXED, OF_KEPT, LOST, IDLE] {
        // Far beyond any test's time.
        let body = json!({"ID": lease.to_string(), "TTL": "90000"});
        gateway.call("lease/grant", &body)?;
    }
    for (name, lease) in [
        ("keep/often", 0),
        ("keep/often", 0),
        ("drop/plain", 0),
        ("keep/leased", OF_KEPT),
        ("keep/mixed", MIXED),
        ("drop/mixed", MIXED),
        ("drop/leased", OF_DROPPED),
        ("drop/leased-too", OF_DROPPED),
        ("keep/gone", 0),
        ("keep/lost", 0),
        ("keep/lost", LOST),
        ("drop/lost", LOST),
        ("keep/short-lived", 0),
    ] {
        put(&gateway, name, lease)?;
    }
    delete(&gateway, "keep/gone")?;
    let (point, at_point) = keys_at(&gateway, 0)?;

    gateway.call("lease/revoke", &json!({"ID": LOST.to_string()}))?;
    for name in ["keep/often", "keep/late", "drop/plain"] {
        put(&gateway, name, 0)?;
    }
    delete(&gateway, "keep/short-lived")?;
    put(&gateway, "drop/last", 0)?;
    let content = content(&gateway)?;
    ensure!(!content.leases.contains_key(&LOST), "{:?}", content.leases);

    let snapshot = dir.join("snapshot.db");
    let args = ["snapshot".as_ref(), "save".as_ref(), snapshot.as_os_str()];
    etcdctl(line, &member.client_url, None, &args)?;
    Ok(Story { line, snapshot, point, at_point, content })
}

fn put(gateway: &Gateway, name: &str, lease: i64) -> Result<()> {
    let value = key(format!("{name} with {lease}").as_bytes());
    let body = json!({"key": key(name.as_bytes()), "value": value, "lease": lease.to_string()});
    gateway.call("kv/put", &body).map(drop)
}

fn delete(gateway: &Gateway, name: &str) -> Result<()> {
    gateway.call("kv/deleterange", &json!({"key": key(name.as_bytes())})).map(drop)
}

/// What a server says whose keys are `keys` at `revision`: everything else as in `content`, and
/// of the leases there those that `has` takes.
pub fn with_keys(
    content: &Content,
    revision: i64,
    keys: Vec<Kv>,
    has: impl Fn(i64) -> bool,
) -> Content {
    let mut leases: BTreeMap<i64, (i64, Vec<String>)> = content.leases.clone();
    leases.retain(|lease, _| has(*lease));
    for (lease, (_, attached)) in &mut leases {
        let of_lease = keys.iter().filter(|kv| kv.lease == *lease);
        *attached = of_lease.map(|kv| kv.key.clone()).collect();
        attached.sort();
    }
    Content { revision, keys, leases, ..content.clone() }
}

/// Whether the key begins with `prefix`.
pub fn begins(kv: &Kv, prefix: &str) -> bool {
    bytes(&kv.key).is_ok_and(|name| name.starts_with(prefix.as_bytes()))
}
