//! Fixtures: data dirs of real servers kept in the repository, with what the tools said then.

use std::fs::{self, File};
use std::path::{Path, PathBuf};

use anyhow::{Context, Result, ensure};
use serde_json::Value;

use crate::files::sha256;
use crate::gateway::int;
use crate::numbers::{hashkv_equals_etcdutl, status_equals_peers, text_equals_peer};
use crate::ours;
use crate::peers::{self, HashKv, Line, Needs};
use crate::suite::Suite;

/// `testdata/members`, unless the environment names another place.
fn fixtures_dir() -> PathBuf {
    std::env::var_os("ETCDSNAP_FIXTURES").map_or_else(
        || Path::new(env!("CARGO_MANIFEST_DIR")).join("../testdata/members"),
        PathBuf::from,
    )
}

/// The names of all fixtures: `NAME.tar.zst` beside `NAME.json`.
fn fixtures() -> Vec<String> {
    let entries = fs::read_dir(fixtures_dir()).into_iter().flatten().flatten();
    let mut names: Vec<String> = entries
        .filter_map(|entry| entry.file_name().to_str()?.strip_suffix(".tar.zst").map(str::to_owned))
        .collect();
    names.sort();
    names
}

/// The reason to skip what needs fixtures, if there is one.
pub fn missing() -> Option<String> {
    fixtures().is_empty().then(|| format!("no fixtures in {}", fixtures_dir().display()))
}

pub fn trials(suite: &mut Suite) {
    if missing().is_some() {
        // One line instead of none: without fixtures there are no names to list.
        suite.add("fixtures::all", Needs::default().and_fixtures(), |_| Ok(()));
    }
    suite.add(
        "fixtures::a_corrupted_backup_from_the_field_is_refused",
        Needs::default().and_fixtures(),
        |_| corrupted_backup(),
    );
    suite.add(
        "fixtures::a_db_that_bbolt_panics_on_can_be_read",
        Needs::default().and_fixtures(),
        |_| freelist_on_a_leaf(),
    );
    for name in fixtures() {
        let title = |what: &str| format!("fixtures::{}_{what}", name.replace('-', "_"));
        let (first, second, third) = (name.clone(), name.clone(), name.clone());
        suite.add(title("reads_as_its_record_says"), Needs::default(), move |dir| {
            as_recorded(&Fixture::unpack(&first, dir)?)
        });
        suite.add(title("numbers_equal_every_etcdutl"), Needs::lines(&Line::ALL), move |dir| {
            as_peers_say(&Fixture::unpack(&second, dir)?)
        });
        suite.add(
            title("can_be_saved_for_every_etcdutl"),
            Needs::lines(&Line::ALL).and_bbolt(),
            move |dir| saved_is_accepted(&Fixture::unpack(&third, dir)?, dir),
        );
    }
}

/// Files found in the field, with what is known about them.
fn field_file(name: &str) -> Result<PathBuf> {
    let path = fixtures_dir().join("../field").join(name);
    ensure!(path.is_file(), "{} is missing", path.display());
    Ok(path)
}

/// bbolt finds two errors in it, and `snapshot status` must refuse it.
fn corrupted_backup() -> Result<()> {
    let path = field_file("etcd-corrupted-backup.db")?;
    let check = ours::etcdsnap(&ours::words(&["check"], &path, &[]))?;
    ensure!(check.code == Some(1), "{check}");
    for finding in ["page 3: already freed", "page 4: unreachable unfreed"] {
        ensure!(check.stdout_text().lines().any(|line| line == finding), "{finding}: {check}");
    }
    let status = ours::etcdsnap(&ours::words(&["status"], &path, &[]))?;
    ensure!(status.code == Some(1), "{status}");
    ensure!(status.stderr_text().contains("integrity check failed"), "{status}");
    Ok(())
}

/// Its freelist id points at a leaf: bbolt panics and etcdutl refuses, but the keys are there.
fn freelist_on_a_leaf() -> Result<()> {
    let path = field_file("auger-kube.db")?;
    let check = ours::etcdsnap(&ours::words(&["check"], &path, &[]))?;
    ensure!(check.code == Some(1), "{check}");
    let wording = "invalid freelist page: 2, page type is leaf";
    ensure!(check.stdout_text().contains(wording), "{check}");
    for command in ["status", "info"] {
        let ran = ours::etcdsnap(&ours::words(&[command, "-w", "json"], &path, &[]))?;
        ensure!(ran.code == Some(1), "{ran}");
        let answer: Value = serde_json::from_slice(&ran.stdout).with_context(|| ran.to_string())?;
        ensure!(int(&answer["revision"])? == 232_274, "{ran}");
    }
    Ok(())
}

/// An unpacked fixture.
pub struct Fixture {
    pub root: PathBuf,
    pub facts: Value,
}

impl Fixture {
    /// Unpacks `name` below `dir`.
    pub fn unpack(name: &str, dir: &Path) -> Result<Self> {
        let root = dir.join("fixture");
        let packed = fixtures_dir().join(format!("{name}.tar.zst"));
        let file = File::open(&packed).with_context(|| format!("opening {}", packed.display()))?;
        tar::Archive::new(zstd::Decoder::new(file)?).unpack(&root)?;
        let facts = fs::read(packed.with_file_name(format!("{name}.json")))?;
        Ok(Fixture { root, facts: serde_json::from_slice(&facts)? })
    }

    fn snapshot(&self) -> Option<PathBuf> {
        Some(self.root.join("snapshot.db")).filter(|path| path.is_file())
    }

    /// Every data dir, by name.
    pub fn data_dirs(&self) -> Result<Vec<PathBuf>> {
        let mut dirs: Vec<PathBuf> = fs::read_dir(&self.root)?
            .map(|entry| entry.map(|entry| entry.path()))
            .collect::<Result<_, _>>()?;
        dirs.retain(|dir| dir.join("member/snap/db").is_file());
        dirs.sort();
        ensure!(!dirs.is_empty(), "no data dir in {}", self.root.display());
        Ok(dirs)
    }
}

/// Without any peer: against what was written down when the fixture was made.
fn as_recorded(fixture: &Fixture) -> Result<()> {
    let facts = &fixture.facts;
    let mut compared = 0;
    if let Some(snapshot) = fixture.snapshot() {
        let hash = &facts["hashkv"];
        let recorded = HashKv {
            hash: u32::try_from(int(&hash["hash"])?)?,
            hash_revision: int(&hash["header"]["revision"])?,
            compact_revision: int(&hash["compact_revision"])?,
        };
        let own = ours::hashkv(&snapshot, 0, &[])?;
        ensure!(own == recorded, "snapshot: ours {own:?}, recorded {recorded:?}");
        compared += 1;
        compared += u32::from(status_as_recorded(&snapshot, &facts["snapshot_status"], &[])?);
        let (ran, verified) = ours::verify(&snapshot, &[])?;
        ensure!(ran.code == Some(0) && verified.sound, "{ran}");
    }
    for dir in fixture.data_dirs()? {
        let recorded = &facts["db_file_before_restart"];
        compared += u32::from(status_as_recorded(&dir, recorded, &[ours::NO_WAL])?);
        let (ran, verified) = ours::verify(&dir, &[ours::NO_WAL])?;
        ensure!(ran.code == Some(0) && verified.sound, "{ran}");
    }
    let nothing = facts["db_file_before_restart"].is_null() && fixture.snapshot().is_none();
    ensure!(nothing || compared > 0, "nothing was compared");
    Ok(())
}

/// False when nothing was recorded.
fn status_as_recorded(path: &Path, recorded: &Value, more: &[&str]) -> Result<bool> {
    if recorded.is_null() {
        return Ok(false);
    }
    let recorded: peers::Status = serde_json::from_value(recorded.clone())?;
    let own = ours::status(path, more)?;
    ensure!(own.hash == recorded.hash, "ours {own:?}, recorded {recorded:?}");
    ensure!(own.revision == recorded.revision, "ours {own:?}, recorded {recorded:?}");
    ensure!(own.total_size == recorded.total_size, "ours {own:?}, recorded {recorded:?}");
    // Only 3.6 and later know a version, and count live keys.
    let keys = if recorded.version.is_empty() { own.entries } else { own.total_key };
    ensure!(keys == recorded.total_key, "ours {own:?}, recorded {recorded:?}");
    Ok(true)
}

fn as_peers_say(fixture: &Fixture) -> Result<()> {
    let mut files: Vec<(PathBuf, &str)> =
        fixture.snapshot().into_iter().map(|path| (path, "snapshot")).collect();
    files.extend(fixture.data_dirs()?.iter().map(|dir| (dir.join("member/snap/db"), "db")));
    for (file, kind) in files {
        let place = || format!("on {}", file.display());
        status_equals_peers(&file, &[], kind).with_context(place)?;
        text_equals_peer(&file).with_context(place)?;
        let latest = ours::hashkv(&file, 0, &[])?;
        hashkv_equals_etcdutl(&file, latest).with_context(place)?;
    }
    Ok(())
}

fn saved_is_accepted(fixture: &Fixture, dir: &Path) -> Result<()> {
    for (number, data_dir) in fixture.data_dirs()?.iter().enumerate() {
        let out = dir.join(format!("saved-{number}.db"));
        let ran = ours::save(data_dir, &out, &[ours::NO_WAL])?;
        ensure!(ran.code == Some(0), "{ran}");
        peers::bbolt_check(&out)?;
        let db = data_dir.join("member/snap/db");
        for line in Line::ALL {
            let (of_saved, of_db) = (peers::status(line, &out)?, peers::status(line, &db)?);
            ensure!(of_saved == of_db, "{line}: {of_saved:?}, of the db {of_db:?}");
        }
        let again = dir.join(format!("again-{number}.db"));
        ours::succeed(&ours::save_args(&out, &again, &[]))?;
        ensure!(sha256(&again)? == sha256(&out)?, "saving a snapshot changes it");
    }
    Ok(())
}
