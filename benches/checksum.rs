//! How fast are the checksums, and what do small pieces cost?

#![expect(missing_docs, reason = "criterion's macro makes a public function")]

use std::hint::black_box;

use criterion::{BenchmarkId, Criterion, Throughput, criterion_group, criterion_main};
use etcdsnap_engine::{crc32c::Crc32c, snapshot::Digest};

fn checksums(criterion: &mut Criterion) {
    let bytes: Vec<u8> =
        (0..16_u32 << 20).map(|n| (n.wrapping_mul(2_654_435_761) >> 24) as u8).collect();
    let mut group = criterion.benchmark_group("checksum");
    group.throughput(Throughput::Bytes(bytes.len() as u64)).sample_size(20);
    for piece in [17, 512, 4096, 1 << 20] {
        group.bench_with_input(BenchmarkId::new("crc32c", piece), &piece, |bench, &piece| {
            bench.iter(|| {
                let mut crc = Crc32c::new();
                bytes.chunks(piece).for_each(|piece| crc.update(piece));
                black_box(crc.value())
            });
        });
    }
    group.bench_function("sha256", |bench| bench.iter(|| black_box(Digest::of(&bytes))));
    group.finish();
}

criterion_group!(benches, checksums);
criterion_main!(benches);
