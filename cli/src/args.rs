//! Every subcommand and flag, with its help.

use std::path::{Path, PathBuf};

use clap::{Args, Parser, Subcommand, ValueEnum};
use etcdsnap_engine::{member, replay, source::Access, staging::Owner};

use crate::{connection::Connection, owner::owner};

const RESTORE_HELP: &str = "Keys left out with --keep-prefix, --drop-prefix or --orphan-leases drop-keys are left out with their history: \
what remains is compacted to the restored revision, which stays the store's revision. Nothing is written before everything is verified and fits.

Example:
  etcdsnap restore backup.db --data-dir /var/lib/etcd
  etcdsnap restore backup.db --all-members /restored --initial-cluster-token again-1 \\
    --initial-cluster cp1=https://10.0.0.1:2380,cp2=https://10.0.0.2:2380,cp3=https://10.0.0.3:2380
  etcdsnap restore backup.db --data-dir /restored --rev 81234 --dry-run
  etcdsnap restore backup.db --data-dir /restored --drop-prefix /registry/events/ --compact";

const SAVE_HELP: &str = "Of a running server, `etcdctl snapshot save` makes one.

Example:
  etcdsnap save /var/lib/etcd backup.db";

const REDACT_HELP: &str = "Gone: values, password hashes, names and addresses of members, free pages and slack that are no records, whatever could not be \
understood. Kept: pages, sizes, revisions, leases, ids, versions, names of buckets, users and roles, and keys unless --redact-keys is given. \
The copy shows the same findings; where it does not, that is said. A digest that was right is right, one that was wrong is wrong.

Example:
  etcdsnap redact /var/lib/etcd/member/snap/db to-share.db --redact-keys";

const SALVAGE_HELP: &str = "What the tree still leads to is read from there; ranges of keys it lost are filled with pages that are recognised by \
their content. A record of a free page is left out where a newer one or a compaction speaks against it. Exit code 1: something is lost or \
doubtful, and the report says what. Try it with --dry-run first.

Example:
  etcdsnap salvage /backup/evidence-cp1 --output /restored --dry-run
  etcdsnap salvage broken.db --output /restored --name cp1 --initial-cluster cp1=https://10.0.0.1:2380 \\
    --initial-advertise-peer-urls https://10.0.0.1:2380 --initial-cluster-token again-1 -w json > loss.json
  etcdsnap salvage broken.db --output saved.db";

/// Inspect, verify, snapshot and restore etcd data offline: no etcd, no network, nothing read is changed.
#[derive(Debug, Parser)]
#[command(
    version,
    max_term_width = 100,
    subcommand_required = true,
    arg_required_else_help = false,
    after_help = "Exit codes: 0 done and sound; 1 damage or a difference was found; 2 could not do it.\n\nExample:\n  etcdsnap verify /var/lib/etcd"
)]
pub struct Arguments {
    /// Flags of every command.
    #[command(flatten)]
    pub global: Global,
    /// etcdctl's flags that say which server to ask, which no command here does.
    #[command(flatten)]
    pub connection: Connection,
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
    #[command(
        override_usage = "etcdsnap save [OPTIONS] <PATH> <OUT>\n       etcdsnap save [OPTIONS] --data-dir <DIR> <OUT>",
        after_help = SAVE_HELP
    )]
    Save(Save),
    /// Hash, revision, keys and size, as `etcdutl snapshot status` gives them.
    #[command(after_help = "Example:\n  etcdsnap status backup.db -w json")]
    Status(Input),
    /// Everything that can be known without restoring: digest, page tree, key space, records, members.
    #[command(after_help = "Example:\n  etcdsnap verify backups/*.db")]
    Verify(Verify),
    /// Write fresh data dirs that etcd boots from: one member's, or every member's of a new cluster.
    #[command(after_help = RESTORE_HELP)]
    Restore(Box<Restore>),
    /// Write a db or snapshot anew: only live pages, and of its history what is asked for.
    #[command(
        after_help = "A snapshot becomes a snapshot, a db or a data dir becomes a db.\n\nExample:\n  etcdsnap compact backup.db small.db --compaction 1200"
    )]
    Compact(Compact),
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
    /// Everything that is left of a key's life: every put and deletion.
    #[command(after_help = "Example:\n  etcdsnap history backup.db /registry/deployments/shop/web")]
    History(History),
    /// All changes in revision order.
    #[command(
        after_help = "With --from, what a watch from that revision gives; it cannot begin before the compaction mark. Without it, everything that is left, also of what was compacted.\n\nExample:\n  etcdsnap log /var/lib/etcd --from 81000 /registry/secrets/ -w json"
    )]
    Log(Log),
    /// Keys added, changed and removed between two inputs, or two revisions of one.
    #[command(
        after_help = "A key is changed when its value, lease, version or revision is another. Exit code 1 when anything differs.\n\nExample:\n  etcdsnap diff monday.db tuesday.db\n  etcdsnap diff backup.db --from 81000 --to 81234"
    )]
    Diff(Diff),
    /// Every page of the file, as bbolt lists them.
    #[command(after_help = "Example:\n  etcdsnap pages /var/lib/etcd -w table")]
    Pages(File),
    /// One page: header, elements, bytes; free and overflow pages too.
    #[command(after_help = "Example:\n  etcdsnap page backup.db 4711")]
    Page(Page),
    /// The buckets, with their pages.
    #[command(after_help = "Example:\n  etcdsnap buckets backup.db -w table")]
    Buckets(File),
    /// Who fills the file: bytes by prefix, live and historical, and what compaction and defragmentation would give back.
    #[command(
        after_help = "A prefix is as many parts of a key as --depth says, ending with the separator; one at the very beginning of a key does not count. Keys with fewer parts count under all that they have. Where keys have no separator, --separator '' --depth 3 takes their first three bytes.\n\nExample:\n  etcdsnap top backup.db --depth 3 --prefix /registry/"
    )]
    Top(Top),
    /// The leases, with the keys attached to them.
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
    /// The keys of the v2 API, up to etcd 3.5, as JSON: they are in snapfiles and WAL, and in no db or snapshot.
    #[command(
        name = "export-v2",
        after_help = "One object: the store's index, and every key and directory in the order of their paths, hidden ones included. A path or value that is no UTF-8 is in base64, as pathBase64 or valueBase64. etcd 3.6 does not start on a data dir with such keys, and no snapshot has them.\n\nExample:\n  etcdsnap export-v2 /var/lib/etcd > v2-keys.json"
    )]
    ExportV2(Input),
    /// One verdict over db, WAL, snapfiles and membership, and the next command to run.
    #[command(
        after_help = "With several data dirs of one cluster it says which to recover from and where they differ.\n\nExample:\n  etcdsnap doctor /backup/cp1 /backup/cp2 /backup/cp3"
    )]
    Doctor(Doctor),
    /// Write a copy to share in a bug report: same structure, sizes and revisions, no values.
    #[command(after_help = REDACT_HELP)]
    Redact(Redact),
    /// Write a data dir of the same member whose db lists the members that raft has, and nothing else changed.
    #[command(
        after_help = "etcd 3.5.0 to 3.5.19 lost promotions of learners in the db, and restores by etcd 3.4 left members of the old cluster in it; etcd 3.6 refuses such a db. Mend every member's data dir before etcd 3.6 starts. Nothing is written when nothing is wrong.\n\nExample:\n  etcdsnap repair-membership /var/lib/etcd /var/lib/etcd.mended"
    )]
    RepairMembership(RepairMembership),
    /// One self-contained HTML page: verdict, page map, space, history, members, findings.
    #[command(
        after_help = "The page loads nothing and sends nothing. It shows keys, not values.\n\nExample:\n  etcdsnap report /var/lib/etcd -o report.html"
    )]
    Report(Report),
    /// Key records that are still in the file and not in its database: deleted, compacted, overwritten.
    #[command(
        after_help = "Looks at free pages, the older meta's tree, what is left of overwritten pages, slack and the tail behind the database; of a data dir at its db file. What was found may be old, deleted or never committed: nothing here is live data.\n\nExample:\n  etcdsnap carve backup.db /registry/secrets/ -w json"
    )]
    Carve(Carve),
    /// A bootable data dir, or a db, from whatever can still be read of a damaged one, and a loss report.
    #[command(after_help = SALVAGE_HELP)]
    Salvage(Box<Salvage>),
    /// How long each job takes, on your file or one made up, beside etcdutl and bbolt where they are on PATH.
    #[command(
        after_help = "Jobs: status, hashkv, check, verify, top, carve, diff (with its bare database), save, restore, restore-all (three members), compact. Each is run alone, as a command, after the input was read once; ours and theirs in turn. RSSANON is memory that is no file.\n\nExample:\n  etcdsnap bench backup.db --rounds 7"
    )]
    Bench(Bench),
    /// A tour on a small real member that ships with the program: doctor, info, verify, save, restore.
    #[command(after_help = "Example:\n  etcdsnap demo")]
    Demo,
    /// The version of this program.
    #[command(after_help = "Example:\n  etcdsnap version")]
    Version,
    /// A script that completes commands and flags in a shell.
    #[command(
        after_help = "Example:\n  etcdsnap completion bash > /etc/bash_completion.d/etcdsnap"
    )]
    Completion {
        /// The shell.
        #[arg(value_enum)]
        shell: clap_complete::Shell,
    },
    /// etcdutl's spelling of save, status and restore.
    #[command(subcommand)]
    Snapshot(Snapshot),
}

/// Accepted spellings.
#[derive(Debug, Subcommand)]
pub enum Snapshot {
    /// Write an etcd snapshot of a stopped or crashed member's data dir or db file.
    #[command(
        override_usage = "etcdsnap snapshot save [OPTIONS] <PATH> <OUT>\n       etcdsnap snapshot save [OPTIONS] --data-dir <DIR> <OUT>",
        after_help = SAVE_HELP
    )]
    Save(Save),
    /// Hash, revision, keys and size, as `etcdutl snapshot status` gives them.
    #[command(after_help = "Example:\n  etcdsnap status backup.db -w json")]
    Status(Input),
    /// Write fresh data dirs that etcd boots from: one member's, or every member's of a new cluster.
    #[command(after_help = RESTORE_HELP)]
    Restore(Box<Restore>),
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
    /// How far the WAL is applied.
    #[command(flatten)]
    pub until: Until,
    /// Open another program's bbolt file, too.
    #[arg(skip)]
    pub any_program: bool,
}

/// How far a member's WAL is applied, and to what.
#[derive(Clone, Copy, Debug, Default, Args)]
pub struct Until {
    /// Which entries count.
    #[command(flatten)]
    pub which: Which,
    /// Apply the WAL up to this raft index.
    #[arg(long, value_name = "INDEX", conflicts_with = "no_wal")]
    pub to: Option<u64>,
    /// Make the state from the WAL alone, without the db: it must have every entry since the first.
    #[arg(long, conflicts_with = "no_wal")]
    pub from_wal: bool,
}

/// Which entries of a member's WAL count.
#[derive(Clone, Copy, Debug, Default, Args)]
pub struct Which {
    /// Which entries of the WAL are applied.
    #[arg(
        long,
        value_enum,
        value_name = "WHICH",
        default_value = "all",
        conflicts_with = "no_wal"
    )]
    pub commit: Commit,
}

/// Which entries of the WAL are applied.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, ValueEnum)]
pub enum Commit {
    /// Every entry the member has: a client may have been told of it.
    #[default]
    All,
    /// Only entries that the member's own files prove to be committed.
    Known,
}

/// As [`Reading`], of commands whose `--to` is a revision.
#[derive(Clone, Debug, Default, Args)]
pub struct ReadingWhole {
    /// Read the db file alone, without the WAL entries it has not applied yet.
    #[arg(long)]
    pub no_wal: bool,
    /// The member's WAL, when it is not in the member dir.
    #[arg(long, value_name = "DIR", conflicts_with = "no_wal")]
    pub wal_dir: Option<PathBuf>,
    /// Which entries count.
    #[command(flatten)]
    pub which: Which,
    /// Make the state from the WAL alone, without the db: it must have every entry since the first.
    #[arg(long, conflicts_with = "no_wal")]
    pub from_wal: bool,
}

impl ReadingWhole {
    /// As what other commands have.
    pub fn reading(&self) -> Reading {
        let until = Until { which: self.which, to: None, from_wal: self.from_wal };
        Reading { no_wal: self.no_wal, wal_dir: self.wal_dir.clone(), until, any_program: false }
    }
}

impl Reading {
    /// The same for the engine.
    pub fn options(&self, access: Access) -> member::Options {
        member::Options {
            no_wal: self.no_wal,
            from_wal: self.until.from_wal,
            wal_dir: self.wal_dir.clone(),
            commit: self.until.which.commit.into(),
            to: self.until.to,
            any_program: self.any_program,
            ..member::Options::new(access)
        }
    }
}

impl From<Commit> for replay::Commit {
    fn from(commit: Commit) -> Self {
        match commit {
            Commit::All => replay::Commit::All,
            Commit::Known => replay::Commit::Known,
        }
    }
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

/// Arguments of `verify`.
#[derive(Debug, Args)]
pub struct Verify {
    /// What is verified.
    #[command(flatten)]
    pub inputs: Inputs,
    /// Compare the db of a data dir with the state that its log makes, where the log has every entry since the first.
    #[arg(long, conflicts_with_all = ["no_wal", "from_wal"])]
    pub against_wal: bool,
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
    /// Which of them are shown.
    #[command(flatten)]
    pub choosing: Choosing,
}

/// Which keys are shown, with etcdctl's names.
#[derive(Clone, Copy, Debug, Args)]
pub struct Choosing {
    /// Show this many keys at most; 0: all.
    #[arg(long, default_value_t = 0, value_name = "N")]
    pub limit: u64,
    /// Show keys alone; in JSON the values are left out.
    #[arg(long)]
    pub keys_only: bool,
    /// Show only how many there are.
    #[arg(long, conflicts_with = "keys_only")]
    pub count_only: bool,
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
    #[arg(long, conflicts_with_all = ["keys_only", "count_only"])]
    pub print_value_only: bool,
    /// How they are shown.
    #[command(flatten)]
    pub showing: Showing,
    /// Which of them are shown.
    #[command(flatten)]
    pub choosing: Choosing,
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

/// Arguments of `history`.
#[derive(Debug, Args)]
pub struct History {
    /// The input.
    #[command(flatten)]
    pub input: Input,
    /// The key.
    pub key: std::ffi::OsString,
    /// What was known at this revision; 0: the newest.
    #[arg(long, default_value_t = 0, value_name = "N")]
    pub rev: i64,
    /// How changes are shown.
    #[command(flatten)]
    pub values: Values,
}

/// Arguments of `log`.
#[derive(Debug, Args)]
pub struct Log {
    /// A data dir, a member dir, a db file or a snapshot.
    pub path: PathBuf,
    /// Which state of it.
    #[command(flatten)]
    pub reading: ReadingWhole,
    /// Only keys that begin with this.
    #[arg(default_value = "", hide_default_value = true)]
    pub prefix: std::ffi::OsString,
    /// Only changes from this revision on.
    #[arg(long, value_name = "R", value_parser = clap::value_parser!(i64).range(1..))]
    pub from: Option<i64>,
    /// Only changes up to this revision, itself included.
    #[arg(long, value_name = "R", value_parser = clap::value_parser!(i64).range(1..))]
    pub to: Option<i64>,
    /// How changes are shown.
    #[command(flatten)]
    pub values: Values,
}

/// How changes are shown.
#[derive(Clone, Copy, Debug, Args)]
pub struct Values {
    /// Show values to people, too; JSON has them anyway.
    #[arg(long, conflicts_with = "no_values")]
    pub values: bool,
    /// Leave values out of JSON.
    #[arg(long)]
    pub no_values: bool,
    /// Keys and values in hex, as etcdctl shows them.
    #[arg(long)]
    pub hex: bool,
}

/// Arguments of `diff`.
#[derive(Debug, Args)]
pub struct Diff {
    /// The first input: a data dir, a member dir, a db file or a snapshot.
    #[arg(value_name = "A")]
    pub before: PathBuf,
    /// The second input; without it two revisions of the first are compared.
    #[arg(value_name = "B")]
    pub after: Option<PathBuf>,
    /// Which state of data dirs.
    #[command(flatten)]
    pub reading: ReadingWhole,
    /// Revision of the first input. [default: the newest]
    #[arg(long, value_name = "R", value_parser = clap::value_parser!(i64).range(1..))]
    pub from: Option<i64>,
    /// Revision of the second input, or of the only one. [default: the newest]
    #[arg(long, value_name = "R", value_parser = clap::value_parser!(i64).range(1..))]
    pub to: Option<i64>,
    /// Only keys that begin with this.
    #[arg(long, default_value = "", hide_default_value = true, value_name = "PREFIX")]
    pub prefix: std::ffi::OsString,
    /// Show the values of both sides.
    #[arg(long)]
    pub values: bool,
    /// Keys and values in hex, as etcdctl shows them.
    #[arg(long)]
    pub hex: bool,
}

/// Arguments of `page`.
#[derive(Debug, Args)]
pub struct Page {
    /// The file.
    #[command(flatten)]
    pub file: File,
    /// The page's number; its offset is that many page sizes.
    pub id: u64,
    /// Keys and values in hex, as etcdctl shows them.
    #[arg(long)]
    pub hex: bool,
}

/// Arguments of `top`.
#[derive(Debug, Args)]
pub struct Top {
    /// The input.
    #[command(flatten)]
    pub input: Input,
    /// How many parts of a key make up a prefix.
    #[arg(long, default_value_t = 2, value_name = "N")]
    pub depth: usize,
    /// Only keys that begin with this; --depth counts from its end.
    #[arg(long, default_value = "", hide_default_value = true, value_name = "PREFIX")]
    pub prefix: std::ffi::OsString,
    /// What separates the parts of a key.
    #[arg(long, default_value = "/", value_name = "TEXT")]
    pub separator: std::ffi::OsString,
    /// How many prefixes, values and keys are listed.
    #[arg(long, default_value_t = 20, value_name = "N", value_parser = clap::builder::RangedU64ValueParser::<usize>::new().range(0..=100_000))]
    pub limit: usize,
    /// The key space as of this revision; 0: the newest.
    #[arg(long, default_value_t = 0, value_name = "N")]
    pub rev: i64,
    /// Predict what a compaction to this revision would give back. [default: the newest]
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(i64).range(1..))]
    pub compaction: Option<i64>,
    /// Keys in hex, as etcdctl shows them.
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
    /// A stopped or crashed member's data dir, its member dir or its db file, or a snapshot.
    #[arg(value_name = "PATH")]
    pub first: PathBuf,
    /// Where the snapshot goes; `-` for standard output.
    #[arg(value_name = "OUT")]
    pub second: Option<PathBuf>,
    /// The same as PATH, by etcdutl's name.
    #[arg(long, value_name = "DIR")]
    pub data_dir: Option<PathBuf>,
    /// Write only live pages: nothing logical changes, free pages and what was deleted in them are left out.
    #[arg(long)]
    pub compact: bool,
    /// Read every byte that was written back from the disk. The metas and the end always are, and so is everything when an
    /// older file is replaced.
    #[arg(long)]
    pub read_back: bool,
    /// Verify, say what would be written, and write nothing.
    #[arg(long)]
    pub dry_run: bool,
    /// Which state of it.
    #[command(flatten)]
    pub reading: Reading,
}

/// Arguments of `compact`.
#[derive(Debug, Args)]
pub struct Compact {
    /// A data dir, a member dir, a db file or a snapshot.
    pub path: PathBuf,
    /// Where the new file goes.
    pub out: PathBuf,
    /// Compact history to this revision too, as a server would; without it nothing logical changes.
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(i64).range(1..))]
    pub compaction: Option<i64>,
    /// Read every byte that was written back from the disk. The metas and the end always are, and so is everything when an
    /// older file is replaced.
    #[arg(long)]
    pub read_back: bool,
    /// Verify, say what would be written, and write nothing.
    #[arg(long)]
    pub dry_run: bool,
    /// Which state of it.
    #[command(flatten)]
    pub reading: Reading,
}

/// Arguments of `redact`.
#[derive(Debug, Args)]
pub struct Redact {
    /// A data dir, a member dir, a db file or a snapshot; of a data dir the db file, without its WAL.
    pub path: PathBuf,
    /// Where the copy goes.
    pub out: PathBuf,
    /// Replace keys too, each path segment by one of its shape; without it keys stay.
    #[arg(long)]
    pub redact_keys: bool,
    /// What keys are replaced by depends on this text, so that two files are redacted alike; keep it to yourself. [default:
    /// another one each time]
    #[arg(long, value_name = "TEXT", requires = "redact_keys")]
    pub seed: Option<String>,
    /// Verify, say what would be written, and write nothing.
    #[arg(long)]
    pub dry_run: bool,
    /// Accepted and without effect: the copy is of the db file.
    #[arg(long, hide = true)]
    pub no_wal: bool,
}

/// Arguments of `repair-membership`.
#[derive(Debug, Args)]
pub struct RepairMembership {
    /// The data dir or member dir of a stopped member.
    pub path: PathBuf,
    /// The data dir to make; it must not exist.
    pub out: PathBuf,
    /// Say what is wrong and write nothing.
    #[arg(long)]
    pub dry_run: bool,
    /// Where its WAL is.
    #[command(flatten)]
    pub reading: Reading,
}

/// Arguments of `report`.
#[derive(Debug, Args)]
pub struct Report {
    /// The inputs.
    #[command(flatten)]
    pub input: Inputs,
    /// Where the page goes; `-` for standard output.
    #[arg(short, long = "output", value_name = "FILE")]
    pub out: PathBuf,
    /// Read everything, say what would be written, and write nothing.
    #[arg(long)]
    pub dry_run: bool,
}

/// Arguments of `bench`.
#[derive(Debug, Args)]
pub struct Bench {
    /// A snapshot or a db file; without it one is made up.
    #[arg(conflicts_with_all = ["size", "keys", "value_size", "seed", "make"])]
    pub path: Option<PathBuf>,
    /// About how large the file that is made up is; several, separated by commas, show how time grows. [default: 2GiB]
    #[arg(long, value_delimiter = ',', value_name = "SIZE", value_parser = size)]
    pub size: Vec<u64>,
    /// Its distinct keys. [default: what the size asks for]
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u64).range(1..=500_000_000))]
    pub keys: Option<u64>,
    /// Least and greatest length of its values, in bytes.
    #[arg(long, value_name = "A-B", default_value = "100-3000", value_parser = value_size)]
    pub value_size: ValueSize,
    /// Seed of everything random in it.
    #[arg(long, value_name = "N", default_value_t = 1)]
    pub seed: u64,
    /// Only write that file, a snapshot, and stop.
    #[arg(long, value_name = "FILE")]
    pub make: Option<PathBuf>,
    /// How often each job is run.
    #[arg(long, value_name = "N", default_value_t = 5, value_parser = clap::value_parser!(u8).range(1..))]
    pub rounds: u8,
    /// Only these jobs, separated by commas.
    #[arg(long, value_delimiter = ',', value_name = "JOB")]
    pub job: Vec<String>,
    /// Where to work; twice to five times the file's size is needed. [default: the temporary directory]
    #[arg(long, value_name = "DIR")]
    pub dir: Option<PathBuf>,
}

/// Least and greatest length of values, in bytes.
#[derive(Clone, Copy, Debug)]
pub struct ValueSize(pub (u64, u64));

fn size(text: &str) -> Result<u64, String> {
    match parse_size::parse_size(text) {
        Ok(bytes) if (65_536..=1 << 46).contains(&bytes) => Ok(bytes),
        _ => Err("expected a size from 64KiB to 64TiB, such as 2GiB".to_owned()),
    }
}

fn value_size(text: &str) -> Result<ValueSize, String> {
    let range = text.split_once('-').and_then(|(least, greatest)| {
        let range = (least.trim().parse::<u64>().ok()?, greatest.trim().parse::<u64>().ok()?);
        (range.0 <= range.1 && range.1 <= 1 << 30).then_some(ValueSize(range))
    });
    range.ok_or_else(|| "expected two lengths in bytes, such as 100-3000".to_owned())
}

/// What becomes of keys whose lease does not exist any more.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub enum OrphanLeases {
    /// They stay byte for byte: servers log an error for each and never end them.
    Keep,
    /// They are left out.
    DropKeys,
    /// They become plain keys.
    Detach,
}

/// Who the members of the new cluster are.
#[derive(Debug, Args)]
pub struct Membership {
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
}

/// Arguments of `carve`.
#[derive(Debug, Args)]
pub struct Carve {
    /// A data dir, a member dir, a db file or a snapshot, damaged or not.
    pub path: PathBuf,
    /// Only keys that begin with this.
    #[arg(default_value = "", hide_default_value = true)]
    pub prefix: std::ffi::OsString,
    /// Stop after this many records.
    #[arg(long, value_name = "N")]
    pub limit: Option<u64>,
    /// Show how long values are instead of the values.
    #[arg(long)]
    pub no_values: bool,
    /// Accepted and without effect: what is free is free in the db file.
    #[arg(long, hide = true)]
    pub no_wal: bool,
}

/// Arguments of `salvage`.
#[derive(Debug, Args)]
pub struct Salvage {
    /// A damaged data dir, member dir, db file or snapshot.
    pub path: PathBuf,
    /// The data dir to make, which must not exist or be empty; a name that ends in .db is the db file to make.
    #[arg(long, value_name = "DIR")]
    pub output: PathBuf,
    /// Make every member's data dir, as DIR/NAME.
    #[arg(long, conflicts_with_all = ["name", "initial_advertise_peer_urls"])]
    pub all_members: bool,
    /// Who the members are.
    #[command(flatten)]
    pub membership: Membership,
    /// Where the WAL goes; with --all-members, to DIR/NAME. [default: OUTPUT/member/wal]
    #[arg(long, value_name = "DIR")]
    pub wal_dir: Option<PathBuf>,
    /// Use records of free pages too, superseded and compacted ones, where nothing newer of their key is known: deleted keys come back.
    #[arg(long)]
    pub include_freed: bool,
    /// Leave out alarms, which would keep the new cluster from writing.
    #[arg(long)]
    pub clear_alarms: bool,
    /// How much to raise the revision, so that no client sees an old one twice.
    #[arg(long, default_value_t = 0, value_name = "N")]
    pub bump_revision: u64,
    /// Mark the raised revision as compacted. Needed with --bump-revision.
    #[arg(long)]
    pub mark_compacted: bool,
    /// Give everything that is made to this user and group, by name or number; `USER:` is the user's login group.
    #[arg(long, value_name = "USER:GROUP", value_parser = owner)]
    pub owner: Option<Owner>,
    /// Say what can be saved and what would be written, and write nothing but an unnamed temporary file.
    #[arg(long)]
    pub dry_run: bool,
    /// Do not apply the WAL, even where it connects.
    #[arg(long)]
    pub no_wal: bool,
    /// The WAL of the damaged member, when it is not in its member dir.
    #[arg(long, value_name = "DIR", conflicts_with = "no_wal")]
    pub source_wal_dir: Option<PathBuf>,
    /// Which entries count.
    #[command(flatten)]
    pub which: Which,
}

/// Arguments of `restore`: etcdutl's, and ours.
#[derive(Debug, Args)]
pub struct Restore {
    /// A snapshot, a stopped or crashed member's data dir, or its db file.
    pub path: PathBuf,
    /// The data dir to make; it must not exist or be empty. [default: NAME.etcd]
    #[arg(long, value_name = "DIR")]
    pub data_dir: Option<PathBuf>,
    /// Make every member's data dir, as ROOT/NAME; ROOT must not exist or be empty.
    #[arg(long, value_name = "ROOT", conflicts_with_all = ["data_dir", "name", "initial_advertise_peer_urls"])]
    pub all_members: Option<PathBuf>,
    /// Who the members are.
    #[command(flatten)]
    pub membership: Membership,
    /// Where the WAL goes; with --all-members, to DIR/NAME. [default: DATA-DIR/member/wal]
    #[arg(long, value_name = "DIR")]
    pub wal_dir: Option<PathBuf>,
    /// Restore the key space as it was at this revision; 0: the newest. Leases, users and alarms have no history and stay.
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(i64).range(0..))]
    pub rev: Option<i64>,
    /// What becomes of keys that are attached to a lease that no longer exists, as at an older revision. [default with --rev: refuse when there are any]
    #[arg(long, value_enum, value_name = "WHAT")]
    pub orphan_leases: Option<OrphanLeases>,
    /// Restore only keys that begin with this; can be repeated.
    #[arg(long, value_name = "PREFIX")]
    pub keep_prefix: Vec<std::ffi::OsString>,
    /// Leave out keys that begin with this; can be repeated, and wins over --keep-prefix.
    #[arg(long, value_name = "PREFIX")]
    pub drop_prefix: Vec<std::ffi::OsString>,
    /// Write only live pages: nothing logical changes.
    #[arg(long)]
    pub compact: bool,
    /// Leave out alarms, which would keep the new cluster from writing.
    #[arg(long)]
    pub clear_alarms: bool,
    /// End a downgrade of the cluster that is under way, which would go on in the new cluster.
    #[arg(long)]
    pub cancel_downgrade: bool,
    /// Give everything that is made to this user and group, by name or number; `USER:` is the user's login group.
    #[arg(long, value_name = "USER:GROUP", value_parser = owner)]
    pub owner: Option<Owner>,
    /// Verify, say what would be written, and write nothing.
    #[arg(long)]
    pub dry_run: bool,
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
    /// How far the WAL of the data dir that is restored from is applied.
    #[command(flatten)]
    pub until: Until,
}

impl Save {
    /// What is saved.
    ///
    /// # Errors
    /// When the words do not say it, or say it twice.
    pub fn source(&self) -> anyhow::Result<&Path> {
        match (&self.data_dir, &self.second) {
            (Some(data_dir), None) => Ok(data_dir),
            (None, Some(_)) => Ok(&self.first),
            (Some(data_dir), Some(_)) => Err(anyhow::anyhow!(
                "--data-dir {} and {} both name what is saved; one of them is enough",
                data_dir.display(),
                self.first.display()
            )),
            (None, None) => Err(anyhow::anyhow!(
                "name what is saved and where the snapshot goes: `etcdsnap save PATH OUT`; of a running server, \
                 `etcdctl snapshot save OUT` makes one"
            )),
        }
    }

    /// Where the snapshot goes.
    pub fn out(&self) -> &Path {
        self.second.as_deref().unwrap_or(&self.first)
    }
}

impl Restore {
    /// Which state of a data dir is restored.
    pub fn reading(&self) -> Reading {
        Reading {
            no_wal: self.no_wal,
            wal_dir: self.source_wal_dir.clone(),
            until: self.until,
            any_program: false,
        }
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
            Command::Restore(restore) => *restore,
            // The words above name the subcommand.
            _ => unreachable!("`restore` parses as restore"),
        }
    }
}
