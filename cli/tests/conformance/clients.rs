//! Clients of a cluster that is about to die: each writes keys of its own and enters every answer
//! into its ledger.

use std::sync::Mutex;
use std::sync::atomic::{AtomicBool, AtomicI64, AtomicU64, Ordering};
use std::time::{Duration, Instant};

use anyhow::{Result, anyhow, bail};
use fastrand::Rng;
use serde_json::{Value, json};

use crate::gateway::{Gateway, Reply, int, key};
use crate::ledger::{Ledger, State};

/// How many clients write.
const CLIENTS: u64 = 4;

/// How long a client waits for an answer before it goes elsewhere.
const TIMEOUT: Duration = Duration::from_millis(400);

/// How long a cluster may take to acknowledge what is waited for.
const PATIENCE: Duration = Duration::from_secs(60);

/// Nothing expires while a test runs.
const TTL_SECONDS: i64 = 90_000;

/// Keys that a client writes before it may begin a new group.
const GROUP: u64 = 12;

/// What clients and the test tell each other.
pub struct Crowd {
    endpoints: Mutex<Vec<String>>,
    stop: AtomicBool,
    paused: AtomicBool,
    acknowledged: AtomicU64,
    sent: AtomicU64,
    /// The newest revision that was acknowledged.
    revision: AtomicI64,
}

impl Crowd {
    fn endpoints(&self) -> Vec<String> {
        self.endpoints.lock().map(|urls| urls.clone()).unwrap_or_default()
    }

    /// From now on clients that look for a member choose among these.
    pub fn send_to(&self, endpoints: Vec<String>) {
        if let Ok(mut urls) = self.endpoints.lock() {
            *urls = endpoints;
        }
    }

    /// The newest revision that was acknowledged.
    pub fn newest(&self) -> i64 {
        self.revision.load(Ordering::Relaxed)
    }

    /// From now on nobody writes.
    pub fn pause(&self) {
        self.paused.store(true, Ordering::Relaxed);
    }

    /// Waits until `count` more writes are acknowledged.
    pub fn wait_for(&self, count: u64) -> Result<()> {
        self.wait(&self.acknowledged, count, "acknowledged")
    }

    /// Waits until `count` more writes were sent, whatever became of them.
    pub fn wait_for_sent(&self, count: u64) -> Result<()> {
        self.wait(&self.sent, count, "sent")
    }

    fn wait(&self, counter: &AtomicU64, count: u64, what: &str) -> Result<()> {
        let (start, from) = (Instant::now(), counter.load(Ordering::Relaxed));
        while counter.load(Ordering::Relaxed) < from + count {
            if start.elapsed() > PATIENCE {
                let got = counter.load(Ordering::Relaxed) - from;
                bail!("only {got} of {count} writes were {what} in {PATIENCE:?}");
            }
            std::thread::sleep(Duration::from_millis(2));
        }
        Ok(())
    }
}

/// Runs clients against `endpoints` while `events` goes on, and returns what they were told.
pub fn while_writing(
    endpoints: Vec<String>,
    seed: u64,
    events: impl FnOnce(&Crowd) -> Result<()>,
) -> Result<Ledger> {
    let crowd = &Crowd {
        endpoints: Mutex::new(endpoints),
        stop: AtomicBool::new(false),
        paused: AtomicBool::new(false),
        acknowledged: AtomicU64::new(0),
        sent: AtomicU64::new(0),
        revision: AtomicI64::new(1),
    };
    std::thread::scope(|scope| {
        let clients: Vec<_> = (0..CLIENTS)
            .map(|number| scope.spawn(move || Client::new(number, seed, crowd).run()))
            .collect();
        let outcome = events(crowd);
        crowd.stop.store(true, Ordering::Relaxed);
        let mut ledger = Ledger::default();
        for client in clients {
            ledger.merge(client.join().map_err(|_| anyhow!("a client panicked"))?);
        }
        outcome.map(|()| ledger)
    })
}

type Changes = Vec<(Vec<u8>, State)>;

/// A write, and what it makes of keys.
struct Write {
    path: &'static str,
    body: Value,
    /// Changes when it is done; of a transaction, when it succeeds.
    changes: Changes,
    /// Changes of a transaction that does not succeed.
    otherwise: Changes,
}

struct Client<'a> {
    number: u64,
    rng: Rng,
    crowd: &'a Crowd,
    gateway: Option<Gateway>,
    ledger: Ledger,
    group: u64,
    /// Writes in this group.
    in_group: u64,
    /// Leases that were granted for this group.
    leases: Vec<i64>,
    /// Values and leases so far.
    made: u64,
}

impl<'a> Client<'a> {
    fn new(number: u64, seed: u64, crowd: &'a Crowd) -> Self {
        Client {
            number,
            rng: Rng::with_seed(seed.wrapping_mul(59).wrapping_add(number)),
            crowd,
            gateway: None,
            ledger: Ledger::default(),
            group: 0,
            in_group: 0,
            leases: Vec::new(),
            made: 0,
        }
    }

    fn run(mut self) -> Ledger {
        while !self.crowd.stop.load(Ordering::Relaxed) {
            self.step();
        }
        self.ledger
    }

    fn step(&mut self) {
        if self.crowd.paused.load(Ordering::Relaxed) {
            return std::thread::sleep(Duration::from_millis(5));
        }
        if self.gateway.is_none() {
            let endpoints = self.crowd.endpoints();
            let Some(url) = self.rng.choice(&endpoints) else {
                std::thread::sleep(Duration::from_millis(5));
                return;
            };
            self.gateway = Some(Gateway::with_timeout(url, TIMEOUT));
        }
        match self.rng.u32(0..100) {
            0..3 => self.compact(),
            3..10 => self.grant(),
            10..15 if self.in_group > GROUP => self.begin_group(),
            _ => {
                let write = self.write();
                self.send(write);
            }
        }
    }

    fn ask(&mut self, path: &str, body: &Value) -> Option<Value> {
        let reply = self.gateway.as_ref().and_then(|gateway| gateway.send(path, body).ok());
        match reply {
            Some(Reply::Done(answer)) => Some(answer),
            _ => None,
        }
    }

    /// Everything at a member that does not answer, or answers that it cannot, is left alone from here on.
    fn give_up(&mut self) {
        self.gateway = None;
        self.begin_group();
        std::thread::sleep(Duration::from_millis(self.rng.u64(1..15)));
    }

    fn begin_group(&mut self) {
        self.group += 1;
        self.in_group = 0;
        self.leases.clear();
    }

    fn compact(&mut self) {
        // A revision that is known to be committed, so that whoever holds the request holds its history too.
        let newest = self.crowd.revision.load(Ordering::Relaxed);
        let revision = newest - self.rng.i64(0..60);
        if revision > 1 {
            // A refusal says that another client compacted further.
            self.ask("kv/compaction", &json!({"revision": revision.to_string()}));
        }
    }

    fn grant(&mut self) {
        let id = self.new_lease();
        match self.ask("lease/grant", &json!({"TTL": TTL_SECONDS, "ID": id.to_string()})) {
            Some(_) => self.leases.push(id),
            None => self.give_up(),
        }
    }

    fn send(&mut self, write: Write) {
        self.in_group += 1;
        self.crowd.sent.fetch_add(1, Ordering::Relaxed);
        let answer = self.ask(write.path, &write.body);
        let revision = answer.as_ref().map(|answer| int(&answer["header"]["revision"]));
        let (Some(answer), Some(Ok(revision))) = (answer, revision) else {
            self.ledger.leave_open([write.changes, write.otherwise].concat());
            return self.give_up();
        };
        let failed = write.path == "kv/txn" && answer["succeeded"] != json!(true);
        self.ledger.acknowledge(revision, if failed { write.otherwise } else { write.changes });
        self.crowd.revision.fetch_max(revision, Ordering::Relaxed);
        self.crowd.acknowledged.fetch_add(1, Ordering::Relaxed);
    }

    fn write(&mut self) -> Write {
        match self.rng.u32(0..100) {
            0..50 => self.put(),
            50..65 => self.delete(),
            65..69 => self.delete_group(),
            69..72 if self.leases.len() > 1 => self.revoke(),
            _ => self.txn(),
        }
    }

    fn put(&mut self) -> Write {
        let (name, state) = (self.key(), self.value(true));
        Write {
            path: "kv/put",
            body: put_body(&name, &state),
            changes: vec![(name, state)],
            otherwise: Vec::new(),
        }
    }

    fn delete(&mut self) -> Write {
        let name = self.key();
        Write {
            path: "kv/deleterange",
            body: json!({"key": key(&name)}),
            changes: vec![(name, State::Gone)],
            otherwise: Vec::new(),
        }
    }

    fn delete_group(&mut self) -> Write {
        let prefix = self.prefix();
        let end = format!("{}0", &prefix[..prefix.len() - 1]);
        let changes = (0..GROUP).map(|n| (self.named(n), State::Gone)).collect();
        Write {
            path: "kv/deleterange",
            body: json!({"key": key(prefix.as_bytes()), "range_end": key(end.as_bytes())}),
            changes,
            otherwise: Vec::new(),
        }
    }

    /// A revoke deletes the keys of its lease.
    fn revoke(&mut self) -> Write {
        let id = self.leases.remove(self.rng.usize(..self.leases.len()));
        let attached = |name: &Vec<u8>| matches!(self.ledger.state(name), State::Put { lease, .. } if lease == id);
        let names = (0..GROUP).map(|n| self.named(n)).filter(attached);
        let changes = names.map(|name| (name, State::Gone)).collect();
        Write {
            path: "lease/revoke",
            body: json!({"ID": id.to_string()}),
            changes,
            otherwise: Vec::new(),
        }
    }

    fn txn(&mut self) -> Write {
        let mut names: Vec<u64> = (0..GROUP).collect();
        self.rng.shuffle(&mut names);
        let [a, b, c] = [0, 1, 2].map(|at| self.named(names[at]));
        let (first, second, third) = (self.value(true), self.value(false), self.value(true));
        let request = |name: &[u8], state: &State| json!({"request_put": put_body(name, state)});
        let body = json!({
            "compare": [{"key": key(&a), "target": "VERSION", "result": "GREATER", "version": "0"}],
            "success": [
                request(&a, &first),
                {"request_delete_range": {"key": key(&b)}},
                request(&c, &second),
            ],
            "failure": [request(&b, &third)],
        });
        Write {
            path: "kv/txn",
            body,
            changes: vec![(a, first), (b.clone(), State::Gone), (c, second)],
            otherwise: vec![(b, third)],
        }
    }

    fn prefix(&self) -> String {
        format!("c{:04}/g{:05}/", self.number, self.group)
    }

    fn named(&self, n: u64) -> Vec<u8> {
        format!("{}k{n:02}", self.prefix()).into_bytes()
    }

    fn key(&mut self) -> Vec<u8> {
        let n = self.rng.u64(..GROUP);
        self.named(n)
    }

    /// A new value; of some, with a lease.
    fn value(&mut self, with_lease: bool) -> State {
        self.made += 1;
        let len = if self.rng.u32(..40) == 0 { 6_000 } else { self.rng.usize(..120) };
        let value = format!("v~{:04}~{:06}~{}", self.number, self.made, "x".repeat(len));
        let lease = if with_lease && self.rng.u32(..4) == 0 {
            self.rng.choice(&self.leases).copied().unwrap_or_default()
        } else {
            0
        };
        State::Put { value: value.into_bytes(), lease }
    }

    fn new_lease(&mut self) -> i64 {
        self.made += 1;
        ((self.number as i64 + 1) << 40) + self.made as i64
    }
}

fn put_body(name: &[u8], state: &State) -> Value {
    let State::Put { value, lease } = state else { return Value::Null };
    let mut body = json!({"key": key(name), "value": key(value)});
    if *lease != 0 {
        body["lease"] = json!(lease.to_string());
    }
    body
}
