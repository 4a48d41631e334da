//! `status` and `hashkv`: the numbers etcdutl prints.

use serde::Serialize;

use super::format::{field, json};
use super::table::{self, Align};
use super::{Format, Output, humanize};

/// What an input was recognised as.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "kebab-case")]
pub enum Kind {
    /// A directory that holds `member/`.
    DataDir,
    /// The `member/` directory itself.
    MemberDir,
    /// A bare bbolt file.
    Db,
    /// A bbolt file followed by its SHA-256.
    Snapshot,
}

impl std::fmt::Display for Kind {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(match self {
            Kind::DataDir => "data-dir",
            Kind::MemberDir => "member-dir",
            Kind::Db => "db",
            Kind::Snapshot => "snapshot",
        })
    }
}

/// The answer of `status`. The order of fields is that of the JSON: etcdutl's first, then ours.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct StatusReport {
    /// etcd's hash over all buckets (CRC-32C).
    pub hash: u32,
    /// Latest revision of the key space.
    pub revision: i64,
    /// Keys with a live version, as etcdutl 3.6 and later count.
    pub total_key: u64,
    /// Length of the database in bytes.
    pub total_size: u64,
    /// Storage version; empty before etcd 3.6.
    pub version: String,
    /// Records of the key bucket, which is what etcdutl 3.5 calls total keys.
    pub entries: u64,
    /// Revision the history was compacted to; -1 when it never was.
    pub compact_revision: i64,
    /// What the input is.
    pub kind: Kind,
}

impl StatusReport {
    /// The report as text.
    pub fn render(&self, output: &Output) -> String {
        let row = || {
            [
                format!("{:x}", self.hash),
                self.revision.to_string(),
                self.total_key.to_string(),
                humanize::bytes(self.total_size),
                self.version.clone(),
            ]
        };
        match output.format {
            Format::Simple => row().map(|cell| output.text(&cell)).join(", ") + "\n",
            Format::Table => {
                let header = ["HASH", "REVISION", "TOTAL KEYS", "TOTAL SIZE", "VERSION"];
                table::render(header, &[row()], Align::Right)
            }
            Format::Json => json(self),
            Format::Fields => [
                field("Hash", self.hash),
                field("Revision", self.revision),
                field("Keys", self.total_key),
                field("Size", self.total_size),
                field("Version", output.text(&self.version)),
            ]
            .concat(),
        }
    }
}

/// The answer of `hashkv`.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct HashKvReport {
    /// etcd's HashKV (CRC-32C).
    pub hash: u32,
    /// Revision up to which records were hashed.
    pub hash_revision: i64,
    /// Revision the history was compacted to; -1 when it never was.
    pub compact_revision: i64,
}

impl HashKvReport {
    /// The report as text.
    pub fn render(&self, output: &Output) -> String {
        let row = || {
            [
                self.hash.to_string(),
                self.hash_revision.to_string(),
                self.compact_revision.to_string(),
            ]
        };
        match output.format {
            Format::Simple => row().join(", ") + "\n",
            Format::Table => {
                table::render(["HASH", "HASH REVISION", "COMPACT REVISION"], &[row()], Align::Right)
            }
            Format::Json => json(self),
            Format::Fields => [
                field("Hash", self.hash),
                field("Hash revision", self.hash_revision),
                field("Compact revision", self.compact_revision),
            ]
            .concat(),
        }
    }
}

#[cfg(test)]
mod tests {
    //! What etcdutl 3.7.3 printed for snapshots made by etcd 3.4, 3.5, 3.6 and 3.7, byte for byte.

    use super::*;

    fn output(format: Format) -> Output {
        Output { format, escape: true }
    }

    fn status(hash: u32, total_size: u64, version: &str) -> StatusReport {
        StatusReport {
            hash,
            revision: 2579,
            total_key: 268,
            total_size,
            version: version.to_string(),
            entries: 1702,
            compact_revision: 1144,
            kind: Kind::Snapshot,
        }
    }

    #[test]
    fn status_in_simple_is_etcdutls_line() {
        let cases = [
            (3718425536, 688128, "", "dda2abc0, 2579, 268, 688 kB, \n"),
            (3885269856, 696320, "", "e7948360, 2579, 268, 696 kB, \n"),
            (1288764377, 688128, "3.6.0", "4cd0fbd9, 2579, 268, 688 kB, 3.6.0\n"),
            (1137656183, 679936, "3.7.0", "43cf4177, 2579, 268, 680 kB, 3.7.0\n"),
        ];
        for (hash, size, version, expected) in cases {
            assert_eq!(status(hash, size, version).render(&output(Format::Simple)), expected);
        }
    }

    #[test]
    fn status_in_a_table_is_etcdutls_box() {
        let with_version = "\
┌──────────┬──────────┬────────────┬────────────┬─────────┐
│   HASH   │ REVISION │ TOTAL KEYS │ TOTAL SIZE │ VERSION │
├──────────┼──────────┼────────────┼────────────┼─────────┤
│ 4cd0fbd9 │     2579 │        268 │     688 kB │   3.6.0 │
└──────────┴──────────┴────────────┴────────────┴─────────┘
";
        assert_eq!(
            status(1288764377, 688128, "3.6.0").render(&output(Format::Table)),
            with_version
        );
        let without = "\
┌──────────┬──────────┬────────────┬────────────┬─────────┐
│   HASH   │ REVISION │ TOTAL KEYS │ TOTAL SIZE │ VERSION │
├──────────┼──────────┼────────────┼────────────┼─────────┤
│ dda2abc0 │     2579 │        268 │     688 kB │         │
└──────────┴──────────┴────────────┴────────────┴─────────┘
";
        assert_eq!(status(3718425536, 688128, "").render(&output(Format::Table)), without);
    }

    #[test]
    fn status_in_fields_is_etcdutls_lines() {
        let expected =
            "\"Hash\" : 1288764377\n\"Revision\" : 2579\n\"Keys\" : 268\n\"Size\" : 688128\n";
        assert_eq!(
            status(1288764377, 688128, "3.6.0").render(&output(Format::Fields)),
            format!("{expected}\"Version\" : 3.6.0\n")
        );
        assert!(
            status(1288764377, 688128, "")
                .render(&output(Format::Fields))
                .ends_with("\"Version\" : \n")
        );
    }

    #[test]
    fn status_in_json_begins_as_etcdutls_and_goes_on_with_ours() {
        let theirs = r#"{"hash":1288764377,"revision":2579,"totalKey":268,"totalSize":688128,"version":"3.6.0""#;
        assert_eq!(
            status(1288764377, 688128, "3.6.0").render(&output(Format::Json)),
            format!("{theirs},\"entries\":1702,\"compactRevision\":1144,\"kind\":\"snapshot\"}}\n")
        );
    }

    #[test]
    fn hashkv_in_every_format_is_etcdutls() {
        let report = HashKvReport { hash: 2566829153, hash_revision: 2579, compact_revision: 1144 };
        let boxed = "\
┌────────────┬───────────────┬──────────────────┐
│    HASH    │ HASH REVISION │ COMPACT REVISION │
├────────────┼───────────────┼──────────────────┤
│ 2566829153 │          2579 │             1144 │
└────────────┴───────────────┴──────────────────┘
";
        let cases = [
            (Format::Simple, "2566829153, 2579, 1144\n"),
            (Format::Table, boxed),
            (
                Format::Json,
                "{\"hash\":2566829153,\"hashRevision\":2579,\"compactRevision\":1144}\n",
            ),
            (
                Format::Fields,
                "\"Hash\" : 2566829153\n\"Hash revision\" : 2579\n\"Compact revision\" : 1144\n",
            ),
        ];
        for (format, expected) in cases {
            assert_eq!(report.render(&output(format)), expected);
        }
    }
}
