//! Where members listen and serve: addresses and ports that do not collide.

use std::net::IpAddr;

use super::Node;
use crate::{ids::MemberId, schema::members, url::PeerUrl};

/// The port on which etcd serves clients unless told otherwise.
const CLIENT_PORT: u16 = 2379;
/// Client URLs of a member that are looked at; a file that was tampered with may list any number.
const MOST_URLS: usize = 16;

/// What etcd listens on to be reached under `urls`: it takes IP addresses and `localhost`, and no other name. Of an
/// address and all addresses only the latter is left.
pub(super) fn listened(urls: &[String]) -> Vec<String> {
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
pub(super) fn client_urls<'m>(
    members: &'m [Node],
    old: &[members::Member],
) -> Vec<(&'m Node, Vec<String>)> {
    let mut members: Vec<&Node> = members.iter().collect();
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
fn clients_of(member: &Node, known: Option<&members::Member>, ports: &mut Ports) -> Vec<String> {
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
        member: &Node,
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

    fn cluster(text: &str) -> Vec<Node> {
        let one = |(id, pair): (u64, &str)| {
            let (name, url) = pair.split_once('=').unwrap();
            Node { id: MemberId(id), name: name.to_owned(), peer_urls: vec![url.to_owned()] }
        };
        (1..).zip(text.split(',')).map(one).collect()
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
}
