//! Records that were damaged in the source and are saved as they stand there.

use crate::{
    bolt::{self, Db},
    finding::{Finding, Place, Severity},
    mvcc::Record,
    schema::{RecordKey, Revision, Store, bucket},
};

/// A record of the result that contradicts the others, or what stands next to it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct DamagedRecord {
    /// Its revision.
    pub revision: Revision,
    /// The key it is about; `None` when the record does not decode.
    pub key: Option<Vec<u8>>,
    /// The finding's code, such as `generation`; of `revision-gap`, records before this one are missing.
    pub code: &'static str,
    /// What is wrong.
    pub message: String,
}

/// The records of `db`, which holds what was saved, that verification found damaged: `findings` are its findings. In
/// revision order.
///
/// # Errors
/// When a page of `db` is damaged.
pub fn damaged_records(
    db: &Db<'_>,
    findings: &[Finding],
) -> Result<Vec<DamagedRecord>, bolt::Error> {
    let keys = Store::new(*db).bucket(bucket::KEY)?;
    let mut damaged = Vec::new();
    for finding in findings.iter().filter(|finding| finding.severity == Severity::Damage) {
        let Place::Revision { main, sub } = finding.place else { continue };
        let revision = Revision { main, sub };
        let mut key = None;
        for tombstone in [false, true] {
            let stored = RecordKey { revision, tombstone }.encode();
            let item = keys.as_ref().map_or(Ok(None), |keys| keys.item(&stored))?;
            let record = item.and_then(|item| Record::decode(&item).ok());
            key = key.or(record.map(|record| record.kv.key.to_vec()));
        }
        let (code, message) = (finding.code, finding.message.clone());
        damaged.push(DamagedRecord { revision, key, code, message });
    }
    damaged.sort_by(|one, other| {
        (one.revision, one.code, &one.message).cmp(&(other.revision, other.code, &other.message))
    });
    Ok(damaged)
}
