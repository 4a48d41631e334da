//! Renders pages: nothing stands in the copy but what is put there.

use super::{
    json,
    keys::Keys,
    record::{Element, Op, Ops, is_record, key_op, record},
    survey::{Class, View},
};
use crate::{
    bolt::{
        Leaf, PageId,
        layout::{self, BUCKET_HEADER, ELEMENT, META, META_SIZE, PAGE_HEADER},
        page::{Node, Page},
    },
    raw::Raw,
    schema,
};

/// What takes the place of values and of bytes that nobody understood.
const WORDS: &[u8] = b"redacted ";
/// What is blanked at a time where nothing is understood: zeroes stay zeroes, so that holes show.
const SECTOR: usize = 512;
/// Buckets within inline buckets that are looked into.
const DEEPEST: usize = 8;

/// The copy of `page`, whose first page is number `id`.
pub(super) fn rendered(view: View, id: u64, page: &[u8], keys: &Keys) -> Vec<u8> {
    let mut out = vec![0; page.len()];
    match view {
        View::Meta => meta(page, &mut out),
        View::Tree(class) => {
            header(page, &mut out);
            if let Some(page) = Page::claimed(PageId(id), page) {
                tree(class, &page, keys, &mut out);
            }
        }
        View::Header => {
            blank(page, &mut out);
            if let Some(out) = out.get_mut(..PAGE_HEADER) {
                out.fill(0);
            }
            header(page, &mut out);
        }
        View::Blank => blank(page, &mut out),
    }
    out
}

/// Writes over what was not understood.
pub(super) fn blank(bytes: &[u8], out: &mut [u8]) {
    for (bytes, out) in bytes.chunks(SECTOR).zip(out.chunks_mut(SECTOR)) {
        if bytes.iter().any(|byte| *byte != 0) {
            words(out);
        }
    }
}

fn words(out: &mut [u8]) {
    for part in out.chunks_mut(WORDS.len()) {
        part.copy_from_slice(WORDS.get(..part.len()).unwrap_or_default());
    }
}

/// Whether eight bytes are a number that a file of any size has, or one of the greatest there are, perhaps with a
/// damaged byte, and no text.
fn is_number(bytes: &[u8]) -> bool {
    [0, 0xff].iter().any(|filler| bytes.iter().filter(|byte| *byte == filler).count() >= 3)
}

fn copy(from: &[u8], out: &mut [u8], start: usize, len: usize) {
    if let (Some(from), Some(out)) = (from.get(start..start + len), out.get_mut(start..start + len))
    {
        out.copy_from_slice(from);
    }
}

/// The header, and of one that names another page only what can be a header.
fn header(page: &[u8], out: &mut [u8]) {
    for (start, len) in [(layout::PAGE_ID, 8), (layout::PAGE_FLAGS, 8)] {
        let number = |bytes: &[u8]| bytes.iter().filter(|byte| **byte == 0).count() >= 2;
        if page.get(start..start + len).is_some_and(number) {
            copy(page, out, start, len);
        }
    }
}

/// A meta as far as it is one.
fn meta(page: &[u8], out: &mut [u8]) {
    header(page, out);
    let field = |at: usize| META + at;
    let raw = Raw::new(page);
    copy(page, out, field(layout::META_MAGIC), 4);
    if raw.u32_le(field(layout::META_MAGIC)) != Some(layout::MAGIC) {
        return;
    }
    copy(page, out, field(layout::META_VERSION), 4);
    if raw.u32_le(field(layout::META_VERSION)) != Some(layout::VERSION) {
        return;
    }
    let number = |at: &usize| page.get(field(*at)..field(*at) + 8).is_some_and(is_number);
    let numbers = (layout::META_PAGE_SIZE..layout::META_CHECKSUM).step_by(8);
    numbers.clone().filter(number).for_each(|at| copy(page, out, field(at), 8));
    // The sequence leads nowhere: where it may be anything, 0 does as well.
    if !numbers.filter(|at| *at != layout::META_SEQUENCE).all(|at| number(&at)) {
        return;
    }
    let (from, to) = (field(0), field(layout::META_CHECKSUM));
    let checksum = |page: &[u8]| page.get(from..to).map(layout::fnv1a64);
    let right = raw.u64_le(to).is_some_and(|stored| checksum(page) == Some(stored));
    match (right, checksum(out), out.get_mut(to..field(META_SIZE))) {
        (true, Some(new), Some(out)) => out.copy_from_slice(&new.to_le_bytes()),
        _ => copy(page, out, to, META_SIZE - layout::META_CHECKSUM),
    }
}

fn tree(class: Class, page: &Page<'_>, keys: &Keys, out: &mut [u8]) {
    if page.header.flags.0 == layout::FLAG_FREELIST {
        return freelist(page.bytes(), out);
    }
    let mut ops = Ops::default();
    match page.node() {
        Ok(Node::Branch(branch)) => {
            for index in 0..branch.count() {
                entry(page.bytes(), out, PAGE_HEADER + index * ELEMENT);
            }
            for index in 0..branch.disjoint() {
                let Ok(child) = branch.child(index) else { continue };
                if let Some(at) = position(page.bytes(), child.key) {
                    ops.push(key_op(class, child.key), at..at + child.key.len());
                }
            }
        }
        Ok(Node::Leaf(found)) => leaf(class, page.bytes(), &found, 0, 0, &mut ops),
        // More elements than fit: the header says so.
        Err(_) => return,
    }
    for (op, range) in ops.in_order() {
        let (Some(from), Some(out)) = (page.bytes().get(range.clone()), out.get_mut(range.clone()))
        else {
            continue;
        };
        apply(*op, from, out, keys);
    }
}

fn apply(op: Op, from: &[u8], out: &mut [u8], keys: &Keys) {
    match op {
        Op::Keep => out.copy_from_slice(from),
        Op::Words => words(out),
        Op::Zero => out.fill(0),
        Op::ZeroVarint => {
            for (from, out) in from.iter().zip(out) {
                *out = *from & 0x80;
            }
        }
        Op::Key => {
            out.copy_from_slice(from);
            if let Keys::Replace(map) = keys {
                map.replace(out);
            }
        }
        Op::Json => {
            out.copy_from_slice(from);
            json::scrub(out);
        }
    }
}

/// Whether 16 bytes are an element's: small numbers, perhaps one of them damaged, and no text.
fn is_entry(bytes: &[u8]) -> bool {
    let zeroes = |half: &[u8]| half.iter().filter(|byte| **byte == 0).count() >= 2;
    let longest = bytes.split(|byte| *byte == 0).map(<[u8]>::len).max();
    bytes.chunks(8).all(zeroes) && longest.is_none_or(|longest| longest < 6)
}

/// The entry of an element, unless it is something else.
fn entry(page: &[u8], out: &mut [u8], at: usize) {
    if page.get(at..at + ELEMENT).is_some_and(is_entry) {
        copy(page, out, at, ELEMENT);
    }
}

/// The elements of `leaf`, which begins at byte `base` of `page`: of an inline bucket not at its start.
fn leaf(class: Class, page: &[u8], leaf: &Leaf<'_>, base: usize, depth: usize, ops: &mut Ops) {
    for index in 0..leaf.count() {
        let at = base + PAGE_HEADER + index * ELEMENT;
        if page.get(at..at + ELEMENT).is_some_and(is_entry) {
            ops.push(Op::Keep, at..at + ELEMENT);
        }
    }
    for item in leaf.items().take(leaf.disjoint()).flatten() {
        let Some(at) = position(page, item.key) else { continue };
        // A record whose flags are damaged is no bucket.
        let element = Element { key: item.key, value: item.value, at };
        if !item.is_bucket() || (class == Class::Key && is_record(&element)) {
            record(class, &element, ops);
            continue;
        }
        let name = if class == Class::Unknown
            && schema::bucket::ALL.iter().any(|name| item.key == name.as_bytes())
        {
            Class::Buckets
        } else {
            class
        };
        ops.push(key_op(name, item.key), at..at + item.key.len());
        let value = at + item.key.len();
        bucket_value(Class::of(class, item.key), page, item.value, value, depth, ops);
    }
}

/// A bucket's header and, of an inline one, its page, at byte `at` of `page`.
fn bucket_value(class: Class, page: &[u8], value: &[u8], at: usize, depth: usize, ops: &mut Ops) {
    // A root that is no number was none, and stays one that no file has; a sequence may be anything.
    for (half, other) in [(at, Op::Words), (at + 8, Op::Zero)] {
        let range = half..(half + 8).min(at + value.len());
        let number = page.get(half..half + 8).is_some_and(is_number);
        ops.push(if number { Op::Keep } else { other }, range);
    }
    let Some(inline) = value.get(BUCKET_HEADER..) else { return };
    let start = at + BUCKET_HEADER;
    if Raw::new(value).u64_le(layout::BUCKET_ROOT) != Some(0) || depth >= DEEPEST {
        return ops.push(Op::Words, start..start + inline.len());
    }
    for half in [start, start + 8] {
        if page
            .get(half..half + 8)
            .is_some_and(|half| half.iter().filter(|byte| **byte == 0).count() >= 2)
        {
            ops.push(Op::Keep, half..half + 8);
        }
    }
    let found = Page::claimed(PageId(0), inline).map(|page| page.node());
    if let Some(Ok(Node::Leaf(found))) = found {
        leaf(class, page, &found, start, depth + 1, ops);
    }
}

/// A freelist: ids, and no text.
fn freelist(page: &[u8], out: &mut [u8]) {
    let Some(raw) = Page::claimed(PageId(0), page) else { return };
    let count = usize::from(raw.header.count);
    let ids = if raw.header.count == layout::FREELIST_COUNT_IN_BODY {
        Raw::new(page)
            .u64_le(PAGE_HEADER)
            .and_then(|count| usize::try_from(count).ok())
            .unwrap_or(0)
            .saturating_add(1)
    } else {
        count
    };
    for at in (PAGE_HEADER..page.len()).step_by(layout::FREELIST_ENTRY).take(ids) {
        if page.get(at..at + layout::FREELIST_ENTRY).is_some_and(is_number) {
            copy(page, out, at, layout::FREELIST_ENTRY);
        }
    }
}

/// Where `slice`, which is part of `page`, begins in it.
fn position(page: &[u8], slice: &[u8]) -> Option<usize> {
    let at = slice.as_ptr().addr().checked_sub(page.as_ptr().addr())?;
    (at <= page.len()).then_some(at)
}
