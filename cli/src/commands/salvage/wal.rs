//! The WAL of a damaged member, applied to what was saved of its db where the two connect.

use anyhow::{Context as _, Result};
use etcdsnap_engine::{
    bolt::Db,
    datadir::MemberFiles,
    limits::Limits,
    replay::{self, Boot, RaftFiles},
    salvage::Report,
    schema::{MetaRecords, Store},
    source::{Access, FaultGuard, Source},
};

use super::Context;
use crate::{args, input::Input};

/// What became of the WAL.
pub enum Applied {
    /// There was none to look at.
    None,
    /// This many entries were applied, behind this one.
    Entries {
        /// How many.
        count: u64,
        /// Raft index of the last entry the db had.
        after: u64,
    },
    /// It was not applied.
    Not {
        /// Why.
        why: String,
    },
}

impl Applied {
    /// Entries that were applied.
    pub fn count(&self) -> u64 {
        match self {
            Applied::Entries { count, .. } => *count,
            Applied::None | Applied::Not { .. } => 0,
        }
    }

    /// Whether there is a WAL that could not be used.
    pub fn lost(&self) -> bool {
        matches!(self, Applied::Not { .. })
    }
}

/// Applies the WAL of `input` to `saved`, or says why not.
pub fn apply(
    context: &Context,
    args: &args::Salvage,
    input: &Input,
    saved: Source,
    report: &Report,
) -> Result<(Source, Applied)> {
    let Some((_, member)) = &input.located().member else { return Ok((saved, Applied::None)) };
    if args.no_wal {
        return Ok((saved, Applied::None));
    }
    let not = |saved, why: String| Ok((saved, Applied::Not { why }));
    let files = MemberFiles::list(member, args.source_wal_dir.as_deref())?;
    if files.segments.is_empty() {
        return not(saved, "there is none".to_owned());
    }
    if !report.index_certain {
        let why = "the db's consistent index did not survive: nobody can say where the log goes on";
        return not(saved, why.to_owned());
    }
    let access = if context.global.no_mmap {
        Access::Read
    } else {
        Access::Map(FaultGuard::install().context("map files; --no-mmap reads them")?)
    };
    let raft = RaftFiles::open(&files, access).context("open the WAL")?;
    let log = raft.log();
    let db =
        Db::from_bytes(saved.bytes(), Limits::default()).context("read back what was saved")?;
    let (meta, _) = MetaRecords::read(&Store::new(db))?;
    let index = meta.consistent_index.unwrap_or_default();
    let boot = match Boot::new(&files, &log, Some(&meta), &raft.snapfiles()) {
        Ok(boot) => boot,
        Err(error) => return not(saved, error.to_string()),
    };
    if boot.base != replay::Base::Db {
        let why = format!("it begins behind entry {index}, the last one the db has");
        return not(saved, why);
    }
    let until = replay::Until { commit: args.which.commit.into(), to: None };
    let replayed = match replay::replay(&db, &log, &boot, until, &context.ui) {
        Ok(replayed) => replayed,
        Err(replay::Error::Interrupted(interrupted)) => return Err(interrupted.into()),
        Err(error) => return not(saved, error.to_string()),
    };
    raft.check().context("the WAL changed while it was read")?;
    let applied = Applied::Entries { count: replayed.report.applied, after: index };
    let Some(patched) = replayed.patched else { return Ok((saved, applied)) };
    let saved = saved.overlaid(patched.offset, &patched.writes()).context("apply the WAL")?;
    Ok((saved, applied))
}
