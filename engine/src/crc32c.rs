//! CRC-32C (Castagnoli), the checksum of etcd's WAL, snapfiles and hashes.
//!
//! Values here are finished ones, as etcd stores them; a finished value can be continued.

use crc_fast::{CrcAlgorithm, Digest};

const ALGORITHM: CrcAlgorithm = CrcAlgorithm::Crc32Iscsi;

/// The checksum of `bytes`.
pub fn crc32c(bytes: &[u8]) -> u32 {
    extend(0, bytes)
}

/// The checksum of what `crc` covers followed by `bytes`. A `crc` of 0 covers nothing.
pub fn extend(crc: u32, bytes: &[u8]) -> u32 {
    // A finished value differs from the register by the closing inversion, which is undone here.
    let mut digest = Digest::new_with_init_state(ALGORITHM, u64::from(!crc));
    digest.update(bytes);
    low_half(digest.finalize())
}

/// The checksum of what `first` covers followed by the `second_len_bytes` bytes that `second` covers.
pub fn combine(first: u32, second: u32, second_len_bytes: u64) -> u32 {
    // Bytes that follow multiply what went before by x to the number of their bits. crc-fast's own combination squares
    // matrices for that, twenty times as slow, and thousands of parts are joined in one thread.
    times(power_of_bytes(second_len_bytes), first) ^ second
}

/// The polynomial without its highest term, the bits reversed as they are in the checksum.
const POLYNOMIAL: u32 = 0x82f6_3b78;
/// The polynomial 1, which multiplies nothing.
const ONE: u32 = 1 << 31;

/// x to the powers 1, 2, 4, 8 and so on. Then they repeat: the order of x modulo this polynomial, which is x + 1 times a
/// primitive one, is 2^31 − 1.
const POWERS: [u32; 31] = {
    let mut powers = [ONE >> 1; 31];
    let mut at = 1;
    while at < powers.len() {
        powers[at] = times(powers[at - 1], powers[at - 1]);
        at += 1;
    }
    powers
};

/// Product of two polynomials modulo [`POLYNOMIAL`].
const fn times(a: u32, mut b: u32) -> u32 {
    let (mut product, mut bit) = (0, ONE);
    while bit != 0 {
        if a & bit != 0 {
            product ^= b;
        }
        b = if b & 1 == 0 { b >> 1 } else { b >> 1 ^ POLYNOMIAL };
        bit >>= 1;
    }
    product
}

/// x to the number of bits in `bytes` bytes.
fn power_of_bytes(bytes: u64) -> u32 {
    // From x^8 on: a byte has eight bits.
    let powers = POWERS.iter().cycle().skip(3).zip(0..u64::BITS);
    powers
        .filter(|(_, bit)| bytes >> bit & 1 == 1)
        .fold(ONE, |product, (power, _)| times(*power, product))
}

fn low_half(value: u64) -> u32 {
    (value & u64::from(u32::MAX)) as u32
}

/// A checksum under way that knows how many bytes it covers: neighbouring pieces are computed in
/// parallel and joined.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Crc32c {
    value: u32,
    len_bytes: u64,
}

impl Crc32c {
    /// Of no bytes yet.
    pub fn new() -> Self {
        Self::default()
    }

    /// Adds `bytes`.
    pub fn update(&mut self, bytes: &[u8]) {
        self.value = extend(self.value, bytes);
        self.len_bytes += bytes.len() as u64;
    }

    /// Adds the bytes of `next`, which stand right behind those of `self`.
    pub fn join(&mut self, next: &Crc32c) {
        self.value = combine(self.value, next.value, next.len_bytes);
        self.len_bytes += next.len_bytes;
    }

    /// The checksum so far.
    pub fn value(&self) -> u32 {
        self.value
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn crc_matches_the_published_vectors() {
        assert_eq!(crc32c(b"123456789"), 0xe306_9283);
        assert_eq!(crc32c(b""), 0);
        // etcd's status hash of a db that has only the empty buckets key and meta.
        assert_eq!(crc32c(b"keymeta"), 0xd102_f6ec);
    }

    #[test]
    fn lengths_beyond_four_gib_combine_as_in_crc_fast() {
        for len in [0, 1, 7, 1 << 20, (1 << 32) + 5, (1 << 45) - 1, u64::MAX >> 3] {
            for (first, second) in [(0, 0), (1, 2), (0xdead_beef, 0x1234_5678), (u32::MAX, 0)] {
                let expected =
                    crc_fast::checksum_combine(ALGORITHM, first.into(), second.into(), len);
                assert_eq!(u64::from(combine(first, second, len)), expected, "{len}");
            }
        }
    }

    proptest! {
        #[test]
        fn parts_continued_or_combined_equal_the_whole(
            bytes in proptest::collection::vec(any::<u8>(), 0..600),
            cut in 0usize..600,
        ) {
            let (head, tail) = bytes.split_at(cut.min(bytes.len()));
            prop_assert_eq!(extend(crc32c(head), tail), crc32c(&bytes));
            let (mut first, mut second) = (Crc32c::new(), Crc32c::new());
            first.update(head);
            second.update(tail);
            first.join(&second);
            prop_assert_eq!(first.value(), crc32c(&bytes));
            prop_assert_eq!(combine(crc32c(head), crc32c(tail), tail.len() as u64), crc32c(&bytes));
        }
    }
}
