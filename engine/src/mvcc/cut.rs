//! Part of a key space: as of a revision, compacted, some keys only. Decides record by record what remains.
//!
//! What is cut away below the revision is cut as a server's compaction does it, so that no hole is left in
//! a history that can still be asked for: whoever watches from an older revision is told that it is
//! compacted, and does not miss what was dropped.

use std::{borrow::Cow, collections::BTreeMap};

use prost::Message as _;

use super::{Error, KeyIndex, KeySpace, Record};
use crate::{
    bolt::Item,
    pb::mvccpb::KeyValue,
    progress::Progress,
    schema::{Revision, Store, small},
};

/// Keys chosen by how their names begin.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Prefixes {
    /// When there are any, a key must begin with one of them.
    pub keep: Vec<Vec<u8>>,
    /// A key must begin with none of them.
    pub drop: Vec<Vec<u8>>,
}

impl Prefixes {
    /// Whether every key is chosen.
    pub fn is_empty(&self) -> bool {
        self.keep.is_empty() && self.drop.is_empty()
    }

    /// Whether `key` is chosen.
    pub fn chooses(&self, key: &[u8]) -> bool {
        let begins = |prefix: &Vec<u8>| key.starts_with(prefix);
        (self.keep.is_empty() || self.keep.iter().any(begins)) && !self.drop.iter().any(begins)
    }

    /// Those that no key of `keys` begins with: likely a slip of the pen.
    fn without_keys(&self, seen: &[bool]) -> Vec<Vec<u8>> {
        let all = self.keep.iter().chain(&self.drop);
        all.zip(seen).filter(|(_, seen)| !**seen).map(|(prefix, _)| prefix.clone()).collect()
    }
}

/// What becomes of keys whose lease does not exist any more.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum LeaseOrphans {
    /// They stay byte for byte. A server logs an error for each and keeps it for good.
    Keep,
    /// They go, as they would have when their lease ended.
    DropKeys,
    /// Their newest record is written without its lease.
    Detach,
}

/// Which part of a key space is wanted.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Part {
    /// The key space as it was at this revision; `None` for the newest.
    pub revision: Option<i64>,
    /// Which keys.
    pub keys: Prefixes,
    /// What becomes of keys that hang on a lease that does not exist.
    pub orphans: LeaseOrphans,
}

/// A key that hangs on a lease that does not exist.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Orphan {
    /// Its name.
    pub key: Vec<u8>,
    /// The lease.
    pub lease: i64,
}

/// A part of a key space.
#[derive(Debug)]
pub struct Cut<'a> {
    revision: i64,
    /// Revision to which the cut compacts history.
    compaction: Option<i64>,
    keys: Prefixes,
    orphans: LeaseOrphans,
    /// Every key's newest record at `compaction`, or at `revision`; `None` when nothing depends on it.
    index: Option<KeyIndex<'a>>,
    leases: LeaseUse,
    summary: CutSummary,
}

/// What a cut does to keys and leases. Records are counted when they are written.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct CutSummary {
    /// Keys that exist at the revision and are in the cut; `None` where that was not looked at.
    pub keys_kept: Option<u64>,
    /// Keys that exist at the revision and are not in the cut.
    pub keys_dropped: u64,
    /// Leases that go because all of their keys were dropped.
    pub leases_dropped: u64,
    /// Keys that hang on a lease that does not exist, in key order; those that `keys` drops do not count.
    pub orphans: Vec<Orphan>,
    /// Prefixes that no key begins with.
    pub idle_prefixes: Vec<Vec<u8>>,
    /// Prefixes of keys to keep under which no key is in the cut.
    pub barren_prefixes: Vec<Vec<u8>>,
}

/// Leases that exist, each with the number of its keys that stay and go.
type LeaseUse = BTreeMap<i64, (u64, u64)>;

/// What becomes of a record.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Fate<'a> {
    /// It is not in the cut.
    Goes,
    /// It is in the cut, with this value.
    Stays(Cow<'a, [u8]>),
}

impl<'a> Cut<'a> {
    /// All of `space`, its history compacted to revision `to`.
    ///
    /// # Errors
    /// When `to` is compacted or in the future; when a page or record is damaged.
    pub fn compacted(
        space: &KeySpace<'a>,
        to: i64,
        progress: &dyn Progress,
    ) -> Result<Self, Error> {
        Ok(Self {
            revision: space.current_revision(),
            compaction: Some(space.compactable(to)?),
            keys: Prefixes::default(),
            orphans: LeaseOrphans::Keep,
            index: Some(KeyIndex::build(space.bucket(), to, progress)?),
            leases: LeaseUse::new(),
            summary: CutSummary::default(),
        })
    }

    /// The `part` of `space`, which is that of `store`.
    ///
    /// # Errors
    /// When the revision is compacted or in the future; when a page or record is damaged.
    pub fn part(
        store: &Store<'a>,
        space: &KeySpace<'a>,
        part: &Part,
        progress: &dyn Progress,
    ) -> Result<Self, Error> {
        let revision = space.readable(part.revision)?;
        let index = KeyIndex::build(space.bucket(), revision, progress)?;
        let mut cut = Self {
            revision,
            compaction: None,
            keys: part.keys.clone(),
            orphans: part.orphans,
            index: None,
            leases: LeaseUse::new(),
            summary: CutSummary::default(),
        };
        cut.look_at_live(store, &index)?;
        let orphans = !cut.summary.orphans.is_empty();
        // What drops keys leaves no holes: see the module.
        let drops = !cut.keys.is_empty() || (orphans && cut.orphans == LeaseOrphans::DropKeys);
        cut.compaction = drops.then_some(revision);
        let detaches = orphans && cut.orphans == LeaseOrphans::Detach;
        cut.index = (drops || detaches).then_some(index);
        Ok(cut)
    }

    fn look_at_live(&mut self, store: &Store<'a>, index: &KeyIndex<'a>) -> Result<(), Error> {
        self.leases =
            small::leases(store)?.records.iter().map(|lease| (lease.id, (0, 0))).collect();
        let mut seen = vec![false; self.keys.keep.len() + self.keys.drop.len()];
        let mut kept = vec![false; self.keys.keep.len()];
        let mut live = 0_u64;
        let (mut summary, mut leases) = (CutSummary::default(), std::mem::take(&mut self.leases));
        index.for_each_live(|record| {
            let (key, lease) = (record.kv.key, record.kv.lease);
            live += 1;
            let prefixes = self.keys.keep.iter().chain(&self.keys.drop);
            for (seen, prefix) in seen.iter_mut().zip(prefixes) {
                *seen |= key.starts_with(prefix);
            }
            let chosen = self.keys.chooses(key);
            summary.keys_dropped += u64::from(!chosen);
            if chosen {
                for (kept, prefix) in kept.iter_mut().zip(&self.keys.keep) {
                    *kept |= key.starts_with(prefix);
                }
            }
            match leases.get_mut(&lease) {
                _ if lease == 0 => {}
                Some((stay, go)) => *(if chosen { stay } else { go }) += 1,
                None if chosen => summary.orphans.push(Orphan { key: key.to_vec(), lease }),
                None => {}
            }
        })?;
        summary.orphans.sort();
        summary.idle_prefixes = self.keys.without_keys(&seen);
        let barren = self.keys.keep.iter().zip(kept).filter(|(_, kept)| !kept);
        summary.barren_prefixes = barren.map(|(prefix, _)| prefix.clone()).collect();
        if self.orphans == LeaseOrphans::DropKeys {
            summary.keys_dropped += summary.orphans.len() as u64;
        }
        summary.keys_kept = Some(live.saturating_sub(summary.keys_dropped));
        self.leases = leases;
        summary.leases_dropped =
            self.leases.keys().filter(|id| !self.keeps_lease(**id)).count() as u64;
        self.summary = summary;
        Ok(())
    }

    /// The revision it shows, which is the store's when nothing newer is added to it.
    pub fn revision(&self) -> i64 {
        self.revision
    }

    /// The compaction mark to set; `None` leaves the marks as they are.
    pub fn compaction(&self) -> Option<Revision> {
        self.compaction.map(|main| Revision { main, sub: 0 })
    }

    /// What it does to keys and leases.
    pub fn summary(&self) -> &CutSummary {
        &self.summary
    }

    /// Whether lease `id` stays: a lease goes when it had keys and all were dropped.
    pub fn keeps_lease(&self, id: i64) -> bool {
        !matches!(self.leases.get(&id), Some((0, 1..)))
    }

    /// What becomes of `item`, an element of bucket `key`.
    ///
    /// # Errors
    /// When it is no record.
    pub fn fate(&self, item: &Item<'a>) -> Result<Fate<'a>, Error> {
        let key = Record::key_of(item)?;
        let main = key.revision.main;
        let stays = Fate::Stays(Cow::Borrowed(item.value));
        if main > self.revision {
            return Ok(Fate::Goes);
        }
        let Some(index) = &self.index else { return Ok(stays) };
        let record = Record::decode(item)?;
        if !self.keys.chooses(record.kv.key) {
            return Ok(Fate::Goes);
        }
        let newest = !key.tombstone && index.is_live(item, &record);
        if self.compaction.is_some_and(|compaction| {
            // As servers since 3.4.34, 3.5.16 do: a deletion at the mark itself stays.
            main < compaction && !newest || main == compaction && !newest && !key.tombstone
        }) {
            return Ok(Fate::Goes);
        }
        let lost = |lease: i64| lease != 0 && !self.leases.contains_key(&lease);
        match self.orphans {
            LeaseOrphans::DropKeys if newest && lost(record.kv.lease) => Ok(Fate::Goes),
            LeaseOrphans::Detach if newest && lost(record.kv.lease) => {
                let kv = record.kv;
                let detached = KeyValue {
                    key: kv.key.to_vec(),
                    create_revision: kv.create_revision,
                    mod_revision: kv.mod_revision,
                    version: kv.version,
                    value: kv.value.to_vec(),
                    lease: 0,
                };
                Ok(Fate::Stays(Cow::Owned(detached.encode_to_vec())))
            }
            _ => Ok(stays),
        }
    }
}
