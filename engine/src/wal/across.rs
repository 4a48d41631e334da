//! The entries of a log across gaps that a db fills.

use std::ops::RangeInclusive;

use super::log::{IndexGap, Log, LoggedEntry};

/// The entries of a log of which some may be missing in gaps.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Entries<'a> {
    /// Each index once, in order.
    pub entries: Vec<LoggedEntry<'a>>,
    /// Indexes that are missing between them; the db contains them.
    pub missing: Vec<RangeInclusive<u64>>,
}

impl<'a> Log<'a> {
    /// The entries behind `start`, those behind gaps too, for a db that contains the entries up to `contained`: what is
    /// lost in a gap is not needed when the db contains it. Overriding is as in [`Log::entries_behind`].
    ///
    /// # Errors
    /// When entries that the db does not contain are missing, or may have been written again in a gap.
    pub fn entries_across_gaps(&self, start: u64, contained: u64) -> Result<Entries<'a>, IndexGap> {
        let mut row = Row { start, contained: contained.max(start), entries: Vec::new() };
        for logged in &self.entries {
            row.add(logged, false)?;
        }
        let Some(behind) = &self.behind else { return Ok(row.finish()) };
        let mut done = 0;
        for (at, gap) in behind.gaps.iter().enumerate() {
            let before = behind.entries.get(done..gap.entries_before).unwrap_or_default();
            done = gap.entries_before;
            before.iter().try_for_each(|logged| row.add(logged, at > 0))?;
            if gap.lost != Some(0)
                && let Some(first) = behind.entries.get(gap.entries_before)
            {
                row.pass(first.entry.index)?;
            }
        }
        let rest = behind.entries.get(done..).unwrap_or_default();
        rest.iter().try_for_each(|logged| row.add(logged, true))?;
        Ok(row.finish())
    }
}

/// Entries under way, each index once.
struct Row<'a> {
    start: u64,
    contained: u64,
    entries: Vec<LoggedEntry<'a>>,
}

impl<'a> Row<'a> {
    fn last(&self) -> u64 {
        self.entries.last().map_or(self.start, |last| last.entry.index)
    }

    /// Drops the entries from `index` on.
    fn truncate(&mut self, index: u64) {
        let kept = self.entries.partition_point(|logged| logged.entry.index < index);
        self.entries.truncate(kept);
    }

    /// Goes on behind a gap with the entry `index`.
    fn pass(&mut self, index: u64) -> Result<(), IndexGap> {
        let before = index.saturating_sub(1);
        if before > self.contained {
            // Where no index is missing, the last one before may have been written again in the gap.
            let expected = self.last().saturating_add(1).min(before);
            return Err(IndexGap { expected, found: index });
        }
        self.truncate(index);
        Ok(())
    }

    fn add(&mut self, logged: &LoggedEntry<'a>, behind_gap: bool) -> Result<(), IndexGap> {
        let index = logged.entry.index;
        if index <= self.start {
            return Ok(());
        }
        self.truncate(index);
        let expected = self.last().saturating_add(1);
        let is_hole = index > expected;
        if is_hole && !(behind_gap && index.saturating_sub(1) <= self.contained) {
            return Err(IndexGap { expected, found: index });
        }
        self.entries.push(*logged);
        Ok(())
    }

    fn finish(self) -> Entries<'a> {
        let mut missing = Vec::new();
        let mut last = self.start;
        for logged in &self.entries {
            let index = logged.entry.index;
            let expected = last.saturating_add(1);
            if index > expected {
                missing.push(expected..=index.saturating_sub(1));
            }
            last = index;
        }
        Entries { entries: self.entries, missing }
    }
}
