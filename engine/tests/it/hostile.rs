//! Danger: raft files come from dying disks and from strangers. Whatever the bytes, reading them must end,
//! without a panic, in at most one step for every eight bytes.

use etcdsnap_engine::pb::wire::{KeyValueRef, RecordRef};
use etcdsnap_engine::pb::{authpb, etcdserverpb, leasepb, mvccpb, raftpb, snappb, walpb};
use etcdsnap_engine::restore::{InitialCluster, PeerUrl};
use etcdsnap_engine::wal::{self, Records, Tail};
use etcdsnap_engine::{snapfile, wal::frame};
use proptest::collection::vec;
use proptest::prelude::*;
use prost::Message;

const LOG: &[u8] = include_bytes!("golden/member-3.5.wal");
const SNAPFILE: &[u8] = include_bytes!("golden/restored-three-3.6.snap");

/// Reads a segment in every way there is and counts the steps.
fn read_log(bytes: &[u8]) {
    for tail in [Tail::Newest, Tail::Closed] {
        for crc in [0, 1] {
            let mut records = Records::new(bytes, crc, tail);
            let mut steps = 0;
            for record in records.by_ref() {
                steps += 1;
                let _ = record.map(|record| record.payload());
            }
            assert!(records.end().is_some());
            assert!(records.next().is_none());
            assert!(steps <= bytes.len() / 8 + 1);
        }
    }
    let _ = wal::metadata(bytes);
}

fn decode_messages(bytes: &[u8]) {
    let _ = KeyValueRef::decode(bytes);
    let _ = RecordRef::decode(bytes);
    let _ = mvccpb::KeyValue::decode(bytes);
    let _ = leasepb::Lease::decode(bytes);
    let _ = authpb::User::decode(bytes);
    let _ = authpb::Role::decode(bytes);
    let _ = etcdserverpb::AlarmMember::decode(bytes);
    let _ = etcdserverpb::Metadata::decode(bytes);
    let _ = raftpb::Entry::decode(bytes);
    let _ = raftpb::HardState::decode(bytes);
    let _ = raftpb::Snapshot::decode(bytes);
    let _ = raftpb::ConfChange::decode(bytes);
    let _ = walpb::Record::decode(bytes);
    let _ = walpb::Snapshot::decode(bytes);
    let _ = snappb::Snapshot::decode(bytes);
}

/// One change of a file: bytes overwritten, cut off, inserted, or a run of zeros.
#[derive(Clone, Debug)]
enum Damage {
    Overwrite(prop::sample::Index, Vec<u8>),
    Cut(prop::sample::Index),
    Insert(prop::sample::Index, Vec<u8>),
    Zero(prop::sample::Index, usize),
}

fn damage() -> impl Strategy<Value = Damage> {
    let at = any::<prop::sample::Index>;
    prop_oneof![
        (at(), vec(any::<u8>(), 1..9)).prop_map(|(at, bytes)| Damage::Overwrite(at, bytes)),
        at().prop_map(Damage::Cut),
        (at(), vec(any::<u8>(), 1..20)).prop_map(|(at, bytes)| Damage::Insert(at, bytes)),
        (at(), 1usize..1500).prop_map(|(at, len)| Damage::Zero(at, len)),
    ]
}

fn damaged(original: &[u8], changes: &[Damage]) -> Vec<u8> {
    let mut bytes = original.to_vec();
    for change in changes {
        if bytes.is_empty() {
            break;
        }
        match change {
            Damage::Overwrite(at, with) => {
                let at = at.index(bytes.len());
                for (byte, with) in bytes[at..].iter_mut().zip(with) {
                    *byte = *with;
                }
            }
            Damage::Cut(at) => bytes.truncate(at.index(bytes.len())),
            Damage::Insert(at, with) => {
                let at = at.index(bytes.len());
                bytes.splice(at..at, with.iter().copied());
            }
            Damage::Zero(at, len) => {
                let at = at.index(bytes.len());
                let end = bytes.len().min(at + len);
                bytes[at..end].fill(0);
            }
        }
    }
    bytes
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(1500))]

    #[test]
    fn random_bytes_are_read_to_an_end(bytes in vec(any::<u8>(), 0..2000)) {
        read_log(&bytes);
        prop_assert!(snapfile::decode(&bytes).is_err());
        decode_messages(&bytes);
    }

    #[test]
    fn short_length_words_before_random_bytes_are_read_to_an_end(
        frames in vec((0u64..40, 0u8..=255, vec(any::<u8>(), 0..40)), 0..30)
    ) {
        let mut bytes = Vec::new();
        for (len, top, body) in frames {
            bytes.extend((len | u64::from(top) << 56).to_le_bytes());
            bytes.extend(body);
        }
        read_log(&bytes);
    }

    #[test]
    fn a_damaged_log_is_read_to_an_end_and_gives_no_record_that_was_never_written(
        changes in vec(damage(), 1..4)
    ) {
        let bytes = damaged(LOG, &changes);
        read_log(&bytes);
        // The checksum covers data only, so the data is what can be promised.
        let written: Vec<_> = wal::records(LOG).map(|record| record.unwrap().data).collect();
        let read: Vec<_> = wal::records(&bytes).flatten().map(|record| record.data).collect();
        let read: Vec<_> = read.into_iter().flatten().filter(|data| !data.is_empty()).collect();
        let written: Vec<_> = written.into_iter().flatten().filter(|data| !data.is_empty()).collect();
        prop_assert!(written.starts_with(&read));
    }

    #[test]
    fn a_damaged_snapfile_is_refused_or_unchanged(changes in vec(damage(), 1..4)) {
        let bytes = damaged(SNAPFILE, &changes);
        if let Ok(snapshot) = snapfile::decode(&bytes) {
            prop_assert_eq!(snapshot, snapfile::decode(SNAPFILE).unwrap());
        }
        decode_messages(&bytes);
    }

    #[test]
    fn any_offset_of_any_segment_can_be_asked_for(
        bytes in vec(any::<u8>(), 0..64), offset in prop_oneof![0u64..80, any::<u64>()]
    ) {
        let _ = frame::read(&bytes, offset);
        let _ = frame::is_torn(offset, &bytes);
    }

    #[test]
    fn any_words_for_a_cluster_are_understood_or_refused(
        words in "[a-c,=:/@\\[\\]%.?# é0-9]{0,40}", prefix in "(|http://|unix://|a=http://\\[)"
    ) {
        let text = format!("{prefix}{words}");
        if let Ok(url) = PeerUrl::parse(&text) {
            // What is printed is what a server reads back from its files. White space before an empty
            // fragment is the exception, in Go too: it is at the end only after printing.
            let again = PeerUrl::parse(url.as_str());
            prop_assert_eq!(again.map(|again| again.to_string()), Ok(url.as_str().trim().to_owned()));
        }
        if let Ok(initial) = InitialCluster::parse(&text) {
            let _ = initial.cluster("token");
        }
    }
}
