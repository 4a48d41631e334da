//! `etcdsnap`: inspect, verify, snapshot and restore etcd data offline.
//!
//! This file parses, sets up and exits; `args.rs` holds the flags, `commands/` a file per subcommand.

mod again;
mod args;
mod commands;
mod connection;
mod exit;
mod hint;
mod input;
mod output;
mod owner;
mod ui;

use std::process::ExitCode;

use clap::Parser;

fn main() -> ExitCode {
    exit::on_panic(|| {
        let arguments = args::Arguments::parse();
        let (threads, quiet) = (arguments.global.threads, arguments.global.quiet);
        match commands::pool(threads).and_then(|pool| pool.install(|| commands::run(arguments))) {
            Ok(answer) => exit::finish(answer),
            Err(error) => {
                let code = exit::fail(&error, quiet);
                if let Some(line) = again::command(&error) {
                    exit::say_whole(&format!("next: {}", output::for_terminal(line.as_bytes())));
                }
                code
            }
        }
    })
}
