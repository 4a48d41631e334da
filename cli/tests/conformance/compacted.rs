//! `compact`, `save --compact` and `restore --compact` beside a server's compaction and bbolt's own.

use std::collections::BTreeSet;
use std::fs;
use std::path::Path;

use anyhow::{Context, Result, ensure};
use serde_json::json;

use crate::boot::{self, Expected};
use crate::dataset::{Dataset, loaded, seed};
use crate::facts::hashkv;
use crate::gateway::int;
use crate::ours;
use crate::peers::{self, Line, Needs};
use crate::records;
use crate::restore_flags::RestoreFlags;
use crate::restoring::done;
use crate::server::{Member, free_url};
use crate::suite::{Suite, is_long};

pub fn trials(suite: &mut Suite) {
    for line in Line::ALL {
        let tag = line.tag();
        suite.add(
            format!("compacted::history_goes_as_a_server_of_{tag}_lets_it_go"),
            Needs::lines(&[line, Line::V36]).and_bbolt(),
            move |dir| history_goes(&*loaded(line)?, dir),
        );
        suite.add(
            format!("compacted::nothing_logical_changes_in_{tag}_data"),
            Needs::lines(&[line, Line::V36]).and_bbolt(),
            move |dir| nothing_changes(&*loaded(line)?, dir),
        );
    }
    suite.add(
        "compacted::revisions_that_cannot_be_are_refused",
        Needs::lines(&[Line::V36]),
        |dir| {
            let set = loaded(Line::V36)?;
            let (mark, current) = (set.latest().compact_revision, set.content.revision);
            for (revision, named) in
                [(mark, mark), (mark - 1, mark), (current + 1, current), (0, 0)]
            {
                let out = dir.join("out.db");
                let more = ["--compaction", &revision.to_string()];
                let mut args = ours::words(&["compact"], &set.snapshot, &[]);
                args.push(out.as_os_str());
                args.extend(more.iter().map(|word| std::ffi::OsStr::new(*word)));
                let ran = ours::etcdsnap(&args)?;
                ensure!(ran.code == Some(2) && !out.exists(), "{ran}");
                ensure!(
                    ran.stderr_text().contains(&named.to_string()),
                    "{named} is not named: {ran}"
                );
            }
            Ok(())
        },
    );
}

/// What peers must say of a file that is a database with this revision.
fn accepted(path: &Path, revision: i64, dir: &Path) -> Result<()> {
    peers::bbolt_check(path)?;
    for line in [Line::V36, Line::V37] {
        if peers::programs(line).is_ok() {
            ensure!(peers::status(line, path)?.revision == revision, "{line}");
        }
    }
    let flags = RestoreFlags::single(dir.join("by-etcdutl"), &free_url()?);
    let ran = peers::restore(Line::V36, path, &flags)?;
    ensure!(ran.code == Some(0), "etcdutl refuses it: {ran}");
    fs::remove_dir_all(&flags.data_dir)?;
    Ok(())
}

/// At most two percent above what bbolt makes of it, by the lengths of the files.
fn is_small(path: &Path, source: &Path) -> Result<()> {
    let (is, theirs) = (fs::metadata(path)?.len(), records::compacted_len(source)?);
    ensure!(is <= theirs + theirs / 50, "{is} bytes, bbolt compact makes {theirs}");
    Ok(())
}

fn history_goes(set: &Dataset, dir: &Path) -> Result<()> {
    let (mark, current) = (set.latest().compact_revision, set.content.revision);
    let mut rng = fastrand::Rng::with_seed(seed() ^ 0xc0_4ac7 ^ set.line as u64);
    let mut revisions = BTreeSet::from([mark + 1, current]);
    revisions.extend((0..if is_long() { 8 } else { 1 }).map(|_| rng.i64(mark + 2..current)));
    for revision in revisions {
        let place = dir.join(revision.to_string());
        fs::create_dir(&place)?;
        compaction(set, revision, &place)
            .with_context(|| format!("compaction {revision} of {mark}..={current}"))?;
    }
    Ok(())
}

fn compaction(set: &Dataset, revision: i64, dir: &Path) -> Result<()> {
    // A server is told to, on data that etcdutl restored where it can.
    let flags = RestoreFlags::single(dir.join("theirs"), &free_url()?);
    let ran = peers::restore(set.line, &set.snapshot, &flags)?;
    ensure!(ran.code == Some(0), "{ran}");
    let member = Member::start(boot::spec(set.line, &flags))?;
    let gateway = member.gateway();
    let compaction = json!({"revision": revision.to_string(), "physical": true});
    gateway.call("kv/compaction", &compaction)?;
    // Asked again after a start: for the mark itself a server answers from a cache.
    let member = member.restart()?;
    let theirs = hashkv(set.line, &member.client_url, &member.gateway(), 0)?;
    member.sigkill()?;

    let out = dir.join("out.db");
    let said = ours::compact(&set.snapshot, &out, &["--compaction", &revision.to_string()])?;
    let ours = ours::hashkv(&out, 0, &[])?;
    ensure!(ours == theirs, "HashKV {ours:?}, the server's {theirs:?}");
    ensure!(records::marks(&out)? == [Some(revision); 2], "{:?}", records::marks(&out)?);
    let gone = records::count(&set.snapshot)? - records::count(&out)?;
    ensure!(said["removed"]["records"] == gone, "{gone} records went: {said}");
    ensure!(int(&said["bytes"])? == i64::try_from(fs::metadata(&out)?.len())?, "{said}");
    let (ran, verified) = ours::verify(&out, &[])?;
    ensure!(verified.sound && verified.checks[0].name == "trailer", "{ran}");
    accepted(&out, set.content.revision, dir)?;
    is_small(&out, &set.snapshot)?;

    // And it is a snapshot like any other.
    let flags = RestoreFlags::single(dir.join("ours"), &free_url()?);
    done(ours::restore(&out, &flags, &[])?)?;
    let member = Member::start(boot::spec(set.line, &flags))?;
    let booted = hashkv(set.line, &member.client_url, &member.gateway(), 0)?;
    ensure!(booted == theirs, "HashKV {booted:?} after a restore, the server's {theirs:?}");
    Ok(())
}

fn nothing_changes(set: &Dataset, dir: &Path) -> Result<()> {
    let wanted = (ours::status(&set.snapshot, &[])?, ours::hashkv(&set.snapshot, 0, &[])?);
    for (number, source) in [&set.snapshot, &set.db()].into_iter().enumerate() {
        let out = dir.join(format!("out-{number}.db"));
        let said = ours::compact(source, &out, &[])?;
        ensure!(said["removed"]["records"] == 0, "{said}");
        let (status, hash) = (ours::status(&out, &[])?, ours::hashkv(&out, 0, &[])?);
        let source_status = ours::status(source, &[])?;
        ensure!(status.hash == source_status.hash, "{status:?}, before {source_status:?}");
        ensure!(
            status.kind == source_status.kind,
            "a {} became a {}",
            source_status.kind,
            status.kind
        );
        ensure!(hash == wanted.1, "{hash:?}, before {:?}", wanted.1);
        is_small(&out, source)?;
        peers::bbolt_check(&out)?;
    }
    accepted(&dir.join("out-0.db"), set.content.revision, dir)?;

    // Of a data dir with what its WAL has, and from there as a snapshot.
    let (plain, saved) = (dir.join("plain.db"), dir.join("saved.db"));
    done(ours::save(&set.data_dir, &plain, &[])?)?;
    done(ours::save(&set.data_dir, &saved, &["--compact"])?)?;
    let (is, was) = (ours::status(&saved, &[])?, ours::status(&plain, &[])?);
    ensure!(is.hash == was.hash && is.total_size < was.total_size, "{is:?}, not compacted {was:?}");
    is_small(&saved, &plain)?;
    accepted(&saved, set.content.revision, dir)?;
    let mut streamed = ours::save_args(&set.data_dir, Path::new("-"), &["--compact"]);
    streamed.push("-q".as_ref());
    let streamed = ours::succeed(&streamed)?.stdout;
    ensure!(streamed == fs::read(&saved)?, "the stream differs from the file");
    let db = dir.join("of-data-dir.db");
    ours::compact(&set.data_dir, &db, &[])?;
    ensure!(ours::status(&db, &[])?.hash == was.hash, "the data dir's state is another");
    ensure!(fs::metadata(&db)?.len() + 32 == fs::metadata(&saved)?.len(), "the db has a trailer");

    let flags = RestoreFlags::single(dir.join("data"), &free_url()?);
    done(ours::restore(&set.snapshot, &flags, &["--compact"])?)?;
    is_small(&flags.data_dir.join("member/snap/db"), &set.snapshot)?;
    boot::single_member_serves(set.line, &flags, &Expected::from(set))
}
