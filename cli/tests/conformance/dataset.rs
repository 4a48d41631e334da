//! Data made by real servers for this run: one loaded member a line, shared by the tests.

use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, OnceLock};

use anyhow::{Context, Result, anyhow, ensure};
use serde_json::json;

use crate::facts::{Content, content, hashkv};
use crate::files::copy_tree;
use crate::gateway::key;
use crate::load::{ROOT_PASSWORD, leave_auth_on, load};
use crate::peers::{HashKv, Line, etcdctl};
use crate::server::{Member, Spec, free_url};

/// Requests of a full load; the promise is at least 3,000.
const OPERATIONS: u64 = 3_200;

/// One member's life: loaded, asked for everything, snapshotted while idle, SIGKILLed.
pub struct Dataset {
    pub line: Line,
    /// What the live server streamed.
    pub snapshot: PathBuf,
    /// The data dir as SIGKILL left it.
    pub data_dir: PathBuf,
    /// What the live server said just before.
    pub content: Content,
    /// Live HashKV at several revisions, the latest last.
    pub hashes: Vec<HashKv>,
    /// The address the member's ids were computed from.
    pub peer_url: String,
    /// Authentication was left on.
    pub auth: bool,
}

impl Dataset {
    /// The db file inside the data dir.
    pub fn db(&self) -> PathBuf {
        self.data_dir.join("member/snap/db")
    }

    pub fn latest(&self) -> HashKv {
        self.hashes[self.hashes.len() - 1]
    }
}

/// The seed of this run: from `ETCDSNAP_SEED`, else from the clock.
pub fn seed() -> u64 {
    static SEED: OnceLock<u64> = OnceLock::new();
    *SEED.get_or_init(|| match std::env::var("ETCDSNAP_SEED").map(|text| text.parse()) {
        Ok(Ok(seed)) => seed,
        _ => fastrand::u64(..u64::from(u32::MAX)),
    })
}

/// Data made once, by whichever test comes first.
pub type Slot<T> = OnceLock<Result<Arc<T>, String>>;

/// A full load on `line`.
pub fn loaded(line: Line) -> Result<Arc<Dataset>> {
    static SLOTS: [Slot<Dataset>; 4] = [const { OnceLock::new() }; 4];
    shared(&SLOTS[line as usize], || make(line, Kind::Loaded))
}

/// A full load on 3.6 with authentication left on.
pub fn with_auth() -> Result<Arc<Dataset>> {
    static SLOT: Slot<Dataset> = OnceLock::new();
    shared(&SLOT, || make(Line::V36, Kind::Auth))
}

/// A handful of keys: a snapshot small enough to break at every byte.
pub fn small() -> Result<Arc<Dataset>> {
    static SLOT: Slot<Dataset> = OnceLock::new();
    shared(&SLOT, || make(Line::V36, Kind::Small))
}

/// What is in `slot`, made by `make` when nobody has.
pub fn shared<T>(slot: &Slot<T>, make: impl FnOnce() -> Result<T>) -> Result<Arc<T>> {
    slot.get_or_init(|| make().map(Arc::new).map_err(|error| format!("{error:#}")))
        .clone()
        .map_err(|error| anyhow!("making the data: {error}"))
}

/// Where the data of this run lives, until [`clean_up`].
static ROOT: Mutex<Option<tempfile::TempDir>> = Mutex::new(None);

/// A directory for data that tests share.
pub fn new_dir(name: &str) -> Result<PathBuf> {
    let mut root = ROOT.lock().map_err(|_| anyhow!("another test panicked"))?;
    if root.is_none() {
        *root = Some(tempfile::Builder::new().prefix("etcdsnap-data-").tempdir()?);
    }
    let dir = root.as_ref().context("made above")?.path().join(name);
    std::fs::create_dir(&dir)?;
    Ok(dir)
}

/// Removes all data; to be called when the last test has ended.
pub fn clean_up() {
    if let Ok(mut root) = ROOT.lock() {
        *root = None;
    }
}

#[derive(Clone, Copy, PartialEq, Eq)]
enum Kind {
    Loaded,
    Auth,
    Small,
}

fn make(line: Line, kind: Kind) -> Result<Dataset> {
    let name = match kind {
        Kind::Loaded => "loaded",
        Kind::Auth => "auth",
        Kind::Small => "small",
    };
    let dir = new_dir(&format!("{name}-{}", line.tag()))?;
    let live = dir.join("live");
    let peer_url = free_url()?;
    let mut spec = Spec::single(line, &live, &peer_url);
    // Snapfiles and log compaction should happen inside the load.
    spec.extra = ["--snapshot-count", "1000"].map(String::from).to_vec();
    let member = Member::start(spec)?;
    if kind == Kind::Small {
        for n in 0..5 {
            let body = json!({"key": key(format!("key-{n}").as_bytes()), "value": key(&[n; 9])});
            member.gateway().call("kv/put", &body)?;
        }
    } else {
        let seed = seed().wrapping_add(line as u64);
        let counts = load(&member, seed, OPERATIONS)
            .with_context(|| format!("loading {line}, ETCDSNAP_SEED={}", self::seed()))?;
        eprintln!("conformance: {line} {name}, seed {}: {}", self::seed(), counts.line());
    }
    let mut gateway = member.gateway();
    if kind == Kind::Auth {
        leave_auth_on(member.gateway())?;
        gateway.log_in("root", ROOT_PASSWORD)?;
    }
    let content = content(&gateway)?;
    let hashes = live_hashes(&member, &gateway, content.revision)?;

    // Even asking writes: list requests of authentication go through the raft log.
    member.wait_until_idle(&gateway)?;
    let snapshot = dir.join("snapshot.db");
    let user = format!("root:{ROOT_PASSWORD}");
    let user = (kind == Kind::Auth).then_some(user.as_str());
    let args = ["snapshot".as_ref(), "save".as_ref(), snapshot.as_os_str()];
    etcdctl(line, &member.client_url, user, &args)?;
    member.sigkill()?;
    let data_dir = dir.join("data");
    copy_tree(&live, &data_dir)?;
    std::fs::remove_dir_all(&live)?;
    Ok(Dataset { line, snapshot, data_dir, content, hashes, peer_url, auth: kind == Kind::Auth })
}

/// HashKV at revisions spread between the compaction mark and the latest, which comes last.
fn live_hashes(
    member: &Member,
    gateway: &crate::gateway::Gateway,
    current: i64,
) -> Result<Vec<HashKv>> {
    let latest = hashkv(member.spec.line, &member.client_url, gateway, 0)?;
    ensure!(latest.hash_revision == current, "{latest:?} at revision {current}");
    let first = latest.compact_revision.max(1);
    let mut hashes = Vec::new();
    for eighth in [0, 1, 3, 5, 7] {
        let revision = first + (current - first) * eighth / 8;
        if revision == latest.compact_revision && member.spec.line == Line::V34 {
            // Early patches of 3.4 refuse the mark itself; later ones and etcdutl do not.
            continue;
        }
        let hash = hashkv(member.spec.line, &member.client_url, gateway, revision)?;
        // At the mark itself the server may answer from its cache, with an older mark.
        if hash.compact_revision == latest.compact_revision {
            hashes.push(hash);
        }
    }
    hashes.push(latest);
    Ok(hashes)
}

/// A fresh copy of a dataset's snapshot or db that a test may break.
pub fn copy_to(file: &Path, dir: &Path, name: &str) -> Result<PathBuf> {
    let to = dir.join(name);
    std::fs::copy(file, &to).with_context(|| format!("copying {}", file.display()))?;
    Ok(to)
}
