//! The answer as people and scripts see it.

use anyhow::Result;
use etcdsnap_engine::{
    diagnose::cluster::{Answer, MemberAnswer, QuorumAnswer},
    finding::{Finding, Severity, counted},
};

use crate::{
    args::Format,
    output::{self, Table, Tone, escape, wrapped},
};

/// The answer in `format`.
pub fn render(format: Format, answer: &Answer) -> Result<String> {
    Ok(match format {
        Format::Json => output::json(answer)?,
        Format::Table => table(answer),
        Format::Fields => fields(answer),
        Format::Simple => simple(answer),
    })
}

fn fields(answer: &Answer) -> String {
    let mut pairs = vec![
        ("Verdict", answer.verdict.to_owned()),
        ("RecoverFrom", escape(&answer.recover_from.clone().unwrap_or_default())),
        ("EntriesUncommitted", answer.entries_uncommitted.to_string()),
    ];
    if let Some(quorum) = &answer.quorum {
        pairs.push(("Voters", quorum.voters.to_string()));
        pairs.push(("VotersHere", quorum.here.to_string()));
        pairs.push(("VotersIntact", quorum.intact.to_string()));
    }
    output::fields(&pairs)
}

fn table(answer: &Answer) -> String {
    let headers = ["PATH", "VERDICT", "REVISION", "LAST INDEX", "ROLE", "BEHIND", "FINDINGS"];
    let mut table = Table::new(&headers).left();
    let number = |value: Option<String>| value.unwrap_or_else(|| "-".to_owned());
    for member in &answer.members {
        table.row(vec![
            escape(&member.path),
            member.verdict.to_owned(),
            number(member.revision.map(|revision| revision.to_string())),
            number(member.last_index.map(|last| last.to_string())),
            member.role.to_owned(),
            number(member.entries_behind.map(|behind| behind.to_string())),
            member.findings.len().to_string(),
        ]);
    }
    table.render()
}

fn simple(answer: &Answer) -> String {
    let mut text = String::new();
    // What was found about one path stands with it.
    let of_one =
        |finding: &Finding| answer.members.iter().any(|member| member.findings.contains(finding));
    for finding in answer.findings.iter().filter(|finding| !of_one(finding)) {
        text += &found("", finding);
    }
    if !text.is_empty() {
        text += "\n";
    }
    for member in &answer.members {
        text += &paragraph(member);
    }
    let several = answer.members.len() > 1;
    if let Some(quorum) = &answer.quorum {
        text += &votes(quorum, several);
    }
    if let (Some(path), true) = (&answer.recover_from, several) {
        text += &wrapped("recover from: ", &escape(path));
        if let Some(reason) = &answer.reason {
            text += &wrapped("  ", &escape(reason));
        }
    }
    if !answer.next.is_empty() {
        text += "next:\n";
    }
    for (number, step) in answer.next.iter().enumerate() {
        text += &wrapped(&format!("  {}. ", number + 1), &escape(&step.why));
        // A command is pasted as it is: it is quoted so that a terminal shows all of it, and no line of it is broken.
        text += &format!("     {}\n", step.command);
    }
    text
}

fn votes(quorum: &QuorumAnswer, several: bool) -> String {
    let mut line = format!(
        "{} of {} here and intact, {} needed for a majority",
        quorum.intact,
        counted(quorum.voters as u64, "voter is", "voters are"),
        if quorum.needed == 1 { "1 is".to_owned() } else { format!("{} are", quorum.needed) },
    );
    if several && let Some(agreed) = quorum.agreed_index {
        line += &format!("; all logs agree up to entry {agreed}");
        if let Some(held) = quorum.majority_index {
            line += &format!(", a majority holds entry {held}");
        }
    }
    wrapped("quorum: ", &line)
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
        text += &wrapped("  ", &escape(error));
    }
    let mut facts = Vec::new();
    if let Some(name) = &member.name {
        facts.push(escape(name));
    }
    match member.role {
        "unknown" => {}
        "former" => facts.push("no member any more".to_owned()),
        role => facts.push(role.to_owned()),
    }
    if let Some(revision) = member.revision {
        facts.push(format!("revision {revision}"));
    }
    if let Some(keys) = member.keys {
        facts.push(counted(keys, "key", "keys"));
    }
    if let Some(last) = member.last_index {
        facts.push(format!("log to entry {last}"));
    }
    if let Some(uncommitted) = member.entries_uncommitted.filter(|count| *count > 0) {
        facts.push(format!(
            "{} not known to be committed",
            counted(uncommitted, "entry", "entries")
        ));
    }
    if !facts.is_empty() {
        text += &wrapped("  ", &facts.join(", "));
    }
    for finding in &member.findings {
        text += &found("  ", finding);
    }
    text
}

fn found(indent: &str, finding: &Finding) -> String {
    let lead = match finding.severity {
        Severity::Damage => "DAMAGE",
        Severity::Warning => "warning",
        Severity::Note => "note",
    };
    let lead = output::coloured(lead, finding.severity.into());
    wrapped(&format!("{indent}{lead}: "), &escape(&finding.message))
}
