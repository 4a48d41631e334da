//! Crashed members: `etcdsnap` shows what the same server shows once it has been restarted.
//!
//! The danger guarded against: a rule of replay that is ours alone. Nothing here says what the
//! right state is; a real server of the same version, on a copy, does.

use std::path::Path;

use anyhow::{Context, Result, ensure};
use fastrand::Rng;
use serde_json::json;

use crate::crash::{LAZY, Plan, crash};
use crate::dataset::seed;
use crate::fixtures::Fixture;
use crate::gateway::key;
use crate::judge::{agrees, judge, restored_serves};
use crate::logged::{LEASE_CHECKPOINT, pending};
use crate::ours;
use crate::peers::{Line, Needs};
use crate::server::{Member, Spec, free_url};
use crate::suite::{Suite, is_long};

pub fn trials(suite: &mut Suite) {
    for line in Line::ALL {
        let tag = line.tag();
        suite.add(
            format!("crashed::every_kind_of_request_is_replayed_as_{tag}_does"),
            Needs::lines(&[line]),
            move |dir| every_kind(line, dir),
        );
        suite.add(format!("crashed::at_random_moments_{tag}"), Needs::lines(&[line]), move |dir| {
            at_random_moments(line, dir)
        });
        suite.add(
            format!("crashed::fixture_crashed_{tag}_is_what_the_server_serves"),
            Needs::lines(&[line]).and_fixtures(),
            move |dir| fixture(&format!("crashed-{tag}"), line, dir),
        );
    }
    suite.add(
        "crashed::a_first_compaction_at_revision_0_is_no_damage",
        Needs::lines(&[Line::V36]),
        compacted_at_0,
    );
    for line in Line::ALL {
        suite.add(
            format!("crashed::lease_checkpoints_are_replayed_as_{}_does", line.tag()),
            Needs::lines(&[line]).and_fixtures(),
            move |dir| checkpoints(line, dir),
        );
    }
    for (name, line) in [("kube-36", Line::V36), ("kube-37-secretbox", Line::V37)] {
        suite.add(
            format!("crashed::fixture_{}_is_what_the_server_serves", name.replace('-', "_")),
            Needs::lines(&[line]).and_fixtures(),
            move |dir| fixture(name, line, dir),
        );
    }
    suite.add(
        "crashed::a_member_upgraded_from_34_to_37_with_a_crash_in_every_step",
        Needs::lines(&Line::ALL),
        upgraded,
    );
}

/// Crashes of a version in this run, the one with every kind of request included.
fn crashes() -> u64 {
    if is_long() { 52 } else { 5 }
}

fn every_kind(line: Line, dir: &Path) -> Result<()> {
    let plan = Plan::whole(line, seed() ^ line as u64, dir)?;
    let spec = Spec::single(line, &dir.join("data"), &free_url()?);
    let counts = crash(spec.clone(), &plan, dir)?;
    let kinds = pending(&spec.data_dir)?;
    eprintln!("conformance: {line} {} sent, seed {}, pending: {kinds}", counts.total(), seed());
    kinds.ensure_all(line, &[LEASE_CHECKPOINT])?;
    let verdict = judge(&spec, dir)?;
    // Without the log the db says something else: the comparison can fail.
    let db_alone = ours::hashkv(&spec.data_dir, 0, &[ours::NO_WAL]);
    ensure!(db_alone.ok() != Some(verdict.hash), "the db alone has everything");
    agrees(&spec.data_dir, &verdict, dir, &[])?;
    restored_serves(&spec.data_dir, &verdict, dir, &[])
}

fn compacted_at_0(dir: &Path) -> Result<()> {
    let mut spec = Spec::single(Line::V36, &dir.join("data"), &free_url()?);
    spec.extra = LAZY.map(String::from).to_vec();
    let member = Member::start(spec.clone())?;
    let put = json!({"key": key(b"k"), "value": key(b"v")});
    for path in ["kv/put", "kv/compaction", "kv/put"] {
        let body = if path == "kv/put" { put.clone() } else { json!({"physical": true}) };
        member.gateway().call(path, &body)?;
    }
    member.sigkill()?;
    let verdict = judge(&spec, dir)?;
    ensure!(verdict.hash.compact_revision == 0, "{:?}", verdict.hash);
    agrees(&spec.data_dir, &verdict, dir, &[])
}

fn at_random_moments(line: Line, dir: &Path) -> Result<()> {
    let mut rng = Rng::with_seed(seed().wrapping_mul(41).wrapping_add(line as u64));
    for round in 1..crashes() {
        let place = dir.join(format!("round-{round}"));
        std::fs::create_dir(&place)?;
        let plan = Plan::random(line, rng.u64(..1 << 32), &place)?;
        let spec = Spec::single(line, &place.join("data"), &free_url()?);
        let what = || format!("round {round}, {plan:?}");
        crash(spec.clone(), &plan, &place).with_context(what)?;
        let kinds = pending(&spec.data_dir)?;
        let verdict = judge(&spec, &place).with_context(what)?;
        agrees(&spec.data_dir, &verdict, &place, &[])
            .with_context(|| format!("{}, pending: {kinds}", what()))?;
        if round % 10 == 1 {
            restored_serves(&spec.data_dir, &verdict, &place, &[]).with_context(what)?;
        }
        std::fs::remove_dir_all(&place)?;
    }
    Ok(())
}

fn fixture(name: &str, line: Line, dir: &Path) -> Result<()> {
    let fixture = Fixture::unpack(name, dir)?;
    let [data_dir] = &fixture.data_dirs()?[..] else { anyhow::bail!("{name} has several members") };
    let spec = Spec::single(line, data_dir, &free_url()?);
    let verdict = judge(&spec, dir)?;
    agrees(data_dir, &verdict, dir, &[])?;
    restored_serves(data_dir, &verdict, dir, &[])
}

/// Servers checkpoint leases five minutes after a grant: these members lived that long.
fn checkpoints(line: Line, dir: &Path) -> Result<()> {
    let fixture = Fixture::unpack(&format!("../checkpoints/lease-{}", line.tag()), dir)?;
    let spec = Spec::single(line, &fixture.root.join("data"), &free_url()?);
    let kinds = pending(&spec.data_dir)?;
    ensure!(kinds.count(LEASE_CHECKPOINT) > 0, "no checkpoint among {kinds}");
    let verdict = judge(&spec, dir)?;
    agrees(&spec.data_dir, &verdict, dir, &[])
}

/// One data dir through every version: loaded and killed in each, judged each time.
fn upgraded(dir: &Path) -> Result<()> {
    let mut rng = Rng::with_seed(seed().wrapping_mul(43));
    let (data_dir, peer_url) = (dir.join("data"), free_url()?);
    for line in Line::ALL {
        let seed = rng.u64(..1 << 32);
        let plan = Plan { requests: 250, ..Plan::random(line, seed, dir)? };
        let spec = Spec::single(line, &data_dir, &peer_url);
        crash(spec.clone(), &plan, dir)?;
        let what = || format!("{line}, {plan:?}, pending: {:?}", pending(&data_dir));
        let verdict = judge(&spec, dir).with_context(what)?;
        agrees(&data_dir, &verdict, dir, &[]).with_context(what)?;
        if line == Line::V36 {
            // 3.7 ends itself at what 3.4 and 3.5 logged and a lazy 3.6 has not committed.
            Member::start(spec)?.sigterm()?;
        }
        if line == Line::V37 {
            restored_serves(&data_dir, &verdict, dir, &[]).with_context(what)?;
        }
    }
    Ok(())
}
