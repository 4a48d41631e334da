//! `doctor`: one verdict, and the next command.

use std::path::{Path, PathBuf};

use anyhow::{Result, anyhow};
use etcdsnap_engine::{
    datadir,
    diagnose::{Diagnosis, Difference, Evidence, Verdict, Way, against_log, compare, diagnose},
    finding::Severity,
    limits::Limits,
    mvcc::KeySpace,
    schema::Store,
    snapshot::verify,
};
use serde::Serialize;

use super::Context;
use crate::{
    args::{self, Format, Reading},
    exit::{Answer, Exit},
    input::Input,
    output::{self, FindingJson, Table, escape},
};

#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
struct Json<'a> {
    verdict: &'static str,
    recover_from: Option<String>,
    findings: Vec<FindingJson<'a>>,
    next: &'a [String],
    members: Vec<MemberJson<'a>>,
    differences: Vec<DifferenceJson>,
}

#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
struct MemberJson<'a> {
    path: String,
    verdict: &'static str,
    member_id: Option<String>,
    cluster_id: Option<String>,
    revision: Option<i64>,
    last_index: Option<u64>,
    known_index: Option<u64>,
    findings: Vec<FindingJson<'a>>,
}

#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
struct DifferenceJson {
    path: String,
    first_revision: Option<i64>,
    compared_to: i64,
    keys_differing: u64,
    keys: Vec<String>,
}

/// A member that was examined.
struct Examined {
    path: PathBuf,
    input: Input,
    diagnosis: Diagnosis,
    revision: Option<i64>,
}

/// Examines each member, chooses one, compares the others with it.
pub fn run(context: &Context, args: &args::Doctor) -> Result<Answer> {
    if args.paths.len() > 1 && args.wal_dir.is_some() {
        return Err(anyhow!("--wal-dir is for one member; there are {}", args.paths.len()));
    }
    let reading = Reading { wal_dir: args.wal_dir.clone(), ..Reading::default() };
    let mut examined = Vec::new();
    for path in &args.paths {
        examined.push(examine(context, path, &reading)?);
    }
    let chosen = chosen(&examined);
    let differences = differences(context, &examined, chosen)?;
    for member in &examined {
        member.input.settle()?;
    }
    let verdict = chosen.map_or(Verdict::SalvageOnly, |chosen| chosen.diagnosis.verdict);
    let next = next(&examined, chosen, &differences);
    let text = render(context.global.format, &examined, chosen, &differences, &next)?;
    let sound = verdict <= Verdict::Recoverable && differences.is_empty();
    Ok(Answer::new(text, if sound { Exit::Sound } else { Exit::Damage }))
}

fn examine(context: &Context, path: &Path, reading: &Reading) -> Result<Examined> {
    let input = Input::open(context, path, reading)?;
    let Some(files) = input.files() else {
        return Err(anyhow!(
            "{}: a file; doctor looks at data dirs, `etcdsnap verify` at files",
            path.display()
        ));
    };
    let db = input.file_db().ok();
    let store = db.map(Store::new);
    let verification = match db {
        Some(_) => Some(
            verify(&input.image(), Limits::default(), &context.ui)
                .map_err(|error| input.explain(error))?,
        ),
        None => None,
    };
    let options = reading.options(Input::access(context)?);
    let received = input.received(options.access, &context.ui)?;
    let against = against_log(&input, &options, &context.ui)?;
    let diagnosis = diagnose(&Evidence {
        opened: &input,
        verification: verification.as_ref(),
        store: store.as_ref(),
        running: datadir::is_running(files),
        against: against.as_ref(),
        received: &received,
    })?;
    let sound = diagnosis.verdict < Verdict::SalvageOnly;
    let revision = match &store {
        Some(store) if sound => Some(KeySpace::open(store)?.current_revision()),
        _ => None,
    };
    Ok(Examined { path: path.to_path_buf(), diagnosis, revision, input })
}

/// The member to recover from: the best verdict, then whoever knows most, as raft elects its leaders.
fn chosen(examined: &[Examined]) -> Option<&Examined> {
    let rank = |member: &&Examined| {
        let target = member.input.report().map(|report| (report.target.index, report.target.last));
        // A member that was removed from its cluster knows less than its log suggests.
        let removed = member.diagnosis.findings.iter().any(|finding| finding.code == "removed");
        let class = member.diagnosis.verdict.max(Verdict::Recoverable);
        (std::cmp::Reverse(class), !removed, target, member.revision)
    };
    let usable = examined.iter().filter(|member| member.diagnosis.verdict < Verdict::SalvageOnly);
    // Of equals the first named.
    usable.rev().max_by_key(rank)
}

/// Where the others differ from the chosen one.
fn differences<'e>(
    context: &Context,
    examined: &'e [Examined],
    chosen: Option<&Examined>,
) -> Result<Vec<(&'e Examined, Difference)>> {
    let Some(chosen) = chosen else { return Ok(Vec::new()) };
    let own = KeySpace::open(&Store::new(chosen.input.file_db()?))?;
    let mut differences = Vec::new();
    for member in examined {
        if member.path == chosen.path || member.diagnosis.verdict >= Verdict::SalvageOnly {
            continue;
        }
        let other = KeySpace::open(&Store::new(member.input.file_db()?))?;
        if let Some(difference) = compare(&own, &other, &context.ui)? {
            differences.push((member, difference));
        }
    }
    Ok(differences)
}

fn cluster(member: &Examined) -> Option<u64> {
    member.input.wal()?.metadata.map(|metadata| metadata.cluster_id())
}

/// The commands to run next, and what to know before.
fn next(
    examined: &[Examined],
    chosen: Option<&Examined>,
    differences: &[(&Examined, Difference)],
) -> Vec<String> {
    let mut next = Vec::new();
    let Some(chosen) = chosen else {
        next.push("restore the newest snapshot that `etcdsnap verify` calls sound".to_owned());
        next.push(
            "without one, save what can still be read, and see first what that is:".to_owned(),
        );
        next.extend(examined.iter().map(|member| {
            format!("etcdsnap salvage '{}' --output DIR --dry-run", member.path.display())
        }));
        return next;
    };
    let path = chosen.path.display();
    if examined.iter().any(|member| cluster(member) != cluster(chosen)) {
        next.push(
            "these are members of different clusters: make sure that you have the right ones"
                .to_owned(),
        );
    }
    if !differences.is_empty() {
        next.push(
            "members differ: keep copies of all of them before anything is started".to_owned(),
        );
    }
    if examined.len() == 1 && chosen.diagnosis.verdict == Verdict::Healthy {
        next.push(format!(
            "start etcd on it again; a copy first does no harm: cp -a '{path}' /backup/"
        ));
    }
    let flags = match chosen.diagnosis.ways.first() {
        Some(Way::NoWal) => " --no-wal".to_owned(),
        Some(Way::FromWal) => " --from-wal".to_owned(),
        Some(Way::To(index)) => format!(" --to {index}"),
        Some(Way::Plain | Way::Received(_)) | None => String::new(),
    };
    next.push(format!("etcdsnap save --data-dir '{path}'{flags} /backup/night.db"));
    next.push("etcdsnap restore /backup/night.db --data-dir DIR --name NAME --initial-cluster … --initial-cluster-token NEW-TOKEN".to_owned());
    next
}

fn render(
    format: Format,
    examined: &[Examined],
    chosen: Option<&Examined>,
    differences: &[(&Examined, Difference)],
    next: &[String],
) -> Result<String> {
    let verdict = chosen.map_or(Verdict::SalvageOnly, |chosen| chosen.diagnosis.verdict);
    let recover_from = chosen.map(|chosen| chosen.path.display().to_string());
    if format == Format::Json {
        let subject = chosen.or(examined.first());
        return output::json(&Json {
            verdict: verdict.as_str(),
            recover_from,
            findings: subject
                .map(|subject| subject.diagnosis.findings.iter().map(FindingJson::from).collect())
                .unwrap_or_default(),
            next,
            members: examined.iter().map(member_json).collect(),
            differences: differences.iter().map(difference_json).collect(),
        });
    }
    if format == Format::Table {
        let mut table =
            Table::new(&["PATH", "VERDICT", "REVISION", "LAST INDEX", "FINDINGS"]).left();
        for member in examined {
            table.row(vec![
                escape(&member.path.display().to_string()),
                member.diagnosis.verdict.as_str().to_owned(),
                member.revision.map_or_else(|| "-".to_owned(), |revision| revision.to_string()),
                last(member).map_or_else(|| "-".to_owned(), |last| last.to_string()),
                member.diagnosis.findings.len().to_string(),
            ]);
        }
        return Ok(table.render());
    }
    if format == Format::Fields {
        return Ok(output::fields(&[
            ("Verdict", verdict.as_str().to_owned()),
            ("RecoverFrom", escape(&recover_from.unwrap_or_default())),
        ]));
    }
    let mut text = String::new();
    for member in examined {
        text += &paragraph(member);
    }
    if let (Some(path), true) = (&recover_from, examined.len() > 1) {
        text +=
            &format!("recover from: {} (of those that can be read it knows most)\n", escape(path));
    }
    for (member, difference) in differences {
        text += &format!(
            "DIFFERS: {}: {}\n",
            escape(&member.path.display().to_string()),
            describe(difference)
        );
    }
    text += "next:\n";
    next.iter().for_each(|line| text += &format!("  {}\n", escape(line)));
    Ok(text)
}

fn paragraph(member: &Examined) -> String {
    let mut text = format!(
        "{}: {}\n",
        escape(&member.path.display().to_string()),
        member.diagnosis.verdict.as_str().to_uppercase()
    );
    if let Some(revision) = member.revision {
        text += &format!("  revision {revision}");
        if let Some(report) = member.input.report() {
            text += &format!(
                ", entries to {} of {}, {} of them from the WAL, etcd {}",
                report.target.index, report.target.last, report.applied, report.line
            );
        }
        text += "\n";
    }
    for finding in &member.diagnosis.findings {
        let lead = match finding.severity {
            Severity::Damage => "DAMAGE",
            Severity::Warning => "warning",
            Severity::Note => "note",
        };
        text += &format!("  {lead}: {}\n", escape(&finding.message));
    }
    text
}

fn describe(difference: &Difference) -> String {
    let keys: Vec<String> = difference.keys.iter().map(|key| output::for_terminal(key)).collect();
    let first = match difference.first_revision {
        Some(revision) => format!("histories part at revision {revision}"),
        None => "histories are equal where both have them".to_owned(),
    };
    format!(
        "{first}; at revision {} {} keys differ: {}",
        difference.compared_to,
        difference.count,
        keys.join(" ")
    )
}

fn last(member: &Examined) -> Option<u64> {
    member.input.wal()?.last_index
}

fn member_json(member: &Examined) -> MemberJson<'_> {
    let metadata = member.input.wal().and_then(|wal| wal.metadata);
    MemberJson {
        path: member.path.display().to_string(),
        verdict: member.diagnosis.verdict.as_str(),
        member_id: metadata.map(|metadata| format!("{:x}", metadata.node_id())),
        cluster_id: metadata.map(|metadata| format!("{:x}", metadata.cluster_id())),
        revision: member.revision,
        last_index: last(member),
        known_index: member.input.report().map(|report| report.target.known),
        findings: member.diagnosis.findings.iter().map(FindingJson::from).collect(),
    }
}

fn difference_json((member, difference): &(&Examined, Difference)) -> DifferenceJson {
    DifferenceJson {
        path: member.path.display().to_string(),
        first_revision: difference.first_revision,
        compared_to: difference.compared_to,
        keys_differing: difference.count,
        keys: difference.keys.iter().map(|key| String::from_utf8_lossy(key).into_owned()).collect(),
    }
}
