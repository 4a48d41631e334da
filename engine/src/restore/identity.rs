//! Who the restored members are: names, peer URLs and a token in, ids out.
//!
//! The ids are hashes of words of the command line alone. The same words give the same ids, on every
//! version of etcd: restoring a backup beside the cluster it came from, with that cluster's token and
//! URLs, makes members that cannot be told apart from the old ones.

use std::collections::BTreeMap;

use sha1::{Digest, Sha1};

use crate::ids::{ClusterId, MemberId};
use crate::url::{PeerUrl, UrlError};

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

#[cfg(test)]
mod tests {
    use super::*;

    const TEN: &str = "http://10.0.0.1:1";

    /// What etcdutl 3.7 would do up to its first write: the cluster, or why not.
    fn identify(
        name: &str,
        initial: &str,
        token: &str,
        advertised: &str,
    ) -> Result<Cluster, IdentityError> {
        let advertised = PeerUrl::parse_list(advertised).unwrap();
        let initial = InitialCluster::parse(initial)?;
        initial.check_member(name, &advertised)?;
        initial.cluster(token)
    }

    #[test]
    fn ids_are_those_etcdutl_computes() {
        // Cluster id and own id in etcdutl's log.
        let default = "default=http://localhost:2380";
        let three = "m1=http://10.0.0.1:2380,m2=http://10.0.0.2:2380,m3=http://10.0.0.3:2380";
        let cases = [
            (
                "default",
                default,
                "etcd-cluster",
                "http://localhost:2380",
                0xcdf8_1819_4e3a_8c32,
                0x8e9e_05c5_2164_694d,
            ),
            (
                "default",
                default,
                "",
                "http://localhost:2380",
                0x2c83_3ae9_c755_5b5e,
                0x3780_7cb0_bf75_00f6,
            ),
            (
                "m1",
                three,
                "tok",
                "http://10.0.0.1:2380",
                0x8e67_f3b9_7769_8ab3,
                0x9852_1e8c_6c48_c6da,
            ),
            (
                "m2",
                three,
                "tok",
                "http://10.0.0.2:2380",
                0x8e67_f3b9_7769_8ab3,
                0x61b0_46c1_789d_11d8,
            ),
            (
                "m3",
                three,
                "tok",
                "http://10.0.0.3:2380",
                0x8e67_f3b9_7769_8ab3,
                0x7aa1_8119_1753_809e,
            ),
            (
                "a",
                ",,a=http://10.0.0.1:1,,b=http://10.0.0.2:1,",
                "t",
                TEN,
                0x46e1_6c39_31c2_cc99,
                0xe184_cf3a_8faf_42d5,
            ),
            ("", "=http://10.0.0.1:1", "t", TEN, 0xb098_b969_e1b4_9b9a, 0xe184_cf3a_8faf_42d5),
            (
                " a ",
                " a = http://10.0.0.1:1 ",
                "t",
                " http://10.0.0.1:1\t",
                0xb098_b969_e1b4_9b9a,
                0xe184_cf3a_8faf_42d5,
            ),
            (
                "a",
                "a=http://10.0.0.1:1?x=y=z",
                "t",
                "http://10.0.0.1:1?x=y=z",
                0xa72b_31b1_663f_74cb,
                0x81e1_2ca2_a3ef_ade7,
            ),
            (
                "a",
                "a=http://10.0.0.1:",
                "t",
                "http://10.0.0.1:",
                0xfd12_b40e_67af_f092,
                0x5afb_6db9_b4a6_1cb9,
            ),
            (
                "a",
                "a=http://10.0.0.1:2,a=http://10.0.0.1:10",
                "t",
                "http://10.0.0.1:10,http://10.0.0.1:2",
                0x9ffc_458d_5798_0524,
                0xfbbb_fca7_d110_2972,
            ),
            ("é", "é=http://10.0.0.1:1", "ü", TEN, 0x512f_91c3_a78b_73e7, 0xb965_bd1e_9355_5508),
        ];
        for (name, initial, token, advertised, cluster_id, member_id) in cases {
            let cluster = identify(name, initial, token, advertised).unwrap();
            assert_eq!(cluster.id, ClusterId(cluster_id), "{initial}");
            assert_eq!(cluster.member_named(name).unwrap().id, MemberId(member_id), "{initial}");
            assert!(cluster.members.is_sorted_by_key(|member| member.id));
        }
    }

    #[test]
    fn an_ip_address_may_be_written_in_another_way_when_advertised() {
        for (initial, advertised) in [
            ("a=http://[::1]:2380", "http://[0:0:0:0:0:0:0:1]:2380"),
            ("a=http://[::ffff:10.0.0.1]:2380", "http://10.0.0.1:2380"),
            ("a=http://10.0.0.1:02380", "http://10.0.0.1:2380"),
            ("a=HTTP://10.0.0.1:1", TEN),
            ("a=http://10.0.0.1:1?x=y", "http://10.0.0.1:1?x=z"),
            ("a=unix:///x/y z", "unix:///x/y%20z"),
        ] {
            assert!(identify("a", initial, "t", advertised).is_ok(), "{initial}");
        }
    }

    #[test]
    fn advertised_urls_that_differ_are_refused_and_both_lists_named() {
        for (initial, advertised) in [
            ("a=http://10.0.0.1:1", "https://10.0.0.1:1"),
            ("a=http://localhost:1", "http://127.0.0.1:1"),
            ("a=http://h:01", "http://h:1"),
            ("a=unix://10.0.0.1:01", "unix://10.0.0.1:1"),
            ("a=http://10.0.0.1:1", "http://10.0.0.1:1,http://10.0.0.1:1"),
            ("a=unix:/x", "unix:/y"),
        ] {
            let error = identify("a", initial, "t", advertised).unwrap_err();
            assert!(matches!(error, IdentityError::Advertised { .. }), "{initial}");
        }
        let error = identify("a", "a=http://h:2,a=http://h:10", "t", "http://h:10").unwrap_err();
        assert_eq!(
            error.to_string(),
            "member \"a\" has http://h:10,http://h:2 in the initial cluster and advertises \
             http://h:10; host names are compared as text, without DNS"
        );
    }

    #[test]
    fn an_unknown_name_is_refused_before_anything_else_is_compared() {
        let twice = "a=http://10.0.0.1:1,b=http://10.0.0.1:1";
        let known = vec!["a".to_owned(), "b".to_owned()];
        let error = IdentityError::UnknownName { name: "c".to_owned(), known };
        assert_eq!(error.to_string(), "no member \"c\" in the initial cluster, which has a, b");
        assert_eq!(identify("c", twice, "t", "http://h:1"), Err(error));
        let error = identify("a", ",", "t", TEN).unwrap_err();
        assert_eq!(error.to_string(), "no member \"a\" in the initial cluster, which has none");
    }

    #[test]
    fn a_url_given_twice_is_refused_with_its_owners() {
        let url = || TEN.to_owned();
        for (initial, advertised, second) in [
            ("a=http://10.0.0.1:1,b=http://10.0.0.1:1", TEN, "b"),
            ("a=http://10.0.0.1:1,a=HTTP://10.0.0.1:1", "http://10.0.0.1:1,http://10.0.0.1:1", "a"),
        ] {
            let (first, second) = ("a".to_owned(), second.to_owned());
            let error = IdentityError::DuplicateUrl { url: url(), first, second };
            assert_eq!(identify("a", initial, "t", advertised), Err(error));
        }
    }

    #[test]
    fn urls_that_run_together_into_the_same_id_are_refused() {
        let initial = "a=unix:a,a=unix:b,b=unix:aunix:b";
        let id = MemberId(0x60a1_f0b4_d71f_5c64);
        let (first, second) = ("a".to_owned(), "b".to_owned());
        let error = IdentityError::SameId { id, first, second };
        assert_eq!(identify("b", initial, "t", "unix:aunix:b"), Err(error));
    }

    #[test]
    fn no_members_make_no_cluster() {
        let none = InitialCluster::parse(",,").unwrap();
        assert_eq!(none.cluster("t"), Err(IdentityError::Empty));
        assert_eq!(none.names().count(), 0);
    }

    #[test]
    fn a_bad_url_names_its_member() {
        let Err(IdentityError::Url { name, source }) = InitialCluster::parse("a=http://h:1,b")
        else {
            panic!("accepted")
        };
        assert_eq!((name.as_str(), source.url.as_str()), ("b", ""));
    }
}
