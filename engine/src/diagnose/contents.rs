//! What the records say: members and alarms.

use std::collections::BTreeSet;

use super::{
    Verdict,
    member::{Evidence, Found},
    versions,
};
use crate::{
    bolt,
    finding::{Finding, Place},
    ids::MemberId,
    pb::etcdserverpb::AlarmType,
    schema::{MetaRecords, Store, bucket, members, small},
};

/// What the records say: members and alarms.
pub(super) fn contents(
    evidence: &Evidence<'_>,
    store: &Store<'_>,
    found: &mut Found,
) -> Result<(), bolt::Error> {
    let (meta, _) = MetaRecords::read(store)?;
    if let Some(finding) = versions::downgrade(&meta) {
        found.add(Verdict::Healthy, finding);
    }
    // Verification names alarms, and cannot say what they mean for a cluster.
    found.drop("alarm");
    for alarm in small::alarms(store)?.records {
        let place = Place::Record { bucket: bucket::ALARM, key: Vec::new() };
        let member = MemberId(alarm.member_id);
        match alarm.alarm() {
            AlarmType::Nospace => found.add(
                Verdict::Recoverable,
                Finding::warning("nospace", place, format!("alarm NOSPACE of member {member}: the cluster refuses writes until it is compacted and defragmented and the alarm is disarmed")),
            ),
            AlarmType::Corrupt => found.add(
                Verdict::Recoverable,
                Finding::warning("corrupt", place, format!("alarm CORRUPT of member {member}: the contents of members differ; compare all data dirs before you use one")),
            ),
            AlarmType::None => {}
        }
    }
    let listed: BTreeSet<MemberId> =
        members::members(store)?.records.into_iter().map(|member| member.id).collect();
    let removed: BTreeSet<MemberId> = members::removed(store)?.records.into_iter().collect();
    let own = evidence
        .opened
        .wal()
        .and_then(|wal| wal.metadata)
        .map(|metadata| MemberId(metadata.node_id()));
    if let Some(own) = own.filter(|own| removed.contains(own)) {
        let message = format!(
            "these are the files of member {own}, which was removed from its cluster: the cluster went on without it"
        );
        found.add(Verdict::Recoverable, Finding::warning("removed", Place::File, message));
    }
    if let Some(report) = evidence.opened.report() {
        let conf = report.conf();
        let raft: BTreeSet<MemberId> =
            conf.voters.iter().chain(&conf.learners).map(|id| MemberId(*id)).collect();
        if own.is_some_and(|own| conf.learners.contains(&own.0)) {
            found.note("learner", "this member is a learner: it may be behind the voters");
        }
        let place = || Place::Record { bucket: bucket::MEMBERS, key: Vec::new() };
        for zombie in listed.difference(&raft) {
            let message = format!(
                "the db lists member {zombie}, and raft does not have it: a zombie, which restores by etcd 3.4 and some 3.5 releases leave behind"
            );
            found.add(Verdict::Healthy, Finding::warning("zombie-member", place(), message));
        }
        for missing in raft.difference(&listed) {
            let message = format!("raft has member {missing}, and the db does not list it");
            found.add(Verdict::Healthy, Finding::warning("missing-member", place(), message));
        }
    }
    Ok(())
}
