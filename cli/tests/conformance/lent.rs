//! The most up-to-date member lost its db, and its log begins behind entry 1: another member's db takes the place of the
//! lost one.
//!
//! The danger guarded against: entries that stand in a log are given up, because no dir alone has everything.

use std::fs;
use std::path::Path;
use std::time::Duration;

use anyhow::{Context, Result, ensure};
use fastrand::Rng;

use crate::advice::{Desk, doctor};
use crate::clients::while_writing;
use crate::dataset::seed;
use crate::fleet::Fleet;
use crate::ledger::{Floor, View};
use crate::night::served;
use crate::peers::{Line, Needs};
use crate::suite::{Suite, is_long};

pub fn trials(suite: &mut Suite) {
    // 3.4 keeps 5,000 entries for members that are behind, and sends no snapshot before.
    for line in [Line::V35, Line::V36, Line::V37] {
        suite.add(
            format!("lent::the_log_of_one_{}_member_on_the_db_of_another", line.tag()),
            Needs::lines(&[line]),
            move |dir| rounds(line, dir),
        );
    }
}

fn rounds(line: Line, dir: &Path) -> Result<()> {
    let mut rng = Rng::with_seed(seed().wrapping_mul(97).wrapping_add(line as u64));
    for number in 0..if is_long() { 6 } else { 1 } {
        let place = dir.join(format!("round {number}"));
        fs::create_dir(&place)?;
        round(line, &mut rng, &place).with_context(|| format!("round {number}"))?;
        fs::remove_dir_all(&place)?;
    }
    Ok(())
}

fn round(line: Line, rng: &mut Rng, dir: &Path) -> Result<()> {
    let catchup = match line {
        Line::V34 | Line::V35 => "--experimental-snapshot-catchup-entries=5",
        Line::V36 | Line::V37 => "--snapshot-catchup-entries=5",
    };
    let flags = [format!("--snapshot-count={}", rng.u32(10..40)), catchup.to_owned()];
    let mut fleet = Fleet::start(line, dir, 3, &flags)?;
    let first = fleet.leader()?;
    let (best, third) = ((first + 1) % 3, (first + 2) % 3);
    let ledger = while_writing(fleet.urls(&[0, 1, 2]), rng.u64(..), |crowd| {
        crowd.wait_for(rng.u64(20..60))?;
        // It comes back so late that the leader sends it a snapshot: its log goes on from there.
        fleet.kill(best)?;
        crowd.send_to(fleet.urls(&[first, third]));
        crowd.wait_for(rng.u64(80..160))?;
        fleet.start_again(&[best])?;
        crowd.send_to(fleet.urls(&[0, 1, 2]));
        crowd.wait_for(rng.u64(10..40))?;
        std::thread::sleep(Duration::from_millis(rng.u64(..300)));
        fleet.kill(first)?;
        crowd.send_to(fleet.urls(&[best, third]));
        crowd.wait_for(rng.u64(10..60))?;
        fleet.kill_all()
    })?;
    let dir_of = |n: usize| fleet.specs[n].data_dir.as_path();
    let views = [View::of(dir_of(best), None)?, View::of(dir_of(first), None)?];
    fs::rename(dir_of(third), dir.join("lost"))?;
    let db = dir_of(best).join("member/snap/db");
    let how = rng.u32(..3);
    match how {
        0 => fs::remove_file(&db)?,
        1 => fs::write(&db, b"")?,
        _ => fs::write(&db, vec![0; usize::try_from(fs::metadata(&db)?.len())?])?,
    }
    for (number, given) in [[best, first], [first, best]].into_iter().enumerate() {
        let advice = doctor(&given.map(dir_of))?;
        let said = || format!("{how}, {:?}: {}", given, advice.ran);
        ensure!(advice.recover_from.as_deref() == Some(dir_of(best)), "{}", said());
        ensure!(advice.recovers() && advice.ran.code == Some(1), "{}", said());
        let place = dir.join(format!("given {number}"));
        let members = Desk::new(line, &place)?.follow(&advice.recovery()).with_context(said)?;
        for member in &members {
            let floor = Floor::HeldBy(&[&views[0], &views[1]]);
            ledger.check(floor, &served(&member.gateway())?).with_context(said)?;
        }
    }
    Ok(())
}
