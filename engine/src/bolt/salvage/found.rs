//! A leaf that was recognised by its content.

use super::super::{Item, PageId, layout};
use crate::raw::Raw;

/// A leaf, of which parts may be missing.
#[derive(Clone, Copy, Debug)]
pub struct Found<'a> {
    /// Where it stands; for an inline bucket the page that holds it.
    pub page: PageId,
    /// Whether its header names the page it stands at.
    pub own_id: bool,
    bytes: &'a [u8],
    count: usize,
}

/// An element of a leaf.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Piece<'a> {
    /// Key and value are there.
    Whole(Item<'a>),
    /// The key is there and the value only to some byte; the item has what is there.
    Cut(Item<'a>),
    /// The element's bounds make no sense, or its key is not there.
    Lost {
        /// The element's index.
        index: usize,
    },
}

impl<'a> Found<'a> {
    pub(super) fn new(page: PageId, own_id: bool, bytes: &'a [u8], count: usize) -> Self {
        Self { page, own_id, bytes, count }
    }

    /// The leaf within the value of an inline bucket, which stands in page `page`.
    pub fn inline(page: PageId, value: &'a [u8]) -> Option<Self> {
        let bytes = value.get(layout::BUCKET_HEADER..)?;
        let raw = Raw::new(bytes);
        let flags = raw.u16_le(layout::PAGE_FLAGS)?;
        let count = usize::from(raw.u16_le(layout::PAGE_COUNT)?);
        (flags == layout::FLAG_LEAF && table_end(count) <= bytes.len()).then_some(Self {
            page,
            own_id: true,
            bytes,
            count,
        })
    }

    /// Number of elements it says it has.
    pub fn count(&self) -> usize {
        self.count
    }

    /// Bytes of it that are there.
    pub fn bytes(&self) -> &'a [u8] {
        self.bytes
    }

    /// The first byte behind its last element, from its start; what follows is slack.
    pub fn end(&self) -> usize {
        let last = self.count.checked_sub(1).and_then(|last| element(self.bytes, last));
        let end = last.and_then(|last| last.start.checked_add(last.ksize)?.checked_add(last.vsize));
        end.unwrap_or(table_end(self.count)).min(self.bytes.len())
    }

    /// All elements in order. No byte belongs to two of them.
    pub fn pieces(self) -> Pieces<'a> {
        Pieces { leaf: self, index: 0, free_from: table_end(self.count) }
    }

    /// Element `index`, whatever stands before it.
    pub fn piece(&self, index: usize) -> Piece<'a> {
        self.piece_from(index, table_end(self.count))
    }

    fn piece_from(&self, index: usize, free_from: usize) -> Piece<'a> {
        let lost = Piece::Lost { index };
        let Some(at) = element(self.bytes, index) else { return lost };
        if at.start < free_from || at.flags > layout::LEAF_FLAG_BUCKET || at.ksize == 0 {
            return lost;
        }
        let raw = Raw::new(self.bytes);
        let Some(key) = raw.slice(at.start, at.ksize) else { return lost };
        let from = at.start + at.ksize;
        let item = |value| Item { page: self.page, index, flags: at.flags, key, value };
        match raw.slice(from, at.vsize) {
            Some(value) => Piece::Whole(item(value)),
            None => Piece::Cut(item(raw.tail(from).unwrap_or_default())),
        }
    }

    /// Whether every element is there, where bbolt puts it, and in key order.
    pub fn is_whole(&self) -> bool {
        let mut expected = table_end(self.count);
        let mut last: &[u8] = &[];
        (0..self.count).all(|index| {
            let Some(at) = element(self.bytes, index) else { return false };
            let Piece::Whole(item) = self.piece(index) else { return false };
            let ordered = at.start == expected && last < item.key;
            expected = at.start.saturating_add(at.ksize).saturating_add(at.vsize);
            last = item.key;
            ordered
        })
    }

    /// The first and the last key, when both are there.
    pub fn ends(&self) -> Option<(&'a [u8], &'a [u8])> {
        let key = |index| match self.piece(index) {
            Piece::Whole(item) | Piece::Cut(item) => Some(item.key),
            Piece::Lost { .. } => None,
        };
        Some((key(0)?, key(self.count.checked_sub(1)?)?))
    }
}

/// The elements of a leaf, in order.
#[derive(Clone, Debug)]
pub struct Pieces<'a> {
    leaf: Found<'a>,
    index: usize,
    free_from: usize,
}

impl<'a> Iterator for Pieces<'a> {
    type Item = Piece<'a>;

    fn next(&mut self) -> Option<Piece<'a>> {
        let index = self.index;
        if index >= self.leaf.count {
            return None;
        }
        self.index += 1;
        let piece = self.leaf.piece_from(index, self.free_from);
        if let Piece::Whole(item) | Piece::Cut(item) = &piece {
            let len = item.key.len() + item.value.len();
            let end = element(self.leaf.bytes, index).map(|at| at.start.saturating_add(len));
            self.free_from = self.free_from.max(end.unwrap_or_default());
        }
        Some(piece)
    }
}

/// An element of a leaf's table; its bounds are not checked.
pub(super) struct Element {
    pub(super) flags: u32,
    /// From the start of the page.
    pub(super) start: usize,
    pub(super) ksize: usize,
    pub(super) vsize: usize,
}

/// Element `index` of the leaf that `bytes` begin with.
pub(super) fn element(bytes: &[u8], index: usize) -> Option<Element> {
    let at = table_end(index);
    let raw = Raw::new(bytes);
    let field = |offset| raw.u32_le(at + offset);
    Some(Element {
        flags: field(layout::LEAF_FLAGS)?,
        start: at.checked_add(usize::try_from(field(layout::LEAF_POS)?).ok()?)?,
        ksize: usize::try_from(field(layout::LEAF_KSIZE)?).ok()?,
        vsize: usize::try_from(field(layout::LEAF_VSIZE)?).ok()?,
    })
}

/// Where the table of `count` elements ends, from the start of the page.
pub(super) fn table_end(count: usize) -> usize {
    layout::PAGE_HEADER + count * layout::ELEMENT
}
