//! `wal`: the records of a member's log.

mod open;
mod request;

use std::{
    fmt::Write as _,
    io::{self, BufWriter, Write},
};

use anyhow::{Context as _, anyhow};
use etcdsnap_engine::{
    pb::entry::Decoded,
    wal::{End, Error, Payload, Record, Records, SegmentName, Tail},
};
use rayon::prelude::*;
use serde::Serialize;
use serde_json::{Map, Value, json};

use super::Context;
use crate::{
    args::{Format, Wal},
    exit::{Answer, Exit, say},
    output::{self, for_terminal},
};
use open::Opened;

/// Characters of a request that are shown to people.
const SHOWN: usize = 200;
/// Records that are made into lines side by side, and bytes of them, as the lines are held until they are written.
const BATCH: (usize, usize) = (1024, 4 << 20);

/// A record as scripts see it.
#[derive(Serialize)]
struct Json {
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
const TYPES: [&str; 39] = [
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

/// Prints the records one after the other, as they are read.
pub fn run(context: &Context, args: &Wal) -> anyhow::Result<Answer> {
    if let Some(unknown) = args.types.iter().find(|name| !TYPES.contains(&name.as_str())) {
        return Err(anyhow!(
            "--type {unknown}: there is no such type; there are: {}",
            TYPES.join(" ")
        ));
    }
    let opened = Opened::new(context, args)?;
    let newest = Newest::read(&opened);
    let mut out = BufWriter::new(io::stdout().lock());
    let printed = print(context, args, &opened, &newest, &mut out);
    let printed = printed.and_then(|exit| out.flush().map(|()| exit));
    opened.check()?;
    match printed {
        Ok(exit) => Ok(Answer::new("", exit)),
        // A reader that has gone away is a quiet end.
        Err(error) if error.kind() == io::ErrorKind::BrokenPipe => Ok(Answer::sound("")),
        Err(error) => Err(error).context("write to standard output"),
    }
}

/// The last entry of each index, in order: its segment and offset. Every other entry of that index, or of one that is
/// not here, is overridden.
struct Newest(Vec<(u64, (usize, u64))>);

impl Newest {
    fn read(opened: &Opened) -> Self {
        let mut newest: Vec<(u64, (usize, u64))> = Vec::new();
        for (at, (_, segment)) in opened.segments().enumerate() {
            for record in Records::new(segment, 0, Tail::Newest).flatten() {
                if let Ok(Payload::Entry(entry)) = record.payload() {
                    // A shorter log took the place of everything behind this index.
                    while newest.pop_if(|(index, _)| *index >= entry.index()).is_some() {}
                    newest.push((entry.index(), (at, record.offset)));
                }
            }
        }
        Self(newest)
    }

    fn is_at(&self, index: u64, place: (usize, u64)) -> bool {
        let found = self.0.binary_search_by_key(&index, |(index, _)| *index);
        found.is_ok_and(|found| self.0.get(found).is_some_and(|(_, newest)| *newest == place))
    }
}

fn print(
    context: &Context,
    args: &Wal,
    opened: &Opened,
    newest: &Newest,
    out: &mut impl Write,
) -> io::Result<Exit> {
    let segments = opened.segments().count();
    let mut crc = 0;
    for (at, (name, segment)) in opened.segments().enumerate() {
        let tail = if at + 1 == segments { Tail::Newest } else { Tail::Closed };
        let mut records = Records::new(segment, crc, tail);
        let render = |record: Result<Record<'_>, Error>, text: &mut String| {
            let record = record?;
            let Some(shown) = shown(args, name, &record)? else { return Ok(()) };
            let overridden = shown
                .index
                .filter(|_| shown.r#type == "entry")
                .is_some_and(|index| !newest.is_at(index, (at, record.offset)));
            line(context.global.format, &Json { overridden, ..shown }, text);
            Ok(())
        };
        loop {
            let batch = batch(&mut records);
            if batch.is_empty() {
                break;
            }
            let texts: Vec<(String, Result<(), Error>)> = batch
                .par_chunks(BATCH.0 / 16)
                .map(|records| {
                    let mut text = String::new();
                    let done =
                        records.iter().try_for_each(|record| render(record.clone(), &mut text));
                    (text, done)
                })
                .collect();
            for (text, done) in texts {
                out.write_all(text.as_bytes())?;
                if let Err(error) = done {
                    return Ok(damaged(name, &error));
                }
            }
        }
        crc = records.crc();
        match records.end() {
            Some(End::Torn { offset }) if tail == Tail::Newest => {
                torn(context, name, offset, out)?;
            }
            Some(End::Torn { offset }) => {
                say(&format!(
                    "damage: {name} offset {offset:#x}: a record is cut short, and this is not the last segment; a server refuses this log"
                ));
                return Ok(Exit::Damage);
            }
            _ => {}
        }
    }
    Ok(Exit::Sound)
}

fn batch<'a>(records: &mut Records<'a>) -> Vec<Result<Record<'a>, Error>> {
    let (mut batch, mut bytes) = (Vec::new(), 0);
    while batch.len() < BATCH.0 && bytes < BATCH.1 {
        let Some(record) = records.next() else { break };
        bytes += record.as_ref().map_or(0, |record| record.data.unwrap_or_default().len());
        batch.push(record);
    }
    batch
}

/// Says what is wrong with a record.
fn damaged(name: SegmentName, error: &Error) -> Exit {
    say(&format!("damage: {name}: {error}; a server refuses this log"));
    Exit::Damage
}

/// The record, if it is asked for.
///
/// # Errors
/// When its checksum is right and what it holds is no message: a server refuses that too.
fn shown(args: &Wal, name: SegmentName, record: &Record<'_>) -> Result<Option<Json>, Error> {
    let payload = record.payload()?;
    let mut shown = Json {
        segment: name.to_string(),
        offset: record.offset,
        r#type: "crc",
        index: None,
        term: None,
        overridden: false,
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

fn line(format: Format, shown: &Json, text: &mut String) {
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
                "{:016}+{:#09x} {:<8} {:>8} {:>4} {:<12} {}{}",
                shown.segment.split('-').next().unwrap_or_default(),
                shown.offset,
                shown.r#type,
                number(shown.index),
                number(shown.term),
                shown.kind.unwrap_or_default(),
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

/// The torn tail: no record, but what a server does about it.
fn torn(context: &Context, name: SegmentName, offset: u64, out: &mut impl Write) -> io::Result<()> {
    const WHAT: &str =
        "a record was cut short by a crash; a server cuts the segment here when it starts";
    match context.global.format {
        Format::Json => writeln!(
            out,
            "{}",
            json!({"segment": name.to_string(), "offset": offset, "type": "torn", "detail": WHAT})
        ),
        _ => writeln!(out, "{name}+{offset:#x} torn: {WHAT}"),
    }
}
