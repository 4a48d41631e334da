//! Clusters whose membership was changing when they died: a member that was being added, and one
//! that was removed.
//!
//! The danger guarded against: a majority counted by a membership that no leader goes by.

use std::path::Path;
use std::time::Duration;

use anyhow::{Context, Result, ensure};
use fastrand::Rng;
use serde_json::json;

use crate::advice::{Desk, doctor};
use crate::clients::while_writing;
use crate::dataset::seed;
use crate::fleet::Fleet;
use crate::gateway::{Gateway, id, key};
use crate::ledger::{Floor, View};
use crate::night::{Morning, named, served, started};
use crate::peers::{Line, Needs};
use crate::server::free_url;
use crate::suite::{Suite, is_long};

pub fn trials(suite: &mut Suite) {
    for line in Line::ALL {
        if !is_long() && !matches!(line, Line::V34 | Line::V37) {
            continue;
        }
        suite.add(
            format!("memberships::a_member_that_was_being_added_{}", line.tag()),
            Needs::lines(&[line]),
            move |dir| added(line, dir),
        );
        suite.add(
            format!("memberships::a_member_that_was_removed_{}", line.tag()),
            Needs::lines(&[line]),
            move |dir| removed(line, dir),
        );
    }
}

/// The last entry of the last leader's log adds a voter, and nobody else has it.
fn added(line: Line, dir: &Path) -> Result<()> {
    let mut rng = Rng::with_seed(seed().wrapping_mul(79).wrapping_add(line as u64));
    // Servers refuse to add a member where that could cost the majority.
    let mut fleet = Fleet::start(line, dir, 3, &["--strict-reconfig-check=false".into()])?;
    let mut leader = 0;
    let ledger = while_writing(fleet.urls(&[0, 1, 2]), rng.u64(..), |crowd| {
        crowd.wait_for(rng.u64(20..100))?;
        leader = fleet.leader()?;
        (0..3).filter(|n| *n != leader).try_for_each(|n| fleet.kill(n))?;
        crowd.send_to(Vec::new());
        let gateway = Gateway::with_timeout(&fleet.client_urls[leader], Duration::from_millis(300));
        // No answer comes: there is nobody to agree.
        let add = json!({"peerURLs": [free_url()?]});
        ensure!(gateway.send("cluster/member/add", &add).is_err(), "a member was added");
        fleet.kill_all()
    })?;
    let others: Vec<usize> = (0..3).filter(|n| *n != leader).collect();
    let morning = Morning::from((fleet, ledger));
    let views: Vec<View> = (0..3).map(|n| View::of(morning.dir(n), None)).collect::<Result<_>>()?;
    let pending = [&views[leader]];

    // Three of four, and two of three, are a majority of whatever the membership is.
    let advice = doctor(&[morning.dir(0), morning.dir(1), morning.dir(2)])?;
    ensure!(advice.starts() && advice.ran.code == Some(0), "{}", advice.ran);
    let advice = doctor(&[morning.dir(others[0]), morning.dir(others[1])])?;
    ensure!(advice.starts() && advice.ran.code == Some(0), "{}", advice.ran);
    // Two of the old three elect the one that would add the fourth, and then miss a third vote.
    for given in [vec![leader, others[0]], vec![leader]] {
        let paths: Vec<&Path> = given.iter().map(|n| morning.dir(*n)).collect();
        let advice = doctor(&paths)?;
        let said = || format!("given {}, n{} leading: {}", named(&given), leader + 1, advice.ran);
        ensure!(!advice.starts(), "{}", said());
        let place = dir.join(format!("recovered-{}", given.len()));
        let members = Desk::new(line, &place)?.follow(&advice.recovery()).with_context(said)?;
        for member in &members {
            let served = served(&member.gateway())?;
            let floor = if given.len() == 2 { Floor::Everything } else { Floor::HeldBy(&pending) };
            morning.ledger.check(floor, &served).with_context(said)?;
        }
        let put = json!({"key": key(b"after"), "value": key(b"the night")});
        members[0].gateway().call("kv/put", &put).with_context(said)?;
    }
    Ok(())
}

/// A member is removed, and the two that are left go on.
fn removed(line: Line, dir: &Path) -> Result<()> {
    let mut rng = Rng::with_seed(seed().wrapping_mul(83).wrapping_add(line as u64));
    let mut fleet = Fleet::start(line, dir, 3, &[])?;
    let mut gone = 0;
    let ledger = while_writing(fleet.urls(&[0, 1, 2]), rng.u64(..), |crowd| {
        crowd.wait_for(rng.u64(20..100))?;
        gone = rng.usize(..3);
        let left: Vec<usize> = (0..3).filter(|n| *n != gone).collect();
        let status = fleet.gateway(gone).call("maintenance/status", &json!({}))?;
        let member = id(&status["header"]["member_id"])?.to_string();
        crowd.send_to(fleet.urls(&left));
        fleet.remove(left[0], &member)?;
        crowd.wait_for(rng.u64(20..100))?;
        fleet.kill_all()
    })?;
    let left: Vec<usize> = (0..3).filter(|n| *n != gone).collect();
    let morning = Morning::from((fleet, ledger));
    let (removed, one, other) = (morning.dir(gone), morning.dir(left[0]), morning.dir(left[1]));
    for paths in [&[removed, one, other][..], &[other, one]] {
        let advice = doctor(paths)?;
        let quorum = advice.quorum;
        ensure!((quorum.voters, quorum.here) == (2, 2), "{quorum:?}: {}", advice.ran);
        ensure!(advice.starts(), "{}", advice.ran);
        ensure!(advice.recover_from.as_deref() != Some(removed), "{}", advice.ran);
    }
    // One of two is no majority, and the one that was removed does not vote.
    let views = [View::of(removed, None)?, View::of(one, None)?];
    let held: Vec<&View> = views.iter().collect();
    let advice = doctor(&[removed, one])?;
    let said = || format!("n{} removed: {}", gone + 1, advice.ran);
    ensure!((advice.quorum.voters, advice.quorum.here) == (2, 1), "{}", said());
    ensure!(advice.recovers(), "{}", said());
    let members =
        Desk::new(line, &dir.join("recovered"))?.follow(&advice.recovery()).with_context(said)?;
    for member in &members {
        let floor = Floor::HeldBy(&held);
        morning.ledger.check(floor, &served(&member.gateway())?).with_context(said)?;
    }
    drop(members);
    // At home, the two that are left go on.
    let members = started(&morning, &left)?;
    for member in &members {
        morning.ledger.check(Floor::Everything, &served(&member.gateway())?)?;
    }
    Ok(())
}
