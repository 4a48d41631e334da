//! What a crashed member would serve: asked of the same server, restarted on a copy, and of
//! `etcdsnap`, looking at the original.

use std::collections::BTreeMap;
use std::fs;
use std::path::Path;

use anyhow::{Context, Result, ensure};
use etcdsnap_engine::bolt::{Bucket, Db};
use etcdsnap_engine::limits::Limits;
use etcdsnap_engine::pb::authpb;
use prost::Message as _;

use crate::boot::{self, compare_content};
use crate::facts::{self, Content, MemberFact, content};
use crate::files::{copy_tree, traces};
use crate::ours;
use crate::peers::{self, HashKv, Line};
use crate::restore_flags::RestoreFlags;
use crate::restoring::done;
use crate::server::{Member, Spec, free_url};

/// Small buckets a restart does not add to, compared byte for byte.
const BUCKETS: [&str; 6] = ["alarm", "auth", "authRoles", "authUsers", "lease", "members_removed"];

/// The bucket HashKV covers. Byte for byte only unless a compaction goes on in the background.
const RECORDS: &str = "key";

/// Bucket → key → value.
type Buckets = BTreeMap<String, BTreeMap<Vec<u8>, Vec<u8>>>;

/// What the restarted server said, and what it had on disk when it was stopped.
#[derive(Debug)]
pub struct Verdict {
    pub line: Line,
    pub content: Content,
    pub hash: HashKv,
    pub members: Vec<MemberFact>,
    pub auth: bool,
    buckets: Buckets,
}

/// Restarts the server of `spec` on a copy of `spec.data_dir` and asks it everything.
pub fn judge(spec: &Spec, place: &Path) -> Result<Verdict> {
    let copy = place.join("judged");
    copy_tree(&spec.data_dir, &copy)?;
    let member = Member::start(Spec { data_dir: copy.clone(), ..spec.clone() })?;
    let mut gateway = member.gateway();
    let auth = gateway.try_log_in("root", crate::load::ROOT_PASSWORD)?;
    // First a linearizable read: HashKV does not wait until the log is applied.
    let content = content(&gateway)?;
    let hash = facts::latest_hashkv(&member, &gateway, auth)?;
    let (_, members) = facts::members(&gateway)?;
    let line = spec.line;
    member.sigterm()?;
    let buckets = buckets(&copy.join("member/snap/db"), line)?;
    fs::remove_dir_all(&copy)?;
    Ok(Verdict { line, content, hash, members, auth, buckets })
}

/// The [`BUCKETS`] of a db. Of users, what 3.4 makes up anew with every replay is left out.
fn buckets(db: &Path, line: Line) -> Result<Buckets> {
    let bytes = fs::read(db).with_context(|| format!("reading {}", db.display()))?;
    let db = Db::from_bytes(&bytes, Limits::default())?;
    let mut all = Buckets::new();
    for named in db.root().items() {
        let named = named?;
        let name = String::from_utf8_lossy(named.key).into_owned();
        if name != RECORDS && !BUCKETS.contains(&name.as_str()) {
            continue;
        }
        let mut pairs = BTreeMap::new();
        for pair in Bucket::from_item(db, &named)?.items() {
            let pair = pair?;
            let value = match (name.as_str(), line) {
                ("authUsers", Line::V34) => without_password(pair.value)?,
                _ => pair.value.to_vec(),
            };
            pairs.insert(pair.key.to_vec(), value);
        }
        // Whether an empty bucket is there depends on the version.
        if !pairs.is_empty() {
            all.insert(name, pairs);
        }
    }
    Ok(all)
}

fn without_password(user: &[u8]) -> Result<Vec<u8>> {
    let mut user = authpb::User::decode(user)?;
    user.password.clear();
    Ok(user.encode_to_vec())
}

/// Everything `etcdsnap` says of `data_dir`, which it must leave as it is.
pub fn agrees(data_dir: &Path, verdict: &Verdict, place: &Path, more: &[&str]) -> Result<()> {
    let before = traces(data_dir)?;
    let saved = place.join("saved.db");
    done(ours::save(data_dir, &saved, more)?)?;
    let buckets = buckets(&saved, verdict.line)?;
    let hash = ours::hashkv(data_dir, 0, more)?;
    ensure!(
        hash == verdict.hash,
        "HashKV {hash:?}, the server says {:?}; {}",
        verdict.hash,
        first_record_apart(&buckets, verdict)
    );
    let status = ours::status(data_dir, more)?;
    ensure!(status.revision == verdict.content.revision, "{status:?}");
    ensure!(status.total_key == verdict.content.keys.len() as u64, "{status:?}");
    for name in BUCKETS {
        let (own, wanted) = (buckets.get(name), verdict.buckets.get(name));
        ensure!(own == wanted, "bucket {name}: {}", difference(own, wanted));
    }
    compare_content(&ours::content(data_dir, more)?, &verdict.content)?;
    same_members(data_dir, verdict, more)?;
    ensure!(traces(data_dir)? == before, "the data dir has changed");
    Ok(())
}

/// The first record in which two key spaces differ, above what compactions may have removed.
fn first_record_apart(own: &Buckets, verdict: &Verdict) -> String {
    let from = (verdict.hash.compact_revision.max(0) + 1).to_be_bytes().to_vec();
    let above = |buckets: &Buckets| -> BTreeMap<Vec<u8>, Vec<u8>> {
        let records = buckets.get(RECORDS).into_iter().flatten();
        records.filter(|(key, _)| **key >= from).map(|(k, v)| (k.clone(), v.clone())).collect()
    };
    difference(Some(&above(own)), Some(&above(&verdict.buckets)))
}

/// The first pair in which two buckets differ.
fn difference(
    own: Option<&BTreeMap<Vec<u8>, Vec<u8>>>,
    wanted: Option<&BTreeMap<Vec<u8>, Vec<u8>>>,
) -> String {
    let empty = BTreeMap::new();
    let (own, wanted) = (own.unwrap_or(&empty), wanted.unwrap_or(&empty));
    let text = |value: Option<&Vec<u8>>| value.map(|value| value.escape_ascii().to_string());
    let mut keys: Vec<&Vec<u8>> = own.keys().chain(wanted.keys()).collect();
    keys.sort();
    let different = keys.into_iter().find(|key| own.get(*key) != wanted.get(*key));
    different.map_or_else(String::new, |key| {
        let (own, wanted) = (text(own.get(key)), text(wanted.get(key)));
        format!("{}: {own:?}, the server has {wanted:?}", key.escape_ascii())
    })
}

fn same_members(data_dir: &Path, verdict: &Verdict, more: &[&str]) -> Result<()> {
    let mut own = ours::members(data_dir, more)?;
    own.sort_by_key(|member| member.id);
    // A member publishes its name after every start: a crash may come before the first time.
    let bare = |members: &[MemberFact]| -> Vec<(u64, Vec<String>, bool)> {
        members.iter().map(|one| (one.id, one.peer_urls.clone(), one.is_learner)).collect()
    };
    let (own, wanted) = (bare(&own), bare(&verdict.members));
    ensure!(own == wanted, "members {own:?}, the server says {wanted:?}");
    Ok(())
}

/// A snapshot of the replayed state, restored: a real server serves the same from it.
pub fn restored_serves(
    data_dir: &Path,
    verdict: &Verdict,
    place: &Path,
    more: &[&str],
) -> Result<()> {
    let saved = place.join("to-restore.db");
    done(ours::save(data_dir, &saved, more)?)?;
    let flags = RestoreFlags::single(place.join("restored"), &free_url()?);
    done(ours::restore(&saved, &flags, &[])?)?;
    peers::status(Line::V37, &saved)?;
    let member = Member::start(boot::spec(verdict.line, &flags))?;
    let gateway = boot::gateway(&member, verdict.auth)?;
    compare_content(&content(&gateway)?, &verdict.content)?;
    let hash = facts::latest_hashkv(&member, &gateway, verdict.auth)?;
    ensure!(hash == verdict.hash, "restored HashKV {hash:?}, before {:?}", verdict.hash);
    member.sigkill()?;
    fs::remove_dir_all(&flags.data_dir)?;
    Ok(())
}
