//! Which of the servers that were tried start on a data dir as it stands.
//!
//! Besides what its db says ([`Server`]) a server meets what the snapfile says of the cluster's version, and the
//! requests in the part of the log that it applies anew: of every version those that later versions brought, and from
//! 3.6 on those of the v2 API.

use super::{Line, ReadSnapfile, boot::Chosen, membership::v2};
use crate::{
    pb::{entry::Decoded, raftpb::EntryType, wire::spans},
    schema::{
        MetaRecords,
        meta::Downgrade,
        servers::{Obstacle, Server},
    },
    wal::Log,
};

/// Numbers of the fields of a request that a server may not know: of the v2 API, about the cluster.
const OF_INTEREST: [u32; 5] = [2, 1300, 1301, 1302, 9900];

impl From<Server> for Line {
    fn from(server: Server) -> Self {
        match server {
            Server::V3_4 => Line::V3_4,
            Server::V3_5 => Line::V3_5,
            Server::V3_6 => Line::V3_6,
            Server::V3_7 => Line::V3_7,
        }
    }
}

/// A request that not every server applies.
#[derive(Clone, Debug)]
enum Asks {
    /// Of the v2 API: the cluster's version, a member's name.
    V2 { version: Option<String> },
    /// Of the v2 API: anything else.
    V2Other,
    /// The cluster's version or a member's name; since 3.5.
    Cluster { version: Option<String> },
    /// The beginning or end of a downgrade; since 3.5.
    Downgrade(Downgrade),
    /// Nothing; since 3.6.
    Test,
}

/// What a log and its snapfiles say to servers that start on them.
#[derive(Clone, Debug, Default)]
pub struct Requests {
    /// With their raft indexes, ascending.
    asks: Vec<(u64, Asks)>,
    /// Index of the snapfile that servers up to 3.6 start from; 0 for none.
    snapfile: u64,
    /// What the v2 store in it says.
    glance: v2::Glance,
    /// Index of the mark that later servers start from; 0 for none.
    mark: u64,
}

impl Requests {
    /// What `log`, without entries that were overridden, and `snapfiles` say.
    pub fn of(log: &Log<'_>, snapfiles: &[ReadSnapfile]) -> Self {
        let mut asks: Vec<(u64, Asks)> = Vec::new();
        for logged in &log.entries {
            let entry = &logged.entry;
            while asks.last().is_some_and(|(index, _)| *index >= entry.index) {
                asks.pop();
            }
            let kind = entry.r#type.unwrap_or_default();
            let mut spans = spans(entry.data).map_while(Result::ok);
            if kind == EntryType::Normal as i32
                && spans.any(|span| OF_INTEREST.contains(&span.field))
                && let Some(ask) = asks_for(&Decoded::new(kind, entry.data))
            {
                asks.push((entry.index, ask));
            }
        }
        let snapfile = Chosen::of(log, Line::V3_6, snapfiles);
        let v2_store = snapfile.content.and_then(|content| content.data.as_deref());
        Self {
            asks,
            snapfile: snapfile.index,
            glance: v2_store.map(v2::glance).unwrap_or_default(),
            mark: Chosen::of(log, Line::V3_7, snapfiles).index,
        }
    }

    /// Whether `server` starts on the data dir whose log this is, if nothing is damaged: its db says `meta` of itself.
    ///
    /// # Errors
    /// What keeps it from starting.
    pub fn starts(&self, server: Server, meta: &MetaRecords) -> Result<(), Obstacle> {
        let contained = meta.consistent_index.unwrap_or_default();
        let start = if server >= Server::V3_7 { self.mark } else { self.snapfile };
        let mut downgrade = meta.downgrade.clone();
        if server <= Server::V3_5 {
            server.accepts(self.glance.version.as_deref(), downgrade.as_ref())?;
        } else {
            server.starts_on_db(meta)?;
        }
        if server == Server::V3_6 && self.glance.used {
            return Err(Obstacle::V2Content);
        }
        for (index, ask) in self.asks.iter().filter(|(index, _)| *index > start) {
            let unknown = match ask {
                Asks::Cluster { .. } | Asks::Downgrade(_) => server < Server::V3_5,
                Asks::Test => server < Server::V3_6,
                Asks::V2 { .. } | Asks::V2Other => false,
            };
            // What the db contains already is passed over unread.
            if unknown && *index > contained {
                return Err(Obstacle::LaterRequest(*index));
            }
            match ask {
                _ if unknown => {}
                Asks::V2Other if server == Server::V3_6 => {
                    return Err(Obstacle::V2Request(*index));
                }
                Asks::V2 { .. } | Asks::V2Other if server >= Server::V3_7 => {
                    return Err(Obstacle::V2Request(*index));
                }
                Asks::V2 { version: Some(version) } | Asks::Cluster { version: Some(version) } => {
                    server.accepts(Some(version), downgrade.as_ref())?;
                }
                Asks::Downgrade(new) => downgrade = Some(new.clone()),
                Asks::V2 { .. } | Asks::V2Other | Asks::Cluster { .. } | Asks::Test => {}
            }
        }
        Ok(())
    }
}

fn asks_for(entry: &Decoded) -> Option<Asks> {
    match entry {
        Decoded::V2(request) => Some(match v2::effect(request) {
            Some(v2::Effect::Version(version)) => Asks::V2 { version: Some(version) },
            Some(v2::Effect::Attributes(..)) => Asks::V2 { version: None },
            None => Asks::V2Other,
        }),
        Decoded::Request(request) => {
            if let Some(set) = &request.cluster_version_set {
                Some(Asks::Cluster { version: Some(set.ver.clone()) })
            } else if request.cluster_member_attr_set.is_some() {
                Some(Asks::Cluster { version: None })
            } else if let Some(set) = &request.downgrade_info_set {
                let target_version = if set.enabled { set.ver.clone() } else { String::new() };
                Some(Asks::Downgrade(Downgrade { target_version, enabled: set.enabled }))
            } else {
                request.downgrade_version_test.as_ref().map(|_| Asks::Test)
            }
        }
        Decoded::Empty | Decoded::ConfChange(_) | Decoded::Unknown => None,
    }
}
