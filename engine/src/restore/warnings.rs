//! What an operator should know before the restored member runs.

use std::collections::BTreeSet;

use super::{Outcome, Plan};
use crate::{
    bolt,
    finding::{Finding, Place, counted},
    ids::ClusterId,
    mvcc::LeaseOrphans,
    pb::etcdserverpb::AlarmType,
    schema::{
        MetaRecords, Store, auth, bucket, members,
        meta::{self, Downgrade},
        servers::{self, Server},
        small,
    },
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
    let (mut meta, _) = MetaRecords::read(store)?;
    let mut found = Vec::new();
    found.extend(lower_revision(outcome));
    found.extend(cut(plan, outcome));
    if same_cluster(store, &meta, plan, origin)? {
        let message = format!(
            "the new cluster would have the id of the old one, {}: members of the old cluster that still run would join it; \
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
            "{} the full time to live again when the member starts",
            counted(leases, "lease gets", "leases get")
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
    if plan.contents.cancel_downgrade {
        meta.downgrade = None;
    }
    found.extend(downgrade(&meta));
    found.extend(refusing_servers(&meta));
    Ok(found)
}

/// A store that goes back in time, which clients take for a store that went wrong.
fn lower_revision(outcome: &Outcome) -> Option<Finding> {
    let Outcome { revision, source_revision, .. } = *outcome;
    (revision < source_revision).then(|| {
        let message = format!(
            "the revision goes back from {source_revision} to {revision}: restart all clients that saw a newer one (API servers, \
             controllers, watches), or restore with --bump-revision {} --mark-compacted, which raises it above",
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
            Some(LeaseOrphans::DropKeys) => "dropped",
            Some(LeaseOrphans::Detach) => "written without a lease",
            Some(LeaseOrphans::Keep) | None => {
                "kept so, and servers log an error for each and never expire it"
            }
        };
        let message = format!(
            "{}: {effect}",
            counted(
                orphans as u64,
                "key is attached to a lease that no longer exists",
                "keys are attached to leases that no longer exist"
            )
        );
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

/// A downgrade that goes on in the new cluster.
fn downgrade(meta: &MetaRecords) -> Option<Finding> {
    let target = meta.downgrade.as_ref().and_then(Downgrade::target)?;
    let place = Place::Record { bucket: bucket::CLUSTER, key: meta::DOWNGRADE.as_bytes().to_vec() };
    let message = format!(
        "a downgrade of the cluster to {target} is under way and goes on in the new cluster; --cancel-downgrade ends it"
    );
    Some(Finding::warning("downgrade", place, message))
}

/// The servers that do not start on the restored data, of those that were tried.
fn refusing_servers(meta: &MetaRecords) -> Option<Finding> {
    let starts = Server::ALL.map(|server| (server, server.starts_on_restored(meta)));
    let accepting = starts.iter().filter(|(_, starts)| starts.is_ok());
    let accepting: Vec<&str> = accepting.map(|(server, _)| server.version()).collect();
    let refusing = servers::refusing(starts)?;
    let message = format!(
        "of the tested servers, these do not start on the restored data: {refusing}; these do: {}",
        accepting.join(", ")
    );
    Some(Finding::note("refusing-servers", Place::File, message))
}
