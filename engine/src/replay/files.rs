//! The raft files of a member, opened.

use super::ReadSnapfile;
use crate::{
    datadir::MemberFiles,
    snapfile,
    source::{Access, Error, Source},
    wal::{Log, Segment, SegmentName},
};

/// Segments and snapfiles of a member, read-only.
#[derive(Debug)]
pub struct RaftFiles {
    segments: Vec<(SegmentName, Source)>,
    snapfiles: Vec<(ReadSnapfile, Source)>,
}

impl RaftFiles {
    /// Opens the raft files among `files`.
    ///
    /// # Errors
    /// When one cannot be opened.
    pub fn open(files: &MemberFiles, access: Access) -> Result<Self, Error> {
        let segments = files.segments.iter();
        let segments = segments
            .map(|(name, path)| Ok((*name, Source::open(path, access)?)))
            .collect::<Result<_, Error>>()?;
        let snapfiles = files.snapfiles.iter();
        let snapfiles = snapfiles
            .map(|(name, path)| {
                let source = Source::open(path, access)?;
                let content = snapfile::decode(source.bytes());
                Ok((ReadSnapfile { name: *name, content }, source))
            })
            .collect::<Result<_, Error>>()?;
        Ok(Self { segments, snapfiles })
    }

    /// The log. All its segments are verified.
    pub fn log(&self) -> Log<'_> {
        let segments = self.segments.iter();
        let segments: Vec<Segment<'_>> =
            segments.map(|(name, source)| Segment { name: *name, bytes: source.bytes() }).collect();
        Log::read(&segments)
    }

    /// The snapfiles, the newest first.
    pub fn snapfiles(&self) -> Vec<ReadSnapfile> {
        self.snapfiles.iter().map(|(snapfile, _)| snapfile.clone()).collect()
    }

    /// To be asked before any result is shown: every byte came from the files, and they held still.
    ///
    /// # Errors
    /// As [`Source::check`].
    pub fn check(&self) -> Result<(), Error> {
        let segments = self.segments.iter().map(|(_, source)| source);
        let snapfiles = self.snapfiles.iter().map(|(_, source)| source);
        segments.chain(snapfiles).try_for_each(Source::check)
    }
}
