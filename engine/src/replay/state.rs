//! The state of a member, and what one entry does to it.

use super::{
    Error, Line, Refusal,
    alarm::{Alarms, Gate},
    auth::Auth,
    image,
    kv::{Interval, KeyValues, Written},
    lease::Leases,
    membership::Membership,
    txn,
};
use crate::{
    mvcc::KeySpace,
    pb::{
        entry::Decoded, kvpb::PutRequest, requestpb::InternalRaftRequest, txnpb::MAX_MESSAGE_DEPTH,
    },
    progress::Progress,
    schema::{MetaRecords, Store, bucket, meta, meta::Version},
};

/// What an entry did.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Outcome {
    /// It did what it asks for, if only nothing.
    Applied,
    /// It was refused, as it was when the member applied it.
    Refused(Refusal),
    /// It removed the member itself, whose server ends here.
    RemovedSelf,
}

/// What a member keeps in its db.
#[derive(Debug)]
pub struct State<'a> {
    line: Line,
    keys: KeyValues<'a>,
    leases: Leases,
    alarms: Alarms,
    auth: Auth,
    membership: Membership,
    meta: MetaRecords,
    consistent_index: u64,
    term: u64,
    compacted: bool,
}

/// Records of a bucket, in key order.
pub type Records = Vec<(Vec<u8>, Vec<u8>)>;

impl<'a> State<'a> {
    /// The state a db holds, to be continued by the rules of `line`.
    ///
    /// # Errors
    /// When the db is damaged.
    pub fn load(store: &Store<'a>, line: Line, progress: &dyn Progress) -> Result<Self, Error> {
        let (meta, _) = MetaRecords::read(store)?;
        let space = KeySpace::open(store)?;
        Ok(Self {
            line,
            keys: KeyValues::open(&space, progress)?,
            leases: Leases::load(store)?,
            alarms: Alarms::load(store, line)?,
            auth: Auth::load(store)?,
            membership: Membership::load(store)?,
            consistent_index: meta.consistent_index.unwrap_or_default(),
            term: meta.term.unwrap_or_default(),
            meta,
            compacted: false,
        })
    }

    /// The line whose rules apply.
    pub fn line(&self) -> Line {
        self.line
    }

    /// The key space.
    pub fn keys(&self) -> &KeyValues<'a> {
        &self.keys
    }

    /// Users and roles.
    pub fn auth(&self) -> &Auth {
        &self.auth
    }

    /// The members.
    pub fn membership(&self) -> &Membership {
        &self.membership
    }

    /// The members, to be told what only raft knows.
    pub fn membership_mut(&mut self) -> &mut Membership {
        &mut self.membership
    }

    /// Index of the last entry applied.
    pub fn consistent_index(&self) -> u64 {
        self.consistent_index
    }

    /// Applies the entry at `index`. Whatever it does or is refused, it counts as applied.
    ///
    /// # Errors
    /// When the db is damaged, or a server of this line ends itself at such an entry.
    pub fn apply(&mut self, index: u64, term: u64, entry: &Decoded) -> Result<Outcome, Error> {
        let outcome = match entry {
            Decoded::Empty => Outcome::Applied,
            // Its decoder gives up, and the server with it.
            Decoded::Request(request)
                if self.line >= Line::V3_7
                    && request
                        .txn
                        .as_ref()
                        .is_some_and(|txn| txn.is_deeper_than(MAX_MESSAGE_DEPTH)) =>
            {
                let what = "a transaction that is nested too deeply";
                return Err(Error::ServerEnds { index, line: self.line, what });
            }
            Decoded::Request(request) => outcome(self.request(index, request)?),
            Decoded::V2(_) if self.line >= Line::V3_7 => {
                return Err(Error::ServerEnds { index, line: self.line, what: "a v2 request" });
            }
            Decoded::V2(request) => {
                self.membership.v2_request(request);
                Outcome::Applied
            }
            Decoded::ConfChange(change) => match self.membership.conf_change(self.line, change) {
                Ok(removed_self) if removed_self => Outcome::RemovedSelf,
                Ok(_) => Outcome::Applied,
                Err(refusal) => Outcome::Refused(refusal),
            },
            Decoded::Unknown => {
                return Err(Error::ServerEnds {
                    index,
                    line: self.line,
                    what: "an entry that is no request",
                });
            }
        };
        self.consistent_index = index;
        self.term = term;
        Ok(outcome)
    }

    /// One request. Where several were set, the first of etcd's order is done.
    fn request(
        &mut self,
        index: u64,
        request: &InternalRaftRequest,
    ) -> Result<Result<(), Refusal>, Error> {
        if let Some(()) = self.membership.request(request) {
            return Ok(Ok(()));
        }
        let gate = self.alarms.gate();
        if gate.auth
            && let Err(refusal) = self.auth.permits(self.line, request, &self.keys)?
        {
            // The gates stand before the permissions; both refuse, and nothing more can be told apart.
            return Ok(Err(refusal));
        }
        if let Err(refusal) = shut(self.line, gate, request) {
            return Ok(Err(refusal));
        }
        if request.range.is_some() {
            Ok(Ok(()))
        } else if let Some(put) = &request.put {
            self.put(put)
        } else if let Some(delete) = &request.delete_range {
            self.keys.write().delete(Interval::new(&delete.key, &delete.range_end))?;
            Ok(Ok(()))
        } else if let Some(txn) = &request.txn {
            txn::apply(&mut self.keys, &self.leases, txn, self.line)
        } else if let Some(compaction) = &request.compaction {
            Ok(self.compact(compaction.revision))
        } else if let Some(grant) = &request.lease_grant {
            Ok(self.leases.grant(grant))
        } else if let Some(revoke) = &request.lease_revoke {
            self.revoke(revoke.id)
        } else if let Some(checkpoints) = &request.lease_checkpoint {
            if self.stores_checkpoints() {
                for checkpoint in &checkpoints.checkpoints {
                    self.leases.checkpoint(checkpoint.id, checkpoint.remaining_ttl);
                }
            }
            Ok(Ok(()))
        } else if let Some(alarm) = &request.alarm {
            self.alarms.apply(alarm);
            Ok(Ok(()))
        } else if let Some(done) = self.auth.apply(self.line, request) {
            Ok(done)
        } else {
            Err(Error::ServerEnds { index, line: self.line, what: "an unknown request" })
        }
    }

    fn put(&mut self, put: &PutRequest) -> Result<Result<(), Refusal>, Error> {
        if let Err(refusal) = txn::check_put(&self.keys, &self.leases, put)? {
            return Ok(Err(refusal));
        }
        txn::put(&mut self.keys.write(), put)
    }

    fn compact(&mut self, revision: i64) -> Result<(), Refusal> {
        if revision <= self.keys.compact_revision() {
            return Err(Refusal::Compacted { revision });
        }
        if !self.keys.compact(revision) {
            return Err(Refusal::FutureRevision { revision });
        }
        self.compacted = true;
        Ok(())
    }

    fn revoke(&mut self, lease: i64) -> Result<Result<(), Refusal>, Error> {
        if let Err(refusal) = self.leases.revoke(lease) {
            return Ok(Err(refusal));
        }
        let keys = self.keys.keys_of_lease(lease)?.map(|own| own.keys.clone());
        let mut write = self.keys.write();
        for key in keys.iter().flatten() {
            write.delete(Interval::new(key, &[]))?;
        }
        Ok(Ok(()))
    }

    /// Servers store what is left of a lease once the cluster is at 3.6; older ones only when told to by
    /// a flag, which no file records. Where a lease already has such a number, the flag was set.
    fn stores_checkpoints(&self) -> bool {
        let version = self.membership.cluster_version().and_then(Version::parse);
        version.is_some_and(|version| (version.major, version.minor) >= (3, 6))
            || self.leases.has_checkpoint()
    }

    /// Records of bucket `meta` that the entries changed.
    pub(super) fn meta_records(&self) -> Vec<(&'static str, Vec<u8>)> {
        let mut records =
            vec![(meta::CONSISTENT_INDEX, self.consistent_index.to_be_bytes().to_vec())];
        if self.line >= Line::V3_5 && self.term > 0 {
            records.push((meta::TERM, self.term.to_be_bytes().to_vec()));
        }
        if self.line >= Line::V3_5
            && let Some(conf_state) = self.membership.conf_state_record()
        {
            records.push((meta::CONF_STATE, conf_state));
        }
        if self.compacted {
            records.push(image::mark(self.keys.compact_revision()));
        }
        records
    }

    /// Contents of the other small buckets that the entries changed.
    pub(super) fn small_buckets(&self) -> Vec<(&'static str, Records)> {
        let mut buckets = Vec::new();
        if let Some(leases) = self.leases.records() {
            buckets.push((bucket::LEASE, leases.map(|(id, lease)| (id.to_vec(), lease)).collect()));
        }
        if let Some(alarms) = self.alarms.records() {
            let records = alarms.into_iter().map(|alarm| (alarm, Vec::new())).collect();
            buckets.push((bucket::ALARM, records));
        }
        buckets.extend(self.auth.changed_buckets());
        buckets.extend(self.membership.changed_buckets());
        buckets
    }

    /// Records that bucket `key` gets, in revision order.
    pub(super) fn into_written(self) -> Vec<Written> {
        self.keys.into_written()
    }

    /// What the db said of itself before the first entry.
    pub fn meta(&self) -> &MetaRecords {
        &self.meta
    }
}

fn outcome(done: Result<(), Refusal>) -> Outcome {
    done.map_or_else(Outcome::Refused, |()| Outcome::Applied)
}

/// What alarms refuse.
fn shut(line: Line, gate: Gate, request: &InternalRaftRequest) -> Result<(), Refusal> {
    let writes = request.put.is_some() || request.lease_grant.is_some();
    let on_keys = writes
        || request.range.is_some()
        || request.delete_range.is_some()
        || request.txn.is_some()
        || request.compaction.is_some()
        || request.lease_revoke.is_some();
    if gate.corrupt && on_keys {
        return Err(Refusal::Corrupt);
    }
    let costs = || request.txn.as_ref().is_some_and(|txn| txn::cost(txn, line) > 0);
    if gate.no_space && (writes || costs()) {
        return Err(Refusal::NoSpace);
    }
    Ok(())
}
