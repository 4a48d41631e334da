//! `keys` and `get`: the key space at a revision.

use std::{io::IsTerminal as _, os::unix::ffi::OsStrExt as _};

use anyhow::{Result, anyhow};
use base64::{Engine as _, engine::general_purpose::STANDARD};
use etcdsnap_engine::{
    member::Committed,
    mvcc::{KeySpace, Record, View},
    pb::wire::KeyValueRef,
    schema::Store,
};
use serde::Serialize;

use super::{Context, sound};
use crate::{
    args::{Choosing, Format, Get, Input, Keys, Showing},
    exit::Answer,
    input::{Input as Opened, ask, ask_unless},
    output::{self, Table, shown_key},
};

/// etcdctl's answer to a range.
#[derive(Serialize)]
struct Json {
    header: Header,
    #[serde(skip_serializing_if = "Vec::is_empty")]
    kvs: Vec<KeyValueJson>,
    /// Whether the limit left keys out.
    #[serde(skip_serializing_if = "std::ops::Not::not")]
    more: bool,
    #[serde(skip_serializing_if = "is_zero")]
    count: i64,
}

#[derive(Serialize)]
struct Header {
    revision: i64,
}

/// Zero fields are left out, as in etcdctl's JSON.
#[derive(Serialize)]
struct KeyValueJson {
    #[serde(skip_serializing_if = "String::is_empty")]
    key: String,
    #[serde(skip_serializing_if = "is_zero")]
    create_revision: i64,
    #[serde(skip_serializing_if = "is_zero")]
    mod_revision: i64,
    #[serde(skip_serializing_if = "is_zero")]
    version: i64,
    #[serde(skip_serializing_if = "String::is_empty")]
    value: String,
    #[serde(skip_serializing_if = "is_zero")]
    lease: i64,
}

#[expect(clippy::trivially_copy_pass_by_ref, reason = "serde calls it with a reference")]
fn is_zero(value: &i64) -> bool {
    *value == 0
}

/// Which keys are shown.
enum Which<'k> {
    One(&'k [u8]),
    Prefix(&'k [u8]),
}

/// How much of each is shown.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Parts {
    Keys,
    Both,
    Values,
}

/// Lists keys.
pub fn keys(context: &Context, args: &Keys) -> Result<Answer> {
    let which = Which::Prefix(args.prefix.as_bytes());
    run(context, &args.input, &args.showing, args.choosing, &which, Parts::Keys)
}

/// Shows keys with their values.
pub fn get(context: &Context, args: &Get) -> Result<Answer> {
    let key = args.key.as_bytes();
    let which = if args.prefix { Which::Prefix(key) } else { Which::One(key) };
    let parts = if args.print_value_only { Parts::Values } else { Parts::Both };
    let parts = if args.choosing.keys_only { Parts::Keys } else { parts };
    run(context, &args.input, &args.showing, args.choosing, &which, parts)
}

fn run(
    context: &Context,
    input: &Input,
    showing: &Showing,
    choosing: Choosing,
    which: &Which<'_>,
    parts: Parts,
) -> Result<Answer> {
    if showing.rev < 0 {
        return Err(anyhow!("--rev {}: a revision is not negative", showing.rev));
    }
    let question = |input: &Opened| {
        let space = KeySpace::open(&Store::new(sound(context, input)?))?;
        let view = View::at(&space, Some(showing.rev), &context.ui)?;
        let limit = match choosing.limit {
            0 => usize::MAX,
            limit => usize::try_from(limit).unwrap_or(usize::MAX),
        };
        let (found, count): (Vec<Record<'_>>, usize) = match which {
            Which::One(key) => {
                let found = view.get(key)?;
                (found.into_iter().collect(), usize::from(found.is_some()))
            }
            Which::Prefix(prefix) => {
                let keys = view.keys(prefix);
                let shown = if choosing.count_only { 0 } else { limit };
                let found = keys.iter().filter_map(|key| view.get(key).transpose()).take(shown);
                (found.collect::<Result<_, _>>()?, keys.len())
            }
        };
        let found = if choosing.count_only { Vec::new() } else { found };
        // As etcdctl's header: the newest revision, whatever revision is shown.
        let revision = space.current_revision();
        let shown = Shown { parts, choosing, count, revision, committed: input.committed() };
        Ok((render(context.global.format, showing.hex, &shown, &found)?, count))
    };
    let (text, _) = match which {
        // Of a key that is not there it matters what became of all the others.
        Which::One(_) => {
            ask_unless(context, &input.path, &input.reading, question, |(_, count)| *count == 0)?
        }
        Which::Prefix(_) => ask(context, &input.path, &input.reading, question)?,
    };
    Ok(Answer::sound(text))
}

/// What is shown beside the keys.
struct Shown {
    parts: Parts,
    choosing: Choosing,
    /// How many keys there are, whatever the limit.
    count: usize,
    revision: i64,
    committed: Committed,
}

fn render(format: Format, hex: bool, shown: &Shown, found: &[Record<'_>]) -> Result<Vec<u8>> {
    let Shown { parts, choosing, count, revision, committed } = *shown;
    let terminal = std::io::stdout().is_terminal();
    let shown = |bytes: &[u8]| shown_key(bytes, hex);
    Ok(match format {
        Format::Json => {
            let answer = Json {
                header: Header { revision },
                kvs: found.iter().map(|record| json(&record.kv, choosing.keys_only)).collect(),
                more: !choosing.count_only && found.len() < count,
                count: i64::try_from(count).unwrap_or(i64::MAX),
            };
            output::json_of_state(&answer, committed)?.into_bytes()
        }
        Format::Simple if choosing.count_only => format!("{count}\n").into_bytes(),
        Format::Simple => {
            let mut text = Vec::new();
            // A pipe gets the bytes as they are; a terminal must not obey them.
            let mut line = |bytes: &[u8]| {
                if hex || terminal {
                    text.extend(shown(bytes).bytes());
                } else {
                    text.extend(bytes);
                }
                text.push(b'\n');
            };
            for Record { kv, .. } in found {
                if parts != Parts::Values {
                    line(kv.key);
                }
                if parts != Parts::Keys {
                    line(kv.value);
                }
            }
            text
        }
        Format::Fields => {
            let mut text = output::fields(&[("Revision", revision.to_string())]);
            let quoted = |bytes: &[u8]| format!("\"{}\"", shown(bytes));
            for Record { kv, .. } in found {
                text += &output::fields(&[
                    ("Key", quoted(kv.key)),
                    ("CreateRevision", kv.create_revision.to_string()),
                    ("ModRevision", kv.mod_revision.to_string()),
                    ("Version", kv.version.to_string()),
                    ("Value", quoted(kv.value)),
                    ("Lease", kv.lease.to_string()),
                ]);
            }
            (text + &output::fields(&[("Count", count.to_string())])).into_bytes()
        }
        Format::Table => {
            let mut table = Table::new(&[
                "KEY",
                "CREATE REVISION",
                "MOD REVISION",
                "VERSION",
                "LEASE",
                "VALUE BYTES",
            ]);
            for Record { kv, .. } in found {
                table.row(vec![
                    shown(kv.key),
                    kv.create_revision.to_string(),
                    kv.mod_revision.to_string(),
                    kv.version.to_string(),
                    format!("{:x}", kv.lease),
                    kv.value.len().to_string(),
                ]);
            }
            table.render().into_bytes()
        }
    })
}

fn json(kv: &KeyValueRef<'_>, keys_only: bool) -> KeyValueJson {
    KeyValueJson {
        key: STANDARD.encode(kv.key),
        create_revision: kv.create_revision,
        mod_revision: kv.mod_revision,
        version: kv.version,
        value: if keys_only { String::new() } else { STANDARD.encode(kv.value) },
        lease: kv.lease,
    }
}
