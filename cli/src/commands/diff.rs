//! `diff`: keys added, changed and removed.

use std::{os::unix::ffi::OsStrExt as _, path::Path};

use anyhow::{Result, anyhow};
use etcdsnap_engine::{
    Error, Hint,
    member::Committed,
    mvcc::{self, Change, Diff, Difference, KeySpace, Record, Side},
    schema::Store,
};
use serde::Serialize;

use super::{Context, changes::RecordJson, sound};
use crate::{
    args::{self, Format, Reading},
    exit::{Answer, Exit},
    input::{Input, ask},
    output::{self, KeyJson, LongTable, Spool, shown_key},
};

/// The head of the object; the differences follow one by one.
#[derive(Serialize)]
struct Head {
    before: SideJson,
    after: SideJson,
    added: u64,
    changed: u64,
    removed: u64,
    equal: u64,
}

#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
struct SideJson {
    path: String,
    revision: i64,
    compact_revision: i64,
    entries_uncommitted: u64,
    revision_committed: Option<i64>,
}

#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
struct DifferenceJson {
    #[serde(flatten)]
    key: KeyJson,
    change: &'static str,
    /// Whether the value is another, not only the numbers beside it.
    value_changed: bool,
    before: Option<RecordJson>,
    after: Option<RecordJson>,
    /// Whether the later side comes from an entry that is not known to be committed.
    #[serde(skip_serializing_if = "std::ops::Not::not")]
    uncommitted: bool,
}

/// One of the two that are compared.
#[derive(Clone, Copy)]
struct Compared<'c, 'a> {
    space: &'c KeySpace<'a>,
    path: &'c Path,
    committed: Committed,
}

/// Whether a side of `of` comes from an entry that is not known to be committed.
fn is_uncommitted(of: &Difference<'_>, before: Compared<'_, '_>, after: Compared<'_, '_>) -> bool {
    let lacks = |side: Compared<'_, '_>, record: Option<&Record<'_>>| {
        record.is_some_and(|record| side.committed.lacks(record.key.revision.main))
    };
    lacks(before, of.before.as_ref()) || lacks(after, of.after.as_ref())
}

/// Compares and shows what differs.
pub fn run(context: &Context, args: &args::Diff) -> Result<Answer> {
    let Some(after) = &args.after else {
        if args.from.is_none() && args.to.is_none() {
            return Err(anyhow!(
                "one input: name another one to compare it with, or revisions of it with --from and --to"
            ));
        }
        return ask(context, &args.before, &args.reading.reading(), |input| {
            let space = space(context, input)?;
            let side = Compared { space: &space, path: &args.before, committed: input.committed() };
            compare(context, args, side, side)
        });
    };
    let dirs = [args.before.is_dir(), after.is_dir()];
    if args.reading.wal_dir.is_some() && dirs == [true; 2] {
        return Err(anyhow!("--wal-dir names the WAL of one member, and there are two"));
    }
    // A file beside a data dir has no WAL that the flags could be about.
    let reading = |is_dir: bool| match (is_dir, dirs) {
        (false, [true, _] | [_, true]) => Reading::default(),
        _ => args.reading.reading(),
    };
    ask(context, &args.before, &reading(dirs[0]), |first| {
        ask(context, after, &reading(dirs[1]), |second| {
            let committed = (first.committed(), second.committed());
            let (first, second) = (space(context, first)?, space(context, second)?);
            let before = Compared { space: &first, path: &args.before, committed: committed.0 };
            compare(
                context,
                args,
                before,
                Compared { space: &second, path: after, committed: committed.1 },
            )
        })
    })
}

fn space<'i>(context: &Context, input: &'i Input) -> Result<KeySpace<'i>> {
    let store = Store::new(sound(context, input)?);
    Ok(KeySpace::open(&store).map_err(|error| input.name(error))?)
}

fn compare<'a>(
    context: &Context,
    args: &args::Diff,
    before: Compared<'_, 'a>,
    after: Compared<'_, 'a>,
) -> Result<Answer> {
    let diff = Diff::between(
        Side { space: before.space, revision: args.from },
        Side { space: after.space, revision: args.to },
        args.prefix.as_bytes(),
        &context.ui,
    )
    .map_err(|error| named(error, before, after))?;
    let mut spool = Spool::default();
    match context.global.format {
        Format::Json => json(&mut spool, args, &diff, before, after)?,
        Format::Simple => {
            for difference in diff.differences() {
                let of = difference?;
                spool.push(line(&of, args, is_uncommitted(&of, before, after)).as_bytes())?;
            }
            spool.push(summary(&diff).as_bytes())?;
        }
        Format::Table => {
            let headers = ["CHANGE", "KEY", "MOD REVISION", "VERSION", "VALUE BYTES"];
            let mut table = LongTable::new(&headers, true);
            for difference in diff.differences() {
                let of = difference?;
                let both = |number: &dyn Fn(&Record<'_>) -> String| arrow(&of, number);
                let cells = vec![
                    word(of.change).to_owned(),
                    shown_key(of.key, args.hex),
                    both(&|record| record.kv.mod_revision.to_string()),
                    both(&|record| record.kv.version.to_string()),
                    both(&|record| record.kv.value.len().to_string()),
                ];
                table.row(&mut spool, cells)?;
            }
            table.finish(&mut spool)?;
        }
        Format::Fields => {
            let counts = diff.counts();
            spool.push(
                output::fields(&[
                    ("Added", counts.added.to_string()),
                    ("Changed", counts.changed.to_string()),
                    ("Removed", counts.removed.to_string()),
                    ("Equal", counts.equal.to_string()),
                ])
                .as_bytes(),
            )?;
            for difference in diff.differences() {
                spool.push(fields(&difference?, args).as_bytes())?;
            }
        }
    }
    Ok(Answer::long(spool, if diff.is_empty() { Exit::Sound } else { Exit::Damage }))
}

/// An error about a revision names the input, when there are two.
fn named(error: mvcc::Error, before: Compared<'_, '_>, after: Compared<'_, '_>) -> anyhow::Error {
    let about = |space: &KeySpace<'_>| match &error {
        mvcc::Error::Compacted { compact_revision, current_revision, .. }
        | mvcc::Error::Future { compact_revision, current_revision, .. } => {
            *compact_revision == space.compact_revision()
                && *current_revision == space.current_revision()
        }
        _ => false,
    };
    let path = match (about(before.space), about(after.space)) {
        (true, _) => Some(before.path),
        (false, true) => Some(after.path),
        (false, false) => None,
    };
    let hint = (path.is_none() && error.is_damage()).then_some(Hint::VerifyAndSalvage);
    let error = Error::new(error);
    let error = match path {
        Some(path) => error.at(path),
        None if hint.is_some() => {
            error.while_doing(format!("{} or {}", before.path.display(), after.path.display()))
        }
        None => error,
    };
    hint.into_iter().fold(error, Error::hint).into()
}

fn word(change: Change) -> &'static str {
    match change {
        Change::Added => "added",
        Change::Changed => "changed",
        Change::Removed => "removed",
    }
}

fn value_changed(of: &Difference<'_>) -> bool {
    of.before.map(|record| record.kv.value) != of.after.map(|record| record.kv.value)
}

/// One object, written piece by piece.
fn json<'a>(
    spool: &mut Spool,
    args: &args::Diff,
    diff: &Diff<'a>,
    before: Compared<'_, 'a>,
    after: Compared<'_, 'a>,
) -> Result<()> {
    let side = |of: Compared<'_, 'a>, revision| SideJson {
        path: of.path.display().to_string(),
        revision,
        compact_revision: of.space.compact_revision(),
        entries_uncommitted: of.committed.entries_uncommitted,
        revision_committed: of.committed.revision_committed,
    };
    let (counts, revisions) = (diff.counts(), diff.revisions());
    let head = output::json(&Head {
        before: side(before, revisions.0),
        after: side(after, revisions.1),
        added: counts.added,
        changed: counts.changed,
        removed: counts.removed,
        equal: counts.equal,
    })?;
    let head = head.trim_end();
    spool.push(head.strip_suffix('}').unwrap_or(head).as_bytes())?;
    spool.push(b",\"differences\":[")?;
    for (number, difference) in diff.differences().enumerate() {
        let of = difference?;
        let record = |record: &Record<'_>| RecordJson::new(record, args.values);
        let one = output::json(&DifferenceJson {
            key: KeyJson::new(of.key),
            change: word(of.change),
            value_changed: value_changed(&of),
            before: of.before.as_ref().map(record),
            after: of.after.as_ref().map(record),
            uncommitted: is_uncommitted(&of, before, after),
        })?;
        if number > 0 {
            spool.push(b",")?;
        }
        spool.push(one.trim_end().as_bytes())?;
    }
    spool.push(b"]}\n")
}

/// `5 → 9`, or the one there is.
fn arrow(of: &Difference<'_>, number: &dyn Fn(&Record<'_>) -> String) -> String {
    match (of.before.as_ref().map(number), of.after.as_ref().map(number)) {
        (Some(before), Some(after)) if before == after => before,
        (Some(before), Some(after)) => format!("{before} → {after}"),
        (Some(one), None) | (None, Some(one)) => one,
        (None, None) => String::new(),
    }
}

fn line(of: &Difference<'_>, args: &args::Diff, uncommitted: bool) -> String {
    let sign = match of.change {
        Change::Added => '+',
        Change::Changed => '~',
        Change::Removed => '-',
    };
    let both = |number: &dyn Fn(&Record<'_>) -> String| arrow(of, number);
    let same = of.change == Change::Changed && !value_changed(of);
    let mut text = format!(
        "{sign} {}  revision {}, version {}, {} bytes{}{}\n",
        shown_key(of.key, args.hex),
        both(&|record| record.kv.mod_revision.to_string()),
        both(&|record| record.kv.version.to_string()),
        both(&|record| record.kv.value.len().to_string()),
        if same { ", same value" } else { "" },
        if uncommitted { " (not known to be committed)" } else { "" }
    );
    if args.values {
        for (sign, record) in [('-', &of.before), ('+', &of.after)] {
            if let Some(record) = record {
                text += &format!("    {sign} {}\n", shown_key(record.kv.value, args.hex));
            }
        }
    }
    text
}

fn summary(diff: &Diff<'_>) -> String {
    let counts = diff.counts();
    format!(
        "{} added, {} changed, {} removed, {} equal\n",
        counts.added, counts.changed, counts.removed, counts.equal
    )
}

fn fields(of: &Difference<'_>, args: &args::Diff) -> String {
    let quoted = |bytes: &[u8]| format!("\"{}\"", shown_key(bytes, args.hex));
    let mut text = "\n".to_owned();
    text += &output::fields(&[("Change", word(of.change).to_owned()), ("Key", quoted(of.key))]);
    for (record, names) in [
        (&of.before, ["BeforeModRevision", "BeforeVersion", "BeforeValueBytes", "BeforeValue"]),
        (&of.after, ["AfterModRevision", "AfterVersion", "AfterValueBytes", "AfterValue"]),
    ] {
        let Some(record) = record else { continue };
        let [revision, version, bytes, value] = names;
        text += &output::fields(&[
            (revision, record.kv.mod_revision.to_string()),
            (version, record.kv.version.to_string()),
            (bytes, record.kv.value.len().to_string()),
        ]);
        if args.values {
            text += &output::fields(&[(value, quoted(record.kv.value))]);
        }
    }
    text
}
