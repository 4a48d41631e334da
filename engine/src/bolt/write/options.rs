//! What may be chosen about a file and its buckets.

use super::{super::layout, WriteError};
use crate::limits::Limits;

/// Bytes of a page: a power of two from 1 KiB to 64 KiB.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct PageSize(u32);

impl PageSize {
    /// 4 KiB, the page of most machines and so of most files.
    pub const DEFAULT: PageSize = PageSize(4096);

    /// The page size of `bytes` bytes.
    ///
    /// # Errors
    /// [`WriteError::PageSize`] when it is not a power of two from 1024 to 65536.
    pub fn new(bytes: u32) -> Result<Self, WriteError> {
        if bytes.is_power_of_two() && layout::WRITTEN_PAGE_SIZES.contains(&bytes) {
            Ok(Self(bytes))
        } else {
            Err(WriteError::PageSize { found: bytes })
        }
    }

    /// As a number of bytes.
    pub fn bytes(self) -> u32 {
        self.0
    }

    /// As a length in memory.
    pub(in crate::bolt) fn len(self) -> usize {
        self.0 as usize
    }
}

impl Default for PageSize {
    fn default() -> Self {
        Self::DEFAULT
    }
}

/// How full pages are made, in percent of the page: 10 to 100. Not stored in the file.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Fill(u8);

impl Fill {
    /// Full pages: the smallest file, for data that is only read.
    pub const FULL: Fill = Fill(100);
    /// 90 percent: little waste, and the first changes need no split.
    pub const DENSE: Fill = Fill(90);
    /// 50 percent: bbolt's default, for keys that come in any order.
    pub const HALF: Fill = Fill(50);

    /// A fill of `percent` percent.
    ///
    /// # Errors
    /// [`WriteError::Fill`] when it is not from 10 to 100, the range bbolt clamps to.
    pub fn new(percent: u8) -> Result<Self, WriteError> {
        if (10..=100).contains(&percent) {
            Ok(Self(percent))
        } else {
            Err(WriteError::Fill { percent })
        }
    }

    /// Bytes of a page of `page_size` that are used.
    pub(in crate::bolt) fn threshold(self, page_size: PageSize) -> usize {
        page_size.len() * usize::from(self.0) / 100
    }
}

impl Default for Fill {
    fn default() -> Self {
        Self::DENSE
    }
}

/// Whether the file has a freelist page. A fresh file has no free pages either way.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
pub enum FreelistKind {
    /// Not stored; bbolt finds free pages by walking the trees. What etcd on Linux writes.
    #[default]
    Absent,
    /// A page that lists nothing.
    Stored,
}

/// What may be chosen about a file.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Options {
    /// Bytes of a page.
    pub page_size: PageSize,
    /// Whether small buckets are put into the page that names them, by bbolt's rule.
    pub inline: bool,
    /// Whether an empty freelist is stored.
    pub freelist: FreelistKind,
    /// Fill of the pages that name the top-level buckets.
    pub root_fill: Fill,
    /// Sequence of the root bucket; 0 in practice.
    pub root_sequence: u64,
    /// `max_depth` bounds buckets within buckets.
    pub limits: Limits,
    /// Only to learn where pages will be: leaves are not written, and what is written makes no database.
    pub sizes_only: bool,
}

impl Default for Options {
    fn default() -> Self {
        Self {
            page_size: PageSize::DEFAULT,
            inline: true,
            freelist: FreelistKind::Absent,
            root_fill: Fill::default(),
            root_sequence: 0,
            limits: Limits::default(),
            sizes_only: false,
        }
    }
}

/// What may be chosen about a bucket.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct BucketOptions {
    /// Fill of the bucket's pages.
    pub fill: Fill,
    /// The bucket's sequence; etcd leaves it at 0.
    pub sequence: u64,
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_page_sizes_that_bbolt_reads_can_be_made() {
        for size in [1024, 2048, 4096, 8192, 16384, 32768, 65536] {
            assert_eq!(PageSize::new(size).unwrap().bytes(), size);
        }
        for size in [0, 512, 1000, 1025, 4095, 131_072, u32::MAX] {
            assert!(
                matches!(PageSize::new(size), Err(WriteError::PageSize { found }) if found == size)
            );
        }
    }

    #[test]
    fn only_fills_that_bbolt_does_not_clamp_can_be_made() {
        assert_eq!(Fill::new(10).unwrap().threshold(PageSize::DEFAULT), 409);
        assert_eq!(Fill::new(100).unwrap(), Fill::FULL);
        assert!(matches!(Fill::new(9), Err(WriteError::Fill { percent: 9 })));
        assert!(matches!(Fill::new(101), Err(WriteError::Fill { percent: 101 })));
    }
}
