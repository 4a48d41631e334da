//! Who the restored members are: names, peer URLs and a token in, ids out.
//!
//! The ids are hashes of words of the command line alone. The same words give the same ids, on every
//! version of etcd: restoring a backup beside the cluster it came from, with that cluster's token and
//! URLs, makes members that cannot be told apart from the old ones.

use std::collections::BTreeMap;

use sha1::{Digest, Sha1};

use super::peer_url::{PeerUrl, UrlError};
use crate::ids::{ClusterId, MemberId};

/// Words that do not describe a cluster, in the order in which etcdutl looks for them.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum IdentityError {
    /// A URL of the cluster is one etcd refuses.
    #[error("member {name:?} of the initial cluster")]
    Url {
        /// The member it was given for.
        name: String,
        /// What is wrong with it.
        source: UrlError,
    },
    /// The member to restore is not in the cluster.
    #[error(
        "no member {name:?} in the initial cluster, which has {}",
        if known.is_empty() { "none".to_owned() } else { known.join(", ") }
    )]
    UnknownName {
        /// The name asked for.
        name: String,
        /// The names there are, sorted.
        known: Vec<String>,
    },
    /// The member advertises other URLs than the cluster knows it by.
    #[error(
        "member {name:?} has {} in the initial cluster and advertises {}; \
         host names are compared as text, without DNS",
        initial.join(","), advertised.join(",")
    )]
    Advertised {
        /// The member.
        name: String,
        /// Its URLs in the initial cluster, sorted.
        initial: Vec<String>,
        /// The URLs it advertises, sorted.
        advertised: Vec<String>,
    },
    /// A URL is given twice.
    #[error("initial cluster has {url} twice, for {first:?} and {second:?}")]
    DuplicateUrl {
        /// The URL.
        url: String,
        /// A member that has it.
        first: String,
        /// Another, or the same.
        second: String,
    },
    /// There is no member at all.
    #[error("initial cluster has no members")]
    Empty,
    /// Two members' URLs run together into the same text.
    #[error("members {first:?} and {second:?} both get id {id}")]
    SameId {
        /// The id.
        id: MemberId,
        /// The first by name.
        first: String,
        /// The second by name.
        second: String,
    },
    /// Raft uses the id for "no member". One in 2^64 sets of words gets here.
    #[error("member {name:?} gets id 0, which means no member; another token helps")]
    ZeroId {
        /// The member.
        name: String,
    },
}

/// A member-to-be of a restored cluster.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Member {
    /// Hash of its URLs and the token.
    pub id: MemberId,
    /// Its name; may be empty, as in etcd.
    pub name: String,
    /// Its peer URLs, sorted; at least one.
    pub peer_urls: Vec<String>,
}

/// A restored cluster-to-be.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Cluster {
    /// Hash of the members' ids.
    pub id: ClusterId,
    /// The members, ascending by id; at least one. All of them vote.
    pub members: Vec<Member>,
}

impl Cluster {
    /// The member of that name.
    pub fn member_named(&self, name: &str) -> Option<&Member> {
        self.members.iter().find(|member| member.name == name)
    }
}

/// Names and peer URLs: the value of `--initial-cluster`, read.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct InitialCluster {
    members: BTreeMap<String, Vec<PeerUrl>>,
}

impl InitialCluster {
    /// Reads `name=url,name=url,…`. A repeated name adds a URL, empty items are skipped, and an item
    /// without `=` is a name with an empty URL, which is refused.
    ///
    /// # Errors
    /// [`IdentityError::Url`] for the first URL etcd would refuse.
    pub fn parse(text: &str) -> Result<Self, IdentityError> {
        let mut members: BTreeMap<String, Vec<PeerUrl>> = BTreeMap::new();
        for item in text.split(',').filter(|item| !item.is_empty()) {
            let (name, url) = item.split_once('=').unwrap_or((item, ""));
            let url = PeerUrl::parse(url)
                .map_err(|source| IdentityError::Url { name: name.to_owned(), source })?;
            members.entry(name.to_owned()).or_default().push(url);
        }
        for urls in members.values_mut() {
            urls.sort();
        }
        Ok(Self { members })
    }

    /// The members' names, sorted.
    pub fn names(&self) -> impl Iterator<Item = &str> {
        self.members.keys().map(String::as_str)
    }

    /// A member's URLs, sorted.
    pub fn peer_urls(&self, name: &str) -> Option<&[PeerUrl]> {
        self.members.get(name).map(Vec::as_slice)
    }

    /// Checks that the member to restore is in the cluster and advertises the URLs it has there. etcdutl
    /// asks DNS when the texts differ; here only ways of writing an IP address are evened out.
    ///
    /// # Errors
    /// [`IdentityError::UnknownName`] and [`IdentityError::Advertised`].
    pub fn check_member(&self, name: &str, advertised: &[PeerUrl]) -> Result<(), IdentityError> {
        let initial = self.peer_urls(name).ok_or_else(|| IdentityError::UnknownName {
            name: name.to_owned(),
            known: self.names().map(str::to_owned).collect(),
        })?;
        if addresses(initial) == addresses(advertised) {
            return Ok(());
        }
        Err(IdentityError::Advertised {
            name: name.to_owned(),
            initial: texts(initial),
            advertised: texts(advertised),
        })
    }

    /// Computes the ids.
    ///
    /// # Errors
    /// [`IdentityError::DuplicateUrl`], [`IdentityError::Empty`], [`IdentityError::SameId`] and
    /// [`IdentityError::ZeroId`].
    pub fn cluster(&self, token: &str) -> Result<Cluster, IdentityError> {
        self.check_urls_are_distinct()?;
        if self.members.is_empty() {
            return Err(IdentityError::Empty);
        }
        let mut by_id: BTreeMap<MemberId, Member> = BTreeMap::new();
        for (name, urls) in &self.members {
            let peer_urls = texts(urls);
            let id = member_id(&peer_urls, token);
            if id == MemberId(0) {
                return Err(IdentityError::ZeroId { name: name.clone() });
            }
            let member = Member { id, name: name.clone(), peer_urls };
            if let Some(first) = by_id.insert(id, member) {
                let (first, second) = (first.name, name.clone());
                return Err(IdentityError::SameId { id, first, second });
            }
        }
        let members: Vec<Member> = by_id.into_values().collect();
        let id = cluster_id(members.iter().map(|member| member.id));
        Ok(Cluster { id, members })
    }

    fn check_urls_are_distinct(&self) -> Result<(), IdentityError> {
        let mut owners: BTreeMap<&str, &str> = BTreeMap::new();
        for (name, urls) in &self.members {
            for url in urls {
                if let Some(first) = owners.insert(url.as_str(), name) {
                    return Err(IdentityError::DuplicateUrl {
                        url: url.to_string(),
                        first: first.to_owned(),
                        second: name.clone(),
                    });
                }
            }
        }
        Ok(())
    }
}

fn texts(urls: &[PeerUrl]) -> Vec<String> {
    let mut texts: Vec<String> = urls.iter().map(ToString::to_string).collect();
    texts.sort();
    texts
}

fn addresses(urls: &[PeerUrl]) -> Vec<(&str, Vec<u8>, &[u8])> {
    let mut addresses: Vec<_> = urls.iter().map(PeerUrl::address).collect();
    addresses.sort();
    addresses
}

/// The id a member gets from its sorted peer URLs and the cluster's token, at bootstrap and in a restore.
pub fn member_id(peer_urls: &[String], token: &str) -> MemberId {
    let mut hash = Sha1::new();
    for url in peer_urls {
        hash.update(url);
    }
    hash.update(token);
    MemberId(first_half(&hash.finalize()))
}

/// The id a cluster gets from its first members' ids, ascending.
pub fn cluster_id(members: impl IntoIterator<Item = MemberId>) -> ClusterId {
    let mut hash = Sha1::new();
    for MemberId(id) in members {
        hash.update(id.to_be_bytes());
    }
    ClusterId(first_half(&hash.finalize()))
}

fn first_half(digest: &[u8]) -> u64 {
    digest.iter().take(8).fold(0, |id, &byte| id << 8 | u64::from(byte))
}
