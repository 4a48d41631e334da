//! Reads each input, writes the page beside its target, renames it.

use std::{
    io::Write as _,
    path::{Path, PathBuf},
    time::{Duration, SystemTime},
};

use anyhow::{Context as _, Result, anyhow};
use etcdsnap_engine::{
    progress::{Progress as _, Step},
    staging::{Filesystem, IoError, Space, Stage, Target},
};
use maud::html;

use super::{
    answer::{Made, render},
    head,
    look::look,
    page, several,
    text::short,
};
use crate::{
    args::Report,
    commands::{
        Context,
        target::{name_replaced, target},
    },
    exit::{Answer, Exit},
};

/// Reads, writes the page beside its target, renames it.
pub fn run(context: &Context, args: &Report) -> Result<Answer> {
    let (paths, reading) = (&args.input.paths, &args.input.reading);
    if paths.len() > 1 && (reading.wal_dir.is_some() || reading.until.to.is_some()) {
        return Err(anyhow!("--wal-dir and --to are for one member; there are {}", paths.len()));
    }
    let sources: Vec<&Path> =
        paths.iter().map(PathBuf::as_path).chain(reading.wal_dir.as_deref()).collect();
    let target = target(context, &sources, &args.out)?;
    let stream = if args.dry_run { None } else { target.open(&|| context.ui.interrupted())? };
    let looked = look(context, &args.input, now()?)?;
    let html = match (looked.parts.as_slice(), paths.as_slice()) {
        ([part], [path]) => {
            let title = short(path.display().to_string().as_bytes());
            let body = html! {
                (part.body.head)
                (head::next(&looked.answer.next))
                (part.body.rest)
            };
            page::page(&title, &body)
        }
        (parts, _) => {
            page::page(&several::title(parts.len()), &several::body(&looked.answer, parts))
        }
    };
    let made = Made { html, answer: looked.answer, parts: looked.parts };
    let exit = if made.is_sound() { Exit::Sound } else { Exit::Damage };
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
