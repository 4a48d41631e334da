//! Real programs to compare with: where they are, and the questions we ask them.
//!
//! Some of them write into the file they are asked about (`etcdutl hashkv` commits
//! a transaction), so every question gets a copy of its own.

use std::ffi::OsStr;
use std::fmt;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::OnceLock;

use anyhow::{Context, Result, bail, ensure};
use serde::Deserialize;
use serde_json::Value;

use crate::restore_flags::RestoreFlags;
use crate::run::{Ran, run};

/// A minor release line of etcd.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Line {
    V34,
    V35,
    V36,
    V37,
}

impl Line {
    /// Every line the program supports, oldest first.
    pub const ALL: [Line; 4] = [Line::V34, Line::V35, Line::V36, Line::V37];

    /// The folder under `target/peers`.
    pub fn folder(self) -> &'static str {
        match self {
            Line::V34 => "etcd-3.4",
            Line::V35 => "etcd-3.5",
            Line::V36 => "etcd-3.6",
            Line::V37 => "etcd-3.7",
        }
    }

    /// The release that answers are compared with; for 3.4 any patch is taken.
    pub fn release(self) -> &'static str {
        match self {
            Line::V34 => "3.4.",
            Line::V35 => "3.5.35",
            Line::V36 => "3.6.16",
            Line::V37 => "3.7.3",
        }
    }

    /// Short form for test names.
    pub fn tag(self) -> &'static str {
        match self {
            Line::V34 => "34",
            Line::V35 => "35",
            Line::V36 => "36",
            Line::V37 => "37",
        }
    }
}

impl fmt::Display for Line {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.folder())
    }
}

/// The programs of one line.
#[derive(Clone, Debug)]
pub struct Programs {
    pub etcd: PathBuf,
    pub etcdctl: PathBuf,
    /// Where `snapshot status` and `snapshot restore` live: etcdctl in 3.4.
    pub etcdutl: PathBuf,
}

/// Everything that was found, or why not.
struct Found {
    lines: [Result<Programs, String>; 4],
    bbolt: Result<PathBuf, String>,
}

fn found() -> &'static Found {
    static FOUND: OnceLock<Found> = OnceLock::new();
    FOUND.get_or_init(|| Found { lines: Line::ALL.map(find_line), bbolt: find_bbolt() })
}

/// `target/peers` of the workspace, unless the environment names another place.
fn peers_dir() -> PathBuf {
    if let Some(dir) = std::env::var_os("ETCDSNAP_PEERS") {
        return dir.into();
    }
    // CARGO_TARGET_TMPDIR is `tmp` inside the target directory in use.
    Path::new(env!("CARGO_TARGET_TMPDIR")).parent().unwrap_or(Path::new("target")).join("peers")
}

fn find_line(line: Line) -> Result<Programs, String> {
    let dir = peers_dir().join(line.folder());
    if dir.join("etcd").is_file() {
        let tool = if line == Line::V34 { "etcdctl" } else { "etcdutl" };
        return checked(
            line,
            Programs {
                etcd: dir.join("etcd"),
                etcdctl: dir.join("etcdctl"),
                etcdutl: dir.join(tool),
            },
        );
    }
    if line == Line::V34 {
        let on_path = |name: &str| {
            std::env::var_os("PATH")
                .iter()
                .flat_map(std::env::split_paths)
                .map(|dir| dir.join(name))
                .find(|path| path.is_file())
        };
        if let (Some(etcd), Some(etcdctl)) = (on_path("etcd"), on_path("etcdctl")) {
            return checked(line, Programs { etcd, etcdutl: etcdctl.clone(), etcdctl });
        }
    }
    Err(format!("{line} is not in {} (testdata/peers/build makes it)", dir.display()))
}

/// A program of another release would answer other questions than the ones asked here.
fn checked(line: Line, programs: Programs) -> Result<Programs, String> {
    let ran =
        run(Command::new(&programs.etcd).arg("--version")).map_err(|error| format!("{error:#}"))?;
    let wanted = format!("etcd Version: {}", line.release());
    if ran.stdout_text().starts_with(&wanted) {
        return Ok(programs);
    }
    Err(format!(
        "{} is not {wanted} but {}",
        programs.etcd.display(),
        ran.stdout_text().lines().next().unwrap_or("silent")
    ))
}

fn find_bbolt() -> Result<PathBuf, String> {
    let path = peers_dir().join("bbolt/bbolt");
    if path.is_file() {
        Ok(path)
    } else {
        Err(format!("bbolt is not at {} (testdata/peers/build makes it)", path.display()))
    }
}

/// What a test cannot do without.
#[derive(Clone, Debug, Default)]
pub struct Needs {
    pub lines: Vec<Line>,
    pub bbolt: bool,
    pub fixtures: bool,
}

impl Needs {
    pub fn lines(lines: &[Line]) -> Self {
        Needs { lines: lines.to_vec(), ..Needs::default() }
    }

    pub fn and_bbolt(self) -> Self {
        Needs { bbolt: true, ..self }
    }

    pub fn and_fixtures(self) -> Self {
        Needs { fixtures: true, ..self }
    }

    /// The peers that are not here, as one sentence.
    pub fn missing_peers(&self) -> Option<String> {
        let lines = self.lines.iter().filter_map(|line| programs(*line).err());
        let bbolt = found().bbolt.as_ref().err().filter(|_| self.bbolt).cloned();
        let all: Vec<String> = lines.map(|error| error.to_string()).chain(bbolt).collect();
        (!all.is_empty()).then(|| all.join("; "))
    }
}

/// The programs of `line`.
pub fn programs(line: Line) -> Result<&'static Programs> {
    let [v34, v35, v36, v37] = &found().lines;
    let programs = match line {
        Line::V34 => v34,
        Line::V35 => v35,
        Line::V36 => v36,
        Line::V37 => v37,
    };
    programs.as_ref().map_err(|missing| anyhow::anyhow!("{missing}"))
}

/// What `snapshot status -w json` says.
#[derive(Clone, Debug, Deserialize, PartialEq, Eq)]
#[serde(rename_all = "camelCase")]
pub struct Status {
    pub hash: u32,
    pub revision: i64,
    /// Live keys from 3.6 on, pairs in all buckets before.
    pub total_key: u64,
    pub total_size: u64,
    /// Absent before 3.6.
    #[serde(default)]
    pub version: String,
}

/// A key space hash with what it covers; comparable only at equal revisions.
#[derive(Clone, Copy, Debug, Deserialize, PartialEq, Eq)]
#[serde(rename_all = "camelCase")]
pub struct HashKv {
    pub hash: u32,
    pub hash_revision: i64,
    /// −1 when the key space was never compacted.
    pub compact_revision: i64,
}

/// A copy of `file`, called `copy.db`, that a peer may do with as it likes; it lasts as long as
/// the guard.
pub fn own_copy(file: &Path) -> Result<tempfile::TempDir> {
    let dir = tempfile::tempdir()?;
    std::fs::copy(file, dir.path().join("copy.db"))
        .with_context(|| format!("copying {}", file.display()))?;
    Ok(dir)
}

/// Runs a tool of `line` on a copy of `file`, which takes the place of `"FILE"` in `args`.
pub fn ask(line: Line, file: &Path, args: &[&str]) -> Result<Ran> {
    let dir = own_copy(file)?;
    let copy = dir.path().join("copy.db");
    let args =
        args.iter().map(|arg| if *arg == "FILE" { copy.as_os_str() } else { OsStr::new(arg) });
    run(Command::new(&programs(line)?.etcdutl).env("ETCDCTL_API", "3").args(args))
}

/// `snapshot status` by the tool of `line`.
pub fn status(line: Line, file: &Path) -> Result<Status> {
    let ran = ask(line, file, &["snapshot", "status", "FILE", "-w", "json"])?;
    ensure!(ran.code == Some(0), "{line} snapshot status: {ran}");
    serde_json::from_str(&ran.stdout_text()).with_context(|| format!("{line}: {ran}"))
}

/// `hashkv` by etcdutl 3.7 (3.6's panics when a live key has a lease). Revision 0 is the latest.
pub fn hashkv(file: &Path, revision: i64) -> Result<HashKv> {
    let revision = revision.to_string();
    let ran = ask(Line::V37, file, &["hashkv", "FILE", "--rev", &revision, "-w", "json"])?;
    ensure!(ran.code == Some(0), "etcdutl hashkv --rev {revision}: {ran}");
    serde_json::from_str(&ran.stdout_text()).with_context(|| format!("etcdutl hashkv: {ran}"))
}

/// bbolt's own program.
pub fn bbolt() -> Result<&'static Path> {
    found().bbolt.as_deref().map_err(|missing| anyhow::anyhow!("{missing}"))
}

/// `bbolt check`: `Ok` when it finds nothing. It may print OK and crash afterwards.
pub fn bbolt_check(file: &Path) -> Result<()> {
    let dir = own_copy(file)?;
    let ran = run(Command::new(bbolt()?).arg("check").arg(dir.path().join("copy.db")))?;
    if ran.code == Some(0) && ran.stdout_text().trim() == "OK" {
        return Ok(());
    }
    bail!("bbolt check: {ran}")
}

/// `snapshot restore` by the tool of `line`.
pub fn restore(line: Line, snapshot: &Path, flags: &RestoreFlags) -> Result<Ran> {
    let dir = own_copy(snapshot)?;
    run(Command::new(&programs(line)?.etcdutl)
        .env("ETCDCTL_API", "3")
        .args(["snapshot", "restore"])
        .arg(dir.path().join("copy.db"))
        .args(flags.args()))
}

/// `etcdctl` of `line` against a live server, answering in JSON.
pub fn etcdctl(line: Line, endpoint: &str, user: Option<&str>, args: &[&OsStr]) -> Result<Value> {
    let mut command = Command::new(&programs(line)?.etcdctl);
    command.env("ETCDCTL_API", "3").args(["--endpoints", endpoint, "-w", "json"]);
    if let Some(user) = user {
        command.args(["--user", user]);
    }
    let ran = run(command.args(args))?;
    ensure!(ran.code == Some(0), "{line} etcdctl {args:?}: {ran}");
    // `snapshot save` answers with sentences whatever the format.
    Ok(serde_json::from_str(&ran.stdout_text()).unwrap_or(Value::Null))
}
