//! Copies to share, of real servers' files: secrets are put where a server keeps anything, and none may be in the copy.

use std::collections::HashSet;
use std::fs;
use std::path::{Path, PathBuf};

use anyhow::{Context, Result, ensure};
use etcdsnap_engine::snapshot::Digest;
use fastrand::Rng;
use serde_json::{Value, json};

use crate::dataset::{loaded, seed};
use crate::gateway::{Gateway, int, key};
use crate::ours;
use crate::peers::{self, Line, Needs};
use crate::restore_flags::RestoreFlags;
use crate::server::{Member, Spec, free_url};
use crate::suite::Suite;

/// Bytes of a secret that may not stand together in a copy.
const WINDOW: usize = 8;

pub fn trials(suite: &mut Suite) {
    for line in Line::ALL {
        suite.add(
            format!("redacted::no_secret_of_a_{}_server_is_in_the_copy", line.tag()),
            Needs::lines(&[line]).and_bbolt(),
            move |dir| no_secret_stays(line, dir),
        );
    }
    suite.add(
        "redacted::a_server_boots_from_the_copy_and_has_every_key",
        Needs::lines(&[Line::V36]).and_bbolt(),
        a_server_boots,
    );
}

/// Text that stands nowhere else, and all of its windows.
struct Secrets {
    rng: Rng,
    windows: HashSet<[u8; WINDOW]>,
}

impl Secrets {
    fn next(&mut self, len: usize) -> Vec<u8> {
        let secret: Vec<u8> =
            std::iter::repeat_with(|| self.rng.alphanumeric() as u8).take(len).collect();
        self.windows.extend(
            secret.windows(WINDOW).filter_map(|window| <[u8; WINDOW]>::try_from(window).ok()),
        );
        secret
    }

    /// How many windows of secrets are in `bytes`.
    fn in_bytes(&self, bytes: &[u8]) -> usize {
        bytes
            .windows(WINDOW)
            .filter(|window| {
                <[u8; WINDOW]>::try_from(*window).is_ok_and(|window| self.windows.contains(&window))
            })
            .count()
    }
}

fn put(gateway: &Gateway, name: &str, value: &[u8]) -> Result<i64> {
    let body = json!({"key": key(name.as_bytes()), "value": key(value)});
    int(&gateway.call("kv/put", &body)?["header"]["revision"])
}

fn no_secret_stays(line: Line, dir: &Path) -> Result<()> {
    let live = dir.join("live");
    let member = Member::start(Spec::single(line, &live, &free_url()?))?;
    let gateway = member.gateway();
    let mut secrets = Secrets { rng: Rng::with_seed(seed() ^ 0x5ec2e7), windows: HashSet::new() };
    // Small ones share pages, large ones go over several; most are overwritten or deleted and compacted away.
    let mut revision = 0;
    for round in 0..3 {
        for number in 0..60 {
            let len = secrets.rng.usize(8..if number % 10 == 0 { 20_000 } else { 400 });
            let secret = secrets.next(len);
            revision =
                put(&gateway, &format!("/registry/secrets/ns-{}/s-{number}", number % 4), &secret)?;
        }
        for number in (round..60).step_by(3) {
            let name = format!("/registry/secrets/ns-{}/s-{number}", number % 4);
            gateway.call("kv/deleterange", &json!({"key": key(name.as_bytes())}))?;
        }
        gateway
            .call("kv/compaction", &json!({"revision": revision.to_string(), "physical": true}))?;
    }
    for name in ["root", "alice"] {
        let password = String::from_utf8(secrets.next(20))?;
        gateway.call("auth/user/add", &json!({"name": name, "password": password}))?;
    }
    member.wait_until_idle(&gateway)?;
    let snapshot = dir.join("snapshot.db");
    let args = ["snapshot".as_ref(), "save".as_ref(), snapshot.as_os_str()];
    peers::etcdctl(line, &member.client_url, None, &args)?;
    member.sigkill()?;
    for (name, path) in [("snapshot", snapshot), ("db", live.join("member/snap/db"))] {
        let bytes = fs::read(&path)?;
        let hashes: Vec<&[u8]> = hashes(&bytes);
        let planted = secrets.in_bytes(&bytes);
        let copy = dir.join(format!("{name}.copy"));
        let said = redact(&path, &copy, &[])?;
        ensure!(said["sameFindings"] == true, "{name}: {said}");
        let copied = fs::read(&copy)?;
        ensure!(
            planted > 5_000 && hashes.len() >= 2,
            "{name}: {planted} planted, {} hashes",
            hashes.len()
        );
        let left = secrets.in_bytes(&copied);
        ensure!(left == 0, "{name}: {left} of {planted} windows are still there");
        for hash in hashes {
            let there =
                hash.windows(WINDOW).find(|part| copied.windows(WINDOW).any(|at| at == *part));
            ensure!(
                there.is_none_or(|part| part.starts_with(b"$2a$04$")),
                "{name}: a password's hash"
            );
        }
        peers::bbolt_check(&copy)?;
        // Deleted and compacted away, and in the file still: else this would not have shown anything.
        let values = kvs(&path)?;
        let shown: usize = values.iter().map(|value| value.len()).sum();
        ensure!(planted > shown, "{name}: {planted} windows, {shown} bytes of live values");
        if name == "snapshot" {
            let (database, trailer) = copied.split_at(copied.len() - 32);
            ensure!(Digest::of(database).0 == trailer, "the copy's digest is wrong");
        }
    }
    Ok(())
}

/// bcrypt's texts in `bytes`.
fn hashes(bytes: &[u8]) -> Vec<&[u8]> {
    let starts =
        (0..bytes.len().saturating_sub(60)).filter(|at| bytes[*at..].starts_with(b"$2a$04$"));
    starts.map(|at| &bytes[at..at + 60]).collect()
}

fn kvs(path: &Path) -> Result<Vec<Vec<u8>>> {
    use base64::Engine as _;
    let ran = ours::succeed(&ours::words(&["keys", "-w", "json"], path, &[]))?;
    let said: Value = serde_json::from_str(&ran.stdout_text())?;
    let values =
        said["kvs"].as_array().context("kvs")?.iter().filter_map(|kv| kv["value"].as_str());
    values.map(|text| Ok(base64::engine::general_purpose::STANDARD.decode(text)?)).collect()
}

fn redact(path: &Path, copy: &Path, more: &[&str]) -> Result<Value> {
    let mut args: Vec<PathBuf> = ["redact", "-w", "json"].iter().map(PathBuf::from).collect();
    args.extend([path.to_path_buf(), copy.to_path_buf()]);
    args.extend(more.iter().map(PathBuf::from));
    let ran = ours::succeed(&args)?;
    Ok(serde_json::from_str(&ran.stdout_text())?)
}

fn a_server_boots(dir: &Path) -> Result<()> {
    let set = loaded(Line::V36)?;
    for more in [[].as_slice(), &["--redact-keys"]] {
        let dir = dir.join(more.len().to_string());
        fs::create_dir(&dir)?;
        let copy = dir.join("copy.db");
        redact(&set.snapshot, &copy, more)?;
        let before = peers::status(Line::V36, &set.snapshot)?;
        let after = peers::status(Line::V36, &copy)?;
        let facts = |status: &peers::Status| (status.revision, status.total_key, status.total_size);
        ensure!(facts(&before) == facts(&after), "{before:?} {after:?}");
        let url = free_url()?;
        let flags = RestoreFlags::single(dir.join("data"), &url);
        ensure!(ours::restore(&copy, &flags, &[])?.code == Some(0), "the copy is not restored");
        let mut spec = Spec::single(Line::V36, &dir.join("data"), &url);
        spec.name = crate::boot::spec(Line::V36, &flags).name;
        spec.initial_cluster = format!("{}={url}", spec.name);
        let member = Member::start(spec)?;
        let all = json!({"key": key(b"\0"), "range_end": key(b"\0"), "count_only": true});
        let counted = int(&member.gateway().call("kv/range", &all)?["count"])?;
        ensure!(counted == after.total_key as i64, "{counted} of {} keys", after.total_key);
        member.sigkill()?;
    }
    Ok(())
}
