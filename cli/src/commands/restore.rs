//! `restore`: fresh data dirs.

use std::{
    fs::File,
    os::unix::ffi::OsStrExt as _,
    path::{Path, PathBuf},
};

use anyhow::{Context as _, Result, anyhow};
use etcdsnap_engine::{
    datadir,
    finding::{Finding, Severity, counted},
    limits::Limits,
    mvcc::{LeaseOrphans, Orphan, Prefixes},
    restore::{self, Contents, Options, Outcome, Plan, Prepared, Restoring, Target, warnings},
    schema::{Store, members},
    shell,
    snapshot::{Image, Trailer, Verification, verify_with_scratch},
    staging::{Space, remains},
    v2store::Summary,
};
use serde::Serialize;

use super::{
    Context,
    beside::beside,
    save::{Applied, DRY_RUN, left_behind, v2_summary},
    scratch::scratch,
    target::{directory, name_remains},
};
use crate::{
    args::{Format, OrphanLeases, Restore},
    exit::{Answer, say, say_whole},
    input::{Input, apart, open},
    output::{self, FindingJson, KeyJson, PlannedJson, Table, escape, finding_line, wrapped},
};

#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
struct Json<'a> {
    dry_run: bool,
    /// The only member's, where one is restored.
    #[serde(flatten)]
    one: Option<RestoredJson<'a>>,
    restored: Vec<RestoredJson<'a>>,
    cluster_id: String,
    members: Vec<MemberJson<'a>>,
    revision: i64,
    keys: u64,
    source_revision: i64,
    compact_revision: i64,
    entries_replayed: u64,
    entries_uncommitted: u64,
    revision_committed: Option<i64>,
    /// Keys of the v2 API that are left out.
    v2_keys: u64,
    verified: &'a str,
    removed: RemovedJson,
    #[serde(skip_serializing_if = "Option::is_none")]
    orphan_leases: Option<OrphansJson>,
    #[serde(flatten)]
    planned: PlannedJson,
    findings: Vec<FindingJson<'a>>,
}

#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
struct RestoredJson<'a> {
    name: &'a str,
    member_id: String,
    data_dir: String,
    wal_dir: String,
    start: Vec<String>,
}

#[derive(Serialize)]
struct MemberJson<'a> {
    id: String,
    name: &'a str,
    #[serde(rename = "peerURLs")]
    peer_urls: &'a [String],
}

/// What the source has and the result has not.
#[derive(Serialize)]
pub struct RemovedJson {
    /// Records of bucket `key`.
    pub records: u64,
    /// Keys that existed.
    pub keys: u64,
    /// Leases that went with their keys.
    pub leases: u64,
    /// Alarms.
    pub alarms: u64,
}

#[derive(Serialize)]
struct OrphansJson {
    treatment: &'static str,
    keys: Vec<OrphanJson>,
}

#[derive(Serialize)]
struct OrphanJson {
    #[serde(flatten)]
    key: KeyJson,
    lease: String,
}

/// A restore that was done or planned.
pub struct Done {
    plan: Plan,
    outcome: Outcome,
    verified: String,
    /// Keys that exist in the result.
    keys: u64,
    applied: Applied,
    /// What the source has in its v2 store.
    v2: Summary,
    findings: Vec<Finding>,
    /// Each member's command line.
    start: Vec<Vec<String>>,
    dry_run: bool,
}

/// Plans, verifies, restores, and prints how the members are started.
pub fn run(context: &Context, args: &Restore) -> Result<Answer> {
    let options = options(args)?;
    let done = restore(context, args, &options)?;
    Ok(Answer::sound(render(context.global.format, &done)?))
}

fn options(args: &Restore) -> Result<Options> {
    let target = match &args.all_members {
        Some(root) => Target::All { root: root.clone(), wal_root: args.wal_dir.clone() },
        None => Target::One {
            name: args.membership.name.clone(),
            initial_advertise_peer_urls: args.membership.initial_advertise_peer_urls.clone(),
            data_dir: args
                .data_dir
                .clone()
                .unwrap_or_else(|| PathBuf::from(format!("{}.etcd", args.membership.name))),
            wal_dir: args.wal_dir.clone(),
        },
    };
    Ok(Options {
        initial_cluster: args.membership.initial_cluster.clone(),
        initial_cluster_token: args.membership.initial_cluster_token.clone(),
        target,
        contents: Contents {
            revision: args.rev,
            orphans: args.orphan_leases.map(|orphans| match orphans {
                OrphanLeases::Keep => LeaseOrphans::Keep,
                OrphanLeases::DropKeys => LeaseOrphans::DropKeys,
                OrphanLeases::Detach => LeaseOrphans::Detach,
            }),
            keys: Prefixes {
                keep: prefixes("--keep-prefix", &args.keep_prefix)?,
                drop: prefixes("--drop-prefix", &args.drop_prefix)?,
            },
            compact: args.compact,
            clear_alarms: args.clear_alarms,
            cancel_downgrade: args.cancel_downgrade,
        },
        bump_revision: args.bump_revision,
        mark_compacted: args.mark_compacted,
        owner: args.owner,
    })
}

/// An empty prefix is every key: more likely an unset variable than a wish.
fn prefixes(flag: &str, given: &[std::ffi::OsString]) -> Result<Vec<Vec<u8>>> {
    given
        .iter()
        .map(|prefix| match prefix.as_bytes() {
            [] => Err(anyhow!("{flag} is empty, which would mean every key")),
            bytes => Ok(bytes.to_vec()),
        })
        .collect()
}

/// Restores the input of `args` as `options` say.
fn restore(context: &Context, args: &Restore, options: &Options) -> Result<Done> {
    let targets = targets(options)?;
    for source in [Some(&args.path), args.source_wal_dir.as_ref()].into_iter().flatten() {
        targets.iter().try_for_each(|target| apart(source, target))?;
    }
    targets.iter().for_each(|target| name_remains(context, target));
    let plan = Plan::new(options).with_context(|| half_done(&targets))?;
    plan.targets()
        .filter(|target| !targets.iter().any(|known| known == target))
        .for_each(|target| name_remains(context, target));
    let reading = args.reading();
    let input = open(context, &args.path, &reading)?;
    input.require_whole()?;
    let db = input.db()?;
    let v2 = v2_summary(&input);
    // What is copied as it stands can be copied while it is verified; a cut is made of what is known to be sound.
    let copied = plan.is_copy() && !args.dry_run;
    let scratch = if args.dry_run { None } else { scratch(targets.first().map(PathBuf::as_path)) };
    let verify = || verified(context, &input, args.skip_hash_check, scratch.as_ref());
    let before = if copied { None } else { Some(verify()?) };
    let store = Store::new(db);
    let member = input
        .located()
        .member
        .as_ref()
        .map(|(_, member)| reading.wal_dir.clone().unwrap_or_else(|| member.join("wal")));
    let origin =
        member.as_deref().and_then(datadir::raft_identity).map(|identity| identity.cluster);
    let prepared = match Prepared::new(&plan, &db, &context.ui) {
        Ok(prepared) => prepared,
        Err(error) => {
            // Damage is told in the words of who looks for it.
            verify()?;
            return Err(told(error));
        }
    };
    context.say_replayed(&input);
    if member.is_some() && reading.no_wal {
        context.warn("note: the WAL was not applied: entries that the db does not contain yet are not restored");
    }
    let (outcome, (verified, live_keys)) = match before {
        Some(verified) if args.dry_run => {
            let outcome = prepared.outcome(&context.ui)?;
            outcome.space.iter().try_for_each(Space::check).context("nothing was written")?;
            input.settle()?;
            (outcome, verified)
        }
        Some(verified) => {
            let written = prepared.write(&context.ui)?;
            input.settle()?;
            (written.publish(&context.ui)?, verified)
        }
        None => {
            let (written, verified) = beside(context, |progress| prepared.write(progress), verify)?;
            let written = written?;
            input.settle()?;
            (written.publish(&context.ui)?, verified)
        }
    };
    let findings = warnings(&store, &plan, &outcome, origin)?;
    if context.global.format != Format::Simple {
        left_behind(&v2).iter().for_each(|line| context.warn(line.trim_end()));
        findings.iter().for_each(|finding| context.warn(&output::finding(finding)));
    }
    let start = restore::start(&plan, options, &outcome, &members::members(&store)?.records);
    let keys = outcome.cut.keys_kept.unwrap_or(live_keys);
    let (dry_run, applied) = (args.dry_run, Applied::of(&input));
    Ok(Done { plan, outcome, verified, keys, applied, v2, findings, start, dry_run })
}

/// Where things will appear, as far as that is known before anything is looked at; links followed.
///
/// # Errors
/// When a link must not be followed, and for `-`, which is no directory.
pub fn targets(options: &Options) -> Result<Vec<PathBuf>> {
    match &options.target {
        Target::One { data_dir, wal_dir, .. } => {
            let data_dir = directory(data_dir)?;
            let member = data_dir.join("member");
            let wal_dir = wal_dir.as_deref().map(directory).transpose()?;
            Ok([data_dir, member].into_iter().chain(wal_dir).collect())
        }
        Target::All { root, wal_root } => {
            let roots = [Some(root.as_path()), wal_root.as_deref()];
            roots.into_iter().flatten().map(directory).collect()
        }
    }
}

/// A killed run can leave finished WAL dirs, or some of several members: say so where that is the likely reason.
fn half_done(targets: &[PathBuf]) -> String {
    let within = |target: &PathBuf| {
        let entries = std::fs::read_dir(target).into_iter().flatten().flatten();
        entries.map(|entry| entry.path()).any(|path| {
            let name = path.to_string_lossy().into_owned();
            name.rsplit_once(".tmp-").is_some_and(|(_, number)| number.parse::<u64>().is_ok())
        })
    };
    let killed = targets.iter().any(|target| !remains(target).is_empty() || within(target));
    let standing: Vec<String> = targets
        .iter()
        .filter(|target| target.exists())
        .map(|target| target.display().to_string())
        .collect();
    if killed && !standing.is_empty() {
        format!(
            "nothing was written; what stands in {} may come from a restore that was killed: check and remove it",
            standing.join(" and ")
        )
    } else {
        "nothing was written".to_owned()
    }
}

/// Lists the keys that wait for a decision.
fn told(error: restore::Error) -> anyhow::Error {
    const LISTED: usize = 100;
    let restore::Error::Orphans { orphans } = &error else { return error.into() };
    for Orphan { key, lease } in orphans.iter().take(LISTED) {
        say_whole(&format!("{}  lease {lease:x}", output::for_terminal(key)));
    }
    if orphans.len() > LISTED {
        say(&format!("… and {} more", orphans.len() - LISTED));
    }
    anyhow!(
        "{error}; nothing was written. --orphan-leases keep leaves them as they are (servers log an error for each and \
         never end them), drop-keys leaves them out, detach makes plain keys of them; \
         --orphan-leases keep --dry-run -w json lists all"
    )
}

/// Verifies the input; says what that covers, and how many keys exist. `scratch` keeps its memory small. The digest can
/// be waived, structure never.
fn verified(
    context: &Context,
    input: &Input,
    skip_hash_check: bool,
    scratch: Option<&File>,
) -> Result<(String, u64)> {
    let image = input.image();
    let image = if skip_hash_check { Image::without_trailer(image.database()) } else { image };
    let verification = verify_with_scratch(&image, Limits::default(), scratch, &context.ui)
        .map_err(|error| input.explain(error))?;
    input.settle()?;
    if !verification.is_usable() {
        for finding in
            verification.findings.iter().filter(|finding| finding.severity == Severity::Damage)
        {
            say(&output::finding(finding));
        }
        return Err(restore::Error::Damaged { findings: verification.findings }.into());
    }
    let Verification { live_keys, .. } = verification;
    let covered = match (image.trailer(), skip_hash_check) {
        (Trailer::Present(digest), _) => format!("sha256 {digest} and structure: every byte is as it was saved"),
        (_, true) => "structure only, the digest was waived: pages, key space, records and members are sound; \
                      changed values would go unnoticed"
            .to_owned(),
        (_, false) => "structure only, there is no digest: pages, key space, records and members are sound; \
                       changed values, or a copy made while a server was writing, would go unnoticed"
            .to_owned(),
    };
    Ok((covered, live_keys.unwrap_or_default()))
}

/// The report.
fn render(format: Format, done: &Done) -> Result<String> {
    Ok(match format {
        Format::Json => output::json(&json(done))?,
        Format::Fields => {
            done.members().map(|(one, start)| output::fields(&rows(done, one, start))).collect()
        }
        Format::Table => {
            let fields = done.members().flat_map(|(one, start)| rows(done, one, start));
            Table::of_fields(fields).render()
        }
        Format::Simple => simple(done),
    })
}

impl Done {
    fn members(&self) -> impl Iterator<Item = (&Restoring, &[String])> {
        self.plan.members.iter().zip(self.start.iter().map(Vec::as_slice))
    }
}

fn simple(done: &Done) -> String {
    let Done { plan, outcome, .. } = done;
    let mut text = String::new();
    for one in &plan.members {
        let line = format!(
            "{} member {} ({}) of cluster {} to {} at revision {}",
            if done.dry_run { "would restore" } else { "restored" },
            escape(&one.member.name),
            one.member.id,
            plan.cluster.id,
            escape(&one.data_dir.display().to_string()),
            outcome.revision,
        );
        text += &wrapped("", &line);
    }
    text += &wrapped("verified: ", &done.verified);
    text += &format!(
        "revision: {}\nkeys: {}\nsize: {} ({} bytes)\n",
        outcome.revision,
        done.keys,
        output::bytes(outcome.db_bytes),
        outcome.db_bytes
    );
    text += &done.applied.line();
    let removed = removed(outcome);
    for (count, one, several, more) in [
        (removed.records, "record", "records", ", history included"),
        (removed.keys, "key", "keys", ""),
        (removed.leases, "lease", "leases", ", of which no key is left"),
        (removed.alarms, "alarm", "alarms", ""),
    ] {
        if count > 0 {
            text += &format!("left out: {}{more}\n", counted(count, one, several));
        }
    }
    text += &left_behind(&done.v2).unwrap_or_default();
    for finding in &done.findings {
        text += &finding_line("", &format!("{}: {}", finding.severity, escape(&finding.message)));
    }
    if done.dry_run {
        text += &output::planned(&outcome.files, &outcome.space);
    }
    let them = if plan.members.len() == 1 { "it" } else { "each" };
    text += &format!("start {them} with:\n");
    for (_, start) in done.members() {
        text += &format!("  {}\n", shell::line(start));
    }
    if done.start.iter().flatten().any(|word| word.starts_with("/path/to/")) {
        text += "put the member's own certificates in place of /path/to/...\n";
    }
    if done.dry_run {
        text += DRY_RUN;
    }
    text
}

fn rows(done: &Done, one: &Restoring, start: &[String]) -> Vec<(&'static str, String)> {
    let path = |path: &Path| escape(&path.display().to_string());
    let removed = removed(&done.outcome);
    vec![
        ("Data dir", path(&one.data_dir)),
        ("WAL dir", path(&one.wal_dir())),
        ("Name", escape(&one.member.name)),
        ("Member id", one.member.id.to_string()),
        ("Cluster id", done.plan.cluster.id.to_string()),
        ("Revision", done.outcome.revision.to_string()),
        ("Records left out", removed.records.to_string()),
        ("Verified", done.verified.clone()),
        ("Start", shell::line(start)),
    ]
}

fn removed(outcome: &Outcome) -> RemovedJson {
    RemovedJson {
        records: outcome.records_removed,
        keys: outcome.cut.keys_dropped,
        leases: outcome.cut.leases_dropped,
        alarms: outcome.alarms_cleared,
    }
}

fn json(done: &Done) -> Json<'_> {
    let Done { plan, outcome, .. } = done;
    let all = || {
        done.members().map(|(one, start)| RestoredJson {
            name: &one.member.name,
            member_id: one.member.id.to_string(),
            data_dir: one.data_dir.display().to_string(),
            wal_dir: one.wal_dir().display().to_string(),
            start: start.to_vec(),
        })
    };
    let orphans = &outcome.cut.orphans;
    Json {
        dry_run: done.dry_run,
        one: if plan.members.len() == 1 { all().next() } else { None },
        restored: all().collect(),
        cluster_id: plan.cluster.id.to_string(),
        members: plan
            .cluster
            .members
            .iter()
            .map(|member| MemberJson {
                id: member.id.to_string(),
                name: &member.name,
                peer_urls: &member.peer_urls,
            })
            .collect(),
        revision: outcome.revision,
        keys: done.keys,
        source_revision: outcome.source_revision,
        compact_revision: outcome.compact_revision,
        entries_replayed: done.applied.entries.unwrap_or_default(),
        entries_uncommitted: done.applied.committed.entries_uncommitted,
        revision_committed: done.applied.committed.revision_committed,
        v2_keys: done.v2.keys,
        verified: &done.verified,
        removed: removed(outcome),
        orphan_leases: (!orphans.is_empty()).then(|| OrphansJson {
            treatment: match plan.contents.orphans {
                Some(LeaseOrphans::DropKeys) => "drop-keys",
                Some(LeaseOrphans::Detach) => "detach",
                Some(LeaseOrphans::Keep) | None => "keep",
            },
            keys: orphans
                .iter()
                .map(|orphan| OrphanJson {
                    key: KeyJson::new(&orphan.key),
                    lease: format!("{:x}", orphan.lease),
                })
                .collect(),
        }),
        planned: PlannedJson::new(&outcome.files, &outcome.space),
        findings: done.findings.iter().map(FindingJson::from).collect(),
    }
}
