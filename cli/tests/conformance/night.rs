//! A night: a cluster of real members, loaded by clients, that ends badly; and what is left in the
//! morning.

use std::path::Path;
use std::time::{Duration, Instant};

use anyhow::{Result, ensure};
use fastrand::Rng;
use serde_json::json;

use crate::clients::{Crowd, while_writing};
use crate::crash::LAZY;
use crate::facts;
use crate::files::names;
use crate::fleet::Fleet;
use crate::gateway::{Gateway, id, int, key};
use crate::ledger::{Keys, Ledger, keys};
use crate::peers::Line;
use crate::server::{Member, Spec};
use crate::suite::is_long;

/// How long a server may take to purge its log: it looks every 30 seconds.
const PURGED: Duration = Duration::from_secs(100);

/// How a cluster ends.
#[derive(Clone, Copy, Debug)]
pub enum End {
    /// All at one moment.
    Together,
    /// One after the other.
    Staggered,
    /// The leader first; the others elect another and go on.
    LeaderFirst,
    /// One does not run for a while and is behind when all are killed.
    Behind,
    /// A leader goes on alone and logs what nobody else has; the others then go on without it.
    Diverged,
    /// One was away for so long that the leader sends it a snapshot.
    Received,
}

const ENDS: [End; 6] =
    [End::Diverged, End::Together, End::Behind, End::LeaderFirst, End::Received, End::Staggered];

/// A night, before it happens.
#[derive(Clone, Debug)]
pub struct Plan {
    pub line: Line,
    pub size: usize,
    pub learner: bool,
    end: End,
    /// The members' logs no longer begin at entry 1.
    purged: bool,
    /// The members refuse writes for lack of space before they die.
    nospace: bool,
    /// The members have names that a shell must be told about.
    odd_names: bool,
    flags: Vec<String>,
    seed: u64,
}

impl Plan {
    pub fn random(line: Line, number: usize, rng: &mut Rng) -> Self {
        let end = ENDS[(number + line as usize) % ENDS.len()];
        let (size, learner) = match number % 5 {
            3 if is_long() => (5, false),
            4 if is_long() => (3, true),
            _ => (3, false),
        };
        let mut flags = Vec::new();
        if rng.u32(..3) == 0 {
            flags.extend(LAZY.map(String::from));
        }
        let received = matches!(end, End::Received);
        let purged = is_long() && number % 12 == 7;
        if purged {
            flags.extend(["--max-wals=1", "--max-snapshots=1"].map(String::from));
        }
        if received || purged || rng.u32(..2) == 0 {
            flags.push(format!("--snapshot-count={}", rng.u32(10..60)));
            match line {
                // 3.4 keeps 5,000 entries for members that are behind, whatever it is told.
                Line::V34 => {}
                Line::V35 => flags.push("--experimental-snapshot-catchup-entries=5".into()),
                Line::V36 | Line::V37 => flags.push("--snapshot-catchup-entries=5".into()),
            }
        }
        // Without a majority nobody can say that there is no space.
        let nospace = !matches!(end, End::Staggered) && rng.u32(..5) == 0;
        let (odd_names, seed) = (rng.u32(..4) == 0, rng.u64(..1 << 32));
        Plan { line, size, learner, end, purged, nospace, odd_names, flags, seed }
    }
}

impl Plan {
    /// A few words for a log.
    pub fn title(&self) -> String {
        let mut title = format!("{:?}", self.end);
        let marks =
            [(self.learner, "learner"), (self.purged, "purged"), (self.nospace, "no space")];
        for (_, mark) in marks.iter().filter(|(is, _)| *is) {
            title += &format!(", {mark},");
        }
        title
    }

    fn names(&self) -> Vec<String> {
        let name = |n| if self.odd_names { format!("n '{n}' $x") } else { format!("n{n}") };
        (1..=self.size).map(name).collect()
    }
}

/// What is left in the morning.
pub struct Morning {
    pub specs: Vec<Spec>,
    pub client_urls: Vec<String>,
    /// How many of the first members vote; who follows is a learner.
    pub voters: usize,
    /// The cluster refuses writes until its alarm is cleared.
    pub nospace: bool,
    pub ledger: Ledger,
}

impl From<(Fleet, Ledger)> for Morning {
    /// All members vote, and nothing is special.
    fn from((fleet, ledger): (Fleet, Ledger)) -> Self {
        Morning {
            voters: fleet.specs.len(),
            nospace: false,
            ledger,
            client_urls: fleet.client_urls,
            specs: fleet.specs,
        }
    }
}

impl Morning {
    pub fn dir(&self, member: usize) -> &Path {
        &self.specs[member].data_dir
    }

    pub fn has_majority(&self, given: &[usize]) -> bool {
        given.iter().filter(|n| **n < self.voters).count() > self.voters / 2
    }
}

/// What happens before the last members are killed.
fn end(
    plan: &Plan,
    fleet: &mut Fleet,
    crowd: &Crowd,
    rng: &mut Rng,
    leader: usize,
    followers: &[usize],
) -> Result<()> {
    match plan.end {
        End::Together => {}
        End::Staggered => {
            let mut order = fleet.running();
            rng.shuffle(&mut order);
            order.pop();
            for n in order {
                fleet.kill(n)?;
                std::thread::sleep(Duration::from_millis(rng.u64(..200)));
            }
        }
        End::LeaderFirst => {
            fleet.kill(leader)?;
            crowd.send_to(fleet.urls(followers));
            crowd.wait_for(rng.u64(20..150))?;
        }
        End::Behind => {
            let behind = if rng.bool() { followers[0] } else { leader };
            fleet.freeze(behind)?;
            let others: Vec<usize> = (0..plan.size).filter(|n| *n != behind).collect();
            crowd.send_to(fleet.urls(&others));
            crowd.wait_for(rng.u64(20..150))?;
            if rng.u32(..4) == 0 {
                fleet.thaw(behind)?;
                std::thread::sleep(Duration::from_millis(rng.u64(..30)));
            }
        }
        End::Diverged => {
            diverge(fleet, crowd, rng, leader, followers)?;
            if rng.bool() {
                // Once more: now another one leads alone, and the first one's end is overruled.
                let next = fleet.leader()?;
                let others: Vec<usize> = (0..plan.size).filter(|n| *n != next).collect();
                diverge(fleet, crowd, rng, next, &others)?;
            }
        }
        End::Received => {
            let away = followers[0];
            fleet.kill(away)?;
            crowd.send_to(fleet.urls(&[leader, followers[1]]));
            crowd.wait_for(rng.u64(100..160))?;
            fleet.spawn(away)?;
            std::thread::sleep(Duration::from_millis(rng.u64(200..1500)));
        }
    }
    Ok(())
}

/// `leader` goes on alone, logs what nobody acknowledges, and dies; `others` go on without it.
fn diverge(
    fleet: &mut Fleet,
    crowd: &Crowd,
    rng: &mut Rng,
    leader: usize,
    others: &[usize],
) -> Result<()> {
    for n in fleet.running().into_iter().filter(|n| others.contains(n)) {
        fleet.kill(n)?;
    }
    crowd.send_to(fleet.urls(&[leader]));
    crowd.wait_for_sent(rng.u64(5..25))?;
    fleet.kill(leader)?;
    crowd.send_to(fleet.urls(others));
    fleet.start_again(others)?;
    crowd.wait_for(rng.u64(1..60))
}

/// From here on the members refuse every write that takes space.
fn raise_nospace(fleet: &Fleet) -> Result<()> {
    let gateway = fleet.gateway(fleet.leader()?);
    let status = gateway.call("maintenance/status", &json!({}))?;
    let own = id(&status["header"]["member_id"])?.to_string();
    let alarm = json!({"action": "ACTIVATE", "memberID": own, "alarm": "NOSPACE"});
    gateway.call("maintenance/alarm", &alarm).map(drop)
}

/// Writes until the servers have removed the beginning of their logs.
fn purge(fleet: &Fleet) -> Result<()> {
    /// Segments are of 64 MB.
    const WRITES: u32 = 220;
    let leader = fleet.gateway(fleet.leader()?);
    let value = key(&vec![b'x'; 900_000]);
    for n in 0..WRITES {
        let name = format!("big-{}", n % 3);
        let answer =
            leader.call("kv/put", &json!({"key": key(name.as_bytes()), "value": value}))?;
        if n % 20 == 19 {
            let revision = int(&answer["header"]["revision"])?;
            leader.call("kv/compaction", &json!({"revision": revision.to_string()}))?;
        }
    }
    let start = Instant::now();
    for spec in &fleet.specs {
        let wal = spec.data_dir.join("member/wal");
        while names(&wal)?.iter().any(|name| name.starts_with("0000000000000000-")) {
            ensure!(start.elapsed() < PURGED, "{} is not purged", wal.display());
            std::thread::sleep(Duration::from_millis(200));
        }
    }
    Ok(())
}

/// Lives through `plan` in `dir`.
pub fn night(plan: &Plan, dir: &Path) -> Result<Morning> {
    let mut rng = Rng::with_seed(plan.seed);
    let mut fleet = Fleet::start_named(plan.line, dir, &plan.names(), &plan.flags)?;
    if plan.learner {
        fleet.add_learner(plan.line, dir)?;
    }
    if plan.purged {
        purge(&fleet)?;
    }
    let endpoints = fleet.urls(&(0..plan.size).collect::<Vec<_>>());
    let ledger = while_writing(endpoints, plan.seed, |crowd| {
        crowd.wait_for(rng.u64(60..300))?;
        let leader = fleet.leader()?;
        let mut followers: Vec<usize> = (0..plan.size).filter(|n| *n != leader).collect();
        rng.shuffle(&mut followers);
        end(plan, &mut fleet, crowd, &mut rng, leader, &followers)?;
        if plan.nospace {
            raise_nospace(&fleet)?;
        }
        fleet.kill_all()
    })?;
    Ok(Morning { voters: plan.size, nospace: plan.nospace, ..Morning::from((fleet, ledger)) })
}

pub fn named(given: &[usize]) -> String {
    given.iter().map(|n| format!("n{}", n + 1)).collect::<Vec<_>>().join(" ")
}

/// Starts members on their own files, with their own flags and addresses.
pub fn started(morning: &Morning, given: &[usize]) -> Result<Vec<Member>> {
    let spawn =
        |n: &usize| Member::spawn_at(morning.specs[*n].clone(), morning.client_urls[*n].clone());
    let mut members = given.iter().map(spawn).collect::<Result<Vec<_>>>()?;
    members.iter_mut().try_for_each(Member::wait_until_healthy)?;
    // A learner answers no client.
    members.retain(|member| {
        morning.specs[..morning.voters].iter().any(|spec| spec.name == member.spec.name)
    });
    Ok(members)
}

/// The clients' keys, as a member serves them.
pub fn served(gateway: &Gateway) -> Result<Keys> {
    keys(&facts::keys_at(gateway, 0)?.1)
}
