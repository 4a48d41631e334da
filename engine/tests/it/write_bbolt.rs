//! The danger: files that only our own reader likes. bbolt's program checks, lists, reads and copies
//! them here.
//!
//! `ETCDSNAP_PEERS` names the folder that holds `bbolt/bbolt`; without it `target/peers` is tried. When
//! the program is missing these tests say so and pass, or fail if `ETCDSNAP_REQUIRE_PEERS` is `1`.

use std::{
    fs,
    path::{Path, PathBuf},
    process::{Command, Output},
};

use etcdsnap_engine::bolt::write::{BucketOptions, Fill, Options, PageSize};
use proptest::{strategy::Strategy, strategy::ValueTree, test_runner::TestRunner};

use crate::{
    buckets::{Contents, Entry, all_options},
    write::buckets,
};

/// bbolt's program; `None`, said aloud, when it is not there and need not be.
pub fn bbolt(test: &str) -> Option<PathBuf> {
    let peers = std::env::var_os("ETCDSNAP_PEERS").map_or_else(
        || Path::new(env!("CARGO_MANIFEST_DIR")).join("../target/peers"),
        PathBuf::from,
    );
    let program = peers.join("bbolt/bbolt");
    if program.is_file() {
        return Some(program);
    }
    let required = std::env::var_os("ETCDSNAP_REQUIRE_PEERS").is_some_and(|value| value == "1");
    assert!(!required, "{test} needs {}", program.display());
    eprintln!("SKIPPED {test}: no {} (set ETCDSNAP_PEERS)", program.display());
    None
}

/// A folder of its own for files that bbolt may write to.
pub struct Bench {
    program: PathBuf,
    folder: tempfile::TempDir,
}

impl Bench {
    pub fn new(program: PathBuf) -> Self {
        Self { program, folder: tempfile::tempdir().unwrap() }
    }

    /// Runs bbolt on a copy of `file`; any exit but 0 fails the test.
    pub fn run(&self, file: &[u8], command: &str, args: &[&str], what: &str) -> Vec<u8> {
        let path = self.folder.path().join("file.db");
        fs::write(&path, file).unwrap();
        let Output { status, stdout, stderr } =
            Command::new(&self.program).arg(command).arg(&path).args(args).output().unwrap();
        assert!(
            status.success(),
            "{what}: bbolt {command} {args:?}: {status}\n{}{}",
            String::from_utf8_lossy(&stdout),
            String::from_utf8_lossy(&stderr)
        );
        stdout
    }

    /// `bbolt check` is content with `file`, and `bbolt compact` finds `contents` in it.
    pub fn accepts(&self, file: &[u8], contents: &Contents, what: &str) {
        assert_eq!(String::from_utf8_lossy(&self.run(file, "check", &[], what)), "OK\n", "{what}");
        let copy = self.folder.path().join("copy.db");
        let _ = fs::remove_file(&copy);
        let args = ["-o", copy.to_str().unwrap(), "--no-sync"];
        self.run(file, "compact", &args, what);
        assert_eq!(&Contents::read_file(&fs::read(&copy).unwrap()), contents, "{what}");
    }
}

fn values(count: u32, key: usize, value: usize) -> Contents {
    Contents::values((0..count).map(|n| {
        let mut bytes = n.to_be_bytes().to_vec();
        bytes.resize(key.max(4), b'k');
        (bytes, vec![n as u8; value])
    }))
}

fn one(contents: Contents) -> Contents {
    Contents::of([(b"b".to_vec(), Entry::Bucket(contents))])
}

fn nested(depth: u32, width: u32) -> Contents {
    let mut contents = values(3, 4, 10);
    for level in 0..depth {
        let plain = values(width, 4, 30).entries;
        contents = Contents::of(plain.into_iter().chain([
            (b"\xff bucket".to_vec(), Entry::Bucket(contents)),
            (b"\xff empty".to_vec(), Entry::Bucket(Contents::default())),
        ]));
        contents.sequence = u64::from(level);
    }
    contents
}

fn many_buckets(count: u32, entries: u32) -> Contents {
    Contents::of(
        (0..count)
            .map(|n| (format!("bucket {n:06}").into_bytes(), Entry::Bucket(values(entries, 4, 8)))),
    )
}

/// Shapes that have gone wrong in writers before, by name.
fn shapes() -> Vec<(&'static str, Contents)> {
    vec![
        ("no buckets", Contents::default()),
        ("an empty bucket", one(Contents::default())),
        ("one entry", one(values(1, 4, 1))),
        ("empty values", one(values(500, 4, 0))),
        ("values of three pages and more", one(values(30, 4, 13_000))),
        ("values just over half a page", one(values(300, 4, 2100))),
        ("values just over a page", one(values(300, 4, 4090))),
        ("values of megabytes", one(values(3, 4, 3_000_000))),
        ("the longest keys", one(values(40, 32768, 5))),
        ("long keys and values", one(values(200, 700, 700))),
        ("deep", one(nested(20, 5))),
        ("deep and wide", one(nested(4, 2000))),
        ("many small buckets", many_buckets(2000, 1)),
        ("many empty buckets", many_buckets(300, 0)),
        ("buckets too large to be inline", many_buckets(50, 2500)),
    ]
}

#[test]
fn bbolt_accepts_every_shape_at_every_page_size() {
    let Some(program) = bbolt("bbolt_accepts_every_shape_at_every_page_size") else { return };
    let bench = Bench::new(program);
    for (name, contents) in shapes() {
        for options in all_options(&[1024, 4096, 16384, 65536]) {
            let what = format!("{name}, {options:?}");
            let file = contents.write(options, BucketOptions::default(), 7);
            bench.accepts(&file, &contents, &what);
        }
    }
}

#[test]
fn bbolt_accepts_300_000_entries_at_every_fill() {
    let Some(program) = bbolt("bbolt_accepts_300_000_entries_at_every_fill") else { return };
    let bench = Bench::new(program);
    let contents = one(values(300_000, 17, 40));
    for (size, percent) in [(1024, 10), (1024, 100), (4096, 90), (16384, 50), (65536, 100)] {
        let page_size = PageSize::new(size).unwrap();
        let options = Options { page_size, ..Options::default() };
        let fill = BucketOptions { fill: Fill::new(percent).unwrap(), sequence: 5 };
        let file = contents.write(options, fill, 8);
        bench.accepts(&file, &contents, &format!("300 000 entries, {size}, {percent} percent"));
    }
}

#[test]
fn bbolt_accepts_random_nested_buckets() {
    let Some(program) = bbolt("bbolt_accepts_random_nested_buckets") else { return };
    let bench = Bench::new(program);
    let mut runner = TestRunner::deterministic();
    for options in all_options(&[1024, 4096, 65536]).chain(all_options(&[1024, 16384])) {
        let contents = buckets().new_tree(&mut runner).unwrap().current();
        let file = contents.write(options, BucketOptions::default(), 2);
        bench.accepts(&file, &contents, &format!("random, {options:?}"));
    }
}

#[test]
fn bbolt_lists_and_reads_what_was_written() {
    let Some(program) = bbolt("bbolt_lists_and_reads_what_was_written") else { return };
    let bench = Bench::new(program);
    let contents = Contents::of([
        (b"first".to_vec(), Entry::Bucket(values(400, 9, 33))),
        (b"second".to_vec(), Entry::Bucket(Contents::default())),
    ]);
    for options in all_options(&[1024, 4096, 16384, 65536]) {
        let file = contents.write(options, BucketOptions::default(), 1);
        let what = format!("{options:?}");
        assert_eq!(bench.run(&file, "buckets", &[], &what), b"first\nsecond\n");
        let keys = bench.run(&file, "keys", &["first", "--format", "hex"], &what);
        let expected: String =
            (0..400).map(|n: u32| format!("{n:08x}{}\n", "6b".repeat(5))).collect();
        assert_eq!(String::from_utf8_lossy(&keys), expected);
        assert_eq!(bench.run(&file, "keys", &["second"], &what), b"");
        let key = format!("{:08x}{}", 255, "6b".repeat(5));
        let args = ["first", &key, "--parse-format", "hex", "--format", "hex"];
        let value = bench.run(&file, "get", &args, &what);
        assert_eq!(String::from_utf8_lossy(&value).trim_end(), "ff".repeat(33));
        bench.run(&file, "dump", &["0", "1", "2"], &what);
        bench.run(&file, "pages", &[], &what);
        bench.run(&file, "stats", &[], &what);
    }
}
