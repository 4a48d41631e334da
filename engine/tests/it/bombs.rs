//! Small files that claim to be huge. The danger: a few MiB from a stranger that cost hours or all memory,
//! because the same bytes are read again for each of many references to them.

use std::{
    collections::HashSet,
    time::{Duration, Instant},
};

use etcdsnap_engine::{
    bolt::{Db, check::check, layout, map::PageMap},
    finding::{Finding, Place, Severity},
    limits::Limits,
    mvcc::{KeyIndex, KeySpace, Scan, rules},
    pb::mvccpb::KeyValue,
    progress::Silent,
    salvage::{Carver, Options, Salvage},
    schema::{Store, members},
    snapshot::{Image, verify},
};
use prost::Message;

const PAGE: usize = 4096;

/// An element as a leaf has it: flags, key, value.
type Entry<'a> = (u32, &'a [u8], &'a [u8]);

/// A page image with `overflow` pages behind it; `body` follows the header.
fn page(id: usize, flags: u16, count: usize, body: &[u8]) -> Vec<u8> {
    let len = (layout::PAGE_HEADER + body.len()).next_multiple_of(PAGE);
    let mut page = image(id, flags, count, len / PAGE - 1);
    page.extend_from_slice(body);
    page.resize(len, 0);
    page
}

fn image(id: usize, flags: u16, count: usize, overflow: usize) -> Vec<u8> {
    let mut header = (id as u64).to_le_bytes().to_vec();
    header.extend(flags.to_le_bytes());
    header.extend(u16::try_from(count).unwrap().to_le_bytes());
    header.extend(u32::try_from(overflow).unwrap().to_le_bytes());
    header
}

fn words(fields: [usize; 4]) -> impl Iterator<Item = u8> {
    fields.into_iter().flat_map(|field| u32::try_from(field).unwrap().to_le_bytes())
}

/// A leaf's table and data, packed as bbolt packs them.
fn leaf_body(entries: &[Entry<'_>]) -> Vec<u8> {
    let (mut table, mut data) = (Vec::new(), Vec::new());
    for (index, (flags, key, value)) in entries.iter().enumerate() {
        let pos = (entries.len() - index) * layout::ELEMENT + data.len();
        table.extend(words([*flags as usize, pos, key.len(), value.len()]));
        data.extend_from_slice(key);
        data.extend_from_slice(value);
    }
    table.extend(data);
    table
}

/// A leaf of `count` elements that all stand for the same key and value.
fn shared_body(count: usize, flags: u32, key: &[u8], value: &[u8]) -> Vec<u8> {
    let mut table: Vec<u8> = (0..count)
        .flat_map(|index| {
            words([flags as usize, (count - index) * layout::ELEMENT, key.len(), value.len()])
        })
        .collect();
    table.extend_from_slice(key);
    table.extend_from_slice(value);
    table
}

fn branch_body(children: &[usize]) -> Vec<u8> {
    let (mut table, mut data) = (Vec::new(), Vec::new());
    for (index, child) in children.iter().enumerate() {
        let pos = (children.len() - index) * layout::ELEMENT + data.len();
        table.extend(u32::try_from(pos).unwrap().to_le_bytes());
        table.extend(4_u32.to_le_bytes());
        table.extend((*child as u64).to_le_bytes());
        data.extend(u32::try_from(index).unwrap().to_be_bytes());
    }
    table.extend(data);
    table
}

fn bucket_at(root: usize) -> Vec<u8> {
    [(root as u64).to_le_bytes(), [0; 8]].concat()
}

/// A file whose page 2 is the root leaf and names bucket `key` with this value; `rest` are the pages from 3 on.
fn file(bucket: &[u8], rest: &[Vec<u8>]) -> Vec<u8> {
    let root = page(2, layout::FLAG_LEAF, 1, &leaf_body(&[(1, b"key", bucket)]));
    let first = 2 + root.len() / PAGE;
    assert!(rest.is_empty() || first == 3);
    let tail = [vec![root], rest.to_vec()].concat().concat();
    let pages = 2 + tail.len() / PAGE;
    let mut bytes = Vec::new();
    for slot in 0..2_u64 {
        let mut meta = Vec::new();
        meta.extend(layout::MAGIC.to_le_bytes());
        meta.extend(layout::VERSION.to_le_bytes());
        meta.extend(4096_u64.to_le_bytes());
        for field in [2, 0, layout::NO_FREELIST, pages as u64, 2 + slot] {
            meta.extend(field.to_le_bytes());
        }
        meta.extend(layout::fnv1a64(&meta).to_le_bytes());
        bytes.extend(page(usize::try_from(slot).unwrap(), layout::FLAG_META, 0, &meta));
    }
    bytes.extend(tail);
    bytes
}

fn revision(main: u64) -> Vec<u8> {
    [&main.to_be_bytes()[..], b"_", &[0; 8]].concat()
}

/// A `KeyValue` message that takes its whole length to decode.
fn slow_value(len: usize) -> Vec<u8> {
    [0x10, 1].repeat(len / 2)
}

/// Every read that a command makes of a file it knows nothing about, salvage among them; what the page check finds.
fn read(name: &str, bytes: &[u8]) -> Vec<Finding> {
    let began = Instant::now();
    let db = Db::from_bytes(bytes, Limits::default()).unwrap();
    let findings = check(&db, &Silent).unwrap();
    let checked = began.elapsed();
    let verification = verify(&Image::split(bytes), Limits::default(), &Silent).unwrap();
    assert!(!verification.is_sound(), "{name} is called sound");
    let store = Store::new(db);
    if let Ok(space) = KeySpace::open(&store) {
        let _ = KeyIndex::build_scanned(space.bucket(), i64::MAX, Scan::InOrder, &Silent);
    }
    let _ = members::members(&store);
    let both = Options { include_freed: true, ..Options::default() };
    for options in [Options::default(), both] {
        if let Ok(mut salvage) = Salvage::read(bytes, options, &Silent) {
            let _ = salvage.write(std::io::Cursor::new(Vec::new()), &Silent);
        }
    }
    Carver::new(bytes, &Silent).unwrap().run(&Silent, &mut |_| true).unwrap();
    let took = began.elapsed();
    println!("{name}: {} bytes, check {checked:?}, all {took:?}", bytes.len());
    assert!(took < Duration::from_secs(5), "{name} took {took:?}");
    let said: usize = findings.iter().map(|finding| finding.message.len()).sum();
    assert!(said < 16 * bytes.len() + (1 << 20), "{name}: {said} bytes of messages");
    findings.into_iter().filter(|finding| finding.severity == Severity::Damage).collect()
}

fn has(findings: &[Finding], code: &str) -> bool {
    findings.iter().any(|finding| finding.code == code)
}

#[test]
fn elements_that_share_one_huge_value() {
    let body = shared_body(65_534, 0, &revision(2), &slow_value(1 << 20));
    let bytes = file(&bucket_at(3), &[page(3, layout::FLAG_LEAF, 65_534, &body)]);
    assert!(has(&read("shared value", &bytes), "unpacked"));
    let verification = verify(&Image::split(&bytes), Limits::default(), &Silent).unwrap();
    for check in verification.checks.iter().filter(|check| check.name != "trailer") {
        assert!(!check.sound, "{check:?}");
        let skipped = check.detail == "not looked at: pages or elements share their bytes";
        assert_eq!(skipped, check.name != "pages", "{check:?}");
    }
}

#[test]
fn elements_that_share_one_huge_key() {
    let body = shared_body(65_534, 0, &[7; 1 << 20], b"");
    let bytes = file(&bucket_at(3), &[page(3, layout::FLAG_LEAF, 65_534, &body)]);
    assert!(has(&read("shared key", &bytes), "unpacked"));
}

#[test]
fn a_branch_whose_children_are_all_one_huge_leaf() {
    let branch = page(3, layout::FLAG_BRANCH, 30_000, &branch_body(&[200; 30_000]));
    let mut pages = vec![branch];
    let used = 3 + pages[0].len() / PAGE;
    pages.extend((used..200).map(|id| page(id, layout::FLAG_LEAF, 0, b"")));
    let leaf = leaf_body(&[(0, &revision(2), &slow_value(2 << 20))]);
    pages.push(page(200, layout::FLAG_LEAF, 1, &leaf));
    assert!(has(&read("one leaf", &file(&bucket_at(3), &pages)), "multiple-references"));
}

#[test]
fn many_branches_above_one_huge_leaf() {
    let above: Vec<usize> = (4..504).collect();
    let branch = page(3, layout::FLAG_BRANCH, 120, &branch_body(&above[..120]));
    let below = |id| page(id, layout::FLAG_BRANCH, 100, &branch_body(&[504; 100]));
    let leaf = leaf_body(&[(0, &revision(2), &slow_value(2 << 20))]);
    let mut pages = vec![branch];
    pages.extend(above.iter().map(|id| below(*id)));
    pages.push(page(504, layout::FLAG_LEAF, 1, &leaf));
    assert!(has(&read("many branches", &file(&bucket_at(3), &pages)), "multiple-references"));
}

#[test]
fn a_huge_branch_that_is_its_own_child() {
    let branch = page(3, layout::FLAG_BRANCH, 60_000, &branch_body(&[3; 60_000]));
    assert!(has(&read("own child", &file(&bucket_at(3), &[branch])), "multiple-references"));
}

#[test]
fn many_buckets_with_one_huge_root() {
    let names: Vec<[u8; 4]> = (0..20_000_u32).map(u32::to_be_bytes).collect();
    let root = bucket_at(500);
    let entries: Vec<Entry<'_>> = names.iter().map(|name| (1, &name[..], &root[..])).collect();
    let mut pages = vec![page(3, layout::FLAG_LEAF, names.len(), &leaf_body(&entries))];
    let used = 3 + pages[0].len() / PAGE;
    pages.extend((used..500).map(|id| page(id, layout::FLAG_LEAF, 0, b"")));
    let leaf = leaf_body(&[(0, &revision(2), &slow_value(2 << 20))]);
    pages.push(page(500, layout::FLAG_LEAF, 1, &leaf));
    assert!(has(&read("one root", &file(&bucket_at(3), &pages)), "multiple-references"));
}

/// Inline pages within one another, each with `width` elements that share the next.
fn nested_inline(depth: usize, width: usize) -> Vec<u8> {
    (0..depth).fold([bucket_at(0), image(0, layout::FLAG_LEAF, 0, 0)].concat(), |inner, _| {
        let body = shared_body(width, layout::LEAF_FLAG_BUCKET, b"k", &inner);
        [bucket_at(0), image(0, layout::FLAG_LEAF, width, 0), body].concat()
    })
}

#[test]
fn inline_buckets_that_share_the_buckets_within_them() {
    assert!(has(&read("inline", &file(&nested_inline(60, 2), &[])), "unpacked"));
    assert!(has(&read("wide inline", &file(&nested_inline(20, 60), &[])), "unpacked"));
}

#[test]
fn inline_buckets_nest_as_deep_as_the_file_allows() {
    assert_eq!(read("deep inline", &file(&nested_inline(5000, 1), &[])), []);
    // Damage at the bottom is found without a stack that deep.
    let mut bytes = file(&nested_inline(5000, 1), &[]);
    let innermost = bytes.iter().rposition(|byte| *byte == b'k').unwrap();
    bytes[innermost - 16] = 3;
    assert!(has(&read("deep inline damage", &bytes), "element-flags"));
}

#[test]
fn a_bucket_that_holds_itself_within_an_inline_bucket() {
    let inner = leaf_body(&[(1, b"b", &bucket_at(3))]);
    let inline = [bucket_at(0), image(0, layout::FLAG_LEAF, 1, 0), inner].concat();
    let mut pages = vec![page(3, layout::FLAG_LEAF, 1, &leaf_body(&[(1, b"a", &inline)]))];
    pages.extend((4..4096).map(|id| page(id, layout::FLAG_LEAF, 0, b"")));
    let found = read("itself", &file(&bucket_at(3), &pages));
    assert!(has(&found, "multiple-references"));
}

#[test]
fn buckets_nest_as_deep_as_the_file_allows() {
    let nested = |id| page(id, layout::FLAG_LEAF, 1, &leaf_body(&[(1, b"a", &bucket_at(id + 1))]));
    let mut pages: Vec<_> = (3..5000).map(nested).collect();
    let found = read("a bucket beyond the end", &file(&bucket_at(3), &pages));
    assert!(has(&found, "out-of-bounds") && !has(&found, "cycle"), "{found:?}");
    pages.push(page(5000, layout::FLAG_LEAF, 0, b""));
    let bytes = file(&bucket_at(3), &pages);
    assert_eq!(read("deep buckets", &bytes), []);
    let map = PageMap::read(&Db::from_bytes(&bytes, Limits::default()).unwrap(), &Silent).unwrap();
    assert!(map.is_whole());
    let deepest = map.buckets().len() - 1;
    assert_eq!((deepest, map.buckets()[deepest].level), (4998, 4998));
    assert!(map.path(deepest).len() < 1000, "a path costs as much as the file");
}

#[test]
fn huge_keys_in_the_wrong_order_make_short_findings() {
    let keys: Vec<Vec<u8>> = (0..100).map(|index| vec![200 - index; 40_000]).collect();
    let entries: Vec<Entry<'_>> = keys.iter().map(|key| (0, &key[..], &b""[..])).collect();
    let leaf = page(3, layout::FLAG_LEAF, entries.len(), &leaf_body(&entries));
    let found = read("huge keys", &file(&bucket_at(3), &[leaf]));
    let order: Vec<_> = found.iter().filter(|finding| finding.code == "key-order").collect();
    assert_eq!(order.len(), 99);
    assert!(order.iter().all(|finding| finding.message.len() < 2000));
}

#[test]
fn records_beyond_the_revision_are_told_by_their_key() {
    let (two, three) = (revision(2), revision(3));
    let body = leaf_body(&[(0, &two, b"\x0a\x01a"), (0, &three, b"\xff")]);
    let bytes = file(&bucket_at(3), &[page(3, layout::FLAG_LEAF, 2, &body)]);
    let store = Store::new(Db::from_bytes(&bytes, Limits::default()).unwrap());
    let space = KeySpace::open(&store).unwrap();
    let index = |at| KeyIndex::build(space.bucket(), at, &Silent).map(|index| index.live_keys());
    assert_eq!(index(2), Ok(1));
    assert!(index(3).is_err());
}

#[test]
fn which_findings_are_kept_does_not_depend_on_the_number_of_threads() {
    const LIMIT: usize = 100;
    // Each key's first record has no predecessor and the others do not follow from theirs: what is found
    // first in one run is found when runs are joined in another, and the first places come last of all.
    let keys: Vec<Vec<u8>> = (0..6000).map(|main| revision(main + 2)).collect();
    let values: Vec<Vec<u8>> = (0..6000_i64)
        .map(|n| {
            let (key, main) = ((n % 500).to_string().into_bytes(), n + 2);
            KeyValue {
                key,
                create_revision: main,
                mod_revision: main,
                version: 9,
                ..KeyValue::default()
            }
            .encode_to_vec()
        })
        .collect();
    let entries: Vec<Entry<'_>> =
        keys.iter().zip(&values).map(|(key, value)| (0, &key[..], &value[..])).collect();
    let leaves = entries.chunks(60).enumerate();
    let mut pages: Vec<Vec<u8>> = leaves
        .map(|(at, entries)| page(4 + at, layout::FLAG_LEAF, entries.len(), &leaf_body(entries)))
        .collect();
    let children: Vec<usize> = (0..pages.len()).map(|at| 4 + at).collect();
    let (mut table, mut data) = (Vec::new(), Vec::new());
    for (index, child) in children.iter().enumerate() {
        let pos = (children.len() - index) * layout::ELEMENT + data.len();
        table.extend(words([pos, 17, *child, 0]));
        data.extend_from_slice(&keys[index * 60]);
    }
    table.extend(data);
    pages.insert(0, page(3, layout::FLAG_BRANCH, children.len(), &table));
    let bytes = file(&bucket_at(3), &pages);
    let judged = |threads| {
        let db = Db::from_bytes(&bytes, Limits::default()).unwrap();
        assert_eq!(check(&db, &Silent).unwrap(), []);
        let space = KeySpace::open(&Store::new(db)).unwrap();
        let pool = rayon::ThreadPoolBuilder::new().num_threads(threads).build().unwrap();
        let leases = HashSet::new();
        let judge = || rules::judge(&space, &leases, LIMIT, Scan::Parallel, None, &Silent).unwrap();
        let mut findings = pool.install(judge).findings;
        findings.sort();
        findings
    };
    let one = judged(1);
    assert_eq!(one.len(), LIMIT + 1);
    assert!(has(&one, "more-findings"));
    let last = Place::Revision { main: 1 + LIMIT as i64, sub: 0 };
    assert!(one.iter().all(|finding| finding.place <= last), "not the first ones: {one:#?}");
    for threads in [2, 3, 8] {
        assert_eq!(judged(threads), one, "{threads} threads");
    }
}
