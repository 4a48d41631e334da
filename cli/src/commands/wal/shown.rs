//! A record as it is shown.

use std::fmt::Write as _;

use etcdsnap_engine::{
    pb::entry::Decoded,
    wal::{Error, Payload, Record, SegmentName},
};
use serde::Serialize;
use serde_json::{Map, Value};

use super::request;
use crate::{
    args::{Format, Wal},
    output::{self, for_terminal},
};

/// Characters of a request that are shown to people.
const SHOWN: usize = 200;

/// A record as scripts see it.
#[derive(Serialize)]
pub struct Json {
    segment: String,
    offset: u64,
    r#type: &'static str,
    #[serde(skip_serializing_if = "Option::is_none")]
    index: Option<u64>,
    #[serde(skip_serializing_if = "Option::is_none")]
    term: Option<u64>,
    /// Whether a later entry has the same index, or one before it.
    #[serde(skip_serializing_if = "is_false")]
    overridden: bool,
    /// Whether it stands behind the place where the log ends for a server.
    #[serde(skip_serializing_if = "is_false")]
    behind: bool,
    #[serde(skip_serializing_if = "Option::is_none")]
    kind: Option<&'static str>,
    #[serde(skip_serializing_if = "Map::is_empty")]
    request: Map<String, Value>,
}

#[expect(clippy::trivially_copy_pass_by_ref, reason = "serde calls it with a reference")]
fn is_false(value: &bool) -> bool {
    !value
}

/// What `--type` takes: types of records, kinds of entries.
pub const TYPES: [&str; 39] = [
    "metadata",
    "entry",
    "state",
    "crc",
    "snapshot",
    "empty",
    "unknown",
    "v2",
    "conf-change",
    "range",
    "put",
    "delete-range",
    "txn",
    "compaction",
    "lease-grant",
    "lease-revoke",
    "lease-checkpoint",
    "alarm",
    "authenticate",
    "auth-enable",
    "auth-disable",
    "auth-status",
    "auth-user-add",
    "auth-user-delete",
    "auth-user-get",
    "auth-user-change-password",
    "auth-user-grant-role",
    "auth-user-revoke-role",
    "auth-user-list",
    "auth-role-list",
    "auth-role-add",
    "auth-role-delete",
    "auth-role-get",
    "auth-role-grant-permission",
    "auth-role-revoke-permission",
    "cluster-version-set",
    "cluster-member-attr-set",
    "downgrade-info-set",
    "downgrade-version-test",
];

impl Json {
    /// Says where the record stands among the others.
    pub fn placed(self, overridden: bool, behind: bool) -> Self {
        Self { overridden, behind, ..self }
    }

    /// Index of the entry, where it is one.
    pub fn entry(&self) -> Option<u64> {
        self.index.filter(|_| self.r#type == "entry")
    }
}

/// The record, if it is asked for.
///
/// # Errors
/// When its checksum is right and what it holds is no message: a server refuses that too.
pub fn shown(args: &Wal, name: SegmentName, record: &Record<'_>) -> Result<Option<Json>, Error> {
    let payload = record.payload()?;
    let mut shown = Json {
        segment: name.to_string(),
        offset: record.offset,
        r#type: "crc",
        index: None,
        term: None,
        overridden: false,
        behind: false,
        kind: None,
        request: Map::new(),
    };
    let mut touches = args.key_prefix.is_none();
    match payload {
        Payload::Crc => {
            shown.request.insert("crc".into(), format!("{:08x}", record.crc).into());
        }
        Payload::Metadata(metadata) => {
            shown.r#type = "metadata";
            shown.request.insert("memberId".into(), format!("{:x}", metadata.node_id()).into());
            shown.request.insert("clusterId".into(), format!("{:x}", metadata.cluster_id()).into());
        }
        Payload::State(state) => {
            shown.r#type = "state";
            shown.term = Some(state.term());
            shown.request.insert("vote".into(), format!("{:x}", state.vote()).into());
            shown.request.insert("commit".into(), state.commit().into());
        }
        Payload::Snapshot(mark) => {
            (shown.r#type, shown.index, shown.term) =
                ("snapshot", Some(mark.index()), Some(mark.term()));
            if let Some(conf) = &mark.conf_state {
                let hex = |ids: &[u64]| -> Value {
                    ids.iter().map(|id| Value::from(format!("{id:x}"))).collect()
                };
                shown.request.insert("voters".into(), hex(&conf.voters));
                shown.request.insert("learners".into(), hex(&conf.learners));
            }
        }
        Payload::Entry(entry) => {
            let data = entry.data.as_deref().unwrap_or_default();
            let decoded = Decoded::new(entry.r#type.unwrap_or_default(), data);
            if let Some(prefix) = &args.key_prefix {
                use std::os::unix::ffi::OsStrExt as _;
                touches = request::touches(&decoded, prefix.as_bytes());
            }
            let described = request::describe(&decoded, args.show_passwords);
            (shown.r#type, shown.index, shown.term) =
                ("entry", Some(entry.index()), Some(entry.term()));
            shown.kind = Some(described.kind);
            shown.request = described.fields;
            if args.no_values {
                request::drop_values(&mut shown.request);
            }
        }
    }
    Ok((touches && asked(args, &shown)).then_some(shown))
}

fn asked(args: &Wal, shown: &Json) -> bool {
    let ranged = args.from.is_some() || args.to.is_some();
    let within = match shown.index {
        Some(index) => {
            args.from.is_none_or(|from| index >= from) && args.to.is_none_or(|to| index <= to)
        }
        None => !ranged,
    };
    let named = |name: &String| name == shown.r#type || Some(name.as_str()) == shown.kind;
    within && (args.types.is_empty() || args.types.iter().any(named))
}

/// Adds the record as a line.
pub fn line(format: Format, shown: &Json, text: &mut String) {
    let number = |value: Option<u64>| value.map_or_else(String::new, |value| value.to_string());
    match format {
        Format::Json => *text += &json_text(shown),
        Format::Fields => {
            let pairs = [
                ("Segment", format!("\"{}\"", shown.segment)),
                ("Offset", shown.offset.to_string()),
                ("Type", format!("\"{}\"", shown.r#type)),
                ("Index", number(shown.index)),
                ("Term", number(shown.term)),
                ("Kind", format!("\"{}\"", shown.kind.unwrap_or_default())),
                ("Request", for_terminal(json_text(&shown.request).as_bytes())),
            ];
            *text += &output::fields(&pairs);
        }
        Format::Simple | Format::Table => {
            let mut request = for_terminal(json_text(&shown.request).as_bytes());
            if let Some((end, _)) = request.char_indices().nth(SHOWN) {
                request.truncate(end);
                request.push('…');
            }
            // Writing to a String cannot fail.
            let _ = write!(
                text,
                "{:016}+{:#09x} {:<8} {:>8} {:>4} {:<12} {}{}{}",
                shown.segment.split('-').next().unwrap_or_default(),
                shown.offset,
                shown.r#type,
                number(shown.index),
                number(shown.term),
                shown.kind.unwrap_or_default(),
                if shown.behind { "(behind the gap) " } else { "" },
                if shown.overridden { "(overridden) " } else { "" },
                request
            );
        }
    }
    text.push('\n');
}

/// Names are text: nothing in it can fail.
fn json_text(of: &impl Serialize) -> String {
    serde_json::to_string(of).unwrap_or_default()
}
