//! Damaged snapshots of a real member. The danger: damage that is called sound, a panic, work without end,
//! or a report that depends on the number of threads.

use std::{sync::OnceLock, time::Instant};

use etcdsnap_engine::{
    bolt::check::{check, check_sequential},
    finding::{Finding, Place, Severity},
    limits::Limits,
    mvcc::{KeySpace, hash_kv},
    progress::Silent,
    schema::Store,
    snapshot::{Image, Verification, status, verify},
};
use proptest::prelude::*;
use rayon::prelude::*;

use crate::members::databases;

/// The snapshot of a member with users, leases and a compaction; see `testdata/README.md`.
fn snapshot() -> &'static [u8] {
    static SNAPSHOT: OnceLock<Vec<u8>> = OnceLock::new();
    SNAPSHOT.get_or_init(|| {
        let snapshot =
            databases("authon-36").into_iter().find(|(path, _)| path.ends_with("snapshot.db"));
        snapshot.unwrap().1
    })
}

fn verified(bytes: &[u8]) -> Option<Verification> {
    verify(&Image::split(bytes), Limits::default(), &Silent).ok()
}

fn threads(count: usize) -> rayon::ThreadPool {
    rayon::ThreadPoolBuilder::new().num_threads(count).build().unwrap()
}

#[test]
fn every_flipped_byte_is_found_and_its_place_is_named_where_structure_can_tell() {
    let sound = snapshot();
    assert!(verified(sound).unwrap().is_sound());
    // A stride that meets every offset within a page; all bytes under ETCDSNAP_LONG.
    let stride = if std::env::var_os("ETCDSNAP_LONG").is_some() { 1 } else { 61 };
    let (located, digest_only) = (0..sound.len())
        .into_par_iter()
        .step_by(stride)
        .map(|at| {
            let mut bytes = sound.to_vec();
            bytes[at] ^= 1 << (at % 8);
            let Some(verification) = verified(&bytes) else { return (1_u64, 0_u64) };
            assert!(!verification.is_sound(), "the flip at {at} was not found");
            let damage = |finding: &&Finding| finding.severity == Severity::Damage;
            let found: Vec<&Finding> = verification.findings.iter().filter(damage).collect();
            assert!(
                found.iter().any(|finding| finding.code == "digest"),
                "the digest covers byte {at}"
            );
            let placed = found.iter().any(|finding| finding.code != "digest")
                || verification.findings.iter().any(|finding| finding.code == "torn-meta");
            if !placed {
                let digest = found.first().unwrap();
                assert!(
                    digest.message.contains("digest differs, structure sound"),
                    "{}",
                    digest.message
                );
            }
            if placed { (1, 0) } else { (0, 1) }
        })
        .reduce(|| (0, 0), |a, b| (a.0 + b.0, a.1 + b.1));
    println!("{located} flips located by structure, {digest_only} by the digest alone");
    assert!(located > 0 && digest_only > 0);
}

#[test]
fn a_flip_in_a_known_place_is_named_by_that_place() {
    let sound = snapshot();
    let db = Image::split(sound).db(Limits::default()).unwrap();
    let (root, page_size) = (db.meta().root.0, db.page_size());
    let at = |page: u64, offset: u64| usize::try_from(page * page_size + offset).unwrap();
    let key = db.root().bucket(b"key").unwrap().unwrap();
    let item = key.items().nth(10).unwrap().unwrap();
    let record = usize::try_from(db.offset_of(item.key).unwrap()).unwrap();
    let cases: [(usize, u8, &str, Option<Place>); 6] = [
        (at(1, 16), 1, "torn-meta", Some(Place::Page(1))),
        (at(root, 0), 1, "page-id", Some(Place::Page(root))),
        (at(root, 8), 0x40, "page-type", Some(Place::Page(root))),
        (at(root, 13), 0x80, "overflow", Some(Place::Page(root))),
        // The separator of a revision key, and the field tag of its value's key.
        (record + 8, 1, "undecodable", None),
        (record + item.key.len(), 0xff, "undecodable", None),
    ];
    for (at, flip, code, place) in cases {
        let mut bytes = sound.to_vec();
        bytes[at] ^= flip;
        let verification = verified(&bytes).unwrap();
        assert!(!verification.is_sound());
        let named = verification.findings.iter().any(|finding| {
            finding.code == code && place.as_ref().is_none_or(|place| *place == finding.place)
        });
        assert!(named, "{code} at {at}: {:#?}", verification.findings);
    }
}

#[test]
fn every_truncation_is_told() {
    let sound = snapshot();
    let lengths = (0..sound.len()).step_by(509).chain(sound.len() - 600..sound.len());
    for len in lengths.collect::<Vec<_>>() {
        let bytes = &sound[..len];
        let verification = verified(bytes);
        if len == sound.len() - 32 {
            let verification = verification.unwrap();
            assert!(verification.is_sound());
            assert!(verification.findings.iter().any(|finding| finding.code == "no-trailer"));
        } else {
            assert!(
                verification.is_none_or(|verification| !verification.is_sound()),
                "cut to {len}"
            );
        }
    }
}

/// Everything that reads, on bytes that may be anything.
fn read_all(bytes: &[u8]) -> String {
    let began = Instant::now();
    let image = Image::split(bytes);
    let mut out = format!("{:?}", verify(&image, Limits::default(), &Silent));
    if let Ok(db) = image.db(Limits::default()) {
        let findings = check(&db, &Silent).unwrap();
        assert_eq!(findings, check_sequential(&db), "the parallel check says something else");
        out += &format!("{findings:?}{:?}", status(&db, &Silent));
        if let Ok(space) = KeySpace::open(&Store::new(db)) {
            out += &format!("{:?}", hash_kv(&space, None, &Silent));
        }
    }
    assert!(began.elapsed().as_secs() < 10, "took {:?}", began.elapsed());
    out
}

/// Recomputes the checksums of both metas, so that damage gets past them.
fn seal(bytes: &mut [u8]) {
    for page in [0, 4096] {
        if let Some(meta) = bytes.get_mut(page + 16..page + 80) {
            let checksum = etcdsnap_engine::bolt::layout::fnv1a64(&meta[..56]);
            meta[56..].copy_from_slice(&checksum.to_le_bytes());
        }
    }
}

/// Thousands of cases under ETCDSNAP_LONG.
fn cases() -> ProptestConfig {
    ProptestConfig::with_cases(if std::env::var_os("ETCDSNAP_LONG").is_some() { 4000 } else { 128 })
}

proptest! {
    #![proptest_config(cases())]

    #[test]
    fn mutated_snapshots_never_panic_and_read_alike_at_any_number_of_threads(
        changes in prop::collection::vec((any::<prop::sample::Index>(), 0_usize..64, any::<u64>()), 1..12),
        in_headers in any::<bool>(),
        sealed in any::<bool>(),
    ) {
        let mut bytes = snapshot().to_vec();
        for (at, within, value) in changes {
            let at = at.index(bytes.len() - 64);
            // Half of the cases change the first bytes of pages, where ids, counts and pointers are.
            let at = if in_headers { at / 4096 * 4096 + within } else { at };
            // Small numbers are page ids and sizes that exist.
            let value = if value % 3 == 0 { value } else { value % 128 };
            bytes[at..at + 8].copy_from_slice(&value.to_le_bytes());
        }
        if sealed {
            seal(&mut bytes);
        }
        let one = threads(1).install(|| read_all(&bytes));
        for count in [2, 8] {
            prop_assert_eq!(&threads(count).install(|| read_all(&bytes)), &one, "{} threads", count);
        }
    }

    #[test]
    fn random_bytes_behind_valid_metas_never_panic(
        tail in prop::collection::vec(any::<u8>(), 0..40_000),
        root in 0_u64..12,
        high_water_mark in prop_oneof![0_u64..16, any::<u64>()],
        freelist in prop_oneof![Just(u64::MAX), 0_u64..12],
    ) {
        let mut bytes = snapshot()[..8192].to_vec();
        for page in [0, 4096] {
            bytes[page + 32..page + 40].copy_from_slice(&root.to_le_bytes());
            bytes[page + 48..page + 56].copy_from_slice(&freelist.to_le_bytes());
            bytes[page + 56..page + 64].copy_from_slice(&high_water_mark.to_le_bytes());
        }
        seal(&mut bytes);
        bytes.extend(tail);
        read_all(&bytes);
    }

    #[test]
    fn random_bytes_never_panic(bytes in prop::collection::vec(any::<u8>(), 0..20_000)) {
        read_all(&bytes);
    }
}
