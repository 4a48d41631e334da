//! Random operations of every kind against a live member, over several connections.
//!
//! Each connection draws from its own generator, seeded from the run's seed; what
//! interleaves with what is up to the server.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::atomic::{AtomicI64, Ordering};

use anyhow::{Context, Result, ensure};
use fastrand::Rng;
use serde_json::{Value, json};

use crate::gateway::{Gateway, Reply, id, int, key, list};
use crate::server::{Member, free_url};

/// Connections that write keys; one more does the rarer administrative requests.
const WRITERS: u64 = 4;

/// Lease lifetimes are far beyond any test's: nothing may expire while we compare.
const TTL_SECONDS: i64 = 90_000;

/// Each of these must have succeeded at least once in a full load.
const KINDS: [&str; 38] = [
    "put",
    "put empty",
    "put large",
    "put with lease",
    "put ignore_value",
    "put ignore_lease",
    "put prev_kv",
    "range",
    "range prefix",
    "range at revision",
    "delete",
    "delete range",
    "delete prev_kv",
    "txn",
    "txn range compare",
    "txn nested",
    "compaction",
    "lease grant",
    "lease revoke",
    "lease keepalive",
    "lease time to live",
    "alarm activate",
    "alarm deactivate",
    "user add",
    "user add without password",
    "user change password",
    "user grant role",
    "user revoke role",
    "user delete",
    "role add",
    "role grant permission",
    "role revoke permission",
    "role delete",
    "member add learner",
    "member update",
    "member remove",
    "auth enable",
    "auth disable",
];

/// How often each kind was done and refused, and the refusals' messages.
#[derive(Debug, Default)]
pub struct Counts {
    done: BTreeMap<&'static str, u64>,
    refused: BTreeMap<&'static str, u64>,
    messages: BTreeSet<String>,
}

impl Counts {
    fn add(&mut self, kind: &'static str, reply: &Reply) {
        match reply {
            Reply::Done(_) => *self.done.entry(kind).or_default() += 1,
            Reply::Refused(message) => {
                *self.refused.entry(kind).or_default() += 1;
                self.messages.insert(format!("{kind}: {message}"));
            }
        }
    }

    fn merge(&mut self, other: Counts) {
        for (kind, count) in other.done {
            *self.done.entry(kind).or_default() += count;
        }
        for (kind, count) in other.refused {
            *self.refused.entry(kind).or_default() += count;
        }
        self.messages.extend(other.messages);
    }

    fn total(&self) -> u64 {
        self.done.values().chain(self.refused.values()).sum()
    }

    /// One line: every kind with its count, refusals behind a slash.
    pub fn line(&self) -> String {
        let one = |kind: &&str| {
            let done = self.done.get(kind).copied().unwrap_or_default();
            match self.refused.get(kind) {
                Some(refused) => format!("{kind} {done}/{refused}"),
                None => format!("{kind} {done}"),
            }
        };
        let kinds: Vec<String> = KINDS.iter().map(one).collect();
        format!("{} operations: {}", self.total(), kinds.join(", "))
    }
}

/// Sends at least `operations` requests and counts them.
pub fn load(member: &Member, seed: u64, operations: u64) -> Result<Counts> {
    let revision = AtomicI64::new(1);
    let mut counts = std::thread::scope(|scope| -> Result<Counts> {
        let revision = &revision;
        let each = operations.div_ceil(WRITERS);
        let writers: Vec<_> = (0..WRITERS)
            .map(|number| {
                let mut writer = Writer::new(member.gateway(), seed, number, revision);
                scope.spawn(move || writer.run(each).map(|()| writer.counts))
            })
            .collect();
        let mut admin = Admin { gateway: member.gateway(), counts: Counts::default(), revision };
        admin.run(member, each)?;
        let mut counts = admin.counts;
        for writer in writers {
            counts.merge(writer.join().map_err(|_| anyhow::anyhow!("a connection panicked"))??);
        }
        Ok(counts)
    })?;
    let mut admin =
        Admin { gateway: member.gateway(), counts: Counts::default(), revision: &revision };
    admin.auth_on()?;
    admin.auth_off()?;
    counts.merge(admin.counts);

    for kind in KINDS {
        ensure!(counts.done.get(kind) > Some(&0), "no {kind} succeeded: {counts:#?}");
    }
    ensure!(counts.total() >= operations, "only {} operations", counts.total());
    Ok(counts)
}

/// Turns authentication on: `root`/`root-password` and the users the load made.
pub fn leave_auth_on(gateway: Gateway) -> Result<()> {
    let revision = AtomicI64::new(1);
    Admin { gateway, counts: Counts::default(), revision: &revision }.auth_on()
}

/// Password of `root` once [`leave_auth_on`] ran.
pub const ROOT_PASSWORD: &str = "root-password";

/// A connection that reads and writes keys and leases.
struct Writer<'a> {
    gateway: Gateway,
    rng: Rng,
    keys: Vec<Vec<u8>>,
    /// Ids of the leases this connection granted and did not revoke.
    leases: Vec<i64>,
    next_lease: i64,
    revision: &'a AtomicI64,
    counts: Counts,
}

impl<'a> Writer<'a> {
    fn new(gateway: Gateway, seed: u64, number: u64, revision: &'a AtomicI64) -> Self {
        // All connections share one set of keys, so that they meet on them.
        let mut shared = Rng::with_seed(seed);
        let mut keys: Vec<Vec<u8>> =
            (0..200).map(|n| format!("app/{}/key-{n:03}", n % 7).into_bytes()).collect();
        keys.extend((0..40).map(|_| {
            let len = shared.usize(1..40);
            std::iter::repeat_with(|| shared.u8(..)).take(len).collect::<Vec<u8>>()
        }));
        keys.extend([vec![0], vec![0, 0], vec![0xff], b"t".to_vec(), b"<&>\"\\\n".to_vec()]);
        Writer {
            gateway,
            rng: Rng::with_seed(seed.wrapping_mul(31).wrapping_add(number + 1)),
            keys,
            leases: Vec::new(),
            next_lease: 1 + number as i64 * 0x0100_0000_0000_0001,
            revision,
            counts: Counts::default(),
        }
    }

    fn run(&mut self, operations: u64) -> Result<()> {
        for _ in 0..operations {
            let (kind, path, body) = self.operation();
            let reply = self.gateway.send(path, &body).with_context(|| format!("{kind} {body}"))?;
            self.counts.add(kind, &reply);
            if let Reply::Done(answer) = &reply {
                let seen = int(&answer["header"]["revision"])?;
                self.revision.fetch_max(seen, Ordering::Relaxed);
                if kind == "lease grant" {
                    self.leases.push(int(&answer["ID"])?);
                }
            }
        }
        Ok(())
    }

    fn operation(&mut self) -> (&'static str, &'static str, Value) {
        let one = key(&self.key());
        match self.rng.u32(0..1000) {
            0..330 => ("put", "kv/put", json!({"key": one, "value": self.value(1, 300)})),
            330..355 => ("put empty", "kv/put", json!({"key": one})),
            355..363 => {
                ("put large", "kv/put", json!({"key": one, "value": self.value(5_000, 102_400)}))
            }
            363..433 if !self.leases.is_empty() => {
                let lease = self.lease().to_string();
                let body = json!({"key": one, "value": self.value(1, 80), "lease": lease});
                ("put with lease", "kv/put", body)
            }
            433..460 => ("put ignore_value", "kv/put", json!({"key": one, "ignore_value": true})),
            460..490 => {
                let body = json!({"key": one, "value": self.value(1, 80), "ignore_lease": true});
                ("put ignore_lease", "kv/put", body)
            }
            490..520 => {
                let body = json!({"key": one, "value": self.value(1, 80), "prev_kv": true});
                ("put prev_kv", "kv/put", body)
            }
            520..550 => ("range", "kv/range", json!({"key": one})),
            550..565 => {
                let (from, to) = self.prefix();
                ("range prefix", "kv/range", json!({"key": from, "range_end": to, "limit": "20"}))
            }
            565..580 => {
                let revision = self.revision.load(Ordering::Relaxed).to_string();
                ("range at revision", "kv/range", json!({"key": one, "revision": revision}))
            }
            580..650 => ("delete", "kv/deleterange", json!({"key": one})),
            650..670 => {
                let (from, to) = self.prefix();
                ("delete range", "kv/deleterange", json!({"key": from, "range_end": to}))
            }
            670..690 => ("delete prev_kv", "kv/deleterange", json!({"key": one, "prev_kv": true})),
            690..800 => ("txn", "kv/txn", self.txn(false, 0)),
            800..850 => ("txn range compare", "kv/txn", self.txn(true, 0)),
            850..900 => ("txn nested", "kv/txn", self.txn(false, 2)),
            900..950 => {
                let lease = self.next_lease;
                self.next_lease += 1;
                let ttl = (TTL_SECONDS + self.rng.i64(0..1000)).to_string();
                ("lease grant", "lease/grant", json!({"TTL": ttl, "ID": lease.to_string()}))
            }
            950..965 if self.leases.len() > 3 => {
                let at = self.rng.usize(..self.leases.len());
                let lease = self.leases.swap_remove(at).to_string();
                ("lease revoke", "lease/revoke", json!({"ID": lease}))
            }
            965..985 if !self.leases.is_empty() => {
                ("lease keepalive", "lease/keepalive", json!({"ID": self.lease().to_string()}))
            }
            985..1000 if !self.leases.is_empty() => {
                let body = json!({"ID": self.lease().to_string(), "keys": true});
                ("lease time to live", "lease/timetolive", body)
            }
            _ => ("put", "kv/put", json!({"key": one, "value": self.value(1, 80)})),
        }
    }

    fn key(&mut self) -> Vec<u8> {
        self.keys[self.rng.usize(..self.keys.len())].clone()
    }

    fn lease(&mut self) -> i64 {
        self.leases[self.rng.usize(..self.leases.len())]
    }

    /// A few neighbouring keys.
    fn prefix(&mut self) -> (String, String) {
        let (group, tens) = (self.rng.u32(0..7), self.rng.u32(0..20));
        let from = format!("app/{group}/key-{tens:02}");
        (key(from.as_bytes()), key(format!("{from}\x7f").as_bytes()))
    }

    fn value(&mut self, min: usize, max: usize) -> String {
        let len = self.rng.usize(min..=max);
        let bytes: Vec<u8> = std::iter::repeat_with(|| self.rng.u8(..)).take(len).collect();
        key(&bytes)
    }

    fn compare(&mut self, over_range: bool) -> Value {
        let result = ["EQUAL", "GREATER", "LESS", "NOT_EQUAL"][self.rng.usize(..4)];
        let number = self.rng.i64(0..4).to_string();
        let mut compare = match self.rng.u32(0..5) {
            0 => json!({"target": "VERSION", "version": number}),
            1 => json!({"target": "CREATE", "create_revision": number}),
            2 => json!({"target": "MOD", "mod_revision": number}),
            3 => json!({"target": "VALUE", "value": self.value(0, 4)}),
            _ => json!({"target": "LEASE", "lease": number}),
        };
        compare["result"] = json!(result);
        if over_range {
            let (from, to) = self.prefix();
            compare["key"] = json!(from);
            compare["range_end"] = json!(to);
        } else {
            compare["key"] = json!(key(&self.key()));
        }
        compare
    }

    /// Puts in one transaction must not repeat a key, so the keys come from a shuffle.
    fn txn(&mut self, range_compare: bool, depth: u32) -> Value {
        let mut keys = self.keys.clone();
        self.rng.shuffle(&mut keys);
        self.branches(range_compare, depth, &mut keys)
    }

    fn branches(&mut self, range_compare: bool, depth: u32, keys: &mut Vec<Vec<u8>>) -> Value {
        let compares: Vec<Value> = (0..self.rng.u32(0..3)).map(|_| self.compare(false)).collect();
        let mut compares = compares;
        if range_compare {
            compares.push(self.compare(true));
        }
        let mut branch = |this: &mut Self| -> Vec<Value> {
            (0..this.rng.u32(1..4)).map(|_| this.txn_op(depth, keys)).collect()
        };
        let (success, failure) = (branch(self), branch(self));
        json!({"compare": compares, "success": success, "failure": failure})
    }

    fn txn_op(&mut self, depth: u32, keys: &mut Vec<Vec<u8>>) -> Value {
        let one = key(&keys.pop().unwrap_or_else(|| b"spare".to_vec()));
        match self.rng.u32(0..10) {
            0..5 => json!({"request_put": {"key": one, "value": self.value(0, 60)}}),
            5..7 => json!({"request_delete_range": {"key": one}}),
            7 => json!({"request_range": {"key": one}}),
            _ if depth > 0 => json!({"request_txn": self.branches(false, depth - 1, keys)}),
            _ => json!({"request_put": {"key": one, "value": self.value(0, 60)}}),
        }
    }
}

/// The connection for requests that are rare in life: every one of them at least once.
struct Admin<'a> {
    gateway: Gateway,
    counts: Counts,
    revision: &'a AtomicI64,
}

impl Admin<'_> {
    fn send(&mut self, kind: &'static str, path: &str, body: Value) -> Result<Option<Value>> {
        let reply = self.gateway.send(path, &body).with_context(|| format!("{kind} {body}"))?;
        self.counts.add(kind, &reply);
        Ok(match reply {
            Reply::Done(answer) => Some(answer),
            Reply::Refused(_) => None,
        })
    }

    fn run(&mut self, member: &Member, each: u64) -> Result<()> {
        self.roles_and_users()?;
        self.alarms(member)?;
        self.membership(member)?;
        // The history must be compacted in its middle, with much written before and after.
        for share in [4, 2] {
            self.wait_for_revision(each as i64 * WRITERS as i64 / 2 / share)?;
            let revision = self.revision.load(Ordering::Relaxed) * 2 / 3;
            let body = json!({"revision": revision.to_string(), "physical": true});
            self.send("compaction", "kv/compaction", body)?;
        }
        Ok(())
    }

    fn wait_for_revision(&self, wanted: i64) -> Result<()> {
        for _ in 0..3000 {
            if self.revision.load(Ordering::Relaxed) >= wanted {
                return Ok(());
            }
            std::thread::sleep(std::time::Duration::from_millis(10));
        }
        anyhow::bail!("revision {wanted} was not reached in 30 s")
    }

    fn roles_and_users(&mut self) -> Result<()> {
        for n in 0..6 {
            let (role, user) = (format!("role-{n}"), format!("user-{n}"));
            self.send("role add", "auth/role/add", json!({"name": role}))?;
            let permissions = [
                json!({"permType": "READ", "key": key(b"app/0/"), "range_end": key(b"app/00")}),
                json!({"permType": "WRITE", "key": key(format!("app/{n}").as_bytes())}),
                json!({"permType": "READWRITE", "key": key(b"z"), "range_end": key(b"\0")}),
            ];
            for perm in permissions {
                let body = json!({"name": role, "perm": perm});
                self.send("role grant permission", "auth/role/grant", body)?;
            }
            let body = json!({"name": user, "password": format!("password-{n}")});
            self.send("user add", "auth/user/add", body)?;
            for role in [&role, "role-0"] {
                let body = json!({"user": user, "role": role});
                self.send("user grant role", "auth/user/grant", body)?;
            }
        }
        let nobody = json!({"name": "certificate-only", "options": {"no_password": true}});
        self.send("user add without password", "auth/user/add", nobody)?;
        let body = json!({"name": "user-1", "password": "changed"});
        self.send("user change password", "auth/user/changepw", body)?;
        self.send(
            "user revoke role",
            "auth/user/revoke",
            json!({"name": "user-2", "role": "role-2"}),
        )?;
        self.send("user delete", "auth/user/delete", json!({"name": "user-3"}))?;
        let body = json!({"role": "role-4", "key": key(b"z"), "range_end": key(b"\0")});
        self.send("role revoke permission", "auth/role/revoke", body)?;
        self.send("role delete", "auth/role/delete", json!({"role": "role-5"}))?;
        Ok(())
    }

    /// NOSPACE for a moment: the other connections' puts are refused meanwhile.
    fn alarms(&mut self, member: &Member) -> Result<()> {
        let status = member.gateway().call("maintenance/status", &json!({}))?;
        let own = id(&status["header"]["member_id"])?.to_string();
        for (kind, action) in [("alarm activate", "ACTIVATE"), ("alarm deactivate", "DEACTIVATE")] {
            let body = json!({"action": action, "memberID": own, "alarm": "NOSPACE"});
            self.send(kind, "maintenance/alarm", body)?;
        }
        Ok(())
    }

    /// A learner that never comes up, an address that changes and changes back.
    fn membership(&mut self, member: &Member) -> Result<()> {
        let learner = json!({"peerURLs": [free_url()?], "isLearner": true});
        let added = self.send("member add learner", "cluster/member/add", learner)?;
        let status = member.gateway().call("maintenance/status", &json!({}))?;
        let own = id(&status["header"]["member_id"])?.to_string();
        let here = member.spec.peer_url.clone();
        for url in [here.replace("127.0.0.1", "localhost"), here] {
            let body = json!({"ID": own, "peerURLs": [url]});
            self.send("member update", "cluster/member/update", body)?;
        }
        if let Some(added) = added {
            let learner = id(&added["member"]["ID"])?.to_string();
            self.send("member remove", "cluster/member/remove", json!({"ID": learner}))?;
        }
        let left = self.gateway.call("cluster/member/list", &json!({}))?;
        ensure!(list(&left["members"]).len() == 1, "the learner is still there: {left}");
        Ok(())
    }

    fn auth_on(&mut self) -> Result<()> {
        // Already there when authentication was on before.
        self.send("role add", "auth/role/add", json!({"name": "root"}))?;
        let root = json!({"name": "root", "password": ROOT_PASSWORD});
        self.send("user add", "auth/user/add", root)?;
        self.send("user grant role", "auth/user/grant", json!({"user": "root", "role": "root"}))?;
        self.send("auth enable", "auth/enable", json!({}))?
            .context("authentication could not be enabled")?;
        Ok(())
    }

    fn auth_off(&mut self) -> Result<()> {
        self.gateway.log_in("root", ROOT_PASSWORD)?;
        self.send("put", "kv/put", json!({"key": key(b"as-root"), "value": key(b"yes")}))?;
        self.send("auth disable", "auth/disable", json!({}))?
            .context("authentication could not be disabled")?;
        self.gateway.log_out();
        Ok(())
    }
}
