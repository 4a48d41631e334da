//! A new cluster of what is here: saved, restored for every member, started.

use std::{
    hash::Hasher as _,
    path::{Path, PathBuf},
};

use siphasher::sip::SipHasher13;

use super::{answer::Step, facts::Facts, judge::Gathered, roster::Roster, steps::step};
use crate::{
    diagnose::Way,
    finding::counted,
    schema::members::Member,
    shell,
    start::{Node, Start},
};

/// How far a restore raises the revision, so that no client has seen a revision of the new cluster with other contents.
const BUMP: &str = "1000000000";

/// A new cluster of what is here.
pub(super) fn recover(
    gathered: &Gathered<'_>,
    chosen: &Facts,
    majority: bool,
    steps: &mut Vec<Step>,
) {
    let roster = Roster::new(gathered);
    let base = base(gathered, chosen);
    let missing = gathered
        .survey
        .quorum
        .as_ref()
        .map_or(0, |quorum| quorum.conf.voters.len().saturating_sub(quorum.here.len()));
    let why = match (majority, gathered.nothing_lost(), missing) {
        (true, ..) => "only if the nodes are gone and these copies are all that is left: make a new cluster of them. First save everything the chosen member has".to_owned(),
        (false, true, _) => "save everything the chosen member has, entries that are not known to be committed included: nothing that was acknowledged is lost".to_owned(),
        (false, false, 0) => "save everything that is good in the chosen member's files".to_owned(),
        (false, false, missing) => format!(
            "{} not here: if the data of one is still somewhere, name it too; if enough members for a majority can be started, start them instead. What only missing members hold is lost. Save everything the chosen member has",
            counted(missing as u64, "voter is", "voters are"),
        ),
    };
    let snapshot = if chosen.is_file {
        chosen.path.clone()
    } else {
        let out = PathBuf::from(format!("{base}.db"));
        let mut words = ["etcdsnap", "save", "--data-dir"].map(PathBuf::from).to_vec();
        words.push(chosen.path.clone());
        let ways = chosen.judged.as_ref().map(|judged| judged.ways.as_slice()).unwrap_or_default();
        let saved = |way: Option<&Way>, out: &PathBuf| {
            let flags = way.into_iter().flat_map(flags);
            shell::line(words.iter().cloned().chain(flags).chain([out.clone()]))
        };
        steps.push(step(why, saved(ways.first(), &out)));
        for (number, way) in (2..).zip(ways.iter().skip(1)) {
            let other = PathBuf::from(format!("{base}-{number}.db"));
            let why = format!("or save {}, and restore that file in the same way", what(way));
            steps.push(step(why, saved(Some(way), &other)));
        }
        out
    };
    let voters = roster.voters(gathered);
    let initial = roster.initial_cluster(&voters);
    let mut words = ["etcdsnap", "restore"].map(PathBuf::from).to_vec();
    words.push(snapshot);
    let nospace = chosen.state.as_ref().is_some_and(|state| state.nospace);
    let flags = [
        ("--all-members", base.as_str()),
        ("--initial-cluster", initial.as_str()),
        ("--initial-cluster-token", base.as_str()),
        ("--bump-revision", BUMP),
    ];
    for (flag, value) in flags {
        words.extend([PathBuf::from(flag), PathBuf::from(value)]);
    }
    words.push("--mark-compacted".into());
    let mut why = format!(
        "make {}. The revision is raised by {BUMP} and marked as compacted, so that clients that watched the old cluster list anew instead of silently missing changes",
        match voters.len() {
            0 | 1 => "its data dir".to_owned(),
            many => format!("the data dirs of all {many} members"),
        }
    );
    if nospace {
        words.extend(["--clear-alarms", "--compact"].map(PathBuf::from));
        why += "; the NOSPACE alarm is cleared and free pages are left out, or the new cluster would refuse writes";
    }
    steps.push(step(why, shell::line(words)));
    let nodes: Vec<Node> =
        voters.iter().filter_map(|id| roster.member(*id)).map(|one| roster.node(one)).collect();
    let known: Vec<Member> = roster.known().collect();
    let mut start = Start::new(&nodes, &known, &initial);
    start.token = Some(&base);
    start.db_bytes = chosen.state.as_ref().map_or(0, |state| state.bytes);
    for (number, id) in voters.iter().enumerate() {
        let Some(member) = roster.member(*id) else { continue };
        let name = roster.name(*id);
        let data_dir = Path::new(&base).join(&name);
        let words = start.words(&roster.node(member), &data_dir, None);
        let first = if number == 0 {
            "move the old data dir away on every node before a restored one takes its place. "
        } else {
            ""
        };
        steps.push(step(
            format!("{first}Bring {} to the node of {name} and start it there, with the unit or manifest of the node or like this", data_dir.display()),
            shell::line(words),
        ));
    }
}

/// What a way of reading gives.
fn what(way: &Way) -> &'static str {
    match way {
        Way::Plain | Way::Received(_) => "what the db holds",
        Way::NoWal => "what the db alone holds",
        Way::FromWal => "what the log alone holds",
        Way::LogOf { .. } => "what the db holds with that log",
        Way::To(_) => "what is good in the log",
    }
}

/// What makes `save` read files in a way.
fn flags(way: &Way) -> Vec<PathBuf> {
    match way {
        // A db that a leader sent is named itself.
        Way::Plain | Way::Received(_) => Vec::new(),
        Way::NoWal => vec!["--no-wal".into()],
        Way::FromWal => vec!["--from-wal".into()],
        Way::To(index) => vec!["--to".into(), index.to_string().into()],
        Way::LogOf { wal_dir, to } => {
            let mut words = vec!["--wal-dir".into(), wal_dir.clone()];
            words.extend(to.iter().flat_map(|to| ["--to".into(), to.to_string().into()]));
            words
        }
    }
}

/// A name for what is made anew, and the token of the new cluster: it is new because it comes from the id of the old
/// cluster and what is recovered of it.
pub(super) fn base(gathered: &Gathered<'_>, chosen: &Facts) -> String {
    let mut hasher = SipHasher13::new();
    let cluster = chosen.cluster.or(gathered.facts.iter().find_map(|one| one.cluster));
    hasher.write_u64(cluster.map_or(0, |id| id.0));
    let log = chosen.log.as_ref();
    hasher.write_u64(log.map_or(0, |log| log.last().index));
    hasher.write_u64(log.and_then(|log| log.marks.last()).map_or(0, |mark| mark.digest));
    let revision = chosen.state.as_ref().map_or(0, |state| state.revision);
    hasher.write_i64(revision);
    format!("recovered-{revision}-{:06x}", hasher.finish() & 0xff_ffff)
}
