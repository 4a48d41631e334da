//! `history` and `log`: what was changed, of one key or of all, in the order in which it was done.

use std::os::unix::ffi::OsStrExt as _;

use anyhow::{Result, anyhow};
use base64::{Engine as _, engine::general_purpose::STANDARD};
use etcdsnap_engine::{
    member::Committed,
    mvcc::{
        KeySpace, Record,
        log::{self, Span},
    },
    schema::Store,
};
use serde::Serialize;

use super::{Context, sound};
use crate::{
    args::{self, Format, Values},
    exit::{Answer, Exit},
    input::ask,
    output::{self, KeyJson, LongTable, Spool, Table, shown_key},
};

/// A change as scripts see it; what a deletion does not have is `null`.
#[derive(Debug, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct ChangeJson {
    r#type: &'static str,
    revision: i64,
    sub: i64,
    #[serde(flatten, skip_serializing_if = "Option::is_none")]
    key: Option<KeyJson>,
    #[serde(flatten)]
    record: RecordJson,
    /// Whether it comes from an entry that is not known to be committed.
    #[serde(skip_serializing_if = "std::ops::Not::not")]
    uncommitted: bool,
}

/// What a put says.
#[derive(Debug, Default, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct RecordJson {
    create_revision: Option<i64>,
    mod_revision: Option<i64>,
    version: Option<i64>,
    /// Lower-case hex, `null` without one.
    lease: Option<String>,
    value_bytes: Option<usize>,
    #[serde(skip_serializing_if = "Option::is_none")]
    value_base64: Option<String>,
}

impl RecordJson {
    /// Of a put; its value only on request.
    pub fn new(record: &Record<'_>, value: bool) -> Self {
        let kv = &record.kv;
        Self {
            create_revision: Some(kv.create_revision),
            mod_revision: Some(kv.mod_revision),
            version: Some(kv.version),
            lease: (kv.lease != 0).then(|| format!("{:x}", kv.lease)),
            value_bytes: Some(kv.value.len()),
            value_base64: value.then(|| STANDARD.encode(kv.value)),
        }
    }
}

#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
struct HistoryJson {
    #[serde(flatten)]
    key: KeyJson,
    revision: i64,
    compact_revision: i64,
    changes: Vec<ChangeJson>,
}

impl ChangeJson {
    fn new(record: &Record<'_>, with_key: bool, showing: Showing) -> Self {
        let values = showing.values;
        let deleted = record.key.tombstone;
        Self {
            r#type: if deleted { "delete" } else { "put" },
            revision: record.key.revision.main,
            sub: record.key.revision.sub,
            key: with_key.then(|| KeyJson::new(record.kv.key)),
            record: if deleted {
                RecordJson::default()
            } else {
                RecordJson::new(record, !values.no_values)
            },
            uncommitted: showing.is_uncommitted(record),
        }
    }
}

/// How changes are shown.
#[derive(Clone, Copy)]
struct Showing {
    values: Values,
    committed: Committed,
}

impl Showing {
    fn is_uncommitted(&self, record: &Record<'_>) -> bool {
        self.committed.lacks(record.key.revision.main)
    }

    /// What is said of a change that comes from an entry not known to be committed.
    fn mark(&self, record: &Record<'_>) -> &'static str {
        if self.is_uncommitted(record) { " (not known to be committed)" } else { "" }
    }
}

/// Shows a key's life.
pub fn history(context: &Context, args: &args::History) -> Result<Answer> {
    if args.rev < 0 {
        return Err(anyhow!("--rev {}: a revision is not negative", args.rev));
    }
    let (key, values) = (args.key.as_bytes(), args.values);
    let text = ask(context, &args.input.path, &args.input.reading, |input| {
        let space = KeySpace::open(&Store::new(sound(context, input)?))?;
        let revision = space.readable(Some(args.rev))?;
        let found = log::history(&space, key, Some(revision), &context.ui)?;
        let values = Showing { values, committed: input.committed() };
        if found.is_empty() {
            context.warn("there is no record of this key");
        }
        Ok(match context.global.format {
            Format::Json => {
                let answer = HistoryJson {
                    key: KeyJson::new(key),
                    revision,
                    compact_revision: space.compact_revision(),
                    changes: found.iter().map(|one| ChangeJson::new(one, false, values)).collect(),
                };
                output::json_of_state(&answer, input.committed())?
            }
            Format::Simple => found.iter().map(|one| line(one, false, values)).collect(),
            Format::Table => table(&found, values),
            Format::Fields => found.iter().map(|one| fields(one, values)).collect(),
        })
    })?;
    Ok(Answer::sound(text))
}

/// Shows all changes.
pub fn log(context: &Context, args: &args::Log) -> Result<Answer> {
    let (prefix, values) = (args.prefix.as_bytes(), args.values);
    let span = Span { from: args.from, to: args.to };
    if let (Some(from), Some(to)) = (args.from, args.to)
        && from > to
    {
        return Err(anyhow!("--from {from} is behind --to {to}: there is nothing between them"));
    }
    let format = context.global.format;
    let spool = ask(context, &args.path, &args.reading.reading(), |input| {
        let space = KeySpace::open(&Store::new(sound(context, input)?))?;
        if span.from.is_none() && space.compact_revision() > 0 {
            context.warn(&format!(
                "history is compacted to revision {0}: before it only what was live then is left; --from {0} begins there",
                space.compact_revision()
            ));
        }
        let (mut spool, mut table) = (Spool::default(), LongTable::new(&headers(values), false));
        let values = Showing { values, committed: input.committed() };
        log::changes(
            &space,
            &span,
            &context.ui,
            |records| {
                let mut made = Vec::new();
                for record in records {
                    let record = record?;
                    if record.kv.key.starts_with(prefix) {
                        made.push(Made::new(&record, format, values));
                    }
                }
                Ok(made)
            },
            |made| {
                made.into_iter().try_for_each(|made| match made {
                    Made::Text(text) => spool.push(text.as_bytes()),
                    Made::Row(cells) => table.row(&mut spool, cells),
                })
            },
        )?;
        if format == Format::Table {
            table.finish(&mut spool)?;
        }
        Ok(spool)
    })?;
    Ok(Answer::long(spool, Exit::Sound))
}

/// A change, ready to be shown.
enum Made {
    Text(String),
    Row(Vec<String>),
}

impl Made {
    fn new(record: &Record<'_>, format: Format, values: Showing) -> Self {
        match format {
            // Its parts are text and numbers: it can be written.
            Format::Json => {
                Made::Text(output::json(&ChangeJson::new(record, true, values)).unwrap_or_default())
            }
            Format::Simple => Made::Text(line(record, true, values)),
            Format::Fields => Made::Text(fields(record, values)),
            Format::Table => Made::Row(cells(record, values)),
        }
    }
}

fn at(record: &Record<'_>) -> String {
    record.key.revision.to_string()
}

fn line(record: &Record<'_>, with_key: bool, showing: Showing) -> String {
    let (values, mark) = (showing.values, showing.mark(record));
    let kv = &record.kv;
    let key = if with_key { format!(" {}", shown_key(kv.key, values.hex)) } else { String::new() };
    if record.key.tombstone {
        return format!("{} delete{key}{mark}\n", at(record));
    }
    let lease = if kv.lease == 0 { String::new() } else { format!(" lease {:x}", kv.lease) };
    let value =
        if values.values { format!(" {}", shown_key(kv.value, values.hex)) } else { String::new() };
    format!(
        "{} put{key} version {} created {}{lease} {} bytes{mark}{value}\n",
        at(record),
        kv.version,
        kv.create_revision,
        kv.value.len()
    )
}

fn fields(record: &Record<'_>, showing: Showing) -> String {
    let values = showing.values;
    let kv = &record.kv;
    let quoted = |bytes: &[u8]| format!("\"{}\"", shown_key(bytes, values.hex));
    let mut pairs = vec![
        ("Type", (if record.key.tombstone { "DELETE" } else { "PUT" }).to_owned()),
        ("Revision", record.key.revision.main.to_string()),
        ("Sub", record.key.revision.sub.to_string()),
        ("Key", quoted(kv.key)),
    ];
    if showing.is_uncommitted(record) {
        pairs.push(("Uncommitted", "true".to_owned()));
    }
    if !record.key.tombstone {
        pairs.extend([
            ("CreateRevision", kv.create_revision.to_string()),
            ("ModRevision", kv.mod_revision.to_string()),
            ("Version", kv.version.to_string()),
            ("Lease", kv.lease.to_string()),
            ("ValueBytes", kv.value.len().to_string()),
        ]);
        if values.values {
            pairs.push(("Value", quoted(kv.value)));
        }
    }
    output::fields(&pairs) + "\n"
}

fn headers(values: Values) -> Vec<&'static str> {
    let mut headers =
        vec!["REVISION", "TYPE", "KEY", "CREATE REVISION", "VERSION", "LEASE", "VALUE BYTES"];
    if values.values {
        headers.push("VALUE");
    }
    headers
}

fn cells(record: &Record<'_>, showing: Showing) -> Vec<String> {
    let values = showing.values;
    let kv = &record.kv;
    let put = |text: String| if record.key.tombstone { String::new() } else { text };
    let mut cells = vec![
        at(record),
        (if record.key.tombstone { "delete" } else { "put" }).to_owned()
            + if showing.is_uncommitted(record) { " ?" } else { "" },
        shown_key(kv.key, values.hex),
        put(kv.create_revision.to_string()),
        put(kv.version.to_string()),
        put(format!("{:x}", kv.lease)),
        put(kv.value.len().to_string()),
    ];
    if values.values {
        cells.push(shown_key(kv.value, values.hex));
    }
    cells
}

fn table(records: &[Record<'_>], values: Showing) -> String {
    let mut table = Table::new(&headers(values.values));
    records.iter().for_each(|record| table.row(cells(record, values)));
    table.render()
}
