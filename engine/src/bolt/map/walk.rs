//! The walk behind a page map: buckets in order, the pages of each side by side.

use std::{
    collections::VecDeque,
    sync::atomic::{AtomicU16, AtomicU64, Ordering},
};

use rayon::prelude::*;

use super::{BucketPages, Code, PageCounts, PageMap, PageUse};
use crate::{
    bolt::{
        Bucket, Db, Error, PageId,
        bucket::Root,
        freelist::Freelist,
        layout,
        page::{Branch, Leaf, Node},
        page_set::PageSet,
        walk::AHEAD,
    },
    progress::{Interrupted, Progress},
};

/// Subtrees of a bucket that are walked side by side.
const ENOUGH: usize = 512;

pub(super) fn read(db: &Db<'_>, progress: &dyn Progress) -> Result<PageMap, Interrupted> {
    let pages = usize::try_from(db.pages_in_file()).unwrap_or(usize::MAX);
    progress.begin("map", db.bytes_in_file());
    let walk = Walk {
        db: *db,
        codes: (0..pages).map(|_| AtomicU16::new(Code::UNCLAIMED.0)).collect(),
        met: PageSet::new(pages as u64),
        shared: AtomicU64::new(0),
        progress,
    };
    let mut problems = Problems::new(db.limits().max_findings);
    for meta in [PageId(0), PageId(1)] {
        walk.met.insert(meta);
        walk.claim(meta, PageUse::Meta, false);
    }
    let freelist = match Freelist::read(db) {
        Ok(freelist) => freelist,
        Err(error) => {
            problems.add(error);
            None
        }
    };
    if let Some(freelist) = &freelist {
        for id in freelist.page.0..=freelist.page.0.saturating_add(u64::from(freelist.overflow)) {
            walk.met.insert(PageId(id));
            walk.claim(PageId(id), PageUse::Freelist, false);
        }
    }
    let buckets = walk.buckets(&mut problems);
    progress.go_on()?;
    let mut codes: Vec<u16> = walk.codes.into_iter().map(AtomicU16::into_inner).collect();
    let shared = walk.shared.into_inner() + continue_pages(db, &mut codes);
    let free = Code::new(PageUse::Free).0;
    // bbolt takes every page that no tree reaches for free; where part of a tree is unreadable it could not.
    let rest = match &freelist {
        Some(freelist) => {
            for id in &freelist.ids {
                if let Some(code) = usize::try_from(id.0).ok().and_then(|id| codes.get_mut(id))
                    && *code == Code::UNCLAIMED.0
                {
                    *code = free;
                }
            }
            Code::new(PageUse::Unreachable).0
        }
        None if problems.is_empty() => free,
        None => Code::new(PageUse::Unreachable).0,
    };
    codes.iter_mut().filter(|code| **code == Code::UNCLAIMED.0).for_each(|code| *code = rest);
    let counts = count(&codes);
    let (problems, problems_dropped) = problems.finish();
    Ok(PageMap { codes, buckets, problems, problems_dropped, shared, counts })
}

/// Claims for the pages that have some what continues them; gives the pages that are claimed otherwise, too.
///
/// One sweep in file order, because a page may say that it goes on to the end of the file: were each such page to claim
/// all of it, a hostile file would cost its size squared.
fn continue_pages(db: &Db<'_>, codes: &mut [u16]) -> u64 {
    // Where claims end, the one that reaches furthest first, and the nearest last; and of which bucket they are.
    let mut claims: Vec<(u64, PageUse)> = Vec::new();
    let mut shared = 0;
    for (id, slot) in codes.iter_mut().enumerate() {
        let (id, code) = (PageId(id as u64), Code(*slot));
        while claims.last().is_some_and(|(end, _)| *end < id.0) {
            claims.pop();
        }
        if let Some((_, usage)) = claims.last() {
            if code == Code::UNCLAIMED {
                *slot = Code::new(*usage).0;
            } else {
                shared += 1;
            }
        }
        if code.is_continued()
            && let Some(bucket) = code.usage().bucket()
            && let Ok(header) = db.header(id)
        {
            let end = id.0.saturating_add(u64::from(header.overflow));
            // What reaches no further than a nearer one is never asked again.
            while claims.last().is_some_and(|(other, _)| *other <= end) {
                claims.pop();
            }
            claims.push((end, PageUse::Overflow(bucket)));
        }
    }
    shared
}

pub(super) fn count(codes: &[u16]) -> PageCounts {
    let mut counts = PageCounts::default();
    for code in codes {
        let of = match Code(*code).usage() {
            PageUse::Meta => &mut counts.meta,
            PageUse::Freelist => &mut counts.freelist,
            PageUse::Branch(_) => &mut counts.branch,
            PageUse::Leaf(_) => &mut counts.leaf,
            PageUse::Overflow(_) => &mut counts.overflow,
            PageUse::Damaged(_) => &mut counts.damaged,
            PageUse::Free => &mut counts.free,
            PageUse::Unreachable => &mut counts.unreachable,
        };
        *of += 1;
    }
    counts
}

/// The first problems by place, and how many there were.
struct Problems {
    kept: Vec<Error>,
    most: usize,
    dropped: u64,
}

impl Problems {
    fn new(most: usize) -> Self {
        Self { kept: Vec::new(), most, dropped: 0 }
    }

    fn is_empty(&self) -> bool {
        self.kept.is_empty()
    }

    fn add(&mut self, error: Error) {
        self.kept.push(error);
        // The first of all are among the first of every part, so what is kept does not depend on the parts.
        if self.kept.len() >= self.most.saturating_mul(2).max(64) {
            self.cut();
        }
    }

    fn cut(&mut self) {
        self.kept.sort_by_cached_key(|error| (error.place(), error.to_string()));
        self.dropped += self.kept.len().saturating_sub(self.most) as u64;
        self.kept.truncate(self.most);
    }

    fn join(&mut self, other: Problems) {
        self.dropped += other.dropped;
        other.kept.into_iter().for_each(|error| self.add(error));
    }

    fn finish(mut self) -> (Vec<Error>, u64) {
        self.cut();
        (self.kept, self.dropped)
    }
}

struct Walk<'a, 'p> {
    db: Db<'a>,
    codes: Vec<AtomicU16>,
    /// Pages that some tree refers to: each is looked at once, so every walk ends.
    met: PageSet,
    shared: AtomicU64,
    progress: &'p dyn Progress,
}

/// A bucket that is to be looked at.
struct Pending<'a> {
    bucket: Bucket<'a>,
    name: &'a [u8],
    parent: Option<usize>,
    /// Buckets above it.
    level: u64,
}

/// What a part of a bucket's tree adds.
struct Found<'a> {
    pages: BucketPages,
    nested: Vec<(&'a [u8], Bucket<'a>)>,
    problems: Problems,
}

impl<'a> Walk<'a, '_> {
    fn buckets(&self, problems: &mut Problems) -> Vec<BucketPages> {
        let mut done: Vec<BucketPages> = Vec::new();
        let root = Pending { bucket: self.db.root(), name: b"", parent: None, level: 0 };
        let mut pending = VecDeque::from([root]);
        // Each bucket stands once in the file, and bbolt nests them without limit: so does this, without a stack.
        while let Some(Pending { bucket, name, parent, level }) = pending.pop_front() {
            if self.progress.interrupted() {
                break;
            }
            let number = u16::try_from(done.len()).unwrap_or(u16::MAX).min(Code::LAST_BUCKET);
            let mut found = self.bucket(&bucket, number);
            // In a damaged tree who meets a leaf first is a matter of chance.
            found.nested.sort_by_key(|(name, bucket)| (*name, root_of(bucket)));
            let parent_of_nested = Some(done.len());
            pending.extend(found.nested.into_iter().map(|(name, bucket)| Pending {
                bucket,
                name,
                parent: parent_of_nested,
                level: level + 1,
            }));
            problems.join(found.problems);
            let (root, sequence, name) = (root_of(&bucket), bucket.sequence(), name.to_vec());
            let depth = root.map_or(0, |root| self.depth(root));
            done.push(BucketPages { name, parent, level, root, sequence, depth, ..found.pages });
        }
        done
    }

    /// Levels on the way down to the first leaf.
    fn depth(&self, root: PageId) -> u64 {
        let (mut id, mut depth) = (root, 1);
        while let Ok(Node::Branch(branch)) = self.db.node(id)
            && let Ok(child) = branch.child_page(0)
            && depth < self.db.limits().max_depth as u64
        {
            (id, depth) = (child, depth + 1);
        }
        depth
    }

    fn bucket(&self, bucket: &Bucket<'a>, number: u16) -> Found<'a> {
        let mut found = self.nothing();
        let mut front = match bucket.root() {
            Root::Inline(leaf) => {
                self.leaf(leaf, &mut found);
                return found;
            }
            Root::Page(root) => {
                let mut front = Vec::new();
                self.meet(root, &mut front, &mut found.problems);
                front
            }
        };
        // Level by level until there is work for everybody; all of this is near the root.
        while !front.is_empty() && front.len() < ENOUGH {
            let mut next = Vec::new();
            for id in front {
                self.page(id, number, &mut next, &mut found);
            }
            front = next;
        }
        let parts: Vec<Found<'a>> = front
            .par_iter()
            .map(|root| {
                let mut found = self.nothing();
                let (mut stack, mut below) = (vec![*root], Vec::new());
                while let Some(id) = stack.pop() {
                    if self.progress.interrupted() {
                        break;
                    }
                    if let Some(soon) = stack.iter().rev().nth(AHEAD - 1) {
                        self.db.prefetch(*soon);
                    }
                    self.page(id, number, &mut below, &mut found);
                    stack.extend(below.drain(..).rev());
                }
                self.progress.advance(found.pages.physical().saturating_mul(self.db.page_size()));
                found
            })
            .collect();
        for part in parts {
            found.pages.add(&part.pages);
            found.nested.extend(part.nested);
            found.problems.join(part.problems);
        }
        found
    }

    fn nothing(&self) -> Found<'a> {
        Found {
            pages: BucketPages::default(),
            nested: Vec::new(),
            problems: Problems::new(self.db.limits().max_findings),
        }
    }

    /// Puts a page that a tree refers to on the list, unless some tree did so before.
    fn meet(&self, id: PageId, list: &mut Vec<PageId>, problems: &mut Problems) {
        let high_water_mark = self.db.meta().high_water_mark;
        if id >= high_water_mark {
            problems.add(Error::OutOfBounds { page: id, high_water_mark });
        } else if id.0 >= self.codes.len() as u64 {
            let (offset, len) = (id.0.saturating_mul(self.db.page_size()), self.db.bytes().len());
            problems.add(Error::BeyondEnd { page: id, offset, len: len as u64 });
        } else if self.met.insert(id) {
            list.push(id);
        } else {
            self.shared.fetch_add(1, Ordering::Relaxed);
        }
    }

    fn page(&self, id: PageId, bucket: u16, below: &mut Vec<PageId>, found: &mut Found<'a>) {
        let (page, node) = match self.db.page(id).and_then(|page| Ok((page, page.node()?))) {
            Ok(known) => known,
            Err(error) => {
                found.problems.add(error);
                found.pages.damaged_pages += 1;
                self.claim(id, PageUse::Damaged(bucket), false);
                return;
            }
        };
        let overflow = u64::from(page.header.overflow);
        let (usage, whole) = match node {
            Node::Branch(branch) => {
                found.pages.branch_pages += 1;
                found.pages.branch_overflow += overflow;
                (PageUse::Branch(bucket), self.branch(branch, below, found))
            }
            Node::Leaf(leaf) => {
                found.pages.leaf_pages += 1;
                found.pages.leaf_overflow += overflow;
                (PageUse::Leaf(bucket), self.leaf(leaf, found))
            }
        };
        if !whole {
            found.pages.damaged_pages += 1;
        }
        self.claim(id, if whole { usage } else { PageUse::Damaged(bucket) }, overflow > 0);
    }

    /// Meets the children; whether all elements could be read.
    fn branch(&self, branch: Branch<'a>, below: &mut Vec<PageId>, found: &mut Found<'a>) -> bool {
        let readable = branch.disjoint();
        let mut used = (layout::PAGE_HEADER + branch.count() * layout::ELEMENT) as u64;
        let mut whole = readable == branch.count();
        if !whole {
            found.problems.add(Error::SharedBytes { page: branch.page(), index: readable });
        }
        for index in 0..branch.count() {
            match branch.child(index) {
                Ok(child) => used += child.key.len() as u64,
                Err(error) => {
                    whole = false;
                    found.problems.add(error);
                }
            }
            if let Ok(child) = branch.child_page(index) {
                self.meet(child, below, &mut found.problems);
            }
        }
        found.pages.branch_used += used;
        whole
    }

    /// Counts the elements and collects the buckets among them; whether all could be read.
    fn leaf(&self, leaf: Leaf<'a>, found: &mut Found<'a>) -> bool {
        let readable = leaf.disjoint();
        let mut used = (layout::PAGE_HEADER + leaf.count() * layout::ELEMENT) as u64;
        let mut whole = readable == leaf.count();
        if !whole {
            found.problems.add(Error::SharedBytes { page: leaf.page(), index: readable });
        }
        found.pages.elements += leaf.count() as u64;
        for item in leaf.items().take(readable) {
            let bucket = item.and_then(|item| {
                used += (item.key.len() + item.value.len()) as u64;
                let nested = item.is_bucket().then(|| Bucket::from_item(self.db, &item));
                Ok(nested.transpose()?.map(|bucket| (item.key, bucket)))
            });
            match bucket {
                Ok(Some(nested)) => {
                    found.pages.buckets += 1;
                    found.nested.push(nested);
                }
                Ok(None) => {}
                Err(error) => {
                    whole = false;
                    found.problems.add(error);
                }
            }
        }
        found.pages.leaf_used += used;
        whole
    }

    /// Each page is claimed once, but for those that no tree may refer to.
    fn claim(&self, id: PageId, usage: PageUse, continued: bool) {
        let code = usize::try_from(id.0).ok().and_then(|id| self.codes.get(id));
        if let Some(code) = code {
            code.store(Code::new(usage).continued(continued).0, Ordering::Relaxed);
        }
    }
}

fn root_of(bucket: &Bucket<'_>) -> Option<PageId> {
    match bucket.root() {
        Root::Page(id) => Some(id),
        Root::Inline(_) => None,
    }
}
