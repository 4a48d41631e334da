//! Writing records.

use prost::Message;

use super::{Kind, frame};
use crate::crc32c;
use crate::pb::{etcdserverpb, raftpb, walpb};

/// Writes records behind each other, carrying the running checksum as etcd does.
#[derive(Clone, Debug, Default)]
pub struct Encoder {
    out: Vec<u8>,
    crc: u32,
}

impl Encoder {
    /// Begins a segment with its crc record. `crc` is the running value of the segment before, 0 in the
    /// first.
    pub fn new(crc: u32) -> Self {
        let mut encoder = Self { out: Vec::new(), crc };
        encoder.record(Kind::CRC, None);
        encoder
    }

    /// Says whose log this is.
    pub fn metadata(&mut self, metadata: &etcdserverpb::Metadata) {
        self.record(Kind::METADATA, Some(&metadata.encode_to_vec()));
    }

    /// Adds an entry.
    pub fn entry(&mut self, entry: &raftpb::Entry) {
        self.record(Kind::ENTRY, Some(&entry.encode_to_vec()));
    }

    /// Adds a hard state.
    pub fn state(&mut self, state: &raftpb::HardState) {
        self.record(Kind::STATE, Some(&state.encode_to_vec()));
    }

    /// Marks a snapshot.
    pub fn snapshot(&mut self, snapshot: &walpb::Snapshot) {
        self.record(Kind::SNAPSHOT, Some(&snapshot.encode_to_vec()));
    }

    /// The bytes of the segment, without the zeros a server allocates behind them, and the running
    /// checksum a next segment begins with.
    pub fn finish(self) -> (Vec<u8>, u32) {
        (self.out, self.crc)
    }

    fn record(&mut self, kind: Kind, data: Option<&[u8]>) {
        self.crc = crc32c::extend(self.crc, data.unwrap_or_default());
        let record = walpb::Record {
            r#type: Some(kind.0),
            crc: Some(self.crc),
            data: data.map(<[u8]>::to_vec),
        };
        frame::write(&mut self.out, &record.encode_to_vec());
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::wal::{End, Payload, records};

    #[test]
    fn what_is_written_is_read_back() {
        let metadata = etcdserverpb::Metadata { node_id: Some(7), cluster_id: Some(0) };
        let entry = raftpb::Entry { r#type: Some(0), term: Some(2), index: Some(3), data: None };
        let state = raftpb::HardState { term: Some(2), vote: Some(0), commit: Some(3) };
        let snapshot = walpb::Snapshot { index: Some(0), term: Some(0), conf_state: None };
        let mut encoder = Encoder::new(0);
        encoder.metadata(&metadata);
        encoder.snapshot(&snapshot);
        encoder.entry(&entry);
        encoder.state(&state);
        let (bytes, crc) = encoder.finish();

        let mut records = records(&bytes);
        let payloads: Vec<Payload> =
            records.by_ref().map(|record| record.unwrap().payload().unwrap()).collect();
        let expected = [
            Payload::Crc,
            Payload::Metadata(metadata),
            Payload::Snapshot(snapshot),
            Payload::Entry(entry),
            Payload::State(state),
        ];
        assert_eq!(payloads, expected);
        assert_eq!(records.end(), Some(End::Clean { offset: bytes.len() as u64 }));
        assert_eq!(records.crc(), crc);
    }

    #[test]
    fn a_fresh_log_begins_as_etcds_does() {
        assert_eq!(Encoder::new(0).finish().0, b"\x04\0\0\0\0\0\0\x84\x08\x04\x10\0\0\0\0\0");
    }
}
