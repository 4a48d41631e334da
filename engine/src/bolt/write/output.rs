//! Pages in the order of their ids, written through one buffer.

use std::io::{self, BufWriter, Write};

use byteorder::{ByteOrder, LittleEndian};

use super::{
    super::{layout, page::PageId},
    PageSize, WriteError,
};

/// Bytes collected before they are handed to the output: little, so that they are still in the processor's cache.
const BUFFER: usize = 64 << 10;

/// Zeroes for the slack of a page, which is less than the greatest page.
static ZEROES: [u8; 65536] = [0; 65536];

/// Where pages go, one after the other.
#[derive(Debug)]
pub(in crate::bolt) struct Output<W: Write> {
    inner: BufWriter<W>,
    page_size: PageSize,
    next: u64,
    broken: bool,
}

/// Pages of `page_size` that `len` bytes take.
pub(super) fn pages(len: usize, page_size: PageSize) -> usize {
    len.div_ceil(page_size.len()).max(1)
}

/// The header of a page.
pub(super) fn header(id: u64, flags: u16, count: u16, overflow: u32) -> [u8; layout::PAGE_HEADER] {
    let mut header = [0; layout::PAGE_HEADER];
    LittleEndian::write_u64(&mut header[layout::PAGE_ID..], id);
    LittleEndian::write_u16(&mut header[layout::PAGE_FLAGS..], flags);
    LittleEndian::write_u16(&mut header[layout::PAGE_COUNT..], count);
    LittleEndian::write_u32(&mut header[layout::PAGE_OVERFLOW..], overflow);
    header
}

impl<W: Write> Output<W> {
    /// Pages from `next` on go to `inner`, which must stand at that page.
    pub(in crate::bolt) fn new(inner: W, page_size: PageSize, next: PageId) -> Self {
        Self {
            inner: BufWriter::with_capacity(BUFFER, inner),
            page_size,
            next: next.0,
            broken: false,
        }
    }

    /// The id of the next page: the high water mark if nothing more comes.
    pub(in crate::bolt) fn next(&self) -> PageId {
        PageId(self.next)
    }

    /// Writes a page with as many physical pages as it takes: header, element table, data, zeroes.
    pub(super) fn page(
        &mut self,
        flags: u16,
        count: usize,
        table: &[u8],
        data: &[u8],
    ) -> Result<PageId, WriteError> {
        let used = layout::PAGE_HEADER + table.len() + data.len();
        let id = PageId(self.next);
        let (count, overflow) = self.advance(count, used)?;
        let slack = pages(used, self.page_size) * self.page_size.len() - used;
        let header = header(id.0, flags, count, overflow);
        // What a failed call was to write is lost to its caller, so nothing may follow.
        self.broken = true;
        for part in [&header[..], table, data, &ZEROES[..slack]] {
            self.inner.write_all(part).map_err(|source| WriteError::Io { page: id, source })?;
        }
        self.broken = false;
        Ok(id)
    }

    /// Leaves a page with `used` bytes out, for outputs of which only the length is wanted.
    pub(super) fn skip(&mut self, count: usize, used: usize) -> Result<PageId, WriteError> {
        let id = PageId(self.next);
        self.advance(count, used).map(|_| id)
    }

    /// Takes the next page for `used` bytes; gives count and overflow as they stand in its header.
    fn advance(&mut self, count: usize, used: usize) -> Result<(u16, u32), WriteError> {
        if self.broken {
            return Err(WriteError::Broken);
        }
        self.broken = true;
        let id = PageId(self.next);
        let pages = pages(used, self.page_size);
        let too_large = || WriteError::TooLarge { page: id };
        let overflow = u32::try_from(pages - 1).map_err(|_| too_large())?;
        let count = u16::try_from(count).map_err(|_| too_large())?;
        let next = id.0.checked_add(pages as u64).ok_or_else(too_large)?;
        // Offsets are i64 in every operating system, and bbolt's are Go's int64.
        let end = next.checked_mul(u64::from(self.page_size.bytes())).ok_or_else(too_large)?;
        i64::try_from(end).map_err(|_| too_large())?;
        self.broken = false;
        self.next = next;
        Ok((count, overflow))
    }

    /// Hands the rest of the buffer to the output and gives it back.
    pub(in crate::bolt) fn into_inner(mut self) -> Result<W, WriteError> {
        if self.broken {
            return Err(WriteError::Broken);
        }
        let page = PageId(self.next);
        self.inner.flush().map_err(|source| WriteError::Io { page, source })?;
        self.inner
            .into_inner()
            .map_err(|error| WriteError::Io { page, source: io::Error::from(error.error().kind()) })
    }
}
