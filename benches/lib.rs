//! Workloads shared by the benches: seeded databases made by the engine's own writer.

use std::io::Cursor;

use etcdsnap_engine::{
    bolt::{
        TxId,
        write::{BucketOptions, Options, WriteError, Writer},
    },
    pb::mvccpb::KeyValue,
    schema::{Revision, bucket},
};
use prost::Message;

mod entries;

pub use entries::log;

/// What a synthetic database holds.
#[derive(Clone, Copy, Debug)]
pub struct Workload {
    /// Records of bucket `key`: puts, one a revision.
    pub revisions: u64,
    /// Distinct keys they are spread over.
    pub keys: u64,
    /// Least and greatest value, in bytes.
    pub value_bytes: (u64, u64),
    /// Seed of everything random.
    pub seed: u64,
}

/// xorshift64*: enough for sizes and a spread of keys, and the same everywhere.
struct Random(u64);

impl Random {
    fn next(&mut self) -> u64 {
        self.0 ^= self.0 >> 12;
        self.0 ^= self.0 << 25;
        self.0 ^= self.0 >> 27;
        self.0.wrapping_mul(0x2545_f491_4f6c_dd1d)
    }
}

/// The name of key number `chosen`.
fn key_name(chosen: u64) -> Vec<u8> {
    format!("/registry/pods/namespace-{:03}/pod-{chosen:08x}", chosen % 97).into_bytes()
}

impl Workload {
    /// The database in memory: Kubernetes-like key names, histories that obey etcd's rules.
    ///
    /// # Errors
    /// When the writer refuses, which it does for sizes that bbolt cannot hold.
    pub fn build(&self) -> Result<Vec<u8>, WriteError> {
        let mut random = Random(self.seed | 1);
        let mut writer = Writer::new(Cursor::new(Vec::new()), Options::default())?;
        let mut histories = vec![(0_i64, 0_i64); usize::try_from(self.keys).unwrap_or(usize::MAX)];
        for name in bucket::ALL {
            let mut records = writer.bucket(name.as_bytes(), BucketOptions::default())?;
            if name != bucket::KEY {
                continue;
            }
            for main in (2_i64..).take(usize::try_from(self.revisions).unwrap_or(usize::MAX)) {
                let chosen = random.next() % self.keys.max(1);
                let Some((create, version)) =
                    usize::try_from(chosen).ok().and_then(|at| histories.get_mut(at))
                else {
                    continue;
                };
                if *version == 0 {
                    *create = main;
                }
                *version += 1;
                let (least, greatest) = self.value_bytes;
                let len = least + random.next() % (greatest - least + 1);
                let value =
                    (0..len.div_ceil(8)).flat_map(|_| random.next().to_le_bytes()).collect();
                let record = KeyValue {
                    key: key_name(chosen),
                    create_revision: *create,
                    mod_revision: main,
                    version: *version,
                    value,
                    lease: 0,
                };
                records.put(&Revision { main, sub: 0 }.encode(), &record.encode_to_vec())?;
            }
        }
        let (out, _) = writer.finish()?.seal(TxId(1))?;
        Ok(out.into_inner())
    }
}
