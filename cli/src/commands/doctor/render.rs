//! The answer as people and scripts see it.

use anyhow::Result;
use etcdsnap_engine::{
    diagnose::cluster::{Answer, MemberAnswer},
    finding::{Finding, Severity},
};

use crate::{
    args::Format,
    output::{self, Table, Tone, escape},
};

/// The answer in `format`.
pub fn render(format: Format, answer: &Answer) -> Result<String> {
    Ok(match format {
        Format::Json => output::json(answer)?,
        Format::Table => table(answer),
        Format::Fields => output::fields(&[
            ("Verdict", answer.verdict.to_owned()),
            ("RecoverFrom", escape(&answer.recover_from.clone().unwrap_or_default())),
        ]),
        Format::Simple => simple(answer),
    })
}

fn table(answer: &Answer) -> String {
    let mut table = Table::new(&["PATH", "VERDICT", "REVISION", "LAST INDEX", "FINDINGS"]).left();
    let number = |value: Option<String>| value.unwrap_or_else(|| "-".to_owned());
    for member in &answer.members {
        table.row(vec![
            escape(&member.path),
            member.verdict.to_owned(),
            number(member.revision.map(|revision| revision.to_string())),
            number(member.last_index.map(|last| last.to_string())),
            member.findings.len().to_string(),
        ]);
    }
    table.render()
}

fn simple(answer: &Answer) -> String {
    let mut text = String::new();
    let several = answer.members.len() > 1;
    // What was found about a single path stands with it.
    let own = answer.members.first().filter(|_| !several);
    let together =
        |finding: &&Finding| !answer.members.iter().any(|member| member.findings.contains(finding));
    for finding in answer.findings.iter().filter(together) {
        text += &line("", finding);
    }
    if own.is_none() && !text.is_empty() {
        text += "\n";
    }
    for member in &answer.members {
        text += &paragraph(member);
    }
    if let Some(quorum) = &answer.quorum {
        let plural = if quorum.voters == 1 { "voter" } else { "voters" };
        text += &format!(
            "quorum: {} {plural}, {} here, {} intact, {} needed\n",
            quorum.voters, quorum.here, quorum.intact, quorum.needed
        );
        if several && let Some(agreed) = quorum.agreed_index {
            text += &format!("all logs agree up to entry {agreed}");
            if let Some(held) = quorum.majority_index {
                text += &format!("; a majority holds entry {held}");
            }
            text += "\n";
        }
    }
    if let (Some(path), true) = (&answer.recover_from, several) {
        text += &format!("recover from: {}", escape(path));
        if let Some(reason) = &answer.reason {
            text += &format!(" ({reason})");
        }
        text += "\n";
    }
    text += "next:\n";
    for (number, step) in answer.next.iter().enumerate() {
        text += &format!("  {}. {}\n", number + 1, escape(&step.why));
        text += &format!("     {}\n", step.command);
    }
    text
}

fn paragraph(member: &MemberAnswer) -> String {
    let tone = match member.verdict {
        "healthy" => Tone::Good,
        "recoverable" | "empty" => Tone::Uneasy,
        _ => Tone::Bad,
    };
    let verdict = output::coloured(&member.verdict.to_uppercase(), tone);
    let mut text = format!("{}: {verdict}\n", escape(&member.path));
    if let Some(error) = &member.error {
        text += &format!("  {}\n", escape(error));
    }
    let mut facts = Vec::new();
    if let Some(name) = &member.name {
        facts.push(escape(name));
    }
    if member.role != "unknown" {
        facts.push(member.role.to_owned());
    }
    if let Some(revision) = member.revision {
        facts.push(format!("revision {revision}"));
    }
    if let Some(keys) = member.keys {
        facts.push(if keys == 1 { "1 key".to_owned() } else { format!("{keys} keys") });
    }
    if let Some(last) = member.last_index {
        facts.push(format!("log to entry {last}"));
    }
    if let Some(uncommitted) = member.entries_uncommitted.filter(|count| *count > 0) {
        facts.push(format!("{uncommitted} not known to be committed"));
    }
    if !facts.is_empty() {
        text += &format!("  {}\n", facts.join(", "));
    }
    for finding in &member.findings {
        text += &line("  ", finding);
    }
    text
}

fn line(indent: &str, finding: &Finding) -> String {
    let lead = match finding.severity {
        Severity::Damage => "DAMAGE",
        Severity::Warning => "warning",
        Severity::Note => "note",
    };
    let lead = output::coloured(lead, finding.severity.into());
    format!("{indent}{lead}: {}\n", escape(&finding.message))
}
