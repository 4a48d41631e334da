//! `restore --all-members`: one run, one cluster; and a cluster of its own, whoever else still runs.

use std::ffi::OsString;
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use anyhow::{Context, Result, ensure};
use serde_json::{Value, json};

use crate::boot::{self, Expected};
use crate::dataset::{Dataset, loaded};
use crate::facts;
use crate::files::sha256;
use crate::gateway::{Reply, key, list, text};
use crate::ours;
use crate::peers::{Line, Needs};
use crate::restore_flags::RestoreFlags;
use crate::restoring::{done, three};
use crate::server::{Member, Spec, start_cluster};
use crate::suite::{Suite, is_long};

pub fn trials(suite: &mut Suite) {
    for line in Line::ALL {
        for server in Line::ALL {
            let later = is_long() && server > line;
            if server == line || later {
                suite.add(
                    format!(
                        "all_members::three_of_{}_data_form_a_cluster_on_{}",
                        line.tag(),
                        server.tag()
                    ),
                    Needs::lines(&[line, server]),
                    move |dir| form_a_cluster(&*loaded(line)?, server, dir),
                );
            }
        }
        suite.add(
            format!("all_members::a_new_token_keeps_{}_out_of_the_old_cluster", line.tag()),
            Needs::lines(&[line]),
            move |dir| strangers_stay_apart(&*loaded(line)?, dir),
        );
    }
    suite.add(
        "all_members::wal_dirs_and_names_that_cannot_be",
        Needs::lines(&[Line::V36]),
        |dir| odd_names(&*loaded(Line::V36)?, dir),
    );
}

/// `restore --all-members ROOT` for members with these flags, whose data dirs are in ROOT.
fn restore_all(set: &Dataset, root: &Path, flags: &[RestoreFlags], more: &[&str]) -> Result<Value> {
    let first = flags.first().context("no members")?;
    let mut args: Vec<OsString> = vec!["restore".into(), set.snapshot.clone().into()];
    args.extend(["-w", "json", "--all-members"].map(OsString::from));
    args.push(root.into());
    args.extend(["--initial-cluster".into(), first.initial_cluster.clone().into()]);
    args.extend(["--initial-cluster-token".into(), first.token.clone().into()]);
    args.extend(more.iter().map(OsString::from));
    let ran = ours::succeed(&args)?;
    serde_json::from_slice(&ran.stdout).with_context(|| format!("{ran}"))
}

/// Three members whose data dirs are `root/mN`.
fn three_in(root: &Path) -> Result<Vec<RestoreFlags>> {
    let mut flags = three(root)?;
    flags.iter_mut().for_each(|one| one.data_dir = root.join(&one.name));
    Ok(flags)
}

fn segment(data_dir: &Path) -> PathBuf {
    data_dir.join("member/wal/0000000000000000-0000000000000000.wal")
}

fn form_a_cluster(set: &Dataset, server: Line, dir: &Path) -> Result<()> {
    let root = dir.join("root");
    let flags = three_in(&root)?;
    let said = restore_all(set, &root, &flags, &[])?;

    // The same as three runs, and one db for all of them.
    let mut dbs = Vec::new();
    for one in &flags {
        let alone =
            RestoreFlags { data_dir: dir.join(format!("{}-alone", one.name)), ..one.clone() };
        done(ours::restore(&set.snapshot, &alone, &[])?)?;
        for path in ["member/snap/db", "member/snap/0000000000000001-0000000000000003.snap"] {
            let (is, wanted) = (one.data_dir.join(path), alone.data_dir.join(path));
            ensure!(sha256(&is)? == sha256(&wanted)?, "{path} of {} differs", one.name);
        }
        let (is, wanted) = (sha256(&segment(&one.data_dir))?, sha256(&segment(&alone.data_dir))?);
        ensure!(is == wanted, "the WAL of {} is not that of a run of its own", one.name);
        dbs.push(sha256(&one.data_dir.join("member/snap/db"))?);
        std::fs::remove_dir_all(&alone.data_dir)?;
    }
    ensure!(dbs.iter().all(|db| *db == dbs[0]), "the members' dbs differ");

    // Started as told, in words that a script can take.
    let mut members = Vec::new();
    for (one, told) in flags.iter().zip(list(&said["restored"])) {
        ensure!(text(&told["name"]) == one.name, "{said}");
        let words: Vec<String> = list(&told["start"]).iter().skip(1).map(text).collect();
        members.push(Member::spawn_as_told(boot::spec(server, one), &words)?);
    }
    for member in &mut members {
        member.wait_until_healthy()?;
    }
    boot::cluster_serves(members, &flags, &Expected::from(set))
}

/// One member of the old cluster dies, and a restored one is started in its place, at its address.
fn strangers_stay_apart(set: &Dataset, dir: &Path) -> Result<()> {
    let flags = three_in(&dir.join("old"))?;
    restore_all(set, &dir.join("old"), &flags, &[])?;
    let specs: Vec<Spec> = flags.iter().map(|one| boot::spec(set.line, one)).collect();
    let mut old = start_cluster(specs)?;
    let (old_cluster, listed) = facts::members(&old[0].gateway())?;
    old.pop().context("no third member")?.sigkill()?;

    let new_flags: Vec<RestoreFlags> = flags
        .iter()
        .map(|one| RestoreFlags {
            data_dir: dir.join("new").join(&one.name),
            token: "another".into(),
            ..one.clone()
        })
        .collect();
    let said = restore_all(set, &dir.join("new"), &new_flags, &[])?;
    let warned = |said: &Value| {
        list(&said["findings"]).iter().any(|finding| finding["code"] == json!("same-cluster-id"))
    };
    ensure!(!warned(&said), "a new token is no danger: {said}");
    let new_cluster = u64::from_str_radix(&text(&said["clusterId"]), 16)?;
    ensure!(new_cluster != old_cluster, "the cluster ids are the same");
    let specs: Vec<Spec> = new_flags.iter().map(|one| boot::spec(set.line, one)).collect();
    let stranger = Member::spawn(specs[2].clone())?;

    // Refused by name: then nothing is left to chance or time.
    let start = Instant::now();
    let refused = |member: &Member| -> Result<bool> {
        let log = member.log()?.to_lowercase();
        Ok(log.contains("cluster id mismatch") || log.contains("cluster-id mismatch"))
    };
    while !(refused(&stranger)? || refused(&old[0])? || refused(&old[1])?) {
        ensure!(start.elapsed() < Duration::from_secs(30), "nobody notices the stranger");
        std::thread::sleep(Duration::from_millis(100));
    }
    // The one that died may have been the leader.
    let put = json!({"key": key(b"old"), "value": key(b"alive")});
    while !matches!(old[0].gateway().send("kv/put", &put)?, Reply::Done(_)) {
        ensure!(start.elapsed() < Duration::from_secs(60), "the old cluster takes no writes");
    }
    ensure!(!stranger.log()?.contains("elected leader"), "the stranger follows a leader");
    let (cluster, still) = facts::members(&old[1].gateway())?;
    ensure!(cluster == old_cluster && still == listed, "the old cluster changed: {still:?}");

    // Among its own it is at home, and serves what the snapshot held, not what the old ones wrote since.
    for member in old {
        member.sigkill()?;
    }
    let mut new =
        vec![Member::spawn(specs[0].clone())?, Member::spawn(specs[1].clone())?, stranger];
    for member in &mut new {
        member.wait_until_healthy()?;
    }
    for member in &new {
        let (cluster, _) = facts::members(&member.gateway())?;
        ensure!(cluster == new_cluster, "{} is in another cluster", member.spec.name);
        boot::compare_content(&facts::content(&member.gateway())?, &set.content)?;
    }
    Ok(())
}

fn odd_names(set: &Dataset, dir: &Path) -> Result<()> {
    let restore = |cluster: &str, root: &str, more: &[&str]| {
        let mut args: Vec<OsString> = vec!["restore".into(), set.snapshot.clone().into()];
        args.extend(["--initial-cluster".into(), cluster.into(), "--all-members".into()]);
        args.push(dir.join(root).into());
        args.extend(more.iter().map(OsString::from));
        ours::etcdsnap(&args)
    };
    for name in ["../m1", "a/b", ".", "..", "", "lost+found", "/etc"] {
        let ran = restore(&format!("{name}=http://h:1"), "root", &[])?;
        ensure!(ran.code == Some(2), "{name:?}: {ran}");
    }
    for more in
        [["--name", "a"], ["--data-dir", "d"], ["--initial-advertise-peer-urls", "http://h:1"]]
    {
        let ran = restore("a=http://h:1", "root", &more)?;
        ensure!(ran.code == Some(2), "{more:?}: {ran}");
    }
    let wals = dir.join("wals");
    let wals = wals.to_str().context("a path of this test is text")?;
    done(restore("a=http://h:1,b=http://h:2", "root", &["--wal-dir", wals])?)?;
    for name in ["a", "b"] {
        ensure!(dir.join("wals").join(name).is_dir(), "no WAL dir of {name}");
        ensure!(!dir.join("root").join(name).join("member/wal").exists(), "two WAL dirs");
    }
    // What is there is there to stay.
    let ran = restore("a=http://h:1", "root", &[])?;
    ensure!(ran.code == Some(2), "{ran}");
    ensure!(crate::files::names(&dir.join("root"))? == ["a", "b"], "the first restore is gone");
    ensure!(crate::files::names(dir)? == ["root", "wals"], "{:?}", crate::files::names(dir)?);
    Ok(())
}
