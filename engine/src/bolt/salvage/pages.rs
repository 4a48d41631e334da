//! Bytes as pages, with or without a meta, and what a page is by its content.

use super::{
    super::{
        PageId, layout,
        meta::{self, Meta},
        page::PageHeader,
    },
    found::{Found, element, table_end},
};
use crate::raw::Raw;

/// Greatest table of a leaf that was not led to, in bytes: bbolt splits leaves at about a page.
const TABLE: usize = 64 << 10;
/// Positions at which page ids are looked at to find the page size.
const VOTERS: u64 = 1 << 16;

/// Where the page size comes from.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Sizing {
    /// A valid meta.
    Meta,
    /// The ids that pages give themselves.
    Voted,
    /// Nothing says it: the size of most files.
    Assumed,
}

/// Pages that are looked at to decide between a leaf's header and its last element.
const CONTESTED: usize = 256;

/// Bytes as pages.
#[derive(Clone, Debug)]
pub struct Pages<'a> {
    file: Raw<'a>,
    page_size: usize,
    sizing: Sizing,
    /// Valid ones, the newer first.
    metas: Vec<Meta>,
}

/// What a page of a tree is.
#[derive(Clone, Copy, Debug)]
pub enum NodeAt<'a> {
    /// A leaf.
    Leaf(Found<'a>),
    /// A branch whose elements are all there.
    Branch(Branches<'a>),
}

/// A branch whose elements are all there, packed and in key order.
#[derive(Clone, Copy, Debug)]
pub struct Branches<'a> {
    /// Where it stands.
    pub page: PageId,
    /// Whether its header names the page it stands at.
    pub own_id: bool,
    bytes: &'a [u8],
    count: usize,
}

impl<'a> Branches<'a> {
    /// Number of children.
    pub fn count(&self) -> usize {
        self.count
    }

    /// Pages it takes.
    pub fn bytes(&self) -> &'a [u8] {
        self.bytes
    }

    /// Key and page of child `index`.
    pub fn child(&self, index: usize) -> Option<(&'a [u8], PageId)> {
        let at = table_end(index);
        let raw = Raw::new(self.bytes);
        let pos = usize::try_from(raw.u32_le(at + layout::BRANCH_POS)?).ok()?;
        let len = usize::try_from(raw.u32_le(at + layout::BRANCH_KSIZE)?).ok()?;
        let key = raw.slice(at.checked_add(pos)?, len)?;
        Some((key, PageId(raw.u64_le(at + layout::BRANCH_CHILD)?)))
    }

    /// Where its elements end, when they are all there, packed and in order.
    fn end(&self) -> Option<usize> {
        let raw = Raw::new(self.bytes);
        let mut expected = table_end(self.count);
        let mut last: Option<&[u8]> = None;
        for index in 0..self.count {
            let at = table_end(index);
            let pos = usize::try_from(raw.u32_le(at + layout::BRANCH_POS)?).ok()?;
            let (key, _) = self.child(index)?;
            let ordered = last.is_none_or(|last| last < key);
            if at.checked_add(pos)? != expected || key.len() > layout::MAX_KEY || !ordered {
                return None;
            }
            expected += key.len();
            last = Some(key);
        }
        Some(expected)
    }
}

impl<'a> Pages<'a> {
    /// Takes any bytes. The page size comes from a valid meta, else from the ids that pages give themselves.
    pub fn open(bytes: &'a [u8]) -> Self {
        let file = Raw::new(bytes);
        if let Ok(chosen) = meta::choose(file) {
            let mut metas: Vec<Meta> =
                chosen.slots.iter().filter_map(|slot| slot.as_ref().ok()).copied().collect();
            metas.sort_by_key(|meta| (std::cmp::Reverse(meta.txid), meta.slot));
            let page_size = chosen.active.page_size as usize;
            return Self { file, page_size, sizing: Sizing::Meta, metas };
        }
        let sizes = (9..=16).map(|shift| 1_usize << shift);
        let votes = |size: usize| {
            let votes = (1..VOTERS).take_while(|id| *id < file.len() as u64 / size as u64);
            votes
                .filter(|id| {
                    header_at(file, size, PageId(*id))
                        .is_some_and(|header| header.id == *id && header.flags.is_known())
                })
                .count()
        };
        let best = sizes
            .map(|size| (votes(size), size))
            .max_by_key(|(votes, size)| (*votes, std::cmp::Reverse(*size)));
        let (page_size, sizing) = match best {
            Some((1.., size)) => (size, Sizing::Voted),
            _ => (4096, Sizing::Assumed),
        };
        Self { file, page_size, sizing, metas: Vec::new() }
    }

    /// Bytes of a page.
    pub fn page_size(&self) -> usize {
        self.page_size
    }

    /// Where the page size comes from.
    pub fn sizing(&self) -> Sizing {
        self.sizing
    }

    /// The valid metas, the newer first.
    pub fn metas(&self) -> &[Meta] {
        &self.metas
    }

    /// All bytes.
    pub fn bytes(&self) -> &'a [u8] {
        self.file.tail(0).unwrap_or_default()
    }

    /// Pages in the file, a last one that is not all there among them.
    pub fn count(&self) -> u64 {
        self.file.len().div_ceil(self.page_size) as u64
    }

    /// Offset of a page in the file; beyond its end for a page that is not there.
    pub fn offset(&self, page: PageId) -> u64 {
        page.0.saturating_mul(self.page_size as u64)
    }

    /// The bytes from the start of `page` to the end of the file, at most `pages` pages of them.
    pub fn from(&self, page: PageId, pages: u64) -> &'a [u8] {
        let start = usize::try_from(self.offset(page)).unwrap_or(usize::MAX);
        let rest = self.file.tail(start).unwrap_or_default();
        let len = pages.saturating_mul(self.page_size as u64);
        rest.get(..usize::try_from(len).unwrap_or(usize::MAX).min(rest.len())).unwrap_or_default()
    }

    /// The header at `page` as it stands there.
    pub fn header(&self, page: PageId) -> Option<PageHeader> {
        header_at(self.file, self.page_size, page)
    }

    /// Pages that `len` bytes take.
    pub fn pages_of(&self, len: usize) -> u64 {
        (len.div_ceil(self.page_size) as u64).max(1)
    }

    /// How many elements the leaf at `page` has and how many pages it claims, by a look at its header and at both ends
    /// of its table; `None` when it is no leaf, or an empty one.
    pub(super) fn glance(&self, page: PageId) -> Option<(usize, u64, bool)> {
        let bytes = self.from(page, u64::MAX);
        let raw = Raw::new(bytes);
        // Cheapest first: most pages that are no leaves end here.
        let first = element(bytes, 0)?;
        if first.flags > layout::LEAF_FLAG_BUCKET
            || first.ksize == 0
            || first.ksize > layout::MAX_KEY
        {
            return None;
        }
        let header = PageHeader::parse(raw)?;
        let own_id = header.id == page.0;
        let by_table = first.start.checked_sub(layout::PAGE_HEADER)?;
        let by_table =
            by_table.is_multiple_of(layout::ELEMENT).then_some(by_table / layout::ELEMENT);
        let by_header = (header.flags.0 == layout::FLAG_LEAF && header.count > 0)
            .then_some(usize::from(header.count));
        let count = match (by_header, by_table) {
            (Some(header), _) if self.ends_well(bytes, header) => header,
            (_, Some(table))
                if !(own_id && by_header.is_none() && header.flags.is_known())
                    && self.ends_well(bytes, table) =>
            {
                table
            }
            // Its last element is damaged, or lies beyond what is left of the file.
            (Some(header), Some(table)) if header == table => header,
            _ => return None,
        };
        if count > layout::MAX_COUNT || table_end(count) > TABLE.min(bytes.len()) {
            return None;
        }
        let last = element(bytes, count - 1)?;
        let end = last.start.checked_add(last.ksize)?.checked_add(last.vsize)?;
        Some((count, self.pages_of(end), own_id))
    }

    fn ends_well(&self, bytes: &[u8], count: usize) -> bool {
        let well = || {
            if count == 0 || count > layout::MAX_COUNT {
                return None;
            }
            let last = element(bytes, count - 1)?;
            let end = last.start.checked_add(last.ksize)?.checked_add(last.vsize)?;
            let small = last.flags <= layout::LEAF_FLAG_BUCKET
                && (1..=layout::MAX_KEY).contains(&last.ksize);
            Some(small && last.start >= table_end(count) && end <= bytes.len())
        };
        well().unwrap_or(false)
    }

    /// What `page`, which a tree leads to, is by its content; `None` when it is no page of a tree. `below` is
    /// the first page number that may not belong to it.
    pub fn node(&self, page: PageId, below: u64) -> Option<NodeAt<'a>> {
        let header = self.header(page)?;
        let own_id = header.id == page.0;
        let room = below.saturating_sub(page.0).max(1);
        if header.flags.0 == layout::FLAG_LEAF && header.count == 0 && own_id {
            return Some(NodeAt::Leaf(Found::new(page, true, self.from(page, 1), 0)));
        }
        if let Some((count, pages, own_id)) = self.glance(page) {
            let open =
                |pages: u64| Found::new(page, own_id, self.from(page, pages.min(room)), count);
            // Where its last element is damaged, its header says how long it is.
            let leaf = open(pages);
            let stated = u64::from(header.overflow).saturating_add(1);
            let damaged = stated < pages
                && (!leaf.is_whole() || own_id && self.is_named_within(page, stated, pages));
            let leaf = if damaged { open(stated) } else { leaf };
            return Some(NodeAt::Leaf(leaf));
        }
        self.branch(page, own_id, &header, room).map(NodeAt::Branch)
    }

    /// Whether one of the pages behind `page`, from the one at `from` up to the one at `to`, names its own place: it is no
    /// part of `page`.
    fn is_named_within(&self, page: PageId, from: u64, to: u64) -> bool {
        (from..to).take(CONTESTED).any(|more| {
            let id = page.0.saturating_add(more);
            self.header(PageId(id)).is_some_and(|header| header.id == id && header.flags.is_known())
        })
    }

    fn branch(
        &self,
        page: PageId,
        own_id: bool,
        header: &PageHeader,
        room: u64,
    ) -> Option<Branches<'a>> {
        let bytes = self.from(page, u64::from(header.overflow).saturating_add(1).min(room));
        let first = Raw::new(bytes).u32_le(table_end(0) + layout::BRANCH_POS)?;
        let by_table = usize::try_from(first).ok()? / layout::ELEMENT;
        let counts = [
            (header.flags.0 == layout::FLAG_BRANCH).then_some(usize::from(header.count)),
            Some(by_table),
        ];
        counts
            .into_iter()
            .flatten()
            .filter(|count| *count > 0 && *count <= layout::MAX_COUNT)
            .find_map(|count| {
                let found = Branches { page, own_id, bytes, count };
                let end = found.end()?;
                let len = usize::try_from(self.pages_of(end))
                    .ok()?
                    .saturating_mul(self.page_size)
                    .min(bytes.len());
                Some(Branches { bytes: bytes.get(..len)?, ..found })
            })
    }
}

fn header_at(file: Raw<'_>, page_size: usize, page: PageId) -> Option<PageHeader> {
    let offset = usize::try_from(page.0).ok()?.checked_mul(page_size)?;
    PageHeader::parse(Raw::new(file.slice(offset, layout::PAGE_HEADER)?))
}
