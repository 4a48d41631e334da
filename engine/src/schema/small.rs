//! Buckets `lease` and `alarm`.

use super::{Listed, RecordError, Store, bucket};
use crate::{
    bolt,
    pb::{etcdserverpb::AlarmMember, leasepb::Lease},
    raw::Raw,
};

pub(super) fn decode<M: prost::Message + Default>(
    message: &'static str,
    value: &[u8],
) -> Result<M, RecordError> {
    M::decode(value).map_err(|error| RecordError::Message { message, reason: error.to_string() })
}

/// All leases, by id.
///
/// # Errors
/// When a page is damaged.
pub fn leases(store: &Store<'_>) -> Result<Listed<Lease>, bolt::Error> {
    store.list(bucket::LEASE, |item| {
        let wrong = RecordError::Length { len: item.key.len(), expected: 8 };
        if item.key.len() != 8 {
            return Err(wrong);
        }
        let id = Raw::new(item.key).u64_be(0).ok_or(wrong)?.cast_signed();
        let lease: Lease = decode("leasepb.Lease", item.value)?;
        if lease.id != id {
            return Err(RecordError::KeyDiffers {
                key: format!("{id:x}"),
                value: format!("{:x}", lease.id),
            });
        }
        Ok(lease)
    })
}

/// All alarms that are on.
///
/// # Errors
/// When a page is damaged.
pub fn alarms(store: &Store<'_>) -> Result<Listed<AlarmMember>, bolt::Error> {
    store.list(bucket::ALARM, |item| decode("etcdserverpb.AlarmMember", item.key))
}
