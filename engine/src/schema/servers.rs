//! Which servers start on which data: what was tried with real ones, and nothing else.
//!
//! A release line is known here by one patch level, the one that was tried. The conformance tests hold this table against
//! those servers, on data of each of them, restored and as it stands.

use std::fmt;

use super::{
    MetaRecords,
    meta::{Downgrade, Version},
};

/// A server that was tried.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Server {
    /// etcd 3.4.23.
    V3_4,
    /// etcd 3.5.35.
    V3_5,
    /// etcd 3.6.16.
    V3_6,
    /// etcd 3.7.3.
    V3_7,
}

impl Server {
    /// All of them, the oldest first.
    pub const ALL: [Server; 4] = [Server::V3_4, Server::V3_5, Server::V3_6, Server::V3_7];

    /// Its version.
    pub fn version(self) -> &'static str {
        match self {
            Server::V3_4 => "3.4.23",
            Server::V3_5 => "3.5.35",
            Server::V3_6 => "3.6.16",
            Server::V3_7 => "3.7.3",
        }
    }

    /// Major and minor version.
    fn line(self) -> (u64, u64) {
        match self {
            Server::V3_4 => (3, 4),
            Server::V3_5 => (3, 5),
            Server::V3_6 => (3, 6),
            Server::V3_7 => (3, 7),
        }
    }

    /// Whether it starts on a data dir that was made of a db that says `meta` of itself by a restore, which writes a new
    /// log and no cluster version for servers up to 3.5.
    ///
    /// # Errors
    /// What keeps it from starting.
    pub fn starts_on_restored(self, meta: &MetaRecords) -> Result<(), Obstacle> {
        match self {
            Server::V3_4 => Ok(()),
            Server::V3_5 => self.accepts(None, meta.downgrade.as_ref()),
            Server::V3_6 | Server::V3_7 => self.starts_on_db(meta),
        }
    }

    /// Whether a server of 3.6 or later starts on a db that says `meta` of itself. Source: etcd
    /// `server/storage/schema/schema.go`, `server/etcdserver/version/downgrade.go`.
    ///
    /// # Errors
    /// What keeps it from starting.
    pub fn starts_on_db(self, meta: &MetaRecords) -> Result<(), Obstacle> {
        let storage = meta.storage_version.as_deref();
        if let Some(version) = storage.and_then(Version::parse)
            && !((3, 5)..=self.line()).contains(&(version.major, version.minor))
        {
            return Err(Obstacle::StorageVersion(storage.unwrap_or_default().to_owned()));
        }
        self.accepts(meta.cluster_version.as_deref(), None)
    }

    /// Whether it takes part in a cluster of version `cluster`, where `downgrade` is what it knows of one. Up to 3.5 a
    /// downgrade decides alone; later servers do not ask for it. Source: etcd `membership/downgrade.go` of 3.5.
    ///
    /// # Errors
    /// What keeps it from taking part.
    pub fn accepts(
        self,
        cluster: Option<&str>,
        downgrade: Option<&Downgrade>,
    ) -> Result<(), Obstacle> {
        let target = downgrade.and_then(Downgrade::target);
        if let (Server::V3_5, Some(target)) = (self, target) {
            let own = Version { major: 3, minor: 5, patch: 0 };
            return if Version::parse(target) == Some(own) {
                Ok(())
            } else {
                Err(Obstacle::Downgrade(target.to_owned()))
            };
        }
        match cluster.and_then(Version::parse) {
            Some(version) if (version.major, version.minor) > self.line() => {
                Err(Obstacle::ClusterVersion(cluster.unwrap_or_default().to_owned()))
            }
            _ => Ok(()),
        }
    }
}

impl fmt::Display for Server {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.version())
    }
}

/// What keeps a server from starting.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum Obstacle {
    /// A storage version that it does not know.
    #[error("the db has storage version {0}")]
    StorageVersion(String),
    /// A cluster of a later version.
    #[error("the cluster version is {0}")]
    ClusterVersion(String),
    /// A downgrade to another version than its own.
    #[error("a downgrade to {0} is under way")]
    Downgrade(String),
    /// An entry of the log that it does not apply, by its raft index.
    #[error("entry {0} of the log is a v2 request")]
    V2Request(u64),
    /// Keys of users in the v2 store.
    #[error("the v2 store has keys of users")]
    V2Content,
    /// An entry of the log that only later servers know, by its raft index.
    #[error("entry {0} of the log is a request of a later version")]
    LaterRequest(u64),
}

/// Which servers do not start, as one sentence: `3.5.35 (reason)`, joined by commas; `None` when all do.
pub fn refusing(
    starts: impl IntoIterator<Item = (Server, Result<(), Obstacle>)>,
) -> Option<String> {
    let refusing = starts.into_iter().filter_map(|(server, starts)| {
        let obstacle = starts.err()?;
        Some(format!("{server} ({obstacle})"))
    });
    let refusing: Vec<String> = refusing.collect();
    (!refusing.is_empty()).then(|| refusing.join(", "))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn meta(storage: Option<&str>, cluster: Option<&str>, target: Option<&str>) -> MetaRecords {
        let downgrade = target.map(|target| Downgrade {
            target_version: target.to_owned(),
            enabled: !target.is_empty(),
        });
        MetaRecords {
            storage_version: storage.map(str::to_owned),
            cluster_version: cluster.map(str::to_owned),
            downgrade,
            ..MetaRecords::default()
        }
    }

    /// What the servers did on restored data; the conformance tests ask them again.
    #[test]
    fn restored_data_is_refused_as_real_servers_refuse_it() {
        let cases = [
            (meta(None, None, None), "1111"),
            (meta(None, Some("3.4.0"), None), "1111"),
            (meta(None, Some("3.5.0"), None), "1111"),
            (meta(Some("3.6.0"), Some("3.6.0"), None), "1111"),
            (meta(Some("3.7.0"), Some("3.7.0"), None), "1101"),
            (meta(Some("3.6.0"), Some("3.7.0"), None), "1101"),
            (meta(Some("3.6.0"), Some("3.6.0"), Some("3.5.0")), "1111"),
            (meta(Some("3.7.0"), Some("3.7.0"), Some("3.6.0")), "1001"),
            (meta(Some("3.6.0"), Some("3.6.0"), Some("3.6.0")), "1011"),
            // A downgrade that was cancelled.
            (meta(Some("3.6.0"), Some("3.6.0"), Some("")), "1111"),
        ];
        for (meta, expected) in cases {
            let starts = Server::ALL.map(|server| server.starts_on_restored(&meta));
            let digits: String =
                starts.iter().map(|starts| if starts.is_ok() { '1' } else { '0' }).collect();
            assert_eq!(digits, expected, "{meta:?}: {starts:?}");
        }
    }

    #[test]
    fn those_that_refuse_are_named_with_their_reasons() {
        let meta = meta(Some("3.7.0"), Some("3.7.0"), Some("3.6.0"));
        let starts = Server::ALL.map(|server| (server, server.starts_on_restored(&meta)));
        assert_eq!(
            refusing(starts).unwrap(),
            "3.5.35 (a downgrade to 3.6.0 is under way), 3.6.16 (the db has storage version 3.7.0)"
        );
        assert_eq!(refusing([(Server::V3_4, Ok(()))]), None);
    }
}
