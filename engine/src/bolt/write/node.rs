//! Pages of a tree while they are being filled.

use std::io::Write;

use byteorder::{ByteOrder, LittleEndian};

use super::{
    super::{layout, page::PageId},
    Output, WriteError, output,
};

/// The key a parent knows a page by, and the page.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Written {
    pub(super) first_key: Vec<u8>,
    pub(super) page: PageId,
}

fn put_u32(table: &mut Vec<u8>, value: usize) {
    // Pages are kept below 2^31 bytes, so nothing in one needs more than 32 bits.
    let value = u32::try_from(value).expect("positions and sizes in a page fit 32 bits");
    table.extend_from_slice(&value.to_le_bytes());
}

/// A leaf while it is being filled.
#[derive(Debug, Default)]
pub(super) struct OpenLeaf {
    /// Flags, key length and value length.
    elements: Vec<(u32, usize, usize)>,
    first_key: Vec<u8>,
    /// Bytes of keys and values.
    len: usize,
    /// Keys and values, packed as they will be in the page.
    data: Vec<u8>,
    /// How many bytes are copied; where only sizes are wanted, no more than an inline bucket may have.
    most: usize,
}

impl OpenLeaf {
    /// An empty leaf of which at most `most` bytes matter.
    pub(super) fn new(most: usize) -> Self {
        Self { most, ..Self::default() }
    }

    pub(super) fn count(&self) -> usize {
        self.elements.len()
    }

    /// Bytes used in the page, its header included.
    pub(super) fn size(&self) -> usize {
        Self::size_of(self.elements.len(), self.len)
    }

    /// Bytes used by a leaf of `count` elements with `data` bytes of keys and values.
    pub(super) fn size_of(count: usize, data: usize) -> usize {
        layout::PAGE_HEADER + count * layout::ELEMENT + data
    }

    pub(super) fn has_buckets(&self) -> bool {
        self.elements.iter().any(|(flags, ..)| flags & layout::LEAF_FLAG_BUCKET != 0)
    }

    pub(super) fn push(&mut self, flags: u32, key: &[u8], value: &[u8]) {
        if self.elements.is_empty() {
            self.first_key.extend_from_slice(key);
        }
        self.elements.push((flags, key.len(), value.len()));
        self.len += key.len() + value.len();
        if self.len <= self.most {
            self.data.extend_from_slice(key);
            self.data.extend_from_slice(value);
        }
    }

    fn table(&self) -> Vec<u8> {
        let mut table = Vec::with_capacity(self.elements.len() * layout::ELEMENT);
        let mut data = self.elements.len() * layout::ELEMENT;
        for &(flags, ksize, vsize) in &self.elements {
            let pos = data - table.len();
            table.extend_from_slice(&flags.to_le_bytes());
            put_u32(&mut table, pos);
            put_u32(&mut table, ksize);
            put_u32(&mut table, vsize);
            data += ksize + vsize;
        }
        table
    }

    /// The page as it stands in the value of an inline bucket.
    pub(super) fn inline_image(&self) -> Vec<u8> {
        let count = u16::try_from(self.count()).expect("an inline page is smaller than a page");
        let mut image = Vec::with_capacity(self.size());
        image.extend_from_slice(&output::header(0, layout::FLAG_LEAF, count, 0));
        image.extend_from_slice(&self.table());
        image.extend_from_slice(&self.data);
        image
    }

    /// Writes the page and leaves an empty leaf.
    pub(super) fn write<W: Write>(&mut self, out: &mut Output<W>) -> Result<Written, WriteError> {
        let page = if self.data.len() == self.len {
            out.page(layout::FLAG_LEAF, self.count(), &self.table(), &self.data)?
        } else {
            out.skip(self.count(), self.size())?
        };
        let written = Written { first_key: std::mem::take(&mut self.first_key), page };
        self.elements.clear();
        self.data.clear();
        self.len = 0;
        Ok(written)
    }
}

/// A branch while it is being filled.
#[derive(Debug, Default)]
pub(super) struct OpenBranch {
    /// Key length and child.
    elements: Vec<(usize, PageId)>,
    /// Keys, packed as they will be in the page.
    keys: Vec<u8>,
    /// How many of the first elements make up a full page.
    fit: usize,
}

/// bbolt's rebalancing asserts that a parent has two children or more.
const MIN_CHILDREN: usize = 2;

impl OpenBranch {
    pub(super) fn count(&self) -> usize {
        self.elements.len()
    }

    /// The only child, when there is one only.
    pub(super) fn only_child(&self) -> Option<PageId> {
        match self.elements[..] {
            [(_, child)] => Some(child),
            _ => None,
        }
    }

    fn size(&self) -> usize {
        layout::PAGE_HEADER + self.elements.len() * layout::ELEMENT + self.keys.len()
    }

    pub(super) fn push(&mut self, child: &Written, threshold: usize) {
        let all_fit = self.fit == self.elements.len();
        self.elements.push((child.first_key.len(), child.page));
        self.keys.extend_from_slice(&child.first_key);
        let count = self.elements.len();
        if all_fit
            && (count <= MIN_CHILDREN || (self.size() <= threshold && count < layout::MAX_COUNT))
        {
            self.fit = count;
        }
    }

    /// How many elements to write now: a full page, when enough remain for another one.
    pub(super) fn full(&self) -> Option<usize> {
        (self.elements.len() >= self.fit + MIN_CHILDREN).then_some(self.fit)
    }

    /// How many elements to write first when no more come: all when they fit, or all but what the
    /// next page needs at least.
    pub(super) fn last_cut(&self, page_size: usize) -> Option<usize> {
        let count = self.elements.len();
        let too_many = count > self.fit && self.size() > page_size;
        (too_many && count >= 2 * MIN_CHILDREN).then(|| count - MIN_CHILDREN)
    }

    /// Writes a page of the first `count` elements and keeps the rest.
    pub(super) fn write<W: Write>(
        &mut self,
        out: &mut Output<W>,
        count: usize,
    ) -> Result<Written, WriteError> {
        let mut table = vec![0; count * layout::ELEMENT];
        let mut keys = 0;
        for (index, &(ksize, child)) in self.elements.iter().take(count).enumerate() {
            let at = index * layout::ELEMENT;
            let element = &mut table[at..at + layout::ELEMENT];
            let pos = (count - index) * layout::ELEMENT + keys;
            let fits =
                |size| u32::try_from(size).expect("positions and sizes in a page fit 32 bits");
            LittleEndian::write_u32(&mut element[layout::BRANCH_POS..], fits(pos));
            LittleEndian::write_u32(&mut element[layout::BRANCH_KSIZE..], fits(ksize));
            LittleEndian::write_u64(&mut element[layout::BRANCH_CHILD..], child.0);
            keys += ksize;
        }
        let page = out.page(layout::FLAG_BRANCH, count, &table, &self.keys[..keys])?;
        let first = self.elements.first().map_or(0, |&(ksize, _)| ksize);
        let written = Written { first_key: self.keys[..first].to_vec(), page };
        self.elements.drain(..count);
        self.keys.drain(..keys);
        // What remains is at most MIN_CHILDREN, which always fit.
        self.fit = self.elements.len();
        Ok(written)
    }
}
