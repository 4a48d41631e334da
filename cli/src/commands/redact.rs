//! `redact`: a copy to share, without values.

use std::{fs::File, io::Read as _};

use anyhow::{Context as _, Result};
use etcdsnap_engine::{
    datadir::Kind,
    finding::{Finding, counted},
    redact::{Error, KeyMap, Keys, Redacted, redact_file, redact_nothing},
    staging::{Filesystem, Space},
};
use serde::Serialize;

use super::{
    Context,
    save::dry,
    target::{file_target, name_replaced},
};
use crate::{
    args::{Format, Reading, Redact},
    exit::{Answer, Exit},
    input::{Input, access, open},
    output::{self, FindingJson, PlannedJson, Table},
};

#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
struct Json<'a> {
    dry_run: bool,
    path: String,
    replaced: bool,
    kind: &'static str,
    bytes: u64,
    #[serde(skip_serializing_if = "Option::is_none")]
    sha256: Option<String>,
    keys: &'static str,
    /// Pages that were not understood, as ranges without their ends.
    blanked_pages: u64,
    blanked: Vec<[u64; 2]>,
    /// Absent when nothing was written.
    #[serde(skip_serializing_if = "Option::is_none")]
    same_findings: Option<bool>,
    findings: Vec<FindingJson<'a>>,
    lost: Vec<FindingJson<'a>>,
    gained: Vec<FindingJson<'a>>,
    #[serde(flatten)]
    planned: PlannedJson,
}

/// Renders the copy beside its target, verifies it, compares what is found in both, renames it.
pub fn run(context: &Context, args: &Redact) -> Result<Answer> {
    let reading = Reading { no_wal: true, ..Reading::default() };
    let to = file_target(context, &[&args.path], &args.out)?;
    let keys = keys(args)?;
    let input = open(context, &args.path, &reading)?;
    let on = Filesystem::of(to.require_file()?);
    let explain = |error| match error {
        Error::Bolt(error) => anyhow::Error::new(input.explain(error)),
        other => anyhow::Error::new(other),
    };
    let redacted = if args.dry_run {
        let redacted = redact_nothing(&input.image(), &context.ui).map_err(explain)?;
        input.settle()?;
        redacted
    } else {
        let access = access(context)?;
        let staged = redact_file(&input.image(), &keys, &args.out, access, &context.ui);
        let staged = staged.map_err(explain)?;
        input.publish(staged, &context.ui)?
    };
    let needed = Space::of([(&on, redacted.bytes)]);
    if args.dry_run {
        needed.iter().try_for_each(Space::check).context("nothing was written")?;
    }
    say(context, args, &input, &redacted);
    name_replaced(context, &to, args.dry_run);
    let exit = if redacted.damaged { Exit::Damage } else { Exit::Sound };
    let text = render(context.global.format, args, &input, &redacted, &needed, to.replaces())?;
    Ok(Answer::new(text, exit))
}

fn keys(args: &Redact) -> Result<Keys> {
    if !args.redact_keys {
        return Ok(Keys::Keep);
    }
    let mut secret = args.seed.clone().unwrap_or_default().into_bytes();
    if args.seed.is_none() {
        secret.resize(32, 0);
        File::open("/dev/urandom")
            .and_then(|mut random| random.read_exact(&mut secret))
            .context("random numbers from /dev/urandom; --seed does without")?;
    }
    Ok(Keys::Replace(KeyMap::new(&secret)))
}

/// What to know before it is shared.
fn say(context: &Context, args: &Redact, input: &Input, redacted: &Redacted) {
    if !args.redact_keys {
        context.warn(
            "note: keys are kept, and with them what their names say; --redact-keys replaces them",
        );
    }
    if input.located().member.is_some() {
        context.warn("note: the WAL is not in the copy; it holds values, do not share it");
    }
    if redacted.blanked_pages > 0 {
        let ranges: Vec<String> = redacted
            .blanked
            .iter()
            .take(5)
            .map(|range| match range.end - range.start {
                1 => range.start.to_string(),
                _ => format!("{} to {}", range.start, range.end - 1),
            })
            .collect();
        let more = if redacted.blanked.len() > 5 { ", …" } else { "" };
        context.warn(&format!(
            "note: {} not understood and blanked: {}{more}",
            counted(redacted.blanked_pages, "page", "pages"),
            ranges.join(", ")
        ));
    }
    let differences = [(&redacted.lost, "does not show"), (&redacted.gained, "shows besides")];
    for (findings, how) in differences {
        for finding in findings.iter().take(5) {
            context.warn(&format!("warning: the copy {how}: {}", output::finding(finding)));
        }
        if findings.len() > 5 {
            context.warn(&format!("warning: and {} more that the copy {how}", findings.len() - 5));
        }
    }
}

fn is_same(redacted: &Redacted) -> bool {
    redacted.lost.is_empty() && redacted.gained.is_empty()
}

fn render(
    format: Format,
    args: &Redact,
    input: &Input,
    redacted: &Redacted,
    needed: &[Space],
    replaced: bool,
) -> Result<String> {
    let files = [(args.out.clone(), redacted.bytes)];
    let path = args.out.display().to_string();
    let kind = if input.kind() == Kind::Snapshot { "snapshot" } else { "db" };
    let sha256 = redacted.digest.map(|digest| digest.to_string());
    let keys = if args.redact_keys { "replaced" } else { "kept" };
    let same = (!args.dry_run).then(|| is_same(redacted));
    let shown = [
        ("Path", output::escape(&path)),
        ("Kind", kind.to_owned()),
        ("Size", redacted.bytes.to_string()),
        ("Keys", keys.to_owned()),
        ("Findings", redacted.findings.len().to_string()),
        ("Same findings", same.map_or_else(|| "-".to_owned(), |same| same.to_string())),
        ("Pages blanked", redacted.blanked_pages.to_string()),
        ("SHA256", sha256.clone().unwrap_or_default()),
    ];
    Ok(match format {
        Format::Simple if args.dry_run => dry(&files, needed),
        Format::Simple => {
            let findings = match (redacted.findings.len(), is_same(redacted)) {
                (0, true) => "sound as the original".to_owned(),
                (count, true) => {
                    format!(
                        "with the same {} as the original",
                        counted(count as u64, "finding", "findings")
                    )
                }
                _ => "whose findings differ from the original's".to_owned(),
            };
            format!(
                "wrote {} without values, keys {keys}, {findings}, to {}\n",
                output::bytes(redacted.bytes),
                output::escape(&path)
            )
        }
        Format::Table => Table::of_fields(shown).render(),
        Format::Fields => output::fields(&shown),
        Format::Json => {
            let (findings, lost, gained) =
                (list(&redacted.findings), list(&redacted.lost), list(&redacted.gained));
            output::json(&Json {
                dry_run: args.dry_run,
                path,
                replaced,
                kind,
                bytes: redacted.bytes,
                sha256,
                keys,
                blanked_pages: redacted.blanked_pages,
                blanked: redacted.blanked.iter().map(|range| [range.start, range.end]).collect(),
                same_findings: same,
                findings,
                lost,
                gained,
                planned: PlannedJson::new(&files, needed),
            })?
        }
    })
}

fn list(findings: &[Finding]) -> Vec<FindingJson<'_>> {
    findings.iter().map(FindingJson::from).collect()
}
