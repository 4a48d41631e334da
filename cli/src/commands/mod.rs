//! A file per subcommand: arguments into an engine call, the report into output. No file format here.

mod check;
mod demo;
mod hashkv;
mod info;
mod members;
mod restore;
mod save;
mod status;
mod told;
mod verify;

use anyhow::{Context as _, Result};

use crate::{
    args::{Arguments, Command, Global, Snapshot},
    exit::Answer,
    input::Input,
    ui::Ui,
};

/// What every command is given.
pub struct Context {
    /// Flags of every command.
    pub global: Global,
    /// Progress, and the wish to stop.
    pub ui: Ui,
}

impl Context {
    /// Says to people what of the WAL is in what they see.
    pub fn say_replayed(&self, input: &Input) {
        if let Some(report) = input.report() {
            told::replayed(report).iter().for_each(|line| self.warn(line));
        }
    }

    /// Says something to people on stderr, unless told to be quiet.
    pub fn warn(&self, line: &str) {
        self.ui.note(line);
    }
}

/// The threads to work with; all cores unless told otherwise.
pub fn pool(threads: Option<u16>) -> Result<rayon::ThreadPool> {
    rayon::ThreadPoolBuilder::new()
        .num_threads(threads.map_or(0, usize::from))
        .build()
        .context("start threads")
}

/// Runs the command.
pub fn run(arguments: Arguments) -> Result<Answer> {
    let ui = Ui::new(arguments.global.progress, arguments.global.quiet);
    ui.catch_signals()?;
    let context = Context { global: arguments.global, ui };
    match arguments.command {
        Command::Save(args) | Command::Snapshot(Snapshot::Save(args)) => save::run(&context, &args),
        Command::Status(args) | Command::Snapshot(Snapshot::Status(args)) => {
            status::run(&context, &args)
        }
        Command::Restore(args) | Command::Snapshot(Snapshot::Restore(args)) => {
            restore::run(&context, &args)
        }
        Command::Verify(args) => verify::run(&context, &args),
        Command::Hashkv(args) => hashkv::run(&context, &args),
        Command::Check(args) => check::run(&context, &args),
        Command::Info(args) => info::run(&context, &args),
        Command::Members(args) => members::run(&context, &args),
        Command::Demo => demo::run(&context),
    }
}
