//! A whole log: the segments of a WAL directory, verified side by side and joined.

use rayon::prelude::*;

use super::{End, Error, Kind, Payload, Record, Records, SegmentName, Tail};
use crate::pb::{etcdserverpb::Metadata, raftpb::HardState, walpb::Snapshot, wire::EntryRef};

/// A segment file's name and bytes.
#[derive(Clone, Copy, Debug)]
pub struct Segment<'a> {
    /// Its name.
    pub name: SegmentName,
    /// All its bytes.
    pub bytes: &'a [u8],
}

/// A byte of a log.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct At {
    /// The segment.
    pub segment: SegmentName,
    /// Bytes from the start of its file.
    pub offset: u64,
}

impl std::fmt::Display for At {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "{} offset {:#x}", self.segment, self.offset)
    }
}

/// An entry as it stands in a log. A later one of the same index overrides it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct LoggedEntry<'a> {
    /// The entry.
    pub entry: EntryRef<'a>,
    /// Which of the log's segments it is in, from 0.
    pub segment: u32,
    /// Where its record starts, in bytes from the start of the segment.
    pub offset: u64,
}

/// How a log ends.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum LogEnd {
    /// Behind a whole record.
    Clean(At),
    /// Inside a record that a crash cut short. A server repairs that: it cuts the segment here.
    Torn(At),
    /// At something no crash explains. A server refuses the log; what is before is good.
    Damaged(At, Damage),
}

/// What makes a log end before its files do.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum Damage {
    /// A record is wrong.
    #[error(transparent)]
    Record(#[from] Error),
    /// A record is cut short in a segment that others follow.
    #[error("a record is cut short, and it is not in the last segment")]
    Cut,
    /// A segment does not go on where the one before ends.
    #[error(
        "the segment begins with checksum {found:08x}, the one before ends with {expected:08x}"
    )]
    Chain {
        /// Running checksum at the end of the segment before.
        expected: u32,
        /// The one the segment begins with.
        found: u32,
    },
    /// A segment is missing.
    #[error("segment {expected:016x} is missing")]
    Missing {
        /// Sequence number of the segment that should be here.
        expected: u64,
    },
    /// Segments say that they belong to different members.
    #[error("the metadata names member {found:x}, earlier segments name {expected:x}")]
    Metadata {
        /// Member id named first.
        expected: u64,
        /// Member id named here.
        found: u64,
    },
}

/// The records of a log, up to where it ends or is damaged.
#[derive(Clone, Debug)]
pub struct Log<'a> {
    /// Names of the segments read, in order.
    pub segments: Vec<SegmentName>,
    /// Whose log it is; absent in an empty one.
    pub metadata: Option<Metadata>,
    /// The last hard state; all zero when there is none.
    pub hard_state: HardState,
    /// The first hard state of the first segment that was read.
    pub first_state: Option<HardState>,
    /// All marks of snapshots, in order.
    pub snapshots: Vec<Snapshot>,
    /// All entries, in the order in which they were written.
    pub entries: Vec<LoggedEntry<'a>>,
    /// How it ends.
    pub end: LogEnd,
}

/// An entry for which the log has no predecessor.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("entries {expected} to {} are missing from the log", found.saturating_sub(1))]
pub struct IndexGap {
    /// Index that should come next.
    pub expected: u64,
    /// Index that does.
    pub found: u64,
}

/// What one segment holds.
struct Read<'a> {
    metadata: Option<Metadata>,
    hard_state: Option<HardState>,
    first_state: Option<HardState>,
    snapshots: Vec<Snapshot>,
    entries: Vec<LoggedEntry<'a>>,
    /// Running checksum its crc record carries; `None` when it does not begin with one.
    first_crc: Option<u32>,
    last_crc: u32,
    /// Another member's metadata, behind a first.
    conflict: Option<(u64, Metadata)>,
    end: End,
    error: Option<Error>,
}

impl<'a> Log<'a> {
    /// Reads `segments`, in order of their names, in parallel.
    pub fn read(segments: &[Segment<'a>]) -> Self {
        let newest = segments.len().saturating_sub(1);
        let read = |(at, segment): (usize, &Segment<'a>)| {
            let tail = if at == newest { Tail::Newest } else { Tail::Closed };
            Read::of(segment.bytes, u32::try_from(at).unwrap_or(u32::MAX), tail)
        };
        let reads: Vec<Read<'a>> = segments.par_iter().enumerate().map(read).collect();
        let nowhere = At { segment: SegmentName { sequence: 0, index: 0 }, offset: 0 };
        let mut log = Log {
            segments: segments.iter().map(|segment| segment.name).collect(),
            metadata: None,
            hard_state: HardState::default(),
            first_state: None,
            snapshots: Vec::new(),
            entries: Vec::new(),
            end: LogEnd::Clean(nowhere),
        };
        let mut before: Option<(SegmentName, u32)> = None;
        for (segment, read) in segments.iter().zip(reads) {
            let (name, crc) = (segment.name, read.last_crc);
            if !log.join(name, before, read, segments.last().map(|last| last.name) == Some(name)) {
                break;
            }
            before = Some((name, crc));
        }
        log
    }

    /// Adds a segment's records; false when the log ends here.
    fn join(
        &mut self,
        name: SegmentName,
        before: Option<(SegmentName, u32)>,
        read: Read<'a>,
        newest: bool,
    ) -> bool {
        let at = |offset| At { segment: name, offset };
        if let Some((previous, crc)) = before {
            let expected = previous.sequence.wrapping_add(1);
            if name.sequence != expected {
                self.end = LogEnd::Damaged(at(0), Damage::Missing { expected });
                return false;
            }
            // A running value of 0 matches everything, as it does for a server.
            match read.first_crc {
                Some(found) if crc != 0 && found != crc => {
                    self.end = LogEnd::Damaged(at(0), Damage::Chain { expected: crc, found });
                    return false;
                }
                _ => {}
            }
        }
        let own = self.metadata.or(read.metadata);
        let conflict = match (own, read.metadata) {
            (Some(own), Some(found)) if own != found => Some((0, own, found)),
            _ => read.conflict.zip(own).map(|((offset, found), own)| (offset, own, found)),
        };
        if let Some((offset, own, found)) = conflict {
            let damage = Damage::Metadata { expected: own.node_id(), found: found.node_id() };
            self.end = LogEnd::Damaged(at(offset), damage);
            return false;
        }
        self.metadata = own;
        self.hard_state = read.hard_state.unwrap_or(self.hard_state);
        if before.is_none() {
            self.first_state = read.first_state;
        }
        self.snapshots.extend(read.snapshots);
        self.entries.extend(read.entries);
        let (end, goes_on) = match (read.end, read.error) {
            (End::Damaged { offset }, Some(error)) => {
                (LogEnd::Damaged(at(offset), Damage::Record(error)), false)
            }
            (End::Torn { offset }, _) if newest => (LogEnd::Torn(at(offset)), false),
            (End::Torn { offset } | End::Damaged { offset }, _) => {
                (LogEnd::Damaged(at(offset), Damage::Cut), false)
            }
            (End::Clean { offset }, _) => (LogEnd::Clean(at(offset)), true),
        };
        self.end = end;
        goes_on
    }

    /// Index of the last entry written; `None` when there is none.
    pub fn last_index(&self) -> Option<u64> {
        self.entries.last().map(|last| last.entry.index)
    }

    /// Marks of snapshots that a server can start from: those it knows to be committed.
    pub fn valid_snapshots(&self) -> impl DoubleEndedIterator<Item = &Snapshot> {
        let commit = self.hard_state.commit();
        self.snapshots.iter().filter(move |snapshot| snapshot.index() <= commit)
    }

    /// The entries behind `start`, each index once: where one was written again, with all that followed, the
    /// later one counts. Source: etcd `wal.ReadAll`.
    ///
    /// # Errors
    /// When entries between `start` and a later one are missing.
    pub fn entries_behind(&self, start: u64) -> Result<Vec<LoggedEntry<'a>>, IndexGap> {
        let mut entries: Vec<LoggedEntry<'a>> = Vec::new();
        for logged in &self.entries {
            let index = logged.entry.index;
            let Some(place) = index.checked_sub(start).and_then(|ahead| ahead.checked_sub(1))
            else {
                continue;
            };
            match usize::try_from(place) {
                Ok(place) if place <= entries.len() => entries.truncate(place),
                _ => {
                    let expected = start.saturating_add(entries.len() as u64).saturating_add(1);
                    return Err(IndexGap { expected, found: index });
                }
            }
            entries.push(*logged);
        }
        Ok(entries)
    }
}

impl<'a> Read<'a> {
    fn of(bytes: &'a [u8], segment: u32, tail: Tail) -> Self {
        let mut records = Records::new(bytes, 0, tail);
        let mut read = Read {
            metadata: None,
            hard_state: None,
            first_state: None,
            snapshots: Vec::new(),
            entries: Vec::new(),
            first_crc: None,
            last_crc: 0,
            conflict: None,
            end: End::Clean { offset: 0 },
            error: None,
        };
        for record in records.by_ref() {
            let added = record.and_then(|record| {
                read.add(&record, segment).inspect_err(|_| {
                    read.end = End::Damaged { offset: record.offset };
                })
            });
            if let Err(error) = added {
                read.error = Some(error);
                break;
            }
        }
        read.last_crc = records.crc();
        if !matches!((&read.error, read.end), (Some(_), End::Damaged { .. })) {
            read.end = records.end().unwrap_or(read.end);
        }
        read
    }

    fn add(&mut self, record: &Record<'a>, segment: u32) -> Result<(), Error> {
        if record.kind == Kind::ENTRY {
            let offset = record.offset;
            let entry = EntryRef::decode(record.data.unwrap_or_default())
                .map_err(|source| Error::Envelope { offset, source })?;
            self.entries.push(LoggedEntry { entry, segment, offset });
            return Ok(());
        }
        match record.payload()? {
            Payload::Crc if record.offset == 0 => self.first_crc = Some(record.crc),
            Payload::Metadata(metadata) => match self.metadata {
                Some(own) if own != metadata && self.conflict.is_none() => {
                    self.conflict = Some((record.offset, metadata));
                }
                Some(_) => {}
                None => self.metadata = Some(metadata),
            },
            Payload::State(state) => {
                self.first_state = self.first_state.or(Some(state));
                self.hard_state = Some(state);
            }
            Payload::Snapshot(snapshot) => self.snapshots.push(snapshot),
            Payload::Entry(_) | Payload::Crc => {}
        }
        Ok(())
    }
}
