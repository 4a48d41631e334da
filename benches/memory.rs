//! How much memory does a replay take for each key that exists? Prints one line; no timing.

use std::{
    fs,
    sync::atomic::{AtomicBool, AtomicU64, Ordering},
    thread,
    time::Duration,
};

use etcdsnap_benches::{built, log};
use etcdsnap_engine::{
    bolt::Db,
    datadir::MemberFiles,
    limits::Limits,
    progress::Silent,
    replay::{Boot, Until, replay},
    schema::{MetaRecords, Store},
    source::{FaultGuard, Source},
    synthetic::Workload,
    wal::{Log, Segment, SegmentName},
};

const ENTRIES: u64 = 1000;
const WORKLOAD: Workload =
    Workload { revisions: 3_000_000, keys: 1_000_000, value_bytes: (8, 40), seed: 1 };

/// Memory of this process that is no file, in bytes.
fn anonymous() -> u64 {
    let status = fs::read_to_string("/proc/self/status").unwrap_or_default();
    let line = status.lines().find_map(|line| line.strip_prefix("RssAnon:"));
    let kib = line.and_then(|line| line.split_whitespace().next()?.parse::<u64>().ok());
    kib.unwrap_or_default() * 1024
}

fn main() {
    let path = std::env::temp_dir().join(format!("etcdsnap-memory-{}", std::process::id()));
    let made = built(&WORKLOAD).map(|raw| fs::write(&path, raw));
    made.expect("the workload fits bbolt's limits").expect("the temporary directory has room");
    let guard = FaultGuard::install().expect("the handler is accepted");
    let source = Source::map(&path, guard).expect("the file can be mapped");
    let name = SegmentName { sequence: 0, index: 0 };
    let written = log(&WORKLOAD, ENTRIES);
    let segments = [Segment { name, bytes: &written }];
    let db = Db::from_bytes(source.bytes(), Limits::default()).expect("the writer's files open");
    let read = Log::read(&segments);
    let files = MemberFiles { segments: vec![(name, "made.wal".into())], ..MemberFiles::default() };
    let (meta, _) = MetaRecords::read(&Store::new(db)).expect("bucket meta can be read");
    let boot = Boot::new(&files, &read, Some(&meta), &[]).expect("the log is whole");
    let keys = {
        let space = etcdsnap_engine::mvcc::KeySpace::open(&Store::new(db)).expect("it opens");
        let index = etcdsnap_engine::mvcc::KeyIndex::build(space.bucket(), i64::MAX, &Silent);
        index.expect("it can be read").live_keys()
    };
    let (before, peak, done) = (anonymous(), AtomicU64::new(0), AtomicBool::new(false));
    let applied = thread::scope(|scope| {
        scope.spawn(|| {
            while !done.load(Ordering::Relaxed) {
                peak.fetch_max(anonymous(), Ordering::Relaxed);
                thread::sleep(Duration::from_millis(1));
            }
        });
        let replayed =
            replay(&db, &read, &boot, Until::default(), &Silent).expect("the log applies");
        done.store(true, Ordering::Relaxed);
        replayed.report.applied
    });
    let peak = peak.load(Ordering::Relaxed).saturating_sub(before);
    // A file left in the temporary directory is no failure of the measurement.
    let _ = fs::remove_file(&path);
    println!(
        "replay of {applied} entries on {keys} live keys: {peak} bytes at most, {:.1} a key",
        peak as f64 / keys as f64
    );
}
