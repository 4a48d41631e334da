//! `status` and `hashkv`: number for number what etcdutl and the live servers say.

use std::path::Path;

use anyhow::{Context, Result, ensure};

use crate::dataset::{Dataset, loaded, with_auth};
use crate::ours;
use crate::peers::{self, HashKv, Line, Needs};
use crate::suite::Suite;

pub fn trials(suite: &mut Suite) {
    for line in Line::ALL {
        let tag = line.tag();
        suite.add(
            format!("numbers::status_equals_every_etcdutl_on_{tag}_data"),
            Needs::lines(&Line::ALL),
            move |_| {
                let set = loaded(line)?;
                status_equals_peers(&set.snapshot, &[], "snapshot")?;
                status_equals_peers(&set.db(), &[], "db")?;
                let of_dir = ours::status(&set.data_dir, &[ours::NO_WAL])?;
                let of_db = ours::status(&set.db(), &[])?;
                ensure!(of_dir.hash == of_db.hash && of_dir.kind == "data-dir", "{of_dir:?}");
                ensure!(of_db.revision == set.content.revision, "{of_db:?}");
                Ok(())
            },
        );
        suite.add(
            format!("numbers::hashkv_equals_the_live_server_and_etcdutl_on_{tag}_data"),
            Needs::lines(&[line, Line::V37]),
            move |_| hashkv_equals_live(&*loaded(line)?),
        );
        suite.add(
            format!("numbers::text_reads_as_etcdutl_37_prints_it_on_{tag}_data"),
            Needs::lines(&[line, Line::V37]),
            move |_| text_equals_peer(&loaded(line)?.snapshot),
        );
    }
    suite.add(
        "numbers::revisions_outside_the_history_are_refused",
        Needs::lines(&[Line::V36, Line::V37]),
        |_| revisions_outside_are_refused(&*loaded(Line::V36)?),
    );
    suite.add(
        "numbers::hashkv_with_authentication_on",
        Needs::lines(&[Line::V36, Line::V37]),
        |_| hashkv_equals_live(&*with_auth()?),
    );
}

/// Our status beside that of each line; total keys meant something else before 3.6.
pub fn status_equals_peers(file: &Path, more: &[&str], kind: &str) -> Result<()> {
    let own = ours::status(file, more)?;
    ensure!(own.kind == kind, "kind of {}: {own:?}", file.display());
    for line in Line::ALL {
        let peer = peers::status(line, file)?;
        ensure!(own.hash == peer.hash, "{line}: {peer:?}, ours {own:?}");
        ensure!(own.revision == peer.revision, "{line}: {peer:?}, ours {own:?}");
        ensure!(own.total_size == peer.total_size, "{line}: {peer:?}, ours {own:?}");
        let keys = if line < Line::V36 { own.entries } else { own.total_key };
        ensure!(keys == peer.total_key, "{line}: {peer:?}, ours {own:?}");
        if line >= Line::V36 {
            ensure!(own.version == peer.version, "{line}: {peer:?}, ours {own:?}");
        }
    }
    Ok(())
}

fn hashkv_equals_live(set: &Dataset) -> Result<()> {
    let latest = ours::hashkv(&set.snapshot, 0, &[])?;
    ensure!(latest == set.latest(), "latest: ours {latest:?}, live {:?}", set.latest());
    let of_dir = ours::hashkv(&set.data_dir, 0, &[ours::NO_WAL])?;
    ensure!(of_dir == latest, "data dir {of_dir:?}, snapshot {latest:?}");
    for live in &set.hashes {
        let own = ours::hashkv(&set.snapshot, live.hash_revision, &[])?;
        ensure!(own == *live, "ours {own:?}, live {live:?}");
    }
    hashkv_equals_etcdutl(&set.snapshot, latest)
}

/// From the compaction mark itself, where the online answer may come from a cache, to the latest.
pub fn hashkv_equals_etcdutl(file: &Path, latest: HashKv) -> Result<()> {
    let first = latest.compact_revision.max(1);
    let span = latest.hash_revision - first;
    let mut revisions: Vec<i64> = (0..=6).map(|part| first + span * part / 6).collect();
    revisions.push(first + span.min(1));
    for revision in revisions {
        let peer = peers::hashkv(file, revision)?;
        let own = ours::hashkv(file, revision, &[])?;
        ensure!(own == peer, "at {revision}: ours {own:?}, etcdutl {peer:?}");
    }
    Ok(())
}

/// Byte for byte: simple, table and fields of `status` and `hashkv`.
pub fn text_equals_peer(file: &Path) -> Result<()> {
    for format in ["simple", "table", "fields"] {
        let peer = peers::ask(Line::V37, file, &["snapshot", "status", "FILE", "-w", format])?;
        let own = ours::succeed(&ours::words(&["status", "-w", format], file, &[]))?;
        ensure!(own.stdout == peer.stdout, "{own}\netcdutl: {peer}");

        let peer = peers::ask(Line::V37, file, &["hashkv", "FILE", "-w", format])?;
        let own = ours::succeed(&ours::words(&["hashkv", "-w", format], file, &[]))?;
        ensure!(own.stdout == peer.stdout, "{own}\netcdutl: {peer}");
    }
    let by_default = ours::succeed(&ours::words(&["status"], file, &[]))?;
    let spelled = ours::succeed(&ours::words(&["snapshot", "status", "-w", "simple"], file, &[]))?;
    ensure!(by_default.stdout == spelled.stdout, "{by_default}\n{spelled}");
    Ok(())
}

fn revisions_outside_are_refused(set: &Dataset) -> Result<()> {
    let compacted = set.latest().compact_revision - 1;
    let future = set.latest().hash_revision + 1;
    for (revision, word) in [(compacted, "compacted"), (future, "future")] {
        let text = revision.to_string();
        let ran = ours::etcdsnap(&ours::words(&["hashkv"], &set.snapshot, &["--rev", &text]))?;
        ensure!(ran.code == Some(2), "{ran}");
        ensure!(ran.stderr_text().contains(word), "{word} is not said: {ran}");
        let peer = peers::hashkv(&set.snapshot, revision);
        peer.err().context("etcdutl takes the revision")?;
    }
    Ok(())
}
