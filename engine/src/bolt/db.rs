//! The front door: a bbolt file over bytes.

use super::{
    bucket::Bucket,
    error::Error,
    layout,
    meta::{self, Meta, Metas},
    page::{Page, PageFlags, PageHeader, PageId, TxId},
    salvage::{Pages, Sizing},
};
use crate::{limits::Limits, raw::Raw, source};

/// A bbolt file whose meta was chosen. Pages are checked as they are read.
#[derive(Clone, Copy, Debug)]
pub struct Db<'a> {
    file: Raw<'a>,
    metas: Metas,
    limits: Limits,
}

/// What of a database lies beyond the end of its file.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct MissingTail {
    /// Bytes the database should have: high water mark × page size.
    pub expected: u64,
    /// Bytes the file has.
    pub found: u64,
}

impl<'a> Db<'a> {
    /// The database in `bytes`. Bytes behind the high water mark, such as a snapshot's trailer, are ignored.
    ///
    /// # Errors
    /// When no meta can be chosen; see [`meta::choose`].
    pub fn from_bytes(bytes: &'a [u8], limits: Limits) -> Result<Self, Error> {
        let file = Raw::new(bytes);
        Ok(Self { file, metas: meta::choose(file)?, limits })
    }

    /// A file of which no meta can be chosen, `why` says [`from_bytes`](Self::from_bytes), to look at its pages one by
    /// one: their size is the one under which most of them name themselves. `None` when they do not tell it, or the
    /// reason is another one.
    ///
    /// Its meta is made up, and its root is no page of a tree.
    pub fn without_meta(bytes: &'a [u8], limits: Limits, why: &Error) -> Option<Self> {
        let (Error::BothMetas { meta0, meta1 } | Error::NotBolt { meta0, meta1 }) = *why else {
            return None;
        };
        let pages = Pages::open(bytes);
        if pages.sizing() != Sizing::Voted {
            return None;
        }
        let active = Meta {
            slot: 0,
            page_size: u32::try_from(pages.page_size()).ok()?,
            root: PageId(0),
            sequence: 0,
            freelist: None,
            high_water_mark: PageId(pages.count()),
            txid: TxId(0),
        };
        let metas = Metas { active, slots: [Err(meta0), Err(meta1)] };
        Some(Self { file: Raw::new(bytes), metas, limits })
    }

    /// The meta in use.
    pub fn meta(&self) -> &Meta {
        &self.metas.active
    }

    /// The meta in use and what was found in both meta pages.
    pub fn metas(&self) -> &Metas {
        &self.metas
    }

    /// Bytes of a page.
    pub fn page_size(&self) -> u64 {
        u64::from(self.metas.active.page_size)
    }

    /// Bytes of the database: high water mark × page size.
    pub fn size_bytes(&self) -> u64 {
        self.metas.active.size_bytes()
    }

    /// All bytes of the file, a tail behind the high water mark included.
    pub fn bytes(&self) -> &'a [u8] {
        self.file.tail(0).unwrap_or_default()
    }

    /// The bounds this database is read with.
    pub fn limits(&self) -> &Limits {
        &self.limits
    }

    /// What is missing when the file ends before the high water mark.
    pub fn missing_tail(&self) -> Option<MissingTail> {
        let (expected, found) = (self.size_bytes(), self.file.len() as u64);
        (found < expected).then_some(MissingTail { expected, found })
    }

    /// Pages below the high water mark that the file can hold: what a hostile mark is cut to.
    pub fn pages_in_file(&self) -> u64 {
        (self.file.len() as u64 / self.page_size()).min(self.metas.active.high_water_mark.0)
    }

    /// Bytes of the database that the file has: what work over it costs, whatever a hostile mark claims.
    pub fn bytes_in_file(&self) -> u64 {
        self.size_bytes().min(self.file.len() as u64)
    }

    /// The header at page `id` as it stands in the file, unchecked.
    ///
    /// # Errors
    /// When the page is out of bounds or beyond the end of the file.
    pub fn header(&self, id: PageId) -> Result<PageHeader, Error> {
        let high_water_mark = self.metas.active.high_water_mark;
        if id >= high_water_mark {
            return Err(Error::OutOfBounds { page: id, high_water_mark });
        }
        let offset = id.0.saturating_mul(self.page_size());
        usize::try_from(offset)
            .ok()
            .and_then(|offset| self.file.slice(offset, self.metas.active.page_size as usize))
            .and_then(|page| PageHeader::parse(Raw::new(page)))
            .ok_or(Error::BeyondEnd { page: id, offset, len: self.file.len() as u64 })
    }

    /// Whether the header of meta page `id` is one that a commit writes. Its count and overflow are used by nobody.
    ///
    /// # Errors
    /// When it names another page or another kind of page, or is not in the file.
    pub fn meta_header(&self, id: PageId) -> Result<(), Error> {
        let offset = id.0.saturating_mul(self.page_size());
        let header = usize::try_from(offset)
            .ok()
            .and_then(|offset| self.file.tail(offset))
            .and_then(|page| PageHeader::parse(Raw::new(page)))
            .ok_or(Error::BeyondEnd { page: id, offset, len: self.file.len() as u64 })?;
        let expected = PageFlags(layout::FLAG_META);
        if header.id != id.0 {
            Err(Error::PageIdDiffers { page: id, found: header.id })
        } else if !header.flags.is_known() {
            Err(Error::UnknownFlags { page: id, flags: header.flags })
        } else if header.flags != expected {
            Err(Error::WrongKind { page: id, found: header.flags, expected: "meta" })
        } else {
            Ok(())
        }
    }

    /// Page `id`, with its overflow.
    ///
    /// # Errors
    /// When it is out of bounds, beyond the end of the file, names another id, has flags that bbolt
    /// does not know, or runs over the high water mark.
    pub fn page(&self, id: PageId) -> Result<Page<'a>, Error> {
        let header = self.header(id)?;
        if header.id != id.0 {
            return Err(Error::PageIdDiffers { page: id, found: header.id });
        }
        if !header.flags.is_known() {
            return Err(Error::UnknownFlags { page: id, flags: header.flags });
        }
        let high_water_mark = self.metas.active.high_water_mark;
        let pages = 1 + u64::from(header.overflow);
        if pages > high_water_mark.0 - id.0 {
            return Err(Error::Overflow { page: id, overflow: header.overflow, high_water_mark });
        }
        let offset = id.0.saturating_mul(self.page_size());
        let len = pages.saturating_mul(self.page_size());
        let bytes = usize::try_from(offset)
            .ok()
            .zip(usize::try_from(len).ok())
            .and_then(|(offset, len)| self.file.slice(offset, len))
            .ok_or(Error::BeyondEnd { page: id, offset, len: self.file.len() as u64 })?;
        Ok(Page::new(id, header, bytes))
    }

    /// Page `id` with as much of its overflow as the file has, whatever its header says of itself: to look at what cannot
    /// be followed. `None` when not even its header is in the file.
    ///
    /// Unlike [`Db::page`] it also gives pages that were never allocated.
    pub fn page_as_it_stands(&self, id: PageId) -> Option<Page<'a>> {
        let offset = usize::try_from(id.0.checked_mul(self.page_size())?).ok()?;
        let tail = self.file.tail(offset)?;
        let header = PageHeader::parse(Raw::new(tail))?;
        let pages = 1 + u64::from(header.overflow);
        let len = usize::try_from(pages.saturating_mul(self.page_size())).unwrap_or(usize::MAX);
        Some(Page::new(id, header, tail.get(..len.min(tail.len()))?))
    }

    /// Asks the processor for the start of a page that will be looked at soon; whether there is one does not matter.
    pub(super) fn prefetch(&self, id: PageId) {
        let offset = usize::try_from(id.0.saturating_mul(self.page_size())).unwrap_or(usize::MAX);
        if let Some(bytes) = self.bytes().get(offset..) {
            source::prefetch(bytes);
        }
    }

    /// A page of a tree; the metas are never one.
    ///
    /// # Errors
    /// As [`Db::page`] and [`Page::node`].
    pub fn node(&self, id: PageId) -> Result<super::page::Node<'a>, Error> {
        self.page(id)?.node()
    }

    /// The root bucket, which holds the top-level buckets.
    pub fn root(&self) -> Bucket<'a> {
        Bucket::at_page(*self, self.metas.active.root, self.metas.active.sequence)
    }

    /// Offset in the file of `slice`, which must have come from this database.
    pub fn offset_of(&self, slice: &[u8]) -> Option<u64> {
        let base = self.bytes().as_ptr().addr();
        let offset = slice.as_ptr().addr().checked_sub(base)?;
        (offset <= self.file.len()).then_some(offset as u64)
    }
}

const _: () = assert!(layout::META + layout::META_SIZE <= 512, "a meta fits the smallest page");
