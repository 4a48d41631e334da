//! Is everything in order? Yes or no, in parallel.

use rayon::prelude::*;

use crate::bolt::page_set::PageSet;
use crate::{
    bolt::{
        Db, Error, PageId,
        bucket::{Bucket, Root},
        freelist::Freelist,
        layout,
        page::{Leaf, Node},
        walk::AHEAD,
    },
    progress::{Interrupted, Progress},
};

/// Pages below one page, with the range its keys must lie in.
#[derive(Clone, Copy)]
struct Part<'a> {
    page: PageId,
    depth: usize,
    /// Least key allowed; `None` at the left edge.
    from: Option<&'a [u8]>,
    /// Every key must be less; `None` at the right edge.
    to: Option<&'a [u8]>,
}

struct Checker<'a, 'p> {
    db: Db<'a>,
    reached: PageSet,
    progress: &'p dyn Progress,
}

/// What makes the exact check necessary: any irregularity at all.
struct Irregular;

type Verdict = Result<(), Irregular>;

impl From<Error> for Irregular {
    fn from(_: Error) -> Self {
        Irregular
    }
}

/// Whether the exact check would find nothing.
pub(super) fn is_sound(
    db: &Db<'_>,
    freelist: Option<&Freelist>,
    progress: &dyn Progress,
) -> Result<bool, Interrupted> {
    progress.begin("check", db.bytes_in_file());
    let checker = Checker { db: *db, reached: PageSet::new(db.pages_in_file()), progress };
    let verdict = checker.all(freelist);
    progress.go_on()?;
    Ok(verdict.is_ok())
}

impl<'a> Checker<'a, '_> {
    fn all(&self, freelist: Option<&Freelist>) -> Verdict {
        self.reach(PageId(0), 0)?;
        self.reach(PageId(1), 0)?;
        if let Some(freelist) = freelist {
            self.reach(freelist.page, freelist.overflow)?;
        }
        self.buckets(self.db.root())?;
        match freelist {
            None => Ok(()),
            Some(freelist) => self.freelist(freelist),
        }
    }

    /// Every page is either reached or free, once.
    fn freelist(&self, freelist: &Freelist) -> Verdict {
        for id in &freelist.ids {
            ensure(self.reached.insert(*id))?;
        }
        ensure(self.reached.len() == self.db.meta().high_water_mark.0)
    }

    fn reach(&self, page: PageId, overflow: u32) -> Verdict {
        for id in page.0..=page.0.saturating_add(u64::from(overflow)) {
            ensure(self.reached.insert(PageId(id)))?;
        }
        Ok(())
    }

    /// All buckets, level by level: they nest without limit, and so without a stack.
    fn buckets(&self, root: Bucket<'a>) -> Verdict {
        let mut level = vec![root];
        while !level.is_empty() {
            let nested = level.par_iter().map(|bucket| self.bucket(bucket));
            level = nested.try_reduce(Vec::new, |mut all, more| {
                all.extend(more);
                Ok(all)
            })?;
        }
        Ok(())
    }

    /// Checks a bucket and gives the buckets in it.
    fn bucket(&self, bucket: &Bucket<'a>) -> Result<Vec<Bucket<'a>>, Irregular> {
        let mut nested = Vec::new();
        match bucket.root() {
            Root::Inline(leaf) => self.leaf(leaf, None, None, &mut nested)?,
            Root::Page(page) => {
                let parts = self.split(Part { page, depth: 0, from: None, to: None })?;
                let parts: Result<Vec<_>, _> =
                    parts.into_par_iter().map(|part| self.part(part)).collect();
                nested.extend(parts?.into_iter().flatten());
            }
        }
        Ok(nested)
    }

    /// Cuts a tree into enough parts to keep every thread busy, checking the branches cut through.
    fn split(&self, root: Part<'a>) -> Result<Vec<Part<'a>>, Irregular> {
        const ENOUGH: usize = 256;
        let mut parts = vec![root];
        loop {
            let mut next = Vec::new();
            let mut grew = false;
            for part in &parts {
                if self.children(*part, &mut next)? {
                    grew = true;
                } else {
                    next.push(*part);
                }
            }
            parts = next;
            if !grew || parts.len() >= ENOUGH {
                return Ok(parts);
            }
        }
    }

    /// Checks a branch and pushes its children; false when the part is a leaf, which is left alone.
    fn children(&self, part: Part<'a>, out: &mut Vec<Part<'a>>) -> Result<bool, Irregular> {
        let page = self.db.page(part.page)?;
        let Node::Branch(branch) = page.node()? else { return Ok(false) };
        ensure(part.depth < self.db.limits().max_depth)?;
        self.reach(page.id, page.header.overflow)?;
        ensure(branch.unpacked().is_none())?;
        let first = out.len();
        let mut previous = part.from;
        for (index, child) in branch.children().enumerate() {
            let child = child?;
            ensure(!child.key.is_empty())?;
            ensure(
                previous
                    .is_none_or(|key| if index == 0 { key <= child.key } else { key < child.key }),
            )?;
            previous = Some(child.key);
            if let Some(before) = out.get_mut(first..).and_then(|own| own.last_mut()) {
                before.to = Some(child.key);
            }
            out.push(Part {
                page: child.page,
                depth: part.depth + 1,
                from: Some(child.key),
                to: part.to,
            });
        }
        ensure(part.to.is_none_or(|to| previous.is_none_or(|key| key < to)))?;
        Ok(true)
    }

    /// Checks the pages below one page and gives the buckets in them.
    fn part(&self, part: Part<'a>) -> Result<Vec<Bucket<'a>>, Irregular> {
        let mut nested = Vec::new();
        let mut stack = vec![part];
        let mut done = 0;
        while let Some(part) = stack.pop() {
            ensure(!self.progress.interrupted())?;
            if let Some(soon) = stack.iter().rev().nth(AHEAD - 1) {
                self.db.prefetch(soon.page);
            }
            let mut children = Vec::new();
            if self.children(part, &mut children)? {
                stack.extend(children.into_iter().rev());
                continue;
            }
            let page = self.db.page(part.page)?;
            self.reach(page.id, page.header.overflow)?;
            if let Node::Leaf(leaf) = page.node()? {
                self.leaf(leaf, part.from, part.to, &mut nested)?;
            }
            done += page.bytes().len() as u64;
        }
        // Once a part: it asks for the time.
        self.progress.advance(done);
        Ok(nested)
    }

    fn leaf(
        &self,
        leaf: Leaf<'a>,
        from: Option<&'a [u8]>,
        to: Option<&'a [u8]>,
        nested: &mut Vec<Bucket<'a>>,
    ) -> Verdict {
        ensure(leaf.unpacked().is_none())?;
        let mut previous = from;
        leaf.prefetch();
        for (index, item) in leaf.items().enumerate() {
            let item = item?;
            ensure(!item.key.is_empty() && item.flags & !layout::LEAF_FLAG_BUCKET == 0)?;
            ensure(
                previous
                    .is_none_or(|key| if index == 0 { key <= item.key } else { key < item.key }),
            )?;
            previous = Some(item.key);
            if item.is_bucket() {
                nested.push(Bucket::from_item(self.db, &item)?);
            }
        }
        ensure(to.is_none_or(|to| previous.is_none_or(|key| key < to)) || leaf.count() == 0)
    }
}

fn ensure(holds: bool) -> Verdict {
    if holds { Ok(()) } else { Err(Irregular) }
}
