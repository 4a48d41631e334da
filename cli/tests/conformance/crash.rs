//! Members whose db lags far behind their log: loaded by several clients, killed in the middle.

use std::path::Path;
use std::sync::atomic::{AtomicBool, AtomicI64, AtomicU64, Ordering};
use std::time::{Duration, Instant};

use anyhow::{Context, Result, anyhow, ensure};
use fastrand::Rng;

use crate::admin::Admin;
use crate::gateway::Reply;
use crate::limited::Limited;
use crate::load::{Counts, ROOT_PASSWORD};
use crate::peers::Line;
use crate::server::{Member, Spec};
use crate::steward::Steward;
use crate::writer::Writer;

/// Connections that write; one more is a user of few rights, one administers.
const WRITERS: u64 = 3;

/// The backend commits when it must, and never because time has passed.
pub const LAZY: [&str; 2] = ["--backend-batch-interval=10h", "--backend-batch-limit=100000000"];

/// How a member is loaded and what is left of it.
#[derive(Clone, Debug)]
pub struct Plan {
    pub line: Line,
    pub seed: u64,
    /// Requests after which the member is killed, at some moment.
    pub requests: u64,
    /// Every kind of request must have been made before; and the db is as it was before the load, as
    /// if every write to it had been lost: then every kind is to be replayed.
    pub whole: bool,
    pub flags: Vec<String>,
}

impl Plan {
    /// A round of its own: some with snapfiles in the middle, some with tokens that grow stale.
    pub fn random(line: Line, seed: u64, dir: &Path) -> Result<Self> {
        let mut rng = Rng::with_seed(seed);
        let mut flags: Vec<String> = Vec::new();
        if rng.u32(..6) > 0 {
            flags.extend(LAZY.map(String::from));
        }
        if rng.u32(..3) == 0 {
            flags.push(format!("--snapshot-count={}", rng.u32(20..200)));
        }
        if rng.bool() {
            flags.extend(stale_tokens(dir)?);
        }
        let requests = rng.u64(60..600);
        Ok(Plan { line, seed, requests, whole: false, flags })
    }

    /// A round that shows every kind of request.
    pub fn whole(line: Line, seed: u64, dir: &Path) -> Result<Self> {
        let mut flags = stale_tokens(dir)?;
        flags.extend(LAZY.map(String::from));
        Ok(Plan { line, seed, requests: 400, whole: true, flags })
    }
}

/// Tokens that carry the revision of authentication they were given at.
fn stale_tokens(dir: &Path) -> Result<Vec<String>> {
    let path = dir.join("token.key");
    std::fs::write(&path, b"a key that signs the tokens of a test")?;
    let token = format!("jwt,priv-key={},sign-method=HS256,ttl=10h", path.display());
    Ok(vec!["--auth-token".into(), token])
}

/// What the threads of a load tell each other.
struct Shared {
    sent: AtomicU64,
    rounds: AtomicU64,
    killed: AtomicBool,
    revision: AtomicI64,
}

impl Shared {
    /// Goes on with `step` until it fails, which must be because the member was killed; slowly once
    /// `enough` requests were made.
    fn until_killed(&self, enough: u64, mut step: impl FnMut() -> Result<()>) -> Result<()> {
        let failure = loop {
            if self.sent.fetch_add(1, Ordering::Relaxed) > enough {
                // The others are not there yet.
                std::thread::sleep(Duration::from_millis(4));
            }
            if let Err(error) = step() {
                break error;
            }
        };
        let noticed = Instant::now();
        while noticed.elapsed() < Duration::from_secs(3) {
            if self.killed.load(Ordering::Relaxed) {
                return Ok(());
            }
            std::thread::sleep(Duration::from_millis(5));
        }
        Err(failure)
    }
}

/// Runs `plan` on `spec.data_dir`, new or not, and kills the member.
pub fn crash(spec: Spec, plan: &Plan, dir: &Path) -> Result<Counts> {
    let mut spec = spec;
    spec.extra.extend(plan.flags.iter().cloned());
    let member = Member::start(spec.clone())?;
    let early = dir.join("early.db");
    let db = spec.data_dir.join("member/snap/db");
    if plan.whole {
        // Nothing commits now: an idle member with a lazy backend.
        std::fs::copy(&db, &early)?;
    }
    let counts = load_and_kill(member, plan).with_context(|| format!("{plan:?}"))?;
    if plan.whole {
        std::fs::rename(&early, &db)?;
    }
    Ok(counts)
}

fn load_and_kill(member: Member, plan: &Plan) -> Result<Counts> {
    let shared = &Shared {
        sent: AtomicU64::new(0),
        rounds: AtomicU64::new(0),
        killed: AtomicBool::new(false),
        revision: AtomicI64::new(1),
    };
    let mut rng = Rng::with_seed(plan.seed ^ 0xdead);
    std::thread::scope(|scope| -> Result<Counts> {
        let mut threads = Vec::new();
        for number in 0..WRITERS {
            // Other leases for every round on the same dir.
            let number = number + plan.seed % 30 * WRITERS;
            let mut writer = Writer::new(member.gateway(), plan.seed, number, &shared.revision);
            let mut rng = rng.fork();
            threads.push(scope.spawn(move || {
                shared
                    .until_killed(plan.requests, || write(&mut writer, &mut rng))
                    .map(|()| writer.counts)
            }));
        }
        let mut limited =
            Limited { gateway: member.gateway(), rng: rng.fork(), counts: Counts::default() };
        threads.push(scope.spawn(move || {
            shared.until_killed(plan.requests, || limited.step().map(drop)).map(|()| limited.counts)
        }));
        let revision = &shared.revision;
        let admin = Admin { gateway: member.gateway(), counts: Counts::default(), revision };
        let peer_url = member.spec.peer_url.clone();
        let mut steward = Steward { admin, line: plan.line, peer_url, rng: rng.fork() };
        let whole = plan.whole;
        threads.push(scope.spawn(move || {
            let mut tidy = whole;
            let round = || {
                steward.round(tidy)?;
                tidy = false;
                shared.rounds.fetch_add(1, Ordering::Relaxed);
                Ok(())
            };
            shared.until_killed(u64::MAX, round).map(|()| steward.admin.counts)
        }));

        let start = Instant::now();
        let enough = || {
            shared.sent.load(Ordering::Relaxed) >= plan.requests
                && (!plan.whole || shared.rounds.load(Ordering::Relaxed) > 0)
        };
        while !enough() {
            let stuck = start.elapsed() > Duration::from_secs(60);
            if stuck || threads.iter().any(std::thread::ScopedJoinHandle::is_finished) {
                break;
            }
            std::thread::sleep(Duration::from_millis(1));
        }
        let in_time = enough();
        std::thread::sleep(Duration::from_micros(rng.u64(0..5_000)));
        // Told first: a connection may fail before `sigkill` returns.
        shared.killed.store(true, Ordering::Relaxed);
        member.sigkill()?;
        let mut counts = Counts::default();
        for thread in threads {
            counts.merge(thread.join().map_err(|_| anyhow!("a connection panicked"))??);
        }
        ensure!(in_time, "the load came to a halt: {counts:#?}");
        Ok(counts)
    })
}

/// One request; while authentication is on, sometimes as root.
fn write(writer: &mut Writer<'_>, rng: &mut Rng) -> Result<()> {
    let Reply::Refused(message) = writer.step()? else { return Ok(()) };
    let off = message.contains("authentication is not enabled");
    let worthless = ["token", "user name is empty", "revision in header"];
    if off || worthless.iter().any(|word| message.contains(word)) && rng.u32(..4) == 0 {
        writer.gateway.try_log_in("root", ROOT_PASSWORD)?;
    }
    Ok(())
}
