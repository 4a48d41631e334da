use super::*;
use crate::pb::raftpb;
use crate::wal::search::Search;
use crate::wal::{Damage, Encoder, Log, LogEnd, Payload, Records, Segment, SegmentName, Tail};

const SECTOR: usize = 512;

/// A record of a log made here.
#[derive(Clone, Copy, Debug)]
struct Made {
    segment: usize,
    start: usize,
    /// Where its data begins.
    data: usize,
    /// Where its padding begins.
    padding: usize,
    end: usize,
    kind: Kind,
    index: Option<u64>,
}

/// Segments as a server writes them: entries of many sizes, a hard state behind each few, terms that change, and
/// entries that are written again. The newest segment ends in zeros.
struct Sample {
    segments: Vec<Vec<u8>>,
    records: Vec<Made>,
}

fn sample() -> Sample {
    let mut segments = Vec::new();
    let (mut crc, mut index, mut term) = (0, 0, 1);
    let mut seed = 7u32;
    for number in 0..3 {
        let mut encoder = Encoder::new(crc);
        encoder.metadata(&Metadata { node_id: Some(9), cluster_id: Some(8) });
        if number == 0 {
            encoder.snapshot(&walpb_snapshot(0));
        }
        for step in 0..12 {
            seed = seed.wrapping_mul(1_664_525).wrapping_add(1_013_904_223);
            if step == 5 {
                // A new leader writes the last two entries again.
                term += 1;
                index -= 2;
            }
            index += 1;
            let len = [3, 40, 200, 700, 5, 1900, 64, 6000][(seed >> 29) as usize];
            let fill = |at: usize| (seed >> (at % 24)) as u8 ^ at as u8;
            encoder.entry(&raftpb::Entry {
                r#type: Some(0),
                term: Some(term),
                index: Some(index),
                data: Some((0..len).map(fill).collect()),
            });
            if step % 3 == 1 {
                encoder.state(&state(term, index - 1));
            }
        }
        let (mut bytes, next) = encoder.finish();
        crc = next;
        if number == 2 {
            bytes.resize(bytes.len() + 5000, 0);
        }
        segments.push(bytes);
    }
    let records = made(&segments);
    Sample { segments, records }
}

fn walpb_snapshot(index: u64) -> Snapshot {
    Snapshot { index: Some(index), term: Some(0), conf_state: None }
}

fn state(term: u64, commit: u64) -> HardState {
    HardState { term: Some(term), vote: Some(9), commit: Some(commit) }
}

fn made(segments: &[Vec<u8>]) -> Vec<Made> {
    let mut made = Vec::new();
    for (segment, bytes) in segments.iter().enumerate() {
        for record in Records::new(bytes, 0, Tail::Newest) {
            let record = record.unwrap();
            let start = record.offset as usize;
            let search = Search::new(bytes, 0);
            let found = search.at(start).expect("servers write this form");
            let padding = start + 8 + (word(bytes, start) & 0xffff_ffff) as usize;
            let data = padding - record.data.map_or(0, <[u8]>::len);
            let index = match record.payload().unwrap() {
                Payload::Entry(entry) => entry.index,
                _ => None,
            };
            let end = found.next;
            made.push(Made { segment, start, data, padding, end, kind: record.kind, index });
        }
    }
    made
}

fn word(bytes: &[u8], at: usize) -> u64 {
    u64::from_le_bytes(bytes[at..at + 8].try_into().unwrap())
}

fn read(segments: &[Vec<u8>]) -> Log<'_> {
    let segments: Vec<Segment<'_>> = (0..)
        .zip(segments)
        .map(|(sequence, bytes)| Segment { name: SegmentName { sequence, index: 0 }, bytes })
        .collect();
    Log::read(&segments)
}

fn indexes(entries: &[LoggedEntry<'_>]) -> Vec<u64> {
    entries.iter().map(|logged| logged.entry.index).collect()
}

/// What the log would give if nothing were wrong.
fn whole(sample: &Sample) -> Vec<(u64, u64, Vec<u8>)> {
    owned(&read(&sample.segments).entries_behind(0).unwrap())
}

fn owned(entries: &[LoggedEntry<'_>]) -> Vec<(u64, u64, Vec<u8>)> {
    let entry = |logged: &LoggedEntry<'_>| {
        (logged.entry.index, logged.entry.term, logged.entry.data.to_vec())
    };
    entries.iter().map(entry).collect()
}

#[test]
fn nothing_stands_behind_an_intact_log() {
    let sample = sample();
    let log = read(&sample.segments);
    assert!(matches!(log.end, LogEnd::Clean(_)) && log.behind.is_none());
    let across = log.entries_across_gaps(0, 0).unwrap();
    assert_eq!((owned(&across.entries), across.missing), (whole(&sample), vec![]));
}

#[test]
fn a_flipped_bit_of_any_length_word_or_front_loses_nothing() {
    let sample = sample();
    let whole = whole(&sample);
    let (mut lengths, mut others) = (0, 0);
    for (number, record) in sample.records.iter().enumerate() {
        // The length word and all that stands before the data. Of the type nothing could be known.
        let kind = record.start + 8..record.start + 10;
        let front = (record.start..record.data).filter(|at| !kind.contains(at));
        for at in front {
            for bit in 0..8 {
                let mut segments = sample.segments.clone();
                segments[record.segment][at] ^= 1 << bit;
                let log = read(&segments);
                let what = || format!("bit {bit} of byte {at} of record {number}: {record:?}");
                let newest = sample.records.len() == number + 1;
                match &log.end {
                    LogEnd::Clean(_) => assert!(log.behind.is_none(), "{}", what()),
                    LogEnd::Damaged(_, damage) => {
                        if let Damage::Length { records, .. } = damage {
                            lengths += 1;
                            let behind = sample.records.len() - number;
                            assert_eq!(*records, behind as u64, "{}", what());
                        } else {
                            others += 1;
                        }
                        // Nothing proves the last record when its own checksum is wrong.
                        if newest && at >= record.start + 8 {
                            assert!(log.behind.is_none(), "{}", what());
                            continue;
                        }
                        let behind = log.behind.as_ref().unwrap_or_else(|| panic!("{}", what()));
                        assert_eq!(behind.lost(), Some(0), "{}", what());
                        let across = log.entries_across_gaps(0, 0);
                        let across = across.unwrap_or_else(|gap| panic!("{gap}: {}", what()));
                        assert_eq!(owned(&across.entries), whole, "{}", what());
                    }
                    // The padding of the last record leads behind the end of the file.
                    LogEnd::Torn(_) => panic!("{}: {:?}", what(), log.end),
                }
            }
        }
    }
    assert!(lengths > 1000 && others > 1000, "{lengths} {others}");
}

#[test]
fn all_records_behind_a_damaged_one_are_found() {
    let sample = sample();
    let whole = whole(&sample);
    let last = sample.records.len() - 1;
    for (number, record) in sample.records.iter().enumerate() {
        if record.data == record.padding {
            continue;
        }
        for at in [record.data, usize::midpoint(record.data, record.padding), record.padding - 1] {
            let mut segments = sample.segments.clone();
            segments[record.segment][at] ^= 0x40;
            let log = read(&segments);
            let what = || format!("byte {at} of record {number}: {record:?}");
            assert!(
                matches!(log.end, LogEnd::Damaged(at, Damage::Record(_)) if at.offset == record.start as u64),
                "{}: {:?}",
                what(),
                log.end
            );
            let Some(behind) = &log.behind else {
                // Two records prove each other; one at the end does not.
                assert!(number + 1 >= last, "{}", what());
                continue;
            };
            assert_eq!(behind.records, (last - number) as u64, "{}", what());
            let next = sample.records[number + 1];
            assert_eq!(
                (behind.at.segment.sequence, behind.at.offset),
                (next.segment as u64, next.start as u64)
            );
            let expected: Vec<u64> =
                sample.records[number + 1..].iter().filter_map(|made| made.index).collect();
            assert_eq!(indexes(&behind.entries), expected, "{}", what());
            let lost = behind.lost();
            match record.index {
                None if record.kind == Kind::STATE
                    || behind.at.segment.sequence == record.segment as u64 =>
                {
                    assert_eq!(lost, Some(0), "{}", what());
                    assert_eq!(
                        owned(&log.entries_across_gaps(0, 0).unwrap().entries),
                        whole,
                        "{}",
                        what()
                    );
                }
                _ => {
                    assert!(lost.is_none_or(|lost| lost == 1), "{}: {lost:?}", what());
                    held_to_the_whole(&log, &whole, &what());
                }
            }
        }
    }
}

/// For each number of entries that a db may contain: what is given from across the gaps is what the whole log gives.
fn held_to_the_whole(log: &Log<'_>, whole: &[(u64, u64, Vec<u8>)], what: &str) -> usize {
    let mut given = 0;
    for contained in 0..=whole.len() as u64 {
        for start in [0, contained / 2, contained] {
            let Ok(across) = log.entries_across_gaps(start, contained) else { continue };
            given += 1;
            let needed: Vec<_> =
                owned(&across.entries).into_iter().filter(|entry| entry.0 > contained).collect();
            assert_eq!(needed, whole[contained as usize..], "{what}, {contained} contained");
            let mut all = indexes(&across.entries);
            assert!(
                all.is_sorted() && across.missing.iter().all(|missing| *missing.end() <= contained)
            );
            all.extend(across.missing.iter().cloned().flatten());
            all.sort_unstable();
            let to = log.behind.as_ref().and_then(Behind::last_index).unwrap_or_default();
            assert_eq!(
                all,
                (start + 1..=to.max(start)).collect::<Vec<_>>(),
                "{what}, {contained} contained"
            );
        }
    }
    given
}

#[test]
fn a_sector_of_zeros_is_torn_in_the_newest_segment_and_records_behind_it_are_found() {
    let sample = sample();
    let whole = whole(&sample);
    let mut given = 0;
    for segment in 0..3 {
        let used = sample
            .records
            .iter()
            .filter(|made| made.segment == segment)
            .map(|made| made.end)
            .max()
            .unwrap();
        for sector in 0..used.div_ceil(SECTOR) {
            let mut segments = sample.segments.clone();
            let end = ((sector + 1) * SECTOR).min(segments[segment].len());
            let zeroed = sector * SECTOR..end;
            segments[segment][zeroed.clone()].fill(0);
            let log = read(&segments);
            let what = format!("sector {sector} of segment {segment}");
            let hit = |made: &Made| {
                made.segment == segment && made.start < end && made.end > zeroed.start
            };
            let lost = sample.records.iter().filter(|made| hit(made)).count();
            let behind: Vec<&Made> = sample
                .records
                .iter()
                .skip_while(|made| !hit(made))
                .filter(|made| !hit(made))
                .collect();
            match &log.end {
                LogEnd::Torn(at) => assert!(segment == 2 && at.offset <= end as u64, "{what}"),
                // Everything behind the sector is lost with it, or it began inside a record that lies in one sector.
                LogEnd::Clean(_) => assert!(segment == 2 && behind.is_empty(), "{what}"),
                LogEnd::Damaged(..) => assert!(segment < 2, "{what}: {:?}", log.end),
            }
            if behind.len() < 2 {
                continue;
            }
            let found = log.behind.as_ref().unwrap_or_else(|| panic!("{what}"));
            assert_eq!(found.records as usize, behind.len(), "{what}, {lost} lost");
            assert_eq!(
                indexes(&found.entries),
                behind.iter().filter_map(|made| made.index).collect::<Vec<_>>(),
                "{what}"
            );
            given += held_to_the_whole(&log, &whole, &what);
        }
    }
    assert!(given > 1000, "{given}");
}

#[test]
fn a_missing_or_shortened_segment_leaves_the_later_ones_behind() {
    let sample = sample();
    let whole = whole(&sample);
    let segments = |numbers: &[u64]| -> Vec<(SegmentName, &[u8])> {
        numbers
            .iter()
            .map(|number| {
                (
                    SegmentName { sequence: *number, index: 0 },
                    &sample.segments[*number as usize][..],
                )
            })
            .collect()
    };
    let log = |parts: &[(SegmentName, &'static [u8])]| {
        let segments: Vec<Segment<'static>> =
            parts.iter().map(|(name, bytes)| Segment { name: *name, bytes }).collect();
        Log::read(&segments)
    };
    let leaked: Vec<(SegmentName, &'static [u8])> = segments(&[0, 1, 2])
        .into_iter()
        .map(|(name, bytes)| (name, &*bytes.to_vec().leak()))
        .collect();
    let missing = log(&[leaked[0], leaked[2]]);
    assert!(matches!(missing.end, LogEnd::Damaged(_, Damage::Missing { expected: 1 })));
    let behind = missing.behind.as_ref().unwrap();
    assert_eq!((behind.at.segment.sequence, behind.at.offset), (2, 0));
    assert_eq!(behind.lost(), Some(10));
    assert!(held_to_the_whole(&missing, &whole, "missing") > 10);
    let Made { start, .. } =
        *sample.records.iter().filter(|made| made.segment == 1).nth(9).unwrap();
    let shortened = log(&[leaked[0], (leaked[1].0, &leaked[1].1[..start]), leaked[2]]);
    assert!(
        matches!(shortened.end, LogEnd::Damaged(at, Damage::Chain { .. }) if at.segment.sequence == 2)
    );
    assert!(held_to_the_whole(&shortened, &whole, "shortened") > 10);
}

#[test]
fn another_members_records_are_not_behind() {
    let mut inner = Encoder::new(0);
    inner.metadata(&Metadata { node_id: Some(1), cluster_id: Some(2) });
    inner.entry(&raftpb::Entry { index: Some(99), ..Default::default() });
    let (inner, _) = inner.finish();
    let mut outer = Encoder::new(0);
    outer.metadata(&Metadata { node_id: Some(9), cluster_id: Some(8) });
    // A value that holds a log, at a multiple of 8 for one of these lengths.
    for pad in 0..8u8 {
        let data = [vec![pad; pad.into()], inner.clone()].concat();
        outer.entry(&raftpb::Entry {
            index: Some(u64::from(pad) + 1),
            data: Some(data),
            ..Default::default()
        });
    }
    let (bytes, _) = outer.finish();
    let records = made(std::slice::from_ref(&bytes));
    for record in records.iter().skip(2) {
        let mut bytes = bytes.clone();
        // Neither the frame nor the data of the record can be used.
        bytes[record.start + 3] = 1;
        bytes[record.data] ^= 1;
        let segments = [bytes];
        let log = read(&segments);
        let found = log.behind.as_ref().map_or(0, |behind| behind.entries.len());
        let expected = records.iter().filter(|made| made.start > record.start).count();
        assert_eq!(found, if expected == 1 { 0 } else { expected }, "{record:?}");
    }
}

#[test]
fn bytes_that_look_like_records_everywhere_cost_no_more_than_others() {
    // Each 16 bytes claim to be a record of 16 KB, whose checksum is wrong.
    let mut bytes = Encoder::new(0).finish().0;
    let front = [0x08, 0x02, 0x10, 0x00, 0x1a, 0x80, 0x7f];
    while bytes.len() < 8 << 20 {
        let len = front.len() + 0x3f80;
        bytes.extend(super::super::frame::word(len).to_le_bytes());
        bytes.extend(front);
        bytes.push(0);
    }
    let segments = [bytes];
    let started = std::time::Instant::now();
    assert!(read(&segments).behind.is_none());
    // Without running sums this is 8 GB of checksums; it takes half a second with them.
    assert!(started.elapsed().as_secs() < 60);
}

/// How many entries of `behind` are there, each as it was written.
fn held_to_what_was_written(log: &Log<'_>, sample: &Sample, what: &str) -> usize {
    let intact = read(&sample.segments);
    let Some(behind) = &log.behind else { return 0 };
    for logged in &behind.entries {
        let same = |other: &&LoggedEntry<'_>| {
            (other.segment, other.offset) == (logged.segment, logged.offset)
        };
        let written = intact.entries.iter().find(same).unwrap_or_else(|| panic!("{what}"));
        assert_eq!(written.entry, logged.entry, "{what}");
    }
    behind.entries.len()
}

#[test]
fn what_is_found_among_many_damages_is_what_was_written() {
    let sample = sample();
    let whole = whole(&sample);
    let mut seed = 1u64;
    let mut random = |below: usize| {
        seed = seed.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        (seed >> 33) as usize % below
    };
    let (mut found, mut given) = (0, 0);
    for round in 0..3000 {
        let mut segments = sample.segments.clone();
        let mut what = format!("round {round}:");
        for _ in 0..1 + random(4) {
            let segment = random(3);
            let bytes = &mut segments[segment];
            let sectors = bytes.len().div_ceil(SECTOR);
            let sector = random(sectors);
            let last = (sector + 1 + random(3)).min(sectors);
            let end = (last * SECTOR).min(bytes.len());
            bytes[sector * SECTOR..end].fill(0);
            what += &format!(" {sector}..{last} of {segment}");
        }
        let log = read(&segments);
        found += held_to_what_was_written(&log, &sample, &what);
        let across = log.entries_across_gaps(0, 20);
        let to = log.behind.as_ref().and_then(Behind::last_index);
        if let (Ok(across), Some(to)) = (across, to)
            && to == whole.len() as u64
        {
            let needed = owned(&across.entries).into_iter().filter(|entry| entry.0 > 20);
            assert_eq!(needed.collect::<Vec<_>>(), whole[20..], "{what}");
            given += 1;
        }
    }
    assert!(found > 30_000 && given > 300, "{found} {given}");
}
