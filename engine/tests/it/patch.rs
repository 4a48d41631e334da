//! The danger: a patched copy that still refers to what was replaced, loses what was kept, or breaks
//! the order or the branches at the right edge, where new entries go.

use std::io::Cursor;

use etcdsnap_engine::{
    bolt::{
        Bucket, Db, layout,
        patch::{Patch, PatchError, Patched},
        write::{BucketOptions, Fill, Options, PageSize, WriteError},
    },
    limits::Limits,
};
use proptest::prelude::*;

use crate::members::databases;
use crate::{
    buckets::{Contents, Entry, all_options, assert_sound},
    write::buckets,
    write_bbolt::{Bench, bbolt},
};

fn open(bytes: &[u8]) -> Db<'_> {
    Db::from_bytes(bytes, Limits::default()).unwrap()
}

/// A copy of `db` with the patch, checked.
fn apply(db: &[u8], patched: &Patched) -> Vec<u8> {
    let mut copy = Cursor::new(db.to_vec());
    patched.write_pages(&mut copy).unwrap();
    patched.write_metas(&mut copy).unwrap();
    let mut copy = copy.into_inner();
    copy.truncate(patched.meta.size_bytes() as usize);
    assert_sound(&copy);
    assert_eq!(open(&copy).meta(), &patched.meta);
    copy
}

fn values(count: u32, key: usize, value: usize) -> Contents {
    Contents::values((0..count).map(|n| {
        let mut bytes = n.to_be_bytes().to_vec();
        bytes.resize(key.max(4), b'k');
        (bytes, vec![n as u8; value])
    }))
}

fn file(contents: &Contents, options: Options, fill: Fill) -> Vec<u8> {
    contents.write(options, BucketOptions { fill, sequence: 0 }, 6)
}

fn bucket_mut<'c>(contents: &'c mut Contents, name: &[u8]) -> &'c mut Contents {
    match contents.entries.entry(name.to_vec()).or_insert(Entry::Bucket(Contents::default())) {
        Entry::Bucket(bucket) => bucket,
        Entry::Value(_) => panic!("not a bucket"),
    }
}

#[test]
fn a_patch_without_changes_keeps_the_contents_and_steps_the_transaction() {
    for options in all_options(&[1024, 4096, 65536]) {
        let contents = Contents::of([(b"b".to_vec(), Entry::Bucket(values(900, 9, 9)))]);
        let bytes = file(&contents, options, Fill::DENSE);
        let patched = Patch::new(&open(&bytes)).unwrap().finish().unwrap();
        assert_eq!(patched.meta.txid.0, 7);
        assert_eq!(patched.meta.freelist, None);
        assert_eq!(patched.pages.len(), options.page_size.bytes() as usize);
        assert_eq!(Contents::read_file(&apply(&bytes, &patched)), contents);
    }
}

#[test]
fn appended_entries_follow_those_of_every_size_of_tree() {
    // 1 KiB pages full of small entries: from an empty inline bucket to three levels of branches.
    let options = Options { page_size: PageSize::new(1024).unwrap(), ..Options::default() };
    for count in (0..40).chain([500, 1199, 1200, 1201, 1250, 20_000, 60_000]) {
        for added in [1, 2, 300] {
            let all = values(count + added, 9, 15);
            let before = Contents::of([(b"b".to_vec(), Entry::Bucket(values(count, 9, 15)))]);
            let bytes = file(&before, options, Fill::FULL);
            let db = open(&bytes);
            let mut patch = Patch::new(&db).unwrap();
            for (key, value) in all.entries.iter().skip(count as usize) {
                let Entry::Value(value) = value else { panic!("only values here") };
                patch.append(b"b", key, value).unwrap();
            }
            let patched = patch.finish().unwrap();
            let depth_and_root = 6;
            assert!(added > 2 || patched.pages.len() <= 1024 * 2 * depth_and_root);
            let after = Contents::of([(b"b".to_vec(), Entry::Bucket(all))]);
            assert_eq!(Contents::read_file(&apply(&bytes, &patched)), after);
        }
    }
}

#[test]
fn keys_not_greater_than_the_last_are_refused() {
    for count in [1, 5000] {
        let contents = Contents::of([(b"b".to_vec(), Entry::Bucket(values(count, 4, 4)))]);
        let bytes = file(&contents, Options::default(), Fill::DENSE);
        let db = open(&bytes);
        let mut patch = Patch::new(&db).unwrap();
        for key in [(count - 1).to_be_bytes(), 0_u32.to_be_bytes()] {
            let refused = patch.append(b"b", &key, b"v");
            assert!(matches!(refused, Err(PatchError::Write(WriteError::Order { .. }))));
        }
        patch.append(b"b", &count.to_be_bytes(), b"v").unwrap();
    }
}

#[test]
fn a_missing_bucket_can_be_created_but_not_appended_to() {
    let bytes = file(&Contents::default(), Options::default(), Fill::DENSE);
    let db = open(&bytes);
    let mut patch = Patch::new(&db).unwrap();
    assert!(matches!(patch.append(b"b", b"k", b"v"), Err(PatchError::NoBucket { .. })));
    patch.replace_bucket(b"b", BucketOptions::default(), [(b"j", b"v")]).unwrap();
    patch.append(b"b", b"k", b"v").unwrap();
    let read = Contents::read_file(&apply(&bytes, &patch.finish().unwrap()));
    let expected = [(b"j".to_vec(), b"v".to_vec()), (b"k".to_vec(), b"v".to_vec())];
    assert_eq!(read.at(&[b"b"]), &Contents::values(expected));
}

#[test]
fn a_file_without_its_tail_is_refused() {
    let bytes = file(&Contents::default(), Options::default(), Fill::DENSE);
    let short = &bytes[..bytes.len() - 1];
    assert!(matches!(Patch::new(&open(short)), Err(PatchError::MissingTail { .. })));
}

#[test]
fn a_tail_behind_the_database_is_overwritten() {
    let contents = Contents::of([(b"b".to_vec(), Entry::Bucket(values(3, 4, 4)))]);
    let mut bytes = file(&contents, Options::default(), Fill::DENSE);
    let len = bytes.len() as u64;
    bytes.resize(bytes.len() + 100_000, 0xaa);
    let db = open(&bytes);
    let mut patch = Patch::new(&db).unwrap();
    patch.append(b"b", b"z", b"v").unwrap();
    let patched = patch.finish().unwrap();
    assert_eq!(patched.offset, len);
    apply(&bytes, &patched);
}

/// Replaces the first bucket, creates one, and appends to every other one.
fn change_all(bytes: &[u8]) -> (Vec<u8>, Contents) {
    let db = open(bytes);
    let mut contents = Contents::read(&db.root());
    let mut patch = Patch::new(&db).unwrap();
    let names: Vec<_> = contents.entries.keys().cloned().collect();
    for (index, name) in names.iter().enumerate() {
        let bucket = bucket_mut(&mut contents, name);
        if index == 0 {
            let new = values(700, 12, 30);
            let entries = new.entries.iter().map(|(key, value)| match value {
                Entry::Value(value) => (key, value),
                Entry::Bucket(_) => panic!("only values here"),
            });
            let options = BucketOptions { sequence: 3, ..BucketOptions::default() };
            patch.replace_bucket(name, options, entries).unwrap();
            *bucket = Contents { sequence: 3, entries: new.entries };
            continue;
        }
        let mut key = bucket.entries.keys().last().cloned().unwrap_or_default();
        for value in [0, 10, 9000, 3] {
            if key.len() < 32000 {
                key.push(b'~');
                patch.append(name, &key, &vec![b'v'; value]).unwrap();
                bucket.entries.insert(key.clone(), Entry::Value(vec![b'v'; value]));
            }
        }
    }
    let options = BucketOptions::default();
    patch.replace_bucket(b"~ new", options, [(b"k", b"v")]).unwrap();
    *bucket_mut(&mut contents, b"~ new") = Contents::values([(b"k".to_vec(), b"v".to_vec())]);
    (apply(bytes, &patch.finish().unwrap()), contents)
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(32))]

    #[test]
    fn any_buckets_can_be_patched_twice(
        contents in buckets(),
        shift in 10..=16_u32,
        inline: bool,
        percent in 10..=100_u8,
    ) {
        let page_size = PageSize::new(1 << shift).unwrap();
        let options = Options { page_size, inline, ..Options::default() };
        let bytes = file(&contents, options, Fill::new(percent).unwrap());
        let (once, expected) = change_all(&bytes);
        prop_assert_eq!(Contents::read_file(&once), expected);
        let (twice, expected) = change_all(&once);
        prop_assert_eq!(Contents::read_file(&twice), expected);
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(256))]

    #[test]
    fn damaged_pages_end_in_an_error_or_a_patch_of_bounded_size(
        entries in 0..400_u32,
        inline: bool,
        damage in prop::collection::vec((any::<prop::sample::Index>(), any::<u8>()), 1..12),
    ) {
        let page_size = PageSize::new(1024).unwrap();
        let options = Options { page_size, inline, ..Options::default() };
        let contents = Contents::of([
            (b"a".to_vec(), Entry::Bucket(values(3, 4, 4))),
            (b"b".to_vec(), Entry::Bucket(values(entries, 4, 40))),
        ]);
        let mut bytes = file(&contents, options, Fill::DENSE);
        // Behind the metas; mostly headers and element tables, where damage does most.
        for (at, byte) in damage {
            let page = 2 + at.index(bytes.len() / 1024 - 2);
            bytes[page * 1024 + usize::from(byte)] ^= 1 << (at.index(8));
        }
        let db = open(&bytes);
        let mut patch = Patch::new(&db).unwrap();
        let _ = patch.append(b"a", b"~", &[1; 100]);
        let _ = patch.append(b"b", b"~", &[2; 2000]);
        let _ = patch.replace_bucket(b"c", BucketOptions::default(), [(b"k", b"v")]);
        if let Ok(patched) = patch.finish() {
            prop_assert!(patched.pages.len() < 3 * bytes.len() + 100 * 1024);
        }
    }
}

#[test]
fn elements_that_share_bytes_are_not_multiplied() {
    // A full leaf of 64 KiB whose elements each claim 30 KB of it: 50 times that is more than the file.
    let options = Options { page_size: PageSize::new(65536).unwrap(), ..Options::default() };
    let contents = Contents::of([(b"b".to_vec(), Entry::Bucket(values(100, 4, 600)))]);
    let fill = BucketOptions { fill: Fill::FULL, sequence: 0 };
    let mut bytes = contents.write(options, fill, 6);
    let table = 2 * 65536 + layout::PAGE_HEADER;
    for index in 0..50 {
        let at = table + index * layout::ELEMENT + layout::LEAF_VSIZE;
        bytes[at..at + 4].copy_from_slice(&30_000_u32.to_le_bytes());
    }
    let db = open(&bytes);
    let mut patch = Patch::new(&db).unwrap();
    let refused = patch.append(b"b", b"~", b"v");
    assert!(matches!(refused, Err(PatchError::Overlap { page }) if page.0 == 2), "{refused:?}");
}

#[test]
fn bbolt_accepts_patched_files() {
    let Some(program) = bbolt("bbolt_accepts_patched_files") else { return };
    let bench = Bench::new(program);
    for count in [0, 1, 20, 3000, 40_000] {
        for options in all_options(&[1024, 4096, 16384, 65536]) {
            let big = Contents::of([
                (b"a".to_vec(), Entry::Bucket(values(5, 4, 4))),
                (b"b".to_vec(), Entry::Bucket(values(count, 17, 30))),
                (b"c".to_vec(), Entry::Bucket(values(count / 100, 300, 5000))),
            ]);
            let (patched, expected) = change_all(&file(&big, options, Fill::FULL));
            bench.accepts(&patched, &expected, &format!("patched, {count}, {options:?}"));
        }
    }
}

/// Every database of every kind of real member.
#[test]
fn bbolt_accepts_patched_databases_of_real_servers() {
    let Some(program) = bbolt("bbolt_accepts_patched_databases_of_real_servers") else { return };
    let bench = Bench::new(program);
    let members = [
        "clean-34",
        "clean-35",
        "clean-36",
        "clean-37",
        "crashed-34",
        "crashed-36",
        "authon-36",
        "kube-36",
    ];
    for (what, mut bytes) in members.into_iter().flat_map(databases) {
        // Trailers and zero tails are none of the patch's.
        bytes.truncate(open(&bytes).size_bytes() as usize);
        let (patched, expected) = change_all(&bytes);
        bench.accepts(&patched, &expected, &what);
        let key = open(&patched).root().bucket(b"key").unwrap().unwrap();
        assert!(Bucket::last(&key).unwrap().unwrap().key.ends_with(b"~~~~"));
        let keys = bench.run(&patched, "keys", &["key", "--format", "hex"], &what);
        assert!(String::from_utf8_lossy(&keys).ends_with("7e7e7e7e\n"), "{what}");
        let value = bench.run(&patched, "get", &["~ new", "k"], &what);
        assert_eq!(value.trim_ascii_end(), b"v");
    }
}
