//! A tree as far as it stands.

use std::cell::Cell;

use super::{
    super::{PageId, page_set::PageSet},
    Found, NodeAt, Pages,
};
use crate::progress::{Interrupted, Progress};

/// Deepest tree that is followed.
const DEPTH: usize = 64;

/// What is left of a tree.
#[derive(Clone, Debug, Default)]
pub struct Tree<'a> {
    /// Its leaves in key order.
    pub leaves: Vec<PageId>,
    /// What is missing, in key order.
    pub gaps: Vec<Gap<'a>>,
    /// Pages that name another place than theirs, and that place; their keys fit, so they are taken.
    pub misnamed: Vec<(PageId, u64)>,
}

/// A range of keys that a tree no longer leads to.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Gap<'a> {
    /// How many of the tree's leaves stand before it.
    pub at: usize,
    /// Least key that may be in it; empty for no bound.
    pub from: &'a [u8],
    /// First key that is not in it; `None` for no bound.
    pub to: Option<&'a [u8]>,
    /// The page that should lead on.
    pub page: PageId,
    /// Why it does not.
    pub why: Why,
}

/// Why a page does not lead on.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Why {
    /// The file ends before it.
    BeyondEnd,
    /// It is a meta, or beyond the high water mark.
    OutOfBounds,
    /// What stands there is no page of a tree.
    NoNode,
    /// It is a page of a tree, but its keys belong elsewhere.
    OtherKeys,
    /// It is a leaf where the tree is deeper: what should be there was below a branch.
    Shallow,
    /// The tree leads there twice.
    Again,
    /// Some of its elements are damaged; the others are read.
    Elements,
    /// It is deeper than any tree.
    TooDeep,
    /// More pages were refused than the file has.
    Costly,
}

impl Why {
    /// In words.
    pub fn as_str(self) -> &'static str {
        match self {
            Why::BeyondEnd => "the file ends before it",
            Why::OutOfBounds => "out of bounds",
            Why::NoNode => "neither branch nor leaf",
            Why::OtherKeys => "its keys belong elsewhere",
            Why::Shallow => "a leaf where a branch belongs",
            Why::Again => "referenced twice",
            Why::Elements => "some of its elements are damaged",
            Why::TooDeep => "too deep",
            Why::Costly => "not looked at: too many references lead astray",
        }
    }
}

/// Bytes of pages that may be looked at. A sound tree takes each once; what is looked at and refused takes it too, so
/// that no hostile file has a large page looked at for each of many references to it.
#[derive(Debug)]
pub struct Budget(Cell<u64>);

impl Budget {
    /// For all the walks through one tree of buckets.
    pub fn of(pages: &Pages<'_>) -> Self {
        Self(Cell::new((pages.bytes().len() as u64).saturating_mul(4)))
    }

    fn take(&self, bytes: usize) -> Result<(), Why> {
        let left = self.0.get().checked_sub(bytes as u64).ok_or(Why::Costly)?;
        self.0.set(left);
        Ok(())
    }
}

struct Walker<'p, 'a> {
    pages: &'p Pages<'a>,
    reached: &'p PageSet,
    budget: &'p Budget,
    within: (&'a [u8], Option<&'a [u8]>),
    high_water_mark: u64,
    tree: Tree<'a>,
    /// Of each leaf.
    depths: Vec<u8>,
}

/// A page to be visited, and the keys that may be below it.
#[derive(Clone, Copy)]
struct Visit<'a> {
    page: PageId,
    from: &'a [u8],
    to: Option<&'a [u8]>,
    depth: usize,
}

/// Follows the tree at `root` as far as it stands, below `high_water_mark`. Its pages, overflow included, are added to
/// `reached`; a page that is in already is met for the second time.
///
/// `within` bounds the keys of interest: what lies outside is neither visited nor missed.
///
/// # Errors
/// Only [`Interrupted`].
pub fn walk<'a>(
    pages: &Pages<'a>,
    root: PageId,
    high_water_mark: u64,
    within: (&'a [u8], Option<&'a [u8]>),
    reached: &PageSet,
    budget: &Budget,
    progress: &dyn Progress,
) -> Result<Tree<'a>, Interrupted> {
    let mut walker = Walker {
        pages,
        reached,
        budget,
        within,
        high_water_mark,
        tree: Tree::default(),
        depths: Vec::new(),
    };
    let mut stack = vec![Visit { page: root, from: &[], to: None, depth: 0 }];
    let mut visited = 0_u32;
    while let Some(visit) = stack.pop() {
        visited = visited.wrapping_add(1);
        if visited.is_multiple_of(1024) {
            progress.go_on()?;
        }
        if let Err(why) = walker.visit(visit, &mut stack) {
            walker.missing(visit, why);
        }
    }
    Ok(walker.level())
}

impl<'a> Walker<'_, 'a> {
    fn is_wanted(&self, from: &[u8], to: Option<&[u8]>) -> bool {
        let (low, high) = self.within;
        to.is_none_or(|to| to > low) && high.is_none_or(|high| from < high)
    }

    fn missing(&mut self, Visit { page, from, to, .. }: Visit<'a>, why: Why) {
        self.tree.gaps.push(Gap { at: self.tree.leaves.len(), from, to, page, why });
    }

    /// The tree without leaves that are less deep than others: a reference was changed, and whatever it led to is missing.
    fn level(mut self) -> Tree<'a> {
        let deepest = self.depths.iter().copied().max().unwrap_or(0);
        if self.depths.iter().all(|depth| *depth == deepest) {
            return self.tree;
        }
        let walked = std::mem::take(&mut self.tree.leaves);
        let mut gaps = std::mem::take(&mut self.tree.gaps).into_iter().peekable();
        let ends = |page: PageId| match self.pages.node(page, self.high_water_mark) {
            Some(NodeAt::Leaf(leaf)) => leaf.ends(),
            _ => None,
        };
        for (at, page) in walked.iter().enumerate() {
            while let Some(gap) = gaps.next_if(|gap| gap.at <= at) {
                self.tree.gaps.push(Gap { at: self.tree.leaves.len(), ..gap });
            }
            if self.depths.get(at) == Some(&deepest) {
                self.tree.leaves.push(*page);
                continue;
            }
            if let Some(NodeAt::Leaf(leaf)) = self.pages.node(*page, self.high_water_mark) {
                for more in 0..self.pages.pages_of(leaf.bytes().len()) {
                    self.reached.remove(PageId(page.0 + more));
                }
            }
            let next_gap = gaps.peek().filter(|gap| gap.at == at + 1).map(|gap| gap.from);
            let to = next_gap.or_else(|| walked.get(at + 1).and_then(|next| Some(ends(*next)?.0)));
            // Its own keys may stand anywhere in the range.
            let before = at.checked_sub(1).and_then(|before| walked.get(before));
            self.tree.gaps.push(Gap {
                at: self.tree.leaves.len(),
                from: before.and_then(|before| Some(ends(*before)?.1)).unwrap_or_default(),
                to,
                page: *page,
                why: Why::Shallow,
            });
        }
        let rest = self.tree.leaves.len();
        self.tree.gaps.extend(gaps.map(|gap| Gap { at: rest, ..gap }));
        self.tree
    }

    fn visit(&mut self, visit: Visit<'a>, stack: &mut Vec<Visit<'a>>) -> Result<(), Why> {
        let Visit { page, from, to, depth } = visit;
        if page.0 < 2 || page.0 >= self.high_water_mark {
            return Err(Why::OutOfBounds);
        }
        if page.0 >= self.pages.count() {
            return Err(Why::BeyondEnd);
        }
        if depth > DEPTH {
            return Err(Why::TooDeep);
        }
        if self.reached.contains(page) {
            return Err(Why::Again);
        }
        let node = self.pages.node(page, self.high_water_mark).ok_or(Why::NoNode)?;
        let (own_id, id, bytes) = match &node {
            NodeAt::Leaf(leaf) => (leaf.own_id, leaf.page, leaf.bytes()),
            NodeAt::Branch(branch) => (branch.own_id, branch.page, branch.bytes()),
        };
        self.budget.take(bytes.len())?;
        let fits = match &node {
            NodeAt::Leaf(leaf) => {
                leaf.count() == 0 || leaf.ends().is_some_and(|ends| within(ends, from, to))
            }
            NodeAt::Branch(branch) => {
                let key = |index| branch.child(index).map(|(key, _)| key);
                key(0).zip(key(branch.count() - 1)).is_some_and(|ends| within(ends, from, to))
            }
        };
        let damaged = match &node {
            NodeAt::Leaf(leaf) => !leaf.is_whole(),
            NodeAt::Branch(_) => false,
        };
        if !fits && !damaged || damaged && !own_id {
            return Err(Why::OtherKeys);
        }
        if !self.reached.insert(id) {
            return Err(Why::Again);
        }
        for more in 1..self.pages.pages_of(bytes.len()) {
            self.reached.insert(PageId(id.0 + more));
        }
        if !own_id {
            let found = self.pages.header(id).map_or(0, |header| header.id);
            self.tree.misnamed.push((id, found));
        }
        match node {
            NodeAt::Leaf(Found { .. }) => {
                if damaged {
                    self.missing(visit, Why::Elements);
                }
                self.tree.leaves.push(id);
                self.depths.push(u8::try_from(depth).unwrap_or(u8::MAX));
            }
            NodeAt::Branch(branch) => {
                let mut to = to;
                for index in (0..branch.count()).rev() {
                    let Some((key, page)) = branch.child(index) else { return Err(Why::NoNode) };
                    // What is below the first child's key is nowhere.
                    let low = if index == 0 { from } else { key };
                    if self.is_wanted(low, to) {
                        stack.push(Visit { page, from: low, to, depth: depth + 1 });
                    }
                    to = Some(key);
                }
            }
        }
        Ok(())
    }
}

fn within((first, last): (&[u8], &[u8]), from: &[u8], to: Option<&[u8]>) -> bool {
    first >= from && first <= last && to.is_none_or(|to| last < to)
}
