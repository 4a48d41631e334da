//! A set of pages.

use std::sync::atomic::{AtomicU64, Ordering};

use super::PageId;

/// Which pages below a bound were met, a bit each; several threads may add to it.
#[derive(Debug)]
pub struct PageSet {
    words: Vec<AtomicU64>,
    pages: u64,
}

impl Clone for PageSet {
    fn clone(&self) -> Self {
        let word = |word: &AtomicU64| AtomicU64::new(word.load(Ordering::Relaxed));
        Self { words: self.words.iter().map(word).collect(), pages: self.pages }
    }
}

impl PageSet {
    /// An empty set of pages below `pages`.
    pub fn new(pages: u64) -> Self {
        let words = usize::try_from(pages.div_ceil(64)).unwrap_or(0);
        Self { words: (0..words).map(|_| AtomicU64::new(0)).collect(), pages }
    }

    /// Adds `id`; false when it is in already or not below the bound.
    pub fn insert(&self, id: PageId) -> bool {
        let bit = 1_u64 << (id.0 % 64);
        self.word(id).is_some_and(|word| word.fetch_or(bit, Ordering::Relaxed) & bit == 0)
    }

    /// Takes `id` out.
    pub fn remove(&self, id: PageId) {
        if let Some(word) = self.word(id) {
            word.fetch_and(!(1_u64 << (id.0 % 64)), Ordering::Relaxed);
        }
    }

    /// Whether `id` is in.
    pub fn contains(&self, id: PageId) -> bool {
        self.word(id).is_some_and(|word| word.load(Ordering::Relaxed) & (1_u64 << (id.0 % 64)) != 0)
    }

    /// How many are in.
    pub fn len(&self) -> u64 {
        self.words.iter().map(|word| u64::from(word.load(Ordering::Relaxed).count_ones())).sum()
    }

    /// Whether none is in.
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    fn word(&self, id: PageId) -> Option<&AtomicU64> {
        if id.0 >= self.pages {
            return None;
        }
        self.words.get(usize::try_from(id.0 / 64).ok()?)
    }
}
