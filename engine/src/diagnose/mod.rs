//! What a member's files are good for, and what to do next: one verdict over db, log, snapfiles and membership.
//!
//! [`diagnose`] judges one member from [`Evidence`] that was gathered before; [`compare`] says where two
//! members of a cluster differ; [`cluster`] judges several together. Nothing here opens files.

mod against;
pub mod cluster;
mod compare;
mod contents;
mod leftovers;
mod member;
mod membership;
mod versions;

pub use against::{AgainstError, against_log, can_compare};
pub use compare::{Difference, compare};
pub use member::{Evidence, diagnose, log_findings};
pub use versions::downgrade;

use std::path::PathBuf;

use crate::finding::Finding;

/// What to do about files that a running server writes to.
pub const RUNNING: &str = "a server is running on these files: stop it first, or take a snapshot from it with `etcdctl snapshot save`";

/// What a member's files are good for. The greater, the worse.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Verdict {
    /// A server starts on them and has everything.
    Healthy,
    /// Everything is there, but something is to be done before or after a start.
    Recoverable,
    /// A snapshot can be made, but it may lack what the member acknowledged.
    RecoverableWithLoss,
    /// The db is damaged: only parts of it can be read.
    SalvageOnly,
    /// Nothing was ever stored.
    Empty,
}

/// A way to read a member's files that gives a sound state.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Way {
    /// As every command reads them.
    Plain,
    /// The db alone.
    NoWal,
    /// The log alone.
    FromWal,
    /// The log up to this raft index.
    To(u64),
    /// The db with the log in this directory, which is another member's and goes on where the db ends.
    LogOf {
        /// The directory.
        wal_dir: PathBuf,
        /// Raft index of the last good entry of a damaged log.
        to: Option<u64>,
    },
    /// A db that the leader sent, in place of the member's files.
    Received(PathBuf),
}

impl Verdict {
    /// The stable word for scripts.
    pub fn as_str(self) -> &'static str {
        match self {
            Verdict::Healthy => "healthy",
            Verdict::Recoverable => "recoverable",
            Verdict::RecoverableWithLoss => "recoverable-with-loss",
            Verdict::SalvageOnly => "salvage-only",
            Verdict::Empty => "empty",
        }
    }
}

/// A verdict and what it rests on.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Diagnosis {
    /// The verdict.
    pub verdict: Verdict,
    /// What was found, the worst first.
    pub findings: Vec<Finding>,
    /// How the files can be read, the best way first; none where only salvage reads them.
    pub ways: Vec<Way>,
}
