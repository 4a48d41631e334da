//! How long does each job take on a database in memory?

#![expect(missing_docs, reason = "criterion's macro makes a public function")]

use std::{hint::black_box, io::Cursor};

use criterion::{Criterion, Throughput, criterion_group, criterion_main};
use etcdsnap_benches::built;
use etcdsnap_engine::{
    bolt::{
        Db,
        check::check,
        write::{BucketOptions, Options as WriterOptions, Writer},
    },
    limits::Limits,
    mvcc::{KeyIndex, KeySpace, hash_kv},
    progress::Silent,
    schema::Store,
    snapshot::{Image, status, status_hash, verify, write},
    synthetic::Workload,
};

const WORKLOAD: Workload =
    Workload { revisions: 60_000, keys: 30_000, value_bytes: (100, 3000), seed: 1 };

fn jobs(criterion: &mut Criterion) {
    let mut bytes = Vec::new();
    let raw = built(&WORKLOAD).expect("the workload fits bbolt's limits");
    let db = Db::from_bytes(&raw, Limits::default()).expect("the writer's files open");
    write(&db, &mut bytes, &Silent).expect("memory takes everything");
    let image = Image::split(&bytes);
    let db = image.db(Limits::default()).expect("a snapshot opens");
    let space = KeySpace::open(&Store::new(db)).expect("its key space opens");

    let mut group = criterion.benchmark_group("jobs");
    group.throughput(Throughput::Bytes(db.size_bytes())).sample_size(20);
    let key = space.bucket().expect("the workload has keys");
    group.bench_function("page-walk", |bench| {
        bench.iter(|| key.items().map_while(Result::ok).fold(0, |sum, item| sum + item.value.len()))
    });
    group.bench_function("writer", |bench| {
        bench.iter(|| {
            let out = Cursor::new(Vec::with_capacity(bytes.len()));
            let mut writer = Writer::new(out, WriterOptions::default()).expect("memory");
            let mut bucket = writer.bucket(b"key", BucketOptions::default()).expect("memory");
            for item in key.items().map_while(Result::ok) {
                bucket.put(item.key, item.value).expect("keys come in order");
            }
            bucket.close().expect("memory takes everything");
            black_box(writer.finish().map(|unsealed| unsealed.summary().size_bytes))
        });
    });
    group.bench_function("check", |bench| bench.iter(|| black_box(check(&db, &Silent))));
    group
        .bench_function("status-hash", |bench| bench.iter(|| black_box(status_hash(&db, &Silent))));
    group.bench_function("key-index", |bench| {
        bench.iter(|| {
            black_box(
                KeyIndex::build(space.bucket(), i64::MAX, &Silent).map(|index| index.live_keys()),
            )
        });
    });
    group.bench_function("status", |bench| bench.iter(|| black_box(status(&db, &Silent))));
    group
        .bench_function("hashkv", |bench| bench.iter(|| black_box(hash_kv(&space, None, &Silent))));
    group.bench_function("verify", |bench| {
        bench.iter(|| black_box(verify(&image, Limits::default(), &Silent)))
    });
    group.bench_function("save-to-memory", |bench| {
        bench.iter(|| {
            let mut out = Vec::with_capacity(bytes.len());
            black_box(write(&db, &mut out, &Silent)).map(|saved| saved.bytes)
        });
    });
    group.finish();
}

criterion_group!(benches, jobs);
criterion_main!(benches);
