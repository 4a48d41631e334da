//! What clients were told, key by key, and what a data dir holds of it.
//!
//! A write counts as acknowledged when its answer came. A write without an answer may have happened
//! or not; its client never touches those keys again, so that nothing else is in doubt.

use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::fs::File;
use std::io::Read;
use std::path::{Path, PathBuf};

use anyhow::{Context, Result, bail, ensure};
use serde_json::Value;

use crate::facts::Kv;
use crate::files::names;
use crate::gateway::{bytes, int, text};
use crate::ours;

/// How every value of a client begins; what follows makes it unique.
pub const MARK: &[u8] = b"v~";

/// Length of the unique beginning of a value: `v~CCCC~NNNNNN~`.
const UNIQUE: usize = 14;

/// How far violations are listed.
const LISTED: usize = 8;

/// Live keys with their values and leases.
pub type Keys = BTreeMap<Vec<u8>, (Vec<u8>, i64)>;

/// The keys of clients among `kvs`.
pub fn keys(kvs: &[Kv]) -> Result<Keys> {
    let mut keys = Keys::new();
    for kv in kvs {
        let key = bytes(&kv.key)?;
        if key.first() == Some(&b'c') {
            keys.insert(key, (bytes(&kv.value)?, kv.lease));
        }
    }
    Ok(keys)
}

/// What a key is after a write.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum State {
    Gone,
    Put { value: Vec<u8>, lease: i64 },
}

impl State {
    fn of(found: Option<&(Vec<u8>, i64)>) -> Self {
        found.map_or(State::Gone, |(value, lease)| State::Put {
            value: value.clone(),
            lease: *lease,
        })
    }

    fn shown(&self) -> String {
        match self {
            State::Gone => "gone".to_owned(),
            State::Put { value, lease } => {
                format!("{} lease {lease:x}", unique(value).escape_ascii())
            }
        }
    }
}

fn unique(value: &[u8]) -> &[u8] {
    value.get(..UNIQUE).unwrap_or(value)
}

/// One write to one key.
#[derive(Clone, Debug)]
struct Step {
    /// The revision in the answer; `None` when no answer came.
    revision: Option<i64>,
    state: State,
}

/// The writes of clients that share no key.
#[derive(Clone, Debug, Default)]
pub struct Ledger {
    keys: BTreeMap<Vec<u8>, Vec<Step>>,
    acknowledged: u64,
    unanswered: u64,
}

/// Which acknowledged writes must be there.
#[derive(Clone, Copy, Debug)]
pub enum Floor<'a> {
    /// All of them.
    Everything,
    /// Those that one of these data dirs holds.
    HeldBy(&'a [&'a View]),
}

impl Ledger {
    /// The answer to a write came.
    pub fn acknowledge(&mut self, revision: i64, changes: Vec<(Vec<u8>, State)>) {
        for (key, state) in changes {
            // A deletion of what is not there makes no revision.
            if state != State::Gone || self.state(&key) != State::Gone {
                self.keys.entry(key).or_default().push(Step { revision: Some(revision), state });
            }
        }
        self.acknowledged += 1;
    }

    /// No answer to a write came: each of these states may be there now.
    pub fn leave_open(&mut self, changes: Vec<(Vec<u8>, State)>) {
        for (key, state) in changes {
            self.keys.entry(key).or_default().push(Step { revision: None, state });
        }
        self.unanswered += 1;
    }

    /// What the key is after its last write.
    pub fn state(&self, key: &[u8]) -> State {
        let last = self.keys.get(key).and_then(|steps| steps.last());
        last.map_or(State::Gone, |step| step.state.clone())
    }

    /// Takes the writes of another client in.
    pub fn merge(&mut self, other: Ledger) {
        self.keys.extend(other.keys);
        self.acknowledged += other.acknowledged;
        self.unanswered += other.unanswered;
    }

    /// What was told up to `revision`: later writes may be there or not.
    pub fn up_to(&self, revision: i64) -> Self {
        let mut ledger = self.clone();
        for step in ledger.keys.values_mut().flatten() {
            step.revision = step.revision.filter(|told| *told <= revision);
        }
        ledger
    }

    /// One line for a log.
    pub fn line(&self) -> String {
        format!(
            "{} writes acknowledged, {} without an answer, {} keys",
            self.acknowledged,
            self.unanswered,
            self.keys.len()
        )
    }

    /// How many acknowledged changes of a key `view` lacks.
    pub fn lacks(&self, view: &View) -> usize {
        let lacks = |(key, steps): (&Vec<u8>, &Vec<Step>)| {
            let held = newest_held(key, steps, &[view]).map_or(0, |at| at + 1);
            steps.iter().filter(|step| step.revision.is_some()).count() - held
        };
        self.keys.iter().map(lacks).sum()
    }

    /// Fails when an acknowledged write is in none of `views`: then the cluster itself lost it.
    pub fn ensure_held(&self, views: &[&View]) -> Result<()> {
        for (key, steps) in &self.keys {
            let told = steps.iter().filter(|step| step.revision.is_some()).count();
            let held = newest_held(key, steps, views).map_or(0, |at| at + 1);
            ensure!(
                held == told,
                "no data dir holds {}, acknowledged as {:?}",
                key.escape_ascii(),
                steps.get(told - 1).map(|step| (step.revision, step.state.shown()))
            );
        }
        Ok(())
    }

    /// Fails when `actual` lacks an acknowledged write that `floor` asks for, or has what no client wrote.
    pub fn check(&self, floor: Floor<'_>, actual: &Keys) -> Result<()> {
        let mut wrong = Vec::new();
        for (key, steps) in &self.keys {
            let newest = match floor {
                Floor::Everything => {
                    steps.iter().filter(|step| step.revision.is_some()).count().checked_sub(1)
                }
                Floor::HeldBy(views) => newest_held(key, steps, views),
            };
            let is = State::of(actual.get(key));
            let unwritten = newest.is_none() && is == State::Gone;
            let allowed = &steps[newest.unwrap_or(0)..];
            if !unwritten && allowed.iter().all(|step| step.state != is) {
                let told: Vec<String> = allowed
                    .iter()
                    .map(|step| match step.revision {
                        Some(revision) => format!("{} at revision {revision}", step.state.shown()),
                        None => format!("{} without an answer", step.state.shown()),
                    })
                    .collect();
                wrong.push(format!(
                    "{}: {}, acknowledged: {}",
                    key.escape_ascii(),
                    is.shown(),
                    told.join(", then ")
                ));
            }
        }
        for (key, (value, _)) in actual {
            if !self.keys.contains_key(key) {
                wrong.push(format!(
                    "{}: nobody wrote {}",
                    key.escape_ascii(),
                    unique(value).escape_ascii()
                ));
            }
        }
        if wrong.is_empty() {
            return Ok(());
        }
        let count = wrong.len();
        wrong.truncate(LISTED);
        bail!(
            "{count} of {} keys are not what was acknowledged:\n  {}",
            self.keys.len(),
            wrong.join("\n  ")
        )
    }
}

/// The place of the newest acknowledged step that one of `views` holds.
fn newest_held(key: &[u8], steps: &[Step], views: &[&View]) -> Option<usize> {
    let mut before = 0;
    let mut newest = None;
    for (at, step) in steps.iter().enumerate() {
        let Some(revision) = step.revision else { break };
        if views.iter().any(|view| view.holds(key, before, revision, &step.state)) {
            newest = Some(at);
        }
        before = revision;
    }
    newest
}

/// The revision and value of a record; `None` for a tombstone.
type Record = (i64, Option<Vec<u8>>);

/// What one data dir holds: as `etcdsnap` reads it alone, and the values that stand in its WAL.
#[derive(Clone, Debug)]
pub struct View {
    pub path: PathBuf,
    compact_revision: i64,
    pub keys: Keys,
    records: HashMap<Vec<u8>, Vec<Record>>,
    /// The unique beginnings of the values that the bytes of the WAL have, whoever reads them.
    logged: BTreeSet<Vec<u8>>,
}

impl View {
    /// Reads `data_dir`. The bytes of the newest segment are looked at up to `wal_end`.
    pub fn of(data_dir: &Path, wal_end: Option<u64>) -> Result<Self> {
        Self::read(data_dir, &["--commit", "all"], wal_end)
    }

    fn read(data_dir: &Path, more: &[&str], wal_end: Option<u64>) -> Result<Self> {
        let content = ours::content(data_dir, more)?;
        let status = ours::status(data_dir, more)?;
        let log = ours::succeed(&ours::words(&["log", "-w", "json"], data_dir, more))?;
        let mut records: HashMap<_, Vec<_>> = HashMap::new();
        for line in log.stdout_text().lines() {
            let change: Value = serde_json::from_str(line).with_context(|| line.to_owned())?;
            let value = match text(&change["type"]).as_str() {
                "put" => Some(bytes(&text(&change["valueBase64"]))?),
                "delete" => None,
                other => bail!("a change of type {other:?}: {line}"),
            };
            let key = bytes(&text(&change["keyBase64"]))?;
            records.entry(key).or_default().push((int(&change["revision"])?, value));
        }
        Ok(View {
            path: data_dir.to_owned(),
            compact_revision: status.compact_revision,
            keys: keys(&content.keys)?,
            records,
            logged: logged(&data_dir.join("member/wal"), wal_end)?,
        })
    }

    /// As [`View::of`], of a dir whose log was cut at `wal_end`. Where that is damage, the db and the bytes of the log
    /// count.
    pub fn torn(data_dir: &Path, wal_end: Option<u64>) -> Result<Self> {
        Self::of(data_dir, wal_end).or_else(|_| Self::read(data_dir, &[ours::NO_WAL], wal_end))
    }

    /// Whether the write of `state` to `key`, acknowledged at `revision`, is here. The key's write before it was
    /// acknowledged at `before`.
    fn holds(&self, key: &[u8], before: i64, revision: i64, state: &State) -> bool {
        if revision <= self.compact_revision {
            return true;
        }
        let records = self.records.get(key).map_or(&[][..], Vec::as_slice);
        match state {
            State::Put { value, .. } => {
                self.logged.contains(unique(value))
                    || records.iter().any(|(_, record)| record.as_ref() == Some(value))
            }
            // A revoke answers with the revision of the moment, which may be a later one.
            State::Gone => records
                .iter()
                .any(|(at, record)| record.is_none() && before < *at && *at <= revision),
        }
    }
}

/// The unique beginnings of values in the used part of the segments in `wal`.
fn logged(wal: &Path, wal_end: Option<u64>) -> Result<BTreeSet<Vec<u8>>> {
    let mut found = BTreeSet::new();
    let mut segments = names(wal)?;
    segments.retain(|name| name.ends_with(".wal"));
    ensure!(!segments.is_empty(), "no segment in {}", wal.display());
    let newest = segments.len() - 1;
    for (at, name) in segments.iter().enumerate() {
        let end = wal_end.filter(|_| at == newest);
        let used = used(&wal.join(name), end)?;
        let mut rest = used.as_slice();
        while let Some(at) = rest.windows(MARK.len()).position(|window| window == MARK) {
            found.extend(rest.get(at..at + UNIQUE).map(<[u8]>::to_vec));
            rest = &rest[at + MARK.len()..];
        }
    }
    Ok(found)
}

/// A segment up to `end` or to the zeros behind its last record: it was allocated in advance.
fn used(path: &Path, end: Option<u64>) -> Result<Vec<u8>> {
    const CHUNK: u64 = 1 << 16;
    let file = File::open(path).with_context(|| format!("opening {}", path.display()))?;
    let mut file = file.take(end.unwrap_or(u64::MAX));
    let mut all = Vec::new();
    loop {
        let start = all.len();
        file.by_ref().take(CHUNK).read_to_end(&mut all)?;
        if all[start..].iter().all(|byte| *byte == 0) {
            return Ok(all);
        }
    }
}
