//! Records, one after the other, with the running checksum.

use std::fmt;

use prost::Message;

use super::frame::{self, Frame};
use super::{Encoder, Error};
use crate::crc32c;
use crate::pb::wire::RecordRef;
use crate::pb::{etcdserverpb, raftpb, walpb};

/// What a record's data is; etcd's `type`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Kind(pub i64);

impl Kind {
    /// Whose log this is: an [`etcdserverpb::Metadata`].
    pub const METADATA: Self = Self(1);
    /// A [`raftpb::Entry`].
    pub const ENTRY: Self = Self(2);
    /// A [`raftpb::HardState`].
    pub const STATE: Self = Self(3);
    /// No data: the record carries the running checksum into a segment.
    pub const CRC: Self = Self(4);
    /// The mark of a snapshot: a [`walpb::Snapshot`].
    pub const SNAPSHOT: Self = Self(5);
}

impl fmt::Display for Kind {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match *self {
            Self::METADATA => f.write_str("metadata"),
            Self::ENTRY => f.write_str("entry"),
            Self::STATE => f.write_str("state"),
            Self::CRC => f.write_str("crc"),
            Self::SNAPSHOT => f.write_str("snapshot"),
            Self(other) => write!(f, "{other}"),
        }
    }
}

/// A record whose checksum is right.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Record<'a> {
    /// Where its length word is, from the start of the segment.
    pub offset: u64,
    /// What `data` is.
    pub kind: Kind,
    /// Running checksum up to and including this record.
    pub crc: u32,
    /// The encoded message; absent in crc records.
    pub data: Option<&'a [u8]>,
}

/// A record's decoded data.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Payload {
    /// Whose log this is.
    Metadata(etcdserverpb::Metadata),
    /// An entry of the raft log.
    Entry(raftpb::Entry),
    /// The hard state from here on.
    State(raftpb::HardState),
    /// The running checksum of the segment before.
    Crc,
    /// A snapshot was made here, or received.
    Snapshot(walpb::Snapshot),
}

impl Record<'_> {
    /// Decodes the data.
    ///
    /// # Errors
    /// When the kind is unknown, or the data is not the message it says.
    pub fn payload(&self) -> Result<Payload, Error> {
        let data = self.data.unwrap_or_default();
        let (offset, kind) = (self.offset, self.kind);
        match kind {
            Kind::METADATA => etcdserverpb::Metadata::decode(data).map(Payload::Metadata),
            Kind::ENTRY => raftpb::Entry::decode(data).map(Payload::Entry),
            Kind::STATE => raftpb::HardState::decode(data).map(Payload::State),
            Kind::CRC => return Ok(Payload::Crc),
            Kind::SNAPSHOT => walpb::Snapshot::decode(data).map(Payload::Snapshot),
            _ => return Err(Error::UnknownKind { offset, kind }),
        }
        .map_err(|source| Error::Message { offset, kind, source })
    }
}

/// How the reading of a segment ended. Offsets are from the start of the segment.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum End {
    /// Behind a whole record; what follows was never written.
    Clean {
        /// The end of the last record.
        offset: u64,
    },
    /// Inside a record whose write a crash cut short. No client was told of it by this member.
    Torn {
        /// Where the torn record starts: a repair cuts here.
        offset: u64,
    },
    /// At a record that is wrong; the iterator's last item says how.
    Damaged {
        /// Where that record starts.
        offset: u64,
    },
}

impl End {
    /// Where reading ended.
    pub fn offset(self) -> u64 {
        match self {
            Self::Clean { offset } | Self::Torn { offset } | Self::Damaged { offset } => offset,
        }
    }
}

/// Whether more segments follow the one that is read.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Tail {
    /// The last segment: a wrong record with a sector of zeros was torn by a crash.
    Newest,
    /// An earlier segment: whatever is wrong is damage.
    Closed,
}

/// The records of one segment. Ends after the first error.
#[derive(Clone, Debug)]
pub struct Records<'a> {
    segment: &'a [u8],
    tail: Tail,
    offset: u64,
    crc: u32,
    end: Option<End>,
}

/// The records of a segment that is the newest of its log, or the only one.
pub fn records(segment: &[u8]) -> Records<'_> {
    Records::new(segment, 0, Tail::Newest)
}

impl<'a> Records<'a> {
    /// The records of a whole segment file. `crc` is the running checksum at the end of the segment
    /// before, or 0 when that is not known or there is none: the segment's own value is taken then.
    pub fn new(segment: &'a [u8], crc: u32, tail: Tail) -> Self {
        Self { segment, tail, offset: 0, crc, end: None }
    }

    /// How reading ended; `None` before the iterator has.
    pub fn end(&self) -> Option<End> {
        self.end
    }

    /// Where the last record given out ends, its padding included.
    pub fn offset(&self) -> u64 {
        self.offset
    }

    /// Running checksum behind the last record given out.
    pub fn crc(&self) -> u32 {
        self.crc
    }

    /// An encoder that goes on where this segment ends, as a next segment.
    pub fn next_segment(&self) -> Encoder {
        Encoder::new(self.crc)
    }

    fn read(&self, body: &'a [u8]) -> Result<Record<'a>, Error> {
        let offset = self.offset;
        let record =
            RecordRef::decode(body).map_err(|source| Error::Envelope { offset, source })?;
        let kind = Kind(record.r#type);
        let computed = match kind {
            // A reader that starts here has nothing to compare with and takes the value as it is.
            Kind::CRC if self.crc == 0 => record.crc,
            Kind::CRC => self.crc,
            _ => crc32c::extend(self.crc, record.data.unwrap_or_default()),
        };
        if computed != record.crc {
            return Err(Error::Checksum { offset, stored: record.crc, computed });
        }
        Ok(Record { offset, kind, crc: record.crc, data: record.data })
    }

    /// Whether etcd takes this error for the trace of a crash. A crc record is compared later than the
    /// others and never is.
    fn excused(&self, error: &Error, body: &[u8], padded: &[u8]) -> bool {
        let is_crc = matches!(error, Error::Checksum { .. })
            && RecordRef::decode(body).is_ok_and(|record| Kind(record.r#type) == Kind::CRC);
        self.tail == Tail::Newest && !is_crc && frame::is_torn(self.offset, padded)
    }
}

impl<'a> Iterator for Records<'a> {
    type Item = Result<Record<'a>, Error>;

    fn next(&mut self) -> Option<Self::Item> {
        if self.end.is_some() {
            return None;
        }
        let offset = self.offset;
        let (body, padded, next) = match frame::read(self.segment, offset) {
            Frame::Whole { body, padded, next } => (body, padded, next),
            Frame::End => {
                self.end = Some(End::Clean { offset });
                return None;
            }
            Frame::Incomplete => {
                self.end = Some(End::Torn { offset });
                return None;
            }
        };
        match self.read(body) {
            Ok(record) => {
                self.offset = next;
                self.crc = record.crc;
                Some(Ok(record))
            }
            Err(error) if self.excused(&error, body, padded) => {
                self.end = Some(End::Torn { offset });
                None
            }
            Err(error) => {
                self.end = Some(End::Damaged { offset });
                Some(Err(error))
            }
        }
    }
}

/// Whose log a segment belongs to: its first metadata record. `None` when the segment ends before one.
///
/// # Errors
/// When a record before it, or its data, is damaged.
pub fn metadata(segment: &[u8]) -> Result<Option<etcdserverpb::Metadata>, Error> {
    for record in records(segment) {
        let record = record?;
        if record.kind == Kind::METADATA
            && let Payload::Metadata(metadata) = record.payload()?
        {
            return Ok(Some(metadata));
        }
    }
    Ok(None)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn entry(index: u64, data: Vec<u8>) -> raftpb::Entry {
        raftpb::Entry { r#type: Some(0), term: Some(1), index: Some(index), data: Some(data) }
    }

    /// A segment of a crc record, metadata and three entries, and where each record starts.
    fn segment(crc: u32) -> (Vec<u8>, Vec<u64>) {
        let mut encoder = Encoder::new(crc);
        encoder.metadata(&etcdserverpb::Metadata { node_id: Some(9), cluster_id: Some(8) });
        encoder.entry(&entry(1, vec![1; 10]));
        encoder.entry(&entry(2, vec![2; 2000]));
        encoder.entry(&entry(3, vec![3; 10]));
        let (bytes, _) = encoder.finish();
        let offsets = records(&bytes).map(|record| record.unwrap().offset).collect();
        (bytes, offsets)
    }

    /// How many records are read, how the reading ends, and the error if there is one.
    fn outcome(mut records: Records<'_>) -> (usize, Option<End>, Option<Error>) {
        let mut whole = 0;
        let mut error = None;
        for record in records.by_ref() {
            assert_eq!(error, None, "nothing comes after an error");
            match record {
                Ok(_) => whole += 1,
                Err(found) => error = Some(found),
            }
        }
        (whole, records.end(), error)
    }

    #[test]
    fn zeros_behind_the_last_record_are_a_clean_end() {
        let (mut bytes, _) = segment(0);
        let offset = bytes.len() as u64;
        bytes.resize(bytes.len() + 4096, 0);
        assert_eq!(outcome(records(&bytes)), (5, Some(End::Clean { offset }), None));
    }

    #[test]
    fn a_segment_cut_inside_a_record_is_torn_there_and_cut_between_records_is_clean() {
        let (bytes, offsets) = segment(0);
        for len in 0..bytes.len() {
            let whole = offsets.iter().filter(|&&offset| offset < len as u64).count();
            let (count, end, error) = outcome(records(&bytes[..len]));
            assert_eq!(error, None);
            match end {
                Some(End::Clean { offset }) => assert_eq!((count, offset), (whole, len as u64)),
                Some(End::Torn { offset }) => {
                    assert_eq!((count + 1, offset), (whole, offsets[whole - 1]));
                }
                other => panic!("cut at {len}: {other:?}"),
            }
        }
    }

    #[test]
    fn a_flipped_byte_of_data_is_a_wrong_checksum_at_its_record() {
        let (mut bytes, offsets) = segment(0);
        let last = bytes.len() - 8;
        bytes[last] ^= 1;
        let (count, end, error) = outcome(records(&bytes));
        assert_eq!((count, end), (4, Some(End::Damaged { offset: offsets[4] })));
        assert!(matches!(error, Some(Error::Checksum { offset, .. }) if offset == offsets[4]));
    }

    #[test]
    fn a_sector_of_zeros_is_torn_in_the_newest_segment_and_damage_in_a_closed_one() {
        let (mut bytes, offsets) = segment(0);
        bytes[512..1024].fill(0);
        let torn = End::Torn { offset: offsets[3] };
        assert_eq!(outcome(records(&bytes)), (3, Some(torn), None));
        let (count, end, error) = outcome(Records::new(&bytes, 0, Tail::Closed));
        assert_eq!((count, end), (3, Some(End::Damaged { offset: offsets[3] })));
        assert!(matches!(error, Some(Error::Checksum { .. })));
    }

    #[test]
    fn zeros_within_one_sector_are_damage() {
        let (mut bytes, offsets) = segment(0);
        let start = usize::try_from(offsets[4]).unwrap() + 12;
        bytes[start..start + 12].fill(0);
        let (count, end, error) = outcome(records(&bytes));
        assert_eq!((count, end), (4, Some(End::Damaged { offset: offsets[4] })));
        assert!(error.is_some());
    }

    #[test]
    fn a_wrong_crc_record_is_damage_even_with_a_sector_of_zeros() {
        let (mut bytes, _) = Encoder::new(7).finish();
        let crc_record = walpb::Record { r#type: Some(4), crc: Some(8), data: Some(vec![0; 2000]) };
        frame::write(&mut bytes, &crc_record.encode_to_vec());
        let error = Error::Checksum { offset: 16, stored: 8, computed: 7 };
        let end = Some(End::Damaged { offset: 16 });
        assert_eq!(outcome(records(&bytes)), (1, end, Some(error)));
    }

    #[test]
    fn segments_chain_by_the_running_checksum() {
        let (first, _) = segment(0);
        let mut reader = records(&first);
        assert_eq!(reader.by_ref().filter(Result::is_ok).count(), 5);
        let (second, _) = segment(reader.crc());
        let good = Some(End::Clean { offset: second.len() as u64 });
        assert_eq!(outcome(Records::new(&second, reader.crc(), Tail::Newest)), (5, good, None));
        // Read on its own a segment takes its own value.
        assert_eq!(outcome(records(&second)), (5, good, None));
        let (count, end, error) = outcome(Records::new(&second, 1, Tail::Newest));
        assert_eq!((count, end), (0, Some(End::Damaged { offset: 0 })));
        let crc = reader.crc();
        assert_eq!(error, Some(Error::Checksum { offset: 0, stored: crc, computed: 1 }));
        let (next, _) = reader.next_segment().finish();
        assert_eq!(records(&next).next().unwrap().unwrap().crc, crc);
    }

    #[test]
    fn the_first_metadata_record_says_whose_log_it_is() {
        let (bytes, _) = segment(0);
        let expected = etcdserverpb::Metadata { node_id: Some(9), cluster_id: Some(8) };
        assert_eq!(metadata(&bytes), Ok(Some(expected)));
        assert_eq!(metadata(&bytes[..16]), Ok(None));
        assert_eq!(metadata(&[]), Ok(None));
        let mut damaged = bytes;
        damaged[32] ^= 0xff;
        assert!(metadata(&damaged).is_err());
    }

    #[test]
    fn an_unknown_kind_is_given_out_and_cannot_be_decoded() {
        let mut bytes = Vec::new();
        frame::write(&mut bytes, b"\x08\x09");
        let record = records(&bytes).next().unwrap().unwrap();
        let expected = Error::UnknownKind { offset: 0, kind: Kind(9) };
        assert_eq!(record.payload(), Err(expected));
        assert_eq!(Kind(9).to_string(), "9");
    }
}
