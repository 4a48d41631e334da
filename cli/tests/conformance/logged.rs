//! What a member's WAL holds behind its db: the requests a restart has to apply, counted by kind.
//!
//! Kinds are told by field numbers alone, so that a request our decoder does not know still counts.

use std::collections::BTreeMap;
use std::fs;
use std::path::Path;

use anyhow::{Context, Result, ensure};
use etcdsnap_engine::bolt::Db;
use etcdsnap_engine::limits::Limits;
use etcdsnap_engine::schema::{MetaRecords, Store};
use etcdsnap_engine::wal::{Log, Segment, SegmentName};

use crate::peers::Line;

/// Field numbers of `InternalRaftRequest` and what servers put there: name, first and last line.
///
/// Three are missing because no server writes them: range (3), which is answered without the
/// log, downgrade_version_test (9900), and v2 requests (2) from 3.6 on.
const FIELDS: [(u64, &str, Line, Line); 32] = [
    (2, "v2", Line::V34, Line::V35),
    (4, "put", Line::V34, Line::V37),
    (5, "delete_range", Line::V34, Line::V37),
    (6, "txn", Line::V34, Line::V37),
    (7, "compaction", Line::V34, Line::V37),
    (8, "lease_grant", Line::V34, Line::V37),
    (9, "lease_revoke", Line::V34, Line::V37),
    (10, "alarm", Line::V34, Line::V37),
    (11, LEASE_CHECKPOINT, Line::V34, Line::V37),
    (1000, "auth_enable", Line::V34, Line::V37),
    (1011, "auth_disable", Line::V34, Line::V37),
    (1012, "authenticate", Line::V34, Line::V37),
    (1013, "auth_status", Line::V35, Line::V37),
    (1100, "auth_user_add", Line::V34, Line::V37),
    (1101, "auth_user_delete", Line::V34, Line::V37),
    (1102, "auth_user_get", Line::V34, Line::V37),
    (1103, "auth_user_change_password", Line::V34, Line::V37),
    (1104, "auth_user_grant_role", Line::V34, Line::V37),
    (1105, "auth_user_revoke_role", Line::V34, Line::V37),
    (1106, "auth_user_list", Line::V34, Line::V37),
    (1107, "auth_role_list", Line::V34, Line::V37),
    (1200, "auth_role_add", Line::V34, Line::V37),
    (1201, "auth_role_delete", Line::V34, Line::V37),
    (1202, "auth_role_get", Line::V34, Line::V37),
    (1203, "auth_role_grant_permission", Line::V34, Line::V37),
    (1204, "auth_role_revoke_permission", Line::V34, Line::V37),
    (1300, "cluster_version_set", Line::V36, Line::V37),
    (1301, "cluster_member_attr_set", Line::V36, Line::V37),
    (1302, "downgrade_info_set", Line::V35, Line::V37),
    (CONF_CHANGE, "conf add or promote", Line::V34, Line::V37),
    (CONF_CHANGE + 1, "conf remove", Line::V34, Line::V37),
    (CONF_CHANGE + 2, "conf update", Line::V34, Line::V37),
];

/// Written only minutes after a grant; members that lived that long are fixtures.
pub const LEASE_CHECKPOINT: &str = "lease_checkpoint";

/// Not a field: where kinds of conf changes are counted, above every field number.
const CONF_CHANGE: u64 = 1 << 32;
const CONF_ADD_LEARNER: (u64, &str) = (CONF_CHANGE + 3, "conf add learner");
const EMPTY: (u64, &str) = (0, "empty");

/// How often each kind occurs.
#[derive(Clone, Debug, Default)]
pub struct Kinds(BTreeMap<u64, u64>);

impl Kinds {
    pub fn count(&self, name: &str) -> u64 {
        let named = |kind: &u64| label(*kind) == name;
        self.0.iter().filter(|(kind, _)| named(kind)).map(|(_, count)| count).sum()
    }

    /// Every kind a server of `line` writes must be there, and nothing else.
    pub fn ensure_all(&self, line: Line, but: &[&str]) -> Result<()> {
        let written = FIELDS.iter().filter(|(_, _, first, last)| (*first..=*last).contains(&line));
        let absent: Vec<&str> = written
            .map(|(_, name, _, _)| *name)
            .chain([CONF_ADD_LEARNER.1, EMPTY.1])
            .filter(|name| self.count(name) == 0 && !but.contains(name))
            .collect();
        ensure!(absent.is_empty(), "never replayed on {line}: {absent:?} of {self}");
        let unknown: Vec<_> = self.0.keys().filter(|kind| label(**kind) == "unknown").collect();
        ensure!(unknown.is_empty(), "fields {unknown:?} have no name");
        Ok(())
    }
}

impl std::fmt::Display for Kinds {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let one = |(kind, count): (&u64, &u64)| format!("{} {count}", label(*kind));
        write!(f, "{}", self.0.iter().map(one).collect::<Vec<_>>().join(", "))
    }
}

fn label(kind: u64) -> &'static str {
    let others = [CONF_ADD_LEARNER, EMPTY];
    let mut all = FIELDS.iter().map(|(field, name, _, _)| (*field, *name)).chain(others);
    all.find(|(field, _)| *field == kind).map_or("unknown", |(_, name)| name)
}

/// The consistent index of a data dir's db.
pub fn consistent_index(data_dir: &Path) -> Result<u64> {
    let bytes = fs::read(data_dir.join("member/snap/db"))?;
    let db = Db::from_bytes(&bytes, Limits::default())?;
    let (meta, _) = MetaRecords::read(&Store::new(db))?;
    Ok(meta.consistent_index.unwrap_or_default())
}

/// The entries of a data dir's log that its db does not contain.
pub fn pending(data_dir: &Path) -> Result<Kinds> {
    let applied = consistent_index(data_dir)?;
    let wal = data_dir.join("member/wal");
    let mut files = Vec::new();
    for name in crate::files::names(&wal)? {
        if let Some(segment) = SegmentName::parse(&name) {
            files.push((segment, fs::read(wal.join(name))?));
        }
    }
    let segments: Vec<Segment<'_>> =
        files.iter().map(|(name, bytes)| Segment { name: *name, bytes }).collect();
    let log = Log::read(&segments);
    let mut last = BTreeMap::new();
    for logged in log.entries.iter().filter(|logged| logged.entry.index > applied) {
        last.insert(logged.entry.index, logged.entry);
    }
    let mut kinds = Kinds::default();
    for (index, entry) in last {
        let of_entry = match entry.r#type.unwrap_or_default() {
            0 if entry.data.is_empty() => vec![EMPTY.0],
            0 => {
                let fields = fields(entry.data).with_context(|| format!("entry {index}"))?;
                request(fields.iter().map(|(field, _)| *field))
            }
            // ConfChange.type, which is left out or zero for an addition.
            _ => {
                let fields = fields(entry.data).with_context(|| format!("entry {index}"))?;
                let kind = fields.iter().find(|(field, _)| *field == 2);
                vec![CONF_CHANGE + kind.map_or(0, |(_, value)| *value)]
            }
        };
        for kind in of_entry {
            *kinds.0.entry(kind).or_default() += 1;
        }
    }
    Ok(kinds)
}

/// The requests among top-level fields. A bare v2 request has its method where the raft request
/// has a wrapped v2 request.
fn request(fields: impl Iterator<Item = u64>) -> Vec<u64> {
    let fields: Vec<u64> = fields.filter(|field| !matches!(field, 1 | 100)).collect();
    if fields.contains(&2) { vec![2] } else { fields }
}

/// Top-level fields of a protobuf message: number and, of varints, the value.
fn fields(mut bytes: &[u8]) -> Result<Vec<(u64, u64)>> {
    let mut found = Vec::new();
    while !bytes.is_empty() {
        let key = varint(&mut bytes)?;
        let value = match key & 7 {
            0 => varint(&mut bytes)?,
            kind @ (1 | 2 | 5) => {
                let len = match kind {
                    1 => 8,
                    5 => 4,
                    _ => usize::try_from(varint(&mut bytes)?)?,
                };
                bytes = bytes.get(len..).context("a field that is cut short")?;
                0
            }
            other => anyhow::bail!("wire type {other}"),
        };
        found.push((key >> 3, value));
    }
    Ok(found)
}

fn varint(bytes: &mut &[u8]) -> Result<u64> {
    let mut value = 0;
    for shift in (0..64).step_by(7) {
        let (first, rest) = bytes.split_first().context("a varint that is cut short")?;
        *bytes = rest;
        value |= u64::from(first & 0x7f) << shift;
        if first & 0x80 == 0 {
            return Ok(value);
        }
    }
    anyhow::bail!("a varint of more than ten bytes")
}
