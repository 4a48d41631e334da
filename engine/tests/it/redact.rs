//! Copies that are shared. The dangers: a secret that stays, damage that goes, and a copy that says something else than
//! the original.

use std::{
    collections::{BTreeMap, HashSet},
    fs,
};

use etcdsnap_engine::{
    bolt::layout,
    finding::{Finding, Severity},
    limits::Limits,
    mvcc::{KeySpace, View},
    progress::Silent,
    redact::{Error, KeyMap, Keys, Redacted, redact_file},
    schema::{Store, auth, members},
    snapshot::{Digest, Image, status, verify},
    source::Access,
};

use crate::members::databases;

const MEMBERS: [&str; 5] =
    ["authon-36", "clean-34", "cluster3-35", "kube-37-secretbox", "crashed-36"];

fn redacted_with(bytes: &[u8], keys: &Keys) -> Result<(Vec<u8>, Redacted), Error> {
    let dir = tempfile::tempdir().unwrap();
    let target = dir.path().join("copy.db");
    let image = Image::split(bytes);
    let redacted = redact_file(&image, keys, &target, Access::Read, &Silent)?.publish(&Silent)?;
    let copy = fs::read(&target).unwrap();
    assert_eq!(copy.len(), bytes.len());
    Ok((copy, redacted))
}

fn redacted(bytes: &[u8]) -> (Vec<u8>, Redacted) {
    redacted_with(bytes, &Keys::Keep).unwrap()
}

fn snapshot() -> Vec<u8> {
    databases("authon-36").into_iter().find(|(path, _)| path.ends_with("snapshot.db")).unwrap().1
}

/// Every key with its numbers and the length of its value, as far as `bytes` has them.
fn contents(bytes: &[u8]) -> BTreeMap<Vec<u8>, (i64, i64, i64, i64, usize)> {
    let db = Image::split(bytes).db(Limits::default()).unwrap();
    let space = KeySpace::open(&Store::new(db)).unwrap();
    let view = View::at(&space, None, &Silent).unwrap();
    let record = |key: &[u8]| view.get(key).unwrap().unwrap().kv;
    view.keys(b"")
        .iter()
        .map(|key| {
            let kv = record(key);
            let numbers = (kv.create_revision, kv.mod_revision, kv.version, kv.lease);
            (key.to_vec(), (numbers.0, numbers.1, numbers.2, numbers.3, kv.value.len()))
        })
        .collect()
}

#[test]
fn real_files_stay_sound_and_say_the_same_but_for_values() {
    for name in MEMBERS {
        for (path, bytes) in databases(name) {
            let (copy, redacted) = redacted(&bytes);
            assert!(
                redacted.lost.is_empty() && redacted.gained.is_empty(),
                "{path}: {redacted:#?}"
            );
            assert!(!redacted.damaged, "{path}: {:#?}", redacted.findings);
            let verification = verify(&Image::split(&copy), Limits::default(), &Silent).unwrap();
            assert!(verification.is_sound(), "{path}: {:#?}", verification.findings);
            assert_eq!(contents(&bytes), contents(&copy), "{path}");
            let facts = |bytes: &[u8]| {
                let db = Image::split(bytes).db(Limits::default()).unwrap();
                let status = status(&db, &Silent).unwrap();
                (*db.metas(), status.revision, status.live_keys, status.size_bytes, status.version)
            };
            assert_eq!(facts(&bytes), facts(&copy), "{path}");
        }
    }
}

#[test]
fn two_copies_are_equal_and_threads_change_nothing() {
    let bytes = snapshot();
    let (one, _) = redacted(&bytes);
    for threads in [1, 3] {
        let pool = rayon::ThreadPoolBuilder::new().num_threads(threads).build().unwrap();
        assert!(pool.install(|| redacted(&bytes).0) == one, "{threads} threads");
    }
    // What was redacted has nothing left to redact.
    assert!(redacted(&one).0 == one);
}

#[test]
fn values_hashes_and_addresses_are_gone() {
    let bytes = snapshot();
    let (copy, _) = redacted(&bytes);
    let db = Image::split(&copy).db(Limits::default()).unwrap();
    let store = Store::new(db);
    let users = auth::users(&store).unwrap();
    assert!(!users.records.is_empty() && users.findings.is_empty());
    for user in &users.records {
        assert!(
            b"redacted redacted redacted redacted redacted redacted redacted "
                .starts_with(&user.password),
            "{user:?}"
        );
    }
    for member in members::members(&store).unwrap().records {
        let text = format!("{}{:?}{:?}", member.name, member.peer_urls, member.client_urls);
        let plain = text
            .replace("http", "")
            .chars()
            .all(|c| !c.is_ascii_alphanumeric() || c == 'x' || c == '0');
        assert!(plain && text.contains("http://000.0.0.0:0"), "{text}");
    }
    let space = KeySpace::open(&store).unwrap();
    for item in space.bucket().unwrap().items() {
        let record = etcdsnap_engine::mvcc::Record::decode(&item.unwrap()).unwrap();
        let words = b"redacted ".iter().cycle().take(record.kv.value.len());
        assert!(record.kv.value.iter().eq(words), "{record:?}");
    }
}

/// Puts text nobody should see into everything that is no structure: behind the last element of pages, on pages that do
/// not name themselves, behind the metas.
fn with_secrets(bytes: &mut [u8]) -> usize {
    let page_size = 4096;
    let mut planted = 0;
    let mut secret = |range: &mut [u8]| {
        for (at, byte) in range.iter_mut().enumerate() {
            *byte = b"QWZJKXVY"[(planted + at * 5) % 8];
        }
        planted += range.len();
    };
    let pages = bytes.len() / page_size;
    for page in 0..pages {
        let page_bytes = &mut bytes[page * page_size..(page + 1) * page_size];
        let id = u64::from_le_bytes(page_bytes[..8].try_into().unwrap());
        if page < 2 {
            secret(&mut page_bytes[80..]);
        } else if id == page as u64 && page_bytes[8] == 2 && page_bytes[12] == 0 {
            let count = usize::from(page_bytes[10]) + usize::from(page_bytes[11]) * 256;
            let end = (0..count).map(|index| {
                let field = |at: usize| {
                    let at = 16 + index * 16 + at;
                    u32::from_le_bytes(page_bytes[at..at + 4].try_into().unwrap()) as usize
                };
                16 + index * 16 + field(4) + field(8) + field(12)
            });
            let end = end.max().unwrap_or(16);
            secret(&mut page_bytes[end..]);
        }
    }
    planted
}

fn survivors(copy: &[u8]) -> usize {
    copy.windows(8).filter(|window| window.iter().all(|byte| b"QWZJKXVY".contains(byte))).count()
}

#[test]
fn nothing_stays_that_stood_beside_records() {
    let mut bytes =
        databases("clean-36").into_iter().find(|(path, _)| path.ends_with("db")).unwrap().1;
    let planted = with_secrets(&mut bytes);
    assert!(planted > 10_000, "{planted} bytes planted");
    // And a page that holds nothing else, one that claims to be something, and a tail.
    let pages = bytes.len() / 4096;
    let secret: Vec<u8> = b"QWZJKXVY".iter().copied().cycle().take(4096).collect();
    bytes.extend_from_slice(&secret);
    for flags in
        [layout::FLAG_LEAF, layout::FLAG_BRANCH, layout::FLAG_FREELIST, layout::FLAG_META, 0x5151]
    {
        let id = (bytes.len() / 4096) as u64;
        let mut page = secret.clone();
        page[..8].copy_from_slice(&id.to_le_bytes());
        page[8..10].copy_from_slice(&flags.to_le_bytes());
        page[10..12].copy_from_slice(&[200, 0]);
        page[12..16].fill(0);
        bytes.extend(page);
    }
    bytes.extend_from_slice(&secret[..1000]);
    let (copy, redacted) = redacted(&bytes);
    assert_eq!(survivors(&copy), 0);
    assert!(redacted.blanked.iter().any(|range| range.contains(&(pages as u64))), "{redacted:?}");
}

#[test]
fn damage_stays_what_it_was() {
    let sound = snapshot();
    let stride = if std::env::var_os("ETCDSNAP_LONG").is_some() { 97 } else { 4999 };
    let (mut same, mut looser, mut other) = (0, 0, Vec::new());
    // Every place, and the first bytes of pages once more, where ids, counts and pointers are.
    let places = (0..sound.len())
        .step_by(stride)
        .chain((0..sound.len()).step_by(4096).map(|at| at + at / 4096 % 64));
    for at in places {
        let mut bytes = sound.clone();
        bytes[at] ^= 1 << (at % 8);
        let Ok((_, redacted)) = redacted_with(&bytes, &Keys::Keep) else { panic!("at {at}") };
        let kinds = |findings: &[Finding]| -> Vec<_> {
            findings.iter().map(|found| (found.severity, found.code)).collect()
        };
        if redacted.lost.is_empty() && redacted.gained.is_empty() {
            same += 1;
        } else if kinds(&redacted.lost) == kinds(&redacted.gained) {
            looser += 1;
        } else {
            other.push((at, redacted));
        }
        // Damage never goes.
        let (copy, _) = redacted_with(&bytes, &Keys::Keep).unwrap();
        let verification = verify(&Image::split(&copy), Limits::default(), &Silent);
        assert!(verification.is_err() || !verification.unwrap().is_sound(), "{at}");
    }
    eprintln!("{same} the same, {looser} in other words, {} otherwise: {other:#?}", other.len());
    assert!(same > 50 * (looser + other.len()), "{looser} {other:#?}");
}

#[test]
fn a_wrong_digest_stays_wrong_and_a_right_one_is_right() {
    let mut bytes = snapshot();
    let sound = |bytes: &[u8]| {
        let found = verify(&Image::split(bytes), Limits::default(), &Silent).unwrap().findings;
        !found.iter().any(|finding| finding.code == "digest")
    };
    assert!(sound(&redacted(&bytes).0));
    let last = bytes.len() - 1;
    bytes[last] ^= 1;
    let (copy, redacted) = redacted(&bytes);
    assert!(!sound(&copy) && redacted.damaged && redacted.digest.is_none());
    assert_ne!(copy[last - 31..], bytes[last - 31..], "what stands there may be anything");
}

#[test]
fn files_without_metas_are_copied_too() {
    let mut bytes = snapshot();
    for page in [0, 4096] {
        bytes[page + 16..page + 20].fill(0xee);
        bytes[page + 40..page + 80].copy_from_slice(&[b'Q'; 40]);
    }
    let (copy, redacted) = redacted(&bytes);
    assert_eq!(survivors(&copy), 0);
    assert!(redacted.lost.is_empty() && redacted.gained.is_empty(), "{redacted:#?}");
    assert!(redacted.findings.iter().any(|finding| finding.severity == Severity::Damage));
    let refused = redacted_with(&b"no database at all".repeat(5000), &Keys::Keep);
    assert!(matches!(refused, Err(Error::Bolt(error)) if !error.is_damage()));
}

#[test]
fn replaced_keys_keep_history_shape_and_number() {
    let bytes = databases("kube-36").remove(0).1;
    let (copy, redacted) = redacted_with(&bytes, &Keys::Replace(KeyMap::new(b"seed"))).unwrap();
    assert!(redacted.lost.is_empty() && redacted.gained.is_empty(), "{redacted:#?}");
    let (before, after) = (contents(&bytes), contents(&copy));
    assert_eq!(before.len(), after.len());
    let numbers = |of: &BTreeMap<Vec<u8>, _>| -> HashSet<_> {
        of.values().copied().collect::<HashSet<(i64, i64, i64, i64, usize)>>()
    };
    assert_eq!(numbers(&before), numbers(&after));
    let shape =
        |key: &Vec<u8>| key.split(|byte| *byte == b'/').map(<[u8]>::len).collect::<Vec<_>>();
    let shapes = |of: &BTreeMap<Vec<u8>, _>| {
        let mut shapes: Vec<_> = of.keys().map(shape).collect();
        shapes.sort();
        shapes
    };
    assert_eq!(shapes(&before), shapes(&after));
    assert!(
        after.keys().any(|key| key.starts_with(b"/registry/serviceaccounts/kube-system/")),
        "well-known words stay: {:?}",
        after.keys().take(30).map(|key| String::from_utf8_lossy(key)).collect::<Vec<_>>()
    );
    let same = after.keys().filter(|key| before.contains_key(*key)).count();
    assert!(same < before.len() / 2, "{same} of {} keys are as they were", before.len());
}

#[test]
fn the_sequence_of_a_bucket_may_be_any_number() {
    let text = u64::from_le_bytes(*b"password");
    for sequence in [i64::MAX as u64, u64::MAX, 1 << 63, text] {
        let mut bytes = snapshot();
        let db = Image::split(&bytes).db(Limits::default()).unwrap();
        let item = db.root().item(b"key").unwrap().unwrap();
        let header = usize::try_from(db.offset_of(item.value).unwrap()).unwrap();
        bytes[header + 8..header + 16].copy_from_slice(&sequence.to_le_bytes());
        for page in [0, 4096] {
            let meta = &mut bytes[page + layout::META..page + layout::META + layout::META_SIZE];
            meta[layout::META_SEQUENCE..][..8].copy_from_slice(&sequence.to_le_bytes());
            let checksum = layout::fnv1a64(&meta[..layout::META_CHECKSUM]);
            meta[layout::META_CHECKSUM..].copy_from_slice(&checksum.to_le_bytes());
        }
        let digest_at = bytes.len() - 32;
        let digest = Digest::of(&bytes[..digest_at]);
        bytes[digest_at..].copy_from_slice(&digest.0);
        let (copy, redacted) = redacted(&bytes);
        assert!(
            redacted.lost.is_empty() && redacted.gained.is_empty(),
            "{sequence:x}: {redacted:?}"
        );
        assert_eq!(contents(&copy), contents(&bytes), "{sequence:x}");
        let kept = copy.windows(8).filter(|window| **window == sequence.to_le_bytes()).count();
        assert_eq!(kept > 0, sequence != text, "{sequence:x}");
    }
}

#[test]
fn what_stands_behind_a_digest_is_not_copied() {
    let mut bytes = snapshot();
    let whole = bytes.len();
    bytes.extend(b"a secret on the block device ".repeat(40));
    let (copy, redacted) = redacted(&bytes);
    assert!(redacted.lost.is_empty() && redacted.gained.is_empty(), "{redacted:?}");
    assert!(copy[whole..].iter().all(|byte| *byte == 0));
    assert!(Image::split(&copy).is_snapshot());
}
