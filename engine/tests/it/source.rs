//! Guards against the worst a map can do: end the process by a signal, or hand out bytes that are in no file as if
//! they were. Files are cut short, replaced and written to while they are mapped.

use std::fs::{self, File, FileTimes, OpenOptions};
use std::path::{Path, PathBuf};
use std::sync::Barrier;
use std::thread;
use std::time::{Duration, SystemTime};

use etcdsnap_engine::source::{Change, Error, FaultGuard, Kind, Source};
use tempfile::TempDir;

const KIB: usize = 1024;

fn guard() -> FaultGuard {
    FaultGuard::install().unwrap()
}

/// A file of `len` bytes 1, aged so that a write or a look would move its times.
fn file_of(dir: &TempDir, name: &str, len: usize) -> PathBuf {
    let path = dir.path().join(name);
    fs::write(&path, vec![1; len]).unwrap();
    let file = OpenOptions::new().write(true).open(&path).unwrap();
    let minute = Duration::from_secs(60);
    let (accessed, modified) = (SystemTime::now() - 2 * minute, SystemTime::now() - minute);
    file.set_times(FileTimes::new().set_accessed(accessed).set_modified(modified)).unwrap();
    path
}

fn cut(path: &Path, len: u64) {
    OpenOptions::new().write(true).open(path).unwrap().set_len(len).unwrap();
}

fn sum(bytes: &[u8]) -> u64 {
    bytes.iter().map(|&byte| u64::from(byte)).sum()
}

/// Both ways to the bytes of a path.
fn both(path: &Path) -> [Result<Source, Error>; 2] {
    [Source::map(path, guard()), Source::read(path)]
}

fn change(source: &Source) -> Change {
    match source.check() {
        Err(Error::Changed { change, .. }) => change,
        other => panic!("expected a change, found {other:?}"),
    }
}

#[test]
fn mapped_and_read_bytes_are_those_of_the_file() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("db");
    let bytes: Vec<u8> = (0..100_003u32).map(|i| i as u8).collect();
    fs::write(&path, &bytes).unwrap();
    for source in both(&path) {
        let source = source.unwrap();
        source.advise_sequential();
        assert_eq!(source.bytes(), bytes);
        assert_eq!(source.len(), bytes.len());
        assert_eq!(source.path(), Some(path.as_path()));
        source.check().unwrap();
    }
    let file = File::open(&path).unwrap();
    assert_eq!(Source::map_file(&file, "db", guard()).unwrap().bytes(), bytes);
    for _ in 0..2 {
        assert_eq!(
            Source::read_file(&file, "db").unwrap().bytes(),
            bytes,
            "wherever the position is"
        );
    }
}

#[test]
fn an_empty_file_has_no_bytes_and_no_fault() {
    let dir = tempfile::tempdir().unwrap();
    let path = file_of(&dir, "empty", 0);
    for source in both(&path) {
        let source = source.unwrap();
        assert!(source.is_empty());
        assert!(!source.is_mapped());
        source.check().unwrap();
    }
}

#[test]
fn bytes_from_memory_have_nothing_to_check() {
    let source = Source::from_bytes(vec![1, 2, 3]);
    assert_eq!((source.bytes(), source.path()), (&[1, 2, 3][..], None));
    source.check().unwrap();
}

#[test]
fn a_map_cut_short_reads_zeros_and_names_the_first_offset_that_was_missed() {
    let dir = tempfile::tempdir().unwrap();
    let path = file_of(&dir, "db", 256 * KIB);
    let source = Source::map(&path, guard()).unwrap();
    assert_eq!(sum(source.bytes()), 256 * KIB as u64);
    cut(&path, 64 * KIB as u64);
    assert_eq!(source.bytes()[200 * KIB], 0);
    let high = source.check().unwrap_err();
    assert!(matches!(high, Error::Fault { offset, .. } if offset == 200 * KIB as u64), "{high}");
    assert_eq!(sum(source.bytes()), 64 * KIB as u64);
    let low = source.check().unwrap_err();
    assert!(matches!(low, Error::Fault { offset, .. } if offset == 64 * KIB as u64), "{low}");
    assert!(low.to_string().contains("0x10000"), "{low}");
}

#[test]
fn a_map_cut_short_where_nobody_looked_is_still_noticed() {
    let dir = tempfile::tempdir().unwrap();
    let path = file_of(&dir, "db", 64 * KIB);
    for source in both(&path).map(Result::unwrap) {
        cut(&path, 5);
        assert_eq!(change(&source), Change::Length { opened: 64 * KIB as u64, now: 5 });
        cut(&path, 64 * KIB as u64);
    }
}

#[test]
fn many_threads_survive_a_map_cut_short_and_other_maps_are_unharmed() {
    let dir = tempfile::tempdir().unwrap();
    const LEN: usize = 1024 * KIB;
    let bad_path = file_of(&dir, "bad", LEN);
    let before = Source::map(file_of(&dir, "before", LEN), guard()).unwrap();
    let bad = Source::map(&bad_path, guard()).unwrap();
    let after = Source::map(file_of(&dir, "after", LEN), guard()).unwrap();
    let start = Barrier::new(8);
    cut(&bad_path, 4 * KIB as u64);
    thread::scope(|scope| {
        for thread in 0..8 {
            let (bad, before, after, start) = (&bad, &before, &after, &start);
            scope.spawn(move || {
                start.wait();
                let from = thread * LEN / 8;
                std::hint::black_box(sum(&bad.bytes()[from..from + LEN / 8]));
                assert_eq!(sum(before.bytes()), LEN as u64);
                assert_eq!(sum(after.bytes()), LEN as u64);
            });
        }
    });
    let error = bad.check().unwrap_err();
    assert!(matches!(error, Error::Fault { offset, .. } if offset <= 64 * KIB as u64), "{error}");
    before.check().unwrap();
    after.check().unwrap();
}

#[test]
fn maps_come_and_go_on_many_threads_while_others_fault() {
    let dir = tempfile::tempdir().unwrap();
    let whole = file_of(&dir, "whole", 64 * KIB);
    thread::scope(|scope| {
        for thread in 0..4 {
            let (dir, whole) = (&dir, &whole);
            scope.spawn(move || {
                for round in 0..50 {
                    let path = file_of(dir, &format!("cut-{thread}-{round}"), 64 * KIB);
                    let bad = Source::map(&path, guard()).unwrap();
                    let good = Source::map(whole, guard()).unwrap();
                    cut(&path, 0);
                    assert_eq!(sum(bad.bytes()), 0);
                    assert!(matches!(bad.check(), Err(Error::Fault { offset: 0, .. })));
                    assert_eq!(sum(good.bytes()), 64 * KIB as u64);
                    good.check().unwrap();
                    drop(bad);
                    fs::remove_file(path).unwrap();
                }
            });
        }
    });
}

#[test]
fn a_dropped_map_leaves_its_place_to_the_next() {
    let dir = tempfile::tempdir().unwrap();
    let path = file_of(&dir, "db", 8 * KIB);
    for _ in 0..1000 {
        let source = Source::map(&path, guard()).unwrap();
        assert_eq!(source.bytes()[5000], 1);
        source.check().unwrap();
    }
}

#[test]
fn a_file_that_is_written_replaced_or_removed_is_noticed() {
    let dir = tempfile::tempdir().unwrap();
    for (way, _) in ["map", "read"].iter().enumerate() {
        let open =
            |name| both(&file_of(&dir, name, 8 * KIB)).into_iter().nth(way).unwrap().unwrap();
        let path = |name| dir.path().join(name);

        let source = open("written");
        fs::write(path("written"), vec![2; 8 * KIB]).unwrap();
        assert_eq!(change(&source), Change::Written);

        let source = open("longer");
        cut(&path("longer"), 9 * KIB as u64);
        assert_eq!(change(&source), Change::Length { opened: 8 * KIB as u64, now: 9 * KIB as u64 });

        let source = open("replaced");
        fs::rename(file_of(&dir, "new", 8 * KIB), path("replaced")).unwrap();
        assert_eq!(sum(source.bytes()), 8 * KIB as u64);
        assert_eq!(change(&source), Change::Replaced);

        let source = open("removed");
        fs::remove_file(path("removed")).unwrap();
        assert_eq!(change(&source), Change::Removed);

        let source = open("status");
        thread::sleep(Duration::from_millis(20));
        fs::set_permissions(path("status"), std::os::unix::fs::PermissionsExt::from_mode(0o600))
            .unwrap();
        assert_eq!(change(&source), Change::Status);
    }
}

#[test]
fn looking_at_a_file_leaves_its_times_alone() {
    use std::os::unix::fs::MetadataExt;
    let dir = tempfile::tempdir().unwrap();
    let path = file_of(&dir, "db", 8 * KIB);
    let times = || {
        let now = fs::metadata(&path).unwrap();
        (
            now.atime(),
            now.atime_nsec(),
            now.mtime(),
            now.mtime_nsec(),
            now.ctime(),
            now.ctime_nsec(),
        )
    };
    let before = times();
    for source in both(&path).map(Result::unwrap) {
        assert_eq!(sum(source.bytes()), 8 * KIB as u64);
    }
    assert_eq!(times(), before);
}

#[test]
fn what_is_not_a_file_of_bytes_is_named_and_never_waited_for() {
    let dir = tempfile::tempdir().unwrap();
    let fifo = dir.path().join("fifo");
    rustix::fs::mknodat(rustix::fs::CWD, &fifo, rustix::fs::FileType::Fifo, 0o600.into(), 0)
        .unwrap();
    let socket = dir.path().join("socket");
    let _listener = std::os::unix::net::UnixListener::bind(&socket).unwrap();
    let cases = [
        (dir.path(), Kind::Directory),
        (fifo.as_path(), Kind::Fifo),
        (socket.as_path(), Kind::Socket),
        (Path::new("/dev/null"), Kind::CharDevice),
    ];
    for (path, expected) in cases {
        for source in both(path) {
            let error = source.unwrap_err();
            assert!(matches!(error, Error::NotAFile { kind, .. } if kind == expected), "{error}");
        }
    }
    for source in both(&dir.path().join("absent")) {
        assert!(matches!(source, Err(Error::Open { .. })));
    }
}

#[test]
fn a_huge_sparse_file_maps_without_memory_and_is_refused_for_reading() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("sparse");
    let len = 8u64 << 40;
    let file = File::create(&path).unwrap();
    if file.set_len(len).is_err() {
        eprintln!("SKIPPED: this file system has no files of 8 TiB");
        return;
    }
    let source = Source::map(&path, guard()).unwrap();
    assert_eq!(source.len() as u64, len);
    assert_eq!(source.bytes()[(len - 1) as usize], 0);
    source.check().unwrap();
    drop(source);
    let error = Source::read(&path).unwrap_err();
    assert!(matches!(error, Error::TooLarge { len_bytes, .. } if len_bytes == len), "{error}");

    // Cut short, the zero pages up to its old end take no memory either.
    let source = Source::map(&path, guard()).unwrap();
    file.set_len(0).unwrap();
    assert_eq!(source.bytes()[4096], 0);
    assert_eq!(source.bytes()[(len - 1) as usize], 0);
    assert!(matches!(source.check(), Err(Error::Fault { offset: 4096, .. })));
}

#[test]
fn more_maps_than_can_be_watched_are_refused_and_reading_still_works() {
    // In a process of its own: it takes every place there is.
    const CHILD: &str = "ETCDSNAP_TEST_FULL_TABLE";
    if std::env::var_os(CHILD).is_none() {
        let name = "source::more_maps_than_can_be_watched_are_refused_and_reading_still_works";
        let exe = std::env::current_exe().unwrap();
        let output = std::process::Command::new(exe)
            .args(["--exact", name])
            .env(CHILD, "1")
            .output()
            .unwrap();
        assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stdout));
        return;
    }
    let dir = tempfile::tempdir().unwrap();
    let path = file_of(&dir, "db", 8 * KIB);
    let mut maps = Vec::new();
    let error = loop {
        match Source::map(&path, guard()) {
            Ok(source) => maps.push(source),
            Err(error) => break error,
        }
    };
    assert!(matches!(error, Error::TooManyMaps { limit, .. } if limit == maps.len()), "{error}");
    assert_eq!(sum(Source::read(&path).unwrap().bytes()), 8 * KIB as u64);
    maps.pop();
    maps.push(Source::map(&path, guard()).unwrap());
    cut(&path, 0);
    for source in &maps {
        assert_eq!(sum(source.bytes()), 0);
        assert!(matches!(source.check(), Err(Error::Fault { offset: 0, .. })));
    }
}

#[test]
fn an_overlay_shows_what_the_file_would_hold_and_leaves_it_alone() {
    let dir = tempfile::tempdir().unwrap();
    for (keep, file_len) in [(8 * KIB, 20 * KIB), (9 * KIB, 9 * KIB), (5 * KIB, 6 * KIB), (0, KIB)]
    {
        let path = file_of(&dir, "db", file_len);
        let metas = vec![7; keep.min(KIB)];
        let tail = vec![9; 30 * KIB];
        // Between what is kept and what is written behind it are zeros, not what the file has there.
        let gap = 100;
        let mut expected = vec![1; keep];
        expected.resize(keep + gap, 0);
        expected.extend(&tail);
        expected[..metas.len()].copy_from_slice(&metas);
        for source in both(&path) {
            let overlaid = source
                .unwrap()
                .overlaid(keep as u64, &[((keep + gap) as u64, &tail), (0, &metas)])
                .unwrap();
            assert!(overlaid.bytes() == expected, "keep {keep} of {file_len}");
            overlaid.check().unwrap();
            assert_eq!(fs::read(&path).unwrap(), vec![1; file_len]);
            assert!(matches!(
                overlaid.overlaid(1 << 40, &[]),
                Err(Error::Beyond { wanted_bytes: 0x100_0000_0000, .. })
            ));
        }
    }
}

#[test]
fn an_overlay_of_a_file_that_is_cut_short_is_noticed() {
    let dir = tempfile::tempdir().unwrap();
    let path = file_of(&dir, "db", 64 * KIB);
    let overlaid =
        Source::map(&path, guard()).unwrap().overlaid(64 * KIB as u64, &[(0, &[7; 16])]).unwrap();
    cut(&path, 0);
    // The system takes the pages that were written to away with the others.
    assert_eq!(sum(overlaid.bytes()), 0);
    assert!(matches!(overlaid.check(), Err(Error::Fault { offset: 0, .. })));

    let path = file_of(&dir, "gone", 64 * KIB);
    let source = Source::map(&path, guard()).unwrap();
    cut(&path, 0);
    assert!(matches!(source.overlaid(64 * KIB as u64, &[]), Err(Error::Changed { .. })));
}
