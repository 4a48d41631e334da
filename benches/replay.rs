//! How long does it take to read a log of 100,000 entries, and to apply it?

#![expect(missing_docs, reason = "criterion's macro makes a public function")]

use std::hint::black_box;

use criterion::{Criterion, Throughput, criterion_group, criterion_main};
use etcdsnap_benches::{built, log};
use etcdsnap_engine::{
    bolt::Db,
    datadir::MemberFiles,
    limits::Limits,
    mvcc::{KeyIndex, KeySpace},
    progress::Silent,
    replay::{Boot, Until, replay},
    schema::{MetaRecords, Store},
    synthetic::Workload,
    wal::{Log, Segment, SegmentName},
};

const ENTRIES: u64 = 100_000;
const WORKLOAD: Workload =
    Workload { revisions: 300_000, keys: 200_000, value_bytes: (50, 400), seed: 1 };

fn jobs(criterion: &mut Criterion) {
    let raw = built(&WORKLOAD).expect("the workload fits bbolt's limits");
    let db = Db::from_bytes(&raw, Limits::default()).expect("the writer's files open");
    let name = SegmentName { sequence: 0, index: 0 };
    let written = log(&WORKLOAD, ENTRIES);
    let segments = [Segment { name, bytes: &written }];

    let mut group = criterion.benchmark_group("log");
    group.throughput(Throughput::Bytes(written.len() as u64)).sample_size(20);
    group.bench_function("read", |bench| {
        bench.iter(|| black_box(Log::read(&segments).entries.len()))
    });
    group.finish();

    let store = Store::new(db);
    let read = Log::read(&segments);
    let files = MemberFiles { segments: vec![(name, "made.wal".into())], ..MemberFiles::default() };
    let (meta, _) = MetaRecords::read(&store).expect("bucket meta can be read");
    let boot = Boot::new(&files, &read, Some(&meta), &[]).expect("the log is whole");
    let space = KeySpace::open(&store).expect("the key space opens");
    let mut group = criterion.benchmark_group("replay");
    group.throughput(Throughput::Bytes(db.size_bytes())).sample_size(10);
    // What a replay needs first, and what reading the db costs without one.
    group.bench_function("key-index", |bench| {
        bench.iter(|| {
            let index = KeyIndex::build(space.bucket(), i64::MAX, &Silent);
            black_box(index.map(|index| index.live_keys()))
        });
    });
    group.throughput(Throughput::Bytes(written.len() as u64));
    group.bench_function("100k-entries", |bench| {
        bench.iter(|| {
            let replayed =
                replay(&db, &read, &boot, Until::default(), &Silent).expect("the log applies");
            assert_eq!(replayed.report.applied, ENTRIES);
            black_box(replayed.patched.map(|patched| patched.pages.len()))
        });
    });
    group.finish();
}

criterion_group!(benches, jobs);
criterion_main!(benches);
