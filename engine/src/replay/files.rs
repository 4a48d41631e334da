//! The raft files of a member, opened.

use super::ReadSnapfile;
use crate::{
    datadir::MemberFiles,
    pb::etcdserverpb::Metadata,
    snapfile,
    source::{Access, Error, Source},
    wal::{Kind, Log, Payload, Segment, SegmentName, records},
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

/// How a segment joins the one before: its name, whose it says it is, the running checksum at the end of the segment
/// before, and the one it begins with.
pub type Joint = (SegmentName, Option<Metadata>, Option<u32>, Option<u32>);

impl RaftFiles {
    /// How the segments join, in order. Each is read up to its first damage.
    pub fn joints(&self) -> Vec<Joint> {
        let mut before = None;
        let mut joints = Vec::new();
        for (name, source) in &self.segments {
            let mut reader = records(source.bytes());
            let mut crc = None;
            let mut metadata = None;
            for record in reader.by_ref() {
                let Ok(record) = record else { break };
                match record.kind {
                    Kind::CRC if record.offset == 0 => crc = Some(record.crc),
                    Kind::METADATA if metadata.is_none() => {
                        if let Ok(Payload::Metadata(found)) = record.payload() {
                            metadata = Some(found);
                        }
                    }
                    _ => {}
                }
            }
            joints.push((*name, metadata, before, crc));
            before = Some(reader.crc());
        }
        joints
    }
}
