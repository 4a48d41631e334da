//! What the program says about a page that it wrote.

use std::path::Path;

use anyhow::Result;
use etcdsnap_engine::{diagnose::cluster, member::Committed, staging::Space};
use serde::Serialize;

use super::look::{Part, Summary};
use crate::{
    args::{Format, Report},
    commands::save::dry,
    output::{self, PlannedJson, Table},
};

/// A page, and what it was made of.
pub struct Made {
    /// The page.
    pub html: String,
    /// The engine's answer about all inputs.
    pub answer: cluster::Answer,
    /// The inputs, as they were named.
    pub parts: Vec<Part>,
}

impl Made {
    /// Whether nothing is damaged, differs, or could not be read.
    pub fn is_sound(&self) -> bool {
        self.answer.sound && self.parts.iter().all(Part::is_sound)
    }
}

impl Part {
    /// Whether it was read and nothing is damaged or missing.
    fn is_sound(&self) -> bool {
        self.summary.as_ref().is_some_and(|summary| summary.sound)
    }
}

/// Of one input.
#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
struct Json<'a> {
    dry_run: bool,
    path: String,
    replaced: bool,
    bytes: u64,
    #[serde(flatten)]
    input: InputJson<'a>,
    #[serde(flatten)]
    planned: PlannedJson,
}

#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
struct InputJson<'a> {
    sound: bool,
    findings: usize,
    /// Of the db file or snapshot that was read.
    sha256: &'a str,
    entries_uncommitted: u64,
    revision_committed: Option<i64>,
}

/// Of several.
#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
struct SeveralJson<'a> {
    dry_run: bool,
    path: String,
    replaced: bool,
    bytes: u64,
    sound: bool,
    verdict: &'a str,
    recover_from: Option<&'a str>,
    /// Of the one to recover from.
    entries_uncommitted: u64,
    revision_committed: Option<i64>,
    members: Vec<MemberJson<'a>>,
    #[serde(flatten)]
    planned: PlannedJson,
}

#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
struct MemberJson<'a> {
    path: String,
    verdict: &'a str,
    sound: bool,
    #[serde(skip_serializing_if = "Option::is_none")]
    findings: Option<usize>,
    #[serde(skip_serializing_if = "Option::is_none")]
    sha256: Option<&'a str>,
    #[serde(flatten)]
    committed: Option<CommittedJson>,
    /// Why it could not be read.
    #[serde(skip_serializing_if = "Option::is_none")]
    error: Option<&'a str>,
}

#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
struct CommittedJson {
    entries_uncommitted: u64,
    revision_committed: Option<i64>,
}

/// The answer.
pub fn render(
    format: Format,
    args: &Report,
    made: &Made,
    space: &[Space],
    replaced: bool,
) -> Result<String> {
    let path = args.out.display().to_string();
    let bytes = made.html.len() as u64;
    let files = [(args.out.clone(), bytes)];
    if format == Format::Simple && args.dry_run {
        return Ok(dry(&files, space));
    }
    if format == Format::Simple {
        let parts = args.input.paths.iter().zip(&made.parts);
        return Ok(parts.map(|(input, part)| simple(input, part, &path)).collect());
    }
    let sound = made.is_sound();
    if format == Format::Json {
        let (dry_run, planned) = (args.dry_run, PlannedJson::new(&files, space));
        return match made.parts.as_slice() {
            [Part { summary: Some(summary), .. }] => {
                let (findings, sha256) = (summary.findings, summary.sha256.as_str());
                let Committed { entries_uncommitted, revision_committed } = summary.committed;
                let input =
                    InputJson { sound, findings, sha256, entries_uncommitted, revision_committed };
                output::json(&Json { dry_run, path, replaced, bytes, input, planned })
            }
            parts => {
                let (verdict, from) = (made.answer.verdict, made.answer.recover_from.as_deref());
                let paths = args.input.paths.iter().zip(parts);
                let members = paths.map(|(path, part)| member(path, part)).collect();
                output::json(&SeveralJson {
                    dry_run,
                    path,
                    replaced,
                    bytes,
                    sound,
                    verdict,
                    recover_from: from,
                    entries_uncommitted: made.answer.entries_uncommitted,
                    revision_committed: made.answer.revision_committed,
                    members,
                    planned,
                })
            }
        };
    }
    let mut shown = vec![
        ("Path", output::escape(&path)),
        ("Size", bytes.to_string()),
        ("Sound", sound.to_string()),
    ];
    match made.parts.as_slice() {
        [Part { summary: Some(summary), .. }] => shown.extend([
            ("Findings", summary.findings.to_string()),
            ("SHA256", summary.sha256.clone()),
        ]),
        parts => shown.push(("Members", parts.len().to_string())),
    }
    Ok(match format {
        Format::Fields => output::fields(&shown),
        _ => Table::of_fields(shown).render(),
    })
}

fn simple(input: &Path, part: &Part, out: &str) -> String {
    let verdict = match &part.summary {
        None => "NOT READ".to_owned(),
        Some(_) if part.is_sound() => "sound".to_owned(),
        Some(Summary { damage: 0, .. }) => part.judgement.word.to_uppercase(),
        Some(Summary { damage: 1, .. }) => "DAMAGED, 1 finding".to_owned(),
        Some(summary) => format!("DAMAGED, {} findings", summary.damage),
    };
    let input = output::escape(&input.display().to_string());
    format!("{input}: {verdict}; see {}\n", output::escape(out))
}

fn member<'p>(path: &Path, part: &'p Part) -> MemberJson<'p> {
    let summary = part.summary.as_ref();
    MemberJson {
        path: path.display().to_string(),
        verdict: part.judgement.stable,
        sound: part.is_sound(),
        findings: summary.map(|summary| summary.findings),
        sha256: summary.map(|summary| summary.sha256.as_str()),
        committed: summary.map(|summary| CommittedJson {
            entries_uncommitted: summary.committed.entries_uncommitted,
            revision_committed: summary.committed.revision_committed,
        }),
        error: summary.is_none().then_some(part.judgement.sentence.as_str()),
    }
}
