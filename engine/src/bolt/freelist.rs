//! The freelist page: ids of pages that hold nothing, where a file stores them.

use super::{
    db::Db,
    error::Error,
    layout,
    page::{Page, PageFlags, PageId},
};
use crate::raw::Raw;

/// The stored freelist of a database.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Freelist {
    /// Its page.
    pub page: PageId,
    /// Extra physical pages it takes.
    pub overflow: u32,
    /// The ids as they are stored: free and pending ones, ascending when bbolt wrote them.
    pub ids: Vec<PageId>,
}

impl Freelist {
    /// The freelist of `db`; `None` when it is not stored, as in every file of etcd on Linux.
    ///
    /// Never needed to read a database: what is free is what the tree does not reach.
    ///
    /// # Errors
    /// When its page cannot be read, is no freelist, or claims more ids than fit.
    pub fn read(db: &Db<'_>) -> Result<Option<Freelist>, Error> {
        let Some(id) = db.meta().freelist else { return Ok(None) };
        let page = db.page(id)?;
        if page.header.flags != PageFlags(layout::FLAG_FREELIST) {
            return Err(Error::WrongKind {
                page: id,
                found: page.header.flags,
                expected: "freelist",
            });
        }
        let ids = Self::ids(&page).ok_or(Error::Elements {
            page: id,
            count: Self::count(&page).map_or(0, |(count, _)| count),
            len: page.bytes().len(),
        })?;
        Ok(Some(Freelist { page: id, overflow: page.header.overflow, ids }))
    }

    /// Number of ids and the offset of the first.
    fn count(page: &Page<'_>) -> Option<(u64, usize)> {
        if page.header.count == layout::FREELIST_COUNT_IN_BODY {
            let count = Raw::new(page.bytes()).u64_le(layout::PAGE_HEADER)?;
            Some((count, layout::PAGE_HEADER + layout::FREELIST_ENTRY))
        } else {
            Some((u64::from(page.header.count), layout::PAGE_HEADER))
        }
    }

    fn ids(page: &Page<'_>) -> Option<Vec<PageId>> {
        let (count, start) = Self::count(page)?;
        let len = usize::try_from(count).ok()?.checked_mul(layout::FREELIST_ENTRY)?;
        let body = Raw::new(page.bytes()).slice(start, len)?;
        body.chunks_exact(layout::FREELIST_ENTRY)
            .map(|entry| Raw::new(entry).u64_le(0).map(PageId))
            .collect()
    }
}
