//! Release lines of etcd, whose servers apply some entries differently.

use std::fmt;

use crate::{
    pb::{entry::Decoded, raftpb::EntryType},
    schema::{MetaRecords, meta::Version},
    wal::Log,
};

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
    /// The line of the server that wrote last, by what its files say.
    ///
    /// No file names it. 3.7 leaves zero fields out of its messages; 3.6 writes its storage version to the db and
    /// publishes members with v3 requests; 3.5 writes term and conf state to the db and conf states to the
    /// log. A fresh member may have done none of that yet, but it has asked for a cluster version.
    pub fn detect(meta: &MetaRecords, log: &Log<'_>) -> Line {
        let last_normal = log
            .entries
            .iter()
            .rev()
            .find(|logged| logged.entry.r#type.unwrap_or_default() == EntryType::Normal as i32);
        if last_normal.is_some_and(|logged| logged.entry.r#type.is_none()) {
            return Line::V3_7;
        }
        let known = [&meta.storage_version, &meta.cluster_version]
            .into_iter()
            .flatten()
            .filter_map(|version| Line::of(version))
            .max();
        let hints = [
            known,
            (meta.term.is_some() || meta.conf_state.is_some()).then_some(Line::V3_5),
            log.snapshots.iter().any(|mark| mark.conf_state.is_some()).then_some(Line::V3_5),
            asked_for(log),
        ];
        // The encoding of entries rules 3.7 out wherever there are any.
        let newest = if last_normal.is_some() { Line::V3_6 } else { Line::V3_7 };
        hints.into_iter().flatten().max().unwrap_or(Line::V3_4).min(newest)
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

/// The newest line whose servers write requests found in the log.
fn asked_for(log: &Log<'_>) -> Option<Line> {
    let of = |decoded: Decoded| match decoded {
        Decoded::V2(request) if request.path == "/0/version" => Line::of(&request.val),
        // Servers of 3.5 understand both and write neither.
        Decoded::Request(request) if request.cluster_member_attr_set.is_some() => Some(Line::V3_6),
        Decoded::Request(request) => request
            .cluster_version_set
            .as_ref()
            .and_then(|set| Line::of(&set.ver))
            .map(|line| line.max(Line::V3_6)),
        _ => None,
    };
    let decode = |logged: &crate::wal::LoggedEntry<'_>| {
        Decoded::new(logged.entry.r#type.unwrap_or_default(), logged.entry.data)
    };
    // Servers ask when they start and soon after: the rest of a long log need not be looked at.
    const ENOUGH: usize = 1000;
    log.entries.iter().take(ENOUGH).filter_map(|logged| of(decode(logged))).max()
}
