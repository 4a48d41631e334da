//! `status`: etcdutl's `snapshot status`.

use anyhow::Result;
use etcdsnap_engine::{
    finding::Severity,
    jobs::{
        Answered,
        status::{Checked, Status, status},
    },
};

use super::Context;
use crate::{
    args::{Format, Input},
    exit::{Answer, Exit, say},
    input,
    output::{self, Table},
};

/// Checks the page tree, then shows the numbers. A damaged tree is refused, as etcdutl does.
pub fn run(context: &Context, args: &Input) -> Result<Answer> {
    let reading = input::options(context, &args.path, &args.reading)?;
    let answered = context.told(status(&args.path, &reading, &context.ui)?);
    let Answered { answer: Checked { findings, status, .. }, committed, state } = answered;
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
        Some(answer) => render(context.global.format, &Answered { answer, committed, state })?,
        None => {
            say("next: `etcdsnap check` lists what bbolt would find, `etcdsnap verify` everything");
            String::new()
        }
    };
    Ok(Answer::new(text, exit))
}

fn render(format: Format, answered: &Answered<Status>) -> Result<String> {
    let status = &answered.answer;
    let (hash, size) = (format!("{:x}", status.hash), output::bytes(status.total_size));
    let (revision, keys) = (status.revision.to_string(), status.total_key.to_string());
    let version = status.version.clone();
    Ok(match format {
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
            ("Size", status.total_size.to_string()),
            ("Version", version),
        ]),
        Format::Json => output::json(answered)?,
    })
}
