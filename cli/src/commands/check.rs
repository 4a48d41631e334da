//! `check`: the page tree alone.

use anyhow::Result;
use etcdsnap_engine::{bolt, finding::Severity};
use serde::Serialize;

use super::Context;
use crate::{
    args::{File, Format, Reading},
    exit::{Answer, Exit},
    input::ask,
    output::{self, FindingJson, Table, escape},
};

#[derive(Serialize)]
struct Json<'a> {
    path: String,
    sound: bool,
    findings: Vec<FindingJson<'a>>,
}

/// Checks and shows every finding.
pub fn run(context: &Context, args: &File) -> Result<Answer> {
    let reading = Reading { no_wal: true, any_program: true, ..Reading::default() };
    let findings = ask(context, &args.path, &reading, |input| {
        Ok(bolt::check::check(&input.db()?, &context.ui)?)
    })?;
    let damage = findings.iter().filter(|finding| finding.severity == Severity::Damage).count();
    let text = match context.global.format {
        Format::Json => output::json(&Json {
            path: args.path.display().to_string(),
            sound: damage == 0,
            findings: FindingJson::list(&findings),
        })?,
        Format::Table => {
            let mut table = Table::new(&["SEVERITY", "WHERE", "MESSAGE"]).left();
            for finding in &findings {
                table.row(vec![
                    finding.severity.to_string(),
                    finding.place.to_string(),
                    escape(&finding.message),
                ]);
            }
            table.render()
        }
        Format::Fields => output::fields(&[
            ("Sound", (damage == 0).to_string()),
            ("Findings", findings.len().to_string()),
        ]),
        Format::Simple => {
            let mut text: String =
                findings.iter().map(|finding| escape(&finding.message) + "\n").collect();
            text +=
                &if damage == 0 { "OK\n".to_owned() } else { format!("{damage} errors found\n") };
            text
        }
    };
    Ok(Answer::new(text, if damage == 0 { Exit::Sound } else { Exit::Damage }))
}
