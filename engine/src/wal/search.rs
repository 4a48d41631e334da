//! Finds whole records behind a place where reading stopped, in time linear in the segment.
//!
//! A reader goes from frame to frame; once a frame is wrong nothing says where the next one starts. The search tries
//! every multiple of 8. It looks only for records in the one form that servers write, which a few bytes at the front
//! decide, and it trusts two in a row whose checksums chain: by accident that happens once in 2^80 places. Checksums of
//! long records come from running sums over the segment, so that bytes which look like a record at every place cost no
//! more than others.

use std::ops::Range;

use super::frame::{self, Frame};
use super::{Kind, Record};
use crate::crc32c;
use crate::raw::Raw;

/// Bytes of a length word.
const WORD: usize = 8;
/// Bytes between two running sums.
const STEP: usize = 1024;
/// Bytes of data whose checksum is computed at once, without running sums.
const SHORT: usize = 4096;
/// A record in the form servers write: type, checksum, data, nothing else.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Found<'a> {
    /// Where its length word is.
    pub start: usize,
    /// What its data is.
    pub kind: Kind,
    /// The checksum it carries.
    pub crc: u32,
    /// Its data; absent in crc records.
    pub data: Option<&'a [u8]>,
    /// Where the data begins.
    data_start: usize,
    /// Where the next frame starts.
    pub next: usize,
}

impl<'a> Found<'a> {
    /// The record.
    pub fn record(&self) -> Record<'a> {
        let Self { start, kind, crc, data, .. } = *self;
        Record { offset: start as u64, kind, crc, data }
    }
}

/// The front of a record, up to its data.
struct Header {
    kind: Kind,
    crc: u32,
    /// Where its data is, from the start of the record.
    data: Option<Range<usize>>,
}

impl Header {
    /// Reads the front of a record as servers write it.
    fn read(body: &[u8]) -> Option<Self> {
        let [0x08, kind @ 1..=5, 0x10, rest @ ..] = body else { return None };
        let (crc, crc_len) = varint(rest)?;
        let at = crc_len.checked_add(3)?;
        let (kind, crc) = (Kind(i64::from(*kind)), u32::try_from(crc).ok()?);
        let [0x1a, rest @ ..] = body.get(at..)? else {
            return Some(Self { kind, crc, data: None });
        };
        let (len, len_len) = varint(rest)?;
        let start = at.checked_add(1)?.checked_add(len_len)?;
        let end = start.checked_add(usize::try_from(len).ok()?)?;
        Some(Self { kind, crc, data: Some(start..end) })
    }
}

/// A variable-length integer at the front of `bytes`, and how many bytes it takes.
fn varint(bytes: &[u8]) -> Option<(u64, usize)> {
    let mut value = 0u64;
    for (at, byte) in bytes.iter().take(9).enumerate() {
        value |= u64::from(byte & 0x7f) << (7 * at);
        if byte & 0x80 == 0 {
            return Some((value, at + 1));
        }
    }
    None
}

/// Where the data of a record can begin whose front is wrong in one field, by the length of its checksum.
fn fronts(body: &[u8]) -> impl Iterator<Item = usize> {
    /// Bytes of a checksum that is written as a variable-length integer.
    const CHECKSUM: std::ops::RangeInclusive<usize> = 1..=5;
    CHECKSUM.filter_map(move |crc_len| {
        let key_at = crc_len.checked_add(3)?;
        let left = body.len().checked_sub(key_at)?.checked_sub(1)?;
        let (data_len, len_len) = (1..=5).find_map(|len_len| {
            let data_len = left.checked_sub(len_len)?;
            let bits = usize::BITS.checked_sub(data_len.leading_zeros())?.max(1);
            (usize::try_from(bits).ok()?.div_ceil(7) == len_len).then_some((data_len, len_len))
        })?;
        let front = key_at.checked_add(1)?.checked_add(len_len)?;
        let (before, length) = (body.get(..key_at)?, body.get(key_at..front)?);
        let is_length = match length {
            [0x1a, len @ ..] => varint(len) == Some((data_len as u64, len_len)),
            _ => false,
        };
        let is_before = match before {
            [0x08, 1..=5, 0x10, crc @ ..] => varint(crc).is_some_and(|(_, len)| len == crc_len),
            _ => false,
        };
        (is_length || is_before).then_some(front)
    })
}

/// A segment in which records are searched for.
pub(super) struct Search<'a> {
    segment: &'a [u8],
    /// Where the search begins; nothing before it is asked for.
    from: usize,
    /// Checksum of the bytes from `from` on, up to each multiple of [`STEP`] behind it; made when it is first needed.
    sums: Vec<u32>,
}

impl<'a> Search<'a> {
    /// A search of the part of `segment` that begins at `from`.
    pub fn new(segment: &'a [u8], from: usize) -> Self {
        Self { segment, from, sums: Vec::new() }
    }

    /// The record whose frame is at `start`.
    pub fn at(&self, start: usize) -> Option<Found<'a>> {
        let word = Raw::new(self.segment).u64_le(start)?;
        let len = usize::try_from(frame::length(word)).ok()?;
        if word == 0 || word != frame::word(len) {
            return None;
        }
        let body_start = start.checked_add(WORD)?;
        let end = body_start.checked_add(len)?;
        let next = end.checked_next_multiple_of(WORD)?;
        if next > self.segment.len() {
            return None;
        }
        let header = Header::read(self.segment.get(body_start..end)?)?;
        self.found(start, body_start, header, Some(len), next)
    }

    fn found(
        &self,
        start: usize,
        body_start: usize,
        header: Header,
        len: Option<usize>,
        next: usize,
    ) -> Option<Found<'a>> {
        let Header { kind, crc, data } = header;
        let data_start = body_start.checked_add(data.as_ref().map_or(0, |data| data.start))?;
        let data = match data {
            None => None,
            Some(data) if len.is_none_or(|len| data.end == len) => {
                Some(self.segment.get(data_start..body_start.checked_add(data.end)?)?)
            }
            Some(_) => return None,
        };
        Some(Found { start, kind, crc, data, data_start, next })
    }

    /// The record at `start` although its length word or its front is wrong, where its data is proven: by its own
    /// checksum, or by that of the record behind it. `crc` is the running checksum before it.
    pub fn recover(&mut self, start: usize, crc: u32, goes_on: Option<u32>) -> Option<Found<'a>> {
        let found = self.recover_by_front(start, crc, goes_on);
        found.or_else(|| self.recover_by_length(start, crc, goes_on))
    }

    /// As the front of the record says, whatever its length word.
    fn recover_by_front(
        &mut self,
        start: usize,
        crc: u32,
        goes_on: Option<u32>,
    ) -> Option<Found<'a>> {
        let body_start = start.checked_add(WORD)?;
        let header = Header::read(self.segment.get(body_start..)?)?;
        if header.data.is_none() && header.kind != Kind::CRC {
            return None;
        }
        let end = header.data.as_ref().map_or(WORD, |data| data.end);
        let next = body_start.checked_add(end)?.checked_next_multiple_of(WORD)?;
        if next > self.segment.len() {
            return None;
        }
        let found = self.found(start, body_start, header, None, next)?;
        // A log whose first segments were deleted begins with a checksum that nothing before it gives.
        let begins = found.kind == Kind::CRC && crc == 0;
        let computed = if begins { found.crc } else { self.running(crc, &found) };
        let proven = (computed == found.crc && !begins) || self.leads_on(next, computed, goes_on);
        proven.then_some(Found { crc: computed, ..found })
    }

    /// As its length word says, whatever stands before its data.
    fn recover_by_length(
        &mut self,
        start: usize,
        crc: u32,
        goes_on: Option<u32>,
    ) -> Option<Found<'a>> {
        let Frame::Whole { body, next, .. } = frame::read(self.segment, start as u64) else {
            return None;
        };
        let next = usize::try_from(next).ok().filter(|next| next.is_multiple_of(WORD))?;
        let kind = match body {
            [0x08, kind @ 1..=5, ..] => Kind(i64::from(*kind)),
            _ => Kind::ENTRY,
        };
        // Most damage finds no record where the frame ends; all else costs more.
        if self.at(next).is_none() && !(goes_on.is_some() && self.is_end(next)) {
            return None;
        }
        fronts(body).find_map(|front| {
            let data_start = start.checked_add(WORD)?.checked_add(front)?;
            let data = Some(body.get(front..)?);
            let found = Found { start, kind, crc, data, data_start, next };
            let crc = self.running(crc, &found);
            self.leads_on(next, crc, goes_on).then_some(Found { crc, ..found })
        })
    }

    /// The first record at or behind `start` that the record behind it proves, or, where it is the last of the
    /// segment, the segment behind it, which begins with the running checksum `goes_on`.
    pub fn next(&mut self, start: usize, goes_on: Option<u32>) -> Option<Found<'a>> {
        let mut at = start.checked_next_multiple_of(WORD)?;
        while let Some(rest) = self.segment.get(at..) {
            if rest.len() < WORD {
                return None;
            }
            let zeros = leading_zeros(rest);
            if zeros >= WORD {
                at += zeros / WORD * WORD;
                continue;
            }
            if let Some(found) = self.at(at)
                && let Some(found) = self.proven(found, goes_on)
            {
                return Some(found);
            }
            at += WORD;
        }
        None
    }

    /// The record at `start`, when it goes on from the running checksum `crc`.
    pub fn chained(&mut self, start: usize, crc: u32) -> Option<Found<'a>> {
        let found = self.at(start)?;
        (self.running(crc, &found) == found.crc).then_some(found)
    }

    /// The record behind the frame at `start`, whose own length is right, and what the record in that frame is, where
    /// its front says so and its data is wrong.
    pub fn behind_frame(
        &mut self,
        start: usize,
        crc: u32,
        goes_on: Option<u32>,
    ) -> Option<(Found<'a>, Option<Kind>)> {
        let Frame::Whole { body, next, .. } = frame::read(self.segment, start as u64) else {
            return None;
        };
        let next = usize::try_from(next).ok()?;
        // What changes no checksum is a crc record; all others have data.
        if let Some(found) = self.chained(next, crc) {
            return Some((found, Some(Kind::CRC)));
        }
        let found = self.at(next)?;
        let kind = Header::read(body).map(|header| header.kind);
        let proven = self.proven(found, goes_on)?;
        Some((proven, kind.filter(|_| proven == found)))
    }

    /// `found`, when what stands behind it goes on from it. What that proves is the checksum it carries and all behind
    /// it; where a sector of it is zeros, which a crash leaves in several places, the record behind it is given.
    fn proven(&mut self, found: Found<'a>, goes_on: Option<u32>) -> Option<Found<'a>> {
        if !self.leads_on(found.next, found.crc, goes_on) {
            return None;
        }
        let padded = self.segment.get(found.start.checked_add(WORD)?..found.next)?;
        if frame::is_torn(found.start as u64, padded) {
            return self.chained(found.next, found.crc);
        }
        Some(found)
    }

    /// Whether a record at `start`, or the next segment, goes on from the running checksum `crc`.
    fn leads_on(&mut self, start: usize, crc: u32, goes_on: Option<u32>) -> bool {
        self.chained(start, crc).is_some() || goes_on == Some(crc) && self.is_end(start)
    }

    /// Whether the segment's records end at `at`.
    pub fn is_end(&self, at: usize) -> bool {
        match self.segment.get(at..) {
            None | Some([]) => true,
            Some(rest) => rest.len() >= WORD && leading_zeros(rest) >= WORD,
        }
    }

    /// The running checksum at the end of `record`, when it is `crc` before it.
    pub fn running(&mut self, crc: u32, record: &Found<'a>) -> u32 {
        match record.data {
            None => crc,
            Some(data) if data.len() <= SHORT || record.data_start < self.from => {
                crc32c::extend(crc, data)
            }
            Some(data) => {
                let before = self.sum_to(record.data_start);
                let behind = self.sum_to(record.data_start + data.len());
                // `behind` covers the data and what `before` covers; checksums are linear, so the latter drops out.
                crc32c::combine(crc ^ before, behind, data.len() as u64)
            }
        }
    }

    /// Checksum of the bytes from where the search begins up to `end`.
    fn sum_to(&mut self, end: usize) -> u32 {
        let bytes = self.segment.get(self.from..).unwrap_or_default();
        if self.sums.is_empty() {
            let mut sum = 0;
            self.sums.push(sum);
            for chunk in bytes.chunks_exact(STEP) {
                sum = crc32c::extend(sum, chunk);
                self.sums.push(sum);
            }
        }
        let len = end.saturating_sub(self.from).min(bytes.len());
        let sum = self.sums.get(len / STEP).copied().unwrap_or_default();
        crc32c::extend(sum, bytes.get(len / STEP * STEP..len).unwrap_or_default())
    }
}

/// How many bytes of zeros `bytes` begin with, rounded down to words.
pub(super) fn leading_zeros(bytes: &[u8]) -> usize {
    const FEW: usize = 64 * WORD;
    const PIECE: usize = 4096;
    let zeros = |piece: &&[u8]| piece.iter().fold(0, |any, byte| any | byte) == 0;
    let words = |from: usize, most: usize| {
        let words = bytes.get(from..).unwrap_or_default().chunks_exact(WORD);
        words.take(most / WORD).take_while(zeros).count() * WORD
    };
    let few = words(0, FEW);
    if few < FEW {
        return few;
    }
    let pieces = bytes.chunks_exact(PIECE).take_while(zeros).count() * PIECE;
    pieces + words(pieces, PIECE)
}
