//! `restore --bump-revision --mark-compacted`: a server booted from our restore behaves as one
//! booted from etcdutl's, to clients that hold revisions from before.

use std::path::Path;

use anyhow::{Context, Result, ensure};
use serde_json::{Value, json};

use crate::boot;
use crate::dataset::{Dataset, loaded};
use crate::facts::{Content, content, hashkv};
use crate::gateway::{Reply, int, key, list};
use crate::ours;
use crate::peers::{self, HashKv, Line, Needs};
use crate::restore_flags::RestoreFlags;
use crate::restoring::done;
use crate::server::{Member, free_url};
use crate::suite::Suite;

/// Far enough that no client can have seen a revision in between.
const BUMP: u64 = 1_000_000;

pub fn trials(suite: &mut Suite) {
    // Debian's 3.4 is older than these flags: 3.5 stands in for it.
    for (data, tool) in [
        (Line::V34, Line::V35),
        (Line::V35, Line::V35),
        (Line::V36, Line::V36),
        (Line::V37, Line::V37),
    ] {
        suite.add(
            format!("bumped::{}_data_behaves_as_from_etcdutl_{}", data.tag(), tool.tag()),
            Needs::lines(&[data, tool]),
            move |dir| behaves_as_peer(&*loaded(data)?, tool, dir),
        );
    }
    suite.add("bumped::either_flag_alone_is_refused", Needs::lines(&[Line::V36]), |dir| {
        let set = loaded(Line::V36)?;
        for more in [&["--bump-revision", "5"][..], &["--mark-compacted"]] {
            let flags = RestoreFlags::single(dir.join("data"), &free_url()?);
            let ran = ours::restore(&set.snapshot, &flags, more)?;
            ensure!(ran.code == Some(2), "{ran}");
            ensure!(!flags.data_dir.exists(), "{} exists", flags.data_dir.display());
        }
        Ok(())
    });
}

/// What a client sees after a bump.
#[derive(Debug, PartialEq)]
struct Seen {
    content: Content,
    hash: HashKv,
    hash_after_write: HashKv,
    /// Answer to a read at the last revision from before.
    old_read: String,
    /// Compaction marks that end watches from below the bump.
    ended_by: Vec<i64>,
    /// Revisions of the events that a watch from the bump on gets.
    events: Vec<i64>,
}

fn behaves_as_peer(set: &Dataset, tool: Line, dir: &Path) -> Result<()> {
    let url = free_url()?;
    let flags = |name: &str| RestoreFlags {
        bump: Some(BUMP),
        ..RestoreFlags::single(dir.join(name), &url)
    };
    let own = flags("ours");
    done(ours::restore(&set.snapshot, &own, &[])?)?;
    let peer = flags("peer");
    let ran = peers::restore(tool, &set.snapshot, &peer)?;
    ensure!(ran.code == Some(0), "{ran}");

    let before = set.content.revision;
    let is = look(tool, &own, before).context("booted from our restore")?;
    let wanted = look(tool, &peer, before).context("booted from etcdutl's restore")?;
    boot::compare_content(&is.content, &wanted.content)?;
    ensure!(is == wanted, "{:?}\netcdutl's: {:?}", Summary(&is), Summary(&wanted));

    // And both as they should be: nothing lost but history, clients told so.
    ensure!(is.content.revision == before + BUMP as i64, "revision {}", is.content.revision);
    ensure!(is.content.keys == set.content.keys, "the keys changed");
    ensure!(is.old_read.contains("compacted"), "a read at {before}: {}", is.old_read);
    ensure!(is.ended_by.iter().all(|mark| *mark == is.content.revision), "{:?}", is.ended_by);
    ensure!(is.events == [is.content.revision + 1], "events {:?}", is.events);
    Ok(())
}

/// [`Seen`] without its thousands of keys.
struct Summary<'a>(&'a Seen);

impl std::fmt::Debug for Summary<'_> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let Seen { hash, hash_after_write, old_read, ended_by, events, .. } = self.0;
        write!(f, "{hash:?} {hash_after_write:?} {old_read} {ended_by:?} {events:?}")
    }
}

fn look(line: Line, flags: &RestoreFlags, before: i64) -> Result<Seen> {
    let member = Member::start(boot::spec(line, flags))?;
    let gateway = member.gateway();
    let content = content(&gateway)?;
    let hash = hashkv(line, &member.client_url, &gateway, 0)?;

    let old = json!({"key": key(b"app/"), "revision": before.to_string()});
    let old_read = match gateway.send("kv/range", &old)? {
        Reply::Refused(message) => message,
        Reply::Done(answer) => answer.to_string(),
    };
    let mut ended_by = Vec::new();
    for start in [1, before, before + 1, content.revision - 1] {
        let answers = gateway.watch_all_from(start)?;
        let last = answers.last().context("a watch without an answer")?;
        ensure!(last["canceled"] == json!(true), "a watch from {start} lives: {last}");
        ended_by.push(int(&last["compact_revision"])?);
    }
    let put = json!({"key": key(b"after-restore"), "value": key(b"written")});
    gateway.call("kv/put", &put)?;
    let answers = gateway.watch_all_from(content.revision + 1)?;
    let events = list(&answers.last().unwrap_or(&Value::Null)["events"])
        .iter()
        .map(|event| int(&event["kv"]["mod_revision"]))
        .collect::<Result<Vec<_>>>()?;
    let hash_after_write = hashkv(line, &member.client_url, &gateway, 0)?;

    // A second start resumes what the first one had not finished.
    let member = member.restart()?;
    let again = hashkv(line, &member.client_url, &member.gateway(), 0)?;
    ensure!(again == hash_after_write, "{again:?} after a restart, {hash_after_write:?} before");
    Ok(Seen { content, hash, hash_after_write, old_read, ended_by, events })
}
