//! Finds and opens the segments behind a path.

use std::path::Path;

use anyhow::{Context as _, Result, anyhow};
use etcdsnap_engine::{
    datadir::MemberFiles,
    source::{Access, FaultGuard, Source},
    wal::SegmentName,
};

use super::super::Context;
use crate::args::Wal;

/// Opened segments, in order.
pub struct Opened {
    segments: Vec<(SegmentName, Source)>,
}

impl Opened {
    /// The segments of a data dir, a member dir, a WAL dir, or one segment file.
    pub fn new(context: &Context, args: &Wal) -> Result<Self> {
        let path = &args.path;
        let access = if context.global.no_mmap {
            Access::Read
        } else {
            Access::Map(FaultGuard::install().context("map files; --no-mmap reads them")?)
        };
        let found = if path.is_dir() {
            of_directory(path, args.wal_dir.as_deref())?
        } else {
            of_file(path)
        };
        if found.is_empty() {
            return Err(anyhow!(
                "{}: no WAL segments (*.wal) here; --wal-dir names the directory",
                path.display()
            ));
        }
        let segments = found
            .into_iter()
            .map(|(name, path)| {
                let source = Source::open(&path, access);
                Ok((name, source.with_context(|| format!("open {}", path.display()))?))
            })
            .collect::<Result<_>>()?;
        Ok(Self { segments })
    }

    /// Names and bytes.
    pub fn segments(&self) -> impl Iterator<Item = (SegmentName, &[u8])> {
        self.segments.iter().map(|(name, source)| (*name, source.bytes()))
    }

    /// To be asked at the end: every byte came from the files, and they held still.
    pub fn check(&self) -> Result<()> {
        self.segments
            .iter()
            .try_for_each(|(_, source)| source.check())
            .context("what was read cannot be trusted; is a server running on it?")
    }
}

type Found = Vec<(SegmentName, std::path::PathBuf)>;

fn of_directory(path: &Path, wal_dir: Option<&Path>) -> Result<Found> {
    let member = path.join("member");
    for (member, wal) in [(member.as_path(), wal_dir), (path, wal_dir), (path, Some(path))] {
        let segments = MemberFiles::list(member, wal)?.segments;
        if !segments.is_empty() {
            return Ok(segments);
        }
    }
    Ok(Vec::new())
}

fn of_file(path: &Path) -> Found {
    let name = path.file_name().and_then(|name| SegmentName::parse(name.to_str()?));
    vec![(name.unwrap_or(SegmentName { sequence: 0, index: 0 }), path.to_path_buf())]
}
