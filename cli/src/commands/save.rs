//! `save`: a member's db as an etcd snapshot.

use std::path::Path;

use anyhow::{Context as _, Result, anyhow};
use etcdsnap_engine::{
    finding::Severity,
    limits::Limits,
    snapshot::{self, Saved, verify},
    staging::remains,
};
use serde::Serialize;

use super::Context;
use crate::{
    args::{Format, Reading, Save},
    exit::Answer,
    input::Input,
    output::{self, Table},
};

#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
struct Json {
    path: String,
    bytes: u64,
    sha256: String,
    wal_applied: bool,
    entries_replayed: u64,
}

/// Verifies the source, writes the snapshot beside its target, reads it back, renames it.
pub fn run(context: &Context, args: &Save) -> Result<Answer> {
    let to_stdout = args.out == Path::new("-");
    if !to_stdout {
        name_remains(context, &args.out);
        if args.out.is_dir() {
            return Err(anyhow!("{} is a directory; name the file to write", args.out.display()));
        }
    }
    let target = if to_stdout { None } else { Some(args.out.as_path()) };
    let (saved, applied) = save(context, &args.data_dir, &args.reading, target)?;
    if to_stdout {
        return Ok(Answer::sound(String::new()));
    }
    let path = args.out.display().to_string();
    let text = match context.global.format {
        Format::Simple => format!("Snapshot saved at {}\n", output::escape(&path)),
        Format::Table => {
            let mut table = Table::new(&["PATH", "SIZE", "SHA256"]);
            table.row(vec![
                output::escape(&path),
                output::bytes(saved.bytes),
                saved.digest.to_string(),
            ]);
            table.render()
        }
        Format::Fields => output::fields(&[
            ("Path", output::escape(&path)),
            ("Size", saved.bytes.to_string()),
            ("SHA256", saved.digest.to_string()),
        ]),
        Format::Json => output::json(&Json {
            path,
            bytes: saved.bytes,
            sha256: saved.digest.to_string(),
            wal_applied: applied.is_some(),
            entries_replayed: applied.unwrap_or_default(),
        })?,
    };
    Ok(Answer::sound(text))
}

/// Says what killed runs left beside `target`.
pub fn name_remains(context: &Context, target: &Path) {
    for path in remains(target) {
        let shown = path.display();
        context.warn(&format!(
            "warning: {shown} was left by a run that was killed; remove it with: rm -r -- '{shown}'"
        ));
    }
}

/// Saves the database behind `source` to a file, or to standard output; says how many entries of the WAL are in
/// it, where the WAL was applied.
pub fn save(
    context: &Context,
    source: &Path,
    reading: &Reading,
    target: Option<&Path>,
) -> Result<(Saved, Option<u64>)> {
    let input = Input::open(context, source, reading)?;
    let db = input.db()?;
    let verification = verify(&input.image(), Limits::default(), &context.ui)
        .map_err(|error| input.explain(error))?;
    input.settle()?;
    let findings = verification.findings.iter().chain(input.file_findings());
    for finding in findings.filter(|finding| finding.severity != Severity::Note) {
        context.warn(&output::finding(finding));
    }
    if !verification.is_sound() {
        let findings = verification.findings;
        return Err(anyhow::Error::new(snapshot::Error::Damaged { findings })
            .context(format!("{}: see `etcdsnap verify`", source.display())));
    }
    if input.located().member.is_some() && reading.no_wal {
        context.warn("note: the WAL was not applied: entries that the db does not contain yet are not in this snapshot");
    }
    context.say_replayed(&input);
    let saved = match target {
        Some(target) => snapshot::save_file(&db, target, &context.ui, || {
            input.settle().map_err(std::io::Error::other)
        })?,
        None => {
            let saved = snapshot::write(&db, &mut std::io::stdout(), &context.ui)
                .context("standard output")?;
            input.settle()?;
            saved
        }
    };
    Ok((saved, input.report().map(|report| report.applied)))
}
