//! Writes over revisions, in bounded memory, with breaks where nothing was written for long.

use std::{
    cmp::Reverse,
    collections::{BTreeMap, BTreeSet},
};

/// Stretches with writes that are told apart while records are read.
const HELD: usize = 4096;
/// Breaks of a timeline at most.
const BREAKS: usize = 6;
/// The least number of stretches that a timeline may be limited to: two for each of its parts.
pub const LEAST_STRETCHES: usize = 2 * (BREAKS + 1);

/// What was written in a stretch of history.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Stretch {
    /// Records of puts.
    pub puts: u64,
    /// Records of deletions.
    pub deletions: u64,
    /// Bytes of both in their pages.
    pub bytes: u64,
}

impl Stretch {
    fn add(&mut self, other: Stretch) {
        self.puts += other.puts;
        self.deletions += other.deletions;
        self.bytes += other.bytes;
    }
}

/// Writes over revisions: stretches of equally many of them. Where the axis would be mostly empty, as behind a bump of
/// the revision by a billion, it has breaks.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Timeline {
    /// Revisions in each stretch, a power of two; 0 when there are no records.
    pub width: i64,
    /// The parts between the breaks in order; none when there are no records.
    pub parts: Vec<Part>,
}

/// A part of a timeline without a break.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Part {
    /// First revision of the first stretch.
    pub first: i64,
    /// The stretches, one after the other; the first and the last have writes.
    pub stretches: Vec<Stretch>,
}

impl Timeline {
    /// The stretches of all parts.
    pub fn stretches(&self) -> impl Iterator<Item = &Stretch> {
        self.parts.iter().flat_map(|part| &part.stretches)
    }

    /// The last revision of the last stretch of `part`.
    pub fn last_of(&self, part: &Part) -> i64 {
        let count = i64::try_from(part.stretches.len()).unwrap_or(i64::MAX);
        part.first.saturating_add(self.width.saturating_mul(count).saturating_sub(1))
    }
}

/// Adds up writes by stretches of `2^shift` revisions: as narrow as they can be while no more than [`HELD`] have writes.
/// So the result depends neither on the order of the records nor on how they were dealt out.
#[derive(Debug, Default)]
pub(super) struct History {
    shift: u32,
    stretches: BTreeMap<i64, Stretch>,
    /// The stretch of the last record, not yet among the others: neighbours in a page mostly share one.
    open: Option<(i64, Stretch)>,
}

impl History {
    pub(super) fn add(&mut self, revision: i64, written: Stretch) {
        match &mut self.open {
            Some((at, stretch)) if *at == revision >> self.shift => stretch.add(written),
            _ => {
                self.close();
                self.open = Some((revision >> self.shift, written));
            }
        }
    }

    fn close(&mut self) {
        if let Some((at, stretch)) = self.open.take() {
            self.stretches.entry(at).or_default().add(stretch);
            self.fit();
        }
    }

    fn fit(&mut self) {
        while self.stretches.len() > HELD {
            self.widen(self.shift + 1);
        }
    }

    /// Joins stretches until they have `2^shift` revisions; none is open.
    fn widen(&mut self, shift: u32) {
        let by = shift.saturating_sub(self.shift);
        if by > 0 {
            for (at, stretch) in std::mem::take(&mut self.stretches) {
                self.stretches.entry(at >> by).or_default().add(stretch);
            }
            self.shift = shift;
        }
    }

    pub(super) fn join(&mut self, mut other: History) {
        self.close();
        other.close();
        let shift = self.shift.max(other.shift);
        self.widen(shift);
        other.widen(shift);
        for (at, stretch) in other.stretches {
            self.stretches.entry(at).or_default().add(stretch);
        }
        self.fit();
    }

    /// At most `most` stretches, or [`LEAST_STRETCHES`].
    pub(super) fn finish(mut self, most: usize) -> Timeline {
        self.close();
        let most = u64::try_from(most.max(LEAST_STRETCHES)).unwrap_or(u64::MAX);
        let written: Vec<i64> = self.stretches.keys().copied().collect();
        let begins = begins(&written, most);
        let by = (0..i64::BITS).find(|by| count(&written, &begins, *by) <= most).unwrap_or(0);
        let mut parts: Vec<Part> = Vec::new();
        let mut last = None;
        for (at, stretch) in self.stretches {
            let number = at >> by;
            match (parts.last_mut(), last) {
                (Some(part), Some(last)) if number == last || !begins.contains(&at) => {
                    let empty = number.abs_diff(last).saturating_sub(1);
                    part.stretches.extend((0..empty).map(|_| Stretch::default()));
                    match part.stretches.last_mut() {
                        Some(same) if number == last => same.add(stretch),
                        _ => part.stretches.push(stretch),
                    }
                }
                _ => parts
                    .push(Part { first: number << (self.shift + by), stretches: vec![stretch] }),
            }
            last = Some(number);
        }
        let width = if parts.is_empty() { 0 } else { 1 << (self.shift + by) };
        Timeline { width, parts }
    }
}

/// The stretches with which parts begin, of those that have writes: behind the longest gaps, as long as the axis does not
/// fit and a gap takes a quarter of it.
fn begins(written: &[i64], most: u64) -> BTreeSet<i64> {
    let mut begins: BTreeSet<i64> = written.first().copied().into_iter().collect();
    let ends = written.first().zip(written.last());
    let mut length = ends.map_or(0, |(first, last)| last.abs_diff(*first).saturating_add(1));
    let gap = |pair: &[i64]| match pair {
        [before, behind] => Some((behind.abs_diff(*before).saturating_sub(1), *behind)),
        _ => None,
    };
    let mut gaps: Vec<(u64, i64)> = written.windows(2).filter_map(gap).collect();
    gaps.sort_by_key(|(empty, behind)| (Reverse(*empty), *behind));
    for (empty, behind) in gaps.into_iter().take(BREAKS) {
        if length <= most || empty < length / 4 {
            break;
        }
        length -= empty;
        begins.insert(behind);
    }
    begins
}

/// How many stretches an axis with these parts has when `2^by` are joined.
fn count(written: &[i64], begins: &BTreeSet<i64>, by: u32) -> u64 {
    let mut count = 0_u64;
    let mut last = None;
    for at in written {
        let number = at >> by;
        count = count.saturating_add(match last {
            Some(last) if !begins.contains(at) => number.abs_diff(last),
            _ => 1,
        });
        last = Some(number);
    }
    count
}

#[cfg(test)]
mod tests {
    use super::*;

    const PUT: Stretch = Stretch { puts: 1, deletions: 0, bytes: 7 };

    fn history(revisions: impl IntoIterator<Item = i64>) -> History {
        let mut history = History::default();
        revisions.into_iter().for_each(|revision| history.add(revision, PUT));
        history
    }

    fn puts(timeline: &Timeline) -> u64 {
        timeline.stretches().map(|stretch| stretch.puts).sum()
    }

    #[test]
    fn a_history_is_the_same_in_any_parts_and_order() {
        let bumped = || (3..1000).chain((1_000_000_000..1_000_020_000).step_by(3));
        let all = history(bumped()).finish(20);
        assert_eq!(puts(&all), bumped().count() as u64);
        let backwards: Vec<i64> = bumped().collect();
        assert_eq!(history(backwards.into_iter().rev()).finish(20), all);
        for cut in [4, 50, 999, 500_000, 1_000_010_000] {
            let mut joined = history(bumped().filter(|at| *at >= cut));
            joined.join(history(bumped().filter(|at| *at < cut)));
            assert_eq!(joined.finish(20), all, "{cut}");
        }
        assert_eq!(history([]).finish(20), Timeline::default());
    }

    #[test]
    fn an_axis_without_a_long_gap_is_whole() {
        let all = history(3..1000).finish(20);
        assert_eq!((all.width, all.parts.len(), all.parts[0].first), (64, 1, 0));
        assert_eq!((all.parts[0].stretches.len(), puts(&all)), (16, 997));
        // What fits needs no break.
        let few = history([2, 9]).finish(20);
        assert_eq!((few.width, few.parts.len(), few.parts[0].stretches.len()), (1, 1, 8));
    }

    #[test]
    fn where_nothing_was_written_for_long_the_axis_has_a_break() {
        let bumped = (2..10_002).chain(1_000_010_000..1_000_012_000);
        let timeline = history(bumped).finish(240);
        assert_eq!((timeline.width, timeline.parts.len()), (64, 2));
        let (before, behind) = (&timeline.parts[0], &timeline.parts[1]);
        assert_eq!((before.first, timeline.last_of(before)), (0, 10_047));
        assert_eq!((behind.first, timeline.last_of(behind)), (1_000_009_984, 1_000_012_031));
        let count = |part: &Part| part.stretches.iter().map(|stretch| stretch.puts).sum::<u64>();
        assert_eq!((count(before), count(behind)), (10_000, 2_000));
        assert!(timeline.stretches().all(|stretch| stretch.puts > 0));
    }

    #[test]
    fn hostile_revisions_make_an_axis_all_the_same() {
        let ends = history([0, i64::MAX, i64::MAX - 1]).finish(240);
        assert_eq!((ends.width, ends.parts.len()), (1, 2));
        assert_eq!(ends.last_of(&ends.parts[1]), i64::MAX);
        // Each gap twice as long as all before it, and more stretches than are held.
        let doubled = history((0..63).map(|at| 1 << at)).finish(30);
        assert_eq!((puts(&doubled), doubled.parts.len()), (63, BREAKS + 1));
        assert!(doubled.stretches().count() <= 30);
        let scattered = (0..3 * HELD as i64).map(|at| at * (i64::MAX / (3 * HELD as i64)));
        let scattered = history(scattered).finish(0);
        assert_eq!(puts(&scattered), 3 * HELD as u64);
        assert!(scattered.stretches().count() <= LEAST_STRETCHES);
        assert_eq!(puts(&history([i64::MIN, -1, 0, i64::MAX]).finish(240)), 4);
    }
}
