//! What an operator should know before the restored member runs.

use std::collections::BTreeSet;

use super::{Outcome, Plan};
use crate::{
    bolt,
    finding::{Finding, Place},
    ids::ClusterId,
    mvcc::LeaseOrphans,
    pb::etcdserverpb::AlarmType,
    schema::{MetaRecords, Store, auth, bucket, members, meta::Version, small},
};

/// Everything of `store` that survives the restore and changes how the new cluster behaves.
///
/// `origin` is the cluster id that the source's WAL names, when it has one.
///
/// # Errors
/// When a page is damaged.
pub fn warnings(
    store: &Store<'_>,
    plan: &Plan,
    outcome: &Outcome,
    origin: Option<ClusterId>,
) -> Result<Vec<Finding>, bolt::Error> {
    let (meta, _) = MetaRecords::read(store)?;
    let mut found = Vec::new();
    found.extend(lower_revision(outcome));
    found.extend(cut(plan, outcome));
    if same_cluster(store, &meta, plan, origin)? {
        let message = format!(
            "the new cluster id {} is that of the source's cluster: members of the old cluster that still run would join in; \
             use a new --initial-cluster-token",
            plan.cluster.id
        );
        found.push(Finding::warning("same-cluster-id", Place::File, message));
    }
    if !plan.contents.clear_alarms {
        alarms(store, &mut found)?;
    }
    users(store, &mut found)?;
    let leases = small::leases(store)?.records.len() as u64;
    let leases = leases.saturating_sub(outcome.cut.leases_dropped);
    if leases > 0 {
        let message = format!(
            "{leases} leases begin anew with their full time to live when the member starts"
        );
        found.push(Finding::note(
            "leases",
            Place::Record { bucket: bucket::LEASE, key: Vec::new() },
            message,
        ));
    }
    if meta.compaction_pending() && outcome.compact_revision == meta.compact_revision() {
        let message = format!(
            "a compaction at {} is resumed when the member starts",
            meta.compact_revision()
        );
        found.push(Finding::note("compaction-pending", Place::File, message));
    }
    found.extend(refusing_servers(meta.storage_version.as_deref()));
    Ok(found)
}

/// A store that goes back in time, which clients take for a store that went wrong.
fn lower_revision(outcome: &Outcome) -> Option<Finding> {
    let Outcome { revision, source_revision, .. } = *outcome;
    (revision < source_revision).then(|| {
        let message = format!(
            "the revision goes back from {source_revision} to {revision}: clients that saw newer ones (API servers, controllers, watches) \
             must be restarted; --bump-revision {} --mark-compacted would lift it above",
            source_revision.saturating_sub(revision).saturating_add(1)
        );
        Finding::warning("revision-lower", Place::File, message)
    })
}

/// What was left out, where that may surprise.
fn cut(plan: &Plan, outcome: &Outcome) -> Vec<Finding> {
    let mut found = Vec::new();
    for prefix in &outcome.cut.idle_prefixes {
        let message = format!("no key begins with {}", prefix.escape_ascii());
        found.push(Finding::warning("idle-prefix", Place::File, message));
    }
    let orphans = outcome.cut.orphans.len();
    if orphans > 0 {
        let effect = match plan.contents.orphans {
            Some(LeaseOrphans::DropKeys) => "are dropped",
            Some(LeaseOrphans::Detach) => "are written without it",
            Some(LeaseOrphans::Keep) | None => {
                "keep it: servers log an error for each and never end them"
            }
        };
        let message =
            format!("{orphans} keys hang on a lease that does not exist any more and {effect}");
        found.push(Finding::warning("lease-missing", Place::File, message));
    }
    found
}

/// Whether the new ids can be those of the source's cluster: its WAL says so, or every new member's id
/// is known in the source, which only the same URLs and token give.
fn same_cluster(
    store: &Store<'_>,
    meta: &MetaRecords,
    plan: &Plan,
    origin: Option<ClusterId>,
) -> Result<bool, bolt::Error> {
    if origin == Some(plan.cluster.id) {
        return Ok(true);
    }
    let mut known: BTreeSet<u64> = BTreeSet::new();
    known.extend(members::members(store)?.records.iter().map(|member| member.id.0));
    known.extend(members::removed(store)?.records.iter().map(|id| id.0));
    if let Some(conf) = &meta.conf_state {
        known.extend([&conf.voters, &conf.learners].into_iter().flatten());
    }
    Ok(plan.cluster.members.iter().all(|member| known.contains(&member.id.0)))
}

fn alarms(store: &Store<'_>, found: &mut Vec<Finding>) -> Result<(), bolt::Error> {
    for alarm in small::alarms(store)?.records {
        // The names are etcd's, which is what an admin will search for.
        let (name, effect) = match alarm.alarm() {
            AlarmType::Nospace => ("NOSPACE", "refuses puts and lease grants"),
            AlarmType::Corrupt => ("CORRUPT", "refuses every request"),
            AlarmType::None => continue,
        };
        let message = format!(
            "alarm {name} of member {:x} survives the restore: the new cluster {effect} until `etcdctl alarm disarm`",
            alarm.member_id
        );
        found.push(Finding::warning(
            "alarm",
            Place::Record { bucket: bucket::ALARM, key: Vec::new() },
            message,
        ));
    }
    Ok(())
}

fn users(store: &Store<'_>, found: &mut Vec<Finding>) -> Result<(), bolt::Error> {
    if !auth::enabled(store)? {
        return Ok(());
    }
    let names: Vec<String> = auth::users(store)?
        .records
        .iter()
        .map(|user| user.name.escape_ascii().to_string())
        .collect();
    let message = format!(
        "auth is enabled: clients need a user and its old password; users: {}",
        names.join(", ")
    );
    found.push(Finding::warning(
        "auth-enabled",
        Place::Record { bucket: bucket::AUTH, key: Vec::new() },
        message,
    ));
    Ok(())
}

fn refusing_servers(storage_version: Option<&str>) -> Option<Finding> {
    let text = storage_version?;
    let version = Version::parse(text)?;
    let refusing = match (version.major, version.minor) {
        (3, 0..=5) => return None,
        (3, 6) => "late patch levels of etcd 3.4".to_owned(),
        (major, minor) => format!("etcd {major}.{} and older", minor.saturating_sub(1)),
    };
    let message = format!("the data has storage version {text}: {refusing} refuse it");
    Some(Finding::note("storage-version", Place::File, message))
}
