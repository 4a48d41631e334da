//! Keys in order, of which those that changed are struck out.

use std::cell::Cell;

/// Keys in order. Those struck out are passed over in one step, however many stand together: each leads to where
/// the next one left stands, and what lies between is shortened on the way.
#[derive(Debug)]
pub(super) struct Sorted<'a> {
    keys: Vec<&'a [u8]>,
    /// For each key its own place while it is left; else a place further on.
    next: Vec<Cell<usize>>,
}

impl<'a> Sorted<'a> {
    /// Of `keys`, which are in order.
    pub(super) fn new(keys: Vec<&'a [u8]>) -> Self {
        let next = (0..keys.len()).map(Cell::new).collect();
        Self { keys, next }
    }

    /// Strikes out `key`, if it is one of them.
    pub(super) fn strike(&self, key: &[u8]) {
        if let Ok(place) = self.keys.binary_search(&key)
            && let Some(next) = self.next.get(place)
            && next.get() == place
        {
            next.set(place.saturating_add(1));
        }
    }

    /// The keys left from `key` on.
    pub(super) fn from(&self, key: &[u8]) -> impl Iterator<Item = &'a [u8]> {
        let mut place = self.keys.partition_point(|own| *own < key);
        std::iter::from_fn(move || {
            let left = self.left(place);
            place = left.saturating_add(1);
            self.keys.get(left).copied()
        })
    }

    /// The first place from `place` on whose key is left.
    fn left(&self, mut place: usize) -> usize {
        while let Some(next) = self.next.get(place) {
            let ahead = next.get();
            if ahead == place {
                break;
            }
            // Two steps at once from now on.
            if let Some(further) = self.next.get(ahead) {
                next.set(further.get());
            }
            place = ahead;
        }
        place
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn keys_struck_out_are_passed_over() {
        let names: Vec<Vec<u8>> = (0..100_u8).map(|n| vec![n]).collect();
        let sorted = Sorted::new(names.iter().map(Vec::as_slice).collect());
        let left = |from: u8| sorted.from(&[from]).map(|key| key[0]).collect::<Vec<_>>();
        assert_eq!(left(97), [97, 98, 99]);
        for n in (1..99).rev().chain(10..20) {
            sorted.strike(&[n]);
        }
        sorted.strike(b"none");
        assert_eq!(
            (left(0), left(1), left(99), left(100)),
            (vec![0, 99], vec![99], vec![99], vec![])
        );
    }

    #[test]
    fn a_long_row_struck_out_is_not_walked_again_and_again() {
        let names: Vec<[u8; 4]> = (0..100_000_u32).map(u32::to_be_bytes).collect();
        let sorted = Sorted::new(names.iter().map(<[u8; 4]>::as_slice).collect());
        names.iter().for_each(|name| sorted.strike(name));
        // Without shortening these were ten thousand million steps.
        for name in &names {
            assert_eq!(sorted.from(name).next(), None);
        }
    }
}
