//! Finds and opens the segments behind a path.

use std::path::Path;

use anyhow::{Context as _, Result, anyhow};
use etcdsnap_engine::{
    datadir::{self, MemberFiles},
    diagnose,
    limits::Limits,
    snapshot::Image,
    source::{Access, FaultGuard, Source},
    wal::{Segment, SegmentName},
};

use super::super::Context;
use crate::args::Wal;

/// Opened segments, in order.
pub struct Opened {
    segments: Vec<(SegmentName, Source)>,
    /// Whether a file was named, and not a directory.
    is_file: bool,
    /// Whether the member has no db.
    is_alone: bool,
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
        let is_file = !path.is_dir();
        let (found, is_alone) = if is_file {
            (of_file(path), false)
        } else {
            of_directory(path, args.wal_dir.as_deref())?
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
        Ok(Self { segments, is_file, is_alone })
    }

    /// Names and bytes.
    pub fn segments(&self) -> Vec<Segment<'_>> {
        let segments = self.segments.iter();
        segments.map(|(name, source)| Segment { name: *name, bytes: source.bytes() }).collect()
    }

    /// Whether the log is all that there is of a member.
    pub fn is_alone(&self) -> bool {
        self.is_alone
    }

    /// What the file is, of which no record can be read. `None` for a directory, whose files have a log's names.
    pub fn not_a_log(&self) -> Option<String> {
        let (_, source) = self.segments.first().filter(|_| self.is_file)?;
        let bytes = source.bytes();
        if Image::split(bytes).db(Limits::default()).is_ok() {
            return Some("this is a bbolt file, not a log: `etcdsnap info` tells about it".into());
        }
        Some(match datadir::foreign(bytes) {
            Some(foreign) => format!("this is not a log: it is {}", foreign.name),
            None if bytes.is_empty() => "this is not a log: it is empty (0 bytes)".into(),
            None if bytes.iter().all(|byte| *byte == 0) => {
                format!("this holds no log: it is {} bytes of zeros", bytes.len())
            }
            None if looks_like_text(bytes) => "this is not a log: it is text".into(),
            None => "this is not a log: no record of a log stands in it".into(),
        })
    }

    /// To be asked at the end: every byte came from the files, and they held still.
    pub fn check(&self) -> Result<()> {
        self.segments
            .iter()
            .try_for_each(|(_, source)| source.check())
            .with_context(|| format!("what was read cannot be trusted: {}", diagnose::RUNNING))
    }
}

type Found = Vec<(SegmentName, std::path::PathBuf)>;

/// The segments, and whether there is no db beside them.
fn of_directory(path: &Path, wal_dir: Option<&Path>) -> Result<(Found, bool)> {
    let member = path.join("member");
    for (member, wal) in [(member.as_path(), wal_dir), (path, wal_dir), (path, Some(path))] {
        let files = MemberFiles::list(member, wal)?;
        if !files.segments.is_empty() {
            let db = if wal == Some(path) { path.join("../snap/db") } else { files.db };
            let is_alone = !db.exists();
            return Ok((files.segments, is_alone));
        }
    }
    Ok((Vec::new(), false))
}

fn looks_like_text(bytes: &[u8]) -> bool {
    const ENOUGH: usize = 4096;
    let front = bytes.get(..ENOUGH).unwrap_or(bytes);
    let plain = |byte: &u8| matches!(byte, b'\t' | b'\n' | b'\r' | 0x20..=0x7e | 0x80..);
    front.iter().all(plain)
        && String::from_utf8_lossy(front)
            .chars()
            .filter(|c| *c == char::REPLACEMENT_CHARACTER)
            .count()
            <= 1
}

fn of_file(path: &Path) -> Found {
    let name = path.file_name().and_then(|name| SegmentName::parse(name.to_str()?));
    vec![(name.unwrap_or(SegmentName { sequence: 0, index: 0 }), path.to_path_buf())]
}
