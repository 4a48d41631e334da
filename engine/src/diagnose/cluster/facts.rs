//! What is known of each path before paths are compared.

use std::{hash::Hasher as _, path::PathBuf};

use serde::Serialize;
use siphasher::sip::SipHasher13;

use crate::{
    diagnose::{Diagnosis, Verdict},
    ids::{ClusterId, MemberId},
    pb::{entry::Decoded, raftpb::EntryType},
    replay::{
        Line, ReadSnapfile,
        membership::{Membership, Start},
    },
    schema::{MetaRecords, members::Member},
    wal::{Log, LogEnd, LoggedEntry},
};

/// Where an entry stands. Orders as raft compares logs by their last entries: by term, then by index.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize)]
pub struct Position {
    /// Term of the leader that appended it.
    pub term: u64,
    /// Its raft index.
    pub index: u64,
}

/// What an entry is compared by.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct Mark {
    /// Its term.
    pub term: u64,
    /// A digest of its type and data. Raft never gives two entries one term and one index; a cluster that was
    /// forced apart does.
    pub digest: u64,
}

/// Who votes and who learns.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Conf {
    /// Ids of the voting members, ascending.
    pub voters: Vec<u64>,
    /// Ids of the learners, ascending.
    pub learners: Vec<u64>,
}

impl Conf {
    /// How many voters are a majority.
    pub fn majority(&self) -> usize {
        self.voters.len() / 2 + 1
    }

    /// How many voters every majority has at least one of.
    pub fn covering(&self) -> usize {
        self.voters.len().saturating_sub(self.majority()) + 1
    }
}

/// The last change of membership in a log. A leader appends the next one only once this one is committed, so that it
/// is the only one that may not be.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct LastChange {
    /// Raft index of its entry.
    pub index: u64,
    /// The membership before it.
    pub before: Conf,
}

/// A member's raft log, as far as logs are compared.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct LogFacts {
    /// The snapshot it starts from; zero when it starts at entry 1.
    pub start: Position,
    /// Index of the first entry that is there, before `start` or behind it.
    pub first: u64,
    /// The entries from `first` on, each index once: later entries of an index have overridden earlier ones.
    pub marks: Vec<Mark>,
    /// The last entry that the member's sound db contains; term 0 where the db does not say. A member applies what is
    /// committed, so that this entry is, whatever the log lost.
    pub db: Position,
    /// Whether there is no log, and all of this is what the db says of itself.
    pub from_db: bool,
    /// Term of the hard state.
    pub term: u64,
    /// Index up to which the member's own files prove that entries are committed; at most that of `tip`.
    pub known: u64,
    /// Whether it has everything that the member wrote: no damage, no gap, nothing missing at its end.
    pub whole: bool,
    /// The membership once all entries are applied.
    pub conf: Conf,
    /// The last change of membership behind `start`.
    pub change: Option<LastChange>,
    /// For the log of a restore, the index of the snapshot it began with.
    pub restored: Option<u64>,
}

impl LogFacts {
    /// What `log` and its snapfiles say, beside a sound db whose last entry is `db`.
    pub fn of(log: &Log<'_>, snapfiles: &[ReadSnapfile], db: Position) -> Self {
        let from = Start::of(log, snapfiles);
        let start = Position { term: from.term, index: from.index };
        let (first, entries) = newest(&log.entries, start);
        let line = Line::detect(&MetaRecords::default(), log);
        let mut membership = Membership::default();
        membership.begin(None, &from.conf);
        if let Some(v2_store) = from.v2_store {
            membership.begin_v2(v2_store);
        }
        let is_change = |logged: &&&LoggedEntry<'_>| {
            logged.entry.index > start.index
                && logged.entry.r#type.unwrap_or_default() != EntryType::Normal as i32
        };
        let last_change = entries.iter().rev().find(is_change).map(|logged| logged.entry.index);
        let mut change = None;
        for logged in entries.iter().filter(is_change) {
            let kind = logged.entry.r#type.unwrap_or_default();
            let Decoded::ConfChange(decoded) = Decoded::new(kind, logged.entry.data) else {
                continue;
            };
            let index = logged.entry.index;
            if Some(index) == last_change {
                change = Some(LastChange { index, before: conf_of(&membership) });
            }
            membership.note_applied(line, &decoded);
        }
        let conf = conf_of(&membership);
        let change = change.filter(|change| change.before != conf);
        let marks: Vec<Mark> = entries.iter().map(|logged| mark(logged)).collect();
        let behind_gap = first > start.index.saturating_add(1) && !marks.is_empty();
        let mut facts = Self { start, first, marks, db, conf, change, ..Self::default() };
        let last = facts.last().index;
        let committed = log.hard_state.commit().max(db.index).max(start.index);
        facts.term = log.hard_state.term().max(facts.tip().term);
        facts.known = committed.min(facts.tip().index);
        let damaged = matches!(log.end, LogEnd::Damaged(..));
        facts.whole = !damaged && !behind_gap && committed <= last;
        facts
    }

    /// Takes the members that the db lists, where the log lost the entries that made them so. A db of 3.5 may call a
    /// member a learner that was promoted, so that the log's word counts while both name the same members.
    pub fn conf_by_db(&mut self, by_db: &Conf) {
        let ids = |conf: &Conf| {
            let mut ids = [conf.voters.as_slice(), &conf.learners].concat();
            ids.sort_unstable();
            ids
        };
        if ids(by_db) != ids(&self.conf) && !by_db.voters.is_empty() {
            self.conf = by_db.clone();
        }
    }

    /// What a db says whose log is gone: it stands for the entries up to its last one, which is `db`.
    pub fn of_db(db: Position, conf: Conf) -> Self {
        let first = db.index.saturating_add(1);
        let (term, known) = (db.term, db.index);
        Self { start: db, first, db, from_db: true, conf, term, known, ..Self::default() }
    }

    /// Where its last entry stands: what raft compares logs by.
    pub fn last(&self) -> Position {
        let index = self.first.saturating_add(self.marks.len() as u64).saturating_sub(1);
        match self.marks.last() {
            Some(mark) if index >= self.start.index => Position { term: mark.term, index },
            _ => self.start,
        }
    }

    /// The last entry that the member is known to have had: that of its log, or that of its db where the log lost its end.
    pub fn tip(&self) -> Position {
        let last = self.last();
        if self.db.index > last.index {
            Position { term: self.db.term.max(last.term), index: self.db.index }
        } else {
            last
        }
    }

    /// The entry at `index`, when it is there.
    pub fn mark(&self, index: u64) -> Option<Mark> {
        let place = usize::try_from(index.checked_sub(self.first)?).ok()?;
        self.marks.get(place).copied()
    }

    /// The term of the entry at `index`, when it is known.
    pub fn term_at(&self, index: u64) -> Option<u64> {
        self.terms_at(index).filter(|(least, most)| least == most).map(|(term, _)| term)
    }

    /// The least and the greatest term that the entry at `index` can have: terms never fall from entry to entry, so that
    /// both ends tell about what a log lost before the last entry of its db.
    pub fn terms_at(&self, index: u64) -> Option<(u64, u64)> {
        let at = |known: Position| known.index == index && index > 0 && known.term > 0;
        let known = self.mark(index).map(|mark| mark.term);
        let known = known.or(at(self.start).then_some(self.start.term));
        if let Some(term) = known.or(at(self.db).then_some(self.db.term)) {
            return Some((term, term));
        }
        let last = self.last();
        let lost = last.index < index && index < self.db.index && self.db.term >= last.term;
        lost.then_some((last.term, self.db.term))
    }

    /// Lowest index whose term is known; one behind the last when none is.
    pub fn lowest(&self) -> u64 {
        match (self.marks.is_empty(), self.start.index) {
            (true, 0) => 1,
            (true, start) => start,
            (false, 0) => self.first,
            (false, start) => self.first.min(start),
        }
    }

    /// Whether it begins with the first entry there ever was.
    pub fn is_complete(&self) -> bool {
        self.first <= 1 && !self.marks.is_empty()
    }

    /// Index up to which entries are committed for all this log tells: a member that votes alone commits all it has.
    pub fn committed(&self, own: Option<MemberId>) -> u64 {
        let conf = match &self.change {
            Some(change) if change.index > self.known => &change.before,
            _ => &self.conf,
        };
        let alone = own.is_some_and(|own| conf.voters == [own.0]);
        if alone && self.whole { self.last().index } else { self.known }
    }
}

/// The entries that end the log, without a gap and each index once, and the index of the first.
fn newest<'l, 'a>(
    entries: &'l [LoggedEntry<'a>],
    start: Position,
) -> (u64, Vec<&'l LoggedEntry<'a>>) {
    let (mut first, mut kept): (u64, Vec<&LoggedEntry<'_>>) = (0, Vec::new());
    for logged in entries {
        let index = logged.entry.index;
        let place = index.checked_sub(first).and_then(|place| usize::try_from(place).ok());
        match place {
            Some(place) if !kept.is_empty() && place <= kept.len() => kept.truncate(place),
            _ => kept.clear(),
        }
        if kept.is_empty() {
            first = index;
        }
        kept.push(logged);
    }
    // A member that received a snapshot dropped its entries. Those behind the snapshot that are still in its files
    // have terms of leaders before the one that sent it.
    let behind = |logged: &&LoggedEntry<'_>| logged.entry.index > start.index;
    let stale = kept.iter().position(|logged| behind(logged) && logged.entry.term < start.term);
    kept.truncate(stale.unwrap_or(kept.len()));
    (first, kept)
}

fn mark(logged: &LoggedEntry<'_>) -> Mark {
    let mut hasher = SipHasher13::new();
    hasher.write_i32(logged.entry.r#type.unwrap_or_default());
    hasher.write(logged.entry.data);
    Mark { term: logged.entry.term, digest: hasher.finish() }
}

fn conf_of(membership: &Membership) -> Conf {
    let conf = membership.conf_state();
    Conf { voters: conf.voters.clone(), learners: conf.learners.clone() }
}

/// What the database of a member or of a snapshot holds, entries of the log applied.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct StateFacts {
    /// Index of the last entry that is in it; `None` for a snapshot file.
    pub applied: Option<u64>,
    /// Term of that entry, as the db says.
    pub term: Option<u64>,
    /// Index of the last entry that the db says it contains, entries of the log applied.
    pub contained: u64,
    /// Newest revision.
    pub revision: i64,
    /// Newest revision that is known to be committed.
    pub revision_committed: Option<i64>,
    /// Entries that are in it and that the member's own files do not prove to be committed.
    pub entries_uncommitted: u64,
    /// Revision up to which history is compacted; −1 when it never was.
    pub compact_revision: i64,
    /// Keys that exist; `None` where they could not be counted.
    pub keys: Option<u64>,
    /// Names and URLs of members. Who votes is not asked here.
    pub members: Vec<Member>,
    /// Size of the database, in bytes.
    pub bytes: u64,
    /// Whether an alarm NOSPACE is on, which makes a cluster refuse writes.
    pub nospace: bool,
}

/// Everything that is known of one path.
#[derive(Clone, Debug)]
pub struct Facts {
    /// The path as it was given.
    pub path: PathBuf,
    /// Whether it is a file, as opposed to the dir of a member.
    pub is_file: bool,
    /// Whose log it is.
    pub member: Option<MemberId>,
    /// Which cluster's log it is.
    pub cluster: Option<ClusterId>,
    /// Its log.
    pub log: Option<LogFacts>,
    /// Where its log is.
    pub wal_dir: Option<PathBuf>,
    /// What its database holds; `None` when that cannot be read.
    pub state: Option<StateFacts>,
    /// What its files are good for on their own; `Err` says why they could not be looked at.
    pub judged: Result<Diagnosis, String>,
    /// Whether a server starts on the files with everything they hold, and what is to be moved away first; `None`
    /// where it does not.
    pub starts: Option<Vec<PathBuf>>,
    /// Whether it is a db without a log that lists none of the members of the others' cluster.
    pub stranger: bool,
    /// Whether a server has the files open.
    pub running: bool,
    /// When one of its files was last written, in seconds since 1970.
    pub modified: Option<u64>,
}

impl Facts {
    /// Its verdict; `None` when it could not be looked at.
    pub fn verdict(&self) -> Option<Verdict> {
        self.judged.as_ref().ok().map(|judged| judged.verdict)
    }

    /// Its state, where that can be saved.
    pub fn usable(&self) -> Option<&StateFacts> {
        let judged = self.judged.as_ref().ok()?;
        let readable = judged.verdict < Verdict::SalvageOnly && !judged.ways.is_empty();
        self.state.as_ref().filter(|_| readable)
    }

    /// The entry up to which its state can be saved. A state whose entry has no known term is older than any that
    /// has one.
    pub fn reach(&self) -> Option<Position> {
        let state = self.usable()?;
        let index = state.applied?;
        let term = self.log.as_ref().and_then(|log| {
            // A db may reach further than its log: the leader of its last entry is no older than that of the log's.
            let last = log.last();
            let behind = || state.term.unwrap_or_default().max(last.term);
            log.term_at(index).or_else(|| (index > last.index).then(behind))
        });
        let term = term.or(state.term).unwrap_or_default();
        Some(Position { term, index })
    }

    /// The name of the member, where a database tells it.
    pub fn name(&self) -> Option<&str> {
        let (id, state) = (self.member?, self.state.as_ref()?);
        let own = state.members.iter().find(|member| member.id == id)?;
        Some(own.name.as_str()).filter(|name| !name.is_empty())
    }
}
