//! What stops a read of a bbolt file, with its place.

use super::{
    meta::MetaError,
    page::{PageFlags, PageId},
};
use crate::{finding::Place, progress::Interrupted};

/// Why a bbolt file, or a part of it, could not be read.
///
/// Page numbers are positions in the file; byte counts are bytes.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum Error {
    /// The file cannot hold the two meta pages.
    #[error("file size too small {len}: a bbolt file holds two meta pages")]
    TooSmall {
        /// Length of the file in bytes.
        len: u64,
    },
    /// Neither meta page is valid and nothing else says that this is a bbolt file.
    #[error("not a bbolt file: meta 0: {meta0}; meta 1: {meta1}")]
    NotBolt {
        /// What is wrong with meta page 0.
        meta0: MetaError,
        /// What is wrong with meta page 1.
        meta1: MetaError,
    },
    /// Both meta pages are damaged, but at least one was a bbolt meta once.
    #[error("both meta pages are damaged: meta 0: {meta0}; meta 1: {meta1}")]
    BothMetas {
        /// What is wrong with meta page 0.
        meta0: MetaError,
        /// What is wrong with meta page 1.
        meta1: MetaError,
    },
    /// The file was written on a big-endian machine.
    #[error(
        "big-endian bbolt file: magic 0xeddaced reads byte-swapped at offset {offset:#x}; written on s390x or ppc64, it can only be read there"
    )]
    BigEndian {
        /// Where the swapped magic is.
        offset: u64,
    },
    /// A valid meta names a page size that nobody gives bbolt.
    #[error("meta {slot}: page size {found}, expected a power of two from 512 to 16777216")]
    PageSize {
        /// Which meta page.
        slot: u8,
        /// The page size it names.
        found: u32,
    },
    /// A reference to a page at or above the high water mark, or to a meta page.
    #[error("page {page}: out of bounds: high water mark is {high_water_mark}")]
    OutOfBounds {
        /// The page referred to.
        page: PageId,
        /// First page id never allocated.
        high_water_mark: PageId,
    },
    /// A page that should be in the file lies beyond its end.
    #[error(
        "page {page}: at offset {offset:#x}, beyond the end of the file at {len:#x}: the file's tail is missing"
    )]
    BeyondEnd {
        /// The page referred to.
        page: PageId,
        /// Where it should begin.
        offset: u64,
        /// Length of the file.
        len: u64,
    },
    /// A page whose header names another page. bbolt's wording.
    #[error("assertion failed: Page expected to be: {page}, but self identifies as {found}")]
    PageIdDiffers {
        /// Its position.
        page: PageId,
        /// The id in its header.
        found: u64,
    },
    /// A page with flags that bbolt does not know. bbolt's wording.
    #[error("assertion failed: page {page}: has unexpected type/flags: {:x}", flags.0)]
    UnknownFlags {
        /// The page.
        page: PageId,
        /// Its flags.
        flags: PageFlags,
    },
    /// A page of a known kind where another was needed.
    #[error("page {page}: page type is {found}, expected {expected}")]
    WrongKind {
        /// The page.
        page: PageId,
        /// What it is.
        found: PageFlags,
        /// What was needed there.
        expected: &'static str,
    },
    /// A page that runs over the high water mark.
    #[error(
        "page {page}: overflow {overflow} reaches beyond the high water mark {high_water_mark}"
    )]
    Overflow {
        /// The page.
        page: PageId,
        /// Extra physical pages its header claims.
        overflow: u32,
        /// First page id never allocated.
        high_water_mark: PageId,
    },
    /// A page with more elements than fit into it.
    #[error("page {page}: {count} elements do not fit into its {len} bytes")]
    Elements {
        /// The page.
        page: PageId,
        /// Elements its header claims.
        count: u64,
        /// Bytes of the page, overflow included.
        len: usize,
    },
    /// An element whose key or value lies outside its page.
    #[error(
        "page {page} element {index}: key and value at byte {start} of {size} bytes lie outside the page's data [{data}, {len})"
    )]
    ElementBounds {
        /// The page.
        page: PageId,
        /// The element.
        index: usize,
        /// First byte of its key, from the start of the page.
        start: u64,
        /// Bytes of key and value together.
        size: u64,
        /// Where the page's data begins, behind its element table.
        data: usize,
        /// Bytes of the page, overflow included.
        len: usize,
    },
    /// A branch page without elements, on which bbolt panics.
    #[error("page {page}: branch page without elements")]
    EmptyBranch {
        /// The page.
        page: PageId,
    },
    /// A tree deeper than any real one: most likely a cycle.
    #[error("page {page}: deeper than {limit} levels: the tree runs in a circle or is damaged")]
    TooDeep {
        /// Where the descent was given up.
        page: PageId,
        /// The limit.
        limit: usize,
    },
    /// A walk met more pages than the file has: pages are referenced several times.
    #[error(
        "page {page}: the walk met more pages than the {pages} there are: pages are referenced several times"
    )]
    TooManyPages {
        /// Where the walk was given up.
        page: PageId,
        /// Pages below the high water mark.
        pages: u64,
    },
    /// A leaf whose elements claim more bytes than it has: some are claimed twice.
    #[error(
        "page {page} element {index}: the elements up to here claim more bytes than the page has: they share bytes"
    )]
    SharedBytes {
        /// The page.
        page: PageId,
        /// The first element for which no bytes are left.
        index: usize,
    },
    /// A bucket's value too short for a bucket header or its inline page.
    #[error("page {page} element {index}: bucket value of {len} bytes is too short")]
    BucketValue {
        /// The page.
        page: PageId,
        /// The element.
        index: usize,
        /// Bytes of the value.
        len: usize,
    },
    /// An inline bucket whose page is not an inline leaf.
    #[error("page {page} element {index}: inline bucket page has id {id} and flags {:#x}, expected id 0 and flags 0x2", flags.0)]
    InlinePage {
        /// The page.
        page: PageId,
        /// The element.
        index: usize,
        /// Id in the inline page's header.
        id: u64,
        /// Flags in the inline page's header.
        flags: PageFlags,
    },
    /// A pair beside the top-level buckets, where bbolt lets nobody put one.
    #[error(
        "page {page} element {index}: a pair among the top-level buckets: the page is another bucket's"
    )]
    PairAmongBuckets {
        /// The page.
        page: PageId,
        /// The element.
        index: usize,
    },
}

impl Error {
    /// Where in the file it is.
    pub fn place(&self) -> Place {
        match self {
            Error::TooSmall { .. } | Error::NotBolt { .. } | Error::BothMetas { .. } => Place::File,
            Error::BigEndian { offset } => Place::Offset(*offset),
            Error::PageSize { slot, .. } => Place::Page(u64::from(*slot)),
            Error::OutOfBounds { page, .. }
            | Error::BeyondEnd { page, .. }
            | Error::PageIdDiffers { page, .. }
            | Error::UnknownFlags { page, .. }
            | Error::WrongKind { page, .. }
            | Error::Overflow { page, .. }
            | Error::Elements { page, .. }
            | Error::EmptyBranch { page }
            | Error::TooDeep { page, .. }
            | Error::TooManyPages { page, .. } => Place::Page(page.0),
            Error::ElementBounds { page, index, .. }
            | Error::SharedBytes { page, index }
            | Error::BucketValue { page, index, .. }
            | Error::InlinePage { page, index, .. }
            | Error::PairAmongBuckets { page, index } => {
                Place::Element { page: page.0, index: *index }
            }
        }
    }

    /// A stable word for scripts.
    pub fn code(&self) -> &'static str {
        match self {
            Error::TooSmall { .. } => "too-small",
            Error::NotBolt { .. } => "not-bbolt",
            Error::BothMetas { .. } => "meta",
            Error::BigEndian { .. } => "big-endian",
            Error::PageSize { .. } => "page-size",
            Error::OutOfBounds { .. } => "out-of-bounds",
            Error::BeyondEnd { .. } => "missing-tail",
            Error::PageIdDiffers { .. } => "page-id",
            Error::UnknownFlags { .. } | Error::WrongKind { .. } => "page-type",
            Error::Overflow { .. } => "overflow",
            Error::Elements { .. } | Error::ElementBounds { .. } => "element-bounds",
            Error::SharedBytes { .. } => "unpacked",
            Error::EmptyBranch { .. } => "empty-branch",
            Error::TooDeep { .. } | Error::TooManyPages { .. } => "cycle",
            Error::BucketValue { .. }
            | Error::InlinePage { .. }
            | Error::PairAmongBuckets { .. } => "bucket",
        }
    }

    /// Whether this is a bbolt file with damage, rather than something else or an unfit environment.
    pub fn is_damage(&self) -> bool {
        !matches!(self, Error::TooSmall { .. } | Error::NotBolt { .. } | Error::BigEndian { .. })
    }
}

/// Why a long read of a bbolt file ended early.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum ReadError {
    /// A page cannot be read.
    #[error(transparent)]
    Bolt(#[from] Error),
    /// The caller stopped the operation.
    #[error(transparent)]
    Interrupted(#[from] Interrupted),
}

/// Converts a [`ReadError`] into an error of another room, which has both variants, too.
macro_rules! from_read_error {
    ($error:ty) => {
        impl From<$crate::bolt::ReadError> for $error {
            fn from(error: $crate::bolt::ReadError) -> Self {
                match error {
                    $crate::bolt::ReadError::Bolt(error) => error.into(),
                    $crate::bolt::ReadError::Interrupted(interrupted) => interrupted.into(),
                }
            }
        }
    };
}
pub(crate) use from_read_error;
