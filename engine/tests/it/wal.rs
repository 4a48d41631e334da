//! Guards the line between a write that a crash cut short and damage. Called torn, damage would be cut away
//! with everything behind it; called damage, a mere crash would keep a member from being used.

use std::fs;

use etcdsnap_engine::wal::{
    Damage, Encoder, Kind, Log, LogEnd, Records, Segment, SegmentName, Tail, frame,
};
use proptest::prelude::*;

use crate::members::{case, unpack};

/// How much of a log is cut and flipped.
const LAST_BYTES: usize = 64 << 10;
const LAST_RECORDS: usize = 100;

/// A record: where it starts and ends, and the index of its entry.
#[derive(Clone, Copy, Debug)]
struct Place {
    start: usize,
    end: usize,
    /// Where its padding starts.
    padding: usize,
    entry: Option<u64>,
}

/// The end of a real log as a segment of its own, which begins with the running checksum there.
struct Tailed {
    bytes: Vec<u8>,
    places: Vec<Place>,
}

fn tail_of(name: &str) -> Tailed {
    let dir = unpack(name);
    let wal = dir.path().join("data/member/wal");
    let mut paths: Vec<_> = fs::read_dir(wal).unwrap().map(|entry| entry.unwrap().path()).collect();
    paths.retain(|path| path.extension().is_some_and(|extension| extension == "wal"));
    paths.sort();
    let segment = fs::read(paths.last().unwrap()).unwrap();
    let mut records = Records::new(&segment, 0, Tail::Newest);
    let mut starts = Vec::new();
    for record in records.by_ref() {
        let record = record.unwrap();
        starts.push((record.offset as usize, record.crc));
    }
    let end = match records.end().unwrap() {
        etcdsnap_engine::wal::End::Clean { offset } => offset as usize,
        other => panic!("{other:?}"),
    };
    // The segment made here begins with one record; where the real ones go on behind it they keep their place
    // within a sector, by which a torn write is known.
    let head = Encoder::new(0).finish().0.len();
    let fits = |(at, (start, _)): &(usize, (usize, u32))| {
        *at > 0 && end - start <= LAST_BYTES && start % 512 == head % 512
    };
    let (at, (from, _)) = starts.iter().copied().enumerate().find(fits).unwrap();
    let (mut bytes, _) = Encoder::new(starts[at - 1].1).finish();
    bytes.extend(&segment[from..end]);
    Tailed { places: places(&bytes), bytes }
}

fn places(bytes: &[u8]) -> Vec<Place> {
    let mut places = Vec::new();
    for record in Records::new(bytes, 0, Tail::Newest) {
        let record = record.unwrap();
        let start = record.offset as usize;
        let frame::Frame::Whole { body, next, .. } = frame::read(bytes, record.offset) else {
            panic!("not whole")
        };
        let entry = (record.kind == Kind::ENTRY).then(|| match record.payload().unwrap() {
            etcdsnap_engine::wal::Payload::Entry(entry) => entry.index(),
            other => panic!("{other:?}"),
        });
        places.push(Place { start, end: next as usize, padding: start + 8 + body.len(), entry });
    }
    places
}

fn read(bytes: &[u8]) -> Log<'_> {
    let name = SegmentName { sequence: 7, index: 1000 };
    Log::read(&[Segment { name, bytes }])
}

/// Index of the last entry that ends at or before `end`.
fn good_to(places: &[Place], end: usize) -> Option<u64> {
    places.iter().filter(|place| place.end <= end).filter_map(|place| place.entry).next_back()
}

#[test]
fn a_log_cut_at_any_byte_is_good_up_to_the_last_whole_record() {
    for name in ["crashed-34", "crashed-35", "crashed-36", "crashed-37"] {
        let Tailed { bytes, places } = tail_of(name);
        let mut boundaries = 0;
        for len in places[0].end..=bytes.len() {
            let log = read(&bytes[..len]);
            let whole = places.iter().filter(|place| place.end <= len);
            let end = whole.map(|place| place.end).next_back().unwrap();
            assert_eq!(log.last_index(), good_to(&places, len), "{name} cut at {len}");
            match &log.end {
                LogEnd::Clean(at) if end == len => {
                    boundaries += 1;
                    assert_eq!(at.offset, end as u64);
                }
                LogEnd::Torn(at) if end < len => assert_eq!(at.offset, end as u64),
                other => panic!("{name} cut at {len}, last whole record ends at {end}: {other:?}"),
            }
            // With the zeros a server allocates behind it, a record that lost nothing but zeros is whole.
            if len % 97 == 0 {
                let mut padded = bytes[..len].to_vec();
                padded.resize(len + 8192, 0);
                let log = read(&padded);
                let kept = places.iter().filter(|place| {
                    bytes[len.clamp(place.start, place.end)..place.end]
                        .iter()
                        .all(|byte| *byte == 0)
                });
                let kept = kept.filter_map(|place| place.entry).next_back();
                assert_eq!(log.last_index(), kept, "{name} zeroed from {len}");
            }
        }
        assert_eq!(boundaries, places.len());
    }
}

#[test]
fn a_flipped_byte_of_a_record_ends_the_log_before_it_and_one_of_its_padding_does_nothing() {
    for name in ["crashed-34", "crashed-35", "crashed-36", "crashed-37"] {
        let Tailed { mut bytes, places } = tail_of(name);
        let all = read(&bytes).last_index();
        let (mut damaged, mut lengths, mut harmless) = (0, 0, 0);
        for place in places.iter().rev().take(LAST_RECORDS) {
            for at in place.start..place.end {
                bytes[at] ^= 0x20;
                let log = read(&bytes);
                let word = place.start..place.start + 8;
                match &log.end {
                    LogEnd::Clean(_) => {
                        // Padding is not covered; of the length word etcd ignores four bits, and of the
                        // checksum's last byte those that do not fit 32 bits.
                        let crc_end = place.start + 8 + 7;
                        let ignored = at >= place.padding || at == word.end - 1 || at == crc_end;
                        assert!(ignored, "{name}: byte {at} of {place:?}");
                        assert_eq!(log.last_index(), all, "{name}: byte {at} of {place:?}");
                        harmless += 1;
                    }
                    LogEnd::Damaged(end, Damage::Length { .. }) => {
                        // The data stands whole behind a length word that is wrong, and more behind it.
                        assert!(word.contains(&at), "{name}: byte {at} of {place:?}");
                        assert_eq!(end.offset, place.start as u64);
                        assert_eq!(log.last_index(), good_to(&places, place.start));
                        let across = log.entries_across_gaps(log.entries[0].entry.index - 1, 0);
                        let last = across.unwrap().entries.last().map(|logged| logged.entry.index);
                        assert_eq!(last, all, "{name}: byte {at} of {place:?}");
                        lengths += 1;
                    }
                    LogEnd::Damaged(end, Damage::Record(_)) => {
                        assert!(end.offset >= place.start as u64, "{name}: byte {at} of {place:?}");
                        assert!(log.last_index() <= all);
                        assert!(log.last_index() >= good_to(&places, place.start));
                        damaged += 1;
                    }
                    other => panic!("{name}: byte {at} of {place:?}: {other:?}"),
                }
                bytes[at] ^= 0x20;
            }
        }
        assert!(damaged > 1000 && lengths > 100 && harmless > 10, "{damaged} {lengths} {harmless}");
    }
}

/// Servers of 3.5.35 and 3.6.16 start on this log, cut it at the length word, and lose its last 21 entries.
#[test]
fn a_length_word_that_runs_past_the_segment_is_damage_where_records_stand_behind_it() {
    let dir = case("wal-length-flip-35");
    let wal = dir.path().join("d-flip3/member/wal/0000000000000000-0000000000000000.wal");
    let bytes = fs::read(wal).unwrap();
    let log = read(&bytes);
    let LogEnd::Damaged(at, damage) = &log.end else { panic!("{:?}", log.end) };
    assert_eq!((at.offset, log.last_index()), (0x5f0, Some(14)));
    let message = "the length word says 268435504 bytes, but the segment has only 63998472 left; \
        42 whole records with entries 15 to 35 follow";
    assert_eq!(damage.to_string(), message);
    let behind = log.behind.as_ref().unwrap();
    assert_eq!((behind.entries.len(), behind.lost()), (21, Some(0)));
    assert_eq!((behind.at, behind.gaps[0].recovered), (*at, Some(Kind::ENTRY)));
    let across = log.entries_across_gaps(0, 0).unwrap();
    let indexes: Vec<u64> = across.entries.iter().map(|logged| logged.entry.index).collect();
    assert_eq!((indexes, across.missing), ((1..=35).collect(), vec![]));
}

/// Tried with etcd 3.4.23, which starts on the longest that is not told of and refuses the next.
#[test]
fn records_that_a_server_of_3_4_refuses_are_told_of() {
    let dir = case("big-entry-34");
    let wal = dir.path().join("d/member/wal/0000000000000000-0000000000000000.wal");
    let bytes = fs::read(wal).unwrap();
    let log = read(&bytes);
    let oversized = log.oversized.unwrap();
    assert!(oversized.bytes > 11 << 20, "{oversized:?}");
    let at = log.entries.iter().find(|logged| logged.offset == oversized.at.offset).unwrap();
    assert!(at.entry.data.len() > 11 << 20);
    assert!(matches!(log.end, LogEnd::Clean(_)));

    let limit = 10 << 20;
    for len in limit - 200..limit + 9 {
        let entry = etcdsnap_engine::pb::raftpb::Entry {
            r#type: Some(0),
            term: Some(1),
            index: Some(1),
            data: Some(vec![7; len]),
        };
        let mut encoder = Encoder::new(0);
        encoder.entry(&entry);
        let (bytes, _) = encoder.finish();
        // 16 bytes of the crc record and 8 of the length word stand before it.
        let padded = bytes.len() - 24;
        let told = read(&bytes).oversized.map(|oversized| oversized.at.offset);
        assert_eq!(told, (padded >= limit).then_some(16), "{padded}");
    }
}

#[test]
fn segments_must_follow_one_another_and_carry_the_checksum_on() {
    let entry = |index: u64| etcdsnap_engine::pb::raftpb::Entry {
        r#type: Some(0),
        term: Some(1),
        index: Some(index),
        data: Some(vec![7; 40]),
    };
    let segment = |crc: u32, indexes: std::ops::Range<u64>| {
        let mut encoder = Encoder::new(crc);
        indexes.for_each(|index| encoder.entry(&entry(index)));
        encoder.finish()
    };
    let name = |sequence, index| SegmentName { sequence, index };
    let (first, crc) = segment(0, 1..10);
    let (second, crc) = segment(crc, 10..20);
    let (third, _) = segment(crc, 15..25);
    let names = [name(0, 0), name(1, 10), name(2, 20)];
    let log = |parts: &[(SegmentName, &[u8])]| {
        let segments: Vec<Segment<'_>> =
            parts.iter().map(|(name, bytes)| Segment { name: *name, bytes }).collect();
        let log = Log::read(&segments);
        (log.end.clone(), log.entries.len(), log.entries_behind(0).map(|entries| entries.len()))
    };
    let whole = log(&[(names[0], &first), (names[1], &second), (names[2], &third)]);
    assert!(matches!(whole.0, LogEnd::Clean(at) if at.segment == names[2]));
    // 15 to 19 were written twice: the later ones count.
    assert_eq!((whole.1, whole.2), (29, Ok(24)));
    let missing = log(&[(names[0], &first), (names[2], &third)]);
    assert!(
        matches!(missing.0, LogEnd::Damaged(at, Damage::Missing { expected: 1 }) if at.segment == names[2])
    );
    let renamed = log(&[(names[0], &first), (names[1], &third)]);
    assert!(matches!(renamed.0, LogEnd::Damaged(_, Damage::Chain { .. })), "{renamed:?}");
    assert_eq!(renamed.1, 9);
    let cut = log(&[(names[0], &first[..first.len() - 9]), (names[1], &second)]);
    assert!(matches!(cut.0, LogEnd::Damaged(_, Damage::Cut)), "{cut:?}");
    let purged = log(&[(names[1], &second), (names[2], &third)]);
    assert_eq!((purged.1, purged.2.unwrap_err().expected), (20, 1));
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(300))]

    #[test]
    fn what_is_encoded_is_read_back_and_damaged_bytes_never_panic(
        sizes in prop::collection::vec(0usize..2000, 1..40),
        at in any::<prop::sample::Index>(),
        byte in any::<u8>(),
        cut in any::<prop::sample::Index>(),
    ) {
        let mut encoder = Encoder::new(0);
        for (index, size) in (1_u64..).zip(&sizes) {
            encoder.entry(&etcdsnap_engine::pb::raftpb::Entry {
                r#type: if size % 3 == 0 { None } else { Some(0) },
                term: Some(3),
                index: Some(index),
                data: Some(vec![index as u8; *size]),
            });
        }
        let (mut bytes, _) = encoder.finish();
        {
            let log = read(&bytes);
            prop_assert_eq!(log.entries.len(), sizes.len());
            for (logged, size) in log.entries.iter().zip(&sizes) {
                prop_assert_eq!(logged.entry.data.len(), *size);
            }
        }
        let at = at.index(bytes.len());
        bytes[at] = byte;
        bytes.truncate(cut.index(bytes.len() + 1));
        let name = SegmentName { sequence: 7, index: 1000 };
        let segments = [Segment { name, bytes: &bytes }];
        let log = Log::read(&segments);
        prop_assert!(log.entries.len() <= sizes.len());
        let _ = (log.entries_behind(0), log.entries_across_gaps(0, 5), log.summary());
        let behind = log.behind.iter().flat_map(|behind| &behind.stretches);
        let mut records = 0;
        for stretch in log.stretches.iter().chain(behind) {
            let expected = stretch.records + u64::from(stretch.recovered.is_some());
            prop_assert_eq!(stretch.records(&segments).count() as u64, expected);
            records += expected;
        }
        prop_assert!(records <= sizes.len() as u64 + 1);
    }
}
