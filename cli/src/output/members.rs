//! `members`: as `etcdctl member list` shows them, from the file.

use serde::Serialize;

use super::escape::go_quoted;
use super::format::{field, json};
use super::table::{self, Align};
use super::{Format, HexId, Output};

/// One member.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct MemberReport {
    /// Its id.
    pub id: HexId,
    /// Its name; empty until it has started once.
    pub name: String,
    /// Where its peers reach it.
    #[serde(rename = "peerURLs")]
    pub peer_urls: Vec<String>,
    /// Where clients reach it.
    #[serde(rename = "clientURLs")]
    pub client_urls: Vec<String>,
    /// Whether it does not vote yet.
    pub is_learner: bool,
}

/// Raft's view of who belongs to the cluster (etcd's ConfState).
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct ConfStateReport {
    /// Who votes.
    pub voters: Vec<HexId>,
    /// Who listens.
    pub learners: Vec<HexId>,
    /// Who votes until a joint change ends.
    pub voters_outgoing: Vec<HexId>,
    /// Who listens once a joint change ends.
    pub learners_next: Vec<HexId>,
    /// Whether a joint change ends by itself.
    pub auto_leave: bool,
}

/// The answer of `members`.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct MembersReport {
    /// Id of the cluster, when the input says it.
    pub cluster_id: Option<HexId>,
    /// The members bucket, by id.
    pub members: Vec<MemberReport>,
    /// Ids that may never come back.
    pub removed: Vec<HexId>,
    /// Raft's view, when the input has one.
    pub conf_state: Option<ConfStateReport>,
}

impl MembersReport {
    /// The report as text; `hex` shows ids in hex where etcdctl shows them in decimal.
    pub fn render(&self, output: &Output, hex: bool) -> String {
        match output.format {
            Format::Simple => {
                let line = |member| row(member).map(|cell| output.text(&cell)).join(", ") + "\n";
                self.members.iter().map(line).collect()
            }
            Format::Table => {
                let header = ["ID", "STATUS", "NAME", "PEER ADDRS", "CLIENT ADDRS", "IS LEARNER"];
                table::render(
                    header,
                    &self.members.iter().map(row).collect::<Vec<_>>(),
                    Align::Right,
                )
            }
            Format::Json => json(self),
            Format::Fields => self.fields(hex),
        }
    }

    fn fields(&self, hex: bool) -> String {
        let id = |id: HexId| if hex { id.to_string() } else { id.0.to_string() };
        let cluster = self.cluster_id.map(|cluster| field("ClusterID", id(cluster)));
        let member = |member: &MemberReport| {
            let urls = |name, urls: &[String]| {
                urls.iter().map(|url| field(name, go_quoted(url))).collect::<String>()
            };
            [
                field("ID", id(member.id)),
                field("Name", go_quoted(&member.name)),
                urls("PeerURL", &member.peer_urls),
                urls("ClientURL", &member.client_urls),
                field("IsLearner", member.is_learner),
                "\n".to_string(),
            ]
            .concat()
        };
        cluster.into_iter().chain(self.members.iter().map(member)).collect()
    }
}

fn row(member: &MemberReport) -> [String; 6] {
    [
        member.id.to_string(),
        if member.name.is_empty() { "unstarted" } else { "started" }.to_string(),
        member.name.clone(),
        member.peer_urls.join(","),
        member.client_urls.join(","),
        member.is_learner.to_string(),
    ]
}

#[cfg(test)]
mod tests {
    use super::*;

    fn report() -> MembersReport {
        let member = |id, name: &str, clients: &[&str], is_learner| MemberReport {
            id: HexId(id),
            name: name.into(),
            peer_urls: vec!["http://127.0.0.1:2380".into(), "http://[::1]:2380".into()],
            client_urls: clients.iter().map(|url| url.to_string()).collect(),
            is_learner,
        };
        MembersReport {
            cluster_id: Some(HexId(0xabc)),
            members: vec![
                member(0x8211_f1d0_f64f_3269, "n0", &["http://127.0.0.1:2379"], false),
                member(0x1f, "", &[], true),
            ],
            removed: vec![HexId(0x2)],
            conf_state: None,
        }
    }

    fn render(format: Format, hex: bool) -> String {
        report().render(&Output { format, escape: true }, hex)
    }

    #[test]
    fn members_in_simple_are_etcdctls_lines() {
        assert_eq!(
            render(Format::Simple, false),
            "8211f1d0f64f3269, started, n0, http://127.0.0.1:2380,http://[::1]:2380, http://127.0.0.1:2379, false\n\
             1f, unstarted, , http://127.0.0.1:2380,http://[::1]:2380, , true\n"
        );
    }

    #[test]
    fn members_in_fields_are_etcdctls_lines_with_decimal_ids_unless_hex_is_asked_for() {
        let fields = render(Format::Fields, false);
        assert!(
            fields.starts_with(
                "\"ClusterID\" : 2748\n\"ID\" : 9372538179322589801\n\"Name\" : \"n0\"\n\
             \"PeerURL\" : \"http://127.0.0.1:2380\"\n\"PeerURL\" : \"http://[::1]:2380\"\n\
             \"ClientURL\" : \"http://127.0.0.1:2379\"\n\"IsLearner\" : false\n\n\"ID\" : 31\n"
            ),
            "{fields}"
        );
        assert!(
            render(Format::Fields, true)
                .starts_with("\"ClusterID\" : abc\n\"ID\" : 8211f1d0f64f3269\n")
        );
    }

    #[test]
    fn members_in_json_have_hex_ids_and_both_views() {
        assert_eq!(
            render(Format::Json, false),
            "{\"clusterId\":\"abc\",\"members\":[{\"id\":\"8211f1d0f64f3269\",\"name\":\"n0\",\
             \"peerURLs\":[\"http://127.0.0.1:2380\",\"http://[::1]:2380\"],\
             \"clientURLs\":[\"http://127.0.0.1:2379\"],\"isLearner\":false},\
             {\"id\":\"1f\",\"name\":\"\",\"peerURLs\":[\"http://127.0.0.1:2380\",\"http://[::1]:2380\"],\
             \"clientURLs\":[],\"isLearner\":true}],\"removed\":[\"2\"],\"confState\":null}\n"
        );
    }
}
