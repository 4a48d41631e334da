//! Clusters of three, killed: what one member logged and the others never agreed to is shown and counted, and left
//! out on request.
//!
//! The danger guarded against: a write that a client was told of and that is left out, because no file of this
//! member proves that it was committed; and a leader's last entries, taken for proven.

use std::path::Path;
use std::time::Duration;

use anyhow::{Context, Result, ensure};
use serde_json::{Value, json};

use crate::crash::LAZY;
use crate::facts::hashkv;
use crate::files::{copy_tree, traces};
use crate::fixtures::Fixture;
use crate::gateway::{id, int, key, list, text};
use crate::judge::judge;
use crate::ours;
use crate::peers::{HashKv, Line, Needs};
use crate::server::{Member, Spec, free_url, start_cluster};
use crate::suite::Suite;

/// How far to replay.
const KNOWN: [&str; 2] = ["--commit", "known"];
const ALL: [&str; 2] = ["--commit", "all"];

pub fn trials(suite: &mut Suite) {
    for line in Line::ALL {
        suite.add(
            format!("uncommitted::entries_of_a_{}_leader_are_shown_and_counted", line.tag()),
            Needs::lines(&[line]),
            move |dir| lonely_leader(line, dir),
        );
    }
    for line in [Line::V35, Line::V36] {
        suite.add(
            format!("uncommitted::fixture_cluster3_{}_is_what_its_members_said", line.tag()),
            Needs::lines(&[line]).and_fixtures(),
            move |dir| fixture(line, dir),
        );
    }
}

fn specs(line: Line, dir: &Path) -> Result<Vec<Spec>> {
    let urls = [free_url()?, free_url()?, free_url()?];
    let named = |(n, url): (usize, &String)| format!("n{n}={url}");
    let cluster = urls.iter().enumerate().map(named).collect::<Vec<_>>().join(",");
    let spec = |(n, url): (usize, &String)| Spec {
        name: format!("n{n}"),
        initial_cluster: cluster.clone(),
        extra: LAZY.map(String::from).to_vec(),
        ..Spec::single(line, &dir.join(format!("n{n}")), url)
    };
    Ok(urls.iter().enumerate().map(spec).collect())
}

/// Two of three are killed, the third goes on logging what it cannot commit, and is killed.
fn lonely_leader(line: Line, dir: &Path) -> Result<()> {
    let specs = specs(line, dir)?;
    let mut members = start_cluster(specs.clone())?;
    for n in 0..60 {
        let name = format!("agreed-{}", n % 20);
        let body = json!({"key": key(name.as_bytes()), "value": key(&[n])});
        members[n as usize % 3].gateway().call("kv/put", &body)?;
    }
    let leader = leader(&members)?;
    let leading = members.remove(leader);
    for follower in members {
        follower.sigkill()?;
    }
    std::thread::scope(|scope| -> Result<()> {
        for n in 0..8_u8 {
            let gateway = leading.gateway();
            scope.spawn(move || {
                let name = format!("alone-{n}");
                // No answer comes: there is nobody to agree.
                let _ = gateway.send("kv/put", &json!({"key": key(name.as_bytes())}));
            });
        }
        std::thread::sleep(Duration::from_millis(300));
        leading.sigkill()
    })?;

    let before: Vec<_> = specs.iter().map(|spec| traces(&spec.data_dir)).collect::<Result<_>>()?;
    let alone = &specs[leader];
    let (known, all) =
        (ours::hashkv(&alone.data_dir, 0, &KNOWN)?, ours::hashkv(&alone.data_dir, 0, &ALL)?);
    ensure!(all.hash_revision > known.hash_revision, "nothing was logged alone: {all:?}");
    for (how, shown) in [(KNOWN, 0), (ALL, all.hash_revision - known.hash_revision)] {
        let content = ours::content(&alone.data_dir, &how)?;
        let lonely = content.keys.iter().filter(|kv| kv.key.starts_with(&key(b"alone-")));
        ensure!(lonely.count() as i64 == shown, "{how:?} shows {:?}", content.keys);
    }
    looked_into(&alone.data_dir, known.hash_revision, all.hash_revision, dir)?;
    // What the server itself keeps when told to go on alone.
    let mut forced = alone.clone();
    forced.extra.push("--force-new-cluster".into());
    let verdict = judge(&forced, dir)?;
    ensure!(known == verdict.hash, "known {known:?}, the server keeps {:?}", verdict.hash);

    // The other two go on, with a history of their own.
    let others: Vec<Spec> = specs
        .iter()
        .filter(|spec| spec.name != alone.name)
        .map(|spec| {
            let data_dir = dir.join(format!("{}-goes-on", spec.name));
            copy_tree(&spec.data_dir, &data_dir)?;
            Ok(Spec { data_dir, ..spec.clone() })
        })
        .collect::<Result<_>>()?;
    let others = start_cluster(others)?;
    let gateway = others[0].gateway();
    for n in 0..20_u8 {
        gateway.call("kv/put", &json!({"key": key(b"without the leader"), "value": key(&[n])}))?;
    }
    for spec in &specs {
        let known = ours::hashkv(&spec.data_dir, 0, &KNOWN)?;
        let all = ours::hashkv(&spec.data_dir, 0, &ALL)?;
        ensure!(all == ours::hashkv(&spec.data_dir, 0, &[])?, "{}: not the default", spec.name);
        let agreed = hashkv(line, &others[0].client_url, &gateway, known.hash_revision)?;
        ensure!(known == agreed, "{}: known {known:?}, the cluster has {agreed:?}", spec.name);
    }
    let after: Vec<_> = specs.iter().map(|spec| traces(&spec.data_dir)).collect::<Result<_>>()?;
    ensure!(before == after, "a data dir has changed");
    Ok(())
}

/// `log`, `history`, `top` and `diff` replay as far as they are told.
fn looked_into(data_dir: &Path, known: i64, all: i64, dir: &Path) -> Result<()> {
    let ask = |word: &str, path: &Path, more: &[&str], code: i32| -> Result<String> {
        let ran = ours::etcdsnap(&ours::words(&[word, "-w", "json"], path, more))?;
        ensure!(ran.code == Some(code), "{ran}");
        Ok(ran.stdout_text())
    };
    let parsed = |text: String| serde_json::from_str::<Value>(&text).context(text);
    for (how, last) in [(KNOWN, known), (ALL, all)] {
        let log = ask("log", data_dir, &how, 0)?;
        let newest = parsed(log.lines().last().unwrap_or_default().to_owned())?;
        ensure!(int(&newest["revision"])? == last, "{how:?}: {newest}");
        let top = parsed(ask("top", data_dir, &how, 0)?)?;
        ensure!(int(&top["revision"])? == last, "{how:?}: {top}");
        ensure!(int(&top["keys"])? == 20 + last - known, "{how:?}: {top}");
    }
    let log = ask("log", data_dir, &["--from", &all.to_string(), ALL[0], ALL[1]], 0)?;
    let newest = text(&parsed(log)?["key"]);
    for (how, changes) in [(KNOWN, 0), (ALL, 1)] {
        let history = parsed(ask("history", data_dir, &[&newest, how[0], how[1]], 0)?)?;
        ensure!(list(&history["changes"]).len() == changes, "{how:?}: {history}");
    }
    // The flag is about the data dir alone, on whichever side it is.
    let file = dir.join("known.db");
    let ran = ours::save(data_dir, &file, &KNOWN)?;
    ensure!(ran.code == Some(0), "{ran}");
    let (file, member) = (path_text(&file)?, path_text(data_dir)?);
    ask("diff", Path::new(file), &[member, KNOWN[0], KNOWN[1]], 0)?;
    let grown = parsed(ask("diff", Path::new(file), &[member, ALL[0], ALL[1]], 1)?)?;
    ensure!(int(&grown["added"])? == all - known, "{grown}");
    let shrunk = parsed(ask("diff", data_dir, &[file, ALL[0], ALL[1]], 1)?)?;
    ensure!(int(&shrunk["removed"])? == all - known, "{shrunk}");
    Ok(())
}

fn path_text(path: &Path) -> Result<&str> {
    path.to_str().context("a path that is not text")
}

/// The place of the leader among `members`.
fn leader(members: &[Member]) -> Result<usize> {
    for (place, member) in members.iter().enumerate() {
        let status = member.gateway().call("maintenance/status", &json!({}))?;
        if id(&status["leader"])? == id(&status["header"]["member_id"])? {
            return Ok(place);
        }
    }
    anyhow::bail!("no member leads")
}

/// Voters, a learner and a removed member, as they were when they were killed.
fn fixture(line: Line, dir: &Path) -> Result<()> {
    let fixture = Fixture::unpack(&format!("cluster3-{}", line.tag()), dir)?;
    let recorded = &fixture.facts["hashkv"];
    let recorded = HashKv {
        hash: u32::try_from(int(&recorded["hash"])?)?,
        hash_revision: int(&recorded["header"]["revision"])?,
        compact_revision: int(&recorded["compact_revision"])?,
    };
    let mut wanted: Vec<(u64, bool)> = Vec::new();
    for member in list(&fixture.facts["members"]["members"]) {
        wanted.push((id(&member["ID"])?, member["isLearner"] == json!(true)));
    }
    wanted.sort_unstable();
    let before = traces(&fixture.root)?;
    for data_dir in fixture.data_dirs()? {
        let what = || format!("{}", data_dir.display());
        let removed = data_dir.ends_with("n2");
        let hash = ours::hashkv(&data_dir, 0, &[]).with_context(what)?;
        if removed {
            // It ends earlier, in the same history.
            let prefix = ours::hashkv(&fixture.root.join("n0"), hash.hash_revision, &[])?;
            ensure!(hash == prefix, "{}: {hash:?}, n0 then {prefix:?}", what());
            ensure!(hash.hash_revision < recorded.hash_revision, "{hash:?}");
        } else {
            ensure!(hash == recorded, "{}: {hash:?}, the member said {recorded:?}", what());
        }
        let mut members: Vec<(u64, bool)> = ours::members(&data_dir, &[])?
            .into_iter()
            .map(|member| (member.id, member.is_learner))
            .collect();
        members.sort_unstable();
        ensure!(members == wanted, "{}: {members:x?}, recorded {wanted:x?}", what());
        let own = ours::own_id(&data_dir)?;
        let (is_member, is_removed) = ours::standing(&data_dir, own)?;
        ensure!((is_member, is_removed) == (!removed, removed), "{}: {own:x}", what());
        let codes = ours::diagnosed(&data_dir)?;
        for (code, is) in [("removed", removed), ("learner", data_dir.ends_with("n3"))] {
            let told = codes.iter().any(|told| told == code);
            ensure!(told == is, "{}: {code} is told: {told}", what());
        }
        ensure!(text(&fixture.facts["etcd"]).starts_with(line.release()), "another version");
    }
    for voter in ["n0", "n1"] {
        let mut spec = Spec::single(line, &fixture.root.join(voter), &free_url()?);
        spec.extra.push("--force-new-cluster".into());
        spec.name = voter.into();
        let verdict = judge(&spec, dir)?;
        let content = ours::content(&spec.data_dir, &KNOWN)?;
        crate::boot::compare_content(&content, &verdict.content).context(voter)?;
        ensure!(verdict.hash == recorded, "{voter}: {:?}, recorded {recorded:?}", verdict.hash);
    }
    ensure!(traces(&fixture.root)? == before, "a data dir has changed");
    Ok(())
}
