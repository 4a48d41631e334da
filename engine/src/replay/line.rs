//! Release lines of etcd, whose servers apply some entries differently.

use std::fmt;

use super::membership::v2;
use crate::{
    pb::{entry::Decoded, raftpb::EntryType, wire::spans},
    schema::{MetaRecords, meta::Version},
    wal::{Log, LoggedEntry},
};

/// Numbers of the fields of a request that say something of versions.
const V2_REQUEST: u32 = 2;
const CLUSTER_VERSION_SET: u32 = 1300;
const CLUSTER_MEMBER_ATTR_SET: u32 = 1301;

/// A release line. A log is applied by the rules of the server that wrote its end.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Line {
    /// etcd 3.4.
    V3_4,
    /// etcd 3.5.
    V3_5,
    /// etcd 3.6.
    V3_6,
    /// etcd 3.7 and later.
    V3_7,
}

impl fmt::Display for Line {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Line::V3_4 => "3.4",
            Line::V3_5 => "3.5",
            Line::V3_6 => "3.6",
            Line::V3_7 => "3.7",
        })
    }
}

impl Line {
    /// The line of the server that wrote last, by the marks it leaves. No file names it.
    ///
    /// A server that starts on a newer one's data, which a restore allows, leaves most of what that one said as it is. So
    /// only what the member itself writes counts, tried with 3.4.23, 3.5.35, 3.6.16 and 3.7.3:
    ///
    /// - 3.7 leaves zero fields out of its entries;
    /// - at every start a member publishes its name: up to 3.5 with a v2 request, from 3.6 on with a v3 request;
    /// - 3.5 keeps the term of the consistent index in the db, 3.4 leaves the one that is there; 3.5 marks snapshots with
    ///   raft's configuration, 3.4 does not.
    ///
    /// Where the log says nothing, the db's versions do.
    pub fn detect(meta: &MetaRecords, log: &Log<'_>) -> Line {
        let normal = |logged: &&LoggedEntry<'_>| {
            logged.entry.r#type.unwrap_or_default() == EntryType::Normal as i32
        };
        let last = log.entries.iter().rev().find(normal);
        if last.is_some_and(|logged| logged.entry.r#type.is_none()) {
            return Line::V3_7;
        }
        let said = Said::of(log);
        let older = || {
            // A member may be newer than its cluster's version, never older.
            let given = said.version.filter(|version| *version > Line::V3_4);
            let known = given.or_else(|| term(meta, log)).or_else(|| marked(log));
            let term = meta.term.map_or(Line::V3_4, |_| Line::V3_5);
            known.or(said.version).unwrap_or(term).min(Line::V3_5)
        };
        match said.published {
            Some(Published::V3) => Line::V3_6,
            Some(Published::V2) => older(),
            None => {
                // An older server on newer data sets the cluster's version anew and leaves the storage's.
                let version = meta.cluster_version.as_ref().or(meta.storage_version.as_ref());
                let version = version.and_then(|version| Line::of(version));
                let newest = if last.is_some() { Line::V3_6 } else { Line::V3_7 };
                let known = [version, said.version].into_iter().flatten().max();
                known.filter(|line| *line >= Line::V3_6).unwrap_or_else(older).min(newest)
            }
        }
    }

    fn of(version: &str) -> Option<Line> {
        let version = Version::parse(version)?;
        Some(match (version.major, version.minor) {
            (..3, _) | (3, ..=4) => Line::V3_4,
            (3, 5) => Line::V3_5,
            (3, 6) => Line::V3_6,
            _ => Line::V3_7,
        })
    }
}

/// The request with which a member publishes its name.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Published {
    /// Of the v2 API, up to 3.5.
    V2,
    /// From 3.6 on.
    V3,
}

/// What the log says of versions.
#[derive(Debug, Default)]
struct Said {
    /// How the member last published its name.
    published: Option<Published>,
    /// The last version that the cluster was given.
    version: Option<Line>,
}

impl Said {
    fn of(log: &Log<'_>) -> Self {
        let own = log.metadata.map(|metadata| metadata.node_id());
        let mut said = Self::default();
        for logged in log.entries.iter().rev() {
            let (kind, data) = (logged.entry.r#type.unwrap_or_default(), logged.entry.data);
            // The fields of all other requests are passed over by their lengths.
            let of_interest = spans(data).map_while(Result::ok).any(|span| {
                matches!(span.field, V2_REQUEST | CLUSTER_VERSION_SET | CLUSTER_MEMBER_ATTR_SET)
            });
            if kind != EntryType::Normal as i32 || !of_interest {
                continue;
            }
            match Decoded::new(kind, data) {
                Decoded::V2(request) => match v2::effect(&request) {
                    Some(v2::Effect::Version(version)) => said.hear(&version),
                    Some(v2::Effect::Attributes(id, ..)) if Some(id.0) == own => {
                        said.publish(Published::V2);
                    }
                    Some(v2::Effect::Attributes(..)) | None => {}
                },
                Decoded::Request(request) => {
                    if let Some(set) = &request.cluster_version_set {
                        said.hear(&set.ver);
                    }
                    let set = request.cluster_member_attr_set.as_ref();
                    if set.is_some_and(|set| Some(set.member_id) == own) {
                        said.publish(Published::V3);
                    }
                }
                Decoded::Empty | Decoded::ConfChange(_) | Decoded::Unknown => {}
            }
            if said.published.is_some() && said.version.is_some() {
                break;
            }
        }
        said
    }

    /// The last one counts, which is met first.
    fn publish(&mut self, published: Published) {
        self.published = self.published.or(Some(published));
    }

    /// The last one counts.
    fn hear(&mut self, version: &str) {
        self.version = self.version.or_else(|| Line::of(version));
    }
}

/// Whether the db's term is that of the entry it ends at; `None` when the files do not say, or only the restore wrote.
fn term(meta: &MetaRecords, log: &Log<'_>) -> Option<Line> {
    let index =
        meta.consistent_index.filter(|index| *index > log.restored().unwrap_or_default())?;
    let of_entry = log.entries.iter().rev().map(|logged| (logged.entry.index, logged.entry.term));
    let of_mark = log.snapshots.iter().rev().map(|mark| (mark.index(), mark.term()));
    let (_, term) = of_entry.chain(of_mark).find(|(own, _)| *own == index)?;
    Some(if meta.term == Some(term) { Line::V3_5 } else { Line::V3_4 })
}

/// Whether the last snapshot that the member itself marked has raft's configuration.
fn marked(log: &Log<'_>) -> Option<Line> {
    let restored = log.restored().unwrap_or_default();
    let last = log.snapshots.iter().rev().find(|mark| mark.index() > restored)?;
    Some(if last.conf_state.is_some() { Line::V3_5 } else { Line::V3_4 })
}
