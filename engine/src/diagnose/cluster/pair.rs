//! A log whose own db is lost, on the db of another member.
//!
//! All members apply the same entries in the same order, so that a db that contains entries up to N and a log that has
//! the entries from N + 1 on make the state that the log's own member had.

use std::path::PathBuf;

use super::{
    facts::{Facts, LogFacts},
    history::{Relation, relate},
    survey::Survey,
};

/// A path that is to be opened again, in another way.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Again {
    /// Its place.
    pub place: usize,
    /// Where the log is that is applied to its db; `None` for its own.
    pub wal_dir: Option<PathBuf>,
    /// Raft index of the last entry to apply; `None` for all.
    pub to: Option<u64>,
}

/// The places of a log whose member's db is lost, and of a path whose db it goes on from.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Pair {
    /// The log's.
    pub log: usize,
    /// The db's.
    pub db: usize,
}

impl Survey {
    /// Logs that reach further than the chosen path and cannot be saved alone, each with a db that they go on from; the
    /// best first.
    pub fn pairs(&self, facts: &[Facts]) -> Vec<Pair> {
        if self.is_contradictory() {
            return Vec::new();
        }
        let chosen = self.chosen.and_then(|place| {
            let reach = facts.get(place)?.reach()?;
            Some((self.floor.is_under(facts, place, reach.index), reach))
        });
        let ranked = |place: usize| {
            let one = facts.get(place).filter(|one| one.wal_dir.is_some())?;
            let last = one.log.as_ref().filter(|log| !log.from_db)?.last();
            let rank = Some((self.floor.is_under(facts, place, last.index), last));
            (rank > chosen).then_some((rank, place))
        };
        let mut logs: Vec<_> = (0..facts.len()).filter_map(ranked).collect();
        logs.sort_by_key(|(rank, place)| (std::cmp::Reverse(*rank), *place));
        let mut pairs = Vec::new();
        for (_, log) in logs {
            let db = |place: &usize| {
                let one =
                    facts.get(*place).filter(|one| *place != log && one.usable().is_some())?;
                one.log.as_ref().map(|log| log.db.index)
            };
            let fits = |place: &usize| {
                let both = facts.get(log).zip(facts.get(*place));
                both.is_some_and(|(log, db)| goes_on(log, db))
            };
            // The db that lacks least.
            let mut dbs: Vec<usize> =
                (0..facts.len()).filter(|place| db(place).is_some()).filter(fits).collect();
            dbs.sort_by_key(|place| (std::cmp::Reverse(db(place)), *place));
            pairs.extend(dbs.into_iter().map(|db| Pair { log, db }));
        }
        pairs
    }
}

/// Whether the log of `log` has every entry that the db of `db` lacks, and is of its history.
fn goes_on(log: &Facts, db: &Facts) -> bool {
    let own = |one: &LogFacts| (one.first, one.last().index);
    let Some((first, last)) = log.log.as_ref().map(own) else { return false };
    let Some(contained) = db.log.as_ref().map(|log| log.db.index) else { return false };
    let agree = match relate(log, db) {
        Some(Relation::Same { differ_from, .. }) => differ_from.is_none_or(|from| from > contained),
        Some(Relation::Split { .. }) | None => false,
    };
    agree && contained > 0 && first <= contained.saturating_add(1) && contained < last
}
