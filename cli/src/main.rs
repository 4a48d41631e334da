//! `etcdsnap`: inspect, verify, snapshot and restore etcd data offline.

#![expect(dead_code, reason = "reports wait for the commands that fill them")]

mod args;
mod commands;
mod exit;
mod output;
mod ui;

use std::process::ExitCode;

use anyhow::Context as _;

use args::Cli;
use commands::Context;
use output::Output;
use ui::Ui;

fn main() -> ExitCode {
    match Cli::read(std::env::args_os()) {
        Ok(cli) => exit::run(|| work(cli)).into(),
        Err(usage) => exit::of_usage(&usage).into(),
    }
}

fn work(cli: Cli) -> anyhow::Result<exit::Exit> {
    let Cli { global, command } = cli;
    let threads = global.threads.map_or(0, usize::from);
    let pool =
        rayon::ThreadPoolBuilder::new().num_threads(threads).build().context("start threads")?;
    let context = Context {
        output: Output::to_stdout(global.write_out),
        ui: Ui::new(global.progress, global.quiet),
        global,
    };
    context.ui.catch_signals()?;
    pool.install(|| commands::run(command, &context))
}
