//! Killed before each of its steps, a restore, save or compaction leaves nothing or everything. The danger: half a
//! data dir under its final name, which a server would boot from, or a snapshot that was good yesterday and is gone.
//!
//! A child process does the work and ends itself without cleaning up right before step number N; what it leaves is
//! looked at for every N there is.

use std::{
    collections::BTreeMap,
    fs,
    io::Read as _,
    path::{Path, PathBuf},
    process::{Command, Stdio},
    sync::atomic::{AtomicUsize, Ordering},
};

use etcdsnap_engine::{
    bulk::ReadBack,
    limits::Limits,
    progress::{Progress, Step},
    restore::{Contents, Error, Options, Plan, Prepared, Target},
    rewrite::Rewrite,
    snapshot::{self, Form, Image},
    staging::remains,
};

use crate::members::databases;

/// Names the scene, the directory and the step for the child.
const SCENE: &str = "ETCDSNAP_TEST_SCENE";

/// What is done, and what stands there before.
#[derive(Clone, Copy, Debug)]
struct Scene {
    name: &'static str,
    /// Directories that exist.
    before: &'static [&'static str],
    /// What appears.
    targets: &'static [&'static str],
    /// How often a name is given: between two of them a kill leaves the first.
    renames: usize,
}

const SCENES: [Scene; 9] = [
    Scene { name: "one", before: &[], targets: &["deep/er/data"], renames: 1 },
    Scene { name: "one-in-empty", before: &["data"], targets: &["data/member"], renames: 1 },
    Scene { name: "wal-apart", before: &[], targets: &["wal", "data"], renames: 2 },
    Scene {
        name: "wal-in-empty",
        before: &["wal"],
        targets: &["wal/0000000000000000-0000000000000000.wal", "data"],
        renames: 2,
    },
    Scene { name: "all", before: &[], targets: &["root"], renames: 1 },
    Scene {
        name: "all-over-empty",
        before: &["root"],
        targets: &["root/a", "root/b", "root/c"],
        renames: 1,
    },
    Scene { name: "all-compacted", before: &[], targets: &["wals", "root"], renames: 2 },
    Scene { name: "save", before: &[], targets: &["out.db"], renames: 1 },
    Scene { name: "compact", before: &[], targets: &["out.db"], renames: 1 },
];

/// Ends the process before a step.
struct Kill {
    before: usize,
    steps: AtomicUsize,
}

impl Progress for Kill {
    fn begin(&self, _: &'static str, _: u64) {}
    fn advance(&self, _: u64) {}
    fn step(&self, _: Step, _: &Path) {
        if self.steps.fetch_add(1, Ordering::Relaxed) == self.before {
            std::process::abort();
        }
    }
    fn interrupted(&self) -> bool {
        false
    }
}

fn plan(scene: &str, dir: &Path) -> Result<Plan, Error> {
    let one = |data: &str, wal: Option<&str>| Target::One {
        name: "a".into(),
        initial_advertise_peer_urls: "http://h:1".into(),
        data_dir: dir.join(data),
        wal_dir: wal.map(|wal| dir.join(wal)),
    };
    let all = |wal: Option<&str>| Target::All {
        root: dir.join("root"),
        wal_root: wal.map(|wal| dir.join(wal)),
    };
    let target = match scene {
        "one" => one("deep/er/data", None),
        "one-in-empty" => one("data", None),
        "wal-apart" | "wal-in-empty" => one("data", Some("wal")),
        "all-compacted" => all(Some("wals")),
        _ => all(None),
    };
    Plan::new(&Options {
        initial_cluster: "a=http://h:1,b=http://h:2,c=http://h:3".into(),
        initial_cluster_token: "t".into(),
        target,
        contents: Contents { compact: scene == "all-compacted", ..Contents::default() },
        bump_revision: 0,
        mark_compacted: false,
        owner: None,
    })
}

/// Does the work of `scene` in `dir`.
fn work(
    scene: &str,
    dir: &Path,
    progress: &dyn Progress,
) -> Result<(), Box<dyn std::error::Error>> {
    let (_, bytes) = databases("clean-36").remove(0);
    let db = Image::split(&bytes).db(Limits::default())?;
    let out = dir.join("out.db");
    match scene {
        "save" => drop(
            snapshot::save_file(&db, None, &out, ReadBack::Ends, progress)?.publish(progress)?,
        ),
        "compact" => {
            let rewrite = Rewrite::new(db);
            snapshot::compact_file(&rewrite, Form::Snapshot, &out, ReadBack::All, progress)?
                .publish(progress)?;
        }
        _ => {
            let plan = plan(scene, dir)?;
            Prepared::new(&plan, &db, progress)?.write(progress)?.publish(progress)?;
        }
    }
    Ok(())
}

/// The child's part; nothing to do in a run of the tests.
#[test]
fn child() {
    let Ok(told) = std::env::var(SCENE) else { return };
    let mut words = told.splitn(3, ' ');
    let (scene, before, dir) = (words.next(), words.next(), words.next());
    let kill = Kill { before: before.unwrap().parse().unwrap(), steps: AtomicUsize::new(0) };
    work(scene.unwrap(), Path::new(dir.unwrap()), &kill).unwrap();
}

/// Runs the child up to step `before`; whether it came to its end.
fn run(scene: &str, before: usize, dir: &Path) -> bool {
    let child = Command::new(std::env::current_exe().unwrap())
        .args(["--exact", "stepwise::child"])
        .env(SCENE, format!("{scene} {before} {}", dir.display()))
        .stdout(Stdio::null())
        .stderr(Stdio::null())
        .status();
    child.unwrap().success()
}

/// Every file below `root`, its length and up to its first MiB: of a WAL segment the rest is zeros.
fn contents(root: &Path) -> BTreeMap<PathBuf, (u64, Vec<u8>)> {
    let mut found = BTreeMap::new();
    let mut pending = vec![root.to_path_buf()];
    while let Some(path) = pending.pop() {
        if path.is_dir() {
            pending.extend(fs::read_dir(&path).unwrap().map(|entry| entry.unwrap().path()));
        } else if path.exists() {
            let (file, mut bytes) = (fs::File::open(&path).unwrap(), Vec::new());
            (&file).take(1 << 20).read_to_end(&mut bytes).unwrap();
            let len = file.metadata().unwrap().len();
            found.insert(path.strip_prefix(root).unwrap().to_path_buf(), (len, bytes));
        }
    }
    found
}

fn prepared(scene: Scene) -> tempfile::TempDir {
    let dir = tempfile::tempdir().unwrap();
    for name in scene.before {
        fs::create_dir(dir.path().join(name)).unwrap();
    }
    if matches!(scene.name, "save" | "compact") {
        fs::write(dir.path().join("out.db"), "yesterday's").unwrap();
    }
    dir
}

#[test]
fn a_kill_before_any_step_leaves_nothing_or_everything() {
    for scene in SCENES {
        let whole = prepared(scene);
        assert!(run(scene.name, usize::MAX, whole.path()), "{}", scene.name);
        let wanted: Vec<_> =
            scene.targets.iter().map(|target| contents(&whole.path().join(target))).collect();
        assert!(wanted.iter().all(|files| !files.is_empty()), "{}", scene.name);
        let (mut step, mut halves, mut left) = (0, 0, 0);
        loop {
            let dir = prepared(scene);
            let before: Vec<_> =
                scene.targets.iter().map(|target| contents(&dir.path().join(target))).collect();
            if run(scene.name, step, dir.path()) {
                break;
            }
            let found: Vec<_> =
                scene.targets.iter().map(|target| contents(&dir.path().join(target))).collect();
            let is_new: Vec<bool> = found
                .iter()
                .zip(&wanted)
                .zip(&before)
                .map(|((found, wanted), before)| {
                    assert!(
                        found == wanted || found == before,
                        "{scene:?} step {step}: half of it"
                    );
                    found == wanted
                })
                .collect();
            // The last target is the one that counts: a WAL without its data dir boots nothing.
            assert!(is_new.is_sorted_by(|first, second| first >= second), "{scene:?} {is_new:?}");
            let some = is_new.iter().any(|new| *new) && !is_new.iter().all(|new| *new);
            halves += usize::from(some);
            // What is left beside the targets is named, and does not stand in the way of a second run.
            left += usize::from(names_remains(scene, dir.path()));
            if !some {
                assert!(run(scene.name, usize::MAX, dir.path()), "{scene:?} after step {step}");
                for (target, wanted) in scene.targets.iter().zip(&wanted) {
                    assert!(contents(&dir.path().join(target)) == *wanted, "{scene:?} {step}");
                }
            }
            step += 1;
        }
        assert_eq!(halves, scene.renames - 1, "{scene:?}: only between renames");
        assert!(step > 3 && left > 1, "{scene:?}: {step} steps, {left} left something");
    }
}

/// Whether anything with a temporary name is there; all of it must be found as remains.
fn names_remains(scene: Scene, dir: &Path) -> bool {
    let mut temporary = Vec::new();
    let mut pending = vec![dir.to_path_buf()];
    while let Some(path) = pending.pop() {
        for entry in fs::read_dir(&path).unwrap() {
            let path = entry.unwrap().path();
            if path.to_string_lossy().contains(".tmp-") {
                temporary.push(path);
            } else if path.is_dir() {
                pending.push(path);
            }
        }
    }
    let target = |name: &str| match scene.name {
        // One rename brings all three.
        "all-over-empty" => dir.join("root"),
        _ => dir.join(name),
    };
    let mut named: Vec<PathBuf> =
        scene.targets.iter().flat_map(|name| remains(&target(name))).collect();
    named.sort();
    named.dedup();
    temporary.sort();
    assert_eq!(named, temporary, "{scene:?}");
    !temporary.is_empty()
}
