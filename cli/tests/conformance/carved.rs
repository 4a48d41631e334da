//! `carve` on a real server's file: what was deleted and compacted away is found while its pages are free, and is gone
//! after `compact` and `save --compact`.

use std::collections::BTreeSet;
use std::path::Path;

use anyhow::{Context, Result, ensure};
use serde_json::{Value, json};

use crate::gateway::key;
use crate::ours;
use crate::peers::{Line, Needs};
use crate::server::{Member, Spec, free_url};
use crate::suite::Suite;

/// What is deleted, compacted away, and looked for.
const SECRET: &str = "carve-me-";

pub fn trials(suite: &mut Suite) {
    for line in Line::ALL {
        suite.add(
            format!("carved::the_deleted_is_found_in_{}_data_until_it_is_compacted", line.tag()),
            Needs::lines(&[line]),
            move |dir| deleted_is_found(line, dir),
        );
    }
}

/// `carve -w json`, a record each.
pub fn carve(path: &Path, more: &[&str]) -> Result<Vec<Value>> {
    let ran = ours::succeed(&[ours::words(&["carve", "-w", "json"], path, more)].concat())?;
    ran.stdout_text().lines().map(|line| Ok(serde_json::from_str(line)?)).collect()
}

fn deleted_is_found(line: Line, dir: &Path) -> Result<()> {
    let live = dir.join("live");
    let member = Member::start(Spec::single(line, &live, &free_url()?))?;
    let gateway = member.gateway();
    let value = |n: usize| format!("secret value {n} {}", "x".repeat(300));
    let name = |n: usize| format!("{SECRET}{n:03}");
    for n in 0..60 {
        let body = json!({"key": key(name(n).as_bytes()), "value": key(value(n).as_bytes())});
        gateway.call("kv/put", &body)?;
    }
    let all = json!({"key": key(SECRET.as_bytes()), "range_end": key(b"carve-me.")});
    gateway.call("kv/deleterange", &all)?;
    // Behind the deletion: one at the mark itself stays, and names its key.
    let other = json!({"key": key(b"other"), "value": key(b"stays")});
    let put = gateway.call("kv/put", &other)?;
    let revision = put["header"]["revision"].as_str().context("no revision")?.to_owned();
    gateway.call("kv/compaction", &json!({"revision": revision, "physical": true}))?;
    // The compaction is committed, and its pages are free, with one of the next commits.
    std::thread::sleep(std::time::Duration::from_millis(400));
    member.sigterm()?;

    let db = live.join("member/snap/db");
    let found = carve(&db, &[SECRET])?;
    let mut keys = BTreeSet::new();
    for record in &found {
        let name = record["key"].as_str().context("a key that is no text")?.to_owned();
        if record["deletion"] == false && record["complete"] == true {
            let n: usize = name[SECRET.len()..].parse()?;
            let wanted = json!(key(value(n).as_bytes()));
            ensure!(record["valueBase64"] == wanted, "another value: {record}");
            ensure!(record["conflicts"] == false, "{record}");
            // It is where it is said to be.
            let bytes = std::fs::read(&db)?;
            let offset = usize::try_from(record["offset"].as_u64().context("no offset")?)?;
            let main = record["revision"].as_u64().context("no revision")?;
            ensure!(bytes[offset..offset + 8] == main.to_be_bytes(), "not there: {record}");
            keys.insert(name);
        }
    }
    // A server reuses free pages at once for what it writes next: most are left.
    ensure!(keys.len() >= 20, "{} of 60 deleted keys found: {found:?}", keys.len());
    let ran = ours::succeed(&ours::words(&["keys"], &db, &[]))?;
    ensure!(!ran.stdout_text().contains(SECRET), "they are live: {ran}");
    let one = carve(&db, &["--threads", "1"])?;
    ensure!(one == carve(&db, &["--threads", "5"])?, "the result depends on the threads");
    ensure!(carve(&db, &["--limit", "3"])?[..] == one[..3], "not the first three");

    let (compacted, saved) = (dir.join("compacted.db"), dir.join("saved.db"));
    ours::compact(&db, &compacted, &[])?;
    let ran = ours::save(&live, &saved, &["--compact"])?;
    ensure!(ran.code == Some(0), "{ran}");
    for clean in [&compacted, &saved] {
        let left = carve(clean, &[])?;
        ensure!(left.is_empty(), "still in {}: {left:?}", clean.display());
        let bytes = std::fs::read(clean)?;
        let text = SECRET.as_bytes();
        ensure!(!bytes.windows(text.len()).any(|at| at == text), "bytes of a deleted key are left");
    }
    Ok(())
}
