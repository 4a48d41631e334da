//! `verify`: everything that can be known without restoring.

use std::path::Path;

use anyhow::Result;
use etcdsnap_engine::{
    diagnose::{against_log, can_compare, log_findings},
    finding::{Finding, Place, Severity, counted},
    limits::Limits,
    member::Committed,
    snapshot::{Verification, verify},
    wal::LogEnd,
};
use serde::Serialize;

use super::Context;
use crate::{
    args::{self, Format, Reading},
    exit::{Answer, Exit, fail_code, say_error, sentence},
    input::{Input, access, ask},
    output::{self, FindingJson, Table, Tone, escape},
};

#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
struct Json<'a> {
    path: String,
    sound: bool,
    checks: Vec<CheckJson<'a>>,
    findings: Vec<FindingJson<'a>>,
    entries_uncommitted: u64,
    revision_committed: Option<i64>,
}

#[derive(Serialize)]
struct CheckJson<'a> {
    name: &'a str,
    sound: bool,
    detail: &'a str,
}

/// Verifies each input in turn; the worst outcome decides the exit code.
pub fn run(context: &Context, verify: &args::Verify) -> Result<Answer> {
    let args = &verify.inputs;
    let mut answer = Answer::sound(String::new());
    for path in &args.paths {
        let verified = ask(context, path, &args.reading, |input| {
            let mut verification = judged(context, input)?;
            if verify.against_wal {
                let (detail, findings) = against(context, input, &args.reading)?;
                verification.add("against-wal", detail, findings);
            }
            Ok((verification, input.committed(), input.located().member.is_some()))
        });
        match verified {
            Ok((verification, committed, member)) => {
                if member && args.reading.no_wal {
                    context.warn(&format!(
                        "{}: the db file alone was verified, its WAL was not",
                        path.display()
                    ));
                }
                let text = render(context.global.format, path, &verification, committed)?;
                answer.text.extend(text.bytes());
                answer.exit = answer.exit.max(if verification.is_sound() {
                    Exit::Sound
                } else {
                    Exit::Damage
                });
            }
            // One bad file must not hide the others on the shelf.
            Err(error) => {
                say_error(&error);
                if context.global.format == Format::Json {
                    answer.text.extend(refused(path, &error)?.bytes());
                }
                answer.exit = answer.exit.max(fail_code(&error));
            }
        }
    }
    Ok(answer)
}

/// Verifies the database of `input` and, of a member, its WAL.
pub fn judged(context: &Context, input: &Input) -> Result<Verification> {
    input.file_db()?;
    let mut verification = verify(&input.image(), Limits::default(), &context.ui)
        .map_err(|error| input.explain(error))?;
    if let Some((detail, findings)) = wal(input) {
        verification.add("wal", detail, findings);
    }
    Ok(verification)
}

/// Holds the db of `input` against the state that its log makes.
fn against(context: &Context, input: &Input, reading: &Reading) -> Result<(String, Vec<Finding>)> {
    if !can_compare(input) {
        return Ok((
            "not compared: the log does not have every entry since the first".to_owned(),
            Vec::new(),
        ));
    }
    let options = reading.options(access(context)?);
    let found = against_log(input, &options, &context.ui)?;
    let detail = match &found {
        None => "the db equals the state that the log makes".to_owned(),
        Some(_) => "the db differs from the state that the log makes".to_owned(),
    };
    Ok((detail, found.into_iter().collect()))
}

/// What there is to say of a member's WAL; `None` when it was not looked at.
pub fn wal(input: &Input) -> Option<(String, Vec<Finding>)> {
    let facts = input.wal()?;
    let entries = match (facts.first_index, facts.last_index) {
        (Some(first), Some(last)) => format!("entries {first} to {last}"),
        _ => "no entries".to_owned(),
    };
    let checked = match &facts.end {
        Some(LogEnd::Damaged(..)) => "damaged after them",
        _ => "all checksums right",
    };
    let segments = counted(facts.segments as u64, "segment", "segments");
    let detail = match input.report() {
        Some(report) => format!(
            "{segments}, {entries}, {checked}; {} applied to the db; not known to be committed: {}",
            counted(report.applied, "entry", "entries"),
            report.entries_uncommitted()
        ),
        None => format!("{segments}, {entries}; not applied to the db"),
    };
    let findings = log_findings(input);
    Some((detail, findings))
}

/// An input that could not be judged is not sound: it has its line, too.
fn refused(path: &Path, error: &anyhow::Error) -> Result<String> {
    let message = sentence(error);
    let finding = Finding::damage("unreadable", Place::File, message);
    output::json(&Json {
        path: path.display().to_string(),
        sound: false,
        checks: Vec::new(),
        findings: vec![(&finding).into()],
        entries_uncommitted: 0,
        revision_committed: None,
    })
}

/// One input's report.
pub fn render(
    format: Format,
    path: &Path,
    verification: &Verification,
    committed: Committed,
) -> Result<String> {
    let sound = verification.is_sound();
    let shown = escape(&path.display().to_string());
    Ok(match format {
        Format::Json => output::json(&Json {
            path: path.display().to_string(),
            sound,
            checks: verification
                .checks
                .iter()
                .map(|check| CheckJson {
                    name: check.name,
                    sound: check.sound,
                    detail: &check.detail,
                })
                .collect(),
            findings: FindingJson::list(&verification.findings),
            entries_uncommitted: committed.entries_uncommitted,
            revision_committed: committed.revision_committed,
        })?,
        Format::Table => {
            let mut table = Table::new(&["CHECK", "SOUND", "DETAIL"]).left();
            for check in &verification.checks {
                table.row(vec![
                    check.name.to_owned(),
                    check.sound.to_string(),
                    escape(&check.detail),
                ]);
            }
            let findings: String = output::findings(&verification.findings)
                .into_iter()
                .map(|line| output::finding_line("", &line))
                .collect();
            format!("{shown}\n{}{findings}", table.render())
        }
        Format::Fields => {
            let mut pairs = vec![("Path", shown), ("Sound", sound.to_string())];
            pairs.extend(
                verification.checks.iter().map(|check| (check.name, check.sound.to_string())),
            );
            output::fields(&pairs)
        }
        Format::Simple => {
            let causes = verification.causes();
            let damage = causes.iter().filter(|one| one.finding.severity == Severity::Damage);
            let verdict = if sound {
                output::coloured("sound", Tone::Good)
            } else {
                let found = counted(damage.count() as u64, "finding", "findings");
                format!("{}, {found}", output::coloured("DAMAGED", Tone::Bad))
            };
            let mut text = format!("{shown}: {verdict}\n");
            for check in &verification.checks {
                let (mark, tone) = match check.sound {
                    true => ("ok  ", Tone::Good),
                    false => ("BAD ", Tone::Bad),
                };
                let first = format!("  {:<9} {} ", check.name, output::coloured(mark, tone));
                text += &output::wrapped(&first, &escape(&check.detail));
            }
            for line in output::findings(&verification.findings) {
                text += &output::finding_line("  ", &line);
            }
            text
        }
    })
}
