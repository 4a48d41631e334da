//! Flags and help. What a flag means is decided here; what a command does is not.

mod restore;

use std::num::NonZeroUsize;
use std::path::PathBuf;

use clap::{Args, Parser, Subcommand, ValueEnum};

use crate::output::Format;

pub use restore::RestoreArgs;

/// Inspect, verify, snapshot and restore etcd data offline
#[derive(Debug, Parser)]
#[command(
    name = "etcdsnap",
    version,
    max_term_width = 100,
    subcommand_required = true,
    arg_required_else_help = true,
    disable_help_subcommand = true,
    after_help = "PATH is a data dir (it holds member/), a member dir, a bare db file or an etcd snapshot; \
                  which one is told from its content. Input is never written to, locked or touched.\n\n\
                  Exit codes: 0 done and sound; 1 damage found, or refused because the input is damaged; \
                  2 could not do it.\n\n\
                  Example:\n  etcdsnap verify /var/lib/etcd"
)]
pub struct Cli {
    /// Flags of every command.
    #[command(flatten)]
    pub global: GlobalArgs,
    /// What to do.
    #[command(subcommand)]
    pub command: Command,
}

/// Flags of every command.
#[derive(Clone, Debug, Args)]
#[command(next_help_heading = "Global options")]
pub struct GlobalArgs {
    /// Shape of the answer
    #[arg(
        short = 'w',
        long,
        global = true,
        value_enum,
        value_name = "FORMAT",
        default_value_t,
        hide_possible_values = false
    )]
    pub write_out: Format,
    /// Threads to work with; the answer does not depend on it [default: all cores]
    #[arg(long, global = true, value_name = "N")]
    pub threads: Option<NonZeroUsize>,
    /// Print nothing but the answer and errors
    #[arg(short, long, global = true)]
    pub quiet: bool,
    /// Progress on stderr: a bar on a terminal, one JSON object a line, or none
    #[arg(long, global = true, value_enum, value_name = "HOW", default_value_t)]
    pub progress: ProgressMode,
    /// Read files instead of mapping them
    #[arg(long, global = true)]
    pub no_mmap: bool,
    /// Show keys, values and ids in hex
    #[arg(long, global = true)]
    pub hex: bool,
}

/// The values of `--progress`.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, ValueEnum)]
pub enum ProgressMode {
    // Plain comments: clap would make a list of them and every help text long.
    // A bar, when stderr is a terminal and it takes longer than half a second.
    #[default]
    Auto,
    // One JSON object a line.
    Json,
    // Nothing.
    None,
}

/// The commands.
#[derive(Debug, Subcommand)]
pub enum Command {
    /// Make an etcd snapshot from a stopped or crashed member's data dir
    Save(SaveArgs),
    /// Print hash, revision, keys, size and version, as etcdutl does
    Status(StatusArgs),
    /// Check everything that can be known without restoring
    Verify(VerifyArgs),
    /// Write a fresh data dir from a snapshot, db or data dir
    Restore(RestoreArgs),
    /// Print etcd's HashKV
    Hashkv(HashKvArgs),
    /// Check the page tree alone, as `bbolt check` does, with all findings
    Check(CheckArgs),
    /// Say what this is
    Info(InfoArgs),
    /// List the members the file knows, as `etcdctl member list` does
    Members(MembersArgs),
    /// Take a tour on a small real member that ships with the program
    #[command(after_help = "Example:\n  etcdsnap demo")]
    Demo,
    /// etcdutl's and etcdctl's spelling of save, status and restore
    #[command(subcommand, disable_help_subcommand = true)]
    Snapshot(SnapshotCommand),
}

/// The commands that may be written `snapshot …`.
#[derive(Debug, Subcommand)]
pub enum SnapshotCommand {
    /// Make an etcd snapshot from a stopped or crashed member's data dir
    Save(SaveArgs),
    /// Print hash, revision, keys, size and version, as etcdutl does
    Status(StatusArgs),
    /// Write a fresh data dir from a snapshot, db or data dir
    Restore(RestoreArgs),
}

impl Command {
    /// The command without the spelling it came in.
    pub fn plain(self) -> Self {
        match self {
            Self::Snapshot(SnapshotCommand::Save(args)) => Self::Save(args),
            Self::Snapshot(SnapshotCommand::Status(args)) => Self::Status(args),
            Self::Snapshot(SnapshotCommand::Restore(args)) => Self::Restore(args),
            plain => plain,
        }
    }
}

/// What every command that reads one input takes.
#[derive(Clone, Debug, Args)]
pub struct InputArgs {
    /// Data dir, member dir, db file or snapshot
    pub path: PathBuf,
    #[command(flatten)]
    pub wal: WalArgs,
}

/// Whether a data dir's WAL is part of the question.
#[derive(Clone, Debug, Args)]
pub struct WalArgs {
    /// Look at the db file alone, not at WAL entries it has not applied yet
    #[arg(long)]
    pub no_wal: bool,
}

/// Arguments of `save`.
#[derive(Debug, Args)]
#[command(after_help = "Example:\n  etcdsnap save --data-dir /var/lib/etcd backup.db")]
pub struct SaveArgs {
    /// Data dir of a member that is not running, or its db file
    #[arg(long, value_name = "DIR")]
    pub data_dir: PathBuf,
    /// Snapshot to write; it appears whole or not at all
    pub out: PathBuf,
    #[command(flatten)]
    pub wal: WalArgs,
}

/// Arguments of `status`.
#[derive(Debug, Args)]
#[command(after_help = "Example:\n  etcdsnap status backup.db -w table")]
pub struct StatusArgs {
    #[command(flatten)]
    pub input: InputArgs,
}

/// Arguments of `verify`.
#[derive(Debug, Args)]
#[command(after_help = "Example:\n  etcdsnap verify backups/*.db -w json")]
pub struct VerifyArgs {
    /// Data dirs, member dirs, db files or snapshots
    #[arg(value_name = "PATH", required = true)]
    pub paths: Vec<PathBuf>,
    #[command(flatten)]
    pub wal: WalArgs,
}

/// Arguments of `hashkv`.
#[derive(Debug, Args)]
#[command(after_help = "Example:\n  etcdsnap hashkv backup.db --rev 2000")]
pub struct HashKvArgs {
    #[command(flatten)]
    pub input: InputArgs,
    /// Hash up to this revision; 0 is the latest
    #[arg(long, value_name = "N", default_value_t = 0, value_parser = clap::value_parser!(i64).range(0..))]
    pub rev: i64,
}

/// Arguments of `check`.
#[derive(Debug, Args)]
#[command(after_help = "Example:\n  etcdsnap check /var/lib/etcd/member/snap/db")]
pub struct CheckArgs {
    #[command(flatten)]
    pub input: InputArgs,
}

/// Arguments of `info`.
#[derive(Debug, Args)]
#[command(after_help = "Example:\n  etcdsnap info /var/lib/etcd")]
pub struct InfoArgs {
    #[command(flatten)]
    pub input: InputArgs,
}

/// Arguments of `members`.
#[derive(Debug, Args)]
#[command(after_help = "Example:\n  etcdsnap members backup.db -w table")]
pub struct MembersArgs {
    #[command(flatten)]
    pub input: InputArgs,
}

impl Cli {
    /// Reads the command line, with the rules that span several flags.
    ///
    /// # Errors
    /// Usage errors, and requests for help or the version, which clap treats alike.
    pub fn read<T: Into<std::ffi::OsString> + Clone>(
        args: impl IntoIterator<Item = T>,
    ) -> Result<Self, clap::Error> {
        let mut cli = Self::try_parse_from(args)?;
        cli.command = cli.command.plain();
        if let Command::Restore(restore) = &cli.command {
            restore
                .check()
                .map_err(|error| error.format(&mut <Self as clap::CommandFactory>::command()))?;
        }
        Ok(cli)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read(line: &str) -> Result<Cli, clap::Error> {
        Cli::read(line.split_whitespace())
    }

    fn restore(line: &str) -> RestoreArgs {
        match read(line).unwrap().command {
            Command::Restore(args) => args,
            other => panic!("expected restore, found {other:?}"),
        }
    }

    #[test]
    fn the_definition_of_the_command_line_holds_together() {
        <Cli as clap::CommandFactory>::command().debug_assert();
    }

    #[test]
    fn restore_has_the_defaults_of_etcdutl() {
        let args = restore("etcdsnap snapshot restore a.db");
        assert_eq!(args.path, PathBuf::from("a.db"));
        assert_eq!(args.data_dir(), PathBuf::from("default.etcd"));
        assert_eq!(args.wal_dir, None);
        assert_eq!(
            (args.name.as_str(), args.initial_cluster_token.as_str()),
            ("default", "etcd-cluster")
        );
        assert_eq!(args.initial_cluster, "default=http://localhost:2380");
        assert_eq!(args.initial_advertise_peer_urls, ["http://localhost:2380"]);
        assert!(!args.skip_hash_check && !args.mark_compacted);
        assert_eq!(args.bump_revision, 0);
    }

    #[test]
    fn restore_takes_flags_in_the_spellings_scripts_for_etcdutl_use() {
        let args = restore(
            "etcdsnap restore --skip-hash-check=true --data-dir=/d a.db --name m1 --initial-memory-map-size 0 \
             --initial-advertise-peer-urls http://a:1,http://b:2 --bump-revision 1000 --mark-compacted",
        );
        assert!(args.skip_hash_check && args.mark_compacted);
        assert_eq!(args.data_dir(), PathBuf::from("/d"));
        assert_eq!(args.initial_advertise_peer_urls, ["http://a:1", "http://b:2"]);
        // A flag without a value does not swallow the path behind it.
        let args =
            restore("etcdsnap restore --skip-hash-check a.db --mark-compacted=false --name m2");
        assert_eq!((args.skip_hash_check, args.data_dir()), (true, PathBuf::from("m2.etcd")));
    }

    #[test]
    fn global_flags_stand_before_or_behind_the_command() {
        for line in [
            "etcdsnap -w json --threads 2 status a.db -q",
            "etcdsnap status -q a.db --threads 2 -w json",
        ] {
            let global = read(line).unwrap().global;
            assert_eq!(
                (global.write_out, global.threads.map(usize::from)),
                (Format::Json, Some(2)),
                "{line}"
            );
            assert!(global.quiet && !global.no_mmap && !global.hex);
            assert_eq!(global.progress, ProgressMode::Auto);
        }
        assert_eq!(read("etcdsnap demo").unwrap().global.write_out, Format::Simple);
    }
}
