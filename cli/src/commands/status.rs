//! `status`: etcdutl's `snapshot status`.

use anyhow::Result;
use etcdsnap_engine::{
    bolt::check,
    finding::{Finding, Severity},
    snapshot::{self, Status},
};
use serde::Serialize;

use super::Context;
use crate::{
    args::{Format, Input},
    exit::{Answer, Exit, say},
    input::ask,
    output::{self, Table},
};

#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
struct Json<'a> {
    hash: u32,
    revision: i64,
    total_key: u64,
    total_size: u64,
    version: &'a str,
    entries: u64,
    compact_revision: i64,
    kind: &'static str,
}

/// Checks the page tree, then shows the numbers. A damaged tree is refused, as etcdutl does.
pub fn run(context: &Context, args: &Input) -> Result<Answer> {
    let (findings, status, kind) = ask(context, &args.path, &args.reading, |input| {
        let db = input.db()?;
        let findings = check::check(&db, &context.ui)?;
        let status =
            if readable(&findings) { Some(snapshot::status(&db, &context.ui)?) } else { None };
        Ok((findings, status, input.kind()))
    })?;
    let damage = findings.iter().filter(|finding| finding.severity == Severity::Damage).count();
    if damage > 0 {
        say(&format!("snapshot file integrity check failed. {damage} errors found."));
    }
    for finding in findings
        .iter()
        .filter(|finding| !context.global.quiet || finding.severity == Severity::Damage)
    {
        say(&output::finding(finding));
    }
    let exit = if damage == 0 { Exit::Sound } else { Exit::Damage };
    let text = match status {
        Some(status) => render(context, &status, kind.as_str())?,
        None => {
            say("next: `etcdsnap check` lists what bbolt would find, `etcdsnap verify` everything");
            String::new()
        }
    };
    Ok(Answer::new(text, exit))
}

/// The freelist is not needed to read: one that cannot be read at all does not hide the numbers.
fn readable(findings: &[Finding]) -> bool {
    findings
        .iter()
        .all(|finding| finding.severity != Severity::Damage || finding.code == "freelist")
}

fn render(context: &Context, status: &Status, kind: &'static str) -> Result<String> {
    let hash = format!("{:x}", status.hash);
    let size = output::bytes(status.size_bytes);
    let (revision, keys) = (status.revision.to_string(), status.live_keys.to_string());
    let version = status.version.clone();
    Ok(match context.global.format {
        Format::Simple => format!("{hash}, {revision}, {keys}, {size}, {version}\n"),
        Format::Table => {
            let mut table =
                Table::new(&["HASH", "REVISION", "TOTAL KEYS", "TOTAL SIZE", "VERSION"]);
            table.row(vec![hash, revision, keys, size, version]);
            table.render()
        }
        Format::Fields => output::fields(&[
            ("Hash", status.hash.to_string()),
            ("Revision", revision),
            ("Keys", keys),
            ("Size", status.size_bytes.to_string()),
            ("Version", version),
        ]),
        Format::Json => output::json_of_state(
            &Json {
                hash: status.hash,
                revision: status.revision,
                total_key: status.live_keys,
                total_size: status.size_bytes,
                version: &status.version,
                entries: status.entries,
                compact_revision: status.compact_revision,
                kind,
            },
            context.committed(),
        )?,
    })
}
