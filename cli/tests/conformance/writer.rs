//! A connection of the load that reads and writes keys and leases.

use std::sync::atomic::{AtomicI64, Ordering};

use anyhow::{Context, Result};
use fastrand::Rng;
use serde_json::{Value, json};

use crate::gateway::{Gateway, Reply, int, key};
use crate::load::Counts;

/// Lease lifetimes are far beyond any test's: nothing may expire while we compare.
const TTL_SECONDS: i64 = 90_000;

/// A connection that reads and writes keys and leases.
pub struct Writer<'a> {
    pub gateway: Gateway,
    rng: Rng,
    keys: Vec<Vec<u8>>,
    /// Ids of the leases this connection granted and did not revoke.
    leases: Vec<i64>,
    next_lease: i64,
    revision: &'a AtomicI64,
    pub counts: Counts,
}

impl<'a> Writer<'a> {
    pub fn new(gateway: Gateway, seed: u64, number: u64, revision: &'a AtomicI64) -> Self {
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

    pub fn run(&mut self, operations: u64) -> Result<()> {
        for _ in 0..operations {
            self.step()?;
        }
        Ok(())
    }

    /// One request.
    pub fn step(&mut self) -> Result<Reply> {
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
        Ok(reply)
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
