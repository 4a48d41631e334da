//! Members, raft's configuration, cluster version and downgrade, while entries are applied to them.

mod proven;
mod roster;
pub(super) mod v2;

use std::collections::{BTreeMap, BTreeSet};

pub use proven::{Start, proven};
pub(crate) use roster::{Change, Roster};
pub(crate) use v2::roster;

use super::{Line, Refusal, error, error::Error, state::Records};
use crate::{
    ids::MemberId,
    pb::{
        entry::Decoded,
        raftpb::{self, ConfChange, ConfChangeType},
        requestpb::InternalRaftRequest,
    },
    schema::{
        MetaRecords, Store, bucket, json,
        members::{self, Member},
        meta::{self, ConfState, Downgrade},
    },
};

/// Raft's configuration.
#[derive(Clone, Debug, Default)]
struct Conf {
    voters: BTreeSet<u64>,
    learners: BTreeSet<u64>,
    /// Of a joint configuration, which etcd never makes.
    rest: ConfState,
}

impl From<ConfState> for Conf {
    fn from(mut rest: ConfState) -> Self {
        let set = |ids: &mut Vec<u64>| std::mem::take(ids).into_iter().collect();
        Self { voters: set(&mut rest.voters), learners: set(&mut rest.learners), rest }
    }
}

impl Conf {
    fn state(&self) -> ConfState {
        let list = |ids: &BTreeSet<u64>| ids.iter().copied().collect();
        let (voters, learners) = (list(&self.voters), list(&self.learners));
        ConfState { voters, learners, ..self.rest.clone() }
    }

    /// Raft's part of a change: who votes and who learns.
    fn make(&mut self, change: &ConfChange) {
        let node = change.node_id();
        let kind = change.r#type();
        if node == 0 || kind == ConfChangeType::UpdateNode {
            return;
        }
        self.voters.remove(&node);
        self.learners.remove(&node);
        match kind {
            ConfChangeType::AddNode => self.voters.insert(node),
            ConfChangeType::AddLearnerNode => self.learners.insert(node),
            ConfChangeType::RemoveNode | ConfChangeType::UpdateNode => false,
        };
    }
}

/// The membership of a cluster as one member knows it.
#[derive(Clone, Debug, Default)]
pub struct Membership {
    own: Option<MemberId>,
    db: Roster,
    /// Up to 3.5 members also live in the v2 store, which is asked whether a change is valid.
    v2: Option<Roster>,
    conf: Conf,
    conf_changed: bool,
    cluster_version: Option<String>,
    downgrade: Option<Downgrade>,
    /// Ids whose records in bucket `members` are no longer those of the db.
    changed: BTreeSet<MemberId>,
    /// The db's records, for those that stay.
    raw: BTreeMap<Vec<u8>, Vec<u8>>,
    removed_changed: bool,
    cluster_changed: bool,
}

impl Membership {
    /// What a db says.
    ///
    /// # Errors
    /// When a page or record is damaged.
    pub fn load(store: &Store<'_>) -> Result<Self, Error> {
        let (meta, _) = MetaRecords::read(store)?;
        let listed = error::all(members::members(store)?)?.into_iter();
        let removed = error::all(members::removed(store)?)?;
        let raw = match store.bucket(bucket::MEMBERS)? {
            Some(members) => {
                let pair = |item: crate::bolt::Item<'_>| (item.key.to_vec(), item.value.to_vec());
                members.items().map(|item| item.map(pair)).collect::<Result<_, _>>()?
            }
            None => BTreeMap::new(),
        };
        let mut db = Roster::default();
        listed.for_each(|member| db.insert(member));
        removed.into_iter().for_each(|id| db.ban(id));
        Ok(Self {
            db,
            conf: meta.conf_state.unwrap_or_default().into(),
            cluster_version: meta.cluster_version,
            downgrade: meta.downgrade,
            raw,
            ..Self::default()
        })
    }

    /// Says whose log is applied, and what raft's configuration is before the first entry.
    pub fn begin(&mut self, own: Option<MemberId>, conf: &raftpb::ConfState) {
        self.own = own;
        self.conf = Conf::from(ConfState {
            voters: conf.voters.clone(),
            learners: conf.learners.clone(),
            voters_outgoing: conf.voters_outgoing.clone(),
            learners_next: conf.learners_next.clone(),
            auto_leave: conf.auto_leave(),
        });
    }

    /// Says what members the v2 store of a snapfile has; nothing changes when it cannot be read.
    pub fn begin_v2(&mut self, v2_store: &[u8]) {
        self.v2 = roster(v2_store);
    }

    /// Notes a change of membership that the db contains already, for raft and the v2 store.
    pub fn note_applied(&mut self, line: Line, change: &ConfChange) {
        match &mut self.v2 {
            Some(v2) => {
                // A change that was refused then is refused now, and raft was told of nobody.
                if let Ok(valid) = v2.validate(change) {
                    v2.make(line, &valid);
                    self.conf.make(change);
                }
            }
            // The db is ahead of this change, so that it cannot say whether it was valid.
            None => self.conf.make(change),
        }
    }

    /// Notes an entry that the db contains already.
    pub(super) fn note(&mut self, line: Line, entry: &Decoded) {
        match entry {
            Decoded::ConfChange(change) => self.note_applied(line, change),
            Decoded::V2(request) => {
                if let (Some(v2), Some(v2::Effect::Attributes(id, name, urls))) =
                    (&mut self.v2, v2::effect(request))
                {
                    v2.set_attributes(id, name, urls);
                }
            }
            Decoded::Empty | Decoded::Request(_) | Decoded::Unknown => {}
        }
    }

    /// Raft's configuration.
    pub fn conf_state(&self) -> ConfState {
        self.conf.state()
    }

    /// The members, by id.
    pub fn members(&self) -> impl Iterator<Item = &Member> {
        self.db.members()
    }

    /// The cluster's version as text.
    pub fn cluster_version(&self) -> Option<&str> {
        self.cluster_version.as_deref()
    }

    /// Changes the membership; true when it removes the member whose log this is.
    ///
    /// # Errors
    /// When it is not valid.
    pub fn conf_change(&mut self, line: Line, change: &ConfChange) -> Result<bool, Refusal> {
        let judge = match &self.v2 {
            Some(v2) if line <= Line::V3_5 => v2,
            _ => &self.db,
        };
        let valid = judge.validate(change)?;
        self.conf.make(change);
        self.conf_changed = true;
        if let Some(v2) = &mut self.v2 {
            v2.make(line, &valid);
        }
        self.db.make(line, &valid);
        let id = valid.id();
        self.removed_changed |= matches!(valid, Change::Remove(_));
        self.changed.insert(id);
        Ok(matches!(valid, Change::Remove(_)) && self.own == Some(id))
    }

    /// Does what `request` asks for if it is about the cluster; `None` when it is not.
    pub fn request(&mut self, request: &InternalRaftRequest) -> Option<()> {
        if let Some(set) = &request.cluster_version_set {
            self.set_cluster_version(&set.ver);
        } else if let Some(set) = &request.cluster_member_attr_set {
            let attributes = set.member_attributes.clone().unwrap_or_default();
            self.set_attributes(MemberId(set.member_id), attributes.name, attributes.client_urls);
        } else if let Some(set) = &request.downgrade_info_set {
            let target_version = if set.enabled { set.ver.clone() } else { String::new() };
            self.downgrade = Some(Downgrade { target_version, enabled: set.enabled });
            self.cluster_changed = true;
        } else {
            return request.downgrade_version_test.as_ref().map(|_| ());
        }
        Some(())
    }

    /// Does what a request of the v2 API does to the db: a member publishes itself, or the cluster's
    /// version is set. All others touch the v2 store alone.
    pub fn v2_request(&mut self, request: &crate::pb::requestpb::V2Request) {
        match v2::effect(request) {
            Some(v2::Effect::Attributes(id, name, urls)) => self.set_attributes(id, name, urls),
            Some(v2::Effect::Version(version)) => self.set_cluster_version(&version),
            None => {}
        }
    }

    fn set_cluster_version(&mut self, version: &str) {
        self.cluster_version = Some(version.to_owned());
        self.cluster_changed = true;
    }

    fn set_attributes(&mut self, id: MemberId, name: String, client_urls: Vec<String>) {
        if let Some(v2) = &mut self.v2
            && v2.set_attributes(id, name.clone(), client_urls.clone())
            && self.db.get(id).is_none()
            && let Some(member) = v2.get(id)
        {
            // Such a server takes the member from there, whether the db has it or not.
            self.db.insert(member.clone());
        }
        if self.db.set_attributes(id, name, client_urls) {
            self.changed.insert(id);
        }
    }

    /// Record `confState`, when it changed. Empty configurations are not stored.
    pub(super) fn conf_state_record(&self) -> Option<Vec<u8>> {
        self.conf_changed.then(|| json::conf_state(&self.conf.state()).into_bytes())
    }

    /// Contents of the buckets that the entries changed.
    pub(super) fn changed_buckets(&self) -> Vec<(&'static str, Records)> {
        let mut buckets = Vec::new();
        if self.cluster_changed {
            let version = self.cluster_version.iter();
            let version = version.map(|version| {
                (meta::CLUSTER_VERSION.as_bytes().to_vec(), version.clone().into_bytes())
            });
            let downgrade = self.downgrade.iter();
            let downgrade = downgrade.map(|downgrade| {
                (meta::DOWNGRADE.as_bytes().to_vec(), json::downgrade(downgrade).into_bytes())
            });
            buckets.push((bucket::CLUSTER, version.chain(downgrade).collect()));
        }
        if !self.changed.is_empty() {
            let mut records = self.raw.clone();
            for id in &self.changed {
                let key = id.to_string().into_bytes();
                match self.db.get(*id) {
                    Some(member) => records.insert(key, json::member(member).into_bytes()),
                    None => records.remove(&key),
                };
            }
            buckets.push((bucket::MEMBERS, records.into_iter().collect()));
        }
        if self.removed_changed {
            // By their text, as all keys are ordered, not by number.
            let keys: BTreeSet<String> =
                self.db.removed().iter().map(MemberId::to_string).collect();
            let records = keys.into_iter().map(|id| (id.into_bytes(), b"removed".to_vec()));
            buckets.push((bucket::MEMBERS_REMOVED, records.collect()));
        }
        buckets
    }
}
