//! `restore --keep-prefix`, `--drop-prefix`: what stays is as it was, and what watches it goes on.
//!
//! The danger: a revision that falls back, on which every controller and API server chokes; a lease that
//! takes keys along it should not, or lives on for keys that are gone.

use std::path::Path;

use anyhow::{Result, ensure};
use serde_json::json;

use crate::boot::{self, compare_content};
use crate::dataset::{Dataset, loaded};
use crate::facts::{Kv, content};
use crate::gateway::{Reply, bytes};
use crate::ours;
use crate::peers::{self, Line, Needs};
use crate::point_in_time::{goes_on, older_watches_end};
use crate::records;
use crate::restore_flags::RestoreFlags;
use crate::server::{Member, free_url};
use crate::story::{self, IDLE, MIXED, OF_DROPPED, OF_KEPT, Story, begins, with_keys};
use crate::suite::{Suite, is_long};

pub fn trials(suite: &mut Suite) {
    for line in Line::ALL {
        let tag = line.tag();
        for server in [line, Line::V37] {
            if server == line || is_long() {
                suite.add(
                    format!(
                        "filtered::a_story_of_{tag}_without_its_dropped_keys_on_{}",
                        server.tag()
                    ),
                    Needs::lines(&[line, server]).and_bbolt(),
                    move |dir| told_without(&*story::of(line)?, server, dir),
                );
            }
        }
        suite.add(
            format!("filtered::random_{tag}_data_keeps_what_is_chosen"),
            Needs::lines(&[line]).and_bbolt(),
            move |dir| chosen(&*loaded(line)?, dir),
        );
    }
    suite.add("filtered::an_empty_prefix_is_refused", Needs::lines(&[Line::V36]), |dir| {
        let story = story::of(Line::V36)?;
        for flag in ["--drop-prefix", "--keep-prefix"] {
            let flags = RestoreFlags::single(dir.join("data"), &free_url()?);
            let ran = ours::restore(&story.snapshot, &flags, &[flag, ""])?;
            ensure!(ran.code == Some(2) && !flags.data_dir.exists(), "{ran}");
        }
        Ok(())
    });
}

fn told_without(story: &Story, server: Line, dir: &Path) -> Result<()> {
    let flags = RestoreFlags::single(dir.join("data"), &free_url()?);
    let said = ours::restored(&story.snapshot, &flags, &["--drop-prefix", "drop/"])?;
    let revision = story.content.revision;
    let db = flags.data_dir.join("member/snap/db");
    let stays = |kv: &Kv| begins(kv, "keep/");
    let gone = story.content.keys.iter().filter(|kv| !stays(kv)).count();
    ensure!(said["revision"] == revision && said["compactRevision"] == revision, "{said}");
    let records = records::count(&story.snapshot)? - records::count(&db)?;
    let removed = json!({"records": records, "keys": gone, "leases": 1, "alarms": 0});
    ensure!(said["removed"] == removed, "expected {removed}: {said}");
    ensure!(records::marks(&db)? == [Some(revision); 2], "{:?}", records::marks(&db)?);
    peers::bbolt_check(&db)?;
    let (ran, verified) = ours::verify(&db, &[])?;
    ensure!(verified.sound, "{ran}");

    let keys: Vec<Kv> = story.content.keys.iter().filter(|kv| stays(kv)).cloned().collect();
    let wanted = with_keys(&story.content, revision, keys, |lease| lease != OF_DROPPED);
    let member = Member::start(boot::spec(server, &flags))?;
    let gateway = member.gateway();
    compare_content(&content(&gateway)?, &wanted)?;
    older_watches_end(&gateway, revision)?;
    goes_on(&gateway, revision)?;

    // A lease with a key of either kind takes along the one that stayed; that of dropped keys is no more.
    let revoke = |lease: i64| gateway.send("lease/revoke", &json!({"ID": lease.to_string()}));
    ensure!(matches!(revoke(OF_DROPPED)?, Reply::Refused(_)), "the lease of dropped keys lives");
    for lease in [MIXED, OF_KEPT, IDLE] {
        ensure!(matches!(revoke(lease)?, Reply::Done(_)), "lease {lease:x} is gone");
    }
    let after = content(&gateway)?;
    let plain: Vec<&Kv> = wanted.keys.iter().filter(|kv| kv.lease == 0).collect();
    let left: Vec<&Kv> = after.keys.iter().filter(|kv| !begins(kv, "after-restore")).collect();
    ensure!(left == plain, "after the leases were revoked {left:?}, expected {plain:?}");
    ensure!(after.leases.is_empty(), "{:?}", after.leases);
    Ok(())
}

/// Several prefixes of either kind; dropping wins.
fn chosen(set: &Dataset, dir: &Path) -> Result<()> {
    let flags = RestoreFlags::single(dir.join("data"), &free_url()?);
    let more =
        ["--keep-prefix", "app/1", "--keep-prefix", "app/3/", "--drop-prefix", "app/3/key-01"];
    let said = ours::restored(&set.snapshot, &flags, &more)?;
    let stays = |kv: &Kv| {
        let name = bytes(&kv.key).unwrap_or_default();
        (name.starts_with(b"app/1") || name.starts_with(b"app/3/"))
            && !name.starts_with(b"app/3/key-01")
    };
    let revision = set.content.revision;
    let keys: Vec<Kv> = set.content.keys.iter().filter(|kv| stays(kv)).cloned().collect();
    ensure!(!keys.is_empty(), "nothing stays: the load writes other keys");
    let went = set.content.keys.len() - keys.len();
    ensure!(said["removed"]["keys"] == went && said["revision"] == revision, "{said}");
    // A lease goes when it had keys and none is left.
    let stayed = |lease: i64| {
        let of: Vec<&Kv> = set.content.keys.iter().filter(|kv| kv.lease == lease).collect();
        of.is_empty() || of.iter().any(|kv| stays(kv))
    };
    let wanted = with_keys(&set.content, revision, keys, stayed);
    let leases = set.content.leases.len() - wanted.leases.len();
    ensure!(said["removed"]["leases"] == leases, "{leases} leases went: {said}");
    let member = Member::start(boot::spec(set.line, &flags))?;
    compare_content(&content(&member.gateway())?, &wanted)?;
    goes_on(&member.gateway(), revision)?;
    let member = member.restart()?;
    let after = content(&member.gateway())?;
    let left: Vec<&Kv> = after.keys.iter().filter(|kv| !begins(kv, "after-restore")).collect();
    ensure!(left.into_iter().eq(&wanted.keys), "other keys after a second start");
    Ok(())
}
