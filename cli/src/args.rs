//! Every subcommand and flag, with its help.

use std::path::PathBuf;

use clap::{Args, Parser, Subcommand, ValueEnum};

/// Inspect, verify, snapshot and restore etcd data offline: no etcd, no network, nothing read is changed.
#[derive(Debug, Parser)]
#[command(
    version,
    max_term_width = 100,
    disable_help_subcommand = true,
    subcommand_required = true,
    arg_required_else_help = false,
    after_help = "Exit codes: 0 done and sound; 1 damage or a difference was found; 2 could not do it.\n\nExample:\n  etcdsnap verify /var/lib/etcd"
)]
pub struct Arguments {
    /// Flags of every command.
    #[command(flatten)]
    pub global: Global,
    /// What to do.
    #[command(subcommand)]
    pub command: Command,
}

/// Flags of every command.
#[derive(Debug, Args)]
pub struct Global {
    /// Output format.
    #[arg(short = 'w', long = "write-out", value_enum, default_value = "simple", global = true)]
    pub format: Format,
    /// Threads to work with, at most 1024; the result does not depend on it. [default: all cores]
    #[arg(long, global = true, value_name = "N", value_parser = clap::value_parser!(u16).range(1..=1024))]
    pub threads: Option<u16>,
    /// No progress and no warnings on stderr.
    #[arg(short, long, global = true)]
    pub quiet: bool,
    /// Progress on stderr: a bar on a terminal, or one JSON event a line.
    #[arg(long, value_enum, default_value = "auto", global = true)]
    pub progress: ProgressKind,
    /// Read files instead of mapping them.
    #[arg(long, global = true)]
    pub no_mmap: bool,
}

/// Output formats, with etcdutl's names.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub enum Format {
    /// A line or a few, for people.
    Simple,
    /// A table, for people.
    Table,
    /// JSON with stable names, for scripts.
    Json,
    /// A field a line.
    Fields,
}

/// How progress is shown.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub enum ProgressKind {
    /// A bar when stderr is a terminal and the work takes longer than half a second.
    Auto,
    /// Events, one JSON object a line.
    Json,
    /// Nothing.
    None,
}

/// The subcommands.
#[derive(Debug, Subcommand)]
pub enum Command {
    /// Write an etcd snapshot of a stopped or crashed member's data dir or db file.
    #[command(after_help = "Example:\n  etcdsnap save --data-dir /var/lib/etcd backup.db")]
    Save(Save),
    /// Hash, revision, keys and size, as `etcdutl snapshot status` gives them.
    #[command(after_help = "Example:\n  etcdsnap status backup.db -w json")]
    Status(Input),
    /// Everything that can be known without restoring: digest, page tree, key space, records, members.
    #[command(after_help = "Example:\n  etcdsnap verify backups/*.db")]
    Verify(Inputs),
    /// Write a fresh data dir that etcd boots from.
    #[command(after_help = "Example:\n  etcdsnap restore backup.db --data-dir /var/lib/etcd")]
    Restore(Restore),
    /// etcd's HashKV, at the latest revision or an older one.
    #[command(after_help = "Example:\n  etcdsnap hashkv backup.db --rev 1200")]
    Hashkv(HashKv),
    /// The page tree alone, with every finding in bbolt's words.
    #[command(after_help = "Example:\n  etcdsnap check /var/lib/etcd/member/snap/db")]
    Check(File),
    /// What this is: file, revisions, raft position, versions.
    #[command(after_help = "Example:\n  etcdsnap info /var/lib/etcd")]
    Info(Input),
    /// The keys, in order; with -w json as etcdctl gives them, values included.
    #[command(after_help = "Example:\n  etcdsnap keys /var/lib/etcd /registry/secrets/")]
    Keys(Keys),
    /// A key's value, as `etcdctl get` gives it.
    #[command(
        after_help = "Example:\n  etcdsnap get backup.db /registry/namespaces/default --rev 1200"
    )]
    Get(Get),
    /// The leases, with the keys that hang on them.
    #[command(after_help = "Example:\n  etcdsnap leases backup.db")]
    Leases(Input),
    /// Whether users are asked for, users with their roles, roles with their permissions.
    #[command(after_help = "Example:\n  etcdsnap auth backup.db")]
    Auth(Input),
    /// The alarms that are on.
    #[command(after_help = "Example:\n  etcdsnap alarms backup.db")]
    Alarms(Input),
    /// The members the database lists, with raft's conf state beside them.
    #[command(after_help = "Example:\n  etcdsnap members backup.db")]
    Members(Input),
    /// Every record of a member's WAL, with its request.
    #[command(
        after_help = "Types: metadata, entry, state, crc, snapshot; and kinds of entries: put, delete-range, txn, range, compaction, lease-grant, lease-revoke, lease-checkpoint, alarm, auth-…, cluster-…, downgrade-…, conf-change, v2, empty.\n\nExample:\n  etcdsnap wal /var/lib/etcd --type put,txn --key-prefix /registry/secrets/ -w json"
    )]
    Wal(Wal),
    /// One verdict over db, WAL, snapfiles and membership, and the next command to run.
    #[command(
        after_help = "With several data dirs of one cluster it says which to recover from and where they differ.\n\nExample:\n  etcdsnap doctor /backup/cp1 /backup/cp2 /backup/cp3"
    )]
    Doctor(Doctor),
    /// A tour on a small real member that ships with the program: doctor, info, verify, save, restore.
    #[command(after_help = "Example:\n  etcdsnap demo")]
    Demo,
    /// etcdutl's spelling of save, status and restore.
    #[command(subcommand)]
    Snapshot(Snapshot),
}

/// Accepted spellings.
#[derive(Debug, Subcommand)]
pub enum Snapshot {
    /// Write an etcd snapshot of a stopped or crashed member's data dir or db file.
    #[command(after_help = "Example:\n  etcdsnap save --data-dir /var/lib/etcd backup.db")]
    Save(Save),
    /// Hash, revision, keys and size, as `etcdutl snapshot status` gives them.
    #[command(after_help = "Example:\n  etcdsnap status backup.db -w json")]
    Status(Input),
    /// Write a fresh data dir that etcd boots from.
    #[command(after_help = "Example:\n  etcdsnap restore backup.db --data-dir /var/lib/etcd")]
    Restore(Restore),
}

/// Which state of a data dir is read.
#[derive(Clone, Debug, Default, Args)]
pub struct Reading {
    /// Read the db file alone, without the WAL entries it has not applied yet.
    #[arg(long)]
    pub no_wal: bool,
    /// The member's WAL, when it is not in the member dir.
    #[arg(long, value_name = "DIR", conflicts_with = "no_wal")]
    pub wal_dir: Option<PathBuf>,
    /// How far the WAL is applied. [default: all for a single voter, known otherwise]
    #[arg(long, value_enum, value_name = "HOW-FAR", conflicts_with = "no_wal")]
    pub commit: Option<Commit>,
}

/// How far the WAL is applied.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub enum Commit {
    /// To the last entry that the member's files prove to be committed.
    Known,
    /// To the last entry there is.
    All,
}

/// One input.
#[derive(Debug, Args)]
pub struct Input {
    /// A data dir, a member dir, a db file or a snapshot.
    pub path: PathBuf,
    /// Which state of it.
    #[command(flatten)]
    pub reading: Reading,
}

/// The input of `check`, which looks at the db file alone.
#[derive(Debug, Args)]
pub struct File {
    /// A data dir, a member dir, a db file or a snapshot.
    pub path: PathBuf,
    /// Accepted and without effect: pages are those of the db file.
    #[arg(long, hide = true)]
    pub no_wal: bool,
}

/// Several inputs.
#[derive(Debug, Args)]
pub struct Inputs {
    /// Data dirs, member dirs, db files or snapshots.
    #[arg(required = true, value_name = "PATH")]
    pub paths: Vec<PathBuf>,
    /// Which state of a data dir.
    #[command(flatten)]
    pub reading: Reading,
}

/// Arguments of `keys`.
#[derive(Debug, Args)]
pub struct Keys {
    /// The input.
    #[command(flatten)]
    pub input: Input,
    /// Only keys that begin with this.
    #[arg(default_value = "", hide_default_value = true)]
    pub prefix: std::ffi::OsString,
    /// How they are shown.
    #[command(flatten)]
    pub showing: Showing,
}

/// Arguments of `get`.
#[derive(Debug, Args)]
pub struct Get {
    /// The input.
    #[command(flatten)]
    pub input: Input,
    /// The key.
    pub key: std::ffi::OsString,
    /// All keys that begin with KEY.
    #[arg(long)]
    pub prefix: bool,
    /// The value alone.
    #[arg(long)]
    pub print_value_only: bool,
    /// How they are shown.
    #[command(flatten)]
    pub showing: Showing,
}

/// How keys are shown.
#[derive(Debug, Args)]
pub struct Showing {
    /// The key space as of this revision; 0: the newest.
    #[arg(long, default_value_t = 0, value_name = "N")]
    pub rev: i64,
    /// Keys and values in hex, as etcdctl shows them.
    #[arg(long)]
    pub hex: bool,
}

/// Arguments of `doctor`.
#[derive(Debug, Args)]
pub struct Doctor {
    /// Data dirs or member dirs, of one cluster.
    #[arg(required = true, value_name = "PATH")]
    pub paths: Vec<PathBuf>,
    /// The WAL of the one member that is looked at, when it is not in the member dir.
    #[arg(long, value_name = "DIR")]
    pub wal_dir: Option<PathBuf>,
}

/// Arguments of `wal`.
#[derive(Debug, Args)]
pub struct Wal {
    /// A data dir, a member dir, a WAL dir or a segment file.
    pub path: PathBuf,
    /// The member's WAL, when it is not in the member dir.
    #[arg(long, value_name = "DIR")]
    pub wal_dir: Option<PathBuf>,
    /// Only records from this raft index on.
    #[arg(long, value_name = "INDEX")]
    pub from: Option<u64>,
    /// Only records up to this raft index, itself included.
    #[arg(long, value_name = "INDEX")]
    pub to: Option<u64>,
    /// Only records of these types or kinds of entries, separated by commas.
    #[arg(long = "type", value_name = "TYPE", value_delimiter = ',')]
    pub types: Vec<String>,
    /// Only entries that touch a key that begins with this.
    #[arg(long, value_name = "PREFIX")]
    pub key_prefix: Option<std::ffi::OsString>,
    /// Show passwords, their hashes and tokens, which are masked otherwise.
    #[arg(long)]
    pub show_passwords: bool,
    /// Show how long values are instead of the values.
    #[arg(long)]
    pub no_values: bool,
}

/// Arguments of `hashkv`.
#[derive(Debug, Args)]
pub struct HashKv {
    /// The input.
    #[command(flatten)]
    pub input: Input,
    /// Revision to hash at; 0: the latest.
    #[arg(long, default_value_t = 0, value_name = "N")]
    pub rev: i64,
}

/// Arguments of `save`.
#[derive(Debug, Args)]
pub struct Save {
    /// The member's data dir, its member dir or its db file.
    #[arg(long, value_name = "DIR")]
    pub data_dir: PathBuf,
    /// Where the snapshot goes; `-` for standard output.
    pub out: PathBuf,
    /// Which state of it.
    #[command(flatten)]
    pub reading: Reading,
}

/// Arguments of `restore`: etcdutl's.
#[derive(Debug, Args)]
pub struct Restore {
    /// A snapshot, a stopped or crashed member's data dir, or its db file.
    pub path: PathBuf,
    /// The data dir to make; it must not exist or be empty. [default: NAME.etcd]
    #[arg(long, value_name = "DIR")]
    pub data_dir: Option<PathBuf>,
    /// Name of this member.
    #[arg(long, default_value = "default")]
    pub name: String,
    /// All members of the new cluster as NAME=PEER-URL, separated by commas.
    #[arg(long, default_value = "default=http://localhost:2380")]
    pub initial_cluster: String,
    /// Token of the new cluster: a new one keeps it apart from the old cluster.
    #[arg(long, default_value = "etcd-cluster")]
    pub initial_cluster_token: String,
    /// Peer URLs of this member, separated by commas.
    #[arg(long, default_value = "http://localhost:2380")]
    pub initial_advertise_peer_urls: String,
    /// Where the WAL goes. [default: DATA-DIR/member/wal]
    #[arg(long, value_name = "DIR")]
    pub wal_dir: Option<PathBuf>,
    /// Do without the snapshot's digest; structure is verified all the same.
    #[arg(long, num_args = 0..=1, require_equals = true, default_value = "false", default_missing_value = "true",
        action = clap::ArgAction::Set, value_name = "BOOL", hide_default_value = true, hide_possible_values = true)]
    pub skip_hash_check: bool,
    /// How much to raise the revision, so that no client sees an old one twice.
    #[arg(long, default_value_t = 0, value_name = "N")]
    pub bump_revision: u64,
    /// Mark the raised revision as compacted: watches end instead of missing events. Needed with --bump-revision.
    #[arg(long, num_args = 0..=1, require_equals = true, default_value = "false", default_missing_value = "true",
        action = clap::ArgAction::Set, value_name = "BOOL", hide_default_value = true, hide_possible_values = true)]
    pub mark_compacted: bool,
    /// Accepted and ignored: nothing is mapped for writing.
    #[arg(long, value_name = "BYTES", hide = true)]
    pub initial_memory_map_size: Option<u64>,
    /// Restore from the db file alone, without the WAL entries it has not applied yet.
    #[arg(long)]
    pub no_wal: bool,
    /// The WAL of the data dir that is restored from, when it is not in the member dir.
    #[arg(long, value_name = "DIR", conflicts_with = "no_wal")]
    pub source_wal_dir: Option<PathBuf>,
    /// How far the WAL of the data dir that is restored from is applied. [default: all for a single voter, known otherwise]
    #[arg(long, value_enum, value_name = "HOW-FAR", conflicts_with = "no_wal")]
    pub commit: Option<Commit>,
}

impl Restore {
    /// Which state of a data dir is restored.
    pub fn reading(&self) -> Reading {
        Reading { no_wal: self.no_wal, wal_dir: self.source_wal_dir.clone(), commit: self.commit }
    }

    /// A restore of `path` to `data_dir` with every default.
    pub fn to(path: PathBuf, data_dir: PathBuf) -> Self {
        let words = [
            "restore".into(),
            path.into_os_string(),
            "--data-dir".into(),
            data_dir.into_os_string(),
        ];
        match Arguments::parse_from(["etcdsnap".into()].into_iter().chain(words)).command {
            Command::Restore(restore) => restore,
            // The words above name the subcommand.
            _ => unreachable!("`restore` parses as restore"),
        }
    }
}
