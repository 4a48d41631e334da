//! Leases while entries are applied. Time does not pass: only a revocation ends a lease.

use std::collections::BTreeMap;

use prost::Message;

use super::{Refusal, error::Error};
use crate::{
    pb::{leasepb::Lease, requestpb::LeaseGrantRequest},
    schema::{Store, small},
};

/// Longest time to live a server grants, in seconds.
const MAX_TTL: i64 = 9_000_000_000;
/// Shortest one, in seconds: one and a half election timeouts, which with the default settings is 2.
const MIN_TTL: i64 = 2;

/// The leases of a member.
#[derive(Clone, Debug)]
pub struct Leases {
    /// By id as it is ordered in the bucket: as an unsigned number.
    leases: BTreeMap<u64, Lease>,
    /// How many have a time that is left stored.
    checkpointed: usize,
    changed: bool,
}

impl Leases {
    /// The leases of a db.
    ///
    /// # Errors
    /// When a page or record is damaged.
    pub fn load(store: &Store<'_>) -> Result<Self, Error> {
        let leases = super::error::all(small::leases(store)?)?;
        let leases: BTreeMap<u64, Lease> =
            leases.into_iter().map(|lease| (lease.id.cast_unsigned(), lease)).collect();
        let checkpointed = leases.values().filter(|lease| lease.remaining_ttl != 0).count();
        Ok(Self { leases, checkpointed, changed: false })
    }

    /// Whether there is such a lease.
    pub fn contains(&self, id: i64) -> bool {
        self.leases.contains_key(&id.cast_unsigned())
    }

    /// Makes a lease.
    ///
    /// # Errors
    /// When the id is 0 or taken, or the time to live too long.
    pub fn grant(&mut self, request: &LeaseGrantRequest) -> Result<(), Refusal> {
        let LeaseGrantRequest { id, ttl } = *request;
        if id == 0 {
            return Err(Refusal::LeaseNotFound { lease: id });
        }
        if ttl > MAX_TTL {
            return Err(Refusal::LeaseTtl { ttl });
        }
        if self.contains(id) {
            return Err(Refusal::LeaseExists { lease: id });
        }
        let lease = Lease { id, ttl: ttl.max(MIN_TTL), remaining_ttl: 0 };
        self.leases.insert(id.cast_unsigned(), lease);
        self.changed = true;
        Ok(())
    }

    /// Ends a lease; the caller deletes its keys.
    ///
    /// # Errors
    /// When there is none.
    pub fn revoke(&mut self, id: i64) -> Result<(), Refusal> {
        let gone = self.leases.remove(&id.cast_unsigned());
        let gone = gone.ok_or(Refusal::LeaseNotFound { lease: id })?;
        self.count(gone.remaining_ttl, 0);
        self.changed = true;
        Ok(())
    }

    /// Notes what is left of a lease, in seconds, where the server stores that.
    pub fn checkpoint(&mut self, id: i64, remaining_ttl: i64) {
        if let Some(lease) = self.leases.get_mut(&id.cast_unsigned()) {
            let before = std::mem::replace(&mut lease.remaining_ttl, remaining_ttl);
            self.count(before, remaining_ttl);
            self.changed = true;
        }
    }

    fn count(&mut self, before: i64, remaining_ttl: i64) {
        let without = self.checkpointed.saturating_sub(usize::from(before != 0));
        self.checkpointed = without.saturating_add(usize::from(remaining_ttl != 0));
    }

    /// Whether any lease has been checkpointed.
    pub fn has_checkpoint(&self) -> bool {
        self.checkpointed > 0
    }

    /// The contents of bucket `lease`; `None` when they are what the db has.
    pub fn records(&self) -> Option<impl Iterator<Item = ([u8; 8], Vec<u8>)> + '_> {
        self.changed.then(|| {
            self.leases.iter().map(|(id, lease)| (id.to_be_bytes(), lease.encode_to_vec()))
        })
    }
}
