//! `compact`: a database written anew, with its history or part of it.

use std::path::Path;

use anyhow::{Context as _, Result, anyhow};
use etcdsnap_engine::{
    datadir::Kind,
    finding::counted,
    mvcc::{Cut, KeySpace},
    progress::Progress,
    rewrite::Rewrite,
    schema::Store,
    snapshot::{self, Compacted, Form},
    staging::{Filesystem, Space},
};
use serde::Serialize;

use super::{
    Context,
    beside::beside,
    restore::RemovedJson,
    save::{dry, judge, read_back, say},
    scratch::scratch,
    target::{name_replaced, target},
};
use crate::{
    args::{Compact, Format},
    exit::Answer,
    input::open,
    output::{self, PlannedJson, Table},
};

#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
struct Json {
    dry_run: bool,
    path: String,
    replaced: bool,
    kind: &'static str,
    bytes: u64,
    #[serde(skip_serializing_if = "Option::is_none")]
    sha256: Option<String>,
    source_bytes: u64,
    revision: i64,
    compact_revision: i64,
    removed: RemovedJson,
    #[serde(flatten)]
    planned: PlannedJson,
}

/// Verifies the source, writes the new file beside its target, reads it back, renames it.
pub fn run(context: &Context, args: &Compact) -> Result<Answer> {
    let sources = [Some(args.path.as_path()), args.reading.wal_dir.as_deref()];
    let sources: Vec<&Path> = sources.into_iter().flatten().collect();
    let target = target(context, &sources, &args.out)?;
    let file = target
        .require_file()
        .context("`save --compact` writes a snapshot into a stream, this command does not")?;
    let input = open(context, &args.path, &args.reading)?;
    input.require_whole()?;
    let db = input.db()?;
    let scratch = if args.dry_run { None } else { scratch(Some(file)) };
    let judge = || judge(context, &args.path, &input, scratch.as_ref()).map(|_| ());
    // A cut looks at records at once; without one, what is written is verified while it is written.
    if args.compaction.is_some() || args.dry_run {
        judge()?;
    }
    let (form, kind) = match input.kind() {
        Kind::Snapshot => (Form::Snapshot, "snapshot"),
        _ => (Form::Db, "db"),
    };
    let space = match KeySpace::open(&Store::new(db)) {
        Ok(space) => space,
        // Whatever it is, the judgement says more.
        Err(error) => return judge().and(Err(error.into())),
    };
    let rewrite = match args.compaction {
        Some(to) => {
            let cut = Cut::compacted(&space, to, &context.ui)
                .map_err(|error| anyhow!("--compaction {to}: {error}"))?;
            Rewrite::with_cut(db, cut).map_err(snapshot::Error::from)?
        }
        None => Rewrite::new(db),
    };
    let compact_revision = args.compaction.unwrap_or(space.compact_revision());
    let on = Filesystem::of(file);
    let written = if args.dry_run {
        let measured = rewrite.measure(&context.ui).map_err(snapshot::Error::from)?;
        Compacted {
            bytes: form.len(measured.size_bytes),
            digest: None,
            records_removed: measured.records_removed,
        }
    } else {
        let write = |progress: &dyn Progress| {
            snapshot::compact_file(&rewrite, form, &args.out, read_back(args.read_back), progress)
        };
        let verify = || if args.compaction.is_some() { Ok(()) } else { judge() };
        let staged = beside(context, write, verify)?.0?;
        input.publish(staged, &context.ui)?
    };
    say(context, &input, &args.reading);
    name_replaced(context, &target, args.dry_run);
    let files = [(args.out.clone(), written.bytes)];
    let needed = Space::of([(&on, written.bytes)]);
    if args.dry_run {
        needed.iter().try_for_each(Space::check)?;
        input.settle()?;
    }
    let path = args.out.display().to_string();
    let source_bytes = db.size_bytes();
    let shown = [
        ("Path", output::escape(&path)),
        ("Kind", kind.to_owned()),
        ("Size", written.bytes.to_string()),
        ("Size before", source_bytes.to_string()),
        ("Revision", space.current_revision().to_string()),
        ("Compact revision", compact_revision.to_string()),
        ("Records left out", written.records_removed.to_string()),
        ("SHA256", written.digest.map(|digest| digest.to_string()).unwrap_or_default()),
    ];
    let text = match context.global.format {
        Format::Simple => {
            let mut text = format!(
                "{} {} of {} before, {} left out, to {}\n",
                if args.dry_run { "would write" } else { "wrote" },
                output::bytes(written.bytes),
                output::bytes(source_bytes),
                counted(written.records_removed, "record", "records"),
                output::escape(&path)
            );
            if args.dry_run {
                text += &dry(&files, &needed);
            }
            text
        }
        Format::Table => Table::of_fields(shown).render(),
        Format::Fields => output::fields(&shown),
        Format::Json => {
            let answer = Json {
                dry_run: args.dry_run,
                path,
                replaced: target.replaces(),
                kind,
                bytes: written.bytes,
                sha256: written.digest.map(|digest| digest.to_string()),
                source_bytes,
                revision: space.current_revision(),
                compact_revision,
                removed: RemovedJson {
                    records: written.records_removed,
                    keys: 0,
                    leases: 0,
                    alarms: 0,
                },
                planned: PlannedJson::new(&files, &needed),
            };
            output::json_of_state(&answer, input.committed())?
        }
    };
    Ok(Answer::sound(text))
}
