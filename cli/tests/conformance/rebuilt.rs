//! Databases lost or damaged under a complete log: `etcdsnap` has the state that a server rebuilds.
//!
//! The danger guarded against: data that stands in the log, entry by entry, given up because the db
//! beside it is gone; and a db whose values changed, taken for what the log says. The judge is the
//! server itself, started on the same files with the db moved away.

use std::fs;
use std::path::{Path, PathBuf};
use std::sync::atomic::AtomicI64;
use std::time::Duration;

use anyhow::{Context, Result, bail, ensure};
use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use fastrand::Rng;
use serde_json::json;

use crate::admin::Admin;
use crate::advice::{Desk, doctor};
use crate::boot;
use crate::dataset::seed;
use crate::facts::{self, Content};
use crate::files::{copy_tree, names};
use crate::gateway::{Reply, key};
use crate::judge::{Verdict, agrees, judge};
use crate::load::Counts;
use crate::ours;
use crate::peers::{HashKv, Line, Needs};
use crate::server::{Member, Spec, free_url};
use crate::suite::{Suite, is_long};
use crate::writer::Writer;

/// Takes the log alone.
const FROM_WAL: [&str; 1] = ["--from-wal"];

/// Connections that write keys and leases.
const WRITERS: u64 = 3;

/// A page of a db, in bytes.
const PAGE: usize = 4096;

/// What the kernel writes at once, in bytes.
const SECTOR: usize = 512;

pub fn trials(suite: &mut Suite) {
    for line in Line::ALL {
        suite.add(
            format!("rebuilt::as_{}_rebuilds_a_lost_db", line.tag()),
            Needs::lines(&[line]),
            move |dir| lost(line, dir),
        );
        suite.add(
            format!("rebuilt::what_{}_refused_is_no_damage", line.tag()),
            Needs::lines(&[line]),
            move |dir| refused(line, dir),
        );
    }
}

/// A transaction with a range that cannot be answered: up to 3.6 the member that was asked refuses all of it, and
/// applies the rest of it when it replays its log. Its db is as sound as any.
fn refused(line: Line, dir: &Path) -> Result<()> {
    let spec = Spec::single(line, &dir.join("data"), &free_url()?);
    let member = Member::start(spec.clone())?;
    let gateway = member.gateway();
    let put = |name: &[u8]| json!({"key": key(name), "value": key(b"value")});
    gateway.call("kv/put", &put(b"before"))?;
    let future = json!({"key": key(b"before"), "revision": "9999999"});
    let txn = json!({"success": [{"request_put": put(b"in it")}, {"request_range": future}]});
    ensure!(matches!(gateway.send("kv/txn", &txn)?, Reply::Refused(_)), "{line} takes {txn}");
    gateway.call("kv/put", &put(b"after"))?;
    member.wait_until_idle(&gateway)?;
    member.sigkill()?;
    let verdict = judge(&spec, dir)?;
    agrees(&spec.data_dir, &verdict, dir, &[])?;
    let advice = doctor(&[&spec.data_dir])?;
    ensure!(advice.ran.code == Some(0) && advice.verdict == "healthy", "{}", advice.ran);
    let (ran, _) = ours::verify(&spec.data_dir, &["--against-wal"])?;
    ensure!(ran.code == Some(0), "{ran}");
    Ok(())
}

/// Databases of a version that are damaged at random in this run.
fn places() -> usize {
    if is_long() { 250 } else { 9 }
}

/// Values of a version that are changed in this run.
fn changes() -> usize {
    if is_long() { 20 } else { 2 }
}

/// A member with a complete log, and what a server makes of the log alone.
struct Subject {
    spec: Spec,
    data_dir: PathBuf,
    /// The db as the member left it.
    db: Vec<u8>,
    verdict: Verdict,
}

impl Subject {
    fn make(line: Line, rng: &mut Rng, dir: &Path) -> Result<Self> {
        let mut spec = Spec::single(line, &dir.join("data"), &free_url()?);
        if rng.bool() {
            spec.extra.push(format!("--snapshot-count={}", rng.u32(40..200)));
        }
        write(Member::start(spec.clone())?, rng)?;
        let without = dir.join("without");
        copy_tree(&spec.data_dir, &without)?;
        // 3.7 refuses to start without a db once its log has a snapshot record; with the db it says the same.
        if line < Line::V37 || spec.extra.is_empty() {
            let snap = without.join("member/snap");
            for name in names(&snap)? {
                // A server that finds a snapfile and no db refuses to start.
                if name == "db" || name.ends_with(".snap") {
                    fs::remove_file(snap.join(name))?;
                }
            }
        }
        let verdict = judge(&Spec { data_dir: without.clone(), ..spec.clone() }, dir)
            .with_context(|| format!("{:?}", spec.extra))?;
        fs::remove_dir_all(&without)?;
        let db = fs::read(spec.data_dir.join("member/snap/db"))?;
        Ok(Subject { data_dir: spec.data_dir.clone(), spec, db, verdict })
    }

    fn db_path(&self) -> PathBuf {
        self.data_dir.join("member/snap/db")
    }
}

/// Writes keys, leases, users, alarms and members, and kills the member.
///
/// None of these requests has a range that is refused inside a transaction: servers up to 3.6 refuse the whole
/// transaction when a client waits for it, and apply the rest of it when they replay it.
fn write(member: Member, rng: &mut Rng) -> Result<()> {
    let revision = AtomicI64::new(1);
    let (seed, writes) = (rng.u64(..1 << 32), rng.u64(50..150));
    let (auth, pause) = (rng.bool(), rng.u64(..400));
    std::thread::scope(|scope| -> Result<()> {
        let writers: Vec<_> = (0..WRITERS)
            .map(|number| {
                let mut writer = Writer::new(member.gateway(), seed, number, &revision);
                scope.spawn(move || writer.run(writes))
            })
            .collect();
        let mut admin =
            Admin { gateway: member.gateway(), counts: Counts::default(), revision: &revision };
        admin.run(&member, (WRITERS * writes) as i64 / 3)?;
        for writer in writers {
            writer.join().map_err(|_| anyhow::anyhow!("a connection panicked"))??;
        }
        admin.auth_on()?;
        if !auth {
            admin.auth_off()?;
        }
        Ok(())
    })?;
    // The backend may commit what is pending, or not.
    std::thread::sleep(Duration::from_millis(pause));
    member.sigkill()
}

fn lost(line: Line, dir: &Path) -> Result<()> {
    let mut rng = Rng::with_seed(seed().wrapping_mul(61).wrapping_add(line as u64));
    let subject = Subject::make(line, &mut rng, dir)?;
    agrees(&subject.data_dir, &subject.verdict, dir, &[]).context("before anything is lost")?;
    agrees(&subject.data_dir, &subject.verdict, dir, &FROM_WAL).context("--from-wal")?;
    gone(&subject, &mut rng, dir)?;
    let mut counts = [0; 3];
    for place in 0..places() {
        let (bytes, what) = damage(&subject.db, place, &mut rng);
        fs::write(subject.db_path(), &bytes)?;
        let kind = damaged(&subject, place % 4 == 0, dir)
            .with_context(|| format!("place {place}: {what}"))?;
        counts[kind as usize] += 1;
    }
    for _ in 0..changes() {
        changed(&subject, &mut rng)?;
    }
    eprintln!(
        "conformance: {line} of {} damaged dbs {} were rebuilt, {} were named as different, {} are as they were; seed {}",
        places(),
        counts[Seen::Rebuilt as usize],
        counts[Seen::Named as usize],
        counts[Seen::Whole as usize],
        seed()
    );
    Ok(())
}

/// No db, or nothing of one.
fn gone(subject: &Subject, rng: &mut Rng, dir: &Path) -> Result<()> {
    let db = subject.db_path();
    let zeros = vec![0; subject.db.len()];
    let noise: Vec<u8> = (0..subject.db.len()).map(|_| rng.u8(..)).collect();
    let mut headless = subject.db.clone();
    headless[..2 * PAGE].fill(0);
    let mut stumped = subject.db.clone();
    // The checksums of both metas.
    stumped[16 + 56] ^= 1;
    stumped[PAGE + 16 + 56] ^= 1;
    let whats: [(&str, Option<&[u8]>); 6] = [
        ("removed", None),
        ("0 bytes", Some(&[])),
        ("zeros", Some(&zeros)),
        ("random bytes", Some(&noise)),
        ("metas zeroed", Some(&headless)),
        ("metas broken", Some(&stumped)),
    ];
    let told = whats[rng.usize(1..whats.len())].0;
    for (what, bytes) in whats {
        match bytes {
            Some(bytes) => fs::write(&db, bytes)?,
            None => fs::remove_file(&db)?,
        }
        agrees(&subject.data_dir, &subject.verdict, dir, &[]).context(what)?;
        let advice = doctor(&[&subject.data_dir]).context(what)?;
        ensure!(advice.verdict == "recoverable", "{what}: {}", advice.ran);
        ensure!(
            advice.recover_from.as_deref() == Some(&subject.data_dir),
            "{what}: {}",
            advice.ran
        );
        if what == "removed" || what == told || is_long() {
            followed(subject, dir).context(what)?;
        }
    }
    Ok(())
}

/// Does what `doctor` says, on a copy: the server then has everything.
fn followed(subject: &Subject, dir: &Path) -> Result<()> {
    let place = dir.join("followed");
    let spec = Spec { data_dir: place.join("m1"), ..subject.spec.clone() };
    fs::create_dir(&place)?;
    copy_tree(&subject.data_dir, &spec.data_dir)?;
    let advice = doctor(&[&spec.data_dir])?;
    let said = || format!("{}", advice.ran);
    let desk = Desk::new(spec.line, &place)?;
    let verdict = &subject.verdict;
    if let Some(before) = advice.before_start() {
        before.into_iter().try_for_each(|line| desk.run(line)).with_context(said)?;
        let member = Member::start(spec).with_context(said)?;
        let content = facts::content(&boot::gateway(&member, verdict.auth)?)?;
        boot::compare_content(&content, &verdict.content).with_context(said)?;
    } else {
        let members = desk.follow(&advice.recovery()).with_context(said)?;
        let content = facts::content(&boot::gateway(&members[0], verdict.auth)?)?;
        // The revision was raised, which takes a record of a key without a name.
        let revision = verdict.content.revision;
        let mut keys = content.keys.clone();
        keys.retain(|kv| !kv.key.is_empty());
        let content = Content { revision, keys, ..content };
        boot::compare_content(&content, &verdict.content).with_context(said)?;
    }
    fs::remove_dir_all(&place)?;
    Ok(())
}

/// Does one thing to a db; says what.
fn damage(db: &[u8], kind: usize, rng: &mut Rng) -> (Vec<u8>, String) {
    let mut bytes = db.to_vec();
    let pages = bytes.len() / PAGE;
    let page = |rng: &mut Rng| rng.usize(..pages) * PAGE;
    let what = match kind % 9 {
        0 => {
            let at = page(rng);
            bytes[at..at + PAGE].fill(0);
            format!("page {} zeroed", at / PAGE)
        }
        1 => {
            let at = page(rng);
            bytes[at..at + PAGE].fill_with(|| rng.u8(..));
            format!("page {} overwritten", at / PAGE)
        }
        2 => {
            // The rest of a page is from before.
            let (at, from) = (page(rng), page(rng));
            let cut = rng.usize(1..PAGE / SECTOR) * SECTOR;
            bytes.copy_within(from + cut..from + PAGE, at + cut);
            format!("page {} torn at {cut}, the rest is of page {}", at / PAGE, from / PAGE)
        }
        3 => {
            let at = page(rng) + rng.usize(..PAGE / SECTOR) * SECTOR;
            bytes[at..at + SECTOR].fill(0);
            format!("sector at {at} zeroed")
        }
        4 => {
            let at = rng.usize(..bytes.len());
            bytes.truncate(at);
            format!("cut at {at}")
        }
        5 => {
            let count = rng.usize(2..pages.max(3));
            for _ in 0..count {
                let at = page(rng);
                bytes[at..at + PAGE].fill(0);
            }
            format!("{count} pages zeroed")
        }
        6 => {
            let (at, bit) = (rng.usize(..bytes.len()), rng.u8(..8));
            bytes[at] ^= 1 << bit;
            format!("bit {bit} at {at} flipped")
        }
        7 => {
            let (at, from) = (page(rng), page(rng));
            bytes.copy_within(from..from + PAGE, at);
            format!("page {} written in the place of page {}", from / PAGE, at / PAGE)
        }
        _ => {
            let from = rng.usize(..bytes.len());
            let to = (from + rng.usize(1..3 * PAGE)).min(bytes.len());
            bytes[from..to].fill_with(|| rng.u8(..));
            format!("bytes {from} to {to} overwritten")
        }
    };
    (bytes, what)
}

/// What became of a damaged db.
#[derive(Clone, Copy, Debug)]
enum Seen {
    /// Everything that is read is as the log makes it.
    Whole,
    /// As [`Seen::Whole`], although the db itself is not sound.
    Rebuilt,
    /// What the db has differs from what the log makes, and `doctor` says so.
    Named,
}

fn damaged(subject: &Subject, thorough: bool, dir: &Path) -> Result<Seen> {
    let (data_dir, verdict) = (&subject.data_dir, &subject.verdict);
    let own = ours::hashkv(data_dir, 0, &FROM_WAL).context("--from-wal")?;
    ensure!(own == verdict.hash, "--from-wal {own:?}, the server rebuilds {:?}", verdict.hash);
    let advice = doctor(&[data_dir])?;
    // As a file on its own: no log can mend it there.
    let alone = ours::etcdsnap(&ours::words(&["verify"], &subject.db_path(), &[]))?;
    let read = ours::etcdsnap(&ours::words(&["hashkv", "-w", "json"], data_dir, &[]))?;
    let hash: Option<HashKv> = serde_json::from_slice(&read.stdout).ok();
    if hash != Some(verdict.hash) {
        ensure!(advice.ran.code == Some(1), "{hash:?}, and doctor is content: {}", advice.ran);
        ensure!(alone.code == Some(0), "the db is damaged and the log not used: {read}\n{alone}");
        let (ran, _) = ours::verify(data_dir, &["--against-wal"])?;
        ensure!(ran.code == Some(1), "--against-wal finds no difference: {ran}");
        return Ok(Seen::Named);
    }
    if thorough && read.code == Some(0) {
        agrees(data_dir, verdict, dir, &[])?;
    }
    if alone.code == Some(0) {
        return Ok(Seen::Whole);
    }
    ensure!(advice.verdict == "recoverable", "the db is damaged, the log complete: {}", advice.ran);
    ensure!(read.code == Some(0), "{read}");
    Ok(Seen::Rebuilt)
}

/// A value in the db is other than the one in the log, and every page is sound.
fn changed(subject: &Subject, rng: &mut Rng) -> Result<()> {
    let mut keys = subject.verdict.content.keys.clone();
    rng.shuffle(&mut keys);
    for kv in keys {
        let (name, value) = (STANDARD.decode(&kv.key)?, STANDARD.decode(&kv.value)?);
        if value.len() < 16 || !name.starts_with(b"app/") {
            continue;
        }
        let mut db = subject.db.clone();
        let at = rng.usize(..value.len());
        let mut found = 0;
        for start in places_of(&value, &subject.db) {
            db[start + at] ^= 1 << rng.u8(..8);
            found += 1;
        }
        if found == 0 {
            // Its record is in the log alone.
            continue;
        }
        fs::write(subject.db_path(), &db)?;
        let name = String::from_utf8(name)?;
        let what = || format!("the value of {name} changed at {at}");
        let (own, wal) = (
            ours::hashkv(&subject.data_dir, 0, &[]).with_context(what)?,
            ours::hashkv(&subject.data_dir, 0, &FROM_WAL).with_context(what)?,
        );
        ensure!(own != subject.verdict.hash, "{}: nothing changed", what());
        ensure!(wal == subject.verdict.hash, "{}: --from-wal {wal:?}", what());
        let advice = doctor(&[&subject.data_dir]).with_context(what)?;
        ensure!(advice.ran.code == Some(1), "{}: {}", what(), advice.ran);
        for format in ["json", "simple"] {
            let args = ["--against-wal", "-w", format];
            let ran = ours::etcdsnap(&ours::words(&["verify"], &subject.data_dir, &args))?;
            ensure!(ran.code == Some(1), "{}: {ran}", what());
            ensure!(ran.stdout_text().contains(&name), "{}, but not named: {ran}", what());
        }
        return Ok(());
    }
    bail!("no value of the db can be changed")
}

fn places_of(value: &[u8], db: &[u8]) -> Vec<usize> {
    db.windows(value.len()).enumerate().filter(|(_, is)| *is == value).map(|(at, _)| at).collect()
}
