//! etcdctl's flags that say which server to ask. Scripts give them to every command of etcdctl, also to those that ask
//! none; no command here asks one.

use std::ffi::OsString;

use anyhow::{Result, anyhow};
use clap::{Arg, ArgAction, ArgMatches, FromArgMatches, value_parser};
use etcdsnap_engine::shell;

use crate::args::{Command, Snapshot};

/// Flags with a value, in etcdctl's order.
const VALUED: [&str; 15] = [
    "--endpoints",
    "--discovery-srv",
    "--discovery-srv-name",
    "--cacert",
    "--cert",
    "--key",
    "--user",
    "--password",
    "--auth-jwt-token",
    "--dial-timeout",
    "--command-timeout",
    "--keepalive-time",
    "--keepalive-timeout",
    "--max-request-bytes",
    "--max-recv-bytes",
];
/// Flags that are on or off.
const SWITCHES: [&str; 4] =
    ["--insecure-discovery", "--insecure-skip-tls-verify", "--insecure-transport", "--debug"];
/// What stands for a secret in a message.
const MASKED: &str = "PASSWORD";

/// The flags that were given, accepted before and behind every command and not shown in any help.
#[derive(Debug, Default)]
pub struct Connection {
    /// Words of the command line, secrets masked.
    given: Vec<OsString>,
}

impl clap::Args for Connection {
    fn augment_args(command: clap::Command) -> clap::Command {
        // The id has the dashes: an argument such as `get KEY` has the plain word.
        let flag = |id: &'static str| {
            Arg::new(id)
                .long(id.trim_start_matches('-'))
                .global(true)
                .hide(true)
                .action(ArgAction::Set)
                .value_parser(value_parser!(OsString))
        };
        let switch =
            |id| flag(id).num_args(0..=1).require_equals(true).default_missing_value("true");
        let valued = VALUED.map(|id| match id {
            "--discovery-srv" => flag(id).short('d'),
            _ => flag(id),
        });
        command.args(valued).args(SWITCHES.map(switch))
    }

    fn augment_args_for_update(command: clap::Command) -> clap::Command {
        Self::augment_args(command)
    }
}

impl FromArgMatches for Connection {
    fn from_arg_matches(matches: &ArgMatches) -> Result<Self, clap::Error> {
        let mut given: Vec<OsString> = Vec::new();
        for id in VALUED {
            if let Some(value) = matches.get_one::<OsString>(id) {
                given.extend([id.into(), masked(id, value)]);
            }
        }
        for id in SWITCHES {
            let value = matches.get_one::<OsString>(id).map(|value| value.to_string_lossy());
            given.extend(value.map(|value| match &*value {
                "true" => id.into(),
                other => format!("{id}={other}").into(),
            }));
        }
        Ok(Self { given })
    }

    fn update_from_arg_matches(&mut self, matches: &ArgMatches) -> Result<(), clap::Error> {
        *self = Self::from_arg_matches(matches)?;
        Ok(())
    }
}

impl Connection {
    /// Decides what these flags mean to `command`: a note that no server is asked, where etcdctl asks none either.
    ///
    /// # Errors
    /// When the command would have to ask one.
    pub fn decide(&self, command: &Command) -> Result<Option<String>> {
        let Some(first) = self.given.first().map(|first| first.to_string_lossy()) else {
            return Ok(None);
        };
        match command {
            Command::Save(save) | Command::Snapshot(Snapshot::Save(save)) => {
                let words = ["etcdctl".into()].into_iter().chain(self.given.iter().cloned());
                let rest = ["snapshot".into(), "save".into(), save.out().into()];
                Err(anyhow!(
                    "this program reads files and asks no server; of a running one `{}` takes the snapshot",
                    shell::line(words.chain(rest))
                ))
            }
            Command::Status(_)
            | Command::Restore(_)
            | Command::Snapshot(Snapshot::Status(_) | Snapshot::Restore(_)) => {
                Ok(Some(format!("note: no server is asked, so {first} has no effect")))
            }
            _ => Err(anyhow!("{first}: this program reads files and asks no server")),
        }
    }
}

/// The value of flag `id` as it may be shown.
fn masked(id: &str, value: &OsString) -> OsString {
    match (id, value.to_string_lossy().split_once(':')) {
        ("--password" | "--auth-jwt-token", _) => MASKED.into(),
        ("--user", Some((name, _))) => format!("{name}:{MASKED}").into(),
        _ => value.clone(),
    }
}
