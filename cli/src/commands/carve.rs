//! `carve`: records that are in the file and not in its database.

use std::os::unix::ffi::OsStrExt as _;

use anyhow::Result;
use base64::{Engine as _, engine::general_purpose::STANDARD};
use etcdsnap_engine::salvage::{self, Carved, Carver};
use serde::Serialize;

use super::Context;
use crate::{
    args::{self, Format, Reading},
    exit::{Answer, Exit},
    input::open,
    output::{self, KeyJson, Spool, for_terminal},
};

#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
struct Json {
    #[serde(flatten)]
    key: KeyJson,
    revision: i64,
    sub: i64,
    deletion: bool,
    #[serde(skip_serializing_if = "Option::is_none")]
    create_revision: Option<i64>,
    #[serde(skip_serializing_if = "Option::is_none")]
    version: Option<i64>,
    #[serde(skip_serializing_if = "Option::is_none")]
    lease: Option<String>,
    value_bytes: usize,
    #[serde(skip_serializing_if = "Option::is_none")]
    value_base64: Option<String>,
    page: u64,
    #[serde(skip_serializing_if = "Option::is_none")]
    element: Option<usize>,
    offset: u64,
    source: &'static str,
    complete: bool,
    confidence: &'static str,
    conflicts: bool,
}

/// Finds them, in the order of the file, and prints one a line.
pub fn run(context: &Context, args: &args::Carve) -> Result<Answer> {
    let reading = Reading { no_wal: true, ..Reading::default() };
    let input = open(context, &args.path, &reading)?;
    let explain = |error| match error {
        salvage::Error::Bolt(error) => anyhow::Error::new(input.explain(error)),
        other => other.into(),
    };
    let carver = Carver::new(input.bytes(), &context.ui).map_err(explain)?;
    let mut spool = Spool::default();
    let mut shown = 0_u64;
    let mut failed = None;
    let limit = args.limit.unwrap_or(u64::MAX);
    carver
        .run(&context.ui, &mut |record| {
            if shown >= limit {
                return false;
            }
            if !record.key.starts_with(args.prefix.as_bytes()) {
                return true;
            }
            shown += 1;
            let line = line(context.global.format, args, record);
            failed = line.and_then(|line| spool.push(line.as_bytes())).err();
            failed.is_none()
        })
        .map_err(explain)?;
    if let Some(error) = failed {
        return Err(error);
    }
    // Nothing is shown before the bytes are known to be those of the file.
    input.settle()?;
    if shown == 0 {
        context.warn("note: no record was found outside the database");
    }
    Ok(Answer::long(spool, Exit::Sound))
}

fn line(format: Format, args: &args::Carve, record: &Carved<'_>) -> Result<String> {
    let Carved { revision, key, value, page, offset, origin, complete, certainty, .. } = record;
    let (main, sub) = (revision.revision.main, revision.revision.sub);
    let whole = if *complete { "complete" } else { "cut" };
    Ok(match format {
        Format::Json => output::json(&Json {
            key: KeyJson::new(key),
            revision: main,
            sub,
            deletion: revision.tombstone,
            create_revision: record.fields.map(|(created, ..)| created),
            version: record.fields.map(|(_, version, _)| version),
            lease: record.fields.map(|(.., lease)| format!("{lease:x}")),
            value_bytes: value.len(),
            value_base64: (!args.no_values && !revision.tombstone).then(|| STANDARD.encode(value)),
            page: page.0,
            element: record.index,
            offset: *offset,
            source: origin.as_str(),
            complete: *complete,
            confidence: certainty.as_str(),
            conflicts: record.conflicts,
        })?,
        Format::Simple | Format::Table | Format::Fields => {
            let what = if revision.tombstone {
                "deleted".to_owned()
            } else {
                format!("{} bytes", value.len())
            };
            format!(
                "{main}/{sub}  {}  {what}  page {page} offset {offset:#x}  {}, {whole}, confidence {}\n",
                for_terminal(key),
                origin.as_str(),
                certainty.as_str()
            )
        }
    })
}
