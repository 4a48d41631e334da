//! Random histories of a small raft, whose rules are those of the paper: elections, appends, commits, membership
//! changes, partitions, crashes, snapshots. The danger: a choice that leaves out what a client was told of.

use std::collections::BTreeSet;

use fastrand::Rng;

use super::{
    Conf, Discount, Facts, Kinship, LastChange, LogFacts, Mark, Position, Relation, StateFacts,
    Survey, relate,
};
use crate::{
    diagnose::{Diagnosis, Verdict},
    ids::{ClusterId, MemberId},
};

/// What an entry does to the membership.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Change {
    None,
    AddVoter(u64),
    AddLearner(u64),
    Remove(u64),
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Entry {
    term: u64,
    data: u64,
    change: Change,
}

/// What a node has on its disk, and what it knows of the commit.
#[derive(Clone, Debug)]
struct Node {
    id: u64,
    term: u64,
    vote: Option<u64>,
    log: Vec<Entry>,
    commit: usize,
    /// The commit index on its disk.
    written: usize,
    /// Index of its snapshot.
    start: usize,
    leads: bool,
    /// As leader, how far each node is known to have its log.
    matches: Vec<usize>,
}

struct Raft {
    nodes: Vec<Node>,
    first: Conf,
    /// Entries that clients were told of.
    acked: BTreeSet<(usize, u64)>,
    data: u64,
    /// Place of a node that nobody reaches any more.
    cut: Option<usize>,
    rng: Rng,
}

fn apply(conf: &mut Conf, change: Change) {
    let mut remove = |id: u64| {
        conf.voters.retain(|voter| *voter != id);
        conf.learners.retain(|learner| *learner != id);
    };
    match change {
        Change::None => {}
        Change::AddVoter(id) => {
            remove(id);
            conf.voters.push(id);
            conf.voters.sort_unstable();
        }
        Change::AddLearner(id) => {
            remove(id);
            conf.learners.push(id);
        }
        Change::Remove(id) => remove(id),
    }
}

impl Raft {
    fn new(voters: usize, spare: usize, seed: u64) -> Self {
        let all = (voters + spare) as u64;
        let node = |id| Node {
            id,
            term: 0,
            vote: None,
            log: Vec::new(),
            commit: 0,
            written: 0,
            start: 0,
            leads: false,
            matches: vec![0; all as usize],
        };
        Self {
            nodes: (1..=all).map(node).collect(),
            first: Conf { voters: (1..=voters as u64).collect(), learners: Vec::new() },
            acked: BTreeSet::new(),
            data: 0,
            cut: None,
            rng: Rng::with_seed(seed),
        }
    }

    fn conf(&self, node: &Node, upto: usize) -> Conf {
        let mut conf = self.first.clone();
        node.log[..upto].iter().for_each(|entry| apply(&mut conf, entry.change));
        conf
    }

    fn entry(&mut self, term: u64, change: Change) -> Entry {
        self.data += 1;
        Entry { term, data: self.data, change }
    }

    /// Nodes that can talk to each other now.
    fn reachable(&mut self) -> Vec<usize> {
        let all = 0..self.nodes.len();
        all.filter(|place| self.rng.u8(..4) > 0 && self.cut != Some(*place)).collect()
    }

    fn elect(&mut self) {
        let candidate = self.rng.usize(..self.nodes.len());
        let own = self.nodes[candidate].clone();
        let conf = self.conf(&own, own.commit);
        if !conf.voters.contains(&own.id) || self.cut == Some(candidate) {
            return;
        }
        let term = own.term + 1;
        let last = (own.log.last().map_or(0, |entry| entry.term), own.log.len());
        let reachable = self.reachable();
        let mut votes = 0;
        for place in 0..self.nodes.len() {
            if place != candidate && !reachable.contains(&place) {
                continue;
            }
            let node = &mut self.nodes[place];
            if node.term < term {
                node.term = term;
                node.vote = None;
                node.leads = false;
            }
            let theirs = (node.log.last().map_or(0, |entry| entry.term), node.log.len());
            let free = node.vote.is_none_or(|vote| vote == own.id);
            if node.term == term && free && last >= theirs {
                node.vote = Some(own.id);
                votes += usize::from(conf.voters.contains(&node.id));
            }
        }
        if votes >= conf.majority() {
            let noop = self.entry(term, Change::None);
            let leader = &mut self.nodes[candidate];
            leader.leads = true;
            leader.matches.fill(0);
            leader.log.push(noop);
        }
    }

    fn leader(&mut self) -> Option<usize> {
        let leaders: Vec<usize> =
            (0..self.nodes.len()).filter(|place| self.nodes[*place].leads).collect();
        (!leaders.is_empty()).then(|| leaders[self.rng.usize(..leaders.len())])
    }

    fn propose(&mut self, change: Change) {
        let Some(leader) = self.leader() else { return };
        let node = &self.nodes[leader];
        if change != Change::None {
            // As etcd's raft: not before the leader has applied all that may hold another change.
            let pending = node.log[node.commit..].iter().any(|entry| entry.change != Change::None);
            let own_term = node.commit > 0 && node.log[node.commit - 1].term == node.term;
            let mut after = self.conf(node, node.commit);
            apply(&mut after, change);
            if pending || !own_term || after.voters.len() < 2 {
                return;
            }
        }
        let entry = self.entry(self.nodes[leader].term, change);
        self.nodes[leader].log.push(entry);
    }

    fn replicate(&mut self) {
        let Some(leader) = self.leader() else { return };
        let own = self.nodes[leader].clone();
        let conf = self.conf(&own, own.log.len());
        for place in self.reachable() {
            let node = &mut self.nodes[place];
            let member = conf.voters.contains(&node.id) || conf.learners.contains(&node.id);
            if place == leader || node.term > own.term || !member {
                continue;
            }
            if node.term < own.term {
                node.term = own.term;
                node.vote = None;
            }
            node.leads = false;
            let same = node.log.iter().zip(&own.log).take_while(|(a, b)| a == b).count();
            if same < own.start {
                // The leader has dropped what the node needs: it sends a snapshot.
                node.log = own.log[..own.start].to_vec();
                node.commit = node.commit.max(own.start);
                node.start = own.start;
                node.written = node.commit;
                self.nodes[leader].matches[place] = own.start;
                continue;
            }
            let upto = self.rng.usize(same..=own.log.len());
            if upto > same {
                node.log.truncate(same);
                node.log.extend_from_slice(&own.log[same..upto]);
            }
            let matched = upto.max(same);
            node.commit = node.commit.max(own.commit.min(matched));
            if self.rng.bool() {
                node.written = node.commit;
            }
            self.nodes[leader].matches[place] = matched;
        }
        self.commit(leader);
    }

    fn commit(&mut self, leader: usize) {
        loop {
            let own = &self.nodes[leader];
            let conf = self.conf(own, own.commit);
            let held = |index: usize| {
                let has = |id: u64| id == own.id || own.matches[id as usize - 1] >= index;
                conf.voters.iter().filter(|id| has(**id)).count()
            };
            let next = (own.commit + 1..=own.log.len()).rev().find(|index| {
                own.log[index - 1].term == own.term && held(*index) >= conf.majority()
            });
            let Some(next) = next else { return };
            // A change of membership counts from its own entry on.
            let change =
                own.log[own.commit..next].iter().position(|entry| entry.change != Change::None);
            let next = change.map_or(next, |at| (own.commit + at + 1).min(next));
            let (from, id) = (own.commit, own.id);
            let committed: Vec<(usize, u64)> =
                (from..next).map(|at| (at + 1, own.log[at].data)).collect();
            for (index, data) in committed {
                for (other, told) in &self.acked {
                    assert!(*other != index || *told == data, "the model itself is not safe");
                }
                self.acked.insert((index, data));
            }
            let own = &mut self.nodes[leader];
            own.commit = next;
            if self.conf(&self.nodes[leader], next).voters.iter().all(|voter| *voter != id) {
                self.nodes[leader].leads = false;
                return;
            }
        }
    }

    fn crash(&mut self) {
        let place = self.rng.usize(..self.nodes.len());
        let node = &mut self.nodes[place];
        node.leads = false;
        node.commit = node.written.max(node.start);
    }

    fn step(&mut self) {
        let nodes = self.nodes.len() as u64;
        match self.rng.u8(..32) {
            0..=3 => self.elect(),
            4..=15 => self.propose(Change::None),
            16..=27 => self.replicate(),
            28 => self.crash(),
            29 => {
                let id = self.rng.u64(1..=nodes);
                let change = match self.rng.u8(..3) {
                    0 => Change::AddVoter(id),
                    1 => Change::AddLearner(id),
                    _ => Change::Remove(id),
                };
                if self.nodes.len() > self.first.voters.len() {
                    self.propose(change);
                }
            }
            30 => {
                let place = self.rng.usize(..self.nodes.len());
                let node = &mut self.nodes[place];
                node.start = node.start.max(node.commit.saturating_sub(2));
                node.written = node.commit;
            }
            _ => {
                let place = self.rng.usize(..self.nodes.len());
                let node = &mut self.nodes[place];
                node.written = node.commit;
            }
        }
    }

    fn facts(&self, node: &Node) -> Facts {
        let kept = node.start.saturating_sub(usize::from(node.id.is_multiple_of(2)) * 3);
        let mark = |entry: &Entry| Mark { term: entry.term, digest: entry.data };
        let changes = node.log.iter().skip(node.start);
        let last = changes.enumerate().rfind(|(_, entry)| entry.change != Change::None);
        let at = last.map(|(at, _)| node.start + at);
        let term_at = |index: usize| index.checked_sub(1).map_or(0, |at| node.log[at].term);
        let log = LogFacts {
            start: Position { term: term_at(node.start), index: node.start as u64 },
            first: kept as u64 + 1,
            marks: node.log[kept..].iter().map(mark).collect(),
            term: node.term,
            known: node.written.max(node.start) as u64,
            whole: true,
            conf: self.conf(node, node.log.len()),
            change: at.map(|at| LastChange { index: at as u64 + 1, before: self.conf(node, at) }),
            ..LogFacts::default()
        };
        let last = node.log.len() as u64;
        facts(node.id, log, last)
    }
}

fn facts(id: u64, log: LogFacts, applied: u64) -> Facts {
    Facts {
        path: format!("n{id}").into(),
        is_file: false,
        member: Some(MemberId(id)),
        cluster: Some(ClusterId(1)),
        log: Some(log),
        wal_dir: Some("wal".into()),
        state: Some(StateFacts {
            applied: Some(applied),
            revision: applied as i64,
            compact_revision: -1,
            ..StateFacts::default()
        }),
        judged: Ok(Diagnosis {
            verdict: Verdict::Healthy,
            findings: Vec::new(),
            ways: vec![crate::diagnose::Way::Plain],
        }),
        starts: Some(Vec::new()),
        stranger: false,
        running: false,
        modified: None,
    }
}

/// What clients were told of and the chosen path does not have.
fn lost(raft: &Raft, chosen: &Node) -> Vec<(usize, u64)> {
    let has = |(index, data): &(usize, u64)| {
        chosen.log.get(index - 1).is_some_and(|entry| entry.data == *data)
    };
    raft.acked.iter().filter(|entry| !has(entry)).copied().collect()
}

/// Runs `steps` steps.
fn history(voters: usize, spare: usize, steps: usize, seed: u64) -> Raft {
    let mut raft = Raft::new(voters, spare, seed);
    (0..steps).for_each(|_| raft.step());
    raft
}

/// Some of the nodes, in any order.
fn given(raft: &mut Raft) -> Vec<usize> {
    let mut places: Vec<usize> = (0..raft.nodes.len()).collect();
    raft.rng.shuffle(&mut places);
    let count = raft.rng.usize(1..=places.len());
    places.truncate(count);
    places.retain(|place| raft.nodes[*place].term > 0);
    places
}

#[test]
fn the_choice_holds_what_clients_were_told_whoever_is_missing() {
    let (mut complete, mut incomplete, mut overruled, mut changed, mut behind) = (0, 0, 0, 0, 0);
    for seed in 0..2500 {
        let voters = [1, 2, 3, 3, 3, 4, 5][seed as usize % 7];
        let spare = if seed % 3 == 0 { 2 } else { 0 };
        let steps = 20 + (seed as usize * 7) % 200;
        let mut raft = history(voters, spare, steps, seed);
        let places = given(&mut raft);
        let gathered: Vec<Facts> =
            places.iter().map(|place| raft.facts(&raft.nodes[*place])).collect();
        if gathered.is_empty() {
            continue;
        }
        let survey = Survey::new(&gathered);
        assert_eq!(survey.kinship, Kinship::One, "seed {seed}: one history was called two");
        let chosen = survey.chosen.unwrap();
        let node = &raft.nodes[places[chosen]];
        let quorum = survey.quorum.as_ref().unwrap();
        let lost = lost(&raft, node);
        // What any of the given logs holds and a client was told of is in the chosen one.
        for place in &places {
            let other = &raft.nodes[*place];
            for (index, data) in &lost {
                let has = other.log.get(index - 1).is_some_and(|entry| entry.data == *data);
                assert!(!has, "seed {seed}: entry {index} of n{} is left out", other.id);
            }
        }
        let discounts = survey.standings.iter().map(|standing| standing.discount);
        assert!(discounts.clone().all(|discount| discount.is_none()), "seed {seed}: {discounts:?}");
        if spare == 0 {
            let majority = places.len() >= quorum.conf.majority();
            assert_eq!(quorum.majority, majority, "seed {seed}: {quorum:?}");
            assert!(quorum.complete >= majority, "seed {seed}");
        }
        if quorum.complete {
            complete += 1;
            // A member that was removed, or was never told that others joined, cannot know of them.
            if spare == 0 {
                assert!(lost.is_empty(), "seed {seed}: {lost:?} lost although {quorum:?}");
            }
        } else {
            incomplete += 1;
        }
        changed += usize::from(quorum.pending.is_some());
        for (place, standing) in places.iter().zip(&survey.standings) {
            behind += usize::from(standing.behind.is_some_and(|behind| behind > 0));
            let Some((from, to)) = standing.overruled else { continue };
            overruled += 1;
            let other = &raft.nodes[*place];
            for index in from..=to {
                let data = other.log[index as usize - 1].data;
                assert!(!raft.acked.contains(&(index as usize, data)), "seed {seed}: {index}");
            }
        }
        if let Some(agreed) = quorum.agreed {
            let prefix = |place: &usize| &raft.nodes[*place].log[..agreed as usize];
            assert!(places.iter().all(|place| prefix(place) == &node.log[..agreed as usize]));
        }
    }
    // The histories hold what they are to be tried with.
    for (what, count) in [
        ("complete", complete),
        ("incomplete", incomplete),
        ("overruled", overruled),
        ("changed", changed),
        ("behind", behind),
    ] {
        assert!(count > 20, "{what}: {count}");
    }
}

#[test]
fn with_changes_of_membership_a_majority_of_the_newest_holds_everything() {
    let (mut tried, mut changes) = (0, 0);
    for seed in 0..2500 {
        let mut raft = history(3, 2, 60 + (seed as usize * 11) % 240, 1_000_000 + seed);
        // The cluster as its newest member knows it; all of those may be given, and any minority is withheld.
        let newest = raft
            .nodes
            .iter()
            .max_by_key(|node| (node.log.last().map_or(0, |entry| entry.term), node.log.len()));
        let conf = raft.conf(newest.unwrap(), newest.unwrap().log.len());
        let mut places: Vec<usize> = conf.voters.iter().map(|id| *id as usize - 1).collect();
        raft.rng.shuffle(&mut places);
        places.truncate(conf.majority());
        if !places.contains(&(newest.unwrap().id as usize - 1)) {
            continue;
        }
        let gathered: Vec<Facts> =
            places.iter().map(|place| raft.facts(&raft.nodes[*place])).collect();
        let survey = Survey::new(&gathered);
        let Some(chosen) = survey.chosen else { continue };
        let quorum = survey.quorum.as_ref().unwrap();
        if !quorum.complete {
            continue;
        }
        tried += 1;
        changes += usize::from(conf != raft.first);
        let lost = lost(&raft, &raft.nodes[places[chosen]]);
        assert!(lost.is_empty(), "seed {seed}: {lost:?} of {quorum:?}");
    }
    assert!(tried > 500 && changes > 150, "{tried} {changes}");
}

#[test]
fn an_older_copy_beside_a_members_own_dir_does_not_count() {
    let mut older = 0;
    for seed in 0..1000 {
        let mut raft = history(3, 0, 30 + seed as usize % 60, 2_000_000 + seed);
        let copied = raft.rng.usize(..3);
        let copy = raft.facts(&raft.nodes[copied]);
        (0..60).for_each(|_| raft.step());
        let mut gathered: Vec<Facts> = Vec::new();
        let with = raft.rng.usize(..3);
        for place in [copied, with] {
            let one = raft.facts(&raft.nodes[place]);
            if !gathered.iter().any(|known| known.member == one.member) {
                gathered.push(one);
            }
        }
        let at = raft.rng.usize(..=gathered.len());
        gathered.insert(at, copy);
        let survey = Survey::new(&gathered);
        assert_eq!(survey.kinship, Kinship::One, "seed {seed}");
        let quorum = survey.quorum.as_ref().unwrap();
        let members: BTreeSet<_> = gathered.iter().map(|one| one.member).collect();
        assert_eq!(quorum.intact.len(), members.len(), "seed {seed}");
        let counting = survey.standings.iter().filter(|standing| standing.counts()).count();
        assert_eq!(counting, members.len(), "seed {seed}");
        older += usize::from(
            survey.standings[at].discount.is_some_and(|is| matches!(is, Discount::Older(_))),
        );
        let chosen = gathered[survey.chosen.unwrap()].member.unwrap().0 as usize - 1;
        if quorum.complete {
            assert!(lost(&raft, &raft.nodes[chosen]).is_empty(), "seed {seed}");
        }
    }
    assert!(older > 500, "{older}");
}

#[test]
fn a_member_whose_files_are_an_older_copy_is_found_where_the_votes_prove_it() {
    let mut found = 0;
    for seed in 0..1000 {
        let mut raft = history(3, 0, 40, 3_000_000 + seed);
        let copied = raft.rng.usize(..3);
        let copy = raft.nodes[copied].clone();
        (0..80).for_each(|_| raft.step());
        let own = raft.facts(&raft.nodes[copied]);
        raft.nodes[copied] = copy;
        let gathered: Vec<Facts> = raft.nodes.iter().map(|node| raft.facts(node)).collect();
        let survey = Survey::new(&gathered);
        assert_eq!(survey.kinship, Kinship::One, "seed {seed}");
        let rolled = |place: usize| survey.standings[place].discount == Some(Discount::RolledBack);
        if !(0..3).any(rolled) {
            continue;
        }
        found += 1;
        assert!(own.log.unwrap().last() > gathered[copied].log.as_ref().unwrap().last());
        assert!(rolled(copied), "seed {seed}");
        // Whoever is left of those who can be believed has what was committed.
        let chosen = survey.chosen.unwrap();
        assert!(!rolled(chosen), "seed {seed}");
        let committed = survey.quorum.as_ref().unwrap().committed;
        assert!(raft.nodes[chosen].log.len() as u64 >= committed, "seed {seed}");
    }
    assert!(found > 20, "{found}");
}

#[test]
fn a_member_that_was_forced_into_a_cluster_of_its_own_is_another_history() {
    let (mut split, mut prefix) = (0, 0);
    for seed in 0..1500 {
        let mut raft = history(3, 0, 60, 4_000_000 + seed);
        let forced = raft.rng.usize(..3);
        // etcd drops what is not known to be committed, appends the removal of the others in the same term and
        // commits all of it (etcd `createConfigChangeEnts`).
        let mut own = raft.nodes[forced].clone();
        own.log.truncate(own.commit);
        for id in 1..=3 {
            if id != own.id {
                let entry = raft.entry(own.term, Change::Remove(id));
                own.log.push(entry);
            }
        }
        own.commit = own.log.len();
        own.written = own.commit;
        own.term += 1;
        for _ in 0..raft.rng.usize(1..6) {
            let entry = raft.entry(own.term, Change::None);
            own.log.push(entry);
        }
        let before = raft.acked.len();
        let alone = raft.facts(&own);
        // The others go on without it.
        raft.cut = Some(forced);
        raft.nodes[forced].leads = false;
        let steps = raft.rng.usize(..80);
        (0..steps).for_each(|_| raft.step());
        let mut gathered = vec![alone];
        let others = (0..3).filter(|place| *place != forced);
        gathered.extend(others.map(|place| raft.facts(&raft.nodes[place])));
        raft.rng.shuffle(&mut gathered);
        let survey = Survey::new(&gathered);
        let known = |one: &Facts| one.log.as_ref().unwrap().known as usize;
        let went_on = gathered.iter().any(|one| {
            let other = &raft.nodes[one.member.unwrap().0 as usize - 1].log;
            let apart = own.log.iter().zip(other).take_while(|(a, b)| a == b).count();
            // Both logs must still have the entries at which they part.
            let parted = one.log.as_ref().unwrap().mark(apart as u64 + 1).is_some();
            one.member != Some(MemberId(own.id)) && known(one) > apart && parted
        });
        if went_on {
            split += 1;
            assert!(matches!(survey.kinship, Kinship::Histories { .. }), "seed {seed}");
            assert_eq!(survey.chosen, None, "seed {seed}");
        } else if raft.acked.len() == before && survey.kinship == Kinship::One {
            prefix += 1;
        }
    }
    assert!(split > 100 && prefix > 50, "{split} {prefix}");
}

#[test]
fn logs_of_one_history_have_one_relation_in_both_directions() {
    for seed in 0..1000 {
        let raft = history(3, 2, 80, 5_000_000 + seed);
        let gathered: Vec<Facts> = raft.nodes.iter().map(|node| raft.facts(node)).collect();
        for one in &gathered {
            for other in &gathered {
                let relation = relate(one, other);
                assert_eq!(relation, relate(other, one), "seed {seed}");
                assert!(matches!(relation, Some(Relation::Same { .. })), "seed {seed}");
            }
        }
    }
}

/// What a power cut leaves of `node`: its db, and its log without the last `lost` entries.
fn cut(raft: &Raft, node: &Node, db: usize, lost: usize) -> (Node, Facts) {
    let mut torn = node.clone();
    let kept = node.log.len().saturating_sub(lost).max(node.start);
    torn.log.truncate(kept);
    torn.written = torn.written.min(kept);
    torn.commit = torn.written;
    let mut left = raft.facts(&torn);
    let position = |at: usize| Position {
        term: at.checked_sub(1).map_or(0, |at| node.log[at].term),
        index: at as u64,
    };
    let log = left.log.as_mut().unwrap();
    log.db = position(db);
    log.known = log.known.max(db as u64);
    if db > kept {
        // The db has what the log lost.
        log.whole = false;
        left.starts = None;
        let state = left.state.as_mut().unwrap();
        (state.applied, state.revision) = (Some(db as u64), db as i64);
        state.term = Some(log.db.term);
        left.judged = Ok(Diagnosis {
            verdict: Verdict::RecoverableWithLoss,
            findings: Vec::new(),
            ways: vec![crate::diagnose::Way::NoWal],
        });
        torn.log = node.log[..db].to_vec();
    }
    (torn, left)
}

#[test]
fn a_db_that_is_ahead_of_its_log_proves_what_was_committed() {
    let (mut ahead, mut ranked, mut diverged) = (0, 0, 0);
    for seed in 0..5000 {
        let mut raft = history(3, 0, 40 + seed as usize % 160, 6_000_000 + seed);
        let places = given(&mut raft);
        if places.is_empty() {
            continue;
        }
        let mut torn = Vec::new();
        for place in places {
            let node = raft.nodes[place].clone();
            let db = raft.rng.usize(node.start..=node.commit.max(node.start));
            let lost = if raft.rng.bool() { raft.rng.usize(..8) } else { 0 };
            torn.push(cut(&raft, &node, db, lost));
        }
        let gathered: Vec<Facts> = torn.iter().map(|(_, facts)| facts.clone()).collect();
        let survey = Survey::new(&gathered);
        assert_eq!(survey.kinship, Kinship::One, "seed {seed}: {gathered:#?}");
        let chosen = &torn[survey.chosen.unwrap()].0;
        let is_ahead = |one: &Facts| one.log.as_ref().is_some_and(|log| log.tip() > log.last());
        ahead += usize::from(gathered.iter().any(is_ahead));
        // By the ends of the logs alone another one would be chosen, and not have what a db proves.
        let by_log = torn.iter().max_by_key(|(_, one)| one.log.as_ref().map(LogFacts::last));
        let floor = survey.floor.index as usize;
        ranked += usize::from(by_log.is_some_and(|(node, _)| node.log.len() < floor));
        assert!(chosen.log.len() >= floor, "seed {seed}: {gathered:#?}");
        for (place, (held, facts)) in torn.iter().enumerate() {
            let kept = held.log.iter().zip(&chosen.log).take_while(|(a, b)| a == b).count();
            let mut lost = (kept..held.log.len())
                .filter(|at| raft.acked.contains(&(at + 1, held.log[*at].data)))
                .peekable();
            if lost.peek().is_none() {
                continue;
            }
            // Only where the log lost the later term that committed them, and no db proves it.
            diverged += 1;
            let floor = facts.log.as_ref().unwrap().known as usize;
            assert!(lost.all(|at| at >= floor), "seed {seed}: {gathered:#?}");
            assert!(survey.standings[place].diverged.is_some(), "seed {seed}: {gathered:#?}");
        }
    }
    assert!(ahead > 500 && ranked > 20 && diverged < 20, "{ahead} {ranked} {diverged}");
}
