//! The database of the restored members, which is the same for all of them: new members, where their log
//! ends, a raised revision, and what was asked to be left out.

use std::collections::BTreeMap;

use super::{Contents, Error, Plan, json::member_json, raft};
use crate::{
    bolt::{
        Db,
        patch::{Patch, Patched},
        write::BucketOptions,
    },
    mvcc::{Cut, KeySpace, LeaseOrphans, Part},
    progress::Progress,
    rewrite::{Records, Rewrite},
    schema::{Revision, Store, bucket, json, meta},
};

/// Revisions that a raise has to leave for the new cluster: at a thousand writes a second they last for thirty years.
const LEFT: i64 = 1_000_000_000_000;

/// How the new database is made.
#[derive(Debug)]
pub(super) enum NewDb<'a> {
    /// The old one with some pages more.
    Patched(Patched),
    /// Every page anew.
    Rewritten(Box<Rewrite<'a>>),
}

/// The new database and what it says.
#[derive(Debug)]
pub(super) struct Edited<'a> {
    pub(super) new: NewDb<'a>,
    /// The store's revision, raised when asked.
    pub(super) revision: i64,
    /// The store's revision in the source.
    pub(super) source_revision: i64,
    /// Revision up to which history is compacted, −1 for never.
    pub(super) compact_revision: i64,
    pub(super) alarms_cleared: u64,
}

/// The database of a member of `plan`'s cluster, made from `db`.
///
/// Source: etcd `v3_snapshot.go`: old members go, new ones come, `cluster` is made when missing,
/// consistent index and term are those of the new log. What nothing else is said about stays as it is.
pub(super) fn edit<'a>(
    db: &Db<'a>,
    plan: &Plan,
    progress: &dyn Progress,
) -> Result<Edited<'a>, Error> {
    let store = Store::new(*db);
    let space = KeySpace::open(&store)?;
    let rewrite = rewrite(&store, &space, &plan.contents, progress)?;
    let whole = Rewrite::new(*db);
    let current = rewrite.as_ref().unwrap_or(&whole);
    let cut = current.cut();
    let mut compact_revision =
        cut.and_then(Cut::compaction).map_or_else(|| space.compact_revision(), |mark| mark.main);
    // Of an empty store the server says 1 and status 0; here it is what a raise counts from. etcdutl counts from the
    // last record, which compaction may have removed.
    let source_revision = space.last_record().max(space.compact_revision());
    let mut revision = cut.map_or(source_revision, |cut| cut.revision().min(source_revision));

    let mut changed: BTreeMap<&str, Records> = BTreeMap::new();
    let mut records = current.records(bucket::META)?;
    let mut set = |key: &str, value: &[u8]| records.insert(key.into(), value.to_vec());
    set(meta::CONSISTENT_INDEX, &raft::last_index(&plan.cluster).to_be_bytes());
    set(meta::TERM, &raft::TERM.to_be_bytes());
    let mut raised = None;
    if plan.bump_revision > 0 {
        let bump = plan.bump_revision;
        let too_far = Error::Bump { bump, latest: revision };
        let raise = i64::try_from(bump).ok().and_then(|bump| revision.checked_add(bump));
        revision = raise.filter(|raised| i64::MAX - raised >= LEFT).ok_or(too_far)?;
        let key = Revision { main: revision, sub: 0 }.encode();
        set(meta::SCHEDULED_COMPACT, &key);
        raised = Some(key);
        compact_revision = revision;
    }
    changed.insert(bucket::META, records);
    let members = plan.cluster.members.iter();
    changed.insert(
        bucket::MEMBERS,
        members.map(|member| (member.id.to_string().into(), member_json(member).into())).collect(),
    );
    changed.insert(bucket::MEMBERS_REMOVED, Records::new());
    if store.bucket(bucket::CLUSTER)?.is_none() {
        changed.insert(bucket::CLUSTER, Records::new());
    }
    let (source, _) = meta::MetaRecords::read(&store)?;
    if plan.contents.cancel_downgrade && source.downgrade.is_some_and(|known| known.enabled) {
        // As a server leaves it that was told to cancel.
        let mut records = current.records(bucket::CLUSTER)?;
        let cancelled = json::downgrade(&meta::Downgrade::default());
        records.insert(meta::DOWNGRADE.into(), cancelled.into_bytes());
        changed.insert(bucket::CLUSTER, records);
    }
    let mut alarms_cleared = 0;
    if plan.contents.clear_alarms {
        alarms_cleared = current.records(bucket::ALARM)?.len() as u64;
        if alarms_cleared > 0 {
            changed.insert(bucket::ALARM, Records::new());
        }
    }

    // The record is empty, as etcdutl's: the server compacts around it at boot.
    let new = match rewrite {
        Some(mut rewrite) => {
            changed.into_iter().for_each(|(name, records)| rewrite.replace(name, records));
            if let Some(key) = raised {
                rewrite.append(key.to_vec(), Vec::new());
            }
            NewDb::Rewritten(Box::new(rewrite))
        }
        None => {
            let mut patch = Patch::new(db)?;
            if let Some(key) = raised {
                patch.append(bucket::KEY.as_bytes(), &key, &[])?;
            }
            for (name, records) in changed {
                patch.replace_bucket(name.as_bytes(), BucketOptions::default(), records)?;
            }
            NewDb::Patched(patch.finish()?)
        }
    };
    Ok(Edited { new, revision, source_revision, compact_revision, alarms_cleared })
}

/// What has to be written anew, if anything has.
fn rewrite<'a>(
    store: &Store<'a>,
    space: &KeySpace<'a>,
    contents: &Contents,
    progress: &dyn Progress,
) -> Result<Option<Rewrite<'a>>, Error> {
    let revision = contents.revision.filter(|revision| *revision != 0);
    let part = Part {
        revision,
        keys: contents.keys.clone(),
        orphans: contents.orphans.unwrap_or(LeaseOrphans::Keep),
    };
    if revision.is_none() && part.keys.is_empty() && contents.orphans.is_none() {
        return Ok(contents.compact.then(|| Rewrite::new(*store.db())));
    }
    let cut = Cut::part(store, space, &part, progress)?;
    if let Some(prefix) = cut.summary().barren_prefixes.first() {
        return Err(Error::KeepsNothing { prefix: prefix.clone(), revision: cut.revision() });
    }
    let orphans = &cut.summary().orphans;
    if revision.is_some() && contents.orphans.is_none() && !orphans.is_empty() {
        return Err(Error::Orphans { orphans: orphans.clone() });
    }
    Ok(Some(Rewrite::with_cut(*store.db(), cut)?))
}
