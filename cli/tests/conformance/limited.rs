//! The connection of a user who may do little: what it asks for is refused when it is applied.

use anyhow::Result;
use fastrand::Rng;
use serde_json::{Value, json};

use crate::gateway::{Gateway, Reply, key};
use crate::load::Counts;
use crate::steward::LIMITED;

/// A user with rights on a few ranges, see [`crate::steward`].
pub struct Limited {
    pub gateway: Gateway,
    pub rng: Rng,
    pub counts: Counts,
}

impl Limited {
    /// One request. Signs in again when its token has become worthless, but not at once: a
    /// stale token makes entries that are refused for the old revision they carry.
    pub fn step(&mut self) -> Result<Reply> {
        let (path, body) = self.operation();
        let reply = self.gateway.send(path, &body)?;
        self.counts.add("as limited user", &reply);
        if let Reply::Refused(message) = &reply {
            let worthless = ["token", "user name is empty", "revision"]
                .iter()
                .any(|word| message.contains(word));
            if worthless && self.rng.u32(..3) == 0 {
                self.gateway.try_log_in(LIMITED, LIMITED)?;
            }
        }
        Ok(reply)
    }

    fn operation(&mut self) -> (&'static str, Value) {
        let one = key(&self.key());
        let lease = (9_000_000 + self.rng.i64(0..6)).to_string();
        let (from, to) = self.range();
        match self.rng.u32(0..20) {
            0..6 => ("kv/put", json!({"key": one, "value": key(b"limited")})),
            6..8 => ("kv/put", json!({"key": one, "value": key(b"limited"), "prev_kv": true})),
            8..10 => ("kv/put", json!({"key": one, "value": key(b"leased"), "lease": lease})),
            10 => ("lease/grant", json!({"ID": lease, "TTL": "95000"})),
            11 => ("lease/revoke", json!({"ID": lease})),
            12 => ("kv/deleterange", json!({"key": one})),
            13..15 => {
                let previous = self.rng.bool();
                ("kv/deleterange", json!({"key": from, "range_end": to, "prev_kv": previous}))
            }
            _ => ("kv/txn", self.txn(&one, &from, &to)),
        }
    }

    fn txn(&mut self, one: &str, from: &str, to: &str) -> Value {
        let compare = json!({"target": "VERSION", "result": "GREATER", "version": "0",
            "key": key(&self.key())});
        let compare = if self.rng.bool() { vec![compare] } else { Vec::new() };
        let put = json!({"request_put": {"key": one, "value": key(b"limited txn")}});
        let nested = json!({"request_txn": {"success": [put]}});
        let first = if self.rng.bool() { put } else { nested };
        let range = json!({"request_range": {"key": from, "range_end": to}});
        let success = if self.rng.bool() { vec![first, range] } else { vec![first] };
        json!({"compare": compare, "success": success})
    }

    /// A key of a group it may read and write, only write, or neither.
    fn key(&mut self) -> Vec<u8> {
        format!("app/{}/key-{:03}", self.rng.u32(0..5), self.rng.u32(0..20)).into_bytes()
    }

    /// Inside what it may touch, across two of its permissions, or beyond.
    fn range(&mut self) -> (String, String) {
        let ranges: [(&[u8], &[u8]); 5] = [
            (b"app/0/key-00", b"app/0/key-01"),
            (b"app/2/key-00", b"app/2/key-09"),
            (b"app/1/key-00", b"app/1/key-01"),
            (b"app/0/key-00", b"app/3/key-00"),
            (b"app/2/key-019", b"\0"),
        ];
        let (from, to) = ranges[self.rng.usize(..ranges.len())];
        (key(from), key(to))
    }
}
