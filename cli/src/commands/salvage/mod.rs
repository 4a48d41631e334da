//! `salvage`: what can be read of a damaged db, in a data dir that etcd boots from.

mod shown;
mod wal;

use std::{
    fs::File,
    io,
    path::{Path, PathBuf},
};

use anyhow::{Context as _, Result, anyhow};
use etcdsnap_engine::{
    bolt::Db,
    bulk::Bulk,
    finding::{Finding, Severity},
    limits::Limits,
    restore::{self, Contents, Options, Plan, Prepared, Restoring, Target},
    salvage::{self, DamagedRecord, Doubtful, Report, Salvage},
    schema::{Store, members},
    snapshot::{Image, verify},
    source::{FaultGuard, Source},
    staging::{self, Filesystem, Space, Stage},
};

use self::wal::Applied;
use super::{
    Context,
    restore::targets,
    scratch::unnamed,
    target::{self, name_remains},
};
use crate::{
    args::{self, Reading},
    exit::{Answer, Exit},
    input::{Input, apart, open},
};

/// What was saved, and into what.
pub struct Done {
    dry_run: bool,
    output: PathBuf,
    replaced: bool,
    report: Report,
    doubtful: Vec<Doubtful>,
    live_keys: u64,
    wal: Applied,
    /// Of the state that was written.
    revision: i64,
    compact_revision: i64,
    plan: Option<Plan>,
    start: Vec<Vec<String>>,
    files: Vec<(PathBuf, u64)>,
    space: Vec<Space>,
    findings: Vec<Finding>,
    damaged: Vec<DamagedRecord>,
}

impl Done {
    /// The members that were made, with their command lines.
    fn members(&self) -> impl Iterator<Item = (&Restoring, &[String])> {
        let members = self.plan.iter().flat_map(|plan| &plan.members);
        members.zip(self.start.iter().map(Vec::as_slice))
    }

    /// Whether nothing is lost, doubtful or damaged in what was saved.
    fn is_whole(&self) -> bool {
        let damage = self.findings.iter().any(|finding| finding.severity == Severity::Damage);
        self.report.is_whole() && self.doubtful.is_empty() && !self.wal.lost() && !damage
    }
}

/// Reads what can be read, writes it, and says what is lost.
pub fn run(context: &Context, args: &args::Salvage) -> Result<Answer> {
    let is_db = args.output.extension().is_some_and(|extension| extension == "db");
    let options = options(args);
    let mut file_target = None;
    let plan = if is_db {
        if let Some(flag) = of_a_data_dir(args) {
            return Err(anyhow!("{flag} is for a data dir; {} is a db", args.output.display()));
        }
        let sources = [Some(args.path.as_path()), args.source_wal_dir.as_deref()];
        let sources: Vec<&Path> = sources.into_iter().flatten().collect();
        file_target = Some(target::file_target(context, &sources, &args.output)?);
        None
    } else {
        let targets = targets(&options)?;
        for source in [Some(&args.path), args.source_wal_dir.as_ref()].into_iter().flatten() {
            targets.iter().try_for_each(|target| apart(source, target))?;
        }
        targets.iter().for_each(|target| name_remains(context, target));
        Some(Plan::new(&options).context("nothing was written")?)
    };
    // The file as it is: what the WAL adds is applied to what was saved.
    let reading = Reading { no_wal: true, ..Reading::default() };
    let input = open(context, &args.path, &reading)?;
    if input.located().member.is_none()
        && (args.source_wal_dir.is_some() || args.which.commit != args::Commit::All)
    {
        return Err(anyhow!(
            "{}: --source-wal-dir and --commit are for a data dir or a member dir",
            args.path.display()
        ));
    }
    let file = file_target.as_ref().and_then(staging::Target::file);
    let on = Filesystem::of(file.unwrap_or(&args.output));
    // What is saved is written once, and once more for each member.
    let files = 1 + plan.as_ref().map_or(0, |plan| plan.members.len());
    let needed = |bytes: u64| Space::of(std::iter::repeat_n((&on, bytes), files));
    let fits = |bytes: u64| {
        let checked = || needed(bytes).iter().try_for_each(Space::check);
        if args.dry_run { Ok(()) } else { checked().context("nothing was written") }
    };
    let mut staged = None;
    let file = match (&file_target, args.dry_run) {
        (Some(target), false) => {
            let stage = Stage::of(target)?;
            let file = stage.handle().try_clone().context("open what is written")?;
            staged = Some(stage);
            file
        }
        (None, false) => unnamed(&args.output)
            .with_context(|| format!("make a temporary file for {}", args.output.display()))?,
        (_, true) => tempfile::tempfile().context("make a temporary file")?,
    };
    let (saved, report, applied) = save(context, args, &input, &file, staged.as_ref(), &fits)?;
    let db =
        Db::from_bytes(saved.bytes(), Limits::default()).context("read back what was saved")?;
    let mut findings = judge(context, &saved)?;
    let damaged = salvage::damaged_records(&db, &findings)?;
    let incomplete = applied.count() > 0 && !report.keys_are_whole();
    let replayed = incomplete.then_some(report.revision);
    let doubtful = salvage::doubtful(&db, &report, replayed, &context.ui)?;
    let space = etcdsnap_engine::mvcc::KeySpace::open(&Store::new(db))?;
    let live_keys =
        etcdsnap_engine::mvcc::KeyIndex::build(space.bucket(), i64::MAX, &context.ui)?.live_keys();
    let mut done = Done {
        dry_run: args.dry_run,
        output: args.output.clone(),
        replaced: false,
        report,
        doubtful,
        live_keys,
        wal: applied,
        revision: space.current_revision(),
        compact_revision: space.compact_revision(),
        plan: None,
        start: Vec::new(),
        files: vec![(args.output.clone(), db.size_bytes())],
        space: needed(db.size_bytes()),
        findings: Vec::new(),
        damaged,
    };
    if let Some(plan) = plan {
        let prepared = Prepared::new(&plan, &db, &context.ui)?;
        let outcome = if args.dry_run {
            prepared.outcome(&context.ui)?
        } else {
            let written = prepared.write(&context.ui)?;
            input.settle()?;
            written.publish(&context.ui)?
        };
        findings.extend(restore::warnings(&Store::new(db), &plan, &outcome, None)?);
        let old = members::members(&Store::new(db))?.records;
        done.start = restore::start(&plan, &options, &outcome, &old);
        done.revision = outcome.revision;
        done.compact_revision = outcome.compact_revision;
        done.files = outcome.files;
        done.plan = Some(plan);
    } else if let Some(stage) = staged {
        if done.wal.count() > 0 {
            let mut changed = saved.bytes();
            io::copy(&mut changed, &mut over(stage.handle())?)
                .context("write the WAL's changes")?;
        }
        stage.handle().sync_all().context("sync what was written")?;
        if let Some(owner) = args.owner {
            owner.take(stage.handle()).context("set the owner")?;
        }
        input.settle()?;
        stage.commit()?;
    }
    file_target.iter().for_each(|target| target::name_replaced(context, target, args.dry_run));
    done.replaced = file_target.is_some_and(|target| target.replaces());
    done.findings = findings;
    let exit = if done.is_whole() { Exit::Sound } else { Exit::Damage };
    let text = shown::render(context.global.format, &done)?;
    Ok(Answer::new(text, exit))
}

/// A flag that a db alone has no use for.
fn of_a_data_dir(args: &args::Salvage) -> Option<&'static str> {
    let given = [
        ("--all-members", args.all_members),
        ("--wal-dir", args.wal_dir.is_some()),
        ("--clear-alarms", args.clear_alarms),
        ("--bump-revision", args.bump_revision != 0),
        ("--mark-compacted", args.mark_compacted),
    ];
    given.into_iter().find(|(_, given)| *given).map(|(flag, _)| flag)
}

/// Writes what can be read into `file`, and applies the WAL to that.
fn save(
    context: &Context,
    args: &args::Salvage,
    input: &Input,
    file: &File,
    staged: Option<&Stage>,
    fits: &dyn Fn(u64) -> Result<()>,
) -> Result<(Source, Report, Applied)> {
    let log_follows = input.located().member.is_some() && !args.no_wal;
    let limits = Limits::default();
    let wanted = salvage::Options { include_freed: args.include_freed, log_follows, limits };
    let report = write(context, args, input, wanted, file, fits)?;
    let saved = read_back(context, args, file, staged)?;
    let (saved, applied) = wal::apply(context, args, input, saved, &report)?;
    if report.metas != 1 || !applied.lost() {
        return Ok((saved, report, applied));
    }
    // Nothing makes up for a newer commit whose meta is lost: what it left in the file is wanted after all.
    drop(saved);
    file.set_len(0).context("write anew")?;
    over(file)?;
    let alone = salvage::Options { log_follows: false, ..wanted };
    let report = write(context, args, input, alone, file, fits)?;
    Ok((read_back(context, args, file, staged)?, report, applied))
}

fn write(
    context: &Context,
    args: &args::Salvage,
    input: &Input,
    wanted: salvage::Options,
    file: &File,
    fits: &dyn Fn(u64) -> Result<()>,
) -> Result<Report> {
    let bytes = input.image().database();
    let mut salvage = Salvage::read(bytes, wanted, &context.ui).map_err(|error| match error {
        salvage::Error::Bolt(error) => input.explain(error).into(),
        other => anyhow::Error::new(other).context(format!("{}", args.path.display())),
    })?;
    let txid = salvage.txid();
    fits(salvage.size_bytes())?;
    let bulk = Bulk::new(file, salvage.size_bytes()).context("write what is saved")?;
    let unsealed = salvage.write(bulk, &context.ui)?;
    let (bulk, _) = unsealed.seal(txid)?;
    drop(bulk);
    input.settle()?;
    Ok(salvage.report().clone())
}

fn read_back(
    context: &Context,
    args: &args::Salvage,
    file: &File,
    staged: Option<&Stage>,
) -> Result<Source> {
    let label = args.output.as_path();
    // A staged file is open for writing alone.
    let file = match staged {
        Some(stage) => File::open(stage.path()),
        None => file.try_clone(),
    }
    .context("read back what was written")?;
    if context.global.no_mmap {
        return Ok(Source::read_file(&over(&file)?, label)?);
    }
    let guard = FaultGuard::install().context("map files; --no-mmap reads them")?;
    Ok(Source::map_file(&file, label, guard)?)
}

fn options(args: &args::Salvage) -> Options {
    let membership = &args.membership;
    let target = if args.all_members {
        Target::All { root: args.output.clone(), wal_root: args.wal_dir.clone() }
    } else {
        Target::One {
            name: membership.name.clone(),
            initial_advertise_peer_urls: membership.initial_advertise_peer_urls.clone(),
            data_dir: args.output.clone(),
            wal_dir: args.wal_dir.clone(),
        }
    };
    Options {
        initial_cluster: membership.initial_cluster.clone(),
        initial_cluster_token: membership.initial_cluster_token.clone(),
        target,
        contents: Contents { clear_alarms: args.clear_alarms, ..Contents::default() },
        bump_revision: args.bump_revision,
        mark_compacted: args.mark_compacted,
        owner: args.owner,
    }
}

/// The same file, from its start.
fn over(file: &File) -> Result<File> {
    use std::io::Seek as _;
    let mut file = file.try_clone().context("open what is written")?;
    file.rewind().context("write from the start")?;
    Ok(file)
}

/// What `verify` says of what was saved, notes apart.
fn judge(context: &Context, saved: &Source) -> Result<Vec<Finding>> {
    let verification =
        verify(&Image::without_trailer(saved.bytes()), Limits::default(), &context.ui)
            .context("verify what was saved")?;
    let mut findings = verification.findings;
    findings.retain(|finding| finding.severity != Severity::Note);
    Ok(findings)
}
