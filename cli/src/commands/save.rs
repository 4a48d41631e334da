//! `save`: a member's db as an etcd snapshot.

use std::{
    fs::File,
    path::{Path, PathBuf},
};

use anyhow::{Context as _, Result, anyhow};
use etcdsnap_engine::{
    bolt::Db,
    bulk::ReadBack,
    finding::Severity,
    limits::Limits,
    progress::Progress,
    rewrite::Rewrite,
    snapshot::{self, Digest, Form, verify_with_scratch},
    staging::{Filesystem, Space, remains},
};
use serde::Serialize;

use super::{
    Context,
    beside::{Settled, beside},
    scratch::scratch,
};
use crate::{
    args::{Format, Reading, Save},
    exit::Answer,
    input::{Input, apart},
    output::{self, PlannedJson, Table},
};

#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
struct Json {
    dry_run: bool,
    path: String,
    bytes: u64,
    #[serde(skip_serializing_if = "Option::is_none")]
    sha256: Option<String>,
    wal_applied: bool,
    entries_replayed: u64,
    #[serde(flatten)]
    planned: PlannedJson,
}

/// A snapshot that was written, or would be.
struct Done {
    bytes: u64,
    digest: Option<Digest>,
    space: Vec<Space>,
    /// How many entries of the WAL are in it, where the WAL was applied.
    applied: Option<u64>,
}

/// Verifies the source, writes the snapshot beside its target, reads it back, renames it.
pub fn run(context: &Context, args: &Save) -> Result<Answer> {
    let to_stdout = args.out == Path::new("-");
    if to_stdout && args.dry_run {
        return Err(anyhow!("--dry-run: standard output takes no plan; name the file to write"));
    }
    if !to_stdout {
        free_file(context, &args.data_dir, &args.reading, &args.out)?;
    }
    let done = save(context, args, (!to_stdout).then_some(args.out.as_path()))?;
    if to_stdout {
        return Ok(Answer::sound(String::new()));
    }
    let path = args.out.display().to_string();
    let files = [(args.out.clone(), done.bytes)];
    let sha256 = done.digest.map(|digest| digest.to_string());
    let text = match context.global.format {
        Format::Simple if args.dry_run => dry(&files, &done.space),
        Format::Simple => format!("Snapshot saved at {}\n", output::escape(&path)),
        Format::Table => {
            let mut table = Table::new(&["PATH", "SIZE", "SHA256"]);
            table.row(vec![
                output::escape(&path),
                output::bytes(done.bytes),
                sha256.unwrap_or_default(),
            ]);
            table.render()
        }
        Format::Fields => output::fields(&[
            ("Path", output::escape(&path)),
            ("Size", done.bytes.to_string()),
            ("SHA256", sha256.unwrap_or_default()),
        ]),
        Format::Json => output::json(&Json {
            dry_run: args.dry_run,
            path,
            bytes: done.bytes,
            sha256,
            wal_applied: done.applied.is_some(),
            entries_replayed: done.applied.unwrap_or_default(),
            planned: PlannedJson::new(&files, &done.space),
        })?,
    };
    Ok(Answer::sound(text))
}

/// What a dry run says to people.
pub fn dry(files: &[(PathBuf, u64)], space: &[Space]) -> String {
    output::planned(files, space) + "nothing was written: this was a dry run\n"
}

/// Makes sure that `out` can be a file made from `source`, and names what killed runs left beside it.
pub fn free_file(context: &Context, source: &Path, reading: &Reading, out: &Path) -> Result<()> {
    apart(source, out)?;
    reading.wal_dir.iter().try_for_each(|wal_dir| apart(wal_dir, out))?;
    name_remains(context, out);
    if out.is_dir() {
        return Err(anyhow!("{} is a directory; name the file to write", out.display()));
    }
    Ok(())
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

/// How much is read back of what is written.
pub fn read_back(all: bool) -> ReadBack {
    if all { ReadBack::All } else { ReadBack::Ends }
}

/// Verifies the database of `input`, which is at `path`; `scratch` keeps its memory small.
pub fn judge(context: &Context, path: &Path, input: &Input, scratch: Option<&File>) -> Result<()> {
    input.db()?;
    let verification = verify_with_scratch(&input.image(), Limits::default(), scratch, &context.ui)
        .map_err(|error| input.explain(error))?;
    input.settle()?;
    let findings = verification.findings.iter().chain(input.file_findings());
    for finding in findings.filter(|finding| finding.severity != Severity::Note) {
        context.warn(&output::finding(finding));
    }
    if verification.is_sound() {
        return Ok(());
    }
    let findings = verification.findings;
    Err(anyhow::Error::new(snapshot::Error::Damaged { findings })
        .context(format!("{}: nothing was written, see `etcdsnap verify`", path.display())))
}

/// Says what of the WAL is in it.
pub fn say(context: &Context, input: &Input, reading: &Reading) {
    if input.located().member.is_some() && reading.no_wal {
        context.warn("note: the WAL was not applied: entries that the db does not contain yet are not in this snapshot");
    }
    context.say_replayed(input);
}

/// Saves the database behind the source to a file, or to standard output.
fn save(context: &Context, args: &Save, target: Option<&Path>) -> Result<Done> {
    let input = Input::open(context, &args.data_dir, &args.reading)?;
    input.whole()?;
    let db = input.db()?;
    let on = target.map(Filesystem::of);
    if let (Some(target), false) = (target, args.dry_run) {
        let write = |progress: &dyn Progress, settled: Settled<'_>| -> Result<_, snapshot::Error> {
            let back = read_back(args.read_back);
            if args.compact {
                let rewrite = Rewrite::new(db);
                let form = Form::Snapshot;
                let written =
                    snapshot::compact_file(&rewrite, form, target, back, progress, settled)?;
                return Ok((written.bytes, written.digest));
            }
            let known = snapshot::carried_digest(&input.image(), &db);
            let written = snapshot::save_file(&db, known, target, back, progress, settled)?;
            Ok((written.bytes, Some(written.digest)))
        };
        let scratch = scratch(Some(target));
        let verify = || judge(context, &args.data_dir, &input, scratch.as_ref());
        let (bytes, digest) = beside(context, &input, write, verify)?.0?;
        say(context, &input, &args.reading);
        let space = Space::of(on.iter().map(|on| (on, bytes)));
        let applied = input.report().map(|report| report.applied);
        return Ok(Done { bytes, digest, space, applied });
    }
    let scratch = if args.dry_run { None } else { scratch(None) };
    judge(context, &args.data_dir, &input, scratch.as_ref())?;
    say(context, &input, &args.reading);
    let (bytes, digest) = match target {
        Some(_) => (length(context, &db, args.compact)?, None),
        None => {
            let written = write_stream(context, &db, args.compact).context("standard output")?;
            input.settle()?;
            written
        }
    };
    let space = Space::of(on.iter().map(|on| (on, bytes)));
    if args.dry_run {
        space.iter().try_for_each(Space::check).context("nothing was written")?;
        input.settle()?;
    }
    Ok(Done { bytes, digest, space, applied: input.report().map(|report| report.applied) })
}

fn length(context: &Context, db: &Db<'_>, compact: bool) -> Result<u64> {
    if !compact {
        return Ok(snapshot::length(db));
    }
    let measured = Rewrite::new(*db).measure(&context.ui).map_err(snapshot::Error::from)?;
    Ok(Form::Snapshot.len(measured.size_bytes))
}

fn write_stream(
    context: &Context,
    db: &Db<'_>,
    compact: bool,
) -> Result<(u64, Option<Digest>), snapshot::Error> {
    let mut out = std::io::stdout();
    if compact {
        let written = snapshot::compact_stream(&Rewrite::new(*db), &mut out, &context.ui)?;
        return Ok((written.bytes, written.digest));
    }
    let written = snapshot::write(db, &mut out, &context.ui)?;
    Ok((written.bytes, Some(written.digest)))
}
