//! Output: formats, tables, sizes, safe text.

mod escape;
mod findings;
mod humanize;
mod planned;
mod spool;
mod table;
mod terminal;
mod wrap;

pub use escape::{escape, for_terminal};
pub use findings::{FindingJson, finding, findings};
pub use humanize::bytes;
pub use planned::{PlannedJson, planned};
pub use spool::{LongTable, Spool};
pub use table::Table;
pub use terminal::{Tone, coloured};
pub use wrap::{error_line, finding_line, wrapped};

use anyhow::Result;
use base64::{Engine as _, engine::general_purpose::STANDARD};
use etcdsnap_engine::member::Committed;
use serde::Serialize;

/// One JSON document on a line.
pub fn json(value: &impl Serialize) -> Result<String> {
    Ok(serde_json::to_string(value)? + "\n")
}

/// An answer with how much of it is known to be committed.
#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
struct OfState<'a, T: Serialize> {
    #[serde(flatten)]
    answer: &'a T,
    entries_uncommitted: u64,
    revision_committed: Option<i64>,
}

/// As [`json`], of an answer about a state: how much of it is known to be committed is part of it.
pub fn json_of_state(answer: &impl Serialize, committed: Committed) -> Result<String> {
    let Committed { entries_uncommitted, revision_committed } = committed;
    json(&OfState { answer, entries_uncommitted, revision_committed })
}

/// Fields as etcdutl prints them: `"Name" : value`, one a line.
pub fn fields(pairs: &[(&str, String)]) -> String {
    pairs.iter().map(|(name, value)| format!("\"{name}\" : {value}\n")).collect()
}

/// A key as scripts see it.
#[derive(Debug, Serialize)]
pub struct KeyJson {
    /// When it is UTF-8.
    #[serde(skip_serializing_if = "Option::is_none")]
    key: Option<String>,
    #[serde(rename = "keyBase64")]
    base64: String,
}

impl KeyJson {
    /// The text, when it is UTF-8, and base64.
    pub fn into_parts(self) -> (Option<String>, String) {
        (self.key, self.base64)
    }

    /// Of a key's bytes.
    pub fn new(key: &[u8]) -> Self {
        let text = std::str::from_utf8(key).ok().map(str::to_owned);
        Self { key: text, base64: STANDARD.encode(key) }
    }
}

/// A key or value as people see it within a line: what a terminal would obey or hide is escaped, in a pipe, too, where
/// a line break would tear the line. In hex as etcdctl's `--hex`: `\x6b\x31`.
pub fn shown_key(bytes: &[u8], hex: bool) -> String {
    if hex {
        bytes.iter().map(|byte| format!("\\x{byte:02x}")).collect()
    } else {
        for_terminal(bytes)
    }
}
