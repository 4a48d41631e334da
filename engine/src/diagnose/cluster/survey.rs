//! What raft makes of several members' logs: who votes, whose log is the most up-to-date, who is behind.

use std::collections::BTreeMap;

use super::{
    contents::Contents,
    facts::{Conf, Facts, LogFacts, Position},
    history::{Relation, relate},
    pair::Pair,
};
use crate::{
    diagnose::{Verdict, Way},
    ids::{ClusterId, MemberId},
};

/// Two paths whose histories parted, by their places among the facts.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Parting {
    /// One path.
    pub one: usize,
    /// The other.
    pub other: usize,
    /// Lowest index at which their logs are known to differ; `None` when only their revisions tell.
    pub at: Option<u64>,
}

/// What the paths are to each other.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Kinship {
    /// Members of one cluster with one history, or a single path.
    One,
    /// Members of several clusters.
    Clusters(Vec<(ClusterId, Vec<usize>)>),
    /// Members of one cluster that went on apart from each other.
    Histories {
        /// The paths of each history.
        groups: Vec<Vec<usize>>,
        /// A path of each of two histories.
        partings: Vec<Parting>,
    },
}

/// Why a dir of a voter does not count towards a majority.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Discount {
    /// Its log is damaged, lacks a part, or cannot be read.
    Log,
    /// Another dir of the same member is newer.
    Older(usize),
    /// Another dir of the same member is damaged, and may be the newer one.
    Doubtful(usize),
    /// It lacks committed entries that this many voters must have had: it is an older copy, or lost its end.
    RolledBack,
}

/// What a member is by the most up-to-date log.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Role {
    /// It votes.
    Voter,
    /// It does not vote yet.
    Learner,
    /// It is no member any more.
    Former,
    /// Nothing tells.
    Unknown,
}

/// How a path stands.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Standing {
    /// What the member is.
    pub role: Role,
    /// Why its log does not count; `None` when it does.
    pub discount: Option<Discount>,
    /// Index up to which its entries are those of the chosen path.
    pub agrees_to: Option<u64>,
    /// Its entries behind `agrees_to`, which the leader of a later term did not have: first and last index.
    pub diverged: Option<(u64, u64)>,
    /// Those, where no client can have been told of them: every majority has a voter whose whole log is here.
    pub overruled: Option<(u64, u64)>,
    /// How many entries of the chosen path it lacks.
    pub behind: Option<u64>,
}

impl Standing {
    /// Whether its log counts towards a majority.
    pub fn counts(&self) -> bool {
        self.role == Role::Voter && self.discount.is_none()
    }
}

/// A state to be compared.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Comparable {
    /// Place of its path.
    pub place: usize,
    /// Index of the last entry to apply; `None` for all.
    pub to: Option<u64>,
}

/// Entries that one path holds and another lacks.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Alone {
    /// Place of the path that holds them.
    pub place: usize,
    /// Place of the one that lacks them.
    pub lacking: usize,
    /// Index of the first.
    pub from: u64,
    /// Index of the last.
    pub to: u64,
}

/// The voters, and which of them are here.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Quorum {
    /// The membership by the most up-to-date log, all of its entries applied.
    pub conf: Conf,
    /// The last change of membership, where it is not known to be committed: its index and the membership before.
    pub pending: Option<(u64, Conf)>,
    /// Voters of which a dir was named.
    pub here: Vec<MemberId>,
    /// Voters that a server starts on, with everything they ever acknowledged.
    pub intact: Vec<MemberId>,
    /// Whether the intact voters can elect a leader.
    pub majority: bool,
    /// Whether every entry that was ever acknowledged is in the most up-to-date log: every majority has a voter whose
    /// whole log is here.
    pub complete: bool,
    /// Last index that all logs agree on.
    pub agreed: Option<u64>,
    /// Last index that the logs of a majority hold.
    pub held: Option<u64>,
    /// Index up to which some member knows that entries are committed.
    pub committed: u64,
}

/// What is known to be committed: all entries up to an index, as one path has them.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Floor {
    /// Place of a path that proves it.
    pub place: usize,
    /// The index.
    pub index: u64,
}

impl Floor {
    /// The highest that a path proves. A db proves what it contains, because only committed entries are applied; its log
    /// may have lost them since.
    fn of(facts: &[Facts]) -> Self {
        let proven = |(place, one): (usize, &Facts)| {
            let index = one.log.as_ref()?.committed(one.member);
            Some(Self { place, index })
        };
        let proven = facts.iter().enumerate().filter_map(proven);
        proven.rev().max_by_key(|floor| floor.index).unwrap_or_default()
    }

    /// Whether what the path at `place` has up to `reach` includes all of this.
    pub(super) fn is_under(self, facts: &[Facts], place: usize, reach: u64) -> bool {
        let related = || relate(facts.get(self.place)?, facts.get(place)?);
        let differs = || match related() {
            Some(Relation::Same { differ_from, .. }) => {
                differ_from.is_some_and(|from| from <= self.index)
            }
            Some(Relation::Split { .. }) | None => true,
        };
        reach >= self.index && (place == self.place || !differs())
    }
}

/// What raft makes of the logs.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Survey {
    /// What is known to be committed.
    pub floor: Floor,
    /// What the paths are to each other.
    pub kinship: Kinship,
    /// The voters; `None` where no log tells.
    pub quorum: Option<Quorum>,
    /// The path with the most up-to-date log that can be saved; `None` where there is no choice.
    pub chosen: Option<usize>,
    /// Where the chosen path's db is lost, the path whose db takes its place.
    pub pair: Option<Pair>,
    /// The path with the most up-to-date log, which may be of a dir whose db is lost.
    pub newest_log: Option<usize>,
    /// How each path stands.
    pub standings: Vec<Standing>,
    /// Whether members hold different contents and no majority tells which are right.
    pub undecided: bool,
}

impl Survey {
    /// Compares what is known of the paths.
    pub fn new(facts: &[Facts]) -> Self {
        let kinship = kinship(facts);
        let mut survey = Self {
            floor: Floor::default(),
            kinship,
            quorum: None,
            chosen: None,
            pair: None,
            newest_log: None,
            standings: vec![Standing::unknown(); facts.len()],
            undecided: false,
        };
        if survey.kinship == Kinship::One {
            survey.weigh(facts);
        }
        survey
    }

    fn weigh(&mut self, facts: &[Facts]) {
        discount(facts, &mut self.standings);
        self.floor = Floor::of(facts);
        let positions = |place: &usize| {
            let log = facts.get(*place)?.log.as_ref()?;
            let floored = self.floor.is_under(facts, *place, log.tip().index);
            Some((floored, log.tip()))
        };
        // A db alone tells who votes where a log does, too: without one it is a snapshot of anybody's.
        let any = facts.iter().any(|one| one.log.as_ref().is_some_and(|log| !log.from_db));
        let by_log = (0..facts.len()).filter(|place| any && positions(place).is_some());
        // Of equals the first named.
        self.newest_log = by_log.rev().max_by_key(positions);
        if let Some(log) = self.newest_log.and_then(|newest| facts.get(newest)?.log.as_ref()) {
            self.roles(facts, &log.conf);
            self.quorum = Some(self.quorum(facts, log));
        }
        self.choose(facts, |_| true);
    }

    /// Chooses the most up-to-date of the paths that `allowed` takes, and says how the others stand to it.
    pub fn choose(&mut self, facts: &[Facts], allowed: impl Fn(usize) -> bool) {
        let complete = self.quorum.as_ref().is_some_and(|quorum| quorum.complete);
        let (standings, floor) = (&self.standings, self.floor);
        let rank = |place: &usize| {
            let one = facts.get(*place)?;
            let position = one.reach()?;
            // What is known to be committed comes before raft's comparison, which rests on logs that lost nothing.
            let floored = floor.is_under(facts, *place, position.index);
            let whole = one.log.as_ref().is_some_and(|log| log.whole);
            let discount = standings.get(*place).and_then(|standing| standing.discount);
            let trusted = !matches!(discount, Some(Discount::RolledBack | Discount::Older(_)));
            // Where whole logs hold every acknowledged entry, one that was cut short by damage is no better.
            let whole_first = if complete { whole } else { false };
            let verdict = std::cmp::Reverse(one.verdict().max(Some(Verdict::Recoverable)));
            let plain = one.judged.as_ref().is_ok_and(|is| is.ways.first() == Some(&Way::Plain));
            Some((floored, whole_first, position, trusted, whole, plain, verdict))
        };
        let usable = (0..facts.len()).filter(|place| allowed(*place) && rank(place).is_some());
        self.chosen = usable.rev().max_by_key(rank);
        let reach = self.chosen.and_then(|place| Some((place, facts.get(place)?.reach()?)));
        if let Some((place, reach)) = reach {
            self.stand(facts, place, reach);
        }
    }

    /// Takes the log of a path whose db is lost, and the db of another one.
    pub fn take(&mut self, facts: &[Facts], pair: Pair) {
        let log = facts.get(pair.log).and_then(|one| one.log.as_ref());
        let Some(last) = log.map(LogFacts::last) else { return };
        self.chosen = Some(pair.log);
        self.pair = Some(pair);
        self.stand(facts, pair.log, last);
    }

    /// Takes a snapshot file that holds more of the same history than the chosen path.
    pub fn take_file(&mut self, place: usize) {
        self.chosen = Some(place);
        self.pair = None;
    }

    /// Says how the paths stand to the one at `place`, whose state includes entries up to `own`.
    fn stand(&mut self, facts: &[Facts], place: usize, own: Position) {
        let Some(chosen) = facts.get(place) else { return };
        let complete = self.quorum.as_ref().is_some_and(|quorum| quorum.complete);
        for (number, (one, standing)) in facts.iter().zip(&mut self.standings).enumerate() {
            let Some(Relation::Same { to, differ_from }) = relate(chosen, one) else { continue };
            let Some(log) = one.log.as_ref() else { continue };
            let last = log.last().index;
            standing.agrees_to = Some(to);
            let diverged = differ_from.filter(|from| own > log.last() && *from <= last);
            standing.diverged = diverged.map(|from| (from, last));
            // Of five members the three that are missing may have committed them later.
            standing.overruled = standing.diverged.filter(|_| complete);
            let behind = if number == place { 0 } else { own.index.saturating_sub(to) };
            standing.behind = Some(behind);
        }
    }

    /// Which states are to be compared with each other, and up to which index each: entries that were overruled are
    /// no part of what members must agree on.
    pub fn comparable(&self, facts: &[Facts]) -> Vec<Comparable> {
        if self.chosen.is_none() {
            return Vec::new();
        }
        let one = |(place, (one, standing)): (usize, (&Facts, &Standing))| {
            let applied = one.usable()?.applied?;
            let older = matches!(standing.discount, Some(Discount::Older(_)));
            // Where the logs do not overlap, nothing tells whether the end of the shorter one was overruled.
            let log = one.log.as_ref()?.last().index;
            let to = standing.agrees_to.filter(|to| *to < log && *to < applied);
            (!older && !one.is_file).then_some(Comparable { place, to })
        };
        facts.iter().zip(&self.standings).enumerate().filter_map(one).collect()
    }

    /// Chooses again among those whose contents are right; nothing where no majority tells which are.
    pub fn settle(&mut self, facts: &[Facts], contents: &Contents) {
        if contents.groups.len() < 2 {
            return;
        }
        match contents.right() {
            Some(right) => self.choose(facts, |place| right.contains(&place)),
            None => {
                self.chosen = None;
                self.undecided = true;
            }
        }
    }

    /// Whether no choice is right, because the paths contradict each other.
    pub fn is_contradictory(&self) -> bool {
        self.kinship != Kinship::One || self.undecided
    }

    /// Whether a snapshot file may be chosen: no member's dir is, and not because members contradict each other.
    pub fn takes_file(&self) -> bool {
        self.chosen.is_none() && !self.is_contradictory()
    }

    /// Entries that one path holds and another lacks: of two histories those since they parted, of one history those
    /// that the chosen path lacks.
    pub fn alone(&self, facts: &[Facts]) -> Vec<Alone> {
        let last = |place: usize| Some(facts.get(place)?.log.as_ref()?.last().index);
        let mut alone = Vec::new();
        let mut add = |place: usize, lacking: usize, from: u64| {
            if let Some(to) = last(place).filter(|to| *to >= from) {
                alone.push(Alone { place, lacking, from, to });
            }
        };
        if let Kinship::Histories { partings, .. } = &self.kinship {
            for Parting { one, other, at } in partings {
                if let Some(at) = at {
                    add(*one, *other, *at);
                    add(*other, *one, *at);
                }
            }
        }
        let Some(chosen) = self.chosen else { return alone };
        let reach = match self.pair {
            Some(pair) => facts.get(pair.log).and_then(|one| one.log.as_ref()).map(LogFacts::last),
            None => facts.get(chosen).and_then(Facts::reach),
        };
        let Some(reach) = reach else { return alone };
        for (place, standing) in self.standings.iter().enumerate() {
            if let Some(to) = standing.agrees_to {
                add(place, chosen, to.min(reach.index).saturating_add(1));
            }
        }
        alone
    }

    fn roles(&mut self, facts: &[Facts], conf: &Conf) {
        for (one, standing) in facts.iter().zip(&mut self.standings) {
            standing.role = match one.member {
                Some(id) if conf.voters.contains(&id.0) => Role::Voter,
                Some(id) if conf.learners.contains(&id.0) => Role::Learner,
                Some(_) if !one.is_file => Role::Former,
                _ => Role::Unknown,
            };
        }
    }

    fn quorum(&mut self, facts: &[Facts], log: &LogFacts) -> Quorum {
        let logs = || facts.iter().filter_map(|one| Some((one.log.as_ref()?, one.member)));
        let committed = logs().map(|(log, member)| log.committed(member)).max().unwrap_or_default();
        let pending = log.change.as_ref().filter(|change| change.index > committed);
        let mut quorum = Quorum {
            conf: log.conf.clone(),
            pending: pending.map(|change| (change.index, change.before.clone())),
            committed,
            ..Quorum::default()
        };
        self.roll_back(facts, log);
        let voters: Vec<MemberId> = quorum.conf.voters.iter().map(|id| MemberId(*id)).collect();
        let dirs = |id: &MemberId| {
            let id = *id;
            facts.iter().zip(&self.standings).filter(move |(one, _)| one.member == Some(id))
        };
        quorum.here = voters.iter().filter(|id| dirs(id).next().is_some()).copied().collect();
        let startable = |(one, standing): (&Facts, &Standing)| {
            standing.discount.is_none() && one.starts.is_some()
        };
        quorum.intact = voters.iter().filter(|id| dirs(id).any(startable)).copied().collect();
        // Both the membership with the last change and the one without it must agree to something.
        let confs = || [Some(&quorum.conf), quorum.pending.as_ref().map(|(_, before)| before)];
        let counted = |conf: &Conf, counts: &dyn Fn(MemberId) -> bool| {
            conf.voters.iter().filter(|id| counts(MemberId(**id))).count()
        };
        let whole = |id: MemberId| dirs(&id).any(|(_, standing)| standing.discount.is_none());
        let starts = |id: MemberId| dirs(&id).any(startable);
        let every = |enough: &dyn Fn(&Conf) -> bool| {
            let mut confs = confs().into_iter().flatten();
            confs.all(|conf| !conf.voters.is_empty() && enough(conf))
        };
        let complete = every(&|conf| counted(conf, &whole) >= conf.covering());
        let majority = every(&|conf| counted(conf, &starts) >= conf.majority());
        let newest = |one: &Facts| match relate_to(facts, self.newest_log, one) {
            Some(Relation::Same { to, .. }) => Some(to),
            _ => None,
        };
        let agreed = facts.iter().filter(|one| one.log.is_some()).map(newest).min().flatten();
        let mut held: Vec<u64> = voters
            .iter()
            .filter_map(|id| {
                let counted = dirs(id).filter(|(_, standing)| standing.discount.is_none());
                counted.filter_map(|(one, _)| newest(one)).max()
            })
            .collect();
        held.sort_unstable_by_key(|index| std::cmp::Reverse(*index));
        let held = held.get(quorum.conf.majority().saturating_sub(1)).copied();
        Quorum { majority, complete, agreed, held, ..quorum }
    }

    /// Finds members that lack entries of which somebody knows that they are committed, where too few others can have
    /// made them so: their files are an older copy, or lost their end.
    fn roll_back(&mut self, facts: &[Facts], log: &LogFacts) {
        let floor = self.floor;
        // A change of membership takes effect when its entry is applied: entries behind it can have been committed by
        // those who voted before.
        let before = log.change.as_ref().map(|change| &change.before);
        let short: Vec<bool> = (0..facts.len())
            .map(|place| {
                let log = facts.get(place).and_then(|one| one.log.as_ref());
                log.is_some_and(|log| !floor.is_under(facts, place, log.last().index))
            })
            .collect();
        let lacks = |place: usize, one: &Facts, standing: &Standing, conf: &Conf| {
            let voter = one.member.is_some_and(|id| conf.voters.contains(&id.0));
            let short = short.get(place).is_some_and(|short| *short);
            voter && standing.discount.is_none() && short
        };
        let impossible = |conf: &Conf| {
            let paths = facts.iter().zip(&self.standings).enumerate();
            let lacking =
                paths.filter(|(place, (one, standing))| lacks(*place, one, standing, conf));
            conf.voters.len().saturating_sub(lacking.count()) < conf.majority()
        };
        let conf = &log.conf;
        if conf.voters.is_empty() || !impossible(conf) || !before.is_none_or(impossible) {
            return;
        }
        for (place, (one, standing)) in facts.iter().zip(&mut self.standings).enumerate() {
            if lacks(place, one, standing, conf) {
                standing.discount = Some(Discount::RolledBack);
            }
        }
    }
}

impl Standing {
    fn unknown() -> Self {
        Self {
            role: Role::Unknown,
            discount: Some(Discount::Log),
            agrees_to: None,
            diverged: None,
            overruled: None,
            behind: None,
        }
    }
}

fn relate_to(facts: &[Facts], newest: Option<usize>, one: &Facts) -> Option<Relation> {
    relate(facts.get(newest?)?, one)
}

/// Whether the paths belong together.
fn kinship(facts: &[Facts]) -> Kinship {
    let mut clusters: BTreeMap<ClusterId, Vec<usize>> = BTreeMap::new();
    for (place, one) in facts.iter().enumerate() {
        if let Some(cluster) = one.cluster {
            clusters.entry(cluster).or_default().push(place);
        }
    }
    if clusters.len() > 1 {
        // As they were named.
        let mut clusters: Vec<_> = clusters.into_iter().collect();
        clusters.sort_by(|(_, one), (_, other)| one.cmp(other));
        return Kinship::Clusters(clusters);
    }
    let mut groups: Vec<Vec<usize>> = Vec::new();
    let mut partings = Vec::new();
    for (place, one) in facts.iter().enumerate().filter(|(_, one)| one.log.is_some()) {
        let (mut at, mut splits) = (None, Vec::new());
        for (number, group) in groups.iter().enumerate() {
            let split = group.iter().find_map(|other| match relate(facts.get(*other)?, one)? {
                Relation::Split { at } => Some(Parting { one: *other, other: place, at }),
                Relation::Same { .. } => None,
            });
            match split {
                None => {
                    at = Some(number);
                    break;
                }
                Some(parting) => splits.push(parting),
            }
        }
        match at.and_then(|at| groups.get_mut(at)) {
            Some(group) => group.push(place),
            None => {
                groups.push(vec![place]);
                partings.extend(splits);
            }
        }
    }
    if groups.len() > 1 { Kinship::Histories { groups, partings } } else { Kinship::One }
}

/// Says which dirs do not count: damaged logs, and older dirs of a member of which there are two.
fn discount(facts: &[Facts], standings: &mut [Standing]) {
    let age = |one: &Facts| {
        let log = one.log.as_ref()?;
        let applied = one.state.as_ref().and_then(|state| state.applied);
        Some((log.term.max(log.tip().term), log.tip(), log.known, applied))
    };
    for (place, one) in facts.iter().enumerate() {
        let Some(standing) = standings.get_mut(place) else { continue };
        let whole = one.log.as_ref().is_some_and(|log| log.whole);
        let mut discount = (!whole).then_some(Discount::Log);
        let twins = facts.iter().enumerate().filter(|(other, twin)| {
            *other != place && one.member.is_some() && twin.member == one.member && !twin.is_file
        });
        for (other, twin) in twins {
            // Of two equal dirs the first counts.
            let newer = age(twin) > age(one) || (age(twin) == age(one) && other < place);
            let damaged = twin.log.as_ref().is_some_and(|log| !log.whole);
            if newer {
                discount = Some(Discount::Older(other));
            } else if damaged && discount.is_none() {
                discount = Some(Discount::Doubtful(other));
            }
        }
        standing.discount = discount;
    }
}
