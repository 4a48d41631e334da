//! Versions: a downgrade under way.

use crate::{
    finding::{Finding, Place},
    schema::{
        MetaRecords, bucket,
        meta::{self, Downgrade},
    },
};

/// A downgrade of the cluster that was begun and not ended.
pub fn downgrade(meta: &MetaRecords) -> Option<Finding> {
    let target = meta.downgrade.as_ref().and_then(Downgrade::target)?;
    let place = Place::Record { bucket: bucket::CLUSTER, key: meta::DOWNGRADE.as_bytes().to_vec() };
    let message = format!(
        "a downgrade of the cluster to {target} is under way, and goes on when the member starts or is restored; \
         `etcdctl downgrade cancel` ends it, and so does `etcdsnap restore --cancel-downgrade`"
    );
    Some(Finding::warning("downgrade", place, message))
}
