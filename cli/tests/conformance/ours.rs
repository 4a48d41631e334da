//! Every way the suite calls `etcdsnap`. A change of its command line is made here.

use std::ffi::{OsStr, OsString};
use std::path::Path;
use std::process::{Command, Stdio};

use anyhow::{Context, Result, ensure};
use serde::Deserialize;
use serde_json::Value;

use crate::facts::{self, Content, MemberFact};
use crate::gateway::{int, list, text};
use crate::peers::HashKv;
use crate::restore_flags::RestoreFlags;
use crate::run::{Ran, run};

/// Looks at the db of a data dir alone, as the peers do.
pub const NO_WAL: &str = "--no-wal";

/// `status -w json`.
#[derive(Clone, Debug, Deserialize, PartialEq, Eq)]
#[serde(rename_all = "camelCase")]
pub struct Status {
    pub hash: u32,
    pub revision: i64,
    /// Live keys, as in 3.6 and later.
    pub total_key: u64,
    pub total_size: u64,
    pub version: String,
    /// Pairs in all buckets: what 3.5 calls totalKey.
    pub entries: u64,
    /// −1 when never compacted.
    pub compact_revision: i64,
    pub kind: String,
}

/// One line of `verify -w json`.
#[derive(Clone, Debug, Deserialize)]
pub struct Verified {
    pub path: String,
    pub sound: bool,
    pub checks: Vec<Check>,
    pub findings: Vec<Finding>,
}

/// One of the things `verify` looked at.
#[derive(Clone, Debug, Deserialize)]
pub struct Check {
    pub name: String,
    pub sound: bool,
    pub detail: String,
}

/// One thing that is wrong, or worth knowing.
#[derive(Clone, Debug, Deserialize)]
pub struct Finding {
    pub severity: String,
    pub code: String,
    #[serde(rename = "where")]
    pub place: String,
    pub message: String,
}

/// The program, ready for arguments.
pub fn command() -> Command {
    let built = || OsString::from(env!("CARGO_BIN_EXE_etcdsnap"));
    let mut command = Command::new(std::env::var_os("ETCDSNAP_PROGRAM").unwrap_or_else(built));
    command.stdin(Stdio::null());
    command
}

/// Runs `etcdsnap` and holds it to what every command promises: exit code 0, 1 or 2, never a
/// signal or a panic, and a sentence on stderr or stdout when the code is not 0.
pub fn etcdsnap(args: &[impl AsRef<OsStr>]) -> Result<Ran> {
    promised(run(command().args(args))?)
}

fn promised(ran: Ran) -> Result<Ran> {
    ensure!(matches!(ran.code, Some(0..=2)), "not one of the exit codes 0, 1, 2: {ran}");
    let said = ran.stderr_text();
    ensure!(!said.contains("panicked at"), "a panic: {ran}");
    let silent = said.trim().is_empty() && ran.stdout_text().trim().is_empty();
    ensure!(ran.code == Some(0) || !silent, "no word about what went wrong: {ran}");
    Ok(ran)
}

/// As [`etcdsnap`], and it must have succeeded.
pub fn succeed(args: &[impl AsRef<OsStr>]) -> Result<Ran> {
    let ran = etcdsnap(args)?;
    ensure!(ran.code == Some(0), "{ran}");
    Ok(ran)
}

/// Several words and one path, in the order given.
pub fn words<'a>(words: &[&'a str], path: &'a Path, more: &[&'a str]) -> Vec<&'a OsStr> {
    let before = words.iter().map(|word| OsStr::new(*word));
    before.chain([path.as_os_str()]).chain(more.iter().map(|word| OsStr::new(*word))).collect()
}

pub fn status(path: &Path, more: &[&str]) -> Result<Status> {
    let ran = succeed(&[words(&["status", "-w", "json"], path, more)].concat())?;
    serde_json::from_slice(&ran.stdout).with_context(|| format!("{ran}"))
}

/// `members -w json`: the members the database names.
pub fn members(path: &Path, more: &[&str]) -> Result<Vec<MemberFact>> {
    let ran = succeed(&words(&["members", "-w", "json"], path, more))?;
    let answer: Value = serde_json::from_slice(&ran.stdout).with_context(|| format!("{ran}"))?;
    let member = |member: &Value| -> Result<MemberFact> {
        let id = text(&member["id"]);
        Ok(MemberFact {
            id: u64::from_str_radix(&id, 16).with_context(|| format!("{id:?} as an id"))?,
            name: text(&member["name"]),
            peer_urls: list(&member["peerURLs"]).iter().map(text).collect(),
            is_learner: member["isLearner"] == Value::Bool(true),
        })
    };
    list(&answer["members"]).iter().map(member).collect()
}

/// `info -w json`: whose data dir it is.
pub fn own_id(path: &Path) -> Result<u64> {
    let ran = succeed(&words(&["info", "-w", "json"], path, &[]))?;
    let answer: Value = serde_json::from_slice(&ran.stdout).with_context(|| format!("{ran}"))?;
    u64::from_str_radix(&text(&answer["memberId"]), 16).with_context(|| format!("{ran}"))
}

/// `doctor -w json`: the codes of what it found.
pub fn diagnosed(path: &Path) -> Result<Vec<String>> {
    let ran = etcdsnap(&words(&["doctor", "-w", "json"], path, &[]))?;
    let answer: Value = serde_json::from_slice(&ran.stdout).with_context(|| format!("{ran}"))?;
    Ok(list(&answer["findings"]).iter().map(|finding| text(&finding["code"])).collect())
}

/// `members -w json`: whether `id` is a member, and whether it was removed.
pub fn standing(path: &Path, id: u64) -> Result<(bool, bool)> {
    let ran = succeed(&words(&["members", "-w", "json"], path, &[]))?;
    let answer: Value = serde_json::from_slice(&ran.stdout).with_context(|| format!("{ran}"))?;
    let hex = format!("{id:x}");
    let is_member = list(&answer["members"]).iter().any(|member| member["id"] == hex.as_str());
    let is_removed = list(&answer["removed"]).iter().any(|removed| *removed == hex.as_str());
    Ok((is_member, is_removed))
}

/// What `keys`, `leases`, `auth` and `alarms` say together.
pub fn content(path: &Path, more: &[&str]) -> Result<Content> {
    let ask = |command: &str| -> Result<Value> {
        let ran = succeed(&words(&[command, "-w", "json"], path, more))?;
        serde_json::from_slice(&ran.stdout).with_context(|| format!("{ran}"))
    };
    let hex = |value: &Value| -> Result<u64> {
        let id = text(value);
        u64::from_str_radix(&id, 16).with_context(|| format!("{id:?} as an id"))
    };
    let (keys, leases, auth, alarms) = (ask("keys")?, ask("leases")?, ask("auth")?, ask("alarms")?);
    let lease = |lease: &Value| -> Result<(i64, (i64, Vec<String>))> {
        let mut keys: Vec<String> =
            list(&lease["keys"]).iter().map(|key| text(&key["keyBase64"])).collect();
        keys.sort();
        Ok((hex(&lease["id"])?.cast_signed(), (int(&lease["ttl"])?, keys)))
    };
    let user = |user: &Value| {
        let mut roles: Vec<String> = list(&user["roles"]).iter().map(text).collect();
        roles.sort();
        (text(&user["name"]), roles)
    };
    let role = |role: &Value| {
        let permissions = list(&role["permissions"])
            .iter()
            .map(|one| (text(&one["type"]), text(&one["keyBase64"]), text(&one["rangeEndBase64"])));
        (text(&role["name"]), permissions.filter(|(_, key, _)| !key.is_empty()).collect())
    };
    let alarm = |alarm: &Value| -> Result<(u64, String)> {
        Ok((hex(&alarm["memberId"])?, text(&alarm["alarm"])))
    };
    let mut alarms = list(&alarms["alarms"]).iter().map(alarm).collect::<Result<Vec<_>>>()?;
    alarms.sort();
    Ok(Content {
        revision: int(&keys["header"]["revision"])?,
        keys: list(&keys["kvs"]).iter().map(facts::kv).collect::<Result<_>>()?,
        leases: list(&leases["leases"]).iter().map(lease).collect::<Result<_>>()?,
        users: list(&auth["users"]).iter().map(user).collect(),
        roles: list(&auth["roles"]).iter().map(role).collect(),
        alarms,
    })
}

/// HashKV at `revision`; 0 asks for the latest, and leaves the flag out.
pub fn hashkv(path: &Path, revision: i64, more: &[&str]) -> Result<HashKv> {
    let revision_text = revision.to_string();
    let mut args = words(&["hashkv", "-w", "json"], path, more);
    if revision != 0 {
        args.extend([OsStr::new("--rev"), OsStr::new(&revision_text)]);
    }
    let ran = succeed(&args)?;
    serde_json::from_slice(&ran.stdout).with_context(|| format!("{ran}"))
}

/// `save --data-dir FROM OUT`; `from` may be a data dir or a bare db.
pub fn save(from: &Path, out: &Path, more: &[&str]) -> Result<Ran> {
    etcdsnap(&save_args(from, out, more))
}

pub fn save_args<'a>(from: &'a Path, out: &'a Path, more: &[&'a str]) -> Vec<&'a OsStr> {
    let mut args = words(&["save", "--data-dir"], from, &[]);
    args.push(out.as_os_str());
    args.extend(more.iter().map(|word| OsStr::new(*word)));
    args
}

/// `restore PATH` with etcdutl's flags.
pub fn restore(path: &Path, flags: &RestoreFlags, more: &[&str]) -> Result<Ran> {
    promised(run(&mut restore_command(path, flags, more))?)
}

pub fn restore_command(path: &Path, flags: &RestoreFlags, more: &[&str]) -> Command {
    let mut command = command();
    command.arg("restore").arg(path).args(flags.args()).args(more);
    command
}

/// As [`restore`] with `-w json`: it must have succeeded, and this is what it said.
pub fn restored(path: &Path, flags: &RestoreFlags, more: &[&str]) -> Result<Value> {
    let ran = restore(path, flags, &[more, &["-w", "json"]].concat())?;
    ensure!(ran.code == Some(0), "{ran}");
    serde_json::from_slice(&ran.stdout).with_context(|| format!("{ran}"))
}

/// `compact PATH OUT -w json`, which must succeed.
pub fn compact(path: &Path, out: &Path, more: &[&str]) -> Result<Value> {
    let mut args = words(&["compact", "-w", "json"], path, &[]);
    args.push(out.as_os_str());
    args.extend(more.iter().map(|word| OsStr::new(*word)));
    let ran = succeed(&args)?;
    serde_json::from_slice(&ran.stdout).with_context(|| format!("{ran}"))
}

/// `verify -w json` of one path.
pub fn verify(path: &Path, more: &[&str]) -> Result<(Ran, Verified)> {
    let ran = etcdsnap(&words(&["verify", "-w", "json"], path, more))?;
    let verified: Verified =
        serde_json::from_slice(&ran.stdout).with_context(|| format!("{ran}"))?;
    ensure!(Path::new(&verified.path) == path, "the report is about {:?}", verified.path);
    Ok((ran, verified))
}
