//! A restored data dir in the hands of a real server: does it serve what was there?

use anyhow::{Context, Result, ensure};
use serde_json::json;

use crate::dataset::Dataset;
use crate::facts::{self, Content, content};
use crate::gateway::{Gateway, key};
use crate::load::ROOT_PASSWORD;
use crate::peers::{HashKv, Line};
use crate::restore_flags::RestoreFlags;
use crate::server::{Member, Spec, start_cluster};

/// What the restored members must serve.
#[derive(Clone, Debug)]
pub struct Expected {
    pub content: Content,
    pub hashes: Vec<HashKv>,
    pub auth: bool,
}

impl From<&Dataset> for Expected {
    fn from(set: &Dataset) -> Self {
        Expected { content: set.content.clone(), hashes: set.hashes.clone(), auth: set.auth }
    }
}

/// The start parameters of a member restored with `flags`.
pub fn spec(line: Line, flags: &RestoreFlags) -> Spec {
    Spec {
        line,
        name: flags.name.clone(),
        data_dir: flags.data_dir.clone(),
        wal_dir: flags.wal_dir.clone(),
        peer_url: flags.advertise.clone(),
        initial_cluster: flags.initial_cluster.clone(),
        extra: Vec::new(),
    }
}

/// A connection as the user who may do everything.
pub fn gateway(member: &Member, auth: bool) -> Result<Gateway> {
    let mut gateway = member.gateway();
    if auth {
        gateway.log_in("root", ROOT_PASSWORD)?;
    }
    Ok(gateway)
}

/// Boots the only member, compares everything, writes, compacts, restarts, compares again.
pub fn single_member_serves(line: Line, flags: &RestoreFlags, expected: &Expected) -> Result<()> {
    let members = vec![Member::start(spec(line, flags))?];
    cluster_serves(members, std::slice::from_ref(flags), expected)
}

/// Boots all members of a cluster together; otherwise as [`single_member_serves`].
pub fn members_serve(line: Line, flags: &[RestoreFlags], expected: &Expected) -> Result<()> {
    let members = start_cluster(flags.iter().map(|flags| spec(line, flags)).collect())?;
    cluster_serves(members, flags, expected)
}

/// As [`members_serve`], of members that run already.
pub fn cluster_serves(
    members: Vec<Member>,
    flags: &[RestoreFlags],
    expected: &Expected,
) -> Result<()> {
    for member in &members {
        let name = &member.spec.name;
        serves(member, flags, expected).with_context(|| format!("member {name}"))?;
    }
    // Life goes on: writes, a compaction, and a start from what those left on disk. The mark
    // stays below the last revision, because for the mark itself a server answers HashKV from
    // a cache that a restart forgets.
    let first = &members[0];
    let put = json!({"key": key(b"after-restore"), "value": key(b"written")});
    let first_gateway = gateway(first, expected.auth)?;
    first_gateway.call("kv/put", &put)?;
    first_gateway.call("kv/put", &put)?;
    let revision = expected.content.revision + 2;
    let compaction = json!({"revision": (revision - 1).to_string(), "physical": true});
    first_gateway.call("kv/compaction", &compaction)?;
    let before = after_write(first, expected, revision)?;

    let specs = members.into_iter().map(Member::sigterm).collect::<Result<Vec<_>>>()?;
    let members = start_cluster(specs)?;
    for member in &members {
        let after = after_write(member, expected, revision)?;
        ensure!(after == before, "after the second start {after:?}, before it {before:?}");
    }
    Ok(())
}

fn serves(member: &Member, flags: &[RestoreFlags], expected: &Expected) -> Result<()> {
    let line = member.spec.line;
    let gateway = gateway(member, expected.auth)?;
    compare_content(&content(&gateway)?, &expected.content)?;

    let (_, listed) = facts::members(&gateway)?;
    let mut listed: Vec<_> =
        listed.into_iter().map(|one| (one.name, one.peer_urls, one.is_learner)).collect();
    listed.sort();
    let wanted: Vec<_> = flags
        .iter()
        .map(|flags| (flags.name.clone(), vec![flags.advertise.clone()], false))
        .collect();
    ensure!(listed == wanted, "members {listed:?}, expected {wanted:?}");

    for hash in &expected.hashes {
        let served = facts::hashkv(line, &member.client_url, &gateway, hash.hash_revision)?;
        ensure!(served == *hash, "HashKV {served:?}, expected {hash:?}");
    }
    Ok(())
}

/// Field by field, so that a failure is readable.
pub fn compare_content(is: &Content, wanted: &Content) -> Result<()> {
    ensure!(is.revision == wanted.revision, "revision {}, not {}", is.revision, wanted.revision);
    ensure!(
        is.keys.len() == wanted.keys.len(),
        "{} keys, not {}",
        is.keys.len(),
        wanted.keys.len()
    );
    for (is, wanted) in is.keys.iter().zip(&wanted.keys) {
        ensure!(is == wanted, "key {is:?}, expected {wanted:?}");
    }
    ensure!(is.leases == wanted.leases, "leases {:?}, not {:?}", is.leases, wanted.leases);
    ensure!(is.users == wanted.users, "users {:?}, not {:?}", is.users, wanted.users);
    ensure!(is.roles == wanted.roles, "roles {:?}, not {:?}", is.roles, wanted.roles);
    ensure!(is.alarms == wanted.alarms, "alarms {:?}, not {:?}", is.alarms, wanted.alarms);
    Ok(())
}

/// What the last write and the compaction left, once this member has them too.
fn after_write(member: &Member, expected: &Expected, revision: i64) -> Result<(Content, HashKv)> {
    let gateway = gateway(member, expected.auth)?;
    let content = content(&gateway)?;
    ensure!(content.revision == revision, "revision {} instead of {revision}", content.revision);
    let written = key(b"written");
    ensure!(
        content.keys.iter().any(|kv| kv.mod_revision == revision && kv.value == written),
        "the key written after the restore is not there"
    );
    // The linearizable read above has made this member apply the compaction as well.
    let hash = facts::hashkv(member.spec.line, &member.client_url, &gateway, 0)?;
    Ok((content, hash))
}
