//! Which server starts on which data, and whose rules are followed: what the program says, and what real servers do.
//!
//! The danger guarded against: an admin who is told that a server will start and meets one that does not, on the one night
//! when there is no other; and writes shown by the rules of a server that did not make them.

use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use anyhow::{Context, Result, bail, ensure};
use etcdsnap_engine::{
    bolt::{patch::Patch, write::BucketOptions},
    limits::Limits,
    schema::{Store, bucket, json, meta},
    snapshot::Image,
};
use serde_json::{Value, json};

use crate::crash::LAZY;
use crate::facts;
use crate::files::copy_tree;
use crate::gateway::{Gateway, key};
use crate::ours;
use crate::peers::{Line, Needs};
use crate::restore_flags::RestoreFlags;
use crate::server::{Member, Spec, free_url};
use crate::suite::{Suite, is_long};

/// How long a downgrade may take to lower the versions.
const PATIENCE: Duration = Duration::from_secs(60);

pub fn trials(suite: &mut Suite) {
    let needs = || Needs::lines(&Line::ALL);
    for line in Line::ALL {
        suite.add(
            format!("versions::servers_start_on_data_of_{}_as_said", line.tag()),
            needs(),
            move |dir| held_against_servers(&Data::plain(line), dir),
        );
        suite.add(
            format!("versions::rules_are_those_of_{}_on_restored_data_of_others", line.tag()),
            needs(),
            move |dir| rules_of(line, dir),
        );
    }
    for line in [Line::V36, Line::V37] {
        let mut all = vec![("begun", Data { downgrade: Some(false), ..Data::plain(line) })];
        if is_long() {
            all.push(("lowered", Data { downgrade: Some(true), ..Data::plain(line) }));
        }
        for (how, data) in all {
            suite.add(
                format!("versions::servers_start_on_a_{how}_downgrade_of_{}_as_said", line.tag()),
                needs(),
                move |dir| held_against_servers(&data, dir),
            );
        }
    }
    if is_long() {
        for line in Line::ALL {
            for killed in [false, true] {
                let data = Data {
                    killed,
                    asked_for_health: true,
                    snapshots: !killed,
                    ..Data::plain(line)
                };
                let how = if killed { "killed" } else { "snapshotting" };
                suite.add(
                    format!("versions::servers_start_on_a_{how}_{}_as_said", line.tag()),
                    needs(),
                    move |dir| held_against_servers(&data, dir),
                );
            }
        }
        for storage in [None, Some("3.6.0"), Some("3.7.0")] {
            suite.add(
                format!(
                    "versions::servers_start_on_storage_version_{}_as_said",
                    storage.unwrap_or("none")
                ),
                needs(),
                move |dir| made_up(storage, dir),
            );
        }
    } else {
        suite.add("versions::servers_start_on_a_killed_36_as_said", needs(), |dir| {
            held_against_servers(&Data { killed: true, ..Data::plain(Line::V36) }, dir)
        });
    }
}

/// How data is made.
#[derive(Clone, Copy, Debug)]
struct Data {
    line: Line,
    /// A downgrade is begun, and perhaps waited for until the versions are lowered.
    downgrade: Option<bool>,
    /// The server is killed with everything pending.
    killed: bool,
    /// Somebody asks for the health of the server, which 3.4 answers with an entry of the log.
    asked_for_health: bool,
    /// The server makes snapshots of its own.
    snapshots: bool,
}

impl Data {
    fn plain(line: Line) -> Self {
        Data { line, downgrade: None, killed: false, asked_for_health: false, snapshots: false }
    }

    fn make(&self, dir: &Path) -> Result<Spec> {
        let mut spec = Spec::single(self.line, &dir.join("made"), &free_url()?);
        if self.killed {
            spec.extra.extend(LAZY.map(String::from));
        }
        if self.snapshots {
            spec.extra.push("--snapshot-count=10".into());
        }
        let member = Member::start(spec.clone())?;
        let gateway = member.gateway();
        for n in 0..if self.snapshots { 30 } else { 3 } {
            gateway.call("kv/put", &json!({"key": key(b"k"), "value": key(&[n])}))?;
        }
        if self.asked_for_health {
            let url = format!("{}/health", member.client_url);
            let mut answer = ureq::get(&url).call()?;
            let health: Value = answer.body_mut().read_json()?;
            ensure!(health["health"] == json!("true"), "{health}");
        }
        if let Some(wait) = self.downgrade {
            let target = if self.line == Line::V37 { "3.6.0" } else { "3.5.0" };
            let enable = json!({"action": "ENABLE", "version": target});
            gateway.call("maintenance/downgrade", &enable)?;
            if wait {
                lowered(&gateway, target)?;
            }
        }
        if self.killed {
            member.sigkill()?;
            spec.extra.clear();
            return Ok(spec);
        }
        if !self.snapshots {
            member.wait_until_idle(&gateway)?;
        }
        let mut spec = member.sigterm()?;
        spec.extra.clear();
        Ok(spec)
    }
}

/// Waits until the storage version is `target`, which comes last.
fn lowered(gateway: &Gateway, target: &str) -> Result<()> {
    let start = Instant::now();
    while start.elapsed() < PATIENCE {
        let status = gateway.call("maintenance/status", &json!({}))?;
        if status["storageVersion"] == json!(target) {
            return Ok(());
        }
        std::thread::sleep(Duration::from_millis(100));
    }
    bail!("the versions are not lowered to {target} after {PATIENCE:?}")
}

/// What `info` says of the servers, by their lines.
fn said(path: &Path) -> Result<Vec<(Line, bool, Value)>> {
    let ran = ours::succeed(&ours::words(&["info", "-w", "json"], path, &[]))?;
    let info: Value = serde_json::from_slice(&ran.stdout).with_context(|| format!("{ran}"))?;
    let servers = info["servers"].as_array().with_context(|| format!("{ran}"))?;
    ensure!(servers.len() == Line::ALL.len(), "{ran}");
    Line::ALL
        .into_iter()
        .zip(servers)
        .map(|(line, server)| {
            let version = server["version"].as_str().unwrap_or_default();
            ensure!(version.starts_with(line.release()), "{version} for {line}");
            let starts = server["starts"].as_bool().with_context(|| format!("{ran}"))?;
            Ok((line, starts, server["why"].clone()))
        })
        .collect()
}

/// Whether the server of `line` starts on a copy of `data`.
fn starts(spec: &Spec, line: Line, data: &Path, dir: &Path) -> Result<(bool, String)> {
    let copy = dir.join("copy");
    if copy.exists() {
        std::fs::remove_dir_all(&copy)?;
    }
    copy_tree(data, &copy)?;
    let spec = Spec { line, data_dir: copy, ..spec.clone() };
    match Member::start(spec) {
        Ok(member) => {
            member.gateway().call("kv/put", &json!({"key": key(b"after"), "value": key(b"v")}))?;
            member.sigkill()?;
            Ok((true, String::new()))
        }
        Err(error) => Ok((false, format!("{error:#}"))),
    }
}

/// Holds what is said of the data dir as it stands, and of its snapshot restored, against all servers.
fn held_against_servers(data: &Data, dir: &Path) -> Result<()> {
    let spec = data.make(dir)?;
    for (line, said, why) in said(&spec.data_dir)? {
        let (is, log) = starts(&spec, line, &spec.data_dir, dir)?;
        ensure!(is == said, "{line} on {data:?} as it stands: {is}, said {said} ({why})\n{log}");
    }
    let snapshot = dir.join("snapshot.db");
    ours::succeed(&ours::words(&["save", "--data-dir"], &spec.data_dir, &[text(&snapshot)?]))?;
    restored_as_said(&snapshot, &format!("{data:?}"), dir)
}

fn text(path: &Path) -> Result<&str> {
    path.to_str().context("a path that is no text")
}

/// Holds what is said of `snapshot`, by `info` and by `restore`, against all servers.
fn restored_as_said(snapshot: &Path, what: &str, dir: &Path) -> Result<()> {
    let flags = RestoreFlags::single(dir.join("restored"), &free_url()?);
    if flags.data_dir.exists() {
        std::fs::remove_dir_all(&flags.data_dir)?;
    }
    let mut args = vec!["restore".into(), snapshot.into(), "-w".into(), "json".into()];
    args.extend(flags.args());
    let ran = ours::succeed(&args)?;
    let warned = String::from_utf8_lossy(&ran.stdout).into_owned() + &ran.stderr_text();
    let spec = crate::boot::spec(Line::V34, &flags);
    for (line, said, why) in said(snapshot)? {
        let (is, log) = starts(&spec, line, &flags.data_dir, dir)?;
        ensure!(is == said, "{line} on {what}, restored: {is}, said {said} ({why})\n{log}");
        let reason = why.as_str().unwrap_or("no reason");
        ensure!(said || warned.contains(reason), "the restore does not say {reason}: {warned}");
    }
    Ok(())
}

/// Databases that say what no server of ours wrote together, restored.
fn made_up(storage: Option<&str>, dir: &Path) -> Result<()> {
    let spec = Data::plain(Line::V36).make(dir)?;
    let snapshot = dir.join("snapshot.db");
    ours::succeed(&ours::words(&["save", "--data-dir"], &spec.data_dir, &[text(&snapshot)?]))?;
    for cluster in [None, Some("3.4.0"), Some("3.5.0"), Some("3.6.0"), Some("3.7.0")] {
        for target in [None, Some(""), Some("3.4.0"), Some("3.5.0"), Some("3.6.0"), Some("3.7.0")] {
            let changed = says(&snapshot, storage, cluster, target, dir)?;
            let what = format!("storage {storage:?}, cluster {cluster:?}, downgrade {target:?}");
            restored_as_said(&changed, &what, dir)?;
        }
    }
    Ok(())
}

/// A copy of `snapshot`, without digest, that says this of versions.
fn says(
    snapshot: &Path,
    storage: Option<&str>,
    cluster: Option<&str>,
    target: Option<&str>,
    dir: &Path,
) -> Result<PathBuf> {
    let bytes = std::fs::read(snapshot)?;
    let image = Image::split(&bytes);
    let db = image.db(Limits::default())?;
    let of_meta = Store::new(db).bucket(bucket::META)?.context("no bucket meta")?;
    let mut meta_records = std::collections::BTreeMap::new();
    for item in of_meta.items() {
        let item = item?;
        meta_records.insert(item.key.to_vec(), item.value.to_vec());
    }
    meta_records.remove(meta::STORAGE_VERSION.as_bytes());
    if let Some(storage) = storage {
        meta_records.insert(meta::STORAGE_VERSION.into(), storage.into());
    }
    let mut of_cluster = std::collections::BTreeMap::new();
    if let Some(cluster) = cluster {
        of_cluster.insert(meta::CLUSTER_VERSION, cluster.to_owned());
    }
    if let Some(target) = target {
        let enabled = !target.is_empty();
        let downgrade = meta::Downgrade { target_version: target.to_owned(), enabled };
        of_cluster.insert(meta::DOWNGRADE, json::downgrade(&downgrade));
    }
    let mut patch = Patch::new(&db)?;
    patch.replace_bucket(bucket::META.as_bytes(), BucketOptions::default(), meta_records)?;
    patch.replace_bucket(bucket::CLUSTER.as_bytes(), BucketOptions::default(), of_cluster)?;
    let patched = patch.finish()?;
    let to = dir.join("says.db");
    let mut out = image.database().to_vec();
    let [pages, first, second] = patched.writes();
    for (offset, bytes) in [pages, first, second] {
        let start = usize::try_from(offset)?;
        out.resize(out.len().max(start + bytes.len()), 0);
        out[start..start + bytes.len()].copy_from_slice(bytes);
    }
    std::fs::write(&to, out)?;
    Ok(to)
}

/// A server of `line` on restored data of each other line, killed with writes pending: whose rules are followed?
fn rules_of(line: Line, dir: &Path) -> Result<()> {
    let sources: Vec<Line> = if is_long() {
        Line::ALL.to_vec()
    } else {
        // The newest that it starts on, and its own.
        if line == Line::V36 || line == Line::V37 { vec![line] } else { vec![Line::V37, line] }
    };
    for from in sources {
        if (from, line) == (Line::V37, Line::V36) {
            continue;
        }
        let place = dir.join(from.tag());
        std::fs::create_dir(&place)?;
        let spec = Data::plain(from).make(&place)?;
        let flags = RestoreFlags::single(place.join("restored"), &free_url()?);
        let mut args = vec!["restore".into(), (&spec.data_dir).into()];
        args.extend(flags.args());
        ours::succeed(&args)?;
        let mut spec = crate::boot::spec(line, &flags);
        for lazy in [false, true] {
            if lazy {
                spec.extra = LAZY.map(String::from).to_vec();
            }
            let member = Member::start(spec.clone())?;
            let gateway = member.gateway();
            for n in 0..3_u8 {
                gateway.call("kv/put", &json!({"key": key(b"k"), "value": key(&[n])}))?;
            }
            let server = facts::content(&gateway)?;
            member.sigkill()?;
            let ran = ours::succeed(&ours::words(&["info", "-w", "json"], &flags.data_dir, &[]))?;
            let info: Value = serde_json::from_slice(&ran.stdout)?;
            let rules = info["writtenBy"].as_str().unwrap_or_default();
            let own = format!("3.{}", &line.tag()[1..]);
            ensure!(rules == own, "{line} on data of {from}: rules of {rules}\n{ran}");
            ensure!(
                info["revision"] == json!(server.revision),
                "{} is not shown: {ran}",
                server.revision
            );
        }
    }
    Ok(())
}
