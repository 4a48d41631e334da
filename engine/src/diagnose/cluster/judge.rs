//! One answer over all paths.

use super::{
    answer::{Answer, DifferenceAnswer, Key, LackingAnswer, MemberAnswer, QuorumAnswer},
    contents::{Contents, Differing, Held},
    facts::{Facts, LogFacts},
    roster::Roster,
    steps,
    survey::{Alone, Discount, Kinship, Quorum, Role, Survey},
};
use crate::{
    diagnose::Verdict,
    finding::{Finding, Place, Severity, counted},
    ids::MemberId,
};

/// How a snapshot file stands to the state that was chosen.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct FileStanding {
    /// Its place.
    pub place: usize,
    /// Place of the path whose state it is compared with.
    pub beside: usize,
    /// What it holds behind the newest revision of the chosen state.
    pub ahead: Option<Held>,
    /// What the chosen state holds behind its newest revision.
    pub behind: Option<Held>,
    /// Where both differ as far as both reach.
    pub differing: Option<Differing>,
}

/// Everything that was gathered.
#[derive(Clone, Copy, Debug)]
pub struct Gathered<'g> {
    /// What is known of each path.
    pub facts: &'g [Facts],
    /// What raft makes of it.
    pub survey: &'g Survey,
    /// Which members hold the same.
    pub contents: &'g Contents,
    /// What the paths of [`Survey::alone`] hold alone.
    pub alone: &'g [(Alone, Held)],
    /// Where the log of the chosen path is applied to another path's db, what is known of both together.
    pub paired: Option<&'g Facts>,
    /// How snapshot files stand to the chosen state.
    pub files: &'g [FileStanding],
}

impl Gathered<'_> {
    /// The path at `place`, as it was given.
    pub(super) fn path(&self, place: usize) -> String {
        self.facts.get(place).map(|one| one.path.display().to_string()).unwrap_or_default()
    }

    fn paths(&self, places: &[usize]) -> String {
        let paths: Vec<String> = places.iter().map(|place| self.path(*place)).collect();
        listed(&paths)
    }

    pub(super) fn chosen(&self) -> Option<&Facts> {
        self.paired.or(self.facts.get(self.survey.chosen?))
    }

    /// Whether the chosen state holds everything that was ever acknowledged.
    pub(super) fn nothing_lost(&self) -> bool {
        let complete = self.survey.quorum.as_ref().is_some_and(|quorum| quorum.complete);
        let reach = self.chosen().and_then(Facts::reach);
        let counted = self.facts.iter().zip(&self.survey.standings);
        let newest = counted
            .filter(|(_, standing)| standing.discount.is_none())
            .filter_map(|(one, _)| one.log.as_ref().map(LogFacts::last))
            .max();
        complete && reach.is_some() && reach >= newest
    }
}

/// Judges what was gathered.
pub fn judge(gathered: &Gathered<'_>) -> Answer {
    let mut found = Vec::new();
    match &gathered.survey.kinship {
        Kinship::Clusters(clusters) => {
            let groups: Vec<String> = clusters
                .iter()
                .map(|(id, places)| format!("cluster {id}: {}", gathered.paths(places)))
                .collect();
            let message = format!(
                "these are members of {} clusters, whose data is never compared: {}",
                clusters.len(),
                groups.join("; ")
            );
            found.push(Finding::damage("several-clusters", Place::File, message));
        }
        Kinship::Histories { .. } => histories(gathered, &mut found),
        Kinship::One => {
            contents(gathered, &mut found);
            if let Some(quorum) = &gathered.survey.quorum {
                votes(gathered, quorum, &mut found);
            }
        }
    }
    each(gathered, &mut found);
    alone(gathered, &mut found);
    files(gathered, &mut found);
    let alone_path = gathered.facts.len() == 1;
    let subject = gathered.chosen().or(gathered.facts.first().filter(|_| alone_path));
    if let Some(Ok(judged)) = subject.map(|subject| &subject.judged) {
        found.extend(judged.findings.iter().cloned());
    }
    let mut seen = Vec::new();
    found.retain(|finding| {
        let new = !seen.contains(finding);
        seen.push(finding.clone());
        new
    });
    let sound = gathered.facts.iter().all(|one| is_sound(one, alone_path))
        && !found.iter().any(|finding| finding.severity == Severity::Damage);
    let state = subject.and_then(|subject| subject.state.as_ref());
    Answer {
        verdict: verdict(gathered).as_str(),
        recover_from: gathered.survey.chosen.map(|chosen| gathered.path(chosen)),
        db_from: gathered.survey.pair.map(|pair| gathered.path(pair.db)),
        reason: reason(gathered),
        quorum: gathered.survey.quorum.as_ref().map(quorum),
        findings: found,
        next: steps::next(gathered),
        members: members(gathered),
        differences: differences(gathered),
        entries_uncommitted: state.map_or(0, |state| state.entries_uncommitted),
        revision_committed: state.and_then(|state| state.revision_committed),
        lacking: lacking(gathered),
        sound,
    }
}

fn is_sound(one: &Facts, alone: bool) -> bool {
    match one.verdict() {
        Some(Verdict::Healthy | Verdict::Recoverable) => true,
        // Nothing is wrong with files in which nothing was ever stored; beside others, a member is missing.
        Some(Verdict::Empty) => alone,
        Some(_) => false,
        None => false,
    }
}

/// What the chosen path is good for; without a choice at best what the best path is good for, with loss.
fn verdict(gathered: &Gathered<'_>) -> Verdict {
    if let Some(verdict) = gathered.chosen().and_then(Facts::verdict) {
        return verdict;
    }
    let best = gathered.facts.iter().filter_map(Facts::verdict).min();
    match best.unwrap_or(Verdict::SalvageOnly) {
        // There is something good, and choosing any of it loses the rest.
        Verdict::Healthy | Verdict::Recoverable => Verdict::RecoverableWithLoss,
        worse => worse,
    }
}

fn reason(gathered: &Gathered<'_>) -> Option<String> {
    let chosen = gathered.chosen()?;
    if chosen.is_file {
        let beside = gathered.files.iter().find(|file| Some(file.place) == gathered.survey.chosen);
        let more = beside.and_then(|file| Some((file.ahead.as_ref()?, gathered.path(file.beside))));
        return Some(match more {
            Some((ahead, dir)) => format!(
                "it is of the same history as {dir}, and has {} more",
                counted(ahead.entries, "revision", "revisions")
            ),
            None => "of what is sound it has the newest revision".to_owned(),
        });
    }
    if gathered.facts.len() == 1 {
        return None;
    }
    let position = chosen.reach()?;
    if let Some(pair) = gathered.survey.pair {
        return Some(format!(
            "its log is the most up-to-date: it ends with entry {} of term {}; its db is lost, and the log goes on where the \
             db of {} ends",
            position.index,
            position.term,
            gathered.path(pair.db)
        ));
    }
    let by_db =
        chosen.log.as_ref().is_none_or(|log| log.last().index < position.index || log.from_db);
    if by_db {
        return Some(format!(
            "its db contains every entry up to {}, which were committed, and no log here goes on from there",
            position.index
        ));
    }
    Some(format!(
        "its log is the most up-to-date: it ends with entry {} of term {}",
        position.index, position.term
    ))
}

fn histories(gathered: &Gathered<'_>, found: &mut Vec<Finding>) {
    let Kinship::Histories { groups, partings } = &gathered.survey.kinship else { return };
    for parting in partings {
        let (one, other) = (gathered.path(parting.one), gathered.path(parting.other));
        let how = match parting.at {
            Some(at) => format!("have different committed entries from index {at} on"),
            None => {
                "cannot have one history: their revisions and raft indexes, or their members, do not fit".to_owned()
            }
        };
        let message = format!(
            "{one} and {other} are of one cluster and {how}: they went on apart, as after --force-new-cluster or a restore with the old token"
        );
        found.push(Finding::damage("two-histories", Place::File, message));
    }
    let written = |group: &Vec<usize>| {
        group.iter().filter_map(|place| gathered.facts.get(*place)?.modified).max()
    };
    let mut times: Vec<Option<u64>> = groups.iter().map(written).collect();
    let last = groups.iter().max_by_key(|group| written(group));
    times.sort_unstable();
    times.dedup();
    if let Some(last) = last.filter(|_| times.len() > 1 && !times.contains(&None)) {
        let message = format!(
            "by the times of the files, the last writes are those of {}; that alone does not make them right",
            gathered.paths(last)
        );
        found.push(Finding::note("written-last", Place::File, message));
    }
}

fn contents(gathered: &Gathered<'_>, found: &mut Vec<Finding>) {
    if gathered.contents.groups.len() < 2 {
        return;
    }
    let right = gathered.contents.right();
    for Differing { one, other, difference } in &gathered.contents.differences {
        let keys: Vec<String> =
            difference.keys.iter().map(|key| key.escape_ascii().to_string()).collect();
        let which = match right {
            Some(right) if right.contains(one) != right.contains(other) => {
                let (wrong, right_one) =
                    if right.contains(one) { (other, one) } else { (one, other) };
                format!(
                    "{} differs from {}, with which most members agree: {} is wrong",
                    gathered.path(*wrong),
                    gathered.path(*right_one),
                    gathered.path(*wrong)
                )
            }
            _ => format!("{} and {} differ", gathered.path(*one), gathered.path(*other)),
        };
        let first = difference
            .first_revision
            .map(|revision| format!(", first at revision {revision}"))
            .unwrap_or_default();
        let message = format!(
            "{which}; as of revision {} {}{}{first}",
            difference.compared_to,
            counted(difference.count, "key differs", "keys differ"),
            if keys.is_empty() { String::new() } else { format!(" ({})", keys.join(" ")) },
        );
        found.push(Finding::damage("content-differs", Place::File, message));
    }
    if right.is_none() {
        let message =
            "no majority of the members here agrees on the contents: nothing tells which is right";
        found.push(Finding::damage("content-undecided", Place::File, message));
    }
}

/// What is to be said of the votes.
fn votes(gathered: &Gathered<'_>, quorum: &Quorum, found: &mut Vec<Finding>) {
    let (voters, intact) = (quorum.conf.voters.len(), quorum.intact.len());
    if let Some((index, before)) = &quorum.pending {
        let message = format!(
            "entry {index} changes the membership and is not known to be committed: before it {} voted",
            ids(&before.voters)
        );
        found.push(Finding::warning("membership-pending", Place::File, message));
    }
    // A member that votes alone is judged on its own.
    if quorum.majority || voters == 0 || (voters == 1 && !quorum.here.is_empty()) {
        return;
    }
    let here = format!(
        "{intact} of {} intact, {} {} a majority",
        counted(voters as u64, "voter is here and", "voters are here and"),
        quorum.conf.majority(),
        if quorum.conf.majority() == 1 { "is" } else { "are" }
    );
    if gathered.nothing_lost() {
        let message = format!(
            "{here}; the most up-to-date log has everything that was acknowledged all the same"
        );
        found.push(Finding::note("no-majority", Place::File, message));
    } else {
        let message = format!(
            "{here}: writes that only missing members hold are lost, and what can be recovered is the best of what is here"
        );
        found.push(Finding::warning("no-majority", Place::File, message));
    }
}

/// What is to be said of each path.
fn each(gathered: &Gathered<'_>, found: &mut Vec<Finding>) {
    let quorum = gathered.survey.quorum.as_ref();
    for (place, (one, standing)) in
        gathered.facts.iter().zip(&gathered.survey.standings).enumerate()
    {
        let path = gathered.path(place);
        if let Err(problem) = &one.judged {
            let message = format!("{path} cannot be looked at: {problem}");
            found.push(Finding::damage("unreadable", Place::File, message));
        }
        if one.stranger {
            let message = format!(
                "{path} has no log, and its db lists none of the members of the other paths: it is of another cluster, and is \
                 not compared"
            );
            found.push(Finding::damage("stranger", Place::File, message));
        } else if one.log.as_ref().is_some_and(|log| log.from_db) && gathered.facts.len() > 1 {
            let whose = match one.member {
                Some(id) => format!(
                    "of the members that its db lists only {} has no other dir here, so that it is that member's, or a copy \
                     of another's db",
                    Roster::new(gathered).shown(id)
                ),
                None => "nothing tells which member's it is".to_owned(),
            };
            let message = format!("{path} has no log: {whose}");
            found.push(Finding::note("db-only", Place::File, message));
        }
        let member = one.member.map(|id| id.to_string()).unwrap_or_default();
        match standing.discount {
            Some(Discount::Older(newer)) if gathered.survey.kinship == Kinship::One => {
                let message = format!(
                    "{path} is not newer than {}, and both are dirs of member {member}: it does not count",
                    gathered.path(newer)
                );
                found.push(Finding::note("older-copy", Place::File, message));
            }
            Some(Discount::Doubtful(other)) => {
                let message = format!(
                    "{path} does not count: {} is another dir of member {member}, is damaged, and may be the newer one",
                    gathered.path(other)
                );
                found.push(Finding::warning("older-copy", Place::File, message));
            }
            Some(Discount::RolledBack) => {
                let last = one.log.as_ref().map(|log| log.last().index).unwrap_or_default();
                let committed = quorum.map(|quorum| quorum.committed).unwrap_or_default();
                let message = format!(
                    "{path} ends at entry {last}, and entry {committed} was committed, for which too few voters have it: this is an older copy, or lost its end; do not start it"
                );
                found.push(Finding::damage("rolled-back", Place::File, message));
            }
            _ => {}
        }
        if let Some((from, to)) = standing.overruled {
            let message = format!(
                "{path}: the leader of a later term overruled {}: no client was told that {} written",
                range("entry", "entries", from, to),
                if from == to { "it was" } else { "they were" },
            );
            found.push(Finding::note("overruled", Place::File, message));
        }
        if gathered.survey.chosen == Some(place) || one.is_file {
            continue;
        }
        if let Some(behind) = standing.behind.filter(|behind| *behind > 0) {
            let revisions = revisions_behind(gathered, place)
                .filter(|revisions| *revisions > 0)
                .map(|revisions| {
                    format!(" and {}", counted(revisions.unsigned_abs(), "revision", "revisions"))
                })
                .unwrap_or_default();
            let starts = quorum.is_some_and(|quorum| quorum.majority)
                && matches!(standing.role, Role::Voter | Role::Learner)
                && standing.discount.is_none()
                && one.starts.is_some();
            let then = if starts {
                "; started, it catches up. If these files are an older copy, do not start them: etcd would end with \"tocommit \
                 is out of range\", or elect a leader that forgot acknowledged writes; replace the member as a lost one"
            } else {
                ""
            };
            let behind = counted(behind, "entry", "entries");
            let message = format!("{path} is behind by {behind}{revisions}{then}");
            found.push(Finding::note("behind", Place::File, message));
        }
    }
}

/// How many revisions a member lacks of the chosen state.
fn revisions_behind(gathered: &Gathered<'_>, place: usize) -> Option<i64> {
    let standing = gathered.survey.standings.get(place)?;
    let own = gathered.facts.get(place)?.usable()?;
    let overruled = standing.diverged.is_some();
    let chosen = gathered.chosen()?.usable()?;
    (!overruled && standing.behind.is_some())
        .then(|| chosen.revision.saturating_sub(own.revision).max(0))
}

/// What paths hold that the chosen one lacks, where a later term did not overrule it.
fn alone(gathered: &Gathered<'_>, found: &mut Vec<Finding>) {
    for (alone, held) in gathered.alone {
        if is_overruled(gathered, alone) {
            continue;
        }
        let histories = gathered.survey.kinship != Kinship::One;
        let standing = gathered.survey.standings.get(alone.place);
        let diverged = standing.is_some_and(|standing| standing.diverged.is_some()) && !histories;
        let message = format!(
            "{} holds {} that {} lacks: {}{}{}",
            gathered.path(alone.place),
            range("entry", "entries", alone.from, alone.to),
            gathered.path(alone.lacking),
            counted(held.count, "key", "keys"),
            named(&held.keys),
            if diverged {
                "; the leader of a later term did not have them, and too few voters are here to tell whether they were \
                 acknowledged all the same"
            } else {
                ""
            },
        );
        let severity = if histories { Severity::Note } else { Severity::Warning };
        found.push(Finding::new(severity, "held-alone", Place::File, message));
    }
}

fn is_overruled(gathered: &Gathered<'_>, alone: &Alone) -> bool {
    let standing = gathered.survey.standings.get(alone.place);
    gathered.survey.kinship == Kinship::One
        && standing.is_some_and(|standing| standing.overruled.is_some())
}

fn files(gathered: &Gathered<'_>, found: &mut Vec<Finding>) {
    for file in gathered.files {
        let (path, chosen) = (gathered.path(file.place), gathered.path(file.beside));
        let held = |held: &Held| {
            format!(
                "{}: {}{}",
                counted(held.entries, "revision", "revisions"),
                counted(held.count, "key", "keys"),
                named(&held.keys)
            )
        };
        if let Some(ahead) = &file.ahead {
            let message = format!("{path} is newer than {chosen}, which lacks {}", held(ahead));
            found.push(Finding::warning("snapshot-newer", Place::File, message));
        }
        if let Some(behind) = &file.behind {
            let message = format!("{path} is older than {chosen}: it lacks {}", held(behind));
            found.push(Finding::note("snapshot-older", Place::File, message));
        }
        if let Some(Differing { difference, .. }) = &file.differing {
            let message = format!(
                "{path} has another history than {chosen}: up to revision {} {}{}",
                difference.compared_to,
                counted(difference.count, "key differs", "keys differ"),
                named(&difference.keys)
            );
            found.push(Finding::damage("snapshot-differs", Place::File, message));
        }
    }
}

fn quorum(quorum: &Quorum) -> QuorumAnswer {
    let voters = || quorum.conf.voters.iter().map(|id| MemberId(*id));
    QuorumAnswer {
        voters: quorum.conf.voters.len(),
        here: quorum.here.len(),
        intact: quorum.intact.len(),
        needed: quorum.conf.majority(),
        complete: quorum.complete,
        voter_ids: voters().map(|id| id.to_string()).collect(),
        missing_ids: voters()
            .filter(|id| !quorum.here.contains(id))
            .map(|id| id.to_string())
            .collect(),
        learner_ids: quorum.conf.learners.iter().map(|id| format!("{id:x}")).collect(),
        agreed_index: quorum.agreed,
        majority_index: quorum.held,
        pending_change: quorum.pending.as_ref().map(|(index, _)| *index),
    }
}

fn members(gathered: &Gathered<'_>) -> Vec<MemberAnswer> {
    let standings = gathered.survey.standings.iter();
    let one = |(place, (one, standing)): (usize, (&Facts, _))| {
        let standing: &super::survey::Standing = standing;
        let log = one.log.as_ref();
        let known = log.map(|log| log.committed(one.member));
        MemberAnswer {
            path: gathered.path(place),
            verdict: one.verdict().map_or("unreadable", Verdict::as_str),
            error: one.judged.as_ref().err().cloned(),
            member_id: one.member.map(|id| id.to_string()),
            cluster_id: one.cluster.map(|id| id.to_string()),
            name: one.name().map(str::to_owned),
            role: match standing.role {
                _ if one.is_file => "snapshot",
                Role::Voter => "voter",
                Role::Learner => "learner",
                Role::Former => "former",
                Role::Unknown => "unknown",
            },
            counts: standing.counts(),
            revision: one.state.as_ref().map(|state| state.revision),
            keys: one.state.as_ref().and_then(|state| state.keys),
            last_index: log.filter(|log| !log.from_db).map(|log| log.last().index),
            last_term: log.filter(|log| !log.from_db).map(|log| log.last().term),
            known_index: known,
            entries_uncommitted: one.state.as_ref().map(|state| state.entries_uncommitted),
            revision_committed: one.state.as_ref().and_then(|state| state.revision_committed),
            entries_behind: standing.behind,
            revisions_behind: revisions_behind(gathered, place),
            running: one.running,
            findings: one.judged.as_ref().map(|is| is.findings.clone()).unwrap_or_default(),
        }
    };
    gathered.facts.iter().zip(standings).enumerate().map(one).collect()
}

fn differences(gathered: &Gathered<'_>) -> Vec<DifferenceAnswer> {
    let right = gathered.contents.right().unwrap_or_default();
    let of_files = gathered.files.iter().filter_map(|file| file.differing.as_ref());
    gathered
        .contents
        .differences
        .iter()
        .chain(of_files)
        .map(|Differing { one, other, difference }| {
            let (wrong, with) = if right.contains(other) { (one, other) } else { (other, one) };
            DifferenceAnswer {
                path: gathered.path(*wrong),
                compared_with: gathered.path(*with),
                first_revision: difference.first_revision,
                compared_to: difference.compared_to,
                keys_differing: difference.count,
                keys: keys(&difference.keys),
            }
        })
        .collect()
}

fn lacking(gathered: &Gathered<'_>) -> Vec<LackingAnswer> {
    let mut lacking: Vec<LackingAnswer> = Vec::new();
    for (alone, held) in gathered.alone {
        lacking.push(LackingAnswer {
            path: gathered.path(alone.lacking),
            held_by: gathered.path(alone.place),
            reason: match is_overruled(gathered, alone) {
                true => "overruled",
                false if gathered.survey.kinship == Kinship::One => "not-recovered",
                false => "another-history",
            },
            entries: Some((alone.from, alone.to)),
            revisions: None,
            keys_written: held.count,
            keys: keys(&held.keys),
        });
    }
    let revision = |place: usize| Some(gathered.facts.get(place)?.state.as_ref()?.revision);
    for file in gathered.files {
        let chosen = file.beside;
        let sides = [(&file.ahead, file.place, chosen), (&file.behind, chosen, file.place)];
        for (held, by, path) in sides {
            let Some(held) = held else { continue };
            let revisions = revision(path).map(|last| last.saturating_add(1)).zip(revision(by));
            lacking.push(LackingAnswer {
                path: gathered.path(path),
                held_by: gathered.path(by),
                reason: "older",
                entries: None,
                revisions,
                keys_written: held.count,
                keys: keys(&held.keys),
            });
        }
    }
    lacking
}

fn keys(keys: &[Vec<u8>]) -> Vec<Key> {
    keys.iter().map(|key| Key(key.clone())).collect()
}

fn named(keys: &[Vec<u8>]) -> String {
    let keys: Vec<String> = keys.iter().map(|key| key.escape_ascii().to_string()).collect();
    if keys.is_empty() { String::new() } else { format!(" ({})", keys.join(" ")) }
}

fn range(one: &str, many: &str, from: u64, to: u64) -> String {
    if from == to { format!("{one} {from}") } else { format!("{many} {from} to {to}") }
}

fn ids(ids: &[u64]) -> String {
    let ids: Vec<String> = ids.iter().map(|id| format!("{id:x}")).collect();
    if ids.is_empty() { "nobody".to_owned() } else { listed(&ids) }
}

/// `a`, `a and b`, `a, b and c`.
pub(super) fn listed(words: &[String]) -> String {
    match words {
        [] => String::new(),
        [one] => one.clone(),
        [first @ .., last] => format!("{} and {last}", first.join(", ")),
    }
}
