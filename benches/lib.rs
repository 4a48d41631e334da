//! Workloads shared by the benches: seeded databases as [`etcdsnap_engine::synthetic`] makes them up.

use std::io::Cursor;

use etcdsnap_engine::{bolt::write::WriteError, progress::Silent, synthetic::Workload};

mod entries;

pub use entries::log;

/// The database of `workload`, in memory.
///
/// # Errors
/// When the writer refuses, which it does for sizes that bbolt cannot hold.
pub fn built(workload: &Workload) -> Result<Vec<u8>, WriteError> {
    Ok(workload.write(Cursor::new(Vec::new()), &Silent)?.0.into_inner())
}

/// xorshift64*: enough for a spread of keys, and the same everywhere.
struct Random(u64);

impl Random {
    fn next(&mut self) -> u64 {
        self.0 ^= self.0 >> 12;
        self.0 ^= self.0 << 25;
        self.0 ^= self.0 >> 27;
        self.0.wrapping_mul(0x2545_f491_4f6c_dd1d)
    }
}
