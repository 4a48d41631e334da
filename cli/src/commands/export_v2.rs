//! `export-v2`: the keys of the v2 API, which no db and no snapshot holds.

use anyhow::{Result, anyhow};
use base64::{Engine as _, engine::general_purpose::STANDARD};
use etcdsnap_engine::{
    finding::counted,
    v2store::{V2Key, V2Store, rfc3339},
    wal::LogEnd,
};
use serde::Serialize;
use serde_json::json;

use super::Context;
use crate::{
    args::Input as Args,
    exit::{Answer, Exit, say},
    input::{Input, ask_about_few},
    output::{Spool, for_terminal},
};

#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
struct KeyJson<'k> {
    #[serde(skip_serializing_if = "Option::is_none")]
    path: Option<&'k str>,
    /// Where the path is no UTF-8.
    #[serde(skip_serializing_if = "Option::is_none")]
    path_base64: Option<String>,
    dir: bool,
    /// Not of a directory.
    #[serde(skip_serializing_if = "Option::is_none")]
    value: Option<&'k str>,
    /// Where the value is no UTF-8.
    #[serde(skip_serializing_if = "Option::is_none")]
    value_base64: Option<String>,
    created_index: u64,
    modified_index: u64,
    /// Null for never.
    expiration: Option<String>,
}

/// The text, or base64 where the bytes are none.
fn text_or_base64(bytes: &[u8]) -> (Option<&str>, Option<String>) {
    match std::str::from_utf8(bytes) {
        Ok(text) => (Some(text), None),
        Err(_) => (None, Some(STANDARD.encode(bytes))),
    }
}

impl<'k> KeyJson<'k> {
    fn new(key: &V2Key<'k>) -> Self {
        let (path, path_base64) = text_or_base64(key.path);
        let (value, value_base64) = key.value.map(text_or_base64).unwrap_or_default();
        Self {
            path,
            path_base64,
            dir: key.value.is_none(),
            value,
            value_base64,
            created_index: key.created_index,
            modified_index: key.modified_index,
            expiration: key.expires.map(rfc3339),
        }
    }
}

/// Lists every key and directory, as JSON whatever the format.
pub fn run(context: &Context, args: &Args) -> Result<Answer> {
    let (spool, exit) =
        ask_about_few(context, &args.path, &args.reading, |input| list(context, input))?;
    Ok(Answer::long(spool, exit))
}

fn list(context: &Context, input: &Input) -> Result<(Spool, Exit)> {
    let path = input.located().path.display();
    let store = input.v2_store().ok_or_else(|| {
        anyhow!(
            "{path}: keys of the v2 API are in a member's snapfiles and WAL alone; name its data dir, without --no-wal"
        )
    })?;
    let store = store.map_err(|error| anyhow::Error::new(error).context(format!("{path}")))?;
    let summary = store.summary();
    if summary.auth > 0 {
        let auth = counted(summary.auth, "user or role", "users and roles");
        context.warn(&format!("note: {path} has {auth} of the v2 API, which are not listed"));
    }
    let exit = match input.wal().and_then(|wal| wal.end.as_ref()) {
        Some(LogEnd::Damaged(at, damage)) => {
            // Of a WAL that was applied it is said already.
            if input.report().is_none() {
                let line = format!("damage: {at}: {damage}; what follows it is not listed");
                say(&for_terminal(line.as_bytes()));
            }
            Exit::Damage
        }
        Some(LogEnd::Clean(_) | LogEnd::Torn(_)) | None => Exit::Sound,
    };
    Ok((document(&store, input)?, exit))
}

/// One object, a key a line.
fn document(store: &V2Store, input: &Input) -> Result<Spool> {
    let mut spool = Spool::default();
    spool.push(format!("{{\"index\":{},\"keys\":[", store.index()).as_bytes())?;
    let mut separator = "\n";
    store.for_each(|key| -> Result<()> {
        let line = serde_json::to_string(&KeyJson::new(&key))?;
        spool.push(format!("{separator}{line}").as_bytes())?;
        separator = ",\n";
        Ok(())
    })?;
    let committed = input.committed();
    let (uncommitted, revision) = (committed.entries_uncommitted, committed.revision_committed);
    let end = format!(
        "],\"entriesUncommitted\":{uncommitted},\"revisionCommitted\":{}}}\n",
        json!(revision)
    );
    spool.push(end.as_bytes())?;
    Ok(spool)
}
