//! The danger: a file that reads well here and is something else to bbolt, or that loses, reorders or
//! leaks bytes. Each file is checked when it is written; see [`Contents::write`].

use std::io::{self, Cursor, Seek, SeekFrom, Write};

use etcdsnap_engine::{
    bolt::{
        Db, TxId, bucket, layout,
        page::Node,
        write::{BucketOptions, Fill, Options, PageSize, WriteError, Writer},
    },
    limits::Limits,
};
use proptest::prelude::*;

use crate::buckets::{Contents, Entry, all_options};

fn numbered(count: u32, value: usize) -> Contents {
    Contents::values((0..count).map(|n| (n.to_be_bytes().to_vec(), vec![b'v'; value])))
}

fn in_bucket(contents: Contents) -> Contents {
    Contents::of([(b"bucket".to_vec(), Entry::Bucket(contents))])
}

fn writer() -> Writer<Cursor<Vec<u8>>> {
    Writer::new(Cursor::new(Vec::new()), Options::default()).unwrap()
}

#[test]
fn a_file_without_buckets_is_an_empty_root_leaf() {
    for options in all_options(&[1024, 4096, 65536]) {
        let bytes = Contents::default().write(options, BucketOptions::default(), 1);
        assert_eq!(Contents::read_file(&bytes), Contents::default());
    }
}

#[test]
fn the_newer_meta_stands_where_the_next_commit_does_not_write() {
    for txid in [1, 2, 7, u64::MAX - 1] {
        let bytes = Contents::default().write(Options::default(), BucketOptions::default(), txid);
        let db = Db::from_bytes(&bytes, Limits::default()).unwrap();
        assert_eq!(db.meta().txid, TxId(txid));
        assert_eq!(u64::from(db.meta().slot), txid % 2);
    }
}

#[test]
fn transaction_ids_without_one_before_or_after_are_refused() {
    for txid in [0, u64::MAX] {
        let result = writer().finish().unwrap().seal(TxId(txid));
        assert!(matches!(result, Err(WriteError::TxId { txid: found }) if found == txid));
    }
}

#[test]
fn an_unsealed_file_is_no_database() {
    let unsealed = writer().finish().unwrap();
    let bytes = unsealed.get_ref().get_ref().clone();
    assert!(Db::from_bytes(&bytes, Limits::default()).is_err());
}

#[test]
fn empty_keys_are_refused() {
    let mut writer = writer();
    assert!(matches!(
        writer.bucket(b"", BucketOptions::default()),
        Err(WriteError::EmptyKey { .. })
    ));
    let mut bucket = writer.bucket(b"b", BucketOptions::default()).unwrap();
    assert!(matches!(bucket.put(b"", b"v"), Err(WriteError::EmptyKey { .. })));
}

#[test]
fn keys_longer_than_bbolt_allows_are_refused() {
    let mut writer = writer();
    let (longest, longer) = (vec![b'k'; layout::MAX_KEY], vec![b'l'; layout::MAX_KEY + 1]);
    let mut bucket = writer.bucket(&longest, BucketOptions::default()).unwrap();
    bucket.put(&longest, b"v").unwrap();
    assert!(matches!(bucket.put(&longer, b"v"), Err(WriteError::KeyTooLong { len: 32769, .. })));
    assert!(matches!(
        bucket.bucket(&longer, BucketOptions::default()),
        Err(WriteError::KeyTooLong { len: 32769, .. })
    ));
}

#[test]
fn keys_that_do_not_ascend_are_refused_and_leave_no_trace() {
    let mut writer = writer();
    let mut bucket = writer.bucket(b"b", BucketOptions::default()).unwrap();
    bucket.put(b"k", b"first").unwrap();
    for key in [&b"k"[..], b"j", b"A"] {
        assert!(matches!(bucket.put(key, b"v"), Err(WriteError::Order { .. })));
        let nested = bucket.bucket(key, BucketOptions::default());
        assert!(matches!(nested, Err(WriteError::Order { .. })));
    }
    bucket.bucket(b"l", BucketOptions::default()).unwrap().put(b"A", b"v").unwrap();
    assert!(matches!(bucket.put(b"l", b"v"), Err(WriteError::Order { .. })));
    for name in [&b"b"[..], b"a"] {
        let second = writer.bucket(name, BucketOptions::default());
        assert!(matches!(second, Err(WriteError::Order { .. })));
    }
    let (file, _) = writer.finish().unwrap().seal(TxId(1)).unwrap();
    let read = Contents::read_file(file.get_ref());
    let keys: Vec<_> = read.at(&[b"b"]).entries.keys().cloned().collect();
    assert_eq!(keys, [b"k", b"l"]);
}

#[test]
fn buckets_deeper_than_the_limit_are_refused() {
    let limits = Limits { max_depth: 2, ..Limits::default() };
    let mut writer =
        Writer::new(Cursor::new(Vec::new()), Options { limits, ..Options::default() }).unwrap();
    let mut one = writer.bucket(b"1", BucketOptions::default()).unwrap();
    let mut two = one.bucket(b"2", BucketOptions::default()).unwrap();
    let three = two.bucket(b"3", BucketOptions::default());
    assert!(matches!(three, Err(WriteError::TooDeep { limit: 2, .. })));
}

#[test]
fn a_bucket_ends_when_its_handle_is_dropped() {
    let mut writer = writer();
    {
        let mut outer = writer.bucket(b"a", BucketOptions::default()).unwrap();
        outer.bucket(b"inner", BucketOptions::default()).unwrap().put(b"k", b"v").unwrap();
        outer.put(b"z", b"after inner").unwrap();
        outer.close().unwrap();
    }
    writer.bucket(b"b", BucketOptions { sequence: 9, fill: Fill::HALF }).unwrap();
    let (file, _) = writer.finish().unwrap().seal(TxId(1)).unwrap();
    let read = Contents::read_file(file.get_ref());
    assert_eq!(read.at(&[b"a", b"inner"]).entries[&b"k"[..]], Entry::Value(b"v".to_vec()));
    assert_eq!(read.at(&[b"a"]).entries[&b"z"[..]], Entry::Value(b"after inner".to_vec()));
    assert_eq!(read.at(&[b"b"]).sequence, 9);
}

#[test]
fn a_bucket_is_inlined_up_to_a_quarter_of_a_page() {
    // 16 of the page, 16 of the element, 4 of the key: 1024 with 988 of the value.
    for (value, inlined) in [(988, true), (989, false)] {
        for inline in [true, false] {
            let options = Options { inline, ..Options::default() };
            let contents = in_bucket(numbered(1, value));
            let bytes = contents.write(options, BucketOptions::default(), 1);
            let db = Db::from_bytes(&bytes, Limits::default()).unwrap();
            let bucket = db.root().bucket(b"bucket").unwrap().unwrap();
            let is_inline = matches!(bucket.root(), bucket::Root::Inline(_));
            assert_eq!(is_inline, inline && inlined, "{value}");
            assert_eq!(Contents::read_file(&bytes), contents);
        }
    }
}

#[test]
fn a_bucket_that_holds_buckets_is_never_inlined() {
    let contents = in_bucket(in_bucket(Contents::default()));
    let bytes = contents.write(Options::default(), BucketOptions::default(), 1);
    let db = Db::from_bytes(&bytes, Limits::default()).unwrap();
    let outer = db.root().bucket(b"bucket").unwrap().unwrap();
    assert!(matches!(outer.root(), bucket::Root::Page(_)));
    let inner = outer.bucket(b"bucket").unwrap().unwrap();
    assert!(matches!(inner.root(), bucket::Root::Inline(_)));
}

#[test]
fn every_count_of_leaves_around_the_limits_of_branches_reads_back() {
    // 1 KiB pages, one entry a leaf: branches hold 50 children, so these cross one, two and three levels.
    let options = Options { page_size: PageSize::new(1024).unwrap(), ..Options::default() };
    let fill = BucketOptions { fill: Fill::FULL, sequence: 0 };
    for count in (1..=160).chain(2490..=2560) {
        let contents = in_bucket(numbered(count, 600));
        assert_eq!(Contents::read_file(&contents.write(options, fill, 3)), contents);
    }
}

#[test]
fn branches_of_the_longest_keys_overflow_and_still_converge() {
    for size in [1024, 4096, 65536] {
        let options = Options { page_size: PageSize::new(size).unwrap(), ..Options::default() };
        for count in 1..=40_u32 {
            let keys = (0..count).map(|n| {
                let mut key = vec![b'k'; layout::MAX_KEY];
                key[..4].copy_from_slice(&n.to_be_bytes());
                (key, vec![1; 40_000])
            });
            let contents = in_bucket(Contents::values(keys));
            let bytes = contents.write(options, BucketOptions::default(), 3);
            assert_eq!(Contents::read_file(&bytes), contents);
        }
    }
}

#[test]
fn two_large_entries_share_overflow_pages_where_that_saves_a_page() {
    // 16 of the element, 4 of the key: 4110 bytes each. Apart two pages each, together three.
    let contents = in_bucket(numbered(2, 4090));
    let bytes = contents.write(Options::default(), BucketOptions::default(), 1);
    let db = Db::from_bytes(&bytes, Limits::default()).unwrap();
    let bucket::Root::Page(root) = db.root().bucket(b"bucket").unwrap().unwrap().root() else {
        panic!("too large to be inline")
    };
    let page = db.page(root).unwrap();
    assert!(matches!(page.node().unwrap(), Node::Leaf(leaf) if leaf.count() == 2));
    assert_eq!(page.header.overflow, 2);
}

#[test]
fn small_entries_fill_the_overflow_pages_of_a_large_one() {
    // 5 KB in two pages, then 60 of 50 bytes: they all fit behind it.
    let large = (b"a".to_vec(), vec![b'v'; 5000]);
    let small = (0..60).map(|n| (vec![b'b', n], vec![b'v'; 32]));
    let contents = in_bucket(Contents::values([large].into_iter().chain(small)));
    let fill = BucketOptions { fill: Fill::FULL, sequence: 0 };
    let bytes = contents.write(Options::default(), fill, 1);
    // Two metas, the leaf's two pages, the root leaf.
    assert_eq!(bytes.len(), 5 * 4096);
    assert_eq!(Contents::read_file(&bytes), contents);
}

#[test]
fn a_lower_fill_leaves_room_in_every_page() {
    let size = |percent| {
        let fill = BucketOptions { fill: Fill::new(percent).unwrap(), sequence: 0 };
        in_bucket(numbered(20_000, 20)).write(Options::default(), fill, 1).len()
    };
    let (tenth, half, full) = (size(10), size(50), size(100));
    assert!(tenth > 4 * half && half > full * 19 / 10, "{tenth} {half} {full}");
    // 40 bytes an entry, 4080 bytes a page: 102 a page, 197 leaves, 2 branches, their root, two
    // metas and the root leaf.
    assert_eq!(full / 4096, 197 + 1 + 3);
}

/// Takes `room` bytes, then fails.
struct Full {
    room: usize,
}

impl Write for Full {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        let taken = bytes.len().min(self.room);
        self.room -= taken;
        if taken == 0 { Err(io::Error::from(io::ErrorKind::StorageFull)) } else { Ok(taken) }
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

impl Seek for Full {
    fn seek(&mut self, _: SeekFrom) -> io::Result<u64> {
        Ok(0)
    }
}

#[test]
fn after_a_failed_write_the_file_cannot_be_finished() {
    let mut writer = Writer::new(Full { room: 10_000_000 }, Options::default()).unwrap();
    let mut bucket = writer.bucket(b"b", BucketOptions::default()).unwrap();
    let failed = (0..u32::MAX).find_map(|n| bucket.put(&n.to_be_bytes(), &[0; 3000]).err());
    assert!(matches!(
        failed,
        Some(WriteError::Io { source, .. }) if source.kind() == io::ErrorKind::StorageFull
    ));
    assert!(matches!(writer.finish(), Err(WriteError::Broken)));
}

fn key() -> impl Strategy<Value = Vec<u8>> {
    prop_oneof![
        8 => prop::collection::vec(any::<u8>(), 1..20),
        1 => (any::<u8>(), 1..3000_usize).prop_map(|(byte, len)| vec![byte; len]),
    ]
}

fn value() -> impl Strategy<Value = Vec<u8>> {
    prop_oneof![
        8 => prop::collection::vec(any::<u8>(), 0..60),
        1 => (any::<u8>(), 0..20_000_usize).prop_map(|(byte, len)| vec![byte; len]),
    ]
}

fn contents() -> impl Strategy<Value = Contents> {
    let sequence = prop_oneof![Just(0), any::<u64>()];
    let leaf = prop::collection::btree_map(key(), value().prop_map(Entry::Value), 0..80)
        .prop_map(|entries| Contents { sequence: 0, entries });
    leaf.prop_recursive(4, 300, 12, move |inner| {
        let entry = prop_oneof![
            3 => value().prop_map(Entry::Value),
            2 => inner.prop_map(Entry::Bucket),
        ];
        (sequence.clone(), prop::collection::btree_map(key(), entry, 0..40))
            .prop_map(|(sequence, entries)| Contents { sequence, entries })
    })
}

/// Buckets of any kind and depth, for a file.
pub fn buckets() -> impl Strategy<Value = Contents> {
    prop::collection::btree_map(key(), contents().prop_map(Entry::Bucket), 0..30)
        .prop_map(|entries| Contents { sequence: 0, entries })
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(48))]

    #[test]
    fn any_buckets_read_back_as_they_were_written(
        contents in buckets(),
        shift in 10..=16_u32,
        inline: bool,
        percent in 10..=100_u8,
        txid in 1..u64::MAX,
    ) {
        let page_size = PageSize::new(1 << shift).unwrap();
        let options = Options { page_size, inline, ..Options::default() };
        let fill = BucketOptions { fill: Fill::new(percent).unwrap(), sequence: 0 };
        prop_assert_eq!(Contents::read_file(&contents.write(options, fill, txid)), contents);
    }
}
