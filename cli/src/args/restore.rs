//! The flags of `restore`: etcdutl's, with its defaults.

use std::path::PathBuf;

use clap::builder::BoolishValueParser;
use clap::error::ErrorKind;
use clap::{ArgAction, Args};

/// Arguments of `restore`.
#[derive(Debug, Args)]
#[command(
    after_help = "Example:\n  etcdsnap restore backup.db --data-dir /var/lib/etcd \\\n      --name m1 \
                        --initial-cluster m1=https://10.0.0.1:2380 \\\n      \
                        --initial-advertise-peer-urls https://10.0.0.1:2380"
)]
pub struct RestoreArgs {
    /// Snapshot, db file, data dir or member dir to restore from
    pub path: PathBuf,
    /// Directory to make; it must be new or empty [default: NAME.etcd]
    #[arg(long, value_name = "DIR")]
    pub data_dir: Option<PathBuf>,
    /// Directory to make for the WAL [default: member/wal in the data dir]
    #[arg(long, value_name = "DIR")]
    pub wal_dir: Option<PathBuf>,
    /// Name of this member
    #[arg(long, default_value = "default")]
    pub name: String,
    /// All members of the new cluster: NAME=URL,NAME=URL
    #[arg(long, value_name = "MEMBERS", default_value = "default=http://localhost:2380")]
    pub initial_cluster: String,
    /// Token that tells this cluster from others made of the same members
    #[arg(long, value_name = "TOKEN", default_value = "etcd-cluster")]
    pub initial_cluster_token: String,
    /// This member's peer URLs: URL,URL
    #[arg(
        long,
        value_name = "URLS",
        value_delimiter = ',',
        default_value = "http://localhost:2380"
    )]
    pub initial_advertise_peer_urls: Vec<String>,
    /// Do without the snapshot's SHA-256; its structure is checked all the same
    #[arg(
        long, num_args = 0..=1, require_equals = true, value_name = "BOOL", default_value = "false",
        default_missing_value = "true", action = ArgAction::Set, value_parser = BoolishValueParser::new(),
        hide_default_value = true, hide_possible_values = true
    )]
    pub skip_hash_check: bool,
    /// How far to raise the latest revision, so that watchers and caches notice the restore
    #[arg(long, value_name = "N", default_value_t = 0)]
    pub bump_revision: u64,
    /// Mark the latest revision as compacted; goes with --bump-revision
    #[arg(
        long, num_args = 0..=1, require_equals = true, value_name = "BOOL", default_value = "false",
        default_missing_value = "true", action = ArgAction::Set, value_parser = BoolishValueParser::new(),
        hide_default_value = true, hide_possible_values = true
    )]
    pub mark_compacted: bool,
    /// Accepted for etcdutl's sake; it does nothing
    #[arg(long, value_name = "BYTES")]
    pub initial_memory_map_size: Option<u64>,
}

impl RestoreArgs {
    /// The directory to make: as given, or named after the member.
    pub fn data_dir(&self) -> PathBuf {
        match &self.data_dir {
            Some(dir) if !dir.as_os_str().is_empty() => dir.clone(),
            _ => PathBuf::from(format!("{}.etcd", self.name)),
        }
    }

    /// etcdutl's rule that both flags of a revision bump come together.
    pub(super) fn check(&self) -> Result<(), clap::Error> {
        if (self.bump_revision > 0) == self.mark_compacted {
            return Ok(());
        }
        let message = "--mark-compacted is required with --bump-revision above 0, and goes with nothing else\n";
        Err(clap::Error::raw(ErrorKind::ArgumentConflict, message))
    }
}
