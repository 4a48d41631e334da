//! Who the members are: names and URLs for command lines.

use std::collections::BTreeMap;

use super::{facts::Conf, judge::Gathered};
use crate::{ids::MemberId, schema::members::Member, shell, start::Node};

/// Where a client reaches a member that tells no URL.
pub(super) const LOCAL: &str = "http://127.0.0.1:2379";

/// Bytes of the longest name that a directory can have: `restore --all-members` makes one of each member's name.
const LONGEST_NAME: usize = 255;
/// Bytes of the longest URL that is printed: a host name has at most 253 of them, the path of a socket 107.
const LONGEST_URL: usize = 1024;
/// Bytes of the longest word that Linux takes on a command line.
const LONGEST_WORD: usize = (128 << 10) - 1;
/// Members that commands are printed for; etcd's documentation advises at most 7.
const MOST_MEMBERS: usize = 64;

/// Names and URLs of members, from whichever path has them.
pub(super) struct Roster {
    members: BTreeMap<MemberId, Member>,
}

impl Roster {
    pub(super) fn new(gathered: &Gathered<'_>) -> Self {
        let mut members: BTreeMap<MemberId, Member> = BTreeMap::new();
        let chosen = gathered.chosen().into_iter();
        for state in chosen.chain(gathered.facts).filter_map(|one| one.state.as_ref()) {
            for member in &state.members {
                let known = members.entry(member.id).or_insert_with(|| member.clone());
                // A member's name and client URLs reach a db only once it has published itself.
                if known.name.is_empty() {
                    known.name.clone_from(&member.name);
                }
                if known.client_urls.is_empty() {
                    known.client_urls.clone_from(&member.client_urls);
                }
                if known.peer_urls.is_empty() {
                    known.peer_urls.clone_from(&member.peer_urls);
                }
            }
        }
        for member in members.values_mut() {
            if member.name.len() > LONGEST_NAME {
                member.name.clear();
            }
            member.peer_urls.retain(|url| url.len() <= LONGEST_URL);
            member.client_urls.retain(|url| url.len() <= LONGEST_URL);
        }
        // The start line of every member names all members: a line that cannot be run must not fill memory either.
        let pairs = |member: &Member| joined(&member.peer_urls, member.name.len() + 1);
        let many = members.len() > MOST_MEMBERS;
        let has_room = !many && members.values().map(pairs).sum::<usize>() <= LONGEST_WORD;
        for member in members.values_mut() {
            if !has_room {
                member.peer_urls.clear();
            }
            if joined(&member.client_urls, 0) > LONGEST_WORD {
                member.client_urls.clear();
            }
        }
        Self { members }
    }

    pub(super) fn member(&self, id: MemberId) -> Option<&Member> {
        self.members.get(&id).filter(|member| !member.peer_urls.is_empty())
    }

    /// As a member is started, under the name that a new cluster gives it.
    pub(super) fn node(&self, member: &Member) -> Node {
        Node { id: member.id, name: self.name(member.id), peer_urls: member.peer_urls.clone() }
    }

    /// All members, under these names.
    pub(super) fn known(&self) -> impl Iterator<Item = Member> {
        self.members.values().map(|one| Member { name: self.name(one.id), ..one.clone() })
    }

    pub(super) fn name(&self, id: MemberId) -> String {
        match self.members.get(&id) {
            Some(member) if !member.name.is_empty() => member.name.clone(),
            _ => format!("member-{id}"),
        }
    }

    pub(super) fn shown(&self, id: MemberId) -> String {
        match self.members.get(&id) {
            Some(member) if !member.name.is_empty() => member.name.clone(),
            _ => format!("member {id}"),
        }
    }

    /// Members of the new cluster: those that voted in the old one and have a URL.
    pub(super) fn voters(&self, gathered: &Gathered<'_>) -> Vec<MemberId> {
        let conf = gathered.survey.quorum.as_ref().map(|quorum| &quorum.conf);
        let known = |id: &MemberId| self.member(*id).is_some();
        let by_raft: Vec<MemberId> = conf
            .map(|conf: &Conf| conf.voters.iter().map(|id| MemberId(*id)).filter(known).collect())
            .unwrap_or_default();
        if !by_raft.is_empty() {
            return self.sorted(by_raft);
        }
        let listed = gathered.chosen().and_then(|one| one.state.as_ref());
        let listed = listed.map(|state| state.members.as_slice()).unwrap_or_default();
        listed
            .iter()
            .filter(|member| !member.is_learner)
            .map(|member| member.id)
            .filter(known)
            .collect()
    }

    /// Ids in the order of what is shown for them.
    pub(super) fn sorted(&self, ids: impl IntoIterator<Item = MemberId>) -> Vec<MemberId> {
        let mut ids: Vec<MemberId> = ids.into_iter().collect();
        ids.sort_by_key(|id| (self.shown(*id), *id));
        ids
    }

    pub(super) fn initial_cluster(&self, ids: &[MemberId]) -> String {
        let mut pairs: Vec<String> = Vec::new();
        for id in ids {
            let Some(member) = self.member(*id) else { continue };
            let name = self.name(*id);
            pairs.extend(member.peer_urls.iter().map(|url| format!("{name}={url}")));
        }
        if pairs.is_empty() { "default=http://localhost:2380".to_owned() } else { pairs.join(",") }
    }
}

/// Bytes of `urls` as one word, each with `more` bytes before it and a comma behind it.
fn joined(urls: &[String], more: usize) -> usize {
    urls.iter().map(|url| url.len() + more + 1).sum()
}

pub(super) fn is_tls(url: &str) -> bool {
    url.starts_with("https://")
}

/// A command line of `etcdctl`. The paths of certificates are for people to fill in.
pub(super) fn etcdctl(endpoints: &[String], words: &[&str]) -> String {
    let local = [LOCAL.to_owned()];
    let endpoints = if endpoints.is_empty() { &local } else { endpoints };
    let mut line = vec!["etcdctl".to_owned(), format!("--endpoints={}", endpoints.join(","))];
    if endpoints.iter().any(|url| is_tls(url)) {
        line.extend(["--cacert=ca.crt", "--cert=client.crt", "--key=client.key"].map(String::from));
    }
    line.extend(words.iter().map(|word| (*word).to_owned()));
    shell::line(line)
}
