//! A whole log: the segments of a WAL directory, verified side by side and joined.

use rayon::prelude::*;

use super::behind::{Behind, BehindFacts};
use super::collect::{self, Stop};
use super::frame::{self, Frame};
use super::search::leading_zeros;
use super::{End, Error, Kind, Payload, Record, Records, SegmentName, Tail};
use crate::pb::{etcdserverpb::Metadata, raftpb::HardState, walpb::Snapshot, wire::EntryRef};
use crate::raw::Raw;

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
    /// Inside a record that a crash cut short, or before sectors that never reached the disk. A server cuts the
    /// segment here, with what [`Log::behind`] tells of: sectors of one write reach the disk in any order.
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
    /// A length word is wrong: whole records stand behind it. A crash does not do that. Servers of 3.5 to 3.7 take it
    /// for a write cut short and cut the segment here, silently and with all that stands behind; 3.4 does so when the
    /// length is below 10 MiB, and refuses the log otherwise.
    #[error("the length word says {}; {}", length_said(*says, *left), behind_said(*records, *entries))]
    Length {
        /// Bytes that the length word gives its record.
        says: u64,
        /// Bytes of the segment behind the length word.
        left: u64,
        /// Whole records behind it, its own among them where its data is proven; in all segments.
        records: u64,
        /// Smallest and greatest index of the entries among them.
        entries: Option<(u64, u64)>,
    },
    /// The length word before counts its padding wrong, so that the next frame is not where it leads. Servers do as with
    /// a wrong length, or refuse the log.
    #[error("the record before counts its padding wrong; {}", behind_said(*records, *entries))]
    Padding {
        /// Whole records behind, in all segments.
        records: u64,
        /// Smallest and greatest index of the entries among them.
        entries: Option<(u64, u64)>,
    },
    /// A record is cut short in a segment that others follow.
    #[error("a record is cut short, and it is not in the last segment")]
    Cut,
    /// A segment holds no record, not even the first one that each has, and others follow it.
    #[error("the segment holds no record, and it is not the last one")]
    Empty,
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

fn length_said(says: u64, left: u64) -> String {
    let bytes = if says == 1 { "byte" } else { "bytes" };
    if says > left {
        format!("{says} {bytes}, {left} are left")
    } else {
        format!("{says} {bytes}, which is wrong")
    }
}

fn behind_said(records: u64, entries: Option<(u64, u64)>) -> String {
    let (one, verb) = if records == 1 { ("", "stands") } else { ("s", "stand") };
    let entries = match entries {
        None => String::new(),
        Some((first, last)) if first == last => format!(" with entry {first}"),
        Some((first, last)) => format!(" with entries {first} to {last}"),
    };
    format!("{records} whole record{one}{entries} {verb} behind it")
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
    /// The first record that is too long for a server of 3.4, which refuses the log because of it; later ones read it.
    /// Source: etcd 3.4.23 `wal/decoder.go`, "max entry size limit exceeded".
    pub oversized: Option<Oversized>,
    /// What stands behind the end, where that is not the end of the files.
    pub behind: Option<Behind<'a>>,
}

/// A record that a server of 3.4 refuses.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Oversized {
    /// Where it starts.
    pub at: At,
    /// Its length, without padding.
    pub bytes: u64,
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
#[derive(Clone, Debug)]
pub(super) struct Read<'a> {
    pub metadata: Option<Metadata>,
    pub hard_state: Option<HardState>,
    first_state: Option<HardState>,
    pub snapshots: Vec<Snapshot>,
    pub entries: Vec<LoggedEntry<'a>>,
    /// How many records of all kinds.
    pub records: u64,
    /// Running checksum its crc record carries; `None` when it does not begin with one.
    pub first_crc: Option<u32>,
    pub last_crc: u32,
    /// Another member's metadata, behind a first.
    pub conflict: Option<(u64, Metadata)>,
    pub end: End,
    error: Option<Error>,
    /// The first record that is too long for 3.4: where it starts and its length.
    oversized: Option<(u64, u64)>,
}

impl Default for Read<'_> {
    fn default() -> Self {
        Self {
            metadata: None,
            hard_state: None,
            first_state: None,
            snapshots: Vec::new(),
            entries: Vec::new(),
            records: 0,
            first_crc: None,
            last_crc: 0,
            conflict: None,
            end: End::Clean { offset: 0 },
            error: None,
            oversized: None,
        }
    }
}

/// From this length on, its length word and its padding included, a server of 3.4 refuses a record.
const OVERSIZED_BYTES: u64 = (10 << 20) + frame::WORD_BYTES;

/// How far a segment belongs to the log.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Joined {
    /// All of it.
    Whole,
    /// Up to where its reading ended.
    Partly,
    /// Not at all.
    Refused,
}

/// Bytes behind the end of the newest segment that are looked at for a sign that more was written. What a crash loses
/// is a part of one write; looking at all the zeros that a server allocates would cost more than reading the log.
const LOST_WRITE_BYTES: usize = 1 << 20;

impl<'a> Log<'a> {
    /// Reads `segments`, in order of their names, in parallel.
    pub fn read(segments: &[Segment<'a>]) -> Self {
        let newest = segments.len().saturating_sub(1);
        let read = |(at, segment): (usize, &Segment<'a>)| {
            let tail = if at == newest { Tail::Newest } else { Tail::Closed };
            Read::of(segment.bytes, u32::try_from(at).unwrap_or(u32::MAX), tail)
        };
        let mut reads: Vec<Read<'a>> = segments.par_iter().enumerate().map(read).collect();
        let nowhere = At { segment: SegmentName { sequence: 0, index: 0 }, offset: 0 };
        let mut log = Log {
            segments: segments.iter().map(|segment| segment.name).collect(),
            metadata: None,
            hard_state: HardState::default(),
            first_state: None,
            snapshots: Vec::new(),
            entries: Vec::new(),
            end: LogEnd::Clean(nowhere),
            oversized: None,
            behind: None,
        };
        let mut stop = Stop { segment: 0, offset: 0, crc: 0 };
        for (at, (segment, read)) in segments.iter().zip(&mut reads).enumerate() {
            let before = segments.get(at.wrapping_sub(1)).map(|before| (before.name, stop.crc));
            let joined = log.join(segment.name, before, read, at == newest);
            if joined != Joined::Refused {
                let crc = if read.records == 0 { stop.crc } else { read.last_crc };
                stop = Stop { segment: at, offset: read.end.offset(), crc };
            }
            if joined != Joined::Whole {
                break;
            }
        }
        log.look_behind(stop, segments, &reads);
        log
    }

    /// Adds a segment's records.
    fn join(
        &mut self,
        name: SegmentName,
        before: Option<(SegmentName, u32)>,
        read: &mut Read<'a>,
        newest: bool,
    ) -> Joined {
        let at = |offset| At { segment: name, offset };
        if let Some((previous, crc)) = before {
            let expected = previous.sequence.wrapping_add(1);
            if name.sequence != expected {
                self.end = LogEnd::Damaged(at(0), Damage::Missing { expected });
                return Joined::Refused;
            }
            // A running value of 0 matches everything, as it does for a server.
            match read.first_crc {
                Some(found) if crc != 0 && found != crc => {
                    self.end = LogEnd::Damaged(at(0), Damage::Chain { expected: crc, found });
                    return Joined::Refused;
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
            return Joined::Refused;
        }
        self.metadata = own;
        self.hard_state = read.hard_state.unwrap_or(self.hard_state);
        if before.is_none() {
            self.first_state = read.first_state;
        }
        self.oversized = self
            .oversized
            .or_else(|| read.oversized.map(|(offset, bytes)| Oversized { at: at(offset), bytes }));
        self.snapshots.append(&mut read.snapshots);
        self.entries.append(&mut read.entries);
        let (end, joined) = match (read.end, read.error.take()) {
            (End::Damaged { offset }, Some(error)) => {
                (LogEnd::Damaged(at(offset), Damage::Record(error)), Joined::Partly)
            }
            (End::Torn { offset }, _) if newest => (LogEnd::Torn(at(offset)), Joined::Partly),
            (End::Torn { offset } | End::Damaged { offset }, _) => {
                (LogEnd::Damaged(at(offset), Damage::Cut), Joined::Partly)
            }
            (End::Clean { offset: 0 }, _) if !newest => {
                (LogEnd::Damaged(at(0), Damage::Empty), Joined::Partly)
            }
            (End::Clean { offset }, _) => (LogEnd::Clean(at(offset)), Joined::Whole),
        };
        self.end = end;
        joined
    }

    /// Looks for whole records behind the end, and judges the end by what is there.
    fn look_behind(&mut self, stop: Stop, segments: &[Segment<'a>], reads: &[Read<'a>]) {
        let Some(segment) = segments.get(stop.segment) else { return };
        let at = At { segment: segment.name, offset: stop.offset };
        let start = usize::try_from(stop.offset).unwrap_or(usize::MAX);
        let rest = segment.bytes.get(start..).unwrap_or_default();
        match self.end {
            LogEnd::Clean(_) => {
                let near = rest.get(..LOST_WRITE_BYTES).unwrap_or(rest);
                // What is left of the last word cannot be a record.
                if leading_zeros(near).saturating_add(8) > near.len() {
                    return;
                }
            }
            LogEnd::Damaged(_, Damage::Metadata { .. }) => return,
            LogEnd::Torn(_) | LogEnd::Damaged(..) => {}
        }
        self.behind = collect::collect(self, stop, segments, reads);
        let Some(behind) = &self.behind else { return };
        let Some(gap) = behind.gaps.first() else { return };
        let wrong_length = match (frame::read(segment.bytes, stop.offset), &self.end) {
            // The record is whole, and its length word does not lead to its end.
            (Frame::Whole { next, .. }, _) if gap.recovered.is_some() => next != gap.to.offset,
            (_, _) if gap.recovered.is_some() => true,
            // Sectors that never reached the disk are zeros to their end.
            (_, LogEnd::Clean(_)) => !frame::is_unwritten(stop.offset, rest),
            (Frame::Incomplete, LogEnd::Torn(_) | LogEnd::Damaged(_, Damage::Cut)) => true,
            _ => false,
        };
        let BehindFacts { records, indexes: entries, .. } = behind.facts();
        let here = gap.to.segment == segment.name;
        if here && !stop.offset.is_multiple_of(frame::WORD_BYTES) {
            self.end = LogEnd::Damaged(at, Damage::Padding { records, entries });
        } else if here && wrong_length {
            let says = frame::length(Raw::new(rest).u64_le(0).unwrap_or_default());
            let left = (rest.len() as u64).saturating_sub(frame::WORD_BYTES);
            self.end = LogEnd::Damaged(at, Damage::Length { says, left, records, entries });
        } else if matches!(self.end, LogEnd::Clean(_)) {
            // A server takes the zeros for the end, and cuts the segment here as well.
            self.end = LogEnd::Torn(at);
        }
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
        let mut read = Read::default();
        while let Some(record) = records.next() {
            let added = record.and_then(|record| {
                let padded = records.offset().saturating_sub(record.offset);
                if padded >= OVERSIZED_BYTES && read.oversized.is_none() {
                    let word = Raw::new(bytes).u64_le(usize::try_from(record.offset).unwrap_or(0));
                    let len = frame::length(word.unwrap_or_default());
                    read.oversized = Some((record.offset, len));
                }
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

    /// Adds what a record says.
    pub fn add(&mut self, record: &Record<'a>, segment: u32) -> Result<(), Error> {
        if record.kind == Kind::ENTRY {
            let offset = record.offset;
            let entry = EntryRef::decode(record.data.unwrap_or_default())
                .map_err(|source| Error::Envelope { offset, source })?;
            self.entries.push(LoggedEntry { entry, segment, offset });
            self.records += 1;
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
        self.records += 1;
        Ok(())
    }
}
