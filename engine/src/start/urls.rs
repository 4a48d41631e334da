//! The command lines that start restored members.
//!
//! Only a start that etcd accepts is of use: it listens on IP addresses alone, and two members on one host need ports
//! of their own.

use std::net::IpAddr;

use super::{Member, Options, Outcome, PeerUrl, Plan, Restoring};
use crate::{ids::MemberId, schema::members};

/// The port on which etcd serves clients unless told otherwise.
const CLIENT_PORT: u16 = 2379;
/// Size of the database from which etcd takes no writes unless told otherwise, in bytes. Source: etcd
/// `server/storage/quota.go`.
const DEFAULT_QUOTA: u64 = 2 << 30;
/// The largest quota that etcd recommends, in bytes.
const RECOMMENDED_QUOTA: u64 = 8 << 30;
/// Client URLs of a member that are looked at; a file that was tampered with may list any number.
const MOST_URLS: usize = 16;
/// Flags that a start with https needs, each with what stands for the operator's own file.
const PEER_CERTIFICATES: [(&str, &str); 3] = [
    ("--peer-cert-file", "/path/to/peer.crt"),
    ("--peer-key-file", "/path/to/peer.key"),
    ("--peer-trusted-ca-file", "/path/to/peer-ca.crt"),
];
const CLIENT_CERTIFICATES: [(&str, &str); 3] = [
    ("--cert-file", "/path/to/server.crt"),
    ("--key-file", "/path/to/server.key"),
    ("--trusted-ca-file", "/path/to/client-ca.crt"),
];

/// The command line of each member of `plan`, which was made from `options` and came to `outcome`. `old` are the members
/// the source lists: a member of the same name serves clients where it did.
///
/// Host names become addresses to listen on, ports do not collide on one host, certificates are placeholders below
/// `/path/to`, and a database above etcd's default quota gets a larger one.
pub fn start(
    plan: &Plan,
    options: &Options,
    outcome: &Outcome,
    old: &[members::Member],
) -> Vec<Vec<String>> {
    let clients = client_urls(&plan.cluster.members, old);
    let words = |one: &Restoring| {
        let found = clients.iter().find(|(member, _)| member.id == one.member.id);
        words(one, options, outcome, found.map_or(&[][..], |(_, urls)| urls))
    };
    plan.members.iter().map(words).collect()
}

fn words(one: &Restoring, options: &Options, outcome: &Outcome, clients: &[String]) -> Vec<String> {
    let mut words = vec!["etcd".to_owned()];
    let mut flag = |name: &str, value: &str| words.extend([name.to_owned(), value.to_owned()]);
    let peers = &one.member.peer_urls;
    flag("--name", &one.member.name);
    flag("--data-dir", &one.data_dir.display().to_string());
    if let Some(wal_dir) = &one.wal_dir {
        flag("--wal-dir", &wal_dir.display().to_string());
    }
    flag("--initial-advertise-peer-urls", &peers.join(","));
    flag("--listen-peer-urls", &listened(peers).join(","));
    flag("--listen-client-urls", &listened(clients).join(","));
    flag("--advertise-client-urls", &clients.join(","));
    flag("--initial-cluster", &options.initial_cluster);
    flag("--initial-cluster-token", &options.initial_cluster_token);
    for (urls, certificates) in [(&peers[..], PEER_CERTIFICATES), (clients, CLIENT_CERTIFICATES)] {
        if urls.iter().any(|url| url.starts_with("https:") || url.starts_with("unixs:")) {
            certificates.iter().for_each(|(name, placeholder)| flag(name, placeholder));
        }
    }
    if let Some(quota) = quota(outcome.db_bytes) {
        flag("--quota-backend-bytes", &quota.to_string());
    }
    words
}

/// The quota a database needs that etcd's default would keep from taking writes.
fn quota(db_bytes: u64) -> Option<u64> {
    const GIB: u64 = 1 << 30;
    (db_bytes >= DEFAULT_QUOTA).then(|| {
        let roomy = db_bytes.saturating_add(db_bytes / 2).div_ceil(GIB).saturating_mul(GIB);
        roomy.max(RECOMMENDED_QUOTA)
    })
}

/// What etcd listens on to be reached under `urls`: it takes IP addresses and `localhost`, and no other name. Of an
/// address and all addresses only the latter is left.
fn listened(urls: &[String]) -> Vec<String> {
    let mut found: Vec<(String, Option<Endpoint>)> = Vec::new();
    for url in urls {
        let endpoint = Endpoint::of(url).map(|(_, endpoint)| endpoint);
        let named = endpoint.filter(|endpoint| endpoint.address().is_none());
        let one = match named {
            Some(Endpoint { scheme, port, .. }) => {
                let all = Endpoint { scheme, host: "0.0.0.0".to_owned(), port };
                (all.to_string(), Some(all))
            }
            None => (url.clone(), Endpoint::of(url).map(|(_, endpoint)| endpoint)),
        };
        if !found.contains(&one) {
            found.push(one);
        }
    }
    let all = |one: &Endpoint| one.address().is_some_and(|address| address.is_unspecified());
    let covered = |one: &Endpoint| {
        let others = found.iter().filter_map(|(_, other)| other.as_ref());
        !all(one) && others.into_iter().any(|other| all(other) && other.port == one.port)
    };
    let kept = found.iter().filter(|(_, one)| !one.as_ref().is_some_and(covered));
    kept.map(|(url, _)| url.clone()).collect()
}

/// Where each member serves clients, by name.
fn client_urls<'m>(
    members: &'m [Member],
    old: &[members::Member],
) -> Vec<(&'m Member, Vec<String>)> {
    let mut members: Vec<&Member> = members.iter().collect();
    members.sort_by(|a, b| a.name.cmp(&b.name));
    let mut ports = Ports::default();
    for member in &members {
        let machine = hosts(&member.peer_urls);
        let peers = endpoints(&member.peer_urls);
        ports.0.extend(peers.map(|endpoint| Taken {
            machine: machine.clone(),
            client_of: None,
            endpoint,
        }));
    }
    let served = members.into_iter().map(|member| {
        let known = old.iter().find(|old| !old.name.is_empty() && old.name == member.name);
        (member, clients_of(member, known, &mut ports))
    });
    served.collect()
}

/// Where `member` serves clients: where the member `known` did, unless its host is another now.
fn clients_of(member: &Member, known: Option<&members::Member>, ports: &mut Ports) -> Vec<String> {
    let own = hosts(&member.peer_urls);
    let peers: Vec<Endpoint> = endpoints(&member.peer_urls).collect();
    let first = peers.first().cloned();
    // As 2379 and 2380 stand beside each other.
    let beside: Vec<u16> = peers.iter().filter_map(|peer| peer.port.checked_sub(1)).collect();
    let mut urls = Vec::new();
    for url in known.iter().flat_map(|known| &known.client_urls).take(MOST_URLS) {
        let Ok(parsed) = PeerUrl::parse(url) else { continue };
        let Some((_, mut endpoint)) = Endpoint::of(url) else {
            urls.push(parsed.to_string());
            continue;
        };
        let before = known.map(|known| hosts(&known.peer_urls)).unwrap_or_default();
        let host = endpoint.machine();
        if before.contains(&host)
            && !own.contains(&host)
            && let Some(moved) = &first
        {
            endpoint.host.clone_from(&moved.host);
        }
        urls.push(ports.give(member, &own, &beside, endpoint).to_string());
    }
    if urls.is_empty() {
        let (scheme, host) = first
            .map(|first| (first.scheme, first.host))
            .unwrap_or_else(|| ("http".to_owned(), "localhost".to_owned()));
        let usual = Endpoint { scheme, host, port: CLIENT_PORT };
        urls.push(ports.give(member, &own, &beside, usual).to_string());
    }
    urls
}

fn endpoints(urls: &[String]) -> impl Iterator<Item = Endpoint> {
    urls.iter().filter_map(|url| Endpoint::of(url)).map(|(_, endpoint)| endpoint)
}

/// The hosts of `urls`, one name for each.
fn hosts(urls: &[String]) -> Vec<String> {
    endpoints(urls).map(|endpoint| endpoint.machine()).collect()
}

/// Which ports are in use on which host.
#[derive(Default)]
struct Ports(Vec<Taken>);

/// A port in use. Members that have a host of their peer URLs in common share a machine.
struct Taken {
    machine: Vec<String>,
    /// Whose clients it is for: two client URLs of one member may name one port.
    client_of: Option<MemberId>,
    endpoint: Endpoint,
}

impl Ports {
    /// Takes `wanted` for clients of `member`, or the same with another port where that one is in use: one of `beside`, if
    /// it is free.
    fn give(
        &mut self,
        member: &Member,
        machine: &[String],
        beside: &[u16],
        wanted: Endpoint,
    ) -> Endpoint {
        let beside = beside.iter().copied().filter(|port| *port > 0);
        let most = self.0.iter().map(|taken| taken.endpoint.port).max().unwrap_or(CLIENT_PORT);
        let above = most.checked_add(1).into_iter().flat_map(|next| next..=u16::MAX);
        let candidates = [wanted.port].into_iter().chain(beside).chain(above).chain(1024..most);
        let with = |port| Endpoint { port, ..wanted.clone() };
        let is_free = |endpoint: &Endpoint| {
            !self.0.iter().any(|taken| {
                taken.endpoint.port == endpoint.port
                    && taken.client_of != Some(member.id)
                    && machine.iter().any(|host| taken.machine.contains(host))
                    && taken.endpoint.meets(endpoint)
            })
        };
        let endpoint = candidates.map(with).find(is_free).unwrap_or(wanted);
        let (machine, client_of) = (machine.to_vec(), Some(member.id));
        self.0.push(Taken { machine, client_of, endpoint: endpoint.clone() });
        endpoint
    }
}

/// What a URL over IP names.
#[derive(Clone, Debug, PartialEq, Eq)]
struct Endpoint {
    scheme: String,
    /// A name or an address, without brackets.
    host: String,
    port: u16,
}

impl Endpoint {
    /// Of a URL, as it was read; `None` for one over a Unix socket, or without a port that is a number.
    fn of(url: &str) -> Option<(PeerUrl, Self)> {
        let url = PeerUrl::parse(url).ok()?;
        let (scheme, host, port) = url.over_ip()?;
        let endpoint = Self { scheme: scheme.to_owned(), host: host.to_owned(), port };
        Some((url, endpoint))
    }

    /// The host, where it has several names under one of them.
    fn machine(&self) -> String {
        let host = if self.host == "localhost" { "127.0.0.1" } else { &self.host };
        host.to_owned()
    }

    /// The address etcd listens on; `None` for a name that it does not take.
    fn address(&self) -> Option<IpAddr> {
        if self.host == "localhost" { Some([127, 0, 0, 1].into()) } else { self.host.parse().ok() }
    }

    /// Whether both cannot be listened on, on one machine and with one port.
    fn meets(&self, other: &Self) -> bool {
        let specific = |one: &Self| one.address().filter(|address| !address.is_unspecified());
        !matches!((specific(self), specific(other)), (Some(one), Some(two)) if one != two)
    }
}

impl std::fmt::Display for Endpoint {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let Self { scheme, host, port } = self;
        if host.contains(':') {
            write!(f, "{scheme}://[{host}]:{port}")
        } else {
            write!(f, "{scheme}://{host}:{port}")
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::restore::{Contents, InitialCluster, Target};

    fn cluster(text: &str) -> Vec<Member> {
        InitialCluster::parse(text).unwrap().cluster("t").unwrap().members
    }

    fn known(name: &str, peers: &[&str], clients: &[&str]) -> members::Member {
        let texts = |urls: &[&str]| urls.iter().map(|url| (*url).to_owned()).collect();
        members::Member {
            id: MemberId(1),
            peer_urls: texts(peers),
            is_learner: false,
            name: name.to_owned(),
            client_urls: texts(clients),
        }
    }

    fn clients(initial: &str, old: &[members::Member]) -> Vec<(String, String)> {
        let members = cluster(initial);
        let found = client_urls(&members, old);
        found.into_iter().map(|(member, urls)| (member.name.clone(), urls.join(","))).collect()
    }

    #[test]
    fn etcd_listens_on_addresses_where_a_url_has_a_name() {
        for (urls, expected) in [
            ("http://localhost:2380", "http://localhost:2380"),
            ("https://10.0.0.1:2380", "https://10.0.0.1:2380"),
            ("https://[fd00::1]:2380", "https://[fd00::1]:2380"),
            ("https://cp1.example:2380", "https://0.0.0.0:2380"),
            ("http://[fe80::1%25eth0]:2380", "http://0.0.0.0:2380"),
            ("http://a:1,http://b:1,http://b:2", "http://0.0.0.0:1,http://0.0.0.0:2"),
            ("http://10.0.0.1:1,http://b:1", "http://0.0.0.0:1"),
            ("unix:///run/etcd", "unix:///run/etcd"),
        ] {
            let urls: Vec<String> = urls.split(',').map(str::to_owned).collect();
            assert_eq!(listened(&urls).join(","), expected, "{urls:?}");
        }
    }

    #[test]
    fn clients_are_served_where_they_were_or_at_the_new_host() {
        let old = [
            known(
                "a",
                &["http://10.0.0.1:2380"],
                &["http://10.0.0.1:4001", "http://127.0.0.1:4001"],
            ),
            known(
                "b",
                &["http://10.0.0.2:2380"],
                &["https://etcd.example:2379", "https://10.0.0.2:2379"],
            ),
            known("c", &["http://10.0.0.3:2380"], &[]),
        ];
        let same = "a=http://10.0.0.1:2380,b=http://10.0.0.2:2380,c=https://10.0.0.3:2380";
        assert_eq!(
            clients(same, &old),
            [
                ("a".into(), "http://10.0.0.1:4001,http://127.0.0.1:4001".into()),
                ("b".into(), "https://etcd.example:2379,https://10.0.0.2:2379".into()),
                ("c".into(), "https://10.0.0.3:2379".into()),
            ]
        );
        assert_eq!(
            clients("a=http://192.0.2.1:2380", &old),
            [("a".to_owned(), "http://192.0.2.1:4001,http://127.0.0.1:4001".to_owned())]
        );
        let unnamed = [known("", &["http://10.0.0.1:2380"], &["http://10.0.0.1:1"])];
        assert_eq!(clients("=http://10.0.0.1:2380", &unnamed)[0].1, "http://10.0.0.1:2379");
    }

    #[test]
    fn members_of_one_host_get_ports_of_their_own_and_members_of_several_the_usual_one() {
        let ports = |initial: &str, old: &[members::Member]| -> Vec<String> {
            clients(initial, old).into_iter().map(|(_, urls)| urls).collect()
        };
        assert_eq!(
            ports("a=http://localhost:2380,b=http://127.0.0.1:12380,c=http://localhost:22380", &[]),
            ["http://localhost:2379", "http://127.0.0.1:12379", "http://localhost:22379"]
        );
        assert_eq!(
            ports("a=http://h:2380,b=http://h:2381,c=http://h:2382", &[]),
            ["http://h:2379", "http://h:2383", "http://h:2384"]
        );
        assert_eq!(ports("a=http://h:2379", &[]), ["http://h:2378"]);
        assert_eq!(
            ports("a=http://127.0.0.1:2380,b=http://127.0.0.2:2380", &[]),
            ["http://127.0.0.1:2379", "http://127.0.0.2:2379"]
        );
        // What was on three hosts comes to one.
        let three = ["a", "b", "c"].map(|name| {
            known(name, &[&format!("http://{name}:2380")], &[&format!("http://{name}:2379")])
        });
        assert_eq!(
            ports("a=http://h:2380,b=http://h:3380,c=http://h:4380", &three),
            ["http://h:2379", "http://h:3379", "http://h:4379"]
        );
        assert_eq!(ports("a=http://h:65535,b=http://h:65534", &three).len(), 2);
    }

    #[test]
    fn a_database_above_the_default_quota_gets_a_larger_one() {
        const GIB: u64 = 1 << 30;
        assert_eq!(quota(2 * GIB - 1), None);
        assert_eq!(quota(2 * GIB), Some(8 * GIB));
        assert_eq!(quota(8 * GIB), Some(12 * GIB));
        assert_eq!(quota(u64::MAX), Some(u64::MAX));
    }

    #[test]
    fn https_asks_for_certificates() {
        let initial = "a=https://h:2380";
        let options = Options {
            initial_cluster: initial.into(),
            initial_cluster_token: "t".into(),
            target: Target::One {
                name: "a".into(),
                initial_advertise_peer_urls: "https://h:2380".into(),
                data_dir: "/nowhere/a".into(),
                wal_dir: None,
            },
            contents: Contents::default(),
            bump_revision: 0,
            mark_compacted: false,
            owner: None,
        };
        let one = Restoring {
            member: cluster(initial).remove(0),
            data_dir: "/nowhere/a".into(),
            wal_dir: Some("/nowhere/wal".into()),
            seats: super::super::place::Layout::one("/nowhere/a".as_ref(), None).unwrap().1,
        };
        let words =
            |clients: &str| words(&one, &options, &Outcome::default(), &[clients.to_owned()]);
        let text = words("https://h:2379").join(" ");
        for (name, placeholder) in PEER_CERTIFICATES.into_iter().chain(CLIENT_CERTIFICATES) {
            assert!(text.contains(&format!(" {name} {placeholder}")), "{text}");
        }
        assert!(
            text.contains("--wal-dir /nowhere/wal --initial-advertise-peer-urls https://h:2380")
        );
        assert!(text.contains("--listen-peer-urls https://0.0.0.0:2380"), "{text}");
        let text = words("http://h:2379").join(" ");
        assert!(text.contains("--peer-cert-file") && !text.contains(" --cert-file"), "{text}");
    }
}
