//! Leaves that no tree led to, in the whole file.

use rayon::prelude::*;

use super::{
    super::{PageId, page_set::PageSet},
    Found, Pages,
};
use crate::progress::{Interrupted, Progress};

/// Pages looked at as one piece of parallel work.
const PIECE: u64 = 4096;

/// A leaf that no tree led to, as far as a glance tells.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Candidate {
    /// Where it stands.
    pub page: PageId,
    /// Number of elements.
    pub count: u16,
    /// Whether its header names the page it stands at.
    pub own_id: bool,
    /// Pages of it that are its own; fewer than it claims when others were put over its end.
    pub pages: u32,
}

impl Candidate {
    /// The leaf.
    pub fn open<'a>(&self, pages: &Pages<'a>) -> Found<'a> {
        let bytes = pages.from(self.page, u64::from(self.pages));
        Found::new(self.page, self.own_id, bytes, usize::from(self.count))
    }
}

/// Every leaf, by content, that begins at a page that is not in `known`; in page order, none over another.
///
/// A leaf ends where a page of `known` or a leaf that stands at its own place begins; a leaf that claims another place and
/// begins within another one is what somebody put into a value.
///
/// # Errors
/// Only [`Interrupted`].
pub fn scan(
    pages: &Pages<'_>,
    known: &PageSet,
    progress: &dyn Progress,
) -> Result<Vec<Candidate>, Interrupted> {
    progress.begin("scan", pages.bytes().len() as u64);
    let pieces = pages.count().div_ceil(PIECE);
    let found: Vec<Vec<Candidate>> = (0..pieces)
        .into_par_iter()
        .map(|piece| {
            if progress.interrupted() {
                return Vec::new();
            }
            let range = piece * PIECE..((piece + 1) * PIECE).min(pages.count());
            progress.advance((range.end - range.start) * pages.page_size() as u64);
            range
                .map(PageId)
                .filter(|page| !known.contains(*page))
                .filter_map(|page| glance(pages, page))
                .collect()
        })
        .collect();
    progress.go_on()?;
    Ok(apart(found.concat(), known, pages.count()))
}

fn glance(pages: &Pages<'_>, page: PageId) -> Option<Candidate> {
    // The metas are none, whatever they hold.
    if page.0 < 2
        && pages
            .header(page)
            .is_some_and(|header| header.flags.0 == super::super::layout::FLAG_META)
    {
        return None;
    }
    let (count, claimed, own_id) = pages.glance(page)?;
    let pages = u32::try_from(claimed).ok()?;
    Some(Candidate { page, count: u16::try_from(count).ok()?, own_id, pages })
}

/// Cuts each leaf where the next one, or a known page, begins.
fn apart(found: Vec<Candidate>, known: &PageSet, count: u64) -> Vec<Candidate> {
    let mut apart: Vec<Candidate> = Vec::with_capacity(found.len());
    for candidate in found {
        if let Some(before) = apart.last_mut() {
            let end = before.page.0 + u64::from(before.pages);
            if candidate.page.0 < end {
                if !candidate.own_id {
                    continue;
                }
                before.pages = u32::try_from(candidate.page.0 - before.page.0).unwrap_or(1);
            }
        }
        apart.push(candidate);
    }
    for candidate in &mut apart {
        let end = (candidate.page.0 + u64::from(candidate.pages)).min(count);
        let end =
            (candidate.page.0 + 1..end).find(|page| known.contains(PageId(*page))).unwrap_or(end);
        candidate.pages = u32::try_from(end - candidate.page.0).unwrap_or(1).max(1);
    }
    apart
}
