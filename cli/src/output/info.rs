//! `info`: what this is.

use serde::Serialize;

use super::format::{field, json};
use super::status::Kind;
use super::table::{self, Align};
use super::{Format, HexId, Output, humanize};

/// The answer of `info`. What is not known, or not there, is null in JSON and left out elsewhere.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct InfoReport {
    /// What the input is.
    pub kind: Kind,
    /// Page size in bytes.
    pub page_size: Option<u32>,
    /// Transaction of the newest valid meta page.
    pub txid: Option<u64>,
    /// Latest revision of the key space.
    pub revision: Option<i64>,
    /// Revision the history was compacted to; -1 when it never was.
    pub compact_revision: Option<i64>,
    /// Last raft index applied to the database.
    pub consistent_index: Option<u64>,
    /// Raft term of that index; written since etcd 3.5.
    pub term: Option<u64>,
    /// Id of the cluster.
    pub cluster_id: Option<HexId>,
    /// Id of this member.
    pub member_id: Option<HexId>,
    /// Storage version; written since etcd 3.6.
    pub storage_version: Option<String>,
    /// Version the cluster agreed on.
    pub cluster_version: Option<String>,
    /// First raft index in the WAL.
    pub wal_first_index: Option<u64>,
    /// Last raft index in the WAL.
    pub wal_last_index: Option<u64>,
    /// Last raft index the WAL knows to be committed.
    pub wal_commit: Option<u64>,
    /// Entries of the WAL that were applied on top of the database for this answer.
    pub entries_replayed: Option<u64>,
    /// Length of the database in bytes.
    pub total_size: Option<u64>,
}

impl InfoReport {
    /// The report as text.
    pub fn render(&self, output: &Output) -> String {
        match output.format {
            Format::Simple => self
                .rows(output)
                .iter()
                .map(|[name, _, value]| format!("{name:<18} {value}\n"))
                .collect(),
            Format::Table => {
                let rows: Vec<_> = self
                    .rows(output)
                    .into_iter()
                    .map(|[name, _, value]| [name.to_string(), value])
                    .collect();
                table::render(["FIELD", "VALUE"], &rows, Align::Left)
            }
            Format::Json => json(self),
            Format::Fields => {
                self.rows(output).iter().map(|[_, name, value]| field(name, value)).collect()
            }
        }
    }

    /// Name for people, name in `fields`, and value of everything that is known.
    fn rows(&self, output: &Output) -> Vec<[String; 3]> {
        fn shown(value: Option<impl std::fmt::Display>) -> Option<String> {
            value.map(|value| value.to_string())
        }
        let size = |bytes| match output.format {
            Format::Fields => u64::to_string(&bytes),
            _ => format!("{} ({bytes} bytes)", humanize::bytes(bytes)),
        };
        let text = |value: &Option<String>| value.as_ref().map(|value| output.text(value));
        let rows = [
            ("kind", "Kind", Some(self.kind.to_string())),
            ("total size", "Size", self.total_size.map(size)),
            ("page size", "PageSize", shown(self.page_size)),
            ("txid", "Txid", shown(self.txid)),
            ("revision", "Revision", shown(self.revision)),
            ("compact revision", "CompactRevision", shown(self.compact_revision)),
            ("consistent index", "ConsistentIndex", shown(self.consistent_index)),
            ("term", "Term", shown(self.term)),
            ("cluster id", "ClusterID", shown(self.cluster_id)),
            ("member id", "MemberID", shown(self.member_id)),
            ("storage version", "StorageVersion", text(&self.storage_version)),
            ("cluster version", "ClusterVersion", text(&self.cluster_version)),
            ("wal first index", "WALFirstIndex", shown(self.wal_first_index)),
            ("wal last index", "WALLastIndex", shown(self.wal_last_index)),
            ("wal commit", "WALCommit", shown(self.wal_commit)),
            ("entries replayed", "EntriesReplayed", shown(self.entries_replayed)),
        ];
        rows.into_iter()
            .filter_map(|(name, field, value)| Some([name.to_string(), field.to_string(), value?]))
            .collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn report() -> InfoReport {
        InfoReport {
            kind: Kind::DataDir,
            page_size: Some(4096),
            txid: Some(31),
            revision: Some(2579),
            compact_revision: Some(-1),
            consistent_index: Some(3001),
            term: None,
            cluster_id: Some(HexId(0xcdf8_18e1_94e3_a8c4)),
            member_id: Some(HexId(0x0e9e_9238_2011_05a5)),
            storage_version: Some("3.6\u{1b}[0m".into()),
            cluster_version: None,
            wal_first_index: None,
            wal_last_index: None,
            wal_commit: None,
            entries_replayed: None,
            total_size: Some(688128),
        }
    }

    fn render(format: Format, escape: bool) -> String {
        report().render(&Output { format, escape })
    }

    #[test]
    fn info_in_json_has_the_fields_of_the_contract_in_their_order_and_ids_in_hex() {
        assert_eq!(
            render(Format::Json, true),
            "{\"kind\":\"data-dir\",\"pageSize\":4096,\"txid\":31,\"revision\":2579,\"compactRevision\":-1,\
             \"consistentIndex\":3001,\"term\":null,\"clusterId\":\"cdf818e194e3a8c4\",\
             \"memberId\":\"e9e9238201105a5\",\"storageVersion\":\"3.6\\u001b[0m\",\"clusterVersion\":null,\
             \"walFirstIndex\":null,\"walLastIndex\":null,\"walCommit\":null,\"entriesReplayed\":null,\
             \"totalSize\":688128}\n"
        );
    }

    #[test]
    fn info_leaves_out_what_is_not_known_and_escapes_for_a_terminal_alone() {
        let simple = render(Format::Simple, true);
        assert!(
            simple.starts_with(
                "kind               data-dir\ntotal size         688 kB (688128 bytes)\n"
            ),
            "{simple}"
        );
        assert!(simple.contains("storage version    3.6\\x1b[0m\n"), "{simple}");
        assert!(!simple.contains("term"), "{simple}");
        let piped = render(Format::Fields, false);
        assert!(piped.contains("\"StorageVersion\" : 3.6\u{1b}[0m\n"), "{piped}");
        assert!(piped.contains("\"Size\" : 688128\n"), "{piped}");
    }
}
