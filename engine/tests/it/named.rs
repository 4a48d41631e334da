//! Damage by name: one thing is broken, and exactly that is found at exactly that place. The danger: damage
//! that is reported somewhere else, or that hides behind what follows from it.

use std::{collections::BTreeMap, fs, io::Cursor, path::Path};

use etcdsnap_engine::{
    bolt::{
        Db, PageId, TxId,
        bucket::Root,
        check::{check, check_sequential},
        layout,
        page::Node,
        write::{BucketOptions, Options, Writer},
    },
    finding::Place,
    limits::Limits,
    progress::Silent,
};
use rayon::prelude::*;

use crate::members::databases;

const PAGE: u64 = 4096;

/// A bucket of three leaves below a branch, and an inline one.
fn sound() -> Vec<u8> {
    let mut writer = Writer::new(Cursor::new(Vec::new()), Options::default()).unwrap();
    let mut bucket = writer.bucket(b"a", BucketOptions::default()).unwrap();
    for n in 0..250_u32 {
        bucket.put(format!("key-{n:05}").as_bytes(), &[7; 30]).unwrap();
    }
    bucket.close().unwrap();
    let mut inline = writer.bucket(b"b", BucketOptions::default()).unwrap();
    for n in 0..4_u32 {
        inline.put(format!("key-{n}").as_bytes(), b"value").unwrap();
    }
    inline.close().unwrap();
    writer.finish().unwrap().seal(TxId(2)).unwrap().0.into_inner()
}

/// Offsets of what is broken below: root leaf, branch, its first leaf, the inline page.
struct Places {
    root: u64,
    branch: u64,
    leaf: u64,
    inline: u64,
}

fn places(bytes: &[u8]) -> Places {
    let db = Db::from_bytes(bytes, Limits::default()).unwrap();
    assert_eq!(check(&db, &Silent).unwrap(), []);
    let Root::Page(branch) = db.root().bucket(b"a").unwrap().unwrap().root() else { panic!() };
    let Node::Branch(children) = db.node(branch).unwrap() else { panic!("one leaf") };
    assert!(children.count() >= 3);
    let inline = db.root().item(b"b").unwrap().unwrap();
    Places {
        root: db.meta().root.0,
        branch: branch.0,
        leaf: children.child_page(0).unwrap().0,
        inline: db.offset_of(inline.value).unwrap() + layout::BUCKET_HEADER as u64,
    }
}

/// Adds `by` to the number of four bytes at `offset`.
fn add(bytes: &mut [u8], offset: u64, by: i32) {
    let at = usize::try_from(offset).unwrap();
    let old = i32::from_le_bytes(bytes[at..at + 4].try_into().unwrap());
    bytes[at..at + 4].copy_from_slice(&(old + by).to_le_bytes());
}

fn field(page: u64, index: usize, field: usize) -> u64 {
    page + (layout::PAGE_HEADER + index * layout::ELEMENT + field) as u64
}

#[test]
fn one_broken_thing_is_one_finding_at_its_place() {
    let bytes = sound();
    let Places { root, branch, leaf, inline } = places(&bytes);
    let element = |page, index| Place::Element { page, index };
    let db = Db::from_bytes(&bytes, Limits::default()).unwrap();
    let last = |page| usize::from(db.header(PageId(page)).unwrap().count) - 1;
    let cases = [
        // A gap before, and a byte shared with, the next element.
        (field(leaf * PAGE, 4, layout::LEAF_VSIZE), -1, "unpacked", element(leaf, 5)),
        (field(leaf * PAGE, 4, layout::LEAF_VSIZE), 1, "unpacked", element(leaf, 5)),
        (field(branch * PAGE, 0, layout::BRANCH_KSIZE), -1, "unpacked", element(branch, 1)),
        (field(inline, 1, layout::LEAF_VSIZE), 1, "unpacked", element(root, 1)),
        (field(leaf * PAGE, 4, layout::LEAF_FLAGS), 2, "element-flags", element(leaf, 4)),
        // The last one reaches beyond the page, and nothing comes after it that would be out of place.
        (
            field(leaf * PAGE, last(leaf), layout::LEAF_VSIZE),
            1 << 20,
            "element-bounds",
            element(leaf, last(leaf)),
        ),
        (
            field(branch * PAGE, last(branch), layout::BRANCH_KSIZE),
            1 << 20,
            "element-bounds",
            element(branch, last(branch)),
        ),
        (field(inline, 3, layout::LEAF_VSIZE), 1 << 20, "element-bounds", element(root, 3)),
    ];
    for (offset, by, code, place) in cases {
        let mut broken = bytes.clone();
        add(&mut broken, offset, by);
        let db = Db::from_bytes(&broken, Limits::default()).unwrap();
        let found = check(&db, &Silent).unwrap();
        assert_eq!(found, check_sequential(&db));
        let found: Vec<_> = found.iter().map(|found| (found.code, found.place.clone())).collect();
        assert_eq!(found, [(code, place)], "{by:+} at {offset}");
    }
}

#[test]
fn a_child_named_twice_is_named_by_its_page() {
    let mut bytes = sound();
    let Places { branch, leaf, .. } = places(&bytes);
    let second = Db::from_bytes(&bytes, Limits::default()).unwrap();
    let Node::Branch(children) = second.node(PageId(branch)).unwrap() else { panic!() };
    let by =
        i32::try_from(leaf).unwrap() - i32::try_from(children.child_page(1).unwrap().0).unwrap();
    add(&mut bytes, field(branch * PAGE, 1, layout::BRANCH_CHILD), by);
    let db = Db::from_bytes(&bytes, Limits::default()).unwrap();
    let found = check(&db, &Silent).unwrap();
    assert!(
        found
            .iter()
            .any(|found| found.code == "multiple-references" && found.place == Place::Page(leaf)),
        "{found:#?}"
    );
}

#[test]
fn elements_of_every_real_file_are_packed() {
    let testdata = Path::new(env!("CARGO_MANIFEST_DIR")).join("../testdata");
    let list = |folder: &str| -> Vec<_> {
        fs::read_dir(testdata.join(folder)).unwrap().map(|entry| entry.unwrap().path()).collect()
    };
    let mut files: BTreeMap<String, Vec<u8>> = list("field")
        .into_iter()
        .filter(|path| path.extension().is_some_and(|extension| extension == "db"))
        .map(|path| (path.display().to_string(), fs::read(&path).unwrap()))
        .collect();
    assert!(files.len() >= 2);
    let names: Vec<String> = list("members")
        .iter()
        .filter_map(|path| path.file_name()?.to_str()?.strip_suffix(".tar.zst").map(str::to_owned))
        .collect();
    let members: Vec<_> = names.par_iter().flat_map_iter(|name| databases(name)).collect();
    assert!(members.len() > names.len());
    files.extend(members);
    for (path, bytes) in &files {
        let db = Db::from_bytes(bytes, Limits::default()).unwrap();
        let found = check(&db, &Silent).unwrap();
        assert!(found.iter().all(|found| found.code != "unpacked"), "{path}: {found:#?}");
        assert!(db.root().items().flatten().count() > 0, "{path} has no buckets");
    }
}
