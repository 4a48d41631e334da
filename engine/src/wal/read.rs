//! What one segment holds.

use super::{End, Error, Kind, LoggedEntry, Payload, Record, Records, Tail, frame};
use crate::pb::{etcdserverpb::Metadata, raftpb::HardState, walpb::Snapshot, wire::EntryRef};
use crate::raw::Raw;

/// From this length on, its length word and its padding included, a server of 3.4 refuses a record.
const OVERSIZED_BYTES: u64 = (10 << 20) + frame::WORD_BYTES;

/// What one segment holds.
#[derive(Clone, Debug)]
pub(super) struct Read<'a> {
    pub metadata: Option<Metadata>,
    pub hard_state: Option<HardState>,
    pub first_state: Option<HardState>,
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
    pub error: Option<Error>,
    /// Whether the record at the end has the right checksum, and is not the message that its kind says.
    pub unreadable: bool,
    /// Where what could follow starts: `end`, or the end of the unreadable record there.
    pub rest: u64,
    /// The first record that is too long for 3.4: where it starts and its length.
    pub oversized: Option<(u64, u64)>,
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
            unreadable: false,
            rest: 0,
            oversized: None,
        }
    }
}

impl<'a> Read<'a> {
    /// Reads a segment from its beginning; `segment` is its number in the log.
    pub fn of(bytes: &'a [u8], segment: u32, tail: Tail) -> Self {
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
                    // A record without data proves nothing.
                    read.unreadable = record.data.is_some_and(|data| !data.is_empty());
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
        read.rest = if read.unreadable { records.offset() } else { read.end.offset() };
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
