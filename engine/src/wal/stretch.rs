//! Stretches of whole records, whose checksums need not be computed again.

use super::frame::{self, Frame};
use super::{Kind, Record, Segment};
use crate::pb::wire::RecordRef;

/// Whole records behind one another in a segment.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Stretch<'a> {
    /// Which of the log's segments, from 0.
    pub segment: u32,
    /// The record before them whose length word or checksum is wrong, where its data is proven.
    pub recovered: Option<Record<'a>>,
    /// Where the first of them starts that is all right, from the start of the segment.
    pub offset: u64,
    /// How many of them there are, `recovered` not counted.
    pub records: u64,
}

impl<'a> Stretch<'a> {
    /// The records, read again from the segments that the log was read from.
    pub fn records(&self, segments: &[Segment<'a>]) -> impl Iterator<Item = Record<'a>> + use<'a> {
        let bytes = usize::try_from(self.segment).ok().and_then(|at| segments.get(at));
        let bytes = bytes.map_or(&[][..], |segment| segment.bytes);
        let (mut offset, mut left) = (self.offset, self.records);
        let framed = std::iter::from_fn(move || {
            left = left.checked_sub(1)?;
            let Frame::Whole { body, next, .. } = frame::read(bytes, offset) else { return None };
            let record = RecordRef::decode(body).ok()?;
            let (kind, crc, data) = (Kind(record.r#type), record.crc, record.data);
            let record = Record { offset, kind, crc, data };
            offset = next;
            Some(record)
        });
        self.recovered.into_iter().chain(framed)
    }
}
