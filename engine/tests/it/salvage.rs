//! Salvage of damaged databases. The danger: a record that could be read and is left behind, a deleted key that comes
//! back in silence, a value that nobody ever wrote.

use std::{collections::BTreeMap, io::Cursor};

use etcdsnap_engine::{
    bolt::{Db, check::check},
    finding::Severity,
    limits::Limits,
    mvcc::{KeyIndex, KeySpace},
    progress::Silent,
    salvage::{Carver, Doubt, Options, Report, Salvage, doubtful},
    schema::Store,
    snapshot::{Image, verify},
};
use fastrand::Rng;

use crate::{
    broken::{Damage, live, records, untouched},
    members::databases,
};

const FIXTURES: [&str; 6] =
    ["clean-34", "clean-37", "crashed-35", "crashed-36", "kube-36", "authon-36"];

/// The db of a real member.
fn db(name: &str) -> Vec<u8> {
    let found = databases(name).into_iter().find(|(path, _)| path.ends_with("snap/db"));
    found.unwrap().1
}

fn saved(bytes: &[u8], options: Options) -> Option<(Vec<u8>, Report)> {
    let mut salvage = Salvage::read(bytes, options, &Silent).unwrap();
    let txid = salvage.txid();
    let unsealed = salvage.write(Cursor::new(Vec::new()), &Silent).ok()?;
    let out = unsealed.seal(txid).unwrap().0.into_inner();
    Some((out, salvage.report().clone()))
}

/// Share of the records on untouched pages, of all records, of keys; and how many keys are doubtful.
#[derive(Default)]
struct Share {
    records: (usize, usize),
    keys: (usize, usize),
    doubtful: usize,
}

fn judge(name: &str, bytes: &[u8], broken: &[u8], share: &mut Share) {
    let wanted = untouched(bytes, broken);
    let Some((out, report)) = saved(broken, Options::default()) else {
        assert!(wanted.is_empty(), "{name}: nothing saved, {} records are there", wanted.len());
        return;
    };
    let db = Db::from_bytes(&out, Limits::default()).unwrap();
    let found = check(&db, &Silent).unwrap();
    assert!(found.is_empty(), "{name}: {found:?}");
    let verification = verify(&Image::without_trailer(&out), Limits::default(), &Silent).unwrap();
    let damage = verification.findings.iter().find(|one| one.severity == Severity::Damage);

    let (before, after) = (records(bytes), records(&out));
    let lost =
        wanted.iter().find(|(key, value)| after.get(*key).map(|is| &is.value) != Some(value));
    assert!(lost.is_none(), "{name}: record {:02x?} is left behind: {report:#?}", lost.unwrap().0);
    for (key, is) in &after {
        if before.get(key).is_some_and(|was| was.value == is.value) {
            continue;
        }
        let stands = broken
            .windows(key.len() + is.value.len())
            .any(|at| at.starts_with(key) && at.ends_with(&is.value));
        assert!(stands, "{name}: record {key:02x?} is in no file");
    }
    assert!(damage.is_none(), "{name}: {damage:?} {report:#?}");
    let doubted = doubtful(&db, &report, None, &Silent).unwrap();
    let doubted: BTreeMap<_, _> = doubted.into_iter().map(|one| (one.key, one.doubt)).collect();
    let (was, is) = (live(bytes), live(&out));
    for (key, revision) in &is {
        assert!(
            was.get(key) == Some(revision) || doubted.contains_key(key),
            "{name}: key {} at {revision}, which was {:?}, is not doubtful: {report:#?}",
            key.escape_ascii(),
            was.get(key)
        );
    }
    assert!(
        broken == bytes || !report.is_whole() || after.len() == before.len(),
        "{name}: {report:#?}"
    );
    share.records.0 += before.keys().filter(|key| after.contains_key(*key)).count();
    share.records.1 += before.len();
    share.keys.0 += was.iter().filter(|(key, revision)| is.get(*key) == Some(revision)).count();
    share.keys.1 += was.len();
    share.doubtful += doubted.len();
}

#[test]
fn what_stands_on_intact_pages_is_saved_and_the_rest_is_doubtful_whatever_the_damage() {
    let seed = std::env::var("ETCDSNAP_SEED").ok().and_then(|seed| seed.parse().ok()).unwrap_or(7);
    let times = std::env::var("ETCDSNAP_TIMES").ok().and_then(|n| n.parse().ok()).unwrap_or(3);
    let mut rng = Rng::with_seed(seed);
    let mut shares: BTreeMap<Damage, Share> = BTreeMap::new();
    for fixture_name in FIXTURES {
        let bytes = db(fixture_name);
        for damage in Damage::ALL {
            for time in 0..times {
                let broken = damage.done_to(&bytes, &mut rng);
                let name = format!("{fixture_name} {} {time}", damage.name());
                judge(&name, &bytes, &broken, shares.entry(damage).or_default());
            }
        }
    }
    for (damage, Share { records, keys, doubtful }) in shares {
        let percent = |(of, all): (usize, usize)| 100.0 * of as f64 / all as f64;
        println!(
            "{:<10} records {:>6.2} %, keys {:>6.2} %, doubtful {:>6.2} %",
            damage.name(),
            percent(records),
            percent(keys),
            percent((doubtful, keys.1))
        );
    }
}

#[test]
fn of_an_undamaged_file_everything_is_saved_and_nothing_said() {
    for name in FIXTURES {
        let bytes = db(name);
        let (out, report) = saved(&bytes, Options::default()).unwrap();
        assert!(report.is_whole(), "{name}: {report:#?}");
        let hash = |bytes: &[u8]| {
            let db = Db::from_bytes(bytes, Limits::default()).unwrap();
            etcdsnap_engine::content::status_hash(&db, &Silent).unwrap()
        };
        assert_eq!(hash(&bytes), hash(&out), "{name}");
        let db = Db::from_bytes(&out, Limits::default()).unwrap();
        let space = KeySpace::open(&Store::new(db)).unwrap();
        assert!(KeyIndex::build(space.bucket(), i64::MAX, &Silent).unwrap().live_keys() > 0);
    }
}

#[test]
fn any_bytes_end_in_an_answer() {
    let mut rng = Rng::with_seed(5);
    let sound = db("crashed-36");
    let mut files = vec![Vec::new(), vec![0; 100], vec![0; 40_000], vec![0xff; 40_000]];
    for _ in 0..40 {
        // The part in use, with bytes changed in headers and tables, where it hurts.
        let mut bytes = sound[..240 * 4096].to_vec();
        for _ in 0..rng.usize(1..60) {
            let at = rng.usize(..240) * 4096 + rng.usize(..96);
            bytes[at] = rng.u8(..);
        }
        bytes.truncate(rng.usize(1..=bytes.len()));
        files.push(bytes);
    }
    for bytes in files {
        for include_freed in [false, true] {
            saved_or_not(&bytes, Options { include_freed, ..Options::default() });
        }
        let carver = Carver::new(&bytes, &Silent).unwrap();
        carver.run(&Silent, &mut |_| true).unwrap();
    }
}

/// Whatever is saved is a sound database.
fn saved_or_not(bytes: &[u8], options: Options) {
    let Ok(mut salvage) = Salvage::read(bytes, options, &Silent) else { return };
    let txid = salvage.txid();
    let Ok(unsealed) = salvage.write(Cursor::new(Vec::new()), &Silent) else { return };
    let out = unsealed.seal(txid).unwrap().0.into_inner();
    let db = Db::from_bytes(&out, Limits::default()).unwrap();
    assert_eq!(check(&db, &Silent).unwrap(), []);
    doubtful(&db, salvage.report(), None, &Silent).unwrap();
}

#[test]
fn what_is_salvaged_and_carved_does_not_depend_on_the_number_of_threads() {
    let bytes = db("crashed-36");
    let mut rng = Rng::with_seed(3);
    let mut broken = Damage::Branch.done_to(&bytes, &mut rng);
    // What is in use once more behind it, so that there is something in several pieces of the work.
    let used = 240 * 4096;
    for page in [2500, 4500] {
        let at = page * 4096;
        broken.resize(broken.len().max(at + used), 0);
        broken.copy_within(..used, at);
    }
    let run = |threads| {
        let pool = rayon::ThreadPoolBuilder::new().num_threads(threads).build().unwrap();
        pool.install(|| {
            let mut carved = Vec::new();
            let carver = Carver::new(&broken, &Silent).unwrap();
            carver
                .run(&Silent, &mut |record| {
                    carved.push((record.revision, record.offset, record.origin, record.complete));
                    true
                })
                .unwrap();
            (saved(&broken, Options { include_freed: true, ..Options::default() }).unwrap(), carved)
        })
    };
    let one = run(1);
    let pieces = [0, 2500, 4500].map(|page| page * 4096..page * 4096 + used as u64);
    let carved = |piece: &std::ops::Range<u64>| one.1.iter().any(|found| piece.contains(&found.1));
    assert!(pieces.iter().all(carved));
    assert_eq!(one, run(2));
    assert_eq!(one, run(8));
}

#[test]
fn what_is_free_comes_back_only_when_asked_for_and_then_in_doubt() {
    // It was deleted and compacted away; its page was not used again.
    let bytes = db("crashed-36");
    let freed = saved(&bytes, Options { include_freed: true, ..Options::default() }).unwrap();
    let plain = saved(&bytes, Options::default()).unwrap();
    let (was, plain, freed_keys) = (live(&bytes), live(&plain.0), live(&freed.0));
    assert_eq!(was, plain);
    let db = Db::from_bytes(&freed.0, Limits::default()).unwrap();
    let doubted = doubtful(&db, &freed.1, None, &Silent).unwrap();
    assert!(freed.1.found_records > 0, "{:#?}", freed.1);
    assert!(freed.1.runs.iter().any(|run| run.doubt == Doubt::Freed), "{:#?}", freed.1.runs);
    for (key, revision) in freed_keys {
        let known = was.get(&key) == Some(&revision);
        assert!(known || doubted.iter().any(|one| one.key == key), "{}", key.escape_ascii());
    }
}

/// A leaf of put records of keys `k` and the revision, at page `id`.
fn leaf_page(id: u64, revisions: &[u8]) -> Vec<u8> {
    let (mut table, mut data) = (Vec::new(), Vec::new());
    for (at, main) in revisions.iter().enumerate() {
        let key = [&[0, 0, 0, 0, 0, 0, 0, *main, b'_'][..], &[0; 8]].concat();
        let name = format!("k{main}");
        let mut value = vec![0x0a, name.len() as u8];
        value.extend(name.as_bytes());
        value.extend([0x10, *main, 0x18, *main, 0x20, 1, 0x2a, 1, *main]);
        let pos = (revisions.len() - at) * 16 + data.len();
        for field in [0, pos, key.len(), value.len()] {
            table.extend(u32::try_from(field).unwrap().to_le_bytes());
        }
        data.extend(key);
        data.extend(value);
    }
    let mut page = id.to_le_bytes().to_vec();
    page.extend(2_u16.to_le_bytes());
    page.extend(u16::try_from(revisions.len()).unwrap().to_le_bytes());
    page.extend([0; 4]);
    page.extend(table);
    page.extend(data);
    page.resize(4096, 0);
    page
}

#[test]
fn a_leaf_that_spans_a_revision_and_lacks_it_proves_that_it_was_compacted_away() {
    let old = leaf_page(2, &[2, 3, 4, 5]);
    // The same leaf later: 3 was compacted away, 6 is new.
    let new = leaf_page(3, &[2, 4, 5, 6]);
    let bytes = [vec![0; 8192], old.clone(), new].concat();
    let keys = |bytes: &[u8], options| {
        let (out, report) = saved(bytes, options).unwrap();
        let names = live(&out).into_keys().map(|key| String::from_utf8(key).unwrap());
        (names.collect::<Vec<_>>().join(" "), report)
    };
    let (names, report) = keys(&bytes, Options::default());
    assert_eq!((names.as_str(), report.superseded), ("k2 k4 k5 k6", 1));
    let wanted = Options { include_freed: true, ..Options::default() };
    let (names, _) = keys(&bytes, wanted);
    assert_eq!(names, "k2 k3 k4 k5 k6");
    let (out, report) = saved(&bytes, wanted).unwrap();
    let db = Db::from_bytes(&out, Limits::default()).unwrap();
    let doubted = doubtful(&db, &report, None, &Silent).unwrap();
    let freed = doubted.iter().filter(|one| one.doubt == Doubt::Freed);
    assert_eq!(freed.map(|one| one.key.as_slice()).collect::<Vec<_>>(), [b"k3"]);
    // One that is damaged, or stands elsewhere, proves nothing.
    let mut elsewhere = leaf_page(9, &[2, 4, 5, 6]);
    let (names, _) =
        keys(&[vec![0; 8192], old.clone(), elsewhere.clone()].concat(), Options::default());
    assert_eq!(names, "k2 k3 k4 k5 k6");
    elsewhere[0] = 3;
    elsewhere[16 + 16 + 8] = 0;
    let (names, _) = keys(&[vec![0; 8192], old, elsewhere].concat(), Options::default());
    assert_eq!(names, "k2 k3 k4 k5 k6");
}

#[test]
fn a_copy_of_what_the_database_has_is_no_news() {
    // Its free pages hold older copies of leaves in use.
    let bytes = db("crashed-36");
    let known = records(&bytes);
    let mut carved = 0;
    Carver::new(&bytes, &Silent)
        .unwrap()
        .run(&Silent, &mut |record| {
            assert!(!known.contains_key(&record.revision.encode()), "{record:?}");
            let stored = record.revision.encode();
            let at = record.offset as usize;
            assert_eq!(bytes[at..at + stored.len()], stored, "it does not stand there");
            carved += 1;
            true
        })
        .unwrap();
    assert_eq!(carved, 31);
}

#[test]
fn a_record_whose_value_seems_to_be_empty_is_lost_and_not_made_empty() {
    // The last element of a leaf says that its value has no bytes, as the mark of a raised revision has none.
    let bytes = db("clean-37");
    let tree = Db::from_bytes(&bytes, Limits::default()).unwrap();
    let store = Store::new(tree);
    let space = KeySpace::open(&store).unwrap();
    let item = space.bucket().unwrap().items().next().unwrap().unwrap();
    let page = item.page.0 as usize * 4096;
    let count = usize::from(u16::from_le_bytes([bytes[page + 10], bytes[page + 11]]));
    let mut broken = bytes.clone();
    let size = page + 16 * count + 12;
    broken[size..size + 4].fill(0);
    let (out, report) = saved(&broken, Options::default()).unwrap();
    assert!(records(&out).values().all(|record| !record.value.is_empty()));
    assert_eq!((report.cut_records, records(&bytes).len() - records(&out).len()), (1, 1));
    let named = &report.cut[0];
    assert!(named.revision.is_some(), "{named:?}");
}

#[test]
fn a_last_element_that_claims_the_pages_behind_it_takes_no_record_of_theirs() {
    let bytes = db("clean-36");
    let tree = Db::from_bytes(&bytes, Limits::default()).unwrap();
    let bucket = tree.root().bucket(b"key").unwrap().unwrap();
    let leaves: Vec<_> = bucket.leaves().map(|leaf| leaf.unwrap().page().0 as usize).collect();
    // One with leaves right behind it.
    let page = *leaves.iter().find(|page| leaves.contains(&(**page + 1))).unwrap() * 4096;
    let count = usize::from(u16::from_le_bytes([bytes[page + 10], bytes[page + 11]]));
    for claimed in [5_000_u32, 40_000] {
        let mut broken = bytes.clone();
        let size = page + 16 * count + 12;
        broken[size..size + 4].copy_from_slice(&claimed.to_le_bytes());
        let mut share = Share::default();
        judge("claims", &bytes, &broken, &mut share);
        assert_eq!(share.records.0 + 1, share.records.1, "{claimed}");
    }
}

#[test]
fn a_record_lost_between_revisions_that_count_on_makes_older_keys_doubtful() {
    // The last change of a transaction is damaged, and the next transaction follows in the next leaf.
    let mut seen = 0;
    for name in FIXTURES {
        let bytes = db(name);
        let tree = Db::from_bytes(&bytes, Limits::default()).unwrap();
        let space = KeySpace::open(&Store::new(tree)).unwrap();
        let items: Vec<_> = space.bucket().unwrap().items().map(Result::unwrap).collect();
        let main = |at: usize| items[at].key[..8].to_vec();
        for at in 1..items.len() - 1 {
            let last = items[at + 1].page != items[at].page && main(at) == main(at - 1);
            if !last || main(at) <= (space.compact_revision().max(0) as u64).to_be_bytes().to_vec()
            {
                continue;
            }
            let mut broken = bytes.clone();
            let size = items[at].page.0 as usize * 4096 + 16 + 16 * items[at].index + 8;
            broken[size] += 1;
            judge(name, &bytes, &broken, &mut Share::default());
            let (_, report) = saved(&broken, Options::default()).unwrap();
            assert_eq!((report.cut_records, report.hole_count), (1, 1), "{name}: {report:#?}");
            assert!(report.holes[0].certain, "{name}: {report:#?}");
            // Of the only valid meta as of the newest of two.
            broken[..4096].fill(0);
            judge(name, &bytes, &broken, &mut Share::default());
            seen += 1;
        }
    }
    assert!(seen > 3, "{seen}");
}

#[test]
fn a_damaged_leaf_that_no_tree_leads_to_explains_nothing() {
    let mut end = leaf_page(3, &[5, 6, 7]);
    let whole = [vec![0; 8192], leaf_page(2, &[2, 3, 4]), end.clone()].concat();
    let (_, report) = saved(&whole, Options::default()).unwrap();
    assert_eq!(report.hole_count, 0, "{report:#?}");
    // The value of its last record seems to be empty.
    end[16 + 2 * 16 + 12] = 0;
    let broken = [vec![0; 8192], leaf_page(2, &[2, 3, 4]), end].concat();
    let (_, report) = saved(&broken, Options::default()).unwrap();
    assert_eq!(report.holes.last().map(|hole| hole.before), Some(None), "{report:#?}");

    // The same of real ones, below a root that is destroyed.
    for name in FIXTURES {
        let bytes = db(name);
        let tree = Db::from_bytes(&bytes, Limits::default()).unwrap();
        let root = tree.meta().root.0 as usize * 4096;
        let bucket = tree.root().bucket(b"key").unwrap().unwrap();
        let leaves: Vec<_> = bucket.leaves().map(|leaf| leaf.unwrap().page().0 as usize).collect();
        for leaf in leaves.iter().rev().take(3) {
            let page = leaf * 4096;
            let count = usize::from(u16::from_le_bytes([bytes[page + 10], bytes[page + 11]]));
            for (index, field) in [(count - 1, 8), (count - 1, 12), (count / 2, 4), (0, 8)] {
                let mut broken = bytes.clone();
                broken[root..root + 4096].fill(0);
                broken[page + 16 + 16 * index + field] ^= 5;
                judge(&format!("{name} {leaf} {index}"), &bytes, &broken, &mut Share::default());
            }
        }
    }
}
