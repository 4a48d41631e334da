//! A whole log: the segments of a WAL directory, verified side by side and joined.

use rayon::prelude::*;

use super::behind::{Behind, BehindFacts};
use super::collect::{self, Stop};
use super::damage::{Damage, LogEnd};
use super::frame::{self, Frame};
use super::read::Read;
use super::search::leading_zeros;
use super::stretch::Stretch;
use super::{End, SegmentName, Tail};
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
    /// Where its whole records stand, in order.
    pub stretches: Vec<Stretch<'a>>,
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
            stretches: Vec::new(),
            end: LogEnd::Clean(nowhere),
            oversized: None,
            behind: None,
        };
        let mut stop = Stop { segment: 0, offset: 0, rest: 0, unreadable: false, crc: 0 };
        for (at, (segment, read)) in segments.iter().zip(&mut reads).enumerate() {
            let before = segments.get(at.wrapping_sub(1)).map(|before| (before.name, stop.crc));
            let number = u32::try_from(at).unwrap_or(u32::MAX);
            let records = read.records;
            let joined = log.join(segment.name, before, read, at == newest);
            if joined != Joined::Refused {
                let recovered = None;
                log.stretches.push(Stretch { segment: number, recovered, offset: 0, records });
                let crc = if read.records == 0 { stop.crc } else { read.last_crc };
                let (offset, rest) = (read.end.offset(), read.rest);
                stop = Stop { segment: at, offset, rest, unreadable: read.unreadable, crc };
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

    /// Whether the files are a log: there is a whole record in them.
    pub fn is_some(&self) -> bool {
        self.behind.is_some() || self.stretches.iter().any(|stretch| stretch.records > 0)
    }

    /// The entries, those behind gaps too, each index once: what is written again takes the place of all that followed.
    /// In order; indexes may be missing.
    pub fn effective(&self) -> Vec<LoggedEntry<'a>> {
        let behind = self.behind.iter().flat_map(|behind| &behind.entries);
        let mut entries: Vec<LoggedEntry<'a>> = Vec::with_capacity(self.entries.len());
        for logged in self.entries.iter().chain(behind) {
            while entries.pop_if(|last| last.entry.index >= logged.entry.index).is_some() {}
            entries.push(*logged);
        }
        entries
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
