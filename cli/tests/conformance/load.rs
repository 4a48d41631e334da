//! Random operations of every kind against a live member, over several connections.
//!
//! Each connection draws from its own generator, seeded from the run's seed; what
//! interleaves with what is up to the server.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::atomic::AtomicI64;

use anyhow::{Result, ensure};

use crate::admin::Admin;
use crate::gateway::{Gateway, Reply};
use crate::server::Member;
use crate::writer::Writer;

/// Connections that write keys; one more does the rarer administrative requests.
const WRITERS: u64 = 4;

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
    pub fn add(&mut self, kind: &'static str, reply: &Reply) {
        match reply {
            Reply::Done(_) => *self.done.entry(kind).or_default() += 1,
            Reply::Refused(message) => {
                *self.refused.entry(kind).or_default() += 1;
                self.messages.insert(format!("{kind}: {message}"));
            }
        }
    }

    pub fn merge(&mut self, other: Counts) {
        for (kind, count) in other.done {
            *self.done.entry(kind).or_default() += count;
        }
        for (kind, count) in other.refused {
            *self.refused.entry(kind).or_default() += count;
        }
        self.messages.extend(other.messages);
    }

    pub fn total(&self) -> u64 {
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
        // About every second request makes a revision.
        admin.run(member, operations as i64 / 2)?;
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
