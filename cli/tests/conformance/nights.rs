//! Whole clusters killed under load: what was acknowledged is there again after `doctor`.
//!
//! The danger guarded against: a client was told that its write is safe, and the commands that
//! `doctor` prints leave it out.

use std::path::{Path, PathBuf};

use anyhow::{Context, Result, ensure};
use fastrand::Rng;
use serde_json::json;

use crate::advice::{Advice, Desk, doctor};
use crate::dataset::seed;
use crate::facts;
use crate::gateway::key;
use crate::ledger::{Floor, View, keys};
use crate::night::{Morning, Plan, named, night, served, started};
use crate::ours;
use crate::peers::{Line, Needs};
use crate::suite::{Suite, is_long};

pub fn trials(suite: &mut Suite) {
    for line in Line::ALL {
        suite.add(
            format!("nights::nothing_acknowledged_is_lost_{}", line.tag()),
            Needs::lines(&[line]),
            move |dir| nights(line, dir),
        );
    }
}

/// Nights of a version in this run.
fn count() -> usize {
    if is_long() { 25 } else { 5 }
}

fn nights(line: Line, dir: &Path) -> Result<()> {
    let mut rng = Rng::with_seed(seed().wrapping_mul(53).wrapping_add(line as u64));
    for number in 0..count() {
        let plan = Plan::random(line, number, &mut rng);
        let what = || format!("night {number}, {plan:?}");
        // A shell must be told about every one of these characters.
        let place = dir.join(format!("night {number}, it's \"{}\"\n$0", line.tag()));
        std::fs::create_dir(&place)?;
        let morning = night(&plan, &place).with_context(what)?;
        let views: Vec<View> = morning
            .specs
            .iter()
            .map(|spec| View::of(&spec.data_dir, None))
            .collect::<Result<_>>()
            .with_context(what)?;
        let lacks: Vec<usize> = views.iter().map(|view| morning.ledger.lacks(view)).collect();
        eprintln!(
            "conformance: {line} night {number}, {} of {}: {}; the members lack {lacks:?} of them",
            plan.title(),
            morning.specs.len(),
            morning.ledger.line(),
        );
        for left_out in 0..morning.voters {
            // Of three, two hold every acknowledged write; of five, three do.
            let away = [left_out, (left_out + 1) % morning.voters];
            let away = &away[..morning.voters / 2];
            let held: Vec<&View> =
                (0..morning.voters).filter(|n| !away.contains(n)).map(|n| &views[n]).collect();
            morning.ledger.ensure_held(&held).with_context(what)?;
        }
        for given in subsets(&morning, &mut rng) {
            advised(&morning, &views, &given)
                .with_context(|| format!("given {}", named(&given)))
                .with_context(what)?;
        }
        let given = chosen(&morning, number, &mut rng);
        // Of a small cluster, the one member that is lost; this takes a while.
        let lost = morning.voters - given.iter().filter(|n| **n < morning.voters).count();
        let replaces = lost == 1 && morning.specs.len() == 3 && (number == 1 || is_long());
        relive(line, &morning, &views, &given, replaces, &place)
            .with_context(|| format!("given {}", named(&given)))
            .with_context(what)?;
        std::fs::remove_dir_all(&place)?;
    }
    Ok(())
}

/// Members in every combination, or some of them.
fn subsets(morning: &Morning, rng: &mut Rng) -> Vec<Vec<usize>> {
    let count = morning.specs.len();
    let mut all: Vec<Vec<usize>> = (1..1_usize << count)
        .map(|bits| (0..count).filter(|n| bits >> n & 1 == 1).collect())
        .collect();
    if !is_long() || count > 3 {
        rng.shuffle(&mut all);
        all.truncate(if is_long() { 7 } else { 3 });
    }
    all
}

/// Who is left of those that started; a majority in every second night.
fn chosen(morning: &Morning, number: usize, rng: &mut Rng) -> Vec<usize> {
    loop {
        let mut given: Vec<usize> = (0..morning.specs.len()).filter(|_| rng.bool()).collect();
        rng.shuffle(&mut given);
        let voters = given.iter().any(|n| *n < morning.voters);
        if voters && morning.has_majority(&given) == (number % 2 == 1) {
            return given;
        }
    }
}

/// The acknowledged writes that must be there when these members are given.
fn floor<'a>(
    morning: &Morning,
    given: &[usize],
    held: &'a [&'a View],
    chosen: &'a [&'a View],
) -> Floor<'a> {
    if morning.has_majority(given) {
        Floor::Everything
    } else if morning.voters == 3 {
        Floor::HeldBy(held)
    } else {
        Floor::HeldBy(chosen)
    }
}

/// What `doctor` says of these members, and what the one that it chooses has.
fn advised(morning: &Morning, views: &[View], given: &[usize]) -> Result<Advice> {
    let paths: Vec<PathBuf> = given.iter().map(|n| morning.dir(*n).to_owned()).collect();
    let advice = doctor(&paths)?;
    let said = || format!("{}", advice.ran);
    let path = advice.recover_from.as_ref().with_context(said)?;
    let of = |path: &PathBuf| views.iter().find(|view| view.path == *path);
    let pick = [of(path).with_context(said)?];
    let held: Vec<&View> = paths.iter().filter_map(of).collect();
    let content = ours::content(path, &[])?;
    morning
        .ledger
        .check(floor(morning, given, &held, &pick), &keys(&content.keys)?)
        .with_context(|| format!("doctor recovers from {}", path.display()))?;

    ensure!(advice.ran.code == Some(0), "intact members, and not exit code 0: {}", said());
    let voters = given.iter().filter(|n| **n < morning.voters).count();
    let quorum = advice.quorum;
    ensure!(quorum.voters == morning.voters, "{quorum:?}: {}", said());
    ensure!(quorum.here == voters && quorum.intact == voters, "{quorum:?}: {}", said());
    if morning.has_majority(given) {
        ensure!(advice.starts(), "a majority is here, and it is not started: {}", said());
        let wanted = if morning.nospace { "recoverable" } else { "healthy" };
        ensure!(advice.verdict == wanted, "{}", said());
    } else {
        ensure!(advice.recovers(), "no majority, and no new cluster: {}", said());
    }
    Ok(advice)
}

/// Loses all members but `given`, does what `doctor` says, and asks the servers what they have.
fn relive(
    line: Line,
    morning: &Morning,
    views: &[View],
    given: &[usize],
    replaces: bool,
    place: &Path,
) -> Result<()> {
    for n in (0..morning.specs.len()).filter(|n| !given.contains(n)) {
        std::fs::rename(morning.dir(n), place.join(format!("lost-{n}")))?;
    }
    let advice = advised(morning, views, given)?;
    let of = |path: &Path| views.iter().find(|view| view.path == path);
    let pick: Vec<&View> = advice.recover_from.as_deref().and_then(of).into_iter().collect();
    let held: Vec<&View> = given.iter().filter_map(|n| of(morning.dir(*n))).collect();
    let said = || format!("{}", advice.ran);
    let desk = Desk::new(line, place)?;
    let members = if morning.has_majority(given) {
        let mut members = started(morning, given)?;
        if replaces {
            let replaced = advice.replacement();
            ensure!(!replaced.is_empty(), "nobody is replaced: {}", said());
            members.extend(desk.follow(&replaced).with_context(said)?);
            let (_, listed) = facts::members(&members[0].gateway())?;
            let voters = listed.iter().filter(|member| !member.is_learner).count();
            ensure!(voters == morning.voters, "{listed:?}: {}", said());
        }
        members
    } else {
        let members = desk.follow(&advice.recovery()).with_context(said)?;
        let put = json!({"key": key(b"after"), "value": key(b"the night")});
        members[0].gateway().call("kv/put", &put).with_context(said)?;
        members
    };
    for member in &members {
        let served = served(&member.gateway())?;
        morning
            .ledger
            .check(floor(morning, given, &held, &pick), &served)
            .with_context(|| format!("{} serves, after {}", member.spec.name, advice.ran))?;
        if !morning.has_majority(given) {
            ensure!(served == pick[0].keys, "not what {} has", pick[0].path.display());
        }
    }
    Ok(())
}
