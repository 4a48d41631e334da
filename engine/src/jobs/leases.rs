//! Leases, and the keys that are attached to them.

use std::{collections::BTreeMap, path::Path};

use serde::Serialize;

use super::{Answered, KeyName, ask};
use crate::{
    error::Error,
    finding::Finding,
    member::Options,
    mvcc::{KeySpace, View},
    progress::Progress,
    schema::{Store, small},
};

/// Leases by id.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
#[non_exhaustive]
pub struct Leases {
    /// In the order of their ids.
    pub leases: Vec<Lease>,
    /// Records that do not decode.
    #[serde(skip)]
    pub findings: Vec<Finding>,
}

/// A lease.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
#[non_exhaustive]
pub struct Lease {
    /// Its id; in JSON lower-case hex.
    #[serde(serialize_with = "hex")]
    pub id: i64,
    /// The granted time to live in seconds.
    pub ttl: i64,
    /// Seconds left at the last checkpoint; 0 when there was none.
    #[serde(rename = "remainingTTL")]
    pub remaining_ttl: i64,
    /// Live keys that are attached to the lease, in order.
    pub keys: Vec<KeyName>,
}

fn hex<S: serde::Serializer>(id: &i64, serializer: S) -> Result<S::Ok, S::Error> {
    serializer.collect_str(&format_args!("{id:x}"))
}

/// Lists the leases with their keys.
///
/// # Errors
/// When the input cannot be read, or a page or record of the key space is damaged.
pub fn leases(
    path: &Path,
    reading: &Options,
    progress: &dyn Progress,
) -> Result<Answered<Leases>, Error> {
    ask(path, reading, progress, |input| {
        let store = Store::new(input.sound_db(progress)?);
        let view = View::at(&KeySpace::open(&store)?, None, progress)?;
        let mut attached: BTreeMap<i64, Vec<KeyName>> = BTreeMap::new();
        for key in view.keys(b"") {
            if let Some(record) = view.get(key)?
                && record.kv.lease != 0
            {
                attached.entry(record.kv.lease).or_default().push(KeyName(key.to_vec()));
            }
        }
        let listed = small::leases(&store)?;
        let leases = listed
            .records
            .iter()
            .map(|one| Lease {
                id: one.id,
                ttl: one.ttl,
                remaining_ttl: one.remaining_ttl,
                keys: attached.remove(&one.id).unwrap_or_default(),
            })
            .collect();
        Ok(Leases { leases, findings: listed.findings })
    })
}
