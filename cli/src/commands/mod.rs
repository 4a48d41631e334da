//! A file per subcommand: arguments into an engine call, the report into output. No file format here.

mod alarms;
mod auth;
mod bench;
mod beside;
mod buckets;
mod carve;
mod changes;
mod check;
mod compact;
mod demo;
mod diff;
mod doctor;
mod export_v2;
mod hashkv;
mod info;
mod keys;
mod leases;
mod members;
mod page;
mod pages;
mod redact;
mod repair_membership;
mod report;
mod restore;
mod salvage;
mod save;
mod scratch;
mod status;
mod target;
mod told;
mod top;
mod verify;
mod wal;

use std::sync::atomic::{AtomicBool, Ordering};

use anyhow::{Context as _, Result};
use etcdsnap_engine::{
    bolt::Db,
    diagnose,
    finding::Finding,
    jobs::{Answered, StateRead},
};

use crate::{
    args::{Arguments, Command, Format, Global, Snapshot},
    exit::{Answer, Exit, say},
    input::Input,
    output,
    ui::Ui,
};

/// What every command is given.
pub struct Context {
    /// Flags of every command.
    pub global: Global,
    /// Progress, and the wish to stop.
    pub ui: Ui,
    /// Whether an answer lacks entries, because a log is damaged before its end: then the exit code is 1.
    lacking: AtomicBool,
}

impl Context {
    /// Says to people what of the WAL is in what they see, and that a server may change it.
    pub fn say_replayed(&self, input: &Input) {
        self.say_state(&StateRead::of(input));
    }

    /// As [`Context::say_replayed`], of a state that a job has read.
    pub fn say_state(&self, state: &StateRead) {
        if state.running {
            self.warn(&format!("warning: {}: {}", state.path.display(), diagnose::RUNNING));
        }
        if let Some(report) = &state.report {
            told::replayed(report).iter().for_each(|line| self.warn(line));
            told::uncertain(report)
                .iter()
                .for_each(|line| say(&output::for_terminal(line.as_bytes())));
        }
        if state.lacking.is_some() {
            self.lacking.store(true, Ordering::Relaxed);
        }
    }

    /// Prints notes on the state that a job read, and returns its answer.
    pub fn told<T>(&self, answered: Answered<T>) -> Answered<T> {
        self.say_state(&answered.state);
        answered
    }

    /// Says something to people on stderr, unless told to be quiet.
    pub fn warn(&self, line: &str) {
        self.ui.note(line);
    }
}

/// The database of `input`, whose page tree is sound; damage is refused.
fn sound<'i>(context: &Context, input: &'i Input) -> Result<Db<'i>> {
    Ok(input.sound_db(&context.ui)?)
}

/// Prints the findings of records that do not decode.
fn say_findings(findings: &[Finding]) -> Exit {
    findings.iter().for_each(|finding| say(&output::finding(finding)));
    if findings.is_empty() { Exit::Sound } else { Exit::Damage }
}

/// The threads to work with; all cores unless told otherwise.
pub fn pool(threads: Option<u16>) -> Result<rayon::ThreadPool> {
    rayon::ThreadPoolBuilder::new()
        .num_threads(threads.map_or(0, usize::from))
        .build()
        .context("start threads")
}

/// Runs the command. An answer that lacks entries of a damaged log ends in exit code 1.
pub fn run(arguments: Arguments) -> Result<Answer> {
    let ui = Ui::new(arguments.global.progress, arguments.global.quiet);
    ui.catch_signals()?;
    let note = arguments.connection.decide(&arguments.command)?;
    let context = Context { global: arguments.global, ui, lacking: AtomicBool::new(false) };
    note.iter().for_each(|note| context.warn(note));
    let mut answer = answer(&context, arguments.command)?;
    context.ui.complete();
    if context.lacking.load(Ordering::Relaxed) {
        answer.exit = answer.exit.max(Exit::Damage);
    }
    Ok(answer)
}

fn answer(context: &Context, command: Command) -> Result<Answer> {
    match command {
        Command::Save(args) | Command::Snapshot(Snapshot::Save(args)) => save::run(context, &args),
        Command::Status(args) | Command::Snapshot(Snapshot::Status(args)) => {
            status::run(context, &args)
        }
        Command::Restore(args) | Command::Snapshot(Snapshot::Restore(args)) => {
            restore::run(context, &args)
        }
        Command::Verify(args) => verify::run(context, &args),
        Command::Compact(args) => compact::run(context, &args),
        Command::Hashkv(args) => hashkv::run(context, &args),
        Command::Check(args) => check::run(context, &args),
        Command::Info(args) => info::run(context, &args),
        Command::Keys(args) => keys::keys(context, &args),
        Command::Get(args) => keys::get(context, &args),
        Command::Leases(args) => leases::run(context, &args),
        Command::Auth(args) => auth::run(context, &args),
        Command::Alarms(args) => alarms::run(context, &args),
        Command::Members(args) => members::run(context, &args),
        Command::Wal(args) => wal::run(context, &args),
        Command::History(args) => changes::history(context, &args),
        Command::Log(args) => changes::log(context, &args),
        Command::Diff(args) => diff::run(context, &args),
        Command::Pages(args) => pages::run(context, &args),
        Command::Page(args) => page::run(context, &args),
        Command::Buckets(args) => buckets::run(context, &args),
        Command::Top(args) => top::run(context, &args),
        Command::ExportV2(args) => export_v2::run(context, &args),
        Command::Doctor(args) => doctor::run(context, &args),
        Command::Redact(args) => redact::run(context, &args),
        Command::RepairMembership(args) => repair_membership::run(context, &args),
        Command::Report(args) => report::run(context, &args),
        Command::Carve(args) => carve::run(context, &args),
        Command::Salvage(args) => salvage::run(context, &args),
        Command::Bench(args) => bench::run(context, &args),
        Command::Demo => demo::run(context),
        Command::Version => Ok(Answer::sound(version(context.global.format)?)),
        Command::Completion { shell } => {
            let mut script = Vec::new();
            let mut command = <Arguments as clap::CommandFactory>::command();
            clap_complete::generate(shell, &mut command, "etcdsnap", &mut script);
            Ok(Answer::sound(script))
        }
    }
}

/// The program's version.
fn version(format: Format) -> Result<String> {
    let version = env!("CARGO_PKG_VERSION");
    Ok(match format {
        Format::Json => output::json(&serde_json::json!({ "version": version }))?,
        Format::Simple | Format::Table | Format::Fields => format!("etcdsnap {version}\n"),
    })
}
