//! A list of members and of those removed, and the changes of membership it accepts.

use std::collections::{BTreeMap, BTreeSet, HashMap};

use serde::Deserialize;

use crate::{
    ids::MemberId,
    pb::raftpb::{ConfChange, ConfChangeType},
    replay::{Line, Refusal},
    schema::members::Member,
};

/// How many learners a cluster may have, unless told otherwise by a flag since 3.6.
const MAX_LEARNERS: usize = 1;

/// The member in a change of membership.
#[derive(Deserialize)]
struct Context {
    #[serde(flatten)]
    member: Member,
    /// Whether a learner becomes a voter.
    #[serde(rename = "isPromote", default)]
    is_promote: bool,
}

/// Members and former members.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct Roster {
    members: BTreeMap<MemberId, Member>,
    removed: BTreeSet<MemberId>,
    /// The members that have each peer URL: one, where none was let in by another way than a change.
    urls: HashMap<String, BTreeSet<MemberId>>,
    learners: usize,
}

/// A change that was found valid.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Change {
    Add(Member),
    Promote(MemberId),
    Update {
        id: MemberId,
        peer_urls: Vec<String>,
        /// What the request says of it. It never says that it is one, and 3.4 takes its word.
        is_learner: bool,
    },
    Remove(MemberId),
}

impl Change {
    /// The member it concerns.
    pub(crate) fn id(&self) -> MemberId {
        match self {
            Change::Add(member) => member.id,
            Change::Promote(id) | Change::Update { id, .. } | Change::Remove(id) => *id,
        }
    }
}

impl Roster {
    pub(crate) fn get(&self, id: MemberId) -> Option<&Member> {
        self.members.get(&id)
    }

    /// By id.
    pub(crate) fn members(&self) -> impl Iterator<Item = &Member> {
        self.members.values()
    }

    pub(crate) fn removed(&self) -> &BTreeSet<MemberId> {
        &self.removed
    }

    /// Adds a member, or replaces it.
    pub(crate) fn insert(&mut self, member: Member) {
        self.take(member.id);
        for url in &member.peer_urls {
            self.urls.entry(url.clone()).or_default().insert(member.id);
        }
        self.learners = self.learners.saturating_add(usize::from(member.is_learner));
        self.members.insert(member.id, member);
    }

    /// Takes a member out for good.
    pub(crate) fn remove(&mut self, id: MemberId) {
        self.take(id);
        self.removed.insert(id);
    }

    /// Notes that a member was removed some time, whatever is listed.
    pub(crate) fn ban(&mut self, id: MemberId) {
        self.removed.insert(id);
    }

    fn take(&mut self, id: MemberId) -> Option<Member> {
        let member = self.members.remove(&id)?;
        for url in &member.peer_urls {
            if let Some(owners) = self.urls.get_mut(url) {
                owners.remove(&id);
                if owners.is_empty() {
                    self.urls.remove(url);
                }
            }
        }
        self.learners = self.learners.saturating_sub(usize::from(member.is_learner));
        Some(member)
    }

    /// What a member publishes of itself; false when there is no such member.
    pub(crate) fn set_attributes(
        &mut self,
        id: MemberId,
        name: String,
        client_urls: Vec<String>,
    ) -> bool {
        let Some(member) = self.members.get_mut(&id) else { return false };
        member.name = name;
        member.client_urls = client_urls;
        true
    }

    /// What `change` would do. Source: etcd `ValidateConfigurationChange`.
    pub(crate) fn validate(&self, change: &ConfChange) -> Result<Change, Refusal> {
        let member = MemberId(change.node_id());
        if self.removed.contains(&member) {
            return Err(Refusal::MemberRemoved { member });
        }
        let known = self.members.get(&member);
        match change.r#type() {
            ConfChangeType::AddNode | ConfChangeType::AddLearnerNode => {
                let context = context(change)?;
                if context.is_promote {
                    return match known {
                        None => Err(Refusal::MemberNotFound { member }),
                        Some(known) if known.is_learner => Ok(Change::Promote(member)),
                        Some(_) => Err(Refusal::NotLearner { member }),
                    };
                }
                if known.is_some() {
                    return Err(Refusal::MemberExists { member });
                }
                self.urls_are_new(&context.member.peer_urls, None)?;
                let learner =
                    context.member.is_learner && change.r#type() == ConfChangeType::AddLearnerNode;
                if learner && self.learners >= MAX_LEARNERS {
                    return Err(Refusal::TooManyLearners);
                }
                Ok(Change::Add(context.member))
            }
            ConfChangeType::RemoveNode if known.is_some() => Ok(Change::Remove(member)),
            ConfChangeType::UpdateNode if known.is_some() => {
                let Member { peer_urls, is_learner, .. } = context(change)?.member;
                self.urls_are_new(&peer_urls, Some(member))?;
                Ok(Change::Update { id: member, peer_urls, is_learner })
            }
            ConfChangeType::RemoveNode | ConfChangeType::UpdateNode => {
                Err(Refusal::MemberNotFound { member })
            }
        }
    }

    fn urls_are_new(&self, urls: &[String], own: Option<MemberId>) -> Result<(), Refusal> {
        let taken = |url: &&String| {
            let owners = self.urls.get(*url).into_iter().flatten();
            // Of two one is another.
            owners.take(2).any(|owner| Some(*owner) != own)
        };
        match urls.iter().find(taken) {
            Some(url) => Err(Refusal::PeerUrlExists { url: url.clone() }),
            None => Ok(()),
        }
    }

    /// Makes a change as `line` does. A member it concerns that is not there is passed over.
    pub(crate) fn make(&mut self, line: Line, change: &Change) {
        let changed = |member: Member| match change {
            Change::Promote(_) => Member { is_learner: false, ..member },
            Change::Update { peer_urls, is_learner, .. } => {
                // 3.4 takes all that raft knows of a member from the request, later ones the URLs alone.
                let is_learner = if line == Line::V3_4 { *is_learner } else { member.is_learner };
                Member { peer_urls: peer_urls.clone(), is_learner, ..member }
            }
            Change::Add(_) | Change::Remove(_) => member,
        };
        match change {
            Change::Add(member) => self.insert(member.clone()),
            Change::Promote(id) | Change::Update { id, .. } => {
                if let Some(member) = self.take(*id) {
                    self.insert(changed(member));
                }
            }
            Change::Remove(id) => self.remove(*id),
        }
    }
}

fn context(change: &ConfChange) -> Result<Context, Refusal> {
    let context = change.context.as_deref().unwrap_or_default();
    serde_json::from_slice(context).map_err(|_| Refusal::MemberContext)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn change(kind: ConfChangeType, id: u64, context: &str) -> ConfChange {
        ConfChange {
            id: None,
            r#type: Some(kind.into()),
            node_id: Some(id),
            context: Some(context.as_bytes().to_vec()),
        }
    }

    fn one() -> Roster {
        let mut roster = Roster::default();
        let add =
            change(ConfChangeType::AddNode, 1, r#"{"id":1,"peerURLs":["http://a"],"name":"a"}"#);
        let add = roster.validate(&add).unwrap();
        roster.make(Line::V3_5, &add);
        roster
    }

    #[test]
    fn members_come_are_promoted_move_and_go_for_good() {
        use ConfChangeType::{AddLearnerNode, AddNode, RemoveNode, UpdateNode};
        let mut roster = one();
        let learner = r#"{"id":2,"peerURLs":["http://b"],"isLearner":true}"#;
        let promote = r#"{"id":2,"peerURLs":null,"isLearner":true,"isPromote":true}"#;
        let moved = r#"{"id":2,"peerURLs":["http://c"]}"#;
        for (kind, context) in [(AddLearnerNode, learner), (AddNode, promote), (UpdateNode, moved)]
        {
            let change = roster.validate(&change(kind, 2, context)).unwrap();
            roster.make(Line::V3_5, &change);
        }
        let two = roster.get(MemberId(2)).unwrap();
        assert_eq!(
            (two.is_learner, two.peer_urls.as_slice()),
            (false, &["http://c".to_owned()][..])
        );
        let remove = change(RemoveNode, 2, "");
        let gone = roster.validate(&remove).unwrap();
        roster.make(Line::V3_5, &gone);
        let member = MemberId(2);
        assert_eq!(roster.validate(&remove), Err(Refusal::MemberRemoved { member }));
        let again = change(AddNode, 2, learner);
        assert_eq!(roster.validate(&again), Err(Refusal::MemberRemoved { member }));
    }

    #[test]
    fn what_does_not_fit_is_refused() {
        use ConfChangeType::{AddLearnerNode, AddNode, RemoveNode, UpdateNode};
        let mut roster = one();
        let refused = |roster: &Roster, kind, id, context: &str| {
            roster.validate(&change(kind, id, context)).unwrap_err()
        };
        let (one, two) = (MemberId(1), MemberId(2));
        let same = r#"{"id":2,"peerURLs":["http://a"]}"#;
        assert_eq!(
            refused(&roster, AddNode, 2, same),
            Refusal::PeerUrlExists { url: "http://a".into() }
        );
        assert_eq!(refused(&roster, AddNode, 1, same), Refusal::MemberExists { member: one });
        assert_eq!(refused(&roster, RemoveNode, 2, ""), Refusal::MemberNotFound { member: two });
        assert_eq!(refused(&roster, UpdateNode, 2, same), Refusal::MemberNotFound { member: two });
        assert_eq!(refused(&roster, AddNode, 2, "{"), Refusal::MemberContext);
        let promote = r#"{"id":1,"peerURLs":null,"isPromote":true}"#;
        assert_eq!(refused(&roster, AddNode, 1, promote), Refusal::NotLearner { member: one });
        assert_eq!(refused(&roster, AddNode, 2, promote), Refusal::MemberNotFound { member: two });
        let learner = r#"{"id":2,"peerURLs":["http://b"],"isLearner":true}"#;
        let add = roster.validate(&change(AddLearnerNode, 2, learner)).unwrap();
        roster.make(Line::V3_5, &add);
        let third = r#"{"id":3,"peerURLs":["http://d"],"isLearner":true}"#;
        assert_eq!(refused(&roster, AddLearnerNode, 3, third), Refusal::TooManyLearners);
    }

    /// Tried with 3.4.23 and 3.5.35: `member add --learner`, `member update`, `member list`.
    #[test]
    fn a_learner_that_moves_is_none_any_more_in_3_4() {
        use ConfChangeType::{AddLearnerNode, UpdateNode};
        for (line, stays) in [(Line::V3_4, false), (Line::V3_5, true), (Line::V3_7, true)] {
            let mut roster = one();
            for (kind, context) in [
                (AddLearnerNode, r#"{"id":2,"peerURLs":["http://b"],"isLearner":true}"#),
                (UpdateNode, r#"{"id":2,"peerURLs":["http://c"]}"#),
            ] {
                let valid = roster.validate(&change(kind, 2, context)).unwrap();
                roster.make(line, &valid);
            }
            assert_eq!(roster.get(MemberId(2)).unwrap().is_learner, stays, "{line}");
            let third = r#"{"id":3,"peerURLs":["http://b"],"isLearner":true}"#;
            let third = roster.validate(&change(AddLearnerNode, 3, third));
            assert_eq!(third.is_err(), stays, "{line}: {third:?}");
        }
    }
}
