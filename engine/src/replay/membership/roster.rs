//! A list of members and of those removed, and the changes of membership it accepts.

use std::collections::{BTreeMap, BTreeSet};

use serde::Deserialize;

use crate::{
    ids::MemberId,
    pb::raftpb::{ConfChange, ConfChangeType},
    replay::Refusal,
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
pub(super) struct Roster {
    pub(super) members: BTreeMap<MemberId, Member>,
    pub(super) removed: BTreeSet<MemberId>,
}

/// A change that was found valid.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Change {
    Add(Member),
    Promote(MemberId),
    Update(MemberId, Vec<String>),
    Remove(MemberId),
}

impl Roster {
    /// What `change` would do. Source: etcd `ValidateConfigurationChange`.
    pub(super) fn validate(&self, change: &ConfChange) -> Result<Change, Refusal> {
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
                let learners = self.members.values().filter(|member| member.is_learner).count();
                if learner && learners >= MAX_LEARNERS {
                    return Err(Refusal::TooManyLearners);
                }
                Ok(Change::Add(context.member))
            }
            ConfChangeType::RemoveNode if known.is_some() => Ok(Change::Remove(member)),
            ConfChangeType::UpdateNode if known.is_some() => {
                let urls = context(change)?.member.peer_urls;
                self.urls_are_new(&urls, Some(member))?;
                Ok(Change::Update(member, urls))
            }
            ConfChangeType::RemoveNode | ConfChangeType::UpdateNode => {
                Err(Refusal::MemberNotFound { member })
            }
        }
    }

    fn urls_are_new(&self, urls: &[String], own: Option<MemberId>) -> Result<(), Refusal> {
        let others = self.members.values().filter(|member| Some(member.id) != own);
        let taken: BTreeSet<&String> = others.flat_map(|member| &member.peer_urls).collect();
        match urls.iter().find(|url| taken.contains(url)) {
            Some(url) => Err(Refusal::PeerUrlExists { url: url.clone() }),
            None => Ok(()),
        }
    }

    /// Makes a change. A member it concerns that is not there is passed over.
    pub(super) fn make(&mut self, change: &Change) {
        match change {
            Change::Add(member) => {
                self.members.insert(member.id, member.clone());
            }
            Change::Promote(id) => {
                if let Some(member) = self.members.get_mut(id) {
                    member.is_learner = false;
                }
            }
            Change::Update(id, urls) => {
                if let Some(member) = self.members.get_mut(id) {
                    member.peer_urls.clone_from(urls);
                }
            }
            Change::Remove(id) => {
                self.members.remove(id);
                self.removed.insert(*id);
            }
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
        roster.make(&add);
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
            roster.make(&change);
        }
        let two = &roster.members[&MemberId(2)];
        assert_eq!(
            (two.is_learner, two.peer_urls.as_slice()),
            (false, &["http://c".to_owned()][..])
        );
        let remove = change(RemoveNode, 2, "");
        let gone = roster.validate(&remove).unwrap();
        roster.make(&gone);
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
        roster.make(&add);
        let third = r#"{"id":3,"peerURLs":["http://d"],"isLearner":true}"#;
        assert_eq!(refused(&roster, AddLearnerNode, 3, third), Refusal::TooManyLearners);
    }
}
