//! Pages: header, and the leaf and branch views of one.

use std::fmt;

use super::{error::Error, layout};
use crate::{raw::Raw, source};

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

    /// Page `id`, of which `bytes` are the whole, overflow included, wherever they came from.
    ///
    /// # Errors
    /// When it names another id or has flags that bbolt does not know.
    pub fn alone(id: PageId, bytes: &'a [u8]) -> Result<Self, Error> {
        let len = bytes.len() as u64;
        let page = Self::claimed(id, bytes).ok_or(Error::BeyondEnd { page: id, offset: 0, len })?;
        if page.header.id != id.0 {
            return Err(Error::PageIdDiffers { page: id, found: page.header.id });
        }
        if !page.header.flags.is_known() {
            return Err(Error::UnknownFlags { page: id, flags: page.header.flags });
        }
        Ok(page)
    }

    /// `bytes` taken for page `id`, as for pages that no tree reaches: nothing is checked but that there is a header.
    pub fn claimed(id: PageId, bytes: &'a [u8]) -> Option<Self> {
        Some(Self { id, header: PageHeader::parse(Raw::new(bytes))?, bytes })
    }

    /// Physical pages it takes, overflow included.
    pub fn physical(&self) -> u64 {
        1 + u64::from(self.header.overflow)
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

    /// Where the element's bytes begin, from the start of the page, and how many there are.
    fn span(&self, index: usize, kind: Kind) -> Option<(u64, u64)> {
        let at = self.offset(index);
        let read = |field| self.raw.u32_le(at + field).map(u64::from);
        let (pos, size) = match kind {
            Kind::Branch => (read(layout::BRANCH_POS)?, read(layout::BRANCH_KSIZE)?),
            Kind::Leaf => {
                (read(layout::LEAF_POS)?, read(layout::LEAF_KSIZE)? + read(layout::LEAF_VSIZE)?)
            }
        };
        Some((at as u64 + pos, size))
    }

    /// The first element that does not begin where the one before it ends, or the first one right
    /// behind the table. Source: bbolt `node.write`, the same in every version.
    fn unpacked(&self, kind: Kind) -> Option<Unpacked> {
        let mut expected = self.data as u64;
        for index in 0..self.count {
            let (start, size) = self.span(index, kind)?;
            if start != expected {
                return Some(Unpacked { page: self.page, index, expected, start });
            }
            expected = start + size;
        }
        None
    }

    /// How many of the first elements can have bytes of their own: beyond them the page has fewer
    /// bytes than its elements claim, so some are claimed twice.
    fn disjoint(&self, kind: Kind) -> usize {
        let mut left = self.raw.len().saturating_sub(self.data) as u64;
        (0..self.count)
            .find(|&index| {
                let rest = self.span(index, kind).and_then(|(_, size)| left.checked_sub(size));
                rest.map(|rest| left = rest).is_none()
            })
            .unwrap_or(self.count)
    }

    fn missing(&self) -> Error {
        Error::Elements { page: self.page, count: self.count as u64, len: self.raw.len() }
    }
}

#[derive(Clone, Copy)]
enum Kind {
    Branch,
    Leaf,
}

/// An element that stands elsewhere than bbolt puts it; it may share bytes with others.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Unpacked {
    /// The page, or for an inline bucket the page that holds it.
    pub page: PageId,
    /// The element's index in its page.
    pub index: usize,
    /// Byte at which it should begin, from the start of the page.
    pub expected: u64,
    /// Byte at which it begins.
    pub start: u64,
}

impl fmt::Display for Unpacked {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { page, index, expected, start } = self;
        write!(
            f,
            "page {page} element {index}: begins at byte {start} of its page, expected {expected}, where the one before it ends: elements may share bytes"
        )
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

    /// Asks the processor for the beginnings of the first elements, before they are read one by one: records of a
    /// kilobyte are never where it expects them.
    pub(crate) fn prefetch(&self) {
        const MOST: usize = 32;
        for index in 0..self.count().min(MOST) {
            let start = self.elements.span(index, Kind::Leaf).map(|(start, _)| start);
            let bytes =
                start.and_then(|start| self.elements.raw.tail(usize::try_from(start).ok()?));
            bytes.into_iter().for_each(source::prefetch);
        }
    }

    /// All elements in order.
    pub fn items(self) -> impl Iterator<Item = Result<Item<'a>, Error>> + 'a {
        (0..self.elements.count).map(move |index| self.item(index))
    }

    /// The first element that is not where bbolt puts it; `None` when all are packed in order behind
    /// the element table.
    pub fn unpacked(&self) -> Option<Unpacked> {
        self.elements.unpacked(Kind::Leaf)
    }

    /// How many of the first elements can have bytes of their own. Fewer than [`Leaf::count`] means
    /// that elements share bytes, and that reading all of them costs more than the page's size.
    pub fn disjoint(&self) -> usize {
        self.elements.disjoint(Kind::Leaf)
    }

    /// What is wrong with the first element for which the page has no bytes left; `None` when all have some.
    pub fn overdrawn(&self) -> Option<Error> {
        let (page, index) = (self.page(), self.disjoint());
        (index < self.count())
            .then(|| self.item(index).err().unwrap_or(Error::SharedBytes { page, index }))
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

    /// The first element that is not where bbolt puts it; as [`Leaf::unpacked`].
    pub fn unpacked(&self) -> Option<Unpacked> {
        self.elements.unpacked(Kind::Branch)
    }

    /// How many of the first elements can have keys of their own; as [`Leaf::disjoint`].
    pub fn disjoint(&self) -> usize {
        self.elements.disjoint(Kind::Branch)
    }

    /// What is wrong with the first element for which the page has no bytes left; as [`Leaf::overdrawn`].
    pub fn overdrawn(&self) -> Option<Error> {
        let (page, index) = (self.page(), self.disjoint());
        (index < self.count())
            .then(|| self.child(index).err().unwrap_or(Error::SharedBytes { page, index }))
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
