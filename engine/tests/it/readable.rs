//! What can be read of a damaged key space. The danger: records that are counted twice or not at all, and numbers that are
//! others on a sound file than those of who reads the tree.

use etcdsnap_engine::{
    bolt::{layout, map::PageMap},
    limits::Limits,
    mvcc::stats::{Grouping, Options, Part, readable, usage},
    progress::Silent,
    schema::Store,
    snapshot::Image,
};

use crate::members::databases;

fn grouping() -> Grouping {
    Grouping { prefix: Vec::new(), separator: b"/".to_vec(), depth: 3 }
}

#[test]
fn of_a_sound_file_it_is_what_the_tree_holds() {
    for name in ["authon-36", "clean-34", "kube-36", "cluster3-35"] {
        for (path, bytes) in databases(name) {
            let db = Image::split(&bytes).db(Limits::default()).unwrap();
            let map = PageMap::read(&db, &Silent).unwrap();
            let options =
                Options { grouping: grouping(), revision: None, compaction: None, most: 0 };
            let usage = usage(&Store::new(db), &options, &Silent).unwrap();
            let read = readable(&db, &map, &grouping(), None, 50, &Silent).unwrap();
            let total = &usage.total;
            assert_eq!(
                (read.records.records, read.records.bytes),
                (total.records(), total.bytes()),
                "{path}"
            );
            assert_eq!(read.unreadable, 0, "{path}");
            let bytes =
                |list: &[etcdsnap_engine::mvcc::stats::PrefixUse<'_>]| -> Vec<(Vec<u8>, u64)> {
                    list.iter().map(|one| (one.prefix.to_vec(), one.tally.bytes())).collect()
                };
            assert_eq!(bytes(&read.prefixes), bytes(&usage.prefixes), "{path}");
            let timeline = &read.timeline;
            assert!((1..=50).contains(&timeline.stretches().count()), "{path}: {timeline:?}");
            assert_eq!(
                timeline.stretches().map(|of| of.puts + of.deletions).sum::<u64>(),
                total.records()
            );
            let within =
                |part: &Part| (part.first..=timeline.last_of(part)).contains(&usage.revision);
            assert!(
                timeline.parts.iter().any(within) || usage.revision == usage.compact_revision,
                "{path}"
            );
        }
    }
}

#[test]
fn of_a_damaged_file_it_is_what_is_on_whole_pages_for_any_number_of_threads() {
    let mut bytes = databases("kube-36").remove(0).1;
    let count = |bytes: &[u8]| {
        let db = Image::split(bytes).db(Limits::default()).unwrap();
        let map = PageMap::read(&db, &Silent).unwrap();
        readable(&db, &map, &grouping(), None, 50, &Silent)
            .map(|read| (read.records.records, read.unreadable, read.timeline))
            .unwrap()
    };
    let (all, _, _) = count(&bytes);
    let is_leaf = |bytes: &[u8], page: usize| {
        let header = &bytes[page * 4096..][..12];
        header[..2] == (page as u16).to_le_bytes() && u16::from(header[8]) == layout::FLAG_LEAF
    };
    let root = usize::from(bytes[32]);
    let leaves: Vec<usize> =
        (2..bytes.len() / 4096).filter(|page| *page != root && is_leaf(&bytes, *page)).collect();
    let lost: u64 = leaves.iter().step_by(7).map(|page| u64::from(bytes[page * 4096 + 10])).sum();
    for page in leaves.iter().step_by(7) {
        bytes[page * 4096] ^= 0x55;
    }
    let (left, unreadable, timeline) = count(&bytes);
    assert!(left < all && left + lost >= all, "{left} of {all}, {lost} on broken pages");
    assert!(unreadable > 0);
    for threads in [1, 3] {
        let pool = rayon::ThreadPoolBuilder::new().num_threads(threads).build().unwrap();
        assert_eq!(pool.install(|| count(&bytes)), (left, unreadable, timeline.clone()));
    }
}
