//! Data dirs that were copied while their server wrote, and servers killed while they compacted.
//!
//! The danger guarded against: files of several moments taken for one state. What `etcdsnap` says of such a copy is
//! what the server says that starts on it, or it refuses and says why; and it calls no copy healthy that lacks
//! acknowledged writes. A server that was killed leaves files of one moment, also within a compaction.

use std::ffi::OsStr;
use std::fs::{self, File};
use std::io::{Read, Write};
use std::path::{Path, PathBuf};
use std::time::Duration;

use anyhow::{Context, Result, ensure};
use fastrand::Rng;
use serde_json::{Value, json};

use crate::advice::doctor;
use crate::clients::while_writing;
use crate::dataset::seed;
use crate::files::{copy_tree, names};
use crate::gateway::{Gateway, int, key};
use crate::judge::{agrees, judge};
use crate::ledger::{Floor, Ledger, keys};
use crate::ours;
use crate::peers::{Line, Needs};
use crate::server::{Member, Spec, free_url};
use crate::suite::{Suite, is_long};

/// Keys beside those of the clients: a compaction takes a while, and a db has many pages.
const OTHERS: usize = 300;

/// Writes that a server takes in one transaction.
const AT_ONCE: usize = 100;

pub fn trials(suite: &mut Suite) {
    for line in Line::ALL {
        suite.add(
            format!("hot_copies::of_a_running_{}", line.tag()),
            Needs::lines(&[line]),
            move |dir| running(line, dir),
        );
        suite.add(
            format!("hot_copies::{}_killed_while_it_compacts", line.tag()),
            Needs::lines(&[line]),
            move |dir| killed(line, dir),
        );
    }
}

/// Copies of a version in this run.
fn copies() -> usize {
    if is_long() { 60 } else { 4 }
}

/// Kills of a version in this run.
fn kills() -> usize {
    if is_long() { 40 } else { 2 }
}

/// A compaction that deletes few revisions at once, with a pause behind each batch.
fn slow(line: Line, batch: usize) -> String {
    let name = match line {
        Line::V34 | Line::V35 => "experimental-compaction-batch-limit",
        Line::V36 | Line::V37 => "compaction-batch-limit",
    };
    format!("--{name}={batch}")
}

/// In which order a copy is made.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Order {
    DbFirst,
    LogFirst,
    /// As [`Order::DbFirst`], the db in pieces.
    TornDb,
    /// The db alone, in pieces.
    DbAlone,
}

const ORDERS: [Order; 4] = [Order::TornDb, Order::LogFirst, Order::DbAlone, Order::DbFirst];

/// A copy, and what was acknowledged when it was begun.
struct Copy {
    dir: PathBuf,
    order: Order,
    revision: i64,
}

/// Puts every other key once more.
fn put_others(gateway: &Gateway, rng: &mut Rng) -> Result<i64> {
    let mut revision = 0;
    for first in (0..OTHERS).step_by(AT_ONCE) {
        let put = |n: usize, rng: &mut Rng| {
            let value = vec![b'a' + rng.u8(..26); rng.usize(50..600)];
            json!({"request_put": {"key": key(format!("other-{n:04}").as_bytes()), "value": key(&value)}})
        };
        let puts: Vec<Value> = (first..first + AT_ONCE).map(|n| put(n, rng)).collect();
        let answer = gateway.call("kv/txn", &json!({"success": puts}))?;
        revision = int(&answer["header"]["revision"])?;
    }
    Ok(revision)
}

fn compact(gateway: &Gateway, revision: i64) -> Result<()> {
    gateway.send("kv/compaction", &json!({"revision": revision.to_string()})).map(drop)
}

fn pause(rng: &mut Rng, most: u64) {
    std::thread::sleep(Duration::from_millis(rng.u64(..most)));
}

/// Copies a file in some pieces, with pauses between them.
fn copy_in_pieces(from: &Path, to: &Path, pieces: u64, rng: &mut Rng) -> Result<()> {
    let mut source = File::open(from)?;
    let mut target = File::create(to)?;
    let piece = (source.metadata()?.len() / pieces / 4096 + 1) * 4096;
    loop {
        let mut bytes = Vec::new();
        Read::by_ref(&mut source).take(piece).read_to_end(&mut bytes)?;
        target.write_all(&bytes)?;
        if (bytes.len() as u64) < piece {
            return Ok(());
        }
        pause(rng, 250);
    }
}

fn copy(from: &Path, to: &Path, order: Order, rng: &mut Rng) -> Result<()> {
    let snap = to.join("member/snap");
    fs::create_dir_all(&snap)?;
    let db = |rng: &mut Rng| {
        let pieces = if order == Order::LogFirst || order == Order::DbFirst { 1 } else { 3 };
        copy_in_pieces(&from.join("member/snap/db"), &snap.join("db"), pieces, rng)
    };
    let log = || -> Result<()> {
        copy_tree(&from.join("member/wal"), &to.join("member/wal"))?;
        for name in names(&from.join("member/snap"))?.iter().filter(|name| name.ends_with(".snap"))
        {
            // The server may remove one meanwhile.
            let _ = fs::copy(from.join("member/snap").join(name), snap.join(name));
        }
        Ok(())
    };
    match order {
        Order::DbAlone => db(rng),
        Order::DbFirst | Order::TornDb => {
            db(rng)?;
            pause(rng, 300);
            log()
        }
        Order::LogFirst => {
            log()?;
            pause(rng, 300);
            db(rng)
        }
    }
}

fn running(line: Line, dir: &Path) -> Result<()> {
    let mut rng = Rng::with_seed(seed().wrapping_mul(101).wrapping_add(line as u64));
    let mut spec = Spec::single(line, &dir.join("live"), &free_url()?);
    spec.extra.push(slow(line, 20));
    if rng.bool() {
        spec.extra.push(format!("--snapshot-count={}", rng.u32(50..300)));
    }
    let member = Member::start(spec.clone())?;
    let gateway = member.gateway();
    let mut made = Vec::new();
    let ledger = while_writing(vec![member.client_url.clone()], rng.u64(..), |crowd| {
        for number in 0..copies() {
            let revision = put_others(&gateway, &mut rng)?;
            put_others(&gateway, &mut rng)?;
            crowd.wait_for(rng.u64(5..30))?;
            if rng.u32(..4) > 0 {
                compact(&gateway, revision + rng.i64(0..2))?;
                pause(&mut rng, 200);
            }
            let one = Copy {
                dir: dir.join(format!("copy-{number}")),
                order: ORDERS[number % ORDERS.len()],
                revision: crowd.newest(),
            };
            copy(&spec.data_dir, &one.dir, one.order, &mut rng)?;
            made.push(one);
        }
        Ok(())
    })?;
    member.sigkill()?;
    let mut said = Vec::new();
    for one in made {
        let spec = Spec { data_dir: one.dir.clone(), ..spec.clone() };
        let place = dir.join("place");
        fs::create_dir_all(&place)?;
        let what = || format!("{:?} at revision {}", one.order, one.revision);
        said.push(
            match one.order {
                Order::DbAlone => alone(&one, &ledger),
                _ => judged(&one, &spec, &ledger, &place),
            }
            .with_context(what)?,
        );
        fs::remove_dir_all(&place)?;
        fs::remove_dir_all(&one.dir)?;
    }
    said.sort();
    eprintln!("conformance: {line} hot copies: {}", said.join("; "));
    Ok(())
}

/// Asks everything of a copy; each command answers or says why not.
fn asked(path: &Path) -> Result<()> {
    for words in [
        &["info"][..],
        &["verify"],
        &["get"],
        &["hashkv"],
        &["restore", "--dry-run", "--data-dir", "/nowhere"],
    ] {
        let mut args: Vec<&OsStr> = vec![OsStr::new(words[0]), path.as_os_str()];
        args.extend(words[1..].iter().map(OsStr::new));
        if words[0] == "get" {
            args.push(OsStr::new("other-0000"));
        }
        let ran = ours::etcdsnap(&args)?;
        ensure!(ran.code != Some(2) || words[0] == "restore", "{ran}");
    }
    Ok(())
}

/// Whether our keys of `path` are what was acknowledged up to `revision`.
fn lacks(path: &Path, ledger: &Ledger, revision: i64) -> Result<Option<String>> {
    let content = ours::content(path, &[])?;
    let checked = ledger.up_to(revision).check(Floor::Everything, &keys(&content.keys)?);
    Ok(checked.err().map(|error| format!("{error:#}")))
}

/// What `etcdsnap` says of a copy, beside what the server says that starts on it.
fn judged(one: &Copy, spec: &Spec, ledger: &Ledger, place: &Path) -> Result<String> {
    let advice = doctor(&[&one.dir])?;
    asked(&one.dir)?;
    let verdict = judge(spec, place);
    // A server that refused leaves its copy.
    let _ = fs::remove_dir_all(place.join("judged"));
    let saved = ours::save(&one.dir, &place.join("first.db"), &[])?;
    let server = if verdict.is_ok() { "starts" } else { "refuses" };
    let said = format!("{:?}: {}, the server {server}", one.order, advice.verdict);
    let about = || format!("{}\n{saved}\nthe server: {:?}", advice.ran, verdict.as_ref().err());
    if saved.code != Some(0) {
        ensure!(saved.code == Some(1), "{}", about());
        ensure!(advice.verdict != "healthy" && advice.ran.code == Some(1), "{}", about());
        return Ok(format!("{said}, no snapshot"));
    }
    if let Some(lacks) = lacks(&one.dir, ledger, one.revision).with_context(about)? {
        ensure!(advice.verdict != "healthy", "{lacks}\n{}", about());
    }
    match &verdict {
        Ok(verdict) => agrees(&one.dir, verdict, place, &[]).with_context(about)?,
        Err(_) => ensure!(advice.verdict != "healthy", "{}", about()),
    }
    Ok(said)
}

/// What `verify` says of a db that was copied alone.
fn alone(one: &Copy, ledger: &Ledger) -> Result<String> {
    let db = one.dir.join("member/snap/db");
    asked(&db)?;
    let (ran, verified) = ours::verify(&db, &[])?;
    if !verified.sound {
        ensure!(ran.code == Some(1), "{ran}");
        return Ok(format!("{:?}: damaged", one.order));
    }
    let revision = ours::status(&db, &[])?.revision;
    let lacks = lacks(&db, ledger, revision)?;
    // No digest says that these bytes belong together.
    ensure!(
        lacks.is_none() || verified.checks.iter().any(|check| check.detail.contains("not")),
        "{lacks:?}: {ran}"
    );
    Ok(format!("{:?}: sound{}", one.order, if lacks.is_some() { ", and it is not" } else { "" }))
}

fn killed(line: Line, dir: &Path) -> Result<()> {
    let mut rng = Rng::with_seed(seed().wrapping_mul(103).wrapping_add(line as u64));
    let mut spec = Spec::single(line, &dir.join("data"), &free_url()?);
    // The records of a round are a multiple of some: then the last batch is full (etcd#17780).
    let batch = [7, 10, 20, 50][rng.usize(..4)];
    spec.extra.push(slow(line, batch));
    let (mut pending, mut without) = (0, 0);
    for number in 0..kills() {
        let what = || format!("kill {number}, {batch} revisions at once");
        let member = Member::start(spec.clone()).with_context(what)?;
        let gateway = member.gateway();
        put_others(&gateway, &mut rng)?;
        put_others(&gateway, &mut rng)?;
        let name = key(format!("gone-{number}").as_bytes());
        gateway.call("kv/put", &json!({"key": name, "value": name}))?;
        let answer = gateway.call("kv/deleterange", &json!({"key": name}))?;
        // The deletion is the newest of the compacted revisions, or older, or newer.
        let revision = int(&answer["header"]["revision"])? + rng.i64(-1..1);
        gateway.call("kv/put", &json!({"key": name, "value": name}))?;
        compact(&gateway, revision)?;
        // A batch, and ten milliseconds of pause; some finish in time.
        let batches = 2 * OTHERS as u64 / batch as u64 + 1;
        std::thread::sleep(Duration::from_micros(rng.u64(..batches * 13_000)));
        member.sigkill()?;

        let advice = doctor(&[&spec.data_dir])?;
        let about = || format!("{}: {}", what(), advice.ran);
        ensure!(advice.verdict == "healthy" && advice.ran.code == Some(0), "{}", about());
        let (ran, verified) = ours::verify(&spec.data_dir.join("member/snap/db"), &[])?;
        ensure!(verified.sound, "{}: {ran}", what());
        let found = |code: &str| verified.findings.iter().any(|finding| finding.code == code);
        pending += usize::from(found("compaction-pending"));
        // The 3.4 at hand may be older than 3.4.34.
        ensure!(line == Line::V34 || !found("mark-record"), "{}: {ran}", what());
        without += usize::from(found("mark-record"));
        let place = dir.join("place");
        fs::create_dir_all(&place)?;
        let verdict = judge(&spec, &place).with_context(about)?;
        agrees(&spec.data_dir, &verdict, &place, &[]).with_context(about)?;
        fs::remove_dir_all(&place)?;
    }
    eprintln!(
        "conformance: {line} killed {} times, {pending} compactions not finished, {without} without the record at the mark",
        kills()
    );
    Ok(())
}
