//! `save`: a member's db as an etcd snapshot.

use std::{
    fs::File,
    io::Write,
    path::{Path, PathBuf},
};

use anyhow::{Context as _, Result, anyhow};
use etcdsnap_engine::{
    bolt::Db,
    bulk::ReadBack,
    finding::Severity,
    limits::Limits,
    member::Committed,
    mvcc::KeySpace,
    progress::Progress,
    rewrite::Rewrite,
    schema::Store,
    snapshot::{self, Digest, Form, Verification, verify_with_scratch},
    staging::{Filesystem, Space, Target},
    v2store::Summary,
};
use serde::Serialize;

use super::{
    Context,
    beside::beside,
    scratch::scratch,
    target::{name_replaced, target},
};
use crate::{
    args::{Format, Reading, Save},
    exit::Answer,
    input::{Input, open},
    output::{self, PlannedJson, Table},
};

#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
struct Json {
    dry_run: bool,
    path: String,
    replaced: bool,
    bytes: u64,
    #[serde(skip_serializing_if = "Option::is_none")]
    sha256: Option<String>,
    revision: i64,
    keys: u64,
    wal_applied: bool,
    entries_replayed: u64,
    entries_uncommitted: u64,
    revision_committed: Option<i64>,
    /// Keys of the v2 API that are left out.
    v2_keys: u64,
    #[serde(flatten)]
    planned: PlannedJson,
}

/// A snapshot that was written, or would be.
struct Done {
    bytes: u64,
    digest: Option<Digest>,
    space: Vec<Space>,
    /// The store's revision.
    revision: i64,
    /// Keys that exist.
    keys: u64,
    /// What was applied of the WAL.
    applied: Applied,
    /// What the member has in its v2 store.
    v2: Summary,
}

/// What of a WAL is in a state.
#[derive(Clone, Copy, Debug)]
pub struct Applied {
    /// Entries that were applied to the db; `None` where no WAL was.
    pub entries: Option<u64>,
    /// How much of the state is known to be committed.
    pub committed: Committed,
}

impl Applied {
    /// Of `input`, as it was opened.
    pub fn of(input: &Input) -> Self {
        let entries = input.report().map(|report| report.applied);
        Self { entries, committed: input.committed() }
    }

    /// A line for people.
    pub fn line(self) -> String {
        match self.entries {
            None => "WAL entries applied: none, no WAL was read\n".to_owned(),
            Some(entries) => format!(
                "WAL entries applied: {entries}; not known to be committed: {}\n",
                self.committed.entries_uncommitted
            ),
        }
    }
}

/// Verifies the source, writes the snapshot beside its target, reads it back, renames it.
pub fn run(context: &Context, args: &Save) -> Result<Answer> {
    let (source, out) = (args.source()?, args.out());
    let sources = [Some(source), args.reading.wal_dir.as_deref()];
    let sources: Vec<&Path> = sources.into_iter().flatten().collect();
    let target = target(context, &sources, out)?;
    if target.is_standard_output() && args.dry_run {
        return Err(anyhow!("--dry-run: standard output takes no plan; name the file to write"));
    }
    // Whoever reads a FIFO is told by its end that nothing comes, also when the input is refused.
    let stream = if args.dry_run { None } else { target.open(&|| context.ui.interrupted())? };
    let done = save(context, args, source, &target, stream)?;
    name_replaced(context, &target, args.dry_run);
    if target.is_standard_output() {
        return Ok(Answer::sound(String::new()));
    }
    let path = out.display().to_string();
    let files = [(out.to_path_buf(), done.bytes)];
    let sha256 = done.digest.map(|digest| digest.to_string());
    let text = match context.global.format {
        Format::Simple => simple(args, &done, &path, &files),
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
            replaced: target.replaces(),
            bytes: done.bytes,
            sha256,
            revision: done.revision,
            keys: done.keys,
            wal_applied: done.applied.entries.is_some(),
            entries_replayed: done.applied.entries.unwrap_or_default(),
            entries_uncommitted: done.applied.committed.entries_uncommitted,
            revision_committed: done.applied.committed.revision_committed,
            v2_keys: done.v2.keys,
            planned: PlannedJson::new(&files, &done.space),
        })?,
    };
    Ok(Answer::sound(text))
}

/// What people are told; the first line is etcdctl's.
fn simple(args: &Save, done: &Done, path: &str, files: &[(PathBuf, u64)]) -> String {
    let mut text = if args.dry_run {
        output::planned(files, &done.space)
    } else {
        format!("Snapshot saved at {}\n", output::escape(path))
    };
    text += &format!(
        "revision: {}\nkeys: {}\nsize: {} ({} bytes)\n",
        done.revision,
        done.keys,
        output::bytes(done.bytes),
        done.bytes
    );
    if let Some(digest) = &done.digest {
        text += &format!("sha256: {digest}\n");
    }
    text += &done.applied.line();
    text += &left_behind(&done.v2).unwrap_or_default();
    if args.dry_run {
        text += DRY_RUN;
    }
    text
}

/// What `input` has in its v2 store; nothing where that cannot be read.
pub fn v2_summary(input: &Input) -> Summary {
    input.v2_summary().and_then(Result::ok).unwrap_or_default()
}

/// A line for people about what of the v2 API is left out; `None` where there is nothing.
pub fn left_behind(v2: &Summary) -> Option<String> {
    let content = v2.content()?;
    Some(format!("left out: {content} of the v2 API; etcdsnap export-v2 lists them\n"))
}

/// The end of what a dry run says.
pub const DRY_RUN: &str = "nothing was written: this was a dry run\n";

/// What a dry run says to people.
pub fn dry(files: &[(PathBuf, u64)], space: &[Space]) -> String {
    output::planned(files, space) + DRY_RUN
}

/// How much is read back of what is written.
pub fn read_back(all: bool) -> ReadBack {
    if all { ReadBack::All } else { ReadBack::Ends }
}

/// Verifies the database of `input`, which is at `path`; `scratch` keeps its memory small.
pub fn judge(
    context: &Context,
    path: &Path,
    input: &Input,
    scratch: Option<&File>,
) -> Result<Verification> {
    input.db()?;
    let verification = verify_with_scratch(&input.image(), Limits::default(), scratch, &context.ui)
        .map_err(|error| input.explain(error))?;
    input.settle()?;
    let findings = verification.findings.iter().chain(input.file_findings());
    for finding in findings.filter(|finding| finding.severity != Severity::Note) {
        context.warn(&output::finding(finding));
    }
    if verification.is_usable() {
        return Ok(verification);
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

/// Saves the database behind `source` to the target's file, or to the stream that was opened of it.
fn save(
    context: &Context,
    args: &Save,
    source: &Path,
    target: &Target,
    stream: Option<File>,
) -> Result<Done> {
    let input = open(context, source, &args.reading)?;
    input.require_whole()?;
    let db = input.db()?;
    let v2 = v2_summary(&input);
    let on = target.file().map(Filesystem::of);
    let scratch = if args.dry_run { None } else { scratch(target.file()) };
    let judge = || judge(context, source, &input, scratch.as_ref());
    let (verified, bytes, digest) = if args.dry_run {
        (judge()?, length(context, &db, args.compact)?, None)
    } else if let Some(stream) = stream {
        // What has gone into a stream cannot be taken back.
        let verified = judge()?;
        let written = write_stream(context, &db, args.compact, stream);
        let (bytes, digest) = written.with_context(|| target.given().display().to_string())?;
        input.settle()?;
        (verified, bytes, digest)
    } else {
        let (out, back) = (target.given(), read_back(args.read_back));
        let (bytes, digest, verified) = if args.compact {
            let rewrite = Rewrite::new(db);
            let form = Form::Snapshot;
            let write = |progress: &dyn Progress| {
                snapshot::compact_file(&rewrite, form, out, back, progress)
            };
            let (staged, verified) = beside(context, write, judge)?;
            let written = input.publish(staged?, &context.ui)?;
            (written.bytes, written.digest, verified)
        } else {
            let known = snapshot::carried_digest(&input.image(), &db);
            let write =
                |progress: &dyn Progress| snapshot::save_file(&db, known, out, back, progress);
            let (staged, verified) = beside(context, write, judge)?;
            let written = input.publish(staged?, &context.ui)?;
            (written.bytes, Some(written.digest), verified)
        };
        (verified, bytes, digest)
    };
    say(context, &input, &args.reading);
    let space = Space::of(on.iter().map(|on| (on, bytes)));
    if args.dry_run {
        space.iter().try_for_each(Space::check).context("nothing was written")?;
    }
    let revision = KeySpace::open(&Store::new(db))?.current_revision();
    if args.dry_run {
        input.settle()?;
    }
    if context.global.format != Format::Simple || target.is_standard_output() {
        left_behind(&v2).iter().for_each(|line| context.warn(line.trim_end()));
    }
    let keys = verified.live_keys.unwrap_or_default();
    Ok(Done { bytes, digest, space, revision, keys, applied: Applied::of(&input), v2 })
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
    mut out: impl Write,
) -> Result<(u64, Option<Digest>), snapshot::Error> {
    if compact {
        let written = snapshot::compact_stream(&Rewrite::new(*db), &mut out, &context.ui)?;
        return Ok((written.bytes, written.digest));
    }
    let written = snapshot::write(db, &mut out, &context.ui)?;
    Ok((written.bytes, Some(written.digest)))
}
