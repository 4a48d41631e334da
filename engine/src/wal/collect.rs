//! Collects the whole records behind the place where a log ends.

use super::behind::{Behind, Gap};
use super::log::{At, Log, Segment};
use super::read::Read;
use super::search::{Found, Search};
use super::stretch::Stretch;
use super::{Kind, SegmentName};
use crate::pb::etcdserverpb::Metadata;

/// A place where reading stopped.
#[derive(Clone, Copy)]
pub(super) struct Stop {
    /// Which segment, from 0.
    pub segment: usize,
    /// Where in it.
    pub offset: u64,
    /// Where what could follow starts, as in [`Read::rest`].
    pub rest: u64,
    /// As in [`Read::unreadable`].
    pub unreadable: bool,
    /// The running checksum up to `rest`.
    pub crc: u32,
}

/// Collects what stands behind `stop`. `reads` are what was read of all segments, each from its beginning.
pub(super) fn collect<'a>(
    log: &Log<'a>,
    stop: Stop,
    segments: &[Segment<'a>],
    reads: &[Read<'a>],
) -> Option<Behind<'a>> {
    let at = At { segment: segments.get(stop.segment)?.name, offset: stop.offset };
    let mut collector = Collector {
        own: log.metadata,
        last_index: log.last_index(),
        from: at,
        crc: stop.crc,
        behind: Behind {
            at,
            records: 0,
            entries: Vec::new(),
            metadata: None,
            hard_state: None,
            snapshots: Vec::new(),
            stretches: Vec::new(),
            gaps: Vec::new(),
        },
    };
    for (at, segment) in segments.iter().enumerate().skip(stop.segment) {
        let number = u32::try_from(at).unwrap_or(u32::MAX);
        let (mut offset, mut unreadable) = (stop.rest, stop.unreadable);
        if at > stop.segment {
            let Some(read) = reads.get(at) else { break };
            if !collector.add_segment(segment.name, number, read) {
                break;
            }
            (offset, unreadable) = (read.rest, read.unreadable);
        }
        let goes_on = reads.get(at.saturating_add(1)).and_then(|read| read.first_crc);
        collector.add_rest(segment, number, (offset, unreadable), goes_on);
    }
    let mut behind = collector.behind;
    let first = behind.gaps.first()?;
    behind.at = if first.recovered.is_some() { first.from } else { first.to };
    Some(behind)
}

struct Collector<'a> {
    /// Whose log it is.
    own: Option<Metadata>,
    /// Index of the last entry so far.
    last_index: Option<u64>,
    /// Where the last whole record so far ends.
    from: At,
    /// The running checksum there.
    crc: u32,
    behind: Behind<'a>,
}

impl<'a> Collector<'a> {
    /// Adds what was read of a segment from its beginning; false when it is another member's.
    fn add_segment(&mut self, name: SegmentName, number: u32, read: &Read<'a>) -> bool {
        if self.is_foreign(read) {
            return false;
        }
        let Some(first) = read.first_crc else { return true };
        let to = At { segment: name, offset: 0 };
        let joins = self.crc != 0 && first == self.crc;
        if !joins && read.records <= 1 {
            // A checksum that nothing follows from is wrong itself.
            return true;
        }
        // The first gap is where the log ends; between later segments there is none where they join.
        if !joins || self.behind.gaps.is_empty() {
            self.add_gap(to, joins.then_some(0), None, read);
        }
        let records = read.records;
        self.add(read.clone(), Stretch { segment: number, recovered: None, offset: 0, records });
        self.from = At { segment: name, offset: read.end.offset() };
        self.crc = read.last_crc;
        true
    }

    /// Adds what is found of a segment at and behind `offset`. The next segment begins with the running checksum
    /// `goes_on`.
    fn add_rest(
        &mut self,
        segment: &Segment<'a>,
        number: u32,
        (offset, unreadable): (u64, bool),
        goes_on: Option<u32>,
    ) {
        let Ok(mut at) = usize::try_from(offset) else { return };
        let place = |at: usize| At { segment: segment.name, offset: at as u64 };
        // A wrong count of padding leads beside the next frame.
        let mut stopped = match unreadable {
            true => Stopped::Unreadable,
            false if at.is_multiple_of(8) => Stopped::Wrong,
            false => Stopped::Beside,
        };
        at = at / 8 * 8;
        let mut search = Search::new(segment.bytes, at);
        loop {
            let mut read = Read::default();
            let mut gap = Piece { to: at, lost: None };
            let mut stretch = Stretch { segment: number, recovered: None, offset: 0, records: 0 };
            let recovered = match stopped {
                Stopped::Wrong => search.recover(at, self.crc, goes_on),
                Stopped::Unreadable | Stopped::Beside | Stopped::Foreign => None,
            };
            let first = if let Some(found) = recovered
                && read.add(&found.record(), number).is_ok()
            {
                self.crc = found.crc;
                gap = Piece { to: found.next, lost: Some(0) };
                stretch.recovered = Some(found.record());
                search.chained(found.next, self.crc)
            } else {
                let (first, lost) = self.goes_on(&mut search, at, stopped, goes_on);
                gap.lost = lost;
                first
            };
            (at, stopped) = match first {
                Some(first) => {
                    gap.to = first.start;
                    self.follow(&mut search, &mut read, first, number)
                }
                None if stretch.recovered.is_some() => (gap.to, Stopped::Wrong),
                None => break,
            };
            if self.is_foreign(&read) {
                stopped = Stopped::Foreign;
                continue;
            }
            if read.records == 0 {
                continue;
            }
            self.add_gap(place(gap.to), gap.lost, stretch.recovered.map(|found| found.kind), &read);
            stretch.offset = gap.to as u64;
            stretch.records = read.records - u64::from(stretch.recovered.is_some());
            self.add(read, stretch);
            self.from = place(at);
        }
    }

    /// The next whole record at or behind `at`, and how many entries are lost before it where that is certain.
    fn goes_on(
        &self,
        search: &mut Search<'a>,
        at: usize,
        stopped: Stopped,
        goes_on: Option<u32>,
    ) -> (Option<Found<'a>>, Option<u64>) {
        let chained = match stopped {
            Stopped::Wrong => match search.behind_frame(at, self.crc, goes_on) {
                Some((found, only)) => {
                    return (Some(found), only.filter(|kind| *kind != Kind::ENTRY).map(|_| 0));
                }
                None => return (search.next(at.saturating_add(8), goes_on), None),
            },
            Stopped::Foreign => None,
            Stopped::Unreadable => search.chained(at, self.crc).map(|found| (found, None)),
            Stopped::Beside => {
                let next = search.chained(at, self.crc);
                let next = next.or_else(|| search.chained(at.saturating_add(8), self.crc));
                next.map(|found| (found, Some(0)))
            }
        };
        match chained {
            Some((found, lost)) => (Some(found), lost),
            None => (search.next(at, goes_on), None),
        }
    }

    /// Reads records from `record` on, as far as each proves the next. Tells where they end, and how.
    fn follow(
        &mut self,
        search: &mut Search<'a>,
        read: &mut Read<'a>,
        mut record: Found<'a>,
        segment: u32,
    ) -> (usize, Stopped) {
        loop {
            self.crc = record.crc;
            if read.add(&record.record(), segment).is_err() {
                return (record.next, Stopped::Unreadable);
            }
            match search.chained(record.next, record.crc) {
                Some(next) => record = next,
                None => return (record.next, Stopped::Wrong),
            }
        }
    }

    fn is_foreign(&self, read: &Read<'a>) -> bool {
        let other = self.own.zip(read.metadata).is_some_and(|(own, found)| own != found);
        other || read.conflict.is_some()
    }

    fn add_gap(&mut self, to: At, lost: Option<u64>, recovered: Option<Kind>, read: &Read<'a>) {
        let between = || {
            let first = read.entries.first()?.entry.index;
            first.checked_sub(self.last_index?)?.checked_sub(1).filter(|lost| *lost > 0)
        };
        let lost = lost.or_else(between);
        self.behind.gaps.push(Gap {
            from: self.from,
            to,
            entries_before: self.behind.entries.len(),
            stretches_before: self.behind.stretches.len(),
            lost,
            recovered,
        });
    }

    fn add(&mut self, read: Read<'a>, stretch: Stretch<'a>) {
        self.behind.stretches.push(stretch);
        if self.own.is_none() {
            self.own = read.metadata;
            self.behind.metadata = read.metadata;
        }
        let last = read.entries.last().map(|last| last.entry.index);
        self.last_index = last.or(self.last_index);
        self.behind.records = self.behind.records.saturating_add(read.records);
        self.behind.entries.extend(read.entries);
        self.behind.hard_state = read.hard_state.or(self.behind.hard_state);
        self.behind.snapshots.extend(read.snapshots);
    }
}

/// Why reading stopped at a place.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Stopped {
    /// What stands there is no record that goes on from what is before.
    Wrong,
    /// The record before is proven, and is not the message that its kind says.
    Unreadable,
    /// It is not where a frame starts.
    Beside,
    /// The records before are another member's.
    Foreign,
}

/// What is between two places with whole records.
struct Piece {
    to: usize,
    lost: Option<u64>,
}
