//! `report`: one page that says what a file is, whether it is sound, and what fills it.
//!
//! [`gather`] reads, [`page`] writes HTML. The page needs nothing but itself: no network, no fonts, a few lines of script
//! that show which page the pointer is on. Texts of strangers are escaped twice: what a terminal or a browser would obey
//! or hide becomes visible, and all of it is text to the HTML.

mod gather;
mod history;
mod map;
mod member;
mod page;
mod saved;
mod space;
mod treemap;

use std::{
    io::Write as _,
    path::Path,
    time::{Duration, SystemTime},
};

use anyhow::{Context as _, Result};
use etcdsnap_engine::{
    finding::Severity,
    progress::{Progress as _, Step},
    staging::{Filesystem, IoError, Space, Stage, Target},
};
use serde::Serialize;

use super::{
    Context,
    save::dry,
    target::{name_replaced, target},
};
use crate::{
    args::{Format, Report},
    exit::{Answer, Exit},
    input::ask,
    output::{self, PlannedJson, Table},
};

#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
struct Json {
    dry_run: bool,
    path: String,
    replaced: bool,
    bytes: u64,
    sound: bool,
    findings: usize,
    /// Of the db file or snapshot that was read.
    sha256: String,
    #[serde(flatten)]
    planned: PlannedJson,
}

/// What a report was made of.
struct Made {
    html: String,
    sound: bool,
    findings: usize,
    damage: usize,
    sha256: String,
}

/// Reads, writes the page beside its target, renames it.
pub fn run(context: &Context, args: &Report) -> Result<Answer> {
    let sources = [Some(args.input.path.as_path()), args.input.reading.wal_dir.as_deref()];
    let sources: Vec<&Path> = sources.into_iter().flatten().collect();
    let target = target(context, &sources, &args.out)?;
    let stream = if args.dry_run { None } else { target.open(&|| context.ui.interrupted())? };
    let now = now()?;
    let made = ask(context, &args.input.path, &args.input.reading, |input| {
        let facts = gather::gather(context, input)?;
        let findings = &facts.verification.findings;
        let damage = findings.iter().filter(|found| found.severity == Severity::Damage).count();
        Ok(Made {
            html: page::page(input, &facts, now),
            sound: facts.verification.is_sound(),
            findings: findings.len(),
            damage,
            sha256: facts.files.first().map(|file| file.sha256.to_string()).unwrap_or_default(),
        })
    })?;
    let exit = if made.sound { Exit::Sound } else { Exit::Damage };
    let html = made.html.as_bytes();
    let on = target.file().map(Filesystem::of);
    let space = Space::of(on.iter().map(|on| (on, html.len() as u64)));
    space.iter().try_for_each(Space::check)?;
    match stream {
        _ if target.is_standard_output() => return Ok(Answer::new(made.html, exit)),
        Some(mut stream) => stream.write_all(html).map_err(IoError::at("write", &args.out))?,
        None if args.dry_run => {}
        None => write(context, &target, html)?,
    }
    name_replaced(context, &target, args.dry_run);
    let text = render(context.global.format, args, &made, &space, target.replaces())?;
    Ok(Answer::new(text, exit))
}

/// The time, or the one that builds that must come out alike are given.
fn now() -> Result<SystemTime> {
    match std::env::var("SOURCE_DATE_EPOCH") {
        Ok(seconds) => seconds
            .parse()
            .ok()
            .and_then(|seconds| SystemTime::UNIX_EPOCH.checked_add(Duration::from_secs(seconds)))
            .context("SOURCE_DATE_EPOCH is no number of seconds"),
        Err(_) => Ok(SystemTime::now()),
    }
}

fn write(context: &Context, target: &Target, html: &[u8]) -> Result<()> {
    context.ui.step(Step::Create, target.given());
    let stage = Stage::of(target)?;
    context.ui.step(Step::Write, stage.path());
    stage.handle().write_all(html).map_err(IoError::at("write", stage.path()))?;
    context.ui.step(Step::Sync, stage.path());
    stage.handle().sync_all().map_err(IoError::at("sync", stage.path()))?;
    context.ui.step(Step::Rename, target.given());
    Ok(stage.commit()?)
}

fn render(
    format: Format,
    args: &Report,
    made: &Made,
    space: &[Space],
    replaced: bool,
) -> Result<String> {
    let path = args.out.display().to_string();
    let bytes = made.html.len() as u64;
    let files = [(args.out.clone(), bytes)];
    let verdict =
        if made.sound { "sound".to_owned() } else { format!("DAMAGED, {} findings", made.damage) };
    let shown = [
        ("Path", output::escape(&path)),
        ("Size", bytes.to_string()),
        ("Sound", made.sound.to_string()),
        ("Findings", made.findings.to_string()),
        ("SHA256", made.sha256.clone()),
    ];
    Ok(match format {
        Format::Simple if args.dry_run => dry(&files, space),
        Format::Simple => {
            let input = args.input.path.display().to_string();
            format!("{}: {verdict}; see {}\n", output::escape(&input), output::escape(&path))
        }
        Format::Table => Table::of_fields(shown).render(),
        Format::Fields => output::fields(&shown),
        Format::Json => output::json(&Json {
            dry_run: args.dry_run,
            path,
            replaced,
            bytes,
            sound: made.sound,
            findings: made.findings,
            sha256: made.sha256.clone(),
            planned: PlannedJson::new(&files, space),
        })?,
    })
}
