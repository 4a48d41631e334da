//! Files that are not quite what they seem. The danger: damage that bbolt refuses is called sound, or what bbolt reads
//! is called damage.

use etcdsnap_engine::{
    bolt::{Db, check::check},
    finding::{Place, Severity},
    limits::Limits,
    progress::Silent,
    snapshot::Image,
};

use crate::members::case_files;

/// Code, place, severity and message of each finding of the page check.
fn found(bytes: &[u8]) -> Vec<(&'static str, Place, Severity, String)> {
    let db = Image::split(bytes).db(Limits::default()).unwrap();
    let findings = check(&db, &Silent).unwrap();
    let facts =
        findings.into_iter().map(|found| (found.code, found.place, found.severity, found.message));
    facts.collect()
}

#[test]
fn a_meta_page_whose_header_no_commit_wrote_is_damage_in_bbolts_words() {
    let expected = [
        (0, "assertion failed: page 0: has unexpected type/flags: 0"),
        (0, "assertion failed: Page expected to be: 0, but self identifies as 7"),
        (1, "assertion failed: Page expected to be: 1, but self identifies as 2"),
    ];
    let files = case_files("fuzz-meta-header");
    // The fourth is a page of zeros.
    assert_eq!(files.len(), expected.len() + 1);
    for ((name, bytes), (page, message)) in files.iter().zip(expected) {
        let place = Place::Page(page);
        assert_eq!(
            found(bytes),
            [("meta-header", place, Severity::Damage, message.to_owned())],
            "{name}"
        );
    }
    // bbolt's check does not ask which kind of page it is.
    let mut leaf = sound();
    leaf[4096 + 8] = 2;
    let message = "page 1: page type is leaf, expected meta".to_owned();
    assert_eq!(found(&leaf), [("meta-header", Place::Page(1), Severity::Damage, message)]);
}

/// A snapshot of 20 kB with the bytes of its first meta page's header mended.
fn sound() -> Vec<u8> {
    let (name, mut bytes) = case_files("fuzz-meta-header").swap_remove(1);
    assert_eq!(name, "p0-id7.db");
    bytes[0] = 0;
    bytes
}

#[test]
fn a_torn_meta_page_is_a_warning_that_says_when_bbolts_check_stops_at_it() {
    let sound = sound();
    assert_eq!(found(&sound), []);
    let torn = |damage: &dyn Fn(&mut [u8])| {
        let mut bytes = sound.clone();
        damage(&mut bytes[4096..8192]);
        let found = found(&bytes);
        assert_eq!(found.len(), 1, "{found:?}");
        assert_eq!((found[0].0, &found[0].1), ("torn-meta", &Place::Page(1)));
        assert_eq!(found[0].2, Severity::Warning);
        found[0].3.clone()
    };
    assert!(!torn(&|page| page[20] ^= 1).contains("bbolt"));
    assert_eq!(found(&case_files("fuzz-meta-header")[3].1).len(), 1);
    let message = torn(&|page| page.fill(0));
    assert!(
        message.contains("`bbolt check` and `etcdutl snapshot status` stop at it"),
        "{message}"
    );
    assert!(message.ends_with("Page expected to be: 1, but self identifies as 0"), "{message}");
    let message = torn(&|page| page.fill(0xa5));
    assert!(message.contains("but self identifies as 11936128518282651045"), "{message}");
}

#[test]
fn a_hostile_high_water_mark_costs_no_memory() {
    // 20 kB that claim 2^63 pages.
    let mut bytes = sound();
    for page in [0, 4096] {
        bytes[page + 56..page + 64].copy_from_slice(&(1_u64 << 63).to_le_bytes());
        let checksum = etcdsnap_engine::bolt::layout::fnv1a64(&bytes[page + 16..page + 72]);
        bytes[page + 72..page + 80].copy_from_slice(&checksum.to_le_bytes());
    }
    let db = Db::from_bytes(&bytes, Limits::default()).unwrap();
    assert_eq!(db.bytes_in_file(), bytes.len() as u64);
    let parts = db.root().subtrees(1 << 20);
    assert!(parts.capacity() <= 16, "{} parts have room", parts.capacity());
}
