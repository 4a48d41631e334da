//! Clusters that a power cut ended: logs of one or two members lack their last records, or end in
//! the middle of one.
//!
//! The danger guarded against: the log that is longest, or whole, is not the one that is chosen; or
//! entries go because their member does not know that they were committed.

use std::fs;
use std::path::{Path, PathBuf};
use std::time::Duration;

use anyhow::{Context, Result, ensure};
use fastrand::Rng;

use crate::advice::{Desk, doctor};
use crate::clients::while_writing;
use crate::dataset::seed;
use crate::fleet::Fleet;
use crate::ledger::{Floor, View};
use crate::night::{Morning, Plan, named, night, served, started};
use crate::peers::{Line, Needs};
use crate::suite::{Suite, is_long};
use crate::torn::Log;

/// How far behind the last record a log may be cut, in records.
const RECORDS: usize = 8;

/// What a disk writes at once, in bytes.
const SECTOR: usize = 512;

pub fn trials(suite: &mut Suite) {
    for line in Line::ALL {
        suite.add(
            format!("power_cut::what_{}_synced_is_kept", line.tag()),
            Needs::lines(&[line]),
            move |dir| cuts(line, dir),
        );
        if is_long() || line == Line::V36 {
            suite.add(
                format!("power_cut::a_{}_db_that_is_ahead_of_its_log", line.tag()),
                Needs::lines(&[line]),
                move |dir| ahead(line, dir),
            );
        }
    }
}

fn cuts(line: Line, dir: &Path) -> Result<()> {
    let mut rng = Rng::with_seed(seed().wrapping_mul(73).wrapping_add(line as u64));
    for number in 0..if is_long() { 25 } else { 2 } {
        let mut plan = Plan::random(line, number, &mut rng);
        (plan.size, plan.learner) = (3, false);
        let place = dir.join(format!("cut-{number}"));
        fs::create_dir(&place)?;
        let what = || format!("cut {number}, {plan:?}");
        let morning = night(&plan, &place).with_context(what)?;
        cut(line, &morning, &mut rng, &place).with_context(what)?;
        fs::remove_dir_all(&place)?;
    }
    Ok(())
}

/// A log lost more of its end than the db beside it was written with. A disk that keeps what it synced does not do
/// that; the db has everything all the same.
fn ahead(line: Line, dir: &Path) -> Result<()> {
    let mut rng = Rng::with_seed(seed().wrapping_mul(89).wrapping_add(line as u64));
    let mut fleet = Fleet::start(line, dir, 3, &[])?;
    let ledger = while_writing(fleet.urls(&[0, 1, 2]), rng.u64(..), |crowd| {
        crowd.wait_for(rng.u64(20..60))?;
        fleet.kill(2)?;
        crowd.send_to(fleet.urls(&[0, 1]));
        crowd.wait_for(rng.u64(60..100))?;
        crowd.pause();
        // The backend commits ten times a second.
        std::thread::sleep(Duration::from_millis(1000));
        fleet.kill_all()
    })?;
    let morning = Morning::from((fleet, ledger));
    let log = Log::newest(morning.dir(0))?;
    let end = log.starts[log.starts.len() - rng.usize(10..20)];
    fs::write(&log.path, &log.bytes[..end])?;
    let views = [View::torn(morning.dir(0), Some(end as u64))?, View::torn(morning.dir(2), None)?];
    for given in [vec![2, 0], vec![0]] {
        let place = dir.join(format!("given {}", given.len()));
        let paths: Vec<&Path> = given.iter().map(|n| morning.dir(*n)).collect();
        let advice = doctor(&paths)?;
        let what = || format!("given {}, n1 cut at {end}: {}", named(&given), advice.ran);
        ensure!(
            !advice.starts(),
            "its server does not start, or acts as if it never voted: {}",
            what()
        );
        let members = Desk::new(line, &place)?.follow(&advice.recovery()).with_context(what)?;
        for member in &members {
            let floor = Floor::HeldBy(&[&views[0], &views[1]]);
            morning.ledger.check(floor, &served(&member.gateway())?).with_context(what)?;
        }
    }
    Ok(())
}

/// Takes the end of a log away; says what, and up to where the newest segment is whole.
fn tear(data_dir: &Path, rng: &mut Rng) -> Result<(u64, String)> {
    let log = Log::newest(data_dir)?;
    let last = log.starts.len() - 1 - rng.usize(..RECORDS.min(log.starts.len()));
    let start = log.starts[last];
    let next = log.starts.get(last + 1).copied().unwrap_or(log.end);
    let inside = start + rng.usize(..next - start);
    let mut bytes = log.bytes.clone();
    let (end, what) = match rng.u32(..5) {
        0 => {
            bytes.truncate(inside);
            (start, format!("cut at {inside}, in the record at {start}"))
        }
        1 => {
            bytes.truncate(start);
            (start, format!("cut at {start}, before a record"))
        }
        2 => {
            bytes[start..].fill(0);
            (start, format!("zeros from {start}, before a record"))
        }
        3 => {
            bytes[inside..].fill(0);
            (start, format!("zeros from {inside}, in the record at {start}"))
        }
        _ => {
            // Whole sectors never arrived.
            let sector = inside / SECTOR * SECTOR;
            bytes[sector..].fill(0);
            let whole = log.starts.iter().rfind(|at| **at <= sector).copied().unwrap_or(0);
            (whole, format!("zeros from sector {sector}, in the record at {whole}"))
        }
    };
    fs::write(&log.path, &bytes)?;
    Ok((end as u64, format!("{}: {what}", data_dir.display())))
}

/// Whether every acknowledged write is in two of three logs, as it is where disks keep what they synced.
fn is_honest(morning: &Morning, views: &[View]) -> bool {
    (0..views.len()).all(|away| {
        let pair: Vec<&View> = (0..views.len()).filter(|n| *n != away).map(|n| &views[n]).collect();
        morning.ledger.ensure_held(&pair).is_ok()
    })
}

fn cut(line: Line, morning: &Morning, rng: &mut Rng, place: &Path) -> Result<()> {
    let mut victims: Vec<usize> = (0..3).collect();
    rng.shuffle(&mut victims);
    victims.truncate(rng.usize(1..=2));
    let (mut ends, mut whats) = ([None; 3], Vec::new());
    for victim in victims {
        let (end, what) = tear(morning.dir(victim), rng)?;
        ends[victim] = Some(end);
        whats.push(what);
    }
    let views = (0..3).map(|n| View::torn(morning.dir(n), ends[n])).collect::<Result<Vec<_>>>()?;
    let honest = is_honest(morning, &views);
    let given = loop {
        let mut given: Vec<usize> = (0..3).filter(|_| rng.u32(..3) > 0).collect();
        rng.shuffle(&mut given);
        // Of three logs the two that lost what they had synced may elect a leader of theirs.
        if !given.is_empty() && (honest || given.len() < 3) {
            break given;
        }
    };
    let what = format!("{}; honest: {honest}, given {}", whats.join("; "), named(&given));
    eprintln!("conformance: {line} {what}");
    for n in (0..3).filter(|n| !given.contains(n)) {
        fs::rename(morning.dir(n), place.join(format!("lost-{n}")))?;
    }
    recovered(line, morning, &views, &given, honest, place).context(what)
}

fn recovered(
    line: Line,
    morning: &Morning,
    views: &[View],
    given: &[usize],
    honest: bool,
    place: &Path,
) -> Result<()> {
    let paths: Vec<PathBuf> = given.iter().map(|n| morning.dir(*n).to_owned()).collect();
    let held: Vec<&View> = given.iter().map(|n| &views[*n]).collect();
    let advice = doctor(&paths)?;
    let said = || format!("{}", advice.ran);
    ensure!(advice.recover_from.is_some(), "no pick: {}", said());
    let mut intact = Vec::new();
    for n in given {
        let alone = doctor(&[morning.dir(*n)])?;
        if alone.quorum.intact == 1 {
            intact.push(*n);
        }
    }
    ensure!(advice.quorum.intact == intact.len(), "alone, {intact:?} are intact: {}", said());
    let majority = morning.has_majority(&intact);
    let right = if majority { advice.starts() } else { advice.recovers() };
    ensure!(right, "intact: {}: {}", named(&intact), said());
    let floor = if honest && majority { Floor::Everything } else { Floor::HeldBy(&held) };
    let members = if majority {
        started(morning, &intact)?
    } else {
        Desk::new(line, place)?.follow(&advice.recovery()).with_context(said)?
    };
    for member in &members {
        morning
            .ledger
            .check(floor, &served(&member.gateway())?)
            .with_context(|| format!("{} serves, after {}", member.spec.name, said()))?;
    }
    if intact.len() == given.len() {
        ensure!(advice.ran.code == Some(0), "what a power cut leaves is no damage: {}", said());
    }
    Ok(())
}
