//! The root of all buckets: where it is, and what it names.

use std::collections::BTreeMap;

use super::{record::revision, report::Tree};
use crate::{
    bolt::{
        PageId, layout,
        page_set::PageSet,
        salvage::{Budget, Candidate, Found, Gap, NodeAt, Pages, Piece, walk},
    },
    progress::{Interrupted, Progress},
    raw::Raw,
    schema::{bucket, meta},
};

/// Roots recognised by content that are looked at; the last commits leave a few.
const ROOTS: usize = 16;
/// Elements of a leaf that are looked at for a bucket's name.
const NAMES: usize = 64;

/// A bucket as its root names it.
#[derive(Clone, Copy, Debug)]
pub(super) enum Named<'a> {
    /// A tree of pages.
    Tree(PageId),
    /// Within the root's page.
    Inline(Found<'a>),
    /// Its value makes no sense.
    Damaged,
}

/// What the root of all buckets says.
#[derive(Clone, Debug)]
pub(super) struct Root<'a> {
    pub(super) tree: Tree,
    pub(super) high_water_mark: u64,
    pub(super) buckets: BTreeMap<Vec<u8>, Named<'a>>,
    /// What of the root itself is missing.
    pub(super) gaps: Vec<Gap<'a>>,
    pub(super) misnamed: Vec<(PageId, u64)>,
}

impl<'a> Root<'a> {
    /// The root at `page`, as far as it stands, and its pages.
    pub(super) fn read(
        pages: &Pages<'a>,
        page: PageId,
        high_water_mark: u64,
        tree: Tree,
        budget: &Budget,
        progress: &dyn Progress,
    ) -> Result<(Self, PageSet), Interrupted> {
        let reached = PageSet::new(pages.count());
        let walked = walk(pages, page, high_water_mark, (&[], None), &reached, budget, progress)?;
        let mut root = Self {
            tree,
            high_water_mark,
            buckets: BTreeMap::new(),
            gaps: walked.gaps,
            misnamed: walked.misnamed,
        };
        for leaf in &walked.leaves {
            if let Some(NodeAt::Leaf(leaf)) = pages.node(*leaf, high_water_mark) {
                root.take(leaf);
            }
        }
        Ok((root, reached))
    }

    fn take(&mut self, leaf: Found<'a>) {
        for piece in leaf.pieces() {
            match piece {
                Piece::Whole(item) if item.is_bucket() => {
                    self.buckets.insert(item.key.to_vec(), named(leaf.page, item.value));
                }
                Piece::Cut(item) if item.is_bucket() => {
                    self.buckets.insert(item.key.to_vec(), Named::Damaged);
                }
                _ => {}
            }
        }
    }

    /// Whether it names the key space.
    pub(super) fn is_useful(&self) -> bool {
        matches!(self.buckets.get(bucket::KEY.as_bytes()), Some(Named::Tree(_) | Named::Inline(_)))
    }

    /// Whether all of it is there.
    pub(super) fn is_whole(&self) -> bool {
        self.gaps.is_empty() && !self.buckets.values().any(|named| matches!(named, Named::Damaged))
    }
}

fn named(page: PageId, value: &[u8]) -> Named<'_> {
    match Raw::new(value).u64_le(layout::BUCKET_ROOT) {
        Some(0) => Found::inline(page, value).map_or(Named::Damaged, Named::Inline),
        Some(root) if value.len() >= layout::BUCKET_HEADER => Named::Tree(PageId(root)),
        _ => Named::Damaged,
    }
}

/// Roots recognised by their content, the most advanced first.
pub(super) fn recognised<'a>(pages: &Pages<'a>, candidates: &[Candidate]) -> Vec<Root<'a>> {
    let mut roots = Vec::new();
    for candidate in candidates {
        let leaf = candidate.open(pages);
        let names_key = leaf.pieces().take(NAMES).any(|piece| {
            matches!(piece, Piece::Whole(item) if item.is_bucket() && item.key == bucket::KEY.as_bytes())
        });
        if !names_key {
            continue;
        }
        let mut root = Root {
            tree: Tree::Recognised { root: candidate.page },
            high_water_mark: pages.count(),
            buckets: BTreeMap::new(),
            gaps: Vec::new(),
            misnamed: Vec::new(),
        };
        root.take(leaf);
        if root.is_useful() {
            let rank = (index_of(pages, &root), last_of(pages, &root));
            roots.push((std::cmp::Reverse(rank), candidate.page, root));
            // In a hostile file every page is a root.
            if roots.len() >= 2 * ROOTS {
                keep_best(&mut roots);
            }
        }
    }
    keep_best(&mut roots);
    roots.into_iter().map(|(_, _, root)| root).collect()
}

type Ranked<'a> = (std::cmp::Reverse<(u64, i64)>, PageId, Root<'a>);

fn keep_best(roots: &mut Vec<Ranked<'_>>) {
    roots.sort_by_key(|(rank, page, _)| (*rank, *page));
    roots.truncate(ROOTS);
}

/// The consistent index below `root`; 0 when it cannot be read.
fn index_of(pages: &Pages<'_>, root: &Root<'_>) -> u64 {
    let leaf = match root.buckets.get(bucket::META.as_bytes()) {
        Some(Named::Inline(leaf)) => *leaf,
        Some(Named::Tree(page)) => match pages.node(*page, pages.count()) {
            Some(NodeAt::Leaf(leaf)) => leaf,
            _ => return 0,
        },
        _ => return 0,
    };
    leaf.pieces()
        .find_map(|piece| match piece {
            Piece::Whole(item) if item.key == meta::CONSISTENT_INDEX.as_bytes() => {
                Raw::new(item.value).u64_be(0)
            }
            _ => None,
        })
        .unwrap_or(0)
}

/// The greatest revision below `root`, as far as its right edge stands; 0 when it does not.
fn last_of(pages: &Pages<'_>, root: &Root<'_>) -> i64 {
    let last = |leaf: Found<'_>| {
        leaf.ends().and_then(|(_, last)| revision(last)).map_or(0, |key| key.revision.main)
    };
    let mut page = match root.buckets.get(bucket::KEY.as_bytes()) {
        Some(Named::Inline(leaf)) => return last(*leaf),
        Some(Named::Tree(page)) => *page,
        _ => return 0,
    };
    for _ in 0..64 {
        match pages.node(page, pages.count()) {
            Some(NodeAt::Leaf(leaf)) => return last(leaf),
            Some(NodeAt::Branch(branch)) => match branch.child(branch.count() - 1) {
                Some((_, child)) => page = child,
                None => return 0,
            },
            None => return 0,
        }
    }
    0
}
