//! Edits a sound database by appending pages: what stands in the file stays as it is.
//!
//! A restore changes a handful of records in a file of gigabytes. [`Patch`] gives the pages to append at
//! the high water mark and the two metas that make them count, as a bbolt transaction would, so that the
//! file can be copied as it is. Replaced pages become free; the freelist is not stored, so the next writer
//! finds them. Source of the layout rules: bbolt `node.go` (`spill`, `write`), `tx.go` (`writeMeta`).

use std::collections::BTreeMap;

use super::{
    Bucket, Db, Error, Item, PageId,
    bucket::Root,
    layout,
    page::{Branch, Node},
};

/// An element of a leaf, owned or borrowed from the file.
#[derive(Clone, Debug)]
struct Element {
    flags: u32,
    key: Vec<u8>,
    value: Vec<u8>,
}

impl Element {
    fn of(item: &Item<'_>) -> Self {
        Self { flags: item.flags, key: item.key.to_vec(), value: item.value.to_vec() }
    }

    fn size(&self) -> usize {
        layout::ELEMENT + self.key.len() + self.value.len()
    }
}

/// A change of one record: a new value, or none to delete it.
pub type Change = (Vec<u8>, Option<Vec<u8>>);

/// Changes to a database, under way.
#[derive(Debug)]
pub struct Patch<'a> {
    db: Db<'a>,
    /// The root bucket's elements.
    top: BTreeMap<Vec<u8>, Element>,
    /// Pages to append at the high water mark.
    pages: Vec<u8>,
}

/// The changed database: the old file, with these bytes put over it.
#[derive(Clone, Debug)]
pub struct Patched {
    /// Both meta pages: to be written at offset 0, after everything else is durable.
    pub metas: Vec<u8>,
    /// Where `pages` belong: the old high water mark, in bytes.
    pub offset: u64,
    /// The pages to append.
    pub pages: Vec<u8>,
}

impl Patched {
    /// Length of the changed database in bytes.
    pub fn size_bytes(&self) -> u64 {
        self.offset + self.pages.len() as u64
    }
}

impl<'a> Patch<'a> {
    /// Begins to change `db`, which the caller has checked.
    ///
    /// # Errors
    /// When the root bucket cannot be read.
    pub fn new(db: Db<'a>) -> Result<Self, Error> {
        let top = db
            .root()
            .items()
            .map(|item| item.map(|item| (item.key.to_vec(), Element::of(&item))))
            .collect::<Result<_, _>>()?;
        Ok(Self { db, top, pages: Vec::new() })
    }

    /// Gives the top-level bucket `name` exactly `records`, whatever it held; it is made when missing.
    pub fn replace(&mut self, name: &[u8], records: BTreeMap<Vec<u8>, Vec<u8>>) {
        let elements =
            records.into_iter().map(|(key, value)| Element { flags: 0, key, value }).collect();
        self.set(name, 0, elements);
    }

    /// Applies `changes` to the top-level bucket `name`, which is small: it is rewritten whole.
    ///
    /// # Errors
    /// When the bucket cannot be read.
    pub fn update(&mut self, name: &[u8], changes: Vec<Change>) -> Result<(), Error> {
        let bucket = self.bucket(name)?;
        let mut elements = BTreeMap::new();
        for item in bucket.iter().flat_map(Bucket::items) {
            let item = item?;
            elements.insert(item.key.to_vec(), Element::of(&item));
        }
        for (key, value) in changes {
            match value {
                Some(value) => elements.insert(key.clone(), Element { flags: 0, key, value }),
                None => elements.remove(&key),
            };
        }
        self.set(
            name,
            bucket.map_or(0, |bucket| bucket.sequence()),
            elements.into_values().collect(),
        );
        Ok(())
    }

    /// Adds a record behind the last one of the top-level bucket `name`: only the way down to its last
    /// leaf is rewritten. `key` must be greater than every key there.
    ///
    /// # Errors
    /// When a page on the way cannot be read.
    pub fn append(&mut self, name: &[u8], key: Vec<u8>, value: Vec<u8>) -> Result<(), Error> {
        let element = Element { flags: 0, key, value };
        let Some(bucket) = self.bucket(name)? else {
            self.set(name, 0, vec![element]);
            return Ok(());
        };
        let Root::Page(root) = bucket.root() else {
            return self.update(name, vec![(element.key, Some(element.value))]);
        };
        let mut way: Vec<Branch<'a>> = Vec::new();
        let mut id = root;
        let mut elements = loop {
            if way.len() >= self.db.limits().max_depth {
                return Err(Error::TooDeep { page: id, limit: self.db.limits().max_depth });
            }
            match self.db.node(id)? {
                Node::Branch(branch) => {
                    id = branch.child_page(branch.count() - 1)?;
                    way.push(branch);
                }
                Node::Leaf(leaf) => {
                    break leaf
                        .items()
                        .map(|item| item.map(|item| Element::of(&item)))
                        .collect::<Result<Vec<_>, _>>()?;
                }
            }
        };
        elements.push(element);
        let mut level = self.leaves(&elements);
        while let Some(branch) = way.pop() {
            let last = branch.child(branch.count() - 1)?;
            // The replaced child keeps its place: its old key may be less than its first one.
            if let Some(first) = level.first_mut() {
                first.0 = last.key.to_vec();
            }
            let mut children = branch
                .children()
                .take(branch.count() - 1)
                .map(|child| child.map(|child| (child.key.to_vec(), child.page)))
                .collect::<Result<Vec<_>, _>>()?;
            children.append(&mut level);
            level = self.branches(&children);
        }
        let root = self.join(level);
        self.put_header(name, root, bucket.sequence());
        Ok(())
    }

    /// Writes the root bucket and the metas.
    pub fn finish(mut self) -> Patched {
        let elements: Vec<Element> = std::mem::take(&mut self.top).into_values().collect();
        let leaves = self.leaves(&elements);
        let root = self.join(leaves);
        let old = *self.db.meta();
        let offset = old.size_bytes();
        let high_water_mark = old.high_water_mark.0 + (self.pages.len() / self.page_size()) as u64;
        let next = old.txid.0.wrapping_add(1);
        let mut metas = Vec::new();
        for id in 0..2_u64 {
            // The newer one stands where a commit would put it: the next commit overwrites the other.
            let txid = if next % 2 == id { next } else { old.txid.0 };
            self.meta(&mut metas, id, root, old.sequence, high_water_mark, txid);
        }
        Patched { metas, offset, pages: self.pages }
    }

    fn meta(
        &self,
        out: &mut Vec<u8>,
        id: u64,
        root: PageId,
        sequence: u64,
        high_water_mark: u64,
        txid: u64,
    ) {
        let start = out.len();
        header(out, id, layout::FLAG_META, 0, 0);
        out.extend(layout::MAGIC.to_le_bytes());
        out.extend(layout::VERSION.to_le_bytes());
        out.extend(self.db.meta().page_size.to_le_bytes());
        out.extend(0_u32.to_le_bytes());
        for field in [root.0, sequence, layout::NO_FREELIST, high_water_mark, txid] {
            out.extend(field.to_le_bytes());
        }
        let checksum = layout::fnv1a64(out.get(start + layout::META..).unwrap_or_default());
        out.extend(checksum.to_le_bytes());
        out.resize(start + self.page_size(), 0);
    }

    fn page_size(&self) -> usize {
        self.db.meta().page_size as usize
    }

    /// The bucket as it stands in the file; `None` when it is missing.
    fn bucket(&self, name: &[u8]) -> Result<Option<Bucket<'a>>, Error> {
        self.db.root().bucket(name)
    }

    fn set(&mut self, name: &[u8], sequence: u64, elements: Vec<Element>) {
        // bbolt's rule: one leaf of at most a quarter page, nothing but plain values in it.
        let size = layout::PAGE_HEADER + elements.iter().map(Element::size).sum::<usize>();
        if size <= self.page_size() / 4 && elements.iter().all(|element| element.flags == 0) {
            let mut value = bucket_header(PageId(0), sequence);
            leaf(&mut value, 0, 0, &elements);
            self.put(name, value);
        } else {
            let leaves = self.leaves(&elements);
            let root = self.join(leaves);
            self.put_header(name, root, sequence);
        }
    }

    fn put_header(&mut self, name: &[u8], root: PageId, sequence: u64) {
        self.put(name, bucket_header(root, sequence));
    }

    fn put(&mut self, name: &[u8], value: Vec<u8>) {
        let element = Element { flags: layout::LEAF_FLAG_BUCKET, key: name.to_vec(), value };
        self.top.insert(name.to_vec(), element);
    }

    /// Writes leaves that hold `elements`; an empty one when there are none.
    fn leaves(&mut self, elements: &[Element]) -> Vec<(Vec<u8>, PageId)> {
        let sizes = elements.iter().map(Element::size);
        let mut written = Vec::new();
        for range in fill(sizes, self.page_size(), 1) {
            let part = elements.get(range).unwrap_or_default();
            let key = part.first().map(|element| element.key.clone()).unwrap_or_default();
            let id = self.emit(|out, id, overflow| leaf(out, id, overflow, part));
            written.push((key, id));
        }
        written
    }

    /// Writes branches over `children`.
    fn branches(&mut self, children: &[(Vec<u8>, PageId)]) -> Vec<(Vec<u8>, PageId)> {
        let sizes = children.iter().map(|(key, _)| layout::ELEMENT + key.len());
        let mut written = Vec::new();
        // At least two children each, or huge keys would make levels without end.
        for range in fill(sizes, self.page_size(), 2) {
            let part = children.get(range).unwrap_or_default();
            let key = part.first().map(|(key, _)| key.clone()).unwrap_or_default();
            let id = self.emit(|out, id, overflow| branch(out, id, overflow, part));
            written.push((key, id));
        }
        written
    }

    /// Writes branch levels until one page remains.
    fn join(&mut self, mut level: Vec<(Vec<u8>, PageId)>) -> PageId {
        while level.len() > 1 {
            level = self.branches(&level);
        }
        level.first().map_or(PageId(0), |(_, id)| *id)
    }

    /// Appends the page that `write` gives, padded to whole pages.
    fn emit(&mut self, write: impl Fn(&mut Vec<u8>, u64, u32)) -> PageId {
        let page_size = self.page_size();
        let start = self.pages.len();
        let id = self.db.meta().high_water_mark.0 + (start / page_size) as u64;
        let mut image = Vec::new();
        write(&mut image, id, 0);
        let pages = image.len().div_ceil(page_size);
        let overflow = u32::try_from(pages.saturating_sub(1)).unwrap_or(u32::MAX);
        if let Some(field) = image.get_mut(layout::PAGE_OVERFLOW..layout::PAGE_HEADER) {
            field.copy_from_slice(&overflow.to_le_bytes());
        }
        self.pages.extend_from_slice(&image);
        self.pages.resize(start + pages * page_size, 0);
        PageId(id)
    }
}

/// Cuts elements of these sizes into ranges that fill a page each, `least` elements at the least.
/// One empty range when there are none.
fn fill(
    sizes: impl Iterator<Item = usize>,
    page_size: usize,
    least: usize,
) -> Vec<std::ops::Range<usize>> {
    let mut ranges = Vec::new();
    let (mut start, mut used, mut end) = (0, layout::PAGE_HEADER, 0);
    for size in sizes {
        let full = used + size > page_size || end - start >= layout::MAX_COUNT;
        if full && end - start >= least {
            ranges.push(start..end);
            (start, used) = (end, layout::PAGE_HEADER);
        }
        used += size;
        end += 1;
    }
    ranges.push(start..end);
    ranges
}

fn bucket_header(root: PageId, sequence: u64) -> Vec<u8> {
    let mut value = root.0.to_le_bytes().to_vec();
    value.extend(sequence.to_le_bytes());
    value
}

fn header(out: &mut Vec<u8>, id: u64, flags: u16, count: usize, overflow: u32) {
    out.extend(id.to_le_bytes());
    out.extend(flags.to_le_bytes());
    // `fill` keeps counts below 2^16.
    out.extend((count as u16).to_le_bytes());
    out.extend(overflow.to_le_bytes());
}

fn leaf(out: &mut Vec<u8>, id: u64, overflow: u32, elements: &[Element]) {
    header(out, id, layout::FLAG_LEAF, elements.len(), overflow);
    let mut data = elements.len() * layout::ELEMENT;
    for (index, element) in elements.iter().enumerate() {
        let pos = data - index * layout::ELEMENT;
        for field in [element.flags as usize, pos, element.key.len(), element.value.len()] {
            // Keys and values are bounded by bbolt far below 2^32.
            out.extend((field as u32).to_le_bytes());
        }
        data += element.key.len() + element.value.len();
    }
    for element in elements {
        out.extend_from_slice(&element.key);
        out.extend_from_slice(&element.value);
    }
}

fn branch(out: &mut Vec<u8>, id: u64, overflow: u32, children: &[(Vec<u8>, PageId)]) {
    header(out, id, layout::FLAG_BRANCH, children.len(), overflow);
    let mut data = children.len() * layout::ELEMENT;
    for (index, (key, page)) in children.iter().enumerate() {
        let pos = data - index * layout::ELEMENT;
        out.extend((pos as u32).to_le_bytes());
        out.extend((key.len() as u32).to_le_bytes());
        out.extend(page.0.to_le_bytes());
        data += key.len();
    }
    for (key, _) in children {
        out.extend_from_slice(key);
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;
    use crate::{bolt::check::check, limits::Limits, progress::Silent};

    /// An empty database as bbolt makes it.
    fn empty(page_size: u32) -> Vec<u8> {
        let size = page_size as usize;
        let mut bytes = Vec::new();
        for id in 0..2_u64 {
            let start = bytes.len();
            header(&mut bytes, id, layout::FLAG_META, 0, 0);
            bytes.extend(layout::MAGIC.to_le_bytes());
            bytes.extend(layout::VERSION.to_le_bytes());
            bytes.extend(page_size.to_le_bytes());
            bytes.extend(0_u32.to_le_bytes());
            for field in [2, 0, layout::NO_FREELIST, 3, id] {
                bytes.extend(field.to_le_bytes());
            }
            let checksum = layout::fnv1a64(&bytes[start + layout::META..]);
            bytes.extend(checksum.to_le_bytes());
            bytes.resize(start + size, 0);
        }
        leaf(&mut bytes, 2, 0, &[]);
        bytes.resize(3 * size, 0);
        bytes
    }

    fn apply(bytes: &mut Vec<u8>, patched: &Patched) {
        bytes.truncate(usize::try_from(patched.offset).unwrap());
        bytes.extend_from_slice(&patched.pages);
        bytes[..patched.metas.len()].copy_from_slice(&patched.metas);
        assert_eq!(bytes.len() as u64, patched.size_bytes());
    }

    fn contents(bytes: &[u8], name: &[u8]) -> Vec<(Vec<u8>, Vec<u8>)> {
        let db = Db::from_bytes(bytes, Limits::default()).unwrap();
        assert_eq!(check(&db, &Silent).unwrap(), []);
        let bucket = db.root().bucket(name).unwrap();
        let items = bucket.iter().flat_map(Bucket::items);
        items
            .map(|item| item.map(|item| (item.key.to_vec(), item.value.to_vec())).unwrap())
            .collect()
    }

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(64))]

        #[test]
        fn patched_databases_hold_what_was_put_and_pass_the_check(
            page_size in prop::sample::select(vec![1024_u32, 4096, 16384, 65536]),
            replaced in prop::collection::btree_map(
                prop::collection::vec(any::<u8>(), 1..300), prop::collection::vec(any::<u8>(), 0..3000), 0..60),
            appended in prop::collection::vec(prop::collection::vec(any::<u8>(), 0..5000), 0..80),
        ) {
            let mut bytes = empty(page_size);
            let mut expected = Vec::new();
            for (number, value) in appended.into_iter().enumerate() {
                let db = Db::from_bytes(&bytes, Limits::default()).unwrap();
                let mut patch = Patch::new(db).unwrap();
                let key = (number as u64).to_be_bytes().to_vec();
                patch.append(b"key", key.clone(), value.clone()).unwrap();
                let patched = patch.finish();
                apply(&mut bytes, &patched);
                expected.push((key, value));
            }
            let db = Db::from_bytes(&bytes, Limits::default()).unwrap();
            let mut patch = Patch::new(db).unwrap();
            patch.replace(b"other", replaced.clone());
            patch.replace(b"empty", BTreeMap::new());
            let patched = patch.finish();
            apply(&mut bytes, &patched);
            prop_assert_eq!(contents(&bytes, b"key"), expected);
            prop_assert_eq!(contents(&bytes, b"other"), replaced.into_iter().collect::<Vec<_>>());
            prop_assert_eq!(contents(&bytes, b"empty"), vec![]);
        }
    }
}
