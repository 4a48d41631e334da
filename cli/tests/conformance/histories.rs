//! Data dirs that are no members of one cluster side by side: two histories, two clusters, an older
//! copy, a dir that cannot be read.
//!
//! The danger guarded against: raft's comparison applied to what raft would never compare. Its answer
//! would be one history, and the other one's acknowledged writes gone.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

use anyhow::{Context, Result, ensure};
use fastrand::Rng;
use serde_json::json;

use crate::advice::{Advice, doctor};
use crate::clients::while_writing;
use crate::dataset::seed;
use crate::files::copy_tree;
use crate::fleet::Fleet;
use crate::gateway::{Gateway, Reply, key};
use crate::ledger::{Floor, Ledger, View, keys};
use crate::ours;
use crate::peers::{Line, Needs};
use crate::run::run;
use crate::server::{Member, Spec, free_url, start_cluster};
use crate::suite::{Suite, is_long};

pub fn trials(suite: &mut Suite) {
    for line in Line::ALL {
        let tag = line.tag();
        suite.add(
            format!("histories::a_forced_new_cluster_of_{tag}_is_a_history_of_its_own"),
            Needs::lines(&[line]),
            move |dir| rounds(line, dir, forced),
        );
        suite.add(
            format!("histories::a_restore_of_{tag}_with_the_old_token_is_a_history_of_its_own"),
            Needs::lines(&[line]),
            move |dir| rounds(line, dir, restored_with_the_old_token),
        );
        suite.add(
            format!("histories::an_older_copy_of_a_{tag}_member_votes_once"),
            Needs::lines(&[line]),
            move |dir| rounds(line, dir, older_copy),
        );
    }
    for line in [Line::V34, Line::V36] {
        suite.add(
            format!("histories::a_snapshot_of_{}_beside_a_member", line.tag()),
            Needs::lines(&[line]),
            move |dir| rounds(line, dir, snapshot_beside),
        );
    }
    suite.add(
        "histories::what_is_no_member_of_the_cluster_is_one_verdict",
        Needs::lines(&[Line::V36]),
        |dir| strangers(Line::V36, dir),
    );
}

fn rounds(line: Line, dir: &Path, round: fn(Line, &mut Rng, &Path) -> Result<()>) -> Result<()> {
    let mut rng = Rng::with_seed(seed().wrapping_mul(67).wrapping_add(line as u64));
    for number in 0..if is_long() { 8 } else { 1 } {
        let place = dir.join(format!("round-{number}"));
        fs::create_dir(&place)?;
        round(line, &mut rng, &place).with_context(|| format!("round {number}"))?;
        fs::remove_dir_all(&place)?;
    }
    Ok(())
}

/// Nobody is chosen, exit code 1, and something is said.
fn no_pick(paths: &[&Path]) -> Result<Advice> {
    let advice = doctor(paths)?;
    ensure!(advice.recover_from.is_none(), "one is chosen: {}", advice.ran);
    ensure!(advice.ran.code == Some(1), "{}", advice.ran);
    ensure!(advice.recovery().is_empty(), "a new cluster is made: {}", advice.ran);
    ensure!(!advice.starts(), "members are started: {}", advice.ran);
    ensure!(!advice.codes.is_empty(), "nothing is found: {}", advice.ran);
    Ok(advice)
}

/// What the chosen dir has satisfies `floor`.
fn holds(advice: &Advice, ledger: &Ledger, floor: Floor<'_>) -> Result<()> {
    let said = || format!("{}", advice.ran);
    let path = advice.recover_from.as_ref().with_context(said)?;
    let content = ours::content(path, &[])?;
    ledger.check(floor, &keys(&content.keys)?).with_context(said)
}

/// One member is forced into a cluster of its own while the other two go on.
fn forced(line: Line, rng: &mut Rng, dir: &Path) -> Result<()> {
    let mut fleet = Fleet::start(line, dir, 3, &[])?;
    let endpoints = fleet.urls(&[0, 1, 2]);
    // Which of the three is forced, whether the others keep their leader, and how much each writes.
    let (alone, keeps_leader) = (rng.usize(..3), rng.bool());
    let others: Vec<usize> = (0..3).filter(|n| *n != alone).collect();
    let (before, after, own) = (rng.u64(20..100), rng.u64(1..80), rng.u8(1..40));
    let ledger = while_writing(endpoints, rng.u64(..), |crowd| {
        crowd.wait_for(before)?;
        if keeps_leader {
            fleet.kill(alone)?;
        } else {
            fleet.kill_all()?;
            fleet.start_again(&others)?;
        }
        crowd.send_to(fleet.urls(&others));
        crowd.wait_for(after)?;
        fleet.kill_all()
    })?;
    let mut spec = fleet.specs[alone].clone();
    spec.extra.push("--force-new-cluster".into());
    let member = Member::start(spec)?;
    for n in 0..own {
        let body = json!({"key": key(b"forced"), "value": key(&[n])});
        member.gateway().call("kv/put", &body)?;
    }
    member.sigkill()?;

    let dir = |n: usize| fleet.specs[n].data_dir.as_path();
    let (a, b, c) = (dir(alone), dir(others[0]), dir(others[1]));
    let what = format!(
        "n{} forced, {before} writes before, {after} by the others (same leader: {keeps_leader}), {own} alone",
        alone + 1
    );
    for paths in [&[a, b, c][..], &[b, a], &[a, c], &[c, b, a]] {
        no_pick(paths).with_context(|| what.clone())?;
    }
    let advice = doctor(&[b, c])?;
    holds(&advice, &ledger, Floor::Everything).with_context(|| what.clone())?;
    ensure!(advice.ran.code == Some(0) && advice.starts(), "{what}: {}", advice.ran);
    Ok(())
}

/// A snapshot is restored with the names, addresses and token of the cluster that it came from.
fn restored_with_the_old_token(line: Line, rng: &mut Rng, dir: &Path) -> Result<()> {
    let mut fleet = Fleet::start(line, dir, 3, &[])?;
    let snapshot = dir.join("snapshot.db");
    let endpoints = fleet.urls(&[0, 1, 2]);
    while_writing(endpoints, rng.u64(..), |crowd| {
        crowd.wait_for(rng.u64(20..80))?;
        let args = ["snapshot".as_ref(), "save".as_ref(), snapshot.as_os_str()];
        crate::peers::etcdctl(line, &fleet.client_urls[0], None, &args)?;
        crowd.wait_for(rng.u64(20..80))?;
        fleet.kill_all()
    })?;
    let root = dir.join("restored");
    let mut restore = ours::command();
    restore.arg("restore").arg(&snapshot).arg("--all-members").arg(&root);
    restore.args(["--initial-cluster", &fleet.specs[0].initial_cluster]);
    restore.args(["--initial-cluster-token", "conformance"]);
    let ran = run(&mut restore)?;
    ensure!(ran.code == Some(0), "{ran}");
    let specs: Vec<Spec> = fleet
        .specs
        .iter()
        .map(|spec| Spec { data_dir: root.join(&spec.name), ..spec.clone() })
        .collect();
    let members = start_cluster(specs.clone())?;
    let gateway = members[0].gateway();
    for n in 0..rng.u8(1..120) {
        gateway.call("kv/put", &json!({"key": key(b"restored"), "value": key(&[n])}))?;
    }
    members.into_iter().try_for_each(Member::sigkill)?;
    let (old, new) =
        (|n: usize| fleet.specs[n].data_dir.as_path(), |n: usize| specs[n].data_dir.as_path());
    for paths in [&[old(0), new(1)][..], &[new(0), old(1), old(2)], &[new(0), new(1), old(2)]] {
        no_pick(paths).with_context(|| format!("{paths:?}"))?;
    }
    // Both of one member: neither is a copy of the other.
    no_pick(&[old(0), new(0)]).context("n1 and n1 as restored")?;
    for majority in [[old(0), old(2)], [new(0), new(2)]] {
        let advice = doctor(&majority)?;
        ensure!(advice.ran.code == Some(0) && advice.starts(), "{}", advice.ran);
    }
    Ok(())
}

/// One member's dir as it was earlier, beside what it became.
fn older_copy(line: Line, rng: &mut Rng, dir: &Path) -> Result<()> {
    let mut fleet = Fleet::start(line, dir, 3, &[])?;
    let copied = rng.usize(..3);
    let others: Vec<usize> = (0..3).filter(|n| *n != copied).collect();
    let copy = dir.join("copy");
    let endpoints = fleet.urls(&[0, 1, 2]);
    let ledger = while_writing(endpoints, rng.u64(..), |crowd| {
        crowd.wait_for(rng.u64(20..100))?;
        fleet.kill(copied)?;
        copy_tree(&fleet.specs[copied].data_dir, &copy)?;
        fleet.start_again(&[copied])?;
        crowd.wait_for(rng.u64(20..100))?;
        fleet.kill_all()
    })?;
    let dir = |n: usize| fleet.specs[n].data_dir.as_path();
    let (newer, b, c) = (dir(copied), dir(others[0]), dir(others[1]));
    let views = [View::of(newer, None)?, View::of(&copy, None)?];
    let held: Vec<&View> = views.iter().collect();

    let advice = doctor(&[copy.as_path(), newer])?;
    ensure!(advice.quorum.here == 1, "one member votes twice: {}", advice.ran);
    ensure!(advice.recover_from.as_deref() == Some(newer), "{}", advice.ran);
    ensure!(advice.recovers(), "one of three, and no new cluster: {}", advice.ran);
    holds(&advice, &ledger, Floor::HeldBy(&held))?;
    for paths in [&[&copy, newer, b][..], &[c, newer, &copy], &[b, &copy, c, newer]] {
        let advice = doctor(paths)?;
        ensure!(advice.quorum.here == paths.len() - 1, "{}", advice.ran);
        ensure!(advice.starts(), "a majority is here: {}", advice.ran);
        holds(&advice, &ledger, Floor::Everything)?;
        ensure!(advice.recover_from.as_deref() != Some(copy.as_path()), "{}", advice.ran);
    }
    Ok(())
}

/// A snapshot beside a member's dir: the dir is older, or newer.
fn snapshot_beside(line: Line, rng: &mut Rng, dir: &Path) -> Result<()> {
    let mut fleet = Fleet::start(line, dir, 3, &[])?;
    let snapshot = dir.join("snapshot.db");
    let ledger = while_writing(fleet.urls(&[0, 1, 2]), rng.u64(..), |crowd| {
        crowd.wait_for(rng.u64(20..60))?;
        fleet.kill(0)?;
        crowd.send_to(fleet.urls(&[1, 2]));
        crowd.wait_for(rng.u64(10..60))?;
        let args = ["snapshot".as_ref(), "save".as_ref(), snapshot.as_os_str()];
        crate::peers::etcdctl(line, &fleet.client_urls[1], None, &args)?;
        crowd.wait_for(rng.u64(10..60))?;
        fleet.kill_all()
    })?;
    let (older, newer) = (&fleet.specs[0].data_dir, &fleet.specs[1].data_dir);
    for (lacks, has) in [(older, &snapshot), (&snapshot, newer)] {
        let member = if lacks == &snapshot { has } else { lacks };
        let view = View::of(member, None)?;
        for paths in [[lacks, has], [has, lacks]] {
            let advice = doctor(&paths)?;
            let told = (lacks.clone(), has.clone());
            ensure!(advice.lacking.contains(&told), "nobody says what is older: {}", advice.ran);
            holds(&advice, &ledger, Floor::HeldBy(&[&view]))?;
        }
    }
    // A majority is worth more than any snapshot.
    let advice = doctor(&[older, newer, &snapshot])?;
    ensure!(advice.starts(), "{}", advice.ran);
    holds(&advice, &ledger, Floor::Everything)
}

/// Dirs that are empty, missing, garbage, or of another cluster, beside one, two and three members.
fn strangers(line: Line, dir: &Path) -> Result<()> {
    let mut rng = Rng::with_seed(seed().wrapping_mul(71));
    let mut fleet = Fleet::start(line, dir, 3, &[])?;
    let endpoints = fleet.urls(&[0, 1, 2]);
    let ledger = while_writing(endpoints, rng.u64(..), |crowd| {
        crowd.wait_for(40)?;
        fleet.kill_all()
    })?;
    let other = Member::start(Spec::single(line, &dir.join("other"), &free_url()?))?;
    put(&other.gateway())?;
    other.sigkill()?;
    let other = dir.join("other");
    let member = |n: usize| fleet.specs[n].data_dir.as_path();

    for paths in [&[member(0), &other][..], &[&other, member(0), member(1), member(2)]] {
        let advice = no_pick(paths).context("two clusters")?;
        let first = advice.next.first().map(|next| next.why.to_lowercase()).unwrap_or_default();
        ensure!(first.contains("cluster"), "not said first: {}", advice.ran);
    }

    let [empty, missing, garbage, text] =
        ["empty", "missing", "garbage", "text"].map(|name| dir.join(name));
    fs::create_dir(&empty)?;
    copy_tree(member(2), &garbage)?;
    let db = garbage.join("member/snap/db");
    let len = fs::metadata(&db)?.len();
    fs::write(&db, (0..len).map(|_| rng.u8(..)).collect::<Vec<u8>>())?;
    fs::remove_dir_all(garbage.join("member/wal"))?;
    fs::write(&text, "no data dir\n")?;
    let bad: [(&str, PathBuf); 4] =
        [("empty", empty), ("missing", missing), ("garbage", garbage), ("a text", text)];
    let view = View::of(member(0), None)?;
    let held = [&view];
    for (what, path) in &bad {
        for given in [&[0][..], &[0, 1], &[1, 2, 0]] {
            let mut paths: Vec<&Path> = given.iter().map(|n| member(*n)).collect();
            paths.insert(rng.usize(..=paths.len()), path);
            let advice = doctor(&paths).with_context(|| (*what).to_owned())?;
            let said = || format!("{what} beside {}: {}", given.len(), advice.ran);
            ensure!(advice.ran.code == Some(1), "{}", said());
            ensure!(advice.quorum.intact == given.len(), "{:?}: {}", advice.quorum, said());
            let (floor, majority) = match given.len() {
                1 => (Floor::HeldBy(&held), false),
                _ => (Floor::Everything, true),
            };
            holds(&advice, &ledger, floor).with_context(said)?;
            let right = if majority { advice.starts() } else { advice.recovers() };
            ensure!(right, "{}", said());
        }
        let mut command: Command = ours::command();
        let alone = run(command.arg("doctor").arg(path))?;
        ensure!(matches!(alone.code, Some(1 | 2)), "{what} alone: {alone}");
    }
    Ok(())
}

fn put(gateway: &Gateway) -> Result<()> {
    let put = json!({"key": key(b"other"), "value": key(b"cluster")});
    match gateway.send("kv/put", &put)? {
        Reply::Done(_) => Ok(()),
        Reply::Refused(why) => anyhow::bail!("{why}"),
    }
}
