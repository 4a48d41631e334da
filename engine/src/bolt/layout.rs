//! Offsets, sizes, flags and magic numbers of a bbolt file, once, for reader, writer, checker and tests.
//!
//! The diagrams are in `engine/docs/bbolt-file.md`. All integers are little-endian.

/// Smallest and greatest page size that is read, in bytes: bbolt takes any from its options and probes up to 16 MiB.
pub const PAGE_SIZES: std::ops::RangeInclusive<u32> = 512..=16 << 20;
/// Smallest and greatest page size that is written, in bytes: those of operating systems, which etcd uses.
pub const WRITTEN_PAGE_SIZES: std::ops::RangeInclusive<u32> = 1024..=65536;

/// Bytes of a page header: id u64, flags u16, count u16, overflow u32.
pub const PAGE_HEADER: usize = 16;
/// Page header: the page's own id, u64. 0 in an inline page.
pub const PAGE_ID: usize = 0;
/// Page header: flags, u16.
pub const PAGE_FLAGS: usize = 8;
/// Page header: number of elements, u16.
pub const PAGE_COUNT: usize = 10;
/// Page header: extra physical pages that follow, u32.
pub const PAGE_OVERFLOW: usize = 12;

/// Page flag of a branch page.
pub const FLAG_BRANCH: u16 = 0x01;
/// Page flag of a leaf page.
pub const FLAG_LEAF: u16 = 0x02;
/// Page flag of a meta page.
pub const FLAG_META: u16 = 0x04;
/// Page flag of a freelist page.
pub const FLAG_FREELIST: u16 = 0x10;

/// Bytes of a branch or leaf element.
pub const ELEMENT: usize = 16;
/// Branch element: key position relative to the element, u32.
pub const BRANCH_POS: usize = 0;
/// Branch element: key length in bytes, u32.
pub const BRANCH_KSIZE: usize = 4;
/// Branch element: child page id, u64.
pub const BRANCH_CHILD: usize = 8;
/// Leaf element: flags, u32.
pub const LEAF_FLAGS: usize = 0;
/// Leaf element: key position relative to the element, u32. The value follows the key.
pub const LEAF_POS: usize = 4;
/// Leaf element: key length in bytes, u32.
pub const LEAF_KSIZE: usize = 8;
/// Leaf element: value length in bytes, u32.
pub const LEAF_VSIZE: usize = 12;
/// Leaf element flag: the value is a bucket.
pub const LEAF_FLAG_BUCKET: u32 = 0x01;

/// Greatest element count of a branch or leaf page; 0xFFFF is reserved for the freelist.
pub const MAX_COUNT: usize = 0xFFFE;
/// Greatest key length bbolt writes, in bytes.
pub const MAX_KEY: usize = 32768;
/// Greatest value length bbolt writes, in bytes.
pub const MAX_VALUE: usize = (1 << 31) - 2;

/// Bytes of a bucket header: root page id u64, sequence u64. A root of 0 means an inline page follows.
pub const BUCKET_HEADER: usize = 16;
/// Bucket header: root page id, u64.
pub const BUCKET_ROOT: usize = 0;
/// Bucket header: sequence, u64.
pub const BUCKET_SEQUENCE: usize = 8;

/// Freelist page: a count of 0xFFFF means the real count is the first u64 of the body.
pub const FREELIST_COUNT_IN_BODY: u16 = 0xFFFF;
/// Bytes of a page id in a freelist.
pub const FREELIST_ENTRY: usize = 8;

/// Meta: offset of its first field within the page.
pub const META: usize = PAGE_HEADER;
/// Bytes of a meta, checksum included.
pub const META_SIZE: usize = 64;
/// Meta: magic, u32.
pub const META_MAGIC: usize = 0;
/// Meta: format version, u32.
pub const META_VERSION: usize = 4;
/// Meta: page size in bytes, u32.
pub const META_PAGE_SIZE: usize = 8;
/// Meta: flags, u32, always 0.
pub const META_FLAGS: usize = 12;
/// Meta: root page of the root bucket, u64.
pub const META_ROOT: usize = 16;
/// Meta: sequence of the root bucket, u64.
pub const META_SEQUENCE: usize = 24;
/// Meta: page of the freelist, u64; [`NO_FREELIST`] when none is stored.
pub const META_FREELIST: usize = 32;
/// Meta: high water mark, the first page id never allocated, u64 (bbolt's `pgid`).
pub const META_HIGH_WATER_MARK: usize = 40;
/// Meta: id of the transaction that wrote it, u64.
pub const META_TXID: usize = 48;
/// Meta: FNV-1a 64 of the meta's first 56 bytes, u64.
pub const META_CHECKSUM: usize = 56;

/// Magic number of a meta.
pub const MAGIC: u32 = 0xED0C_DAED;
/// The only format version there is.
pub const VERSION: u32 = 2;
/// Freelist page id that means "not stored".
pub const NO_FREELIST: u64 = u64::MAX;

/// FNV-1a, 64 bits, of `bytes`: the checksum of a meta.
pub fn fnv1a64(bytes: &[u8]) -> u64 {
    bytes.iter().fold(0xcbf2_9ce4_8422_2325, |hash, &byte| {
        (hash ^ u64::from(byte)).wrapping_mul(0x0100_0000_01b3)
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn fnv_matches_the_published_vectors() {
        assert_eq!(fnv1a64(b""), 0xcbf2_9ce4_8422_2325);
        assert_eq!(fnv1a64(b"a"), 0xaf63_dc4c_8601_ec8c);
    }
}
