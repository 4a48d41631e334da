//! `restore --rev N`: a server booted from it is what the old one was at revision N.
//!
//! The danger: a key space of which only the keys look right, while its history, its leases or
//! its revision are those of another time, so that a client or a compaction falls over later.

use std::collections::BTreeSet;
use std::path::Path;

use anyhow::{Context, Result, ensure};
use serde_json::json;

use crate::boot::{self, compare_content};
use crate::dataset::{Dataset, loaded, seed};
use crate::facts::{Kv, content, hashkv, keys_at};
use crate::gateway::{Gateway, Reply, int, key, list};
use crate::ours;
use crate::peers::{self, Line, Needs};
use crate::records;
use crate::restore_flags::RestoreFlags;
use crate::server::{Member, free_url};
use crate::story::{self, LOST, LOST_KEYS, Story, begins, with_keys};
use crate::suite::{Suite, is_long};

pub fn trials(suite: &mut Suite) {
    for line in Line::ALL {
        let tag = line.tag();
        suite.add(
            format!("point_in_time::a_server_is_what_it_was_at_random_revisions_on_{tag}"),
            Needs::lines(&[line]).and_bbolt(),
            move |dir| is_what_it_was(&*loaded(line)?, dir),
        );
        suite.add(
            format!("point_in_time::keys_without_their_lease_are_treated_as_told_on_{tag}"),
            Needs::lines(&[line]).and_bbolt(),
            move |dir| orphans(&*story::of(line)?, dir),
        );
    }
    suite.add(
        "point_in_time::revisions_outside_the_history_are_refused",
        Needs::lines(&[Line::V36]),
        |dir| outside_is_refused(&*loaded(Line::V36)?, dir),
    );
    suite.add(
        "point_in_time::a_bump_counts_from_the_revision",
        Needs::lines(&[Line::V36]),
        |dir| bumped(&*story::of(Line::V36)?, dir),
    );
}

fn is_what_it_was(set: &Dataset, dir: &Path) -> Result<()> {
    let (mark, current) = (set.latest().compact_revision, set.content.revision);
    // The old server lives again from a restore that is not ours.
    let flags = RestoreFlags::single(dir.join("old"), &free_url()?);
    let ran = peers::restore(set.line, &set.snapshot, &flags)?;
    ensure!(ran.code == Some(0), "{ran}");
    let old = Member::start(boot::spec(set.line, &flags))?;

    let mut rng = fastrand::Rng::with_seed(seed().wrapping_add(set.line as u64));
    let between = if is_long() { 12 } else { 2 };
    let mut revisions = BTreeSet::from([mark, current]);
    revisions.extend((0..between).map(|_| rng.i64(mark + 1..current)));
    for revision in revisions {
        let earlier = rng.i64(mark..=revision);
        at(set, &old, revision, earlier, &dir.join(format!("at-{revision}")))
            .with_context(|| format!("restored at {revision} of {mark}..={current}"))?;
    }
    Ok(())
}

fn at(set: &Dataset, old: &Member, revision: i64, earlier: i64, dir: &Path) -> Result<()> {
    let mark = set.latest().compact_revision;
    let flags = RestoreFlags::single(dir.to_path_buf(), &free_url()?);
    let more = ["--rev", &revision.to_string(), "--orphan-leases", "keep"];
    let said = ours::restored(&set.snapshot, &flags, &more)?;
    let db = flags.data_dir.join("member/snap/db");
    ensure!(said["revision"] == revision, "{said}");
    ensure!(said["sourceRevision"] == set.content.revision, "{said}");
    ensure!(said["compactRevision"] == mark, "{said}");
    let gone = records::count(&set.snapshot)? - records::count(&db)?;
    ensure!(said["removed"]["records"] == gone, "{gone} records went: {said}");
    ensure!(records::marks(&db)? == records::marks(&set.snapshot)?, "the marks changed");

    let (was, keys) =
        (old.gateway(), |gateway: &Gateway, at| Ok::<_, anyhow::Error>(keys_at(gateway, at)?.1));
    let wanted = with_keys(&set.content, revision, keys(&was, revision)?, |_| true);
    let orphans = wanted.keys.iter().filter(|kv| is_orphan(kv, &wanted.leases)).count();
    ensure!(list(&said["orphanLeases"]["keys"]).len() == orphans, "{orphans} orphans: {said}");

    let member = Member::start(boot::spec(set.line, &flags))?;
    let gateway = member.gateway();
    compare_content(&content(&gateway)?, &wanted)?;
    let hash = hashkv(set.line, &member.client_url, &gateway, 0)?;
    ensure!(hash == ours::hashkv(&set.snapshot, revision, &[])?, "ours differs from {hash:?}");
    for at in [revision, earlier] {
        // Early patches of 3.4 refuse the mark itself.
        if at > mark {
            let [is, was] =
                [&member, old].map(|one| hashkv(set.line, &one.client_url, &one.gateway(), at));
            let (is, was) = (is?, was?);
            ensure!(is == was, "HashKV {is:?}, the old server's {was:?}");
        }
        ensure!(keys(&gateway, at)? == keys(&was, at)?, "other keys at {at}");
    }
    goes_on(&gateway, revision)
}

fn is_orphan(kv: &Kv, leases: &std::collections::BTreeMap<i64, (i64, Vec<String>)>) -> bool {
    kv.lease != 0 && !leases.contains_key(&kv.lease)
}

/// The next write gets the next revision, and a watch that continues there sees it.
pub fn goes_on(gateway: &Gateway, revision: i64) -> Result<()> {
    gateway.call("kv/put", &json!({"key": key(b"after-restore"), "value": key(b"written")}))?;
    let answers = gateway.watch_all_from(revision + 1)?;
    let events = list(&answers.last().context("a watch without an answer")?["events"]);
    ensure!(events.len() == 1, "a watch from {}: {answers:?}", revision + 1);
    ensure!(int(&events[0]["kv"]["mod_revision"])? == revision + 1, "{answers:?}");
    Ok(())
}

/// Watches from before `mark` are told so instead of being served with holes.
pub fn older_watches_end(gateway: &Gateway, mark: i64) -> Result<()> {
    for start in [1, mark - 1] {
        let answers = gateway.watch_all_from(start)?;
        let last = answers.last().context("a watch without an answer")?;
        ensure!(last["canceled"] == json!(true), "a watch from {start} lives: {last}");
        ensure!(int(&last["compact_revision"])? == mark, "a watch from {start}: {last}");
    }
    Ok(())
}

fn orphans(story: &Story, dir: &Path) -> Result<()> {
    let at = story.point.to_string();
    let flags = |name: &str| anyhow::Ok(RestoreFlags::single(dir.join(name), &free_url()?));
    let refused = flags("refused")?;
    let ran = ours::restore(&story.snapshot, &refused, &["--rev", &at])?;
    ensure!(ran.code == Some(2), "{ran}");
    ensure!(LOST_KEYS.iter().all(|key| ran.stderr_text().contains(key)), "keys not named: {ran}");
    ensure!(ran.stderr_text().contains("--orphan-leases"), "no way out is named: {ran}");
    ensure!(!refused.data_dir.exists(), "written all the same");

    // A key that is dropped anyway is no question.
    let none = flags("none")?;
    let said = ours::restored(&story.snapshot, &none, &["--rev", &at, "--keep-prefix", "keep/o"])?;
    ensure!(said["orphanLeases"].is_null(), "{said}");

    for treatment in ["keep", "drop-keys", "detach"] {
        let flags = flags(treatment)?;
        treated(story, &flags, treatment).with_context(|| treatment.to_owned())?;
    }
    Ok(())
}

fn treated(story: &Story, flags: &RestoreFlags, treatment: &str) -> Result<()> {
    let at = story.point.to_string();
    let more = ["--rev", &at, "--orphan-leases", treatment];
    let said = ours::restored(&story.snapshot, flags, &more)?;
    ensure!(said["orphanLeases"]["treatment"] == treatment, "{said}");
    let listed = list(&said["orphanLeases"]["keys"]);
    let wanted = LOST_KEYS.map(|name| {
        json!({"key": name, "keyBase64": key(name.as_bytes()), "lease": format!("{LOST:x}")})
    });
    ensure!(listed == wanted, "{said}");
    let db = flags.data_dir.join("member/snap/db");
    let gone = records::count(&story.snapshot)? - records::count(&db)?;
    let keys_gone = if treatment == "drop-keys" { LOST_KEYS.len() } else { 0 };
    ensure!(said["removed"]["records"] == gone, "{gone} records went: {said}");
    ensure!(said["removed"]["keys"] == keys_gone, "{said}");
    ensure!(said["removed"]["leases"] == 0, "{said}");
    let mark = (treatment == "drop-keys").then_some(story.point);
    ensure!(records::marks(&db)? == [mark; 2], "{:?}", records::marks(&db)?);

    let mut keys = story.at_point.clone();
    let lost = |kv: &Kv| kv.lease == LOST;
    ensure!(keys.iter().filter(|kv| lost(kv)).count() == LOST_KEYS.len(), "{keys:?}");
    match treatment {
        "drop-keys" => keys.retain(|kv| !lost(kv)),
        "detach" => keys.iter_mut().filter(|kv| lost(kv)).for_each(|kv| kv.lease = 0),
        _ => {}
    }
    let wanted = with_keys(&story.content, story.point, keys, |_| true);
    let member = Member::start(boot::spec(story.line, flags))?;
    let gateway = member.gateway();
    compare_content(&content(&gateway)?, &wanted)?;
    let served = hashkv(story.line, &member.client_url, &gateway, 0)?;
    let before = ours::hashkv(&story.snapshot, story.point, &[])?;
    ensure!((served == before) == (treatment == "keep"), "{served:?}, before {before:?}");
    // The lease is no more, so nothing can take the keys along that stay.
    let revoked = gateway.send("lease/revoke", &json!({"ID": LOST.to_string()}))?;
    ensure!(matches!(revoked, Reply::Refused(_)), "the lease lived: {revoked:?}");
    goes_on(&gateway, story.point)?;
    if treatment == "drop-keys" {
        older_watches_end(&gateway, story.point)?;
    }
    let member = member.restart()?;
    let after = content(&member.gateway())?;
    let still = after.keys.iter().filter(|kv| !begins(kv, "after-restore"));
    ensure!(still.eq(&wanted.keys), "other keys after a second start: {:?}", after.keys);
    Ok(())
}

fn outside_is_refused(set: &Dataset, dir: &Path) -> Result<()> {
    let (mark, current) = (set.latest().compact_revision, set.content.revision);
    for revision in [mark - 1, current + 1, i64::MAX] {
        let flags = RestoreFlags::single(dir.join("data"), &free_url()?);
        let more = ["--rev", &revision.to_string(), "--orphan-leases", "keep"];
        let ran = ours::restore(&set.snapshot, &flags, &more)?;
        ensure!(ran.code == Some(2), "{revision}: {ran}");
        let said = ran.stderr_text();
        for end in [mark, current] {
            ensure!(said.contains(&end.to_string()), "{end} is not named: {ran}");
        }
        ensure!(!flags.data_dir.exists(), "written all the same");
    }
    Ok(())
}

/// Clients of the time after the point must not meet their revisions again with other content.
fn bumped(story: &Story, dir: &Path) -> Result<()> {
    let bump = 1_000;
    let flags =
        RestoreFlags { bump: Some(bump), ..RestoreFlags::single(dir.join("data"), &free_url()?) };
    let more = ["--rev", &story.point.to_string(), "--orphan-leases", "keep"];
    let said = ours::restored(&story.snapshot, &flags, &more)?;
    let revision = story.point + i64::try_from(bump)?;
    ensure!(said["revision"] == revision, "{said}");
    let member = Member::start(boot::spec(story.line, &flags))?;
    let gateway = member.gateway();
    let wanted = with_keys(&story.content, revision, story.at_point.clone(), |_| true);
    compare_content(&content(&gateway)?, &wanted)?;
    older_watches_end(&gateway, revision)?;
    goes_on(&gateway, revision)
}
