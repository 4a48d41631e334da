//! The connection of the load that administers: users, alarms, members, compactions.

use std::sync::atomic::{AtomicI64, Ordering};

use anyhow::{Context, Result, ensure};
use serde_json::{Value, json};

use crate::gateway::{Gateway, Reply, id, key, list};
use crate::load::{Counts, ROOT_PASSWORD};
use crate::server::{Member, free_url};

/// The connection for requests that are rare in life: every one of them at least once.
pub struct Admin<'a> {
    pub gateway: Gateway,
    pub counts: Counts,
    /// The greatest revision any connection has seen.
    pub revision: &'a AtomicI64,
}

impl Admin<'_> {
    /// Sends and counts; `None` is a refusal.
    pub fn send(&mut self, kind: &'static str, path: &str, body: Value) -> Result<Option<Value>> {
        let reply = self.gateway.send(path, &body).with_context(|| format!("{kind} {body}"))?;
        self.counts.add(kind, &reply);
        Ok(match reply {
            Reply::Done(answer) => Some(answer),
            Reply::Refused(_) => None,
        })
    }

    /// Every request once or more; compacts twice while the others write `expected` revisions.
    pub fn run(&mut self, member: &Member, expected: i64) -> Result<()> {
        self.roles_and_users()?;
        self.alarms()?;
        self.membership(&member.spec.peer_url)?;
        // The history must be compacted in its middle, with much written before and after.
        for share in [4, 2] {
            self.wait_for_revision(expected / share)?;
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

    pub fn roles_and_users(&mut self) -> Result<()> {
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

    /// The id of the member asked, in decimal.
    pub fn own_id(&self) -> Result<String> {
        let status = self.gateway.call("maintenance/status", &json!({}))?;
        Ok(id(&status["header"]["member_id"])?.to_string())
    }

    /// NOSPACE for a moment: the other connections' puts are refused meanwhile.
    fn alarms(&mut self) -> Result<()> {
        let own = self.own_id()?;
        for (kind, action) in [("alarm activate", "ACTIVATE"), ("alarm deactivate", "DEACTIVATE")] {
            let body = json!({"action": action, "memberID": own, "alarm": "NOSPACE"});
            self.send(kind, "maintenance/alarm", body)?;
        }
        Ok(())
    }

    /// A learner that never comes up, an address that changes and changes back.
    pub fn membership(&mut self, peer_url: &str) -> Result<()> {
        let learner = json!({"peerURLs": [free_url()?], "isLearner": true});
        let added = self.send("member add learner", "cluster/member/add", learner)?;
        let own = self.own_id()?;
        let here = peer_url.to_owned();
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

    pub fn auth_on(&mut self) -> Result<()> {
        // Already there when authentication was on before.
        self.send("role add", "auth/role/add", json!({"name": "root"}))?;
        let root = json!({"name": "root", "password": ROOT_PASSWORD});
        self.send("user add", "auth/user/add", root)?;
        self.send("user grant role", "auth/user/grant", json!({"user": "root", "role": "root"}))?;
        self.send("auth enable", "auth/enable", json!({}))?
            .context("authentication could not be enabled")?;
        Ok(())
    }

    pub fn auth_off(&mut self) -> Result<()> {
        self.gateway.log_in("root", ROOT_PASSWORD)?;
        self.send("put", "kv/put", json!({"key": key(b"as-root"), "value": key(b"yes")}))?;
        self.send("auth disable", "auth/disable", json!({}))?
            .context("authentication could not be disabled")?;
        self.gateway.log_out();
        Ok(())
    }
}
