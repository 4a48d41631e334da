//! Pages: header, and the leaf and branch views of one.

use std::fmt;

use super::{error::Error, layout};
use crate::raw::Raw;

/// Position of a page: its offset is `id × page size`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct PageId(pub u64);

impl fmt::Display for PageId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(f)
    }
}

/// Id of a bbolt transaction.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct TxId(pub u64);

impl fmt::Display for TxId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(f)
    }
}

/// Flags of a page header; exactly one of four is known to bbolt, anything else is kept to be shown.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct PageFlags(pub u16);

impl PageFlags {
    /// Whether bbolt knows these flags.
    pub fn is_known(self) -> bool {
        matches!(
            self.0,
            layout::FLAG_BRANCH | layout::FLAG_LEAF | layout::FLAG_META | layout::FLAG_FREELIST
        )
    }
}

impl fmt::Display for PageFlags {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.0 {
            layout::FLAG_BRANCH => f.write_str("branch"),
            layout::FLAG_LEAF => f.write_str("leaf"),
            layout::FLAG_META => f.write_str("meta"),
            layout::FLAG_FREELIST => f.write_str("freelist"),
            other => write!(f, "unknown<{other:02x}>"),
        }
    }
}

/// The 16 bytes at the start of a page; nothing in it is believed yet.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct PageHeader {
    /// The id the page gives itself.
    pub id: u64,
    /// What kind of page it is.
    pub flags: PageFlags,
    /// Number of elements; see [`layout::FREELIST_COUNT_IN_BODY`] for freelists.
    pub count: u16,
    /// Extra physical pages that follow.
    pub overflow: u32,
}

impl PageHeader {
    /// The header at the start of `page`; `None` when there are fewer than 16 bytes.
    pub fn parse(page: Raw<'_>) -> Option<PageHeader> {
        Some(PageHeader {
            id: page.u64_le(layout::PAGE_ID)?,
            flags: PageFlags(page.u16_le(layout::PAGE_FLAGS)?),
            count: page.u16_le(layout::PAGE_COUNT)?,
            overflow: page.u32_le(layout::PAGE_OVERFLOW)?,
        })
    }
}

/// A page whose header was checked: it is where it says it is and lies within the file.
#[derive(Clone, Copy, Debug)]
pub struct Page<'a> {
    /// Its position. For an inline page, the page that holds it.
    pub id: PageId,
    /// Its header.
    pub header: PageHeader,
    bytes: &'a [u8],
}

/// A page of a tree.
#[derive(Clone, Copy, Debug)]
pub enum Node<'a> {
    /// Points at further pages.
    Branch(Branch<'a>),
    /// Holds keys and values.
    Leaf(Leaf<'a>),
}

impl<'a> Page<'a> {
    pub(super) fn new(id: PageId, header: PageHeader, bytes: &'a [u8]) -> Self {
        Self { id, header, bytes }
    }

    /// All bytes of the page, header and overflow included.
    pub fn bytes(&self) -> &'a [u8] {
        self.bytes
    }

    /// The page as part of a tree.
    ///
    /// # Errors
    /// When it is neither branch nor leaf, a branch without elements, or its elements do not fit.
    pub fn node(&self) -> Result<Node<'a>, Error> {
        match self.header.flags.0 {
            layout::FLAG_BRANCH => {
                Ok(Node::Branch(Branch { elements: self.elements()? }.not_empty()?))
            }
            layout::FLAG_LEAF => Ok(Node::Leaf(Leaf { elements: self.elements()? })),
            _ => Err(Error::WrongKind {
                page: self.id,
                found: self.header.flags,
                expected: "branch or leaf",
            }),
        }
    }

    fn elements(&self) -> Result<Elements<'a>, Error> {
        let count = usize::from(self.header.count);
        let data = layout::PAGE_HEADER + count * layout::ELEMENT;
        if data > self.bytes.len() || count > layout::MAX_COUNT {
            return Err(Error::Elements {
                page: self.id,
                count: count as u64,
                len: self.bytes.len(),
            });
        }
        Ok(Elements { page: self.id, count, data, raw: Raw::new(self.bytes) })
    }
}

/// The element table of a branch or leaf page, known to lie within the page.
#[derive(Clone, Copy, Debug)]
struct Elements<'a> {
    page: PageId,
    count: usize,
    data: usize,
    raw: Raw<'a>,
}

impl<'a> Elements<'a> {
    fn offset(&self, index: usize) -> usize {
        layout::PAGE_HEADER + index * layout::ELEMENT
    }

    /// `size` bytes at `pos` from element `index`; they must lie behind the element table.
    fn data(&self, index: usize, pos: u32, size: u64) -> Result<&'a [u8], Error> {
        let start = self.offset(index) as u64 + u64::from(pos);
        let slice = (start >= self.data as u64)
            .then(|| self.raw.slice(usize::try_from(start).ok()?, usize::try_from(size).ok()?))
            .flatten();
        slice.ok_or(Error::ElementBounds {
            page: self.page,
            index,
            start,
            size,
            data: self.data,
            len: self.raw.len(),
        })
    }

    fn missing(&self) -> Error {
        Error::Elements { page: self.page, count: self.count as u64, len: self.raw.len() }
    }
}

/// A leaf page.
#[derive(Clone, Copy, Debug)]
pub struct Leaf<'a> {
    elements: Elements<'a>,
}

/// A key and its value in a leaf page.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Item<'a> {
    /// The page, or for an inline bucket the page that holds it.
    pub page: PageId,
    /// The element's index in its page.
    pub index: usize,
    /// Element flags; see [`layout::LEAF_FLAG_BUCKET`].
    pub flags: u32,
    /// The key.
    pub key: &'a [u8],
    /// The value; for a bucket its header and inline page.
    pub value: &'a [u8],
}

impl Item<'_> {
    /// Whether the value is a bucket.
    pub fn is_bucket(&self) -> bool {
        self.flags & layout::LEAF_FLAG_BUCKET != 0
    }
}

impl<'a> Leaf<'a> {
    /// The page, or for an inline bucket the page that holds it.
    pub fn page(&self) -> PageId {
        self.elements.page
    }

    /// Number of elements.
    pub fn count(&self) -> usize {
        self.elements.count
    }

    /// Bytes of the page, overflow included; of an inline bucket, of its page image.
    pub fn len_bytes(&self) -> u64 {
        self.elements.raw.len() as u64
    }

    /// Element `index`.
    ///
    /// # Errors
    /// When its key or value lies outside the page.
    pub fn item(&self, index: usize) -> Result<Item<'a>, Error> {
        let at = self.elements.offset(index);
        let raw = self.elements.raw;
        let read = |field| raw.u32_le(at + field).ok_or_else(|| self.elements.missing());
        let (flags, pos) = (read(layout::LEAF_FLAGS)?, read(layout::LEAF_POS)?);
        let (ksize, vsize) = (read(layout::LEAF_KSIZE)?, read(layout::LEAF_VSIZE)?);
        let size = u64::from(ksize) + u64::from(vsize);
        let data = self.elements.data(index, pos, size)?;
        let (key, value) = data.split_at(ksize as usize);
        Ok(Item { page: self.elements.page, index, flags, key, value })
    }

    /// All elements in order.
    pub fn items(self) -> impl Iterator<Item = Result<Item<'a>, Error>> + 'a {
        (0..self.elements.count).map(move |index| self.item(index))
    }

    /// Keys and values of all elements as one run of bytes, when they are packed in element order
    /// without gaps, as bbolt writes them, and none is a bucket. `None` otherwise.
    ///
    /// # Errors
    /// When an element lies outside the page.
    pub fn packed(&self) -> Result<Option<&'a [u8]>, Error> {
        let mut next = None;
        let mut total = 0_u64;
        for index in 0..self.elements.count {
            let at = self.elements.offset(index);
            let raw = self.elements.raw;
            let read = |field| raw.u32_le(at + field).ok_or_else(|| self.elements.missing());
            let start = at as u64 + u64::from(read(layout::LEAF_POS)?);
            let bucket = read(layout::LEAF_FLAGS)? & layout::LEAF_FLAG_BUCKET != 0;
            if bucket || next.is_some_and(|expected| expected != start) {
                return Ok(None);
            }
            let size = u64::from(read(layout::LEAF_KSIZE)?) + u64::from(read(layout::LEAF_VSIZE)?);
            next = Some(start + size);
            total += size;
        }
        if self.elements.count == 0 {
            return Ok(Some(&[]));
        }
        let first = self.elements.raw.u32_le(self.elements.offset(0) + layout::LEAF_POS);
        self.elements.data(0, first.ok_or_else(|| self.elements.missing())?, total).map(Some)
    }

    /// Index of the first element whose key is not less than `key`.
    ///
    /// # Errors
    /// When an element on the way lies outside the page.
    pub fn lower_bound(&self, key: &[u8]) -> Result<usize, Error> {
        partition(self.count(), |index| Ok(self.item(index)?.key < key))
    }
}

/// A branch page; it has at least one element.
#[derive(Clone, Copy, Debug)]
pub struct Branch<'a> {
    elements: Elements<'a>,
}

/// An element of a branch page.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Child<'a> {
    /// Not greater than any key below the child.
    pub key: &'a [u8],
    /// The child page.
    pub page: PageId,
}

impl<'a> Branch<'a> {
    fn not_empty(self) -> Result<Self, Error> {
        if self.elements.count == 0 {
            Err(Error::EmptyBranch { page: self.elements.page })
        } else {
            Ok(self)
        }
    }

    /// The page.
    pub fn page(&self) -> PageId {
        self.elements.page
    }

    /// Number of children, at least 1.
    pub fn count(&self) -> usize {
        self.elements.count
    }

    /// Child `index`.
    ///
    /// # Errors
    /// When its key lies outside the page.
    pub fn child(&self, index: usize) -> Result<Child<'a>, Error> {
        let key = self.key(index)?;
        Ok(Child { key, page: self.child_page(index)? })
    }

    /// Page of child `index`, whatever state its key is in.
    ///
    /// # Errors
    /// When there is no such element.
    pub fn child_page(&self, index: usize) -> Result<PageId, Error> {
        let at = self.elements.offset(index);
        self.elements
            .raw
            .u64_le(at + layout::BRANCH_CHILD)
            .map(PageId)
            .ok_or_else(|| self.elements.missing())
    }

    fn key(&self, index: usize) -> Result<&'a [u8], Error> {
        let at = self.elements.offset(index);
        let raw = self.elements.raw;
        let read = |field| raw.u32_le(at + field).ok_or_else(|| self.elements.missing());
        let (pos, ksize) = (read(layout::BRANCH_POS)?, read(layout::BRANCH_KSIZE)?);
        self.elements.data(index, pos, u64::from(ksize))
    }

    /// All children in order.
    pub fn children(self) -> impl Iterator<Item = Result<Child<'a>, Error>> + 'a {
        (0..self.elements.count).map(move |index| self.child(index))
    }

    /// Index of the child below which `key` belongs: the last one with a key not greater, else the first.
    ///
    /// # Errors
    /// When an element on the way lies outside the page.
    pub fn child_for(&self, key: &[u8]) -> Result<usize, Error> {
        let above = partition(self.count(), |index| Ok(self.key(index)? <= key))?;
        Ok(above.saturating_sub(1))
    }
}

/// The first index of `0..count` for which `before` is false; `before` must be true on a prefix.
fn partition(count: usize, before: impl Fn(usize) -> Result<bool, Error>) -> Result<usize, Error> {
    let (mut low, mut high) = (0, count);
    while low < high {
        let middle = low + (high - low) / 2;
        if before(middle)? {
            low = middle + 1;
        } else {
            high = middle;
        }
    }
    Ok(low)
}
