//! The connection of a load that goes on until the member is killed: everything but plain
//! reading and writing, in random order, again and again.

use std::sync::atomic::Ordering;
use std::time::Duration;

use anyhow::Result;
use fastrand::Rng;
use serde_json::{Value, json};

use crate::admin::Admin;
use crate::gateway::key;
use crate::load::ROOT_PASSWORD;
use crate::peers::Line;

/// Name, password and role of a user who may do little.
pub const LIMITED: &str = "limited";

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Chore {
    Roles,
    Questions,
    NoSpace,
    Corrupt,
    Membership,
    Compaction,
    Downgrade,
    Refused,
    AuthOn,
    AuthOff,
}

/// Does chores until an error, which is how it notices that the member is gone.
pub struct Steward<'a> {
    pub admin: Admin<'a>,
    pub line: Line,
    pub peer_url: String,
    pub rng: Rng,
}

impl Steward<'_> {
    /// All chores once, in random order; authentication is off at the end of a `tidy` round and
    /// perhaps on after another.
    pub fn round(&mut self, tidy: bool) -> Result<()> {
        let mut chores = vec![
            Chore::Roles,
            Chore::Questions,
            Chore::NoSpace,
            Chore::Membership,
            Chore::Compaction,
            Chore::Refused,
        ];
        // A 3.5 whose db says that a downgrade is enabled does not start: only where that db is lost.
        if self.line > Line::V35 || self.line == Line::V35 && tidy {
            chores.push(Chore::Downgrade);
        }
        if self.rng.bool() || tidy {
            chores.push(Chore::Corrupt);
        }
        self.rng.shuffle(&mut chores);
        let on = self.rng.usize(..=chores.len());
        chores.insert(on, Chore::AuthOn);
        if tidy || self.rng.u32(..3) > 0 {
            chores.insert(self.rng.usize(on + 1..=chores.len()), Chore::AuthOff);
        }
        for chore in chores {
            self.chore(chore)?;
        }
        Ok(())
    }

    fn chore(&mut self, chore: Chore) -> Result<()> {
        match chore {
            Chore::Roles => self.admin.roles_and_users(),
            Chore::Questions => self.questions(),
            Chore::NoSpace => self.alarm("NOSPACE"),
            Chore::Corrupt => self.alarm("CORRUPT"),
            Chore::Membership => self.admin.membership(&self.peer_url),
            Chore::Compaction => self.compactions(),
            Chore::Downgrade => self.downgrade(),
            Chore::Refused => self.refused(),
            Chore::AuthOn => self.auth_on(),
            Chore::AuthOff => self.admin.auth_off(),
        }
    }

    fn send(&mut self, kind: &'static str, path: &str, body: Value) -> Result<()> {
        self.admin.send(kind, path, body).map(drop)
    }

    /// Reads that go through the log all the same.
    fn questions(&mut self) -> Result<()> {
        self.send("user get", "auth/user/get", json!({"name": "user-0"}))?;
        self.send("user list", "auth/user/list", json!({}))?;
        self.send("role get", "auth/role/get", json!({"role": "role-0"}))?;
        self.send("role list", "auth/role/list", json!({}))?;
        if self.line > Line::V34 {
            self.send("auth status", "auth/status", json!({}))?;
        }
        self.send("alarm get", "maintenance/alarm", json!({"action": "GET"}))
    }

    /// An alarm for a moment, in which the other connections are refused.
    fn alarm(&mut self, alarm: &str) -> Result<()> {
        let own = self.admin.own_id()?;
        for (kind, action) in [("alarm activate", "ACTIVATE"), ("alarm deactivate", "DEACTIVATE")] {
            let body = json!({"action": action, "memberID": own, "alarm": alarm});
            // Once more: what is there already, or is gone already.
            self.send(kind, "maintenance/alarm", body.clone())?;
            self.send(kind, "maintenance/alarm", body)?;
            std::thread::sleep(Duration::from_millis(self.rng.u64(0..40)));
        }
        Ok(())
    }

    /// Some accepted, physical or not, and some refused for the past or the future.
    fn compactions(&mut self) -> Result<()> {
        for _ in 0..3 {
            let revision = self.admin.revision.load(Ordering::Relaxed);
            let wanted = match self.rng.u32(..4) {
                0 => revision + 100_000,
                1 => 1,
                _ => revision - self.rng.i64(0..=revision.clamp(1, 60)),
            };
            let body = json!({"revision": wanted.to_string(), "physical": self.rng.bool()});
            self.send("compaction", "kv/compaction", body)?;
        }
        let revision = self.admin.revision.load(Ordering::Relaxed);
        self.send("compaction", "kv/compaction", json!({"revision": revision.to_string()}))
    }

    /// Enabled and cancelled at once: before the servers act on it.
    fn downgrade(&mut self) -> Result<()> {
        let version = match self.line {
            Line::V34 | Line::V35 => "3.4.0",
            Line::V36 => "3.5.0",
            Line::V37 => "3.6.0",
        };
        for (kind, action) in [("downgrade enable", "ENABLE"), ("downgrade cancel", "CANCEL")] {
            let body = json!({"action": action, "version": version});
            self.send(kind, "maintenance/downgrade", body)?;
        }
        Ok(())
    }

    /// What a member refuses only when it applies it.
    fn refused(&mut self) -> Result<()> {
        let (one, two) = (key(b"refused"), key(b"app/0/key-001"));
        let put = |key: &str| json!({"request_put": {"key": key, "value": key}});
        let unknown = json!({"key": one, "value": one, "lease": "7777"});
        self.send("put to no lease", "kv/put", unknown.clone())?;
        self.send("lease revoke unknown", "lease/revoke", json!({"ID": "7777"}))?;
        for _ in 0..2 {
            let again = json!({"ID": "4242", "TTL": "90000"});
            self.send("lease grant again", "lease/grant", again)?;
        }
        let endless = json!({"ID": "4243", "TTL": "9000000001"});
        self.send("lease grant too long", "lease/grant", endless)?;
        let missing = json!({"key": key(b"no such key"), "ignore_value": true});
        self.send("put ignore_value of nothing", "kv/put", missing.clone())?;
        let bodies = [
            json!({"success": [put(&one), {"request_put": unknown}]}),
            json!({"success": [put(&one), {"request_put": missing}]}),
            // Below a transaction of its own, and in the branch that is not taken.
            json!({"success": [put(&two), {"request_txn": {"success": [{"request_put": unknown}]}}]}),
            json!({"success": [put(&two)], "failure": [{"request_put": unknown}]}),
            json!({"success": [put(&one), {"request_delete_range": {"key": two}}, put(&two)]}),
            json!({"success": [{"request_delete_range": {"key": key(b"z"), "range_end": key(b"\0")}}]}),
            json!({"success": [put(&one), {"request_range": {"key": one, "revision": "9999999"}}]}),
            json!({"success": [put(&one), {"request_range": {"key": one, "revision": "1"}}]}),
            json!({"success": [put(&two), {"request_txn": {
                "success": [put(&one), {"request_range": {"key": one}}]
            }}]}),
        ];
        for body in bodies {
            self.send("txn to be refused", "kv/txn", body)?;
        }
        Ok(())
    }

    fn auth_on(&mut self) -> Result<()> {
        self.send("role add", "auth/role/add", json!({"name": LIMITED}))?;
        let user = json!({"name": LIMITED, "password": LIMITED});
        self.send("user add", "auth/user/add", user)?;
        let ranges = [
            ("READWRITE", key(b"app/0/"), key(b"app/00")),
            ("WRITE", key(b"app/1/"), key(b"app/10")),
            // Two that only together cover what is asked for.
            ("READWRITE", key(b"app/2/"), key(b"app/2/key-05")),
            ("READWRITE", key(b"app/2/key-05"), key(b"app/20")),
        ];
        for (kind, from, to) in ranges {
            let perm = json!({"permType": kind, "key": from, "range_end": to});
            let body = json!({"name": LIMITED, "perm": perm});
            self.send("role grant permission", "auth/role/grant", body)?;
        }
        let grant = json!({"user": LIMITED, "role": LIMITED});
        self.send("user grant role", "auth/user/grant", grant)?;
        self.admin.auth_on()?;
        self.admin.gateway.log_in("root", ROOT_PASSWORD)
    }
}
