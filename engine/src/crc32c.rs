//! CRC-32C (Castagnoli), the checksum of everything in etcd: snapfile, WAL, Hash and HashKV.
//!
//! Checksums of neighbouring pieces join into the checksum of both, so pieces are computed in parallel.

use crc_fast::{CrcAlgorithm, Digest};

/// A CRC-32C under way over some bytes.
#[derive(Clone, Debug)]
pub struct Crc32c {
    digest: Digest,
}

impl Crc32c {
    /// Of no bytes yet.
    pub fn new() -> Self {
        Self { digest: Digest::new(CrcAlgorithm::Crc32Iscsi) }
    }

    /// Continues a checksum whose value so far is `value`, as a WAL's running one.
    pub fn resume(value: u32) -> Self {
        Self { digest: Digest::new_with_init_state(CrcAlgorithm::Crc32Iscsi, u64::from(!value)) }
    }

    /// Adds `bytes`.
    pub fn update(&mut self, bytes: &[u8]) {
        self.digest.update(bytes);
    }

    /// Adds the bytes of `next`, which stand right behind those of `self`.
    pub fn join(&mut self, next: &Crc32c) {
        self.digest.combine(&next.digest);
    }

    /// The checksum so far.
    pub fn value(&self) -> u32 {
        // A 32-bit algorithm keeps the upper half zero.
        (self.digest.finalize() & u64::from(u32::MAX)) as u32
    }
}

impl Default for Crc32c {
    fn default() -> Self {
        Self::new()
    }
}

/// CRC-32C of `bytes`.
pub fn crc32c(bytes: &[u8]) -> u32 {
    let mut crc = Crc32c::new();
    crc.update(bytes);
    crc.value()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn published_vectors_hold() {
        assert_eq!(crc32c(b"123456789"), 0xe306_9283);
        assert_eq!(crc32c(b"keymeta"), 0xd102_f6ec);
        assert_eq!(crc32c(b""), 0);
    }

    #[test]
    fn pieces_join_and_resume_to_the_whole() {
        let data: Vec<u8> = (0..5000_u32).map(|n| (n * 7 + n / 251) as u8).collect();
        for cut in [0, 1, 17, 255, 256, 1024, 4999, 5000] {
            let (head, tail) = data.split_at(cut);
            let (mut left, mut right) = (Crc32c::new(), Crc32c::new());
            left.update(head);
            right.update(tail);
            let mut resumed = Crc32c::resume(left.value());
            resumed.update(tail);
            left.join(&right);
            assert_eq!(left.value(), crc32c(&data), "joined at {cut}");
            assert_eq!(resumed.value(), crc32c(&data), "resumed at {cut}");
        }
    }
}
