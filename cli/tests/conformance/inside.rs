//! `pages`, `page`, `buckets` beside bbolt; `top`, `history`, `log` and `diff` beside servers.
//!
//! The danger: a history that reads well and is not what the server tells, a difference that nobody made, a promise
//! of space that no defragmentation keeps.

use std::collections::BTreeMap;
use std::ffi::OsStr;
use std::fs;
use std::os::unix::ffi::OsStrExt as _;
use std::path::Path;
use std::process::Command;
use std::sync::atomic::AtomicI64;

use anyhow::{Context, Result, ensure};
use serde_json::{Value, json};

use crate::boot;
use crate::dataset::{Dataset, loaded, seed};
use crate::facts::{Kv, keys_at};
use crate::gateway::{bytes, int, list, text};
use crate::ours;
use crate::peers::{self, Line, Needs, bbolt, own_copy};
use crate::records;
use crate::restore_flags::RestoreFlags;
use crate::run::{Ran, run};
use crate::server::{Member, Spec, free_url};
use crate::suite::{Suite, is_long};
use crate::writer::Writer;

pub fn trials(suite: &mut Suite) {
    for line in Line::ALL {
        let tag = line.tag();
        suite.add(
            format!("inside::pages_and_buckets_of_{tag}_data_are_bbolts"),
            Needs::lines(&[line]).and_bbolt(),
            move |_| {
                let set = loaded(line)?;
                as_bbolt_sees(&set.snapshot)?;
                as_bbolt_sees(&set.db())
            },
        );
        suite.add(
            format!("inside::top_of_{tag}_data_promises_what_a_compaction_gives_back"),
            Needs::lines(&[line]).and_bbolt(),
            move |dir| promises(&*loaded(line)?, dir),
        );
        suite.add(
            format!("inside::log_and_history_are_what_a_server_of_{tag}_tells"),
            Needs::lines(&[line]),
            move |dir| told(&*loaded(line)?, dir),
        );
        suite.add(
            format!("inside::diff_of_{tag}_snapshots_is_what_a_watch_saw_between_them"),
            Needs::lines(&[line]),
            move |dir| between(line, dir),
        );
    }
    suite.add(
        "inside::top_promises_what_defragmenting_a_large_file_gives_back",
        Needs::lines(&[Line::V36]),
        large,
    );
}

/// `etcdsnap WORD PATH MORE… -w json`, whatever the exit code.
fn answer(word: &str, path: &Path, more: &[&OsStr]) -> Result<(Ran, Value)> {
    let mut args = ours::words(&[word, "-w", "json"], path, &[]);
    args.extend(more);
    let ran = ours::etcdsnap(&args)?;
    let value = serde_json::from_slice(&ran.stdout).with_context(|| format!("{ran}"))?;
    Ok((ran, value))
}

fn ask_bbolt(file: &Path, word: &str, more: &[&str]) -> Result<String> {
    let dir = own_copy(file)?;
    let ran = run(Command::new(bbolt()?).arg(word).arg(dir.path().join("copy.db")).args(more))?;
    ensure!(ran.code == Some(0), "{ran}");
    Ok(ran.stdout_text())
}

fn as_bbolt_sees(file: &Path) -> Result<()> {
    for word in ["pages", "buckets"] {
        let is = ours::succeed(&ours::words(&[word], file, &[]))?.stdout_text();
        let theirs = ask_bbolt(file, word, &[])?;
        ensure!(is == theirs, "{word}: ours\n{is}\nbbolt's\n{theirs}");
    }
    let (_, buckets) = answer("buckets", file, &[])?;
    let stats = ask_bbolt(file, "stats", &[])?;
    let sum = |field: &str, inline: bool| -> Result<i64> {
        let of = list(&buckets["buckets"]).iter();
        of.filter(|one| one["root"].is_null() == inline).map(|one| int(&one[field])).sum()
    };
    let all = |field: &str| Ok::<_, anyhow::Error>(sum(field, false)? + sum(field, true)?);
    for (words, number) in [
        ("Number of logical branch pages", sum("branchPages", false)?),
        ("Number of physical branch overflow pages", sum("branchOverflow", false)?),
        ("Number of logical leaf pages", sum("leafPages", false)?),
        ("Number of physical leaf overflow pages", sum("leafOverflow", false)?),
        ("Number of keys/value pairs", all("elements")?),
        ("Bytes allocated for physical branch pages", sum("branchBytes", false)?),
        ("Bytes actually used for branch data", sum("branchBytesUsed", false)?),
        ("Bytes allocated for physical leaf pages", sum("leafBytes", false)?),
        ("Bytes actually used for leaf data", sum("leafBytesUsed", false)?),
        ("Total number of buckets", i64::try_from(list(&buckets["buckets"]).len())?),
        ("Bytes used for inlined buckets", sum("leafBytesUsed", true)?),
    ] {
        ensure!(
            stats.lines().any(|line| {
                let line = line.trim();
                line.strip_prefix(words).is_some_and(|rest| {
                    rest.trim_start_matches(": ").split(' ').next() == Some(&number.to_string())
                })
            }),
            "{words}: ours {number}, bbolt's\n{stats}"
        );
    }

    let (_, pages) = answer("pages", file, &[])?;
    let step = if is_long() { 1 } else { 13 };
    for page in list(&pages["pages"]).iter().step_by(step) {
        if matches!(text(&page["type"]).as_str(), "leaf" | "branch") {
            let id = int(&page["id"])?.to_string();
            page_is_bbolts(file, &id).with_context(|| format!("page {id}"))?;
        }
    }
    Ok(())
}

/// The elements of a page, key by key, beside what bbolt prints of it.
fn page_is_bbolts(file: &Path, id: &str) -> Result<()> {
    let (_, is) = answer("page", file, &[OsStr::new(id)])?;
    let theirs = ask_bbolt(file, "page", &[id, "--format-value", "hex"])?;
    let field = |name: &str| {
        let line = theirs.lines().find_map(|line| line.strip_prefix(name));
        line.map(str::trim).with_context(|| format!("no {name} in {theirs}"))
    };
    ensure!(field("Page Type:")? == text(&is["type"]), "{is}\n{theirs}");
    let overflow: i64 = field("Overflow pages:")?.parse()?;
    ensure!(overflow == int(&is["header"]["overflow"])?, "{is}\n{theirs}");
    ensure!(field("Item Count:")? == list(&is["elements"]).len().to_string(), "{is}\n{theirs}");
    let hex = |bytes: &[u8]| bytes.iter().map(|byte| format!("{byte:02x}")).collect::<String>();
    for element in list(&is["elements"]) {
        let key = bytes(&text(&element["keyBase64"]))?;
        // bbolt shows keys that are text as they are.
        let shown = [hex(&key), String::from_utf8_lossy(&key).into_owned()];
        let value = match (&element["child"], &element["bucketRoot"]) {
            (child, _) if !child.is_null() => format!("<pgid={}>", int(child)?),
            (_, root) if !root.is_null() => format!("<pgid={},seq=0>", int(root)?),
            _ => hex(&bytes(&text(&element["valueBase64"]))?),
        };
        let found = theirs.lines().any(|line| {
            line.split_once(": ").is_some_and(|(key, rest)| {
                let key = key.trim_matches('"');
                shown.iter().any(|one| one == key) && rest.trim() == value
            })
        });
        ensure!(found, "element {element} is not in\n{theirs}");
    }
    Ok(())
}

/// How far `is` may be from what was promised: two percent, of small files three pages.
fn near(promised: i64, is: i64, what: &str) -> Result<()> {
    let allowed = (is / 50).max(3 * 4096);
    eprintln!("conformance: {what}: promised {promised}, is {is}");
    ensure!((promised - is).abs() <= allowed, "{what}: promised {promised} bytes, is {is}");
    Ok(())
}

/// Bytes of the database in a data dir after that line's own tool defragmented it.
fn defragmented(line: Line, data_dir: &Path) -> Result<i64> {
    let ran = run(Command::new(&peers::programs(line)?.etcdutl)
        .env("ETCDCTL_API", "3")
        .args(["defrag", "--data-dir"])
        .arg(data_dir))?;
    ensure!(ran.code == Some(0), "{ran}");
    Ok(i64::try_from(ours::status(&data_dir.join("member/snap/db"), &[])?.total_size)?)
}

fn promises(set: &Dataset, dir: &Path) -> Result<()> {
    let (mark, current) = (set.latest().compact_revision, set.content.revision);
    let mut rng = fastrand::Rng::with_seed(seed() ^ 0x70b ^ set.line as u64);
    for revision in [rng.i64(mark + 1..current), current] {
        let place = dir.join(revision.to_string());
        fs::create_dir(&place)?;
        let at = revision.to_string();
        let compaction = [OsStr::new("--compaction"), OsStr::new(&at)];
        let (ran, top) = answer("top", &set.snapshot, &compaction)?;
        ensure!(ran.code == Some(0), "{ran}");
        let promised = &top["prediction"]["compaction"];

        let out = place.join("ours.db");
        let more = ["--compaction", at.as_str()];
        let said = ours::compact(&set.snapshot, &out, &more)?;
        let trailer = 32;
        let is = int(&said["bytes"])? - trailer;
        let promise = int(&promised["compactedBytes"])?;
        ensure!((promise - is).abs() <= 4096, "compact: promised {promise}, is {is}");
        ensure!(promised["recordsRemoved"] == said["removed"]["records"], "{promised}\n{said}");

        let flags = RestoreFlags::single(place.join("theirs"), &free_url()?);
        let ran = peers::restore(set.line, &set.snapshot, &flags)?;
        ensure!(ran.code == Some(0), "{ran}");
        let member = Member::start(boot::spec(set.line, &flags))?;
        let asked = json!({"revision": at, "physical": true});
        member.gateway().call("kv/compaction", &asked)?;
        member.wait_until_idle(&member.gateway())?;
        member.sigterm()?;
        let db = flags.data_dir.join("member/snap/db");
        let gone = records::count(&set.snapshot)? - records::count(&db)?;
        let promise = int(&promised["recordsRemoved"])?;
        // A deletion at the mark itself: early patches of a line remove it.
        ensure!((promise - gone).abs() <= 8, "{promise} records promised to go, {gone} went");
        let is = defragmented(set.line, &flags.data_dir)?;
        near(int(&promised["defragmentedBytes"])?, is, &format!("{} at {at}", set.line))?;
    }
    // And without a compaction.
    let (_, top) = answer("top", &set.snapshot, &[])?;
    let flags = RestoreFlags::single(dir.join("defragmented"), &free_url()?);
    let ran = peers::restore(set.line, &set.snapshot, &flags)?;
    ensure!(ran.code == Some(0), "{ran}");
    let is = defragmented(set.line, &flags.data_dir)?;
    let promised = int(&top["prediction"]["defragmentation"]["defragmentedBytes"])?;
    near(promised, is, &format!("{} defragmented", set.line))
}

fn large(dir: &Path) -> Result<()> {
    let sizes: &[(&str, &str)] = if is_long() {
        &[("24MiB", "300-1500"), ("24MiB", "0-60"), ("64MiB", "3000-9000")]
    } else {
        &[("8MiB", "100-900")]
    };
    for (number, (size, values)) in sizes.iter().enumerate() {
        let file = dir.join(format!("{number}.db"));
        let mut args = ["bench", "-q", "--size", size, "--value-size", values, "--make"]
            .map(OsStr::new)
            .to_vec();
        args.push(file.as_os_str());
        ours::succeed(&args)?;
        let (_, top) = answer("top", &file, &[])?;
        let promised = &top["prediction"];
        let compacted = dir.join(format!("{number}-compacted.db"));
        let at = top["revision"].to_string();
        ours::compact(&file, &compacted, &["--compaction", &at])?;
        for (source, promised) in
            [(&file, &promised["defragmentation"]), (&compacted, &promised["compaction"])]
        {
            let data_dir = dir.join("data");
            fs::create_dir_all(data_dir.join("member/snap"))?;
            fs::copy(source, data_dir.join("member/snap/db"))?;
            let is = defragmented(Line::V36, &data_dir)?;
            let promised = int(&promised["defragmentedBytes"])?;
            ensure!((promised - is).abs() <= 8 * 4096, "promised {promised}, is {is} of {values}");
            fs::remove_dir_all(&data_dir)?;
        }
    }
    Ok(())
}

/// An event of a watch or a line of a log: type, key, mod revision, and of a put the rest.
#[derive(Clone, Debug, PartialEq, Eq)]
struct Event {
    deleted: bool,
    key: String,
    revision: i64,
    /// Create revision, version, lease, value.
    put: Option<(i64, i64, i64, String)>,
}

impl Event {
    fn watched(event: &Value) -> Result<Self> {
        let kv = &event["kv"];
        let deleted = event["type"] == "DELETE";
        let put = (int(&kv["create_revision"])?, int(&kv["version"])?, int(&kv["lease"])?);
        Ok(Event {
            deleted,
            key: text(&kv["key"]),
            revision: int(&kv["mod_revision"])?,
            put: (!deleted).then(|| (put.0, put.1, put.2, text(&kv["value"]))),
        })
    }

    fn logged(line: &Value) -> Result<Self> {
        let deleted = line["type"] == "delete";
        let put = if deleted {
            None
        } else {
            ensure!(line["modRevision"] == line["revision"], "{line}");
            Some((
                int(&line["createRevision"])?,
                int(&line["version"])?,
                lease(&line["lease"])?,
                text(&line["valueBase64"]),
            ))
        };
        let revision = int(&line["revision"])?;
        Ok(Event { deleted, key: text(&line["keyBase64"]), revision, put })
    }
}

/// Lower-case hex, `null` without one.
fn lease(value: &Value) -> Result<i64> {
    match value.as_str() {
        Some(id) => Ok(u64::from_str_radix(id, 16)?.cast_signed()),
        None => Ok(0),
    }
}

fn log_lines(path: &Path, more: &[&str]) -> Result<Vec<Value>> {
    let ran = ours::succeed(&ours::words(&["log", "-w", "json"], path, more))?;
    ran.stdout_text().lines().map(|line| Ok(serde_json::from_str(line)?)).collect()
}

fn told(set: &Dataset, dir: &Path) -> Result<()> {
    let (mark, current) = (set.latest().compact_revision, set.content.revision);
    let flags = RestoreFlags::single(dir.join("old"), &free_url()?);
    let ran = peers::restore(set.line, &set.snapshot, &flags)?;
    ensure!(ran.code == Some(0), "{ran}");
    let old = Member::start(boot::spec(set.line, &flags))?;
    let gateway = old.gateway();

    let mut rng = fastrand::Rng::with_seed(seed() ^ 0x106 ^ set.line as u64);
    for from in [mark, rng.i64(mark + 1..current)] {
        let watched = gateway.events(from, current)?;
        let watched = watched.iter().map(Event::watched).collect::<Result<Vec<_>>>()?;
        ensure!(!watched.is_empty());
        for input in [&set.snapshot, &set.data_dir] {
            let lines = log_lines(input, &["--from", &from.to_string()])?;
            let logged = lines.iter().map(Event::logged).collect::<Result<Vec<_>>>()?;
            ensure!(
                logged.len() == watched.len(),
                "{} lines, {} events",
                logged.len(),
                watched.len()
            );
            for (is, wanted) in logged.iter().zip(&watched) {
                ensure!(is == wanted, "log {is:?}, watch {wanted:?}");
            }
        }
    }
    // Below the mark both refuse and name it.
    let refused = gateway.watch_all_from(mark - 1)?;
    let last = refused.last().context("a watch without an answer")?;
    ensure!(int(&last["compact_revision"])? == mark, "{last}");
    let before = (mark - 1).to_string();
    let ran = ours::etcdsnap(&ours::words(&["log"], &set.snapshot, &["--from", &before]))?;
    ensure!(ran.code == Some(2), "{ran}");
    let said = ran.stderr_text();
    ensure!(said.contains(&mark.to_string()) && said.contains(&current.to_string()), "{ran}");

    for revision in [mark + 1, rng.i64(mark + 1..=current), current] {
        let (_, then) = keys_at(&gateway, revision)?;
        histories(set, revision, &then, &mut rng)?;
    }
    Ok(())
}

/// A key's history up to a revision ends with what a get at that revision answers.
fn histories(set: &Dataset, revision: i64, then: &[Kv], rng: &mut fastrand::Rng) -> Result<()> {
    let at = revision.to_string();
    let mut keys: Vec<&Kv> = then.iter().chain(&set.content.keys).collect();
    rng.shuffle(&mut keys);
    for kv in keys.into_iter().take(if is_long() { 300 } else { 8 }) {
        let key = bytes(&kv.key)?;
        // No argument of a program can hold a zero.
        if key.contains(&0) || key.starts_with(b"-") {
            continue;
        }
        let more = [OsStr::from_bytes(&key), OsStr::new("--rev"), OsStr::new(&at)];
        let (ran, history) = answer("history", &set.snapshot, &more)?;
        ensure!(ran.code == Some(0) && text(&history["keyBase64"]) == kv.key, "{ran}");
        let changes = list(&history["changes"]);
        let last = changes.last().filter(|last| last["type"] == "put");
        let is = last.map(|last| -> Result<Kv> {
            Ok(Kv {
                key: kv.key.clone(),
                value: text(&last["valueBase64"]),
                create_revision: int(&last["createRevision"])?,
                mod_revision: int(&last["modRevision"])?,
                version: int(&last["version"])?,
                lease: lease(&last["lease"])?,
            })
        });
        let is = is.transpose()?;
        let wanted = then.iter().find(|other| other.key == kv.key);
        ensure!(is.as_ref() == wanted, "history at {revision} {is:?}, get {wanted:?}");
    }
    Ok(())
}

fn between(line: Line, dir: &Path) -> Result<()> {
    let member = Member::start(Spec::single(line, &dir.join("live"), &free_url()?))?;
    let (first, second) = (dir.join("first.db"), dir.join("second.db"));
    let save = |path: &Path| {
        let args = [OsStr::new("snapshot"), OsStr::new("save"), path.as_os_str()];
        peers::etcdctl(line, &member.client_url, None, &args)
    };
    let (revision, seed) = (AtomicI64::new(1), seed() ^ 0xd1ff ^ line as u64);
    let operations = if is_long() { 3000 } else { 250 };
    std::thread::scope(|scope| -> Result<()> {
        let revision = &revision;
        let writers: Vec<_> = (0..3)
            .map(|number| {
                let mut writer = Writer::new(member.gateway(), seed, number, revision);
                scope.spawn(move || writer.run(operations))
            })
            .collect();
        while revision.load(std::sync::atomic::Ordering::Relaxed) < 40 {
            std::thread::sleep(std::time::Duration::from_millis(5));
            ensure!(!writers.iter().all(|writer| writer.is_finished()), "a load without writes");
        }
        save(&first)?;
        std::thread::sleep(std::time::Duration::from_millis(200));
        save(&second)?;
        for writer in writers {
            writer.join().map_err(|_| anyhow::anyhow!("a connection panicked"))??;
        }
        Ok(())
    })?;
    let [from, to] = [&first, &second].map(|path| ours::status(path, &[]).map(|of| of.revision));
    let (from, to) = (from?, to?);
    ensure!(from < to, "nothing was written between the snapshots");

    let gateway = member.gateway();
    let state = |keys: Vec<Kv>| -> BTreeMap<Vec<u8>, Kv> {
        keys.into_iter().filter_map(|kv| Some((bytes(&kv.key).ok()?, kv))).collect()
    };
    let before = state(keys_at(&gateway, from)?.1);
    let mut after = before.clone();
    for event in gateway.events(from + 1, to)? {
        let event = Event::watched(&event)?;
        let key = bytes(&event.key)?;
        match event.put {
            None => drop(after.remove(&key)),
            Some((create_revision, version, lease, value)) => {
                let mod_revision = event.revision;
                let key_text = event.key;
                let kv = Kv { key: key_text, value, create_revision, mod_revision, version, lease };
                after.insert(key, kv);
            }
        }
    }
    let mut wanted = Vec::new();
    let mut keys: Vec<&Vec<u8>> = before.keys().chain(after.keys()).collect();
    keys.sort();
    keys.dedup();
    for key in keys {
        let (was, is) = (before.get(key), after.get(key));
        if was != is {
            wanted.push((was.cloned(), is.cloned()));
        }
    }
    let (from, to) = (from.to_string(), to.to_string());
    let files = [second.as_os_str(), OsStr::new("--values")];
    let revisions = ["--from", &from, "--to", &to, "--values"].map(OsStr::new);
    for (path, more) in [(&first, &files[..]), (&second, &revisions[..])] {
        let (ran, diff) = answer("diff", path, more)?;
        ensure!(ran.code == Some(if wanted.is_empty() { 0 } else { 1 }), "{ran}");
        let side = |one: &Value, key: &Value| -> Result<Option<Kv>> {
            if one.is_null() {
                return Ok(None);
            }
            Ok(Some(Kv {
                key: text(key),
                value: text(&one["valueBase64"]),
                create_revision: int(&one["createRevision"])?,
                mod_revision: int(&one["modRevision"])?,
                version: int(&one["version"])?,
                lease: lease(&one["lease"])?,
            }))
        };
        let is = list(&diff["differences"])
            .iter()
            .map(|one| {
                let key = &one["keyBase64"];
                Ok((side(&one["before"], key)?, side(&one["after"], key)?))
            })
            .collect::<Result<Vec<_>>>()?;
        ensure!(
            is.len() == wanted.len(),
            "{} keys differ, {} by the watch",
            is.len(),
            wanted.len()
        );
        for (is, wanted) in is.iter().zip(&wanted) {
            ensure!(is == wanted, "diff {is:?}, watch {wanted:?}");
        }
    }
    Ok(())
}
