//! The members that a db lists against those that the raft log proves.

use super::{
    Verdict,
    member::{Evidence, Found},
};
use crate::{
    bolt,
    finding::{Finding, Place},
    replay::membership::proven,
    schema::{
        Store, bucket,
        members::{self, Member},
    },
};

/// Learner flags, names and URLs that are not what the log says. Members that only one side has are found elsewhere.
pub(super) fn membership(
    evidence: &Evidence<'_>,
    store: &Store<'_>,
    found: &mut Found,
) -> Result<(), bolt::Error> {
    let opened = evidence.opened;
    let (Some(report), Some(raft)) = (opened.report(), opened.raft_files()) else { return Ok(()) };
    let proven = proven(&raft.log(), &raft.snapfiles(), report.applied_to());
    let conf = report.conf();
    let (mut learners, mut voters, mut others) = (Vec::new(), Vec::new(), Vec::new());
    for member in members::members(store)?.records {
        let by_log = proven.as_ref().and_then(|all| all.iter().find(|one| one.id == member.id));
        let (votes, learns) = match by_log {
            Some(by_log) => (!by_log.is_learner, by_log.is_learner),
            None => (conf.voters.contains(&member.id.0), conf.learners.contains(&member.id.0)),
        };
        let shown = shown(by_log.unwrap_or(&member));
        match by_log {
            _ if votes && member.is_learner => learners.push(shown),
            _ if learns && !member.is_learner => voters.push(shown),
            Some(by_log) if differs(by_log, &member) => others.push(shown),
            _ => {}
        }
    }
    let place = || Place::Record { bucket: bucket::MEMBERS, key: Vec::new() };
    if !learners.is_empty() {
        let message = format!(
            "the db still lists {} {}, although the raft log promoted {}: etcd 3.5.0 to 3.5.19 lost such promotions. etcd 3.6 \
             and later do not start on these files. To mend the db, start the newest 3.5 on it once, or run \
             `etcdsnap repair-membership` or `restore`",
            learners.join(" and "),
            if learners.len() == 1 { "as a learner" } else { "as learners" },
            if learners.len() == 1 { "it" } else { "them" }
        );
        let finding = Finding::warning("learner-flag", place(), message);
        found.add(Verdict::Recoverable, finding);
    }
    if !voters.is_empty() {
        let message = format!(
            "the db lists {} {}; `etcdsnap repair-membership` mends the db",
            voters.join(" and "),
            if voters.len() == 1 {
                "as a voter, although the raft log says that it is a learner"
            } else {
                "as voters, although the raft log says that they are learners"
            }
        );
        found.add(Verdict::Recoverable, Finding::warning("learner-flag", place(), message));
    }
    // Releases that lost a promotion lost names and URLs with it.
    if !others.is_empty() && learners.is_empty() {
        let message = format!(
            "the name or the URLs of {} in the db are not those in the raft log",
            others.join(" and ")
        );
        found.add(Verdict::Healthy, Finding::note("member-attributes", place(), message));
    }
    Ok(())
}

/// Whether the log has another name or other URLs. A name and client URLs reach it only once a member publishes itself.
fn differs(by_log: &Member, member: &Member) -> bool {
    let name = !by_log.name.is_empty() && by_log.name != member.name;
    let clients = !by_log.client_urls.is_empty() && by_log.client_urls != member.client_urls;
    name || clients || by_log.peer_urls != member.peer_urls
}

fn shown(member: &Member) -> String {
    match member.name.as_str() {
        "" => format!("member {}", member.id),
        name => format!("member {} ({})", member.id, name.escape_debug()),
    }
}
