//! Which elements of the file are the newest records of keys that exist, for those who read it once more.

use std::sync::atomic::{AtomicU32, AtomicU64, Ordering};

use rayon::prelude::*;

use super::KeyIndex;
use crate::bolt::{Db, PageId};

/// A bit for every element that may be one: asking costs no look into the index, which is a wait for memory each time.
/// Eight bytes a page and a bit an element.
pub(super) struct LiveElements {
    /// Where each page's bits begin.
    starts: Vec<u64>,
    bits: Vec<AtomicU64>,
}

impl LiveElements {
    /// Those that `index` names.
    pub(super) fn new<K: Copy + Default + Send + Sync>(
        db: &Db<'_>,
        index: &KeyIndex<'_, K>,
    ) -> Self {
        let pages = db.meta().high_water_mark.0.min(db.pages_in_file());
        let pages = usize::try_from(pages).unwrap_or_default();
        // As many bits as the page's last one needs.
        let lens: Vec<AtomicU32> = (0..pages).map(|_| AtomicU32::new(0)).collect();
        each(index, |page, index| {
            if let Some(len) = lens.get(page) {
                len.fetch_max(index + 1, Ordering::Relaxed);
            }
        });
        let mut end = 0;
        let mut starts = Vec::with_capacity(pages + 1);
        for len in lens {
            starts.push(end);
            end += u64::from(len.into_inner());
        }
        starts.push(end);
        let words = usize::try_from(end.div_ceil(64)).unwrap_or_default();
        let bits = (0..words).map(|_| AtomicU64::new(0)).collect();
        let elements = Self { starts, bits };
        each(index, |page, index| {
            if let Some((word, bit)) = elements.bit(page, index) {
                word.fetch_or(bit, Ordering::Relaxed);
            }
        });
        elements
    }

    /// Whether element `index` of `page` is one.
    pub(super) fn contains(&self, page: PageId, index: usize) -> bool {
        let place = usize::try_from(page.0).ok().zip(u32::try_from(index).ok());
        let bit = place.and_then(|(page, index)| self.bit(page, index));
        bit.is_some_and(|(word, bit)| word.load(Ordering::Relaxed) & bit != 0)
    }

    fn bit(&self, page: usize, index: u32) -> Option<(&AtomicU64, u64)> {
        let at = self.starts.get(page)? + u64::from(index);
        if at >= *self.starts.get(page + 1)? {
            return None;
        }
        Some((self.bits.get(usize::try_from(at / 64).ok()?)?, 1 << (at % 64)))
    }
}

/// Calls `mark` with page and element of every key that exists, shards side by side.
fn each<K: Copy + Default + Send + Sync>(
    index: &KeyIndex<'_, K>,
    mark: impl Fn(usize, u32) + Sync,
) {
    index.shards().for_each(|shard| {
        for (place, _) in shard.filter(|(place, _)| !place.is_tombstone()) {
            if let (Ok(page), Ok(index)) =
                (usize::try_from(place.page().0), u32::try_from(place.index()))
            {
                mark(page, index);
            }
        }
    });
}
