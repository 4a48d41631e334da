//! The damage matrix: real servers' files, broken in every way at random places, salvaged, and handed to real servers.
//!
//! Prints what share of records and keys came back of each kind of damage; `benches/README.md` keeps the figures.

use std::collections::{BTreeMap, BTreeSet};
use std::ffi::OsStr;
use std::fs;
use std::path::Path;
use std::sync::Mutex;

use anyhow::{Context, Result, ensure};
use etcdsnap_engine::bolt::Db;
use etcdsnap_engine::limits::Limits;
use etcdsnap_engine::schema::{Store, auth};
use fastrand::Rng;
use serde_json::Value;

use crate::boot;
use crate::broken::{Damage, Lives, live, records, untouched};
use crate::dataset::{Dataset, loaded, seed};
use crate::facts::keys_at;
use crate::gateway::{bytes as unbase64, key, list, text};
use crate::ours;
use crate::peers::{self, Line, Needs};
use crate::restore_flags::RestoreFlags;
use crate::run::Ran;
use crate::server::{Member, free_url};
use crate::suite::{Suite, is_long};

pub fn trials(suite: &mut Suite) {
    for line in Line::ALL {
        for damage in Damage::ALL {
            suite.add(
                format!("salvaged::{}_in_{}_data", damage.name(), line.tag()),
                Needs::lines(&[line]).and_bbolt(),
                move |dir| matrix(&*loaded(line)?, damage, dir),
            );
        }
    }
    suite.add("salvaged::a_sound_member_loses_nothing", Needs::lines(&[Line::V36]), |dir| {
        let set = loaded(Line::V36)?;
        let flags = RestoreFlags::single(dir.join("data"), &free_url()?);
        let (ran, said) = salvage(&set.data_dir, &flags, &[])?;
        ensure!(ran.code == Some(0) && said["whole"] == true, "{ran}");
        boot::single_member_serves(Line::V36, &flags, &boot::Expected::from(&*set))
    });
    suite.add("salvaged::the_input_stays_as_it_is", Needs::lines(&[Line::V36]), |dir| {
        let set = loaded(Line::V36)?;
        let bytes = fs::read(set.db())?;
        let broken = Damage::Branch.done_to(&bytes, &mut Rng::with_seed(seed()));
        let path = dir.join("broken.db");
        fs::write(&path, &broken)?;
        let before = fs::metadata(&path)?.modified()?;
        let flags = RestoreFlags::single(dir.join("data"), &free_url()?);
        let (ran, _) = salvage(&path, &flags, &["--dry-run"])?;
        ensure!(ran.code == Some(1) && !flags.data_dir.exists(), "{ran}");
        salvage(&path, &flags, &[])?;
        ensure!(
            fs::read(&path)? == broken && fs::metadata(&path)?.modified()? == before,
            "changed"
        );
        Ok(())
    });
}

/// `salvage -w json`, and its report.
fn salvage(path: &Path, flags: &RestoreFlags, more: &[&str]) -> Result<(Ran, Value)> {
    let mut args: Vec<std::ffi::OsString> = vec![
        "salvage".into(),
        path.into(),
        "-w".into(),
        "json".into(),
        "--output".into(),
        flags.data_dir.clone().into(),
    ];
    // Its flags are restore's, but for the target's.
    let mut restore = flags.args().into_iter();
    while let Some(word) = restore.next() {
        if word == OsStr::new("--data-dir") {
            restore.next();
        } else {
            args.push(word);
        }
    }
    args.extend(more.iter().map(Into::into));
    let ran = ours::etcdsnap(&args)?;
    let said = serde_json::from_slice(&ran.stdout).unwrap_or_default();
    Ok((ran, said))
}

fn matrix(set: &Dataset, damage: Damage, dir: &Path) -> Result<()> {
    let bytes = fs::read(set.db())?;
    let times = if is_long() { 50 } else { 1 };
    let mut rng = Rng::with_seed(seed() ^ (damage as u64) << 8 ^ set.line as u64);
    for time in 0..times {
        let broken = damage.done_to(&bytes, &mut rng);
        let place = dir.join(time.to_string());
        fs::create_dir(&place)?;
        // Servers are slow to start: one a kind and version.
        one(set, damage, &bytes, &broken, &place, time == 0)
            .with_context(|| format!("{} {} time {time}", set.line, damage.name()))?;
        fs::remove_dir_all(&place)?;
    }
    Ok(())
}

fn one(
    set: &Dataset,
    damage: Damage,
    bytes: &[u8],
    broken: &[u8],
    dir: &Path,
    boots: bool,
) -> Result<()> {
    let path = dir.join("broken.db");
    fs::write(&path, broken)?;
    let wanted = untouched(bytes, broken);
    let flags = RestoreFlags::single(dir.join("data"), &free_url()?);
    let (ran, said) = salvage(&path, &flags, &[])?;
    if ran.code == Some(2) {
        ensure!(wanted.is_empty(), "{} records are there: {ran}", wanted.len());
        return Ok(());
    }
    let db = flags.data_dir.join("member/snap/db");
    peers::bbolt_check(&db)?;
    let out = fs::read(&db)?;
    let (before, after) = (records(bytes), records(&out));
    let lost =
        wanted.iter().find(|(key, value)| after.get(*key).map(|is| &is.value) != Some(*value));
    ensure!(lost.is_none(), "record {:02x?} is left behind: {ran}", lost.map(|lost| lost.0));
    verbatim(&before, &after, broken)?;
    let doubtful: BTreeSet<Vec<u8>> = list(&said["doubtful"])
        .iter()
        .map(|one| unbase64(&text(&one["keyBase64"])))
        .collect::<Result<_>>()?;
    let (was, is) = (live(bytes), live(&out));
    for (key, revision) in &is {
        ensure!(
            was.get(key) == Some(revision) || doubtful.contains(key),
            "key {} at {revision}, which was {:?}, is not doubtful: {ran}",
            key.escape_ascii(),
            was.get(key)
        );
    }
    ensure!(
        said["keys"]["live"] == is.len() && said["keys"]["doubtful"] == doubtful.len(),
        "{ran}"
    );
    let whole = said["whole"] == true;
    ensure!(ran.code == Some(i32::from(!whole)), "exit code against the report: {ran}");
    ensure!(!whole || is.len() == was.len() && after.len() == before.len(), "called whole: {ran}");
    note(damage, &before, &after, &was, &is, doubtful.len());
    if boots {
        serves_exactly(set, &flags, &out)?;
    }
    Ok(())
}

/// What was not there before stands in the file byte for byte.
fn verbatim(
    before: &BTreeMap<Vec<u8>, Lives>,
    after: &BTreeMap<Vec<u8>, Lives>,
    broken: &[u8],
) -> Result<()> {
    for (key, is) in after {
        if before.get(key).is_some_and(|was| was.value == is.value) {
            continue;
        }
        let len = key.len() + is.value.len();
        let stands = broken.windows(len).any(|at| at.starts_with(key) && at.ends_with(&is.value));
        ensure!(stands, "record {key:02x?} stands nowhere in the file");
    }
    Ok(())
}

/// A real server serves the keys that were saved, all of them and no others.
fn serves_exactly(set: &Dataset, flags: &RestoreFlags, out: &[u8]) -> Result<()> {
    let expected: BTreeSet<(String, i64)> =
        live(out).into_iter().map(|(name, revision)| (key(&name), revision.main)).collect();
    let member = Member::start(boot::spec(set.line, flags))?;
    // The load turned authentication on and off: what was saved may be from between.
    let db = Db::from_bytes(out, Limits::default())?;
    let gateway = boot::gateway(&member, auth::enabled(&Store::new(db))?)?;
    let (_, served) = keys_at(&gateway, 0)?;
    let served: BTreeSet<_> = served.into_iter().map(|kv| (kv.key, kv.mod_revision)).collect();
    ensure!(served == expected, "served {} keys, saved {}", served.len(), expected.len());
    let put = serde_json::json!({"key": key(b"after-salvage"), "value": key(b"written")});
    gateway.call("kv/put", &put)?;
    member.sigterm()?;
    Ok(())
}

/// Records, keys that are as they were, and doubtful keys, of all files of a kind so far.
#[derive(Clone, Copy, Default)]
struct Share {
    files: usize,
    records: (usize, usize),
    keys: (usize, usize),
    doubtful: usize,
}

fn note<R, V: PartialEq>(
    damage: Damage,
    before: &BTreeMap<Vec<u8>, R>,
    after: &BTreeMap<Vec<u8>, R>,
    was: &BTreeMap<Vec<u8>, V>,
    is: &BTreeMap<Vec<u8>, V>,
    doubtful: usize,
) {
    static SHARES: Mutex<BTreeMap<Damage, Share>> = Mutex::new(BTreeMap::new());
    let Ok(mut shares) = SHARES.lock() else { return };
    let share = shares.entry(damage).or_default();
    share.files += 1;
    share.records.0 += before.keys().filter(|key| after.contains_key(*key)).count();
    share.records.1 += before.len();
    share.keys.0 += was.iter().filter(|(key, value)| is.get(*key) == Some(*value)).count();
    share.keys.1 += was.len();
    share.doubtful += doubtful;
    let percent = |of: usize, all: usize| 100.0 * of as f64 / all.max(1) as f64;
    eprintln!(
        "conformance: recovered: {} after {} files: records {:.2} %, keys {:.2} %, doubtful {:.2} %",
        damage.name(),
        share.files,
        percent(share.records.0, share.records.1),
        percent(share.keys.0, share.keys.1),
        percent(share.doubtful, share.keys.1)
    );
}
