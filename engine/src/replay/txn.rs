//! Transactions: conditions, the branch they choose, checks on it, its execution.
//!
//! Conditions and checks, of nested transactions too, look at the state before the transaction. A server that
//! replays answers no client, and up to 3.6 it therefore drops the ranges at the top of both branches
//! before anything else; from 3.7 on it checks them as every member does. Source: etcd
//! `server/etcdserver/{apply,server}.go`, `server/etcdserver/txn/txn.go`.

use std::cmp::Ordering;

use super::{
    Line, Refusal,
    error::Error,
    kv::{Interval, KeyValues, Write},
    lease::Leases,
};
use crate::pb::{
    kvpb::{
        Compare, CompareResult, CompareTarget, PutRequest, RangeRequest, Request, RequestOp,
        TargetUnion, TxnRequest,
    },
    wire::KeyValueRef,
};

/// Branches chosen: of the transaction itself, then of those nested in the chosen branch, depth first.
type Path = Vec<bool>;

/// A transaction as `line` replays it: without what it drops.
pub fn as_replayed(mut txn: TxnRequest, line: Line) -> TxnRequest {
    if line < Line::V3_7 {
        for branch in [&mut txn.success, &mut txn.failure] {
            branch.retain(|op| !matches!(op.request, Some(Request::Range(_))));
        }
    }
    txn
}

/// Applies a transaction.
///
/// # Errors
/// When the db is damaged. `Ok(Err(_))` when the transaction is refused as a whole.
pub fn apply(
    keys: &mut KeyValues<'_>,
    leases: &Leases,
    txn: &TxnRequest,
) -> Result<Result<(), Refusal>, Error> {
    let mut path = Path::new();
    choose(keys, txn, &mut path)?;
    if let Err(refusal) = check(keys, leases, txn, &mut path.iter().copied())? {
        return Ok(Err(refusal));
    }
    let mut write = keys.write();
    execute(&mut write, txn, &mut path.iter().copied())
}

/// What the puts of a transaction cost, in bytes, the dearer branch counting: while the backend is full, a
/// transaction that costs something is refused. 3.4 does not look into nested ones. Source: etcd `quota.go`.
pub fn cost(txn: &TxnRequest, line: Line) -> u64 {
    const OVERHEAD: u64 = 256;
    let branch = |ops: &[RequestOp]| {
        ops.iter().fold(0_u64, |sum, op| {
            sum.saturating_add(match &op.request {
                Some(Request::Put(put)) => OVERHEAD + put.key.len() as u64 + put.value.len() as u64,
                Some(Request::Txn(nested)) if line > Line::V3_4 => cost(nested, line),
                Some(Request::Txn(_) | Request::Range(_) | Request::DeleteRange(_)) | None => 0,
            })
        })
    };
    branch(&txn.success).max(branch(&txn.failure))
}

fn branch(txn: &TxnRequest, success: bool) -> &[RequestOp] {
    if success { &txn.success } else { &txn.failure }
}

fn choose(keys: &KeyValues<'_>, txn: &TxnRequest, path: &mut Path) -> Result<(), Error> {
    let mut success = true;
    for compare in &txn.compare {
        if !holds(keys, compare)? {
            success = false;
            break;
        }
    }
    path.push(success);
    for op in branch(txn, success) {
        if let Some(Request::Txn(nested)) = &op.request {
            choose(keys, nested, path)?;
        }
    }
    Ok(())
}

/// A condition on a range must hold for each key in it; on no key it is put to zeros, and fails for values.
fn holds(keys: &KeyValues<'_>, compare: &Compare) -> Result<bool, Error> {
    let found = keys.keys(Interval::new(&compare.key, &compare.range_end))?;
    if found.is_empty() {
        let value = compare.target == CompareTarget::Value as i32;
        return Ok(!value && holds_for(compare, &KeyValueRef::default()));
    }
    for key in &found {
        if keys.get(key)?.is_some_and(|kv| !holds_for(compare, &kv)) {
            return Ok(false);
        }
    }
    Ok(true)
}

fn holds_for(compare: &Compare, kv: &KeyValueRef<'_>) -> bool {
    use TargetUnion::{CreateRevision, Lease, ModRevision, Value, Version};
    let wanted = compare.target_union.as_ref();
    // A number of another target than the one compared counts as zero.
    let found = match CompareTarget::try_from(compare.target) {
        Ok(CompareTarget::Value) => {
            let wanted = match wanted {
                Some(Value(value)) => value.as_slice(),
                _ => &[],
            };
            kv.value.cmp(wanted)
        }
        Ok(CompareTarget::Version) => {
            kv.version.cmp(&if let Some(Version(number)) = wanted { *number } else { 0 })
        }
        Ok(CompareTarget::Create) => {
            kv.create_revision.cmp(&if let Some(CreateRevision(number)) = wanted {
                *number
            } else {
                0
            })
        }
        Ok(CompareTarget::Mod) => {
            kv.mod_revision.cmp(&if let Some(ModRevision(number)) = wanted { *number } else { 0 })
        }
        Ok(CompareTarget::Lease) => {
            kv.lease.cmp(&if let Some(Lease(number)) = wanted { *number } else { 0 })
        }
        Err(_) => Ordering::Equal,
    };
    match CompareResult::try_from(compare.result) {
        Ok(CompareResult::Equal) => found.is_eq(),
        Ok(CompareResult::NotEqual) => found.is_ne(),
        Ok(CompareResult::Greater) => found.is_gt(),
        Ok(CompareResult::Less) => found.is_lt(),
        Err(_) => true,
    }
}

fn check(
    keys: &KeyValues<'_>,
    leases: &Leases,
    txn: &TxnRequest,
    path: &mut dyn Iterator<Item = bool>,
) -> Result<Result<(), Refusal>, Error> {
    for op in branch(txn, path.next().unwrap_or_default()) {
        let checked = match &op.request {
            Some(Request::Put(put)) => check_put(keys, leases, put)?,
            Some(Request::Range(range)) => check_range(keys, range),
            Some(Request::Txn(nested)) => check(keys, leases, nested, path)?,
            Some(Request::DeleteRange(_)) | None => Ok(()),
        };
        if checked.is_err() {
            return Ok(checked);
        }
    }
    Ok(Ok(()))
}

/// What must be true before a put.
pub fn check_put(
    keys: &KeyValues<'_>,
    leases: &Leases,
    put: &PutRequest,
) -> Result<Result<(), Refusal>, Error> {
    if (put.ignore_value || put.ignore_lease) && keys.get(&put.key)?.is_none() {
        return Ok(Err(Refusal::KeyNotFound));
    }
    if put.lease != 0 && !leases.contains(put.lease) {
        return Ok(Err(Refusal::LeaseNotFound { lease: put.lease }));
    }
    Ok(Ok(()))
}

fn check_range(keys: &KeyValues<'_>, range: &RangeRequest) -> Result<(), Refusal> {
    let revision = range.revision;
    if revision == 0 {
        Ok(())
    } else if revision > keys.revision() {
        Err(Refusal::FutureRevision { revision })
    } else if revision < keys.compact_revision() {
        Err(Refusal::Compacted { revision })
    } else {
        Ok(())
    }
}

/// Executes one put, checked before.
///
/// # Errors
/// When the db is damaged. `Ok(Err(_))` when the key to take value or lease from is gone by now.
pub fn put(write: &mut Write<'_, '_>, put: &PutRequest) -> Result<Result<(), Refusal>, Error> {
    if !put.ignore_value && !put.ignore_lease {
        write.put(&put.key, &put.value, put.lease)?;
        return Ok(Ok(()));
    }
    let Some(old) = write.view().get(&put.key)? else { return Ok(Err(Refusal::KeyNotFound)) };
    let value = if put.ignore_value { old.value.to_vec() } else { put.value.clone() };
    let lease = if put.ignore_lease { old.lease } else { put.lease };
    write.put(&put.key, &value, lease)?;
    Ok(Ok(()))
}

/// Executes the chosen branches in order. An error on the way ends it there, as in servers before 3.5.17;
/// later ones end themselves, so that no log a server survived has one.
fn execute(
    write: &mut Write<'_, '_>,
    txn: &TxnRequest,
    path: &mut dyn Iterator<Item = bool>,
) -> Result<Result<(), Refusal>, Error> {
    for op in branch(txn, path.next().unwrap_or_default()) {
        let done = match &op.request {
            Some(Request::Put(request)) => put(write, request)?,
            Some(Request::DeleteRange(request)) => {
                write.delete(Interval::new(&request.key, &request.range_end))?;
                Ok(())
            }
            Some(Request::Txn(nested)) => execute(write, nested, path)?,
            Some(Request::Range(_)) | None => Ok(()),
        };
        if done.is_err() {
            return Ok(done);
        }
    }
    Ok(Ok(()))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::pb::kvpb::PutRequest;

    #[test]
    fn nested_puts_cost_something_from_3_5_on() {
        let put = PutRequest { key: b"k".to_vec(), value: b"vv".to_vec(), ..PutRequest::default() };
        let of = |request| TxnRequest {
            success: vec![RequestOp { request: Some(request) }],
            ..TxnRequest::default()
        };
        let flat = of(Request::Put(put));
        let nested = of(Request::Txn(flat.clone()));
        assert_eq!((cost(&flat, Line::V3_4), cost(&nested, Line::V3_4)), (259, 0));
        assert_eq!((cost(&flat, Line::V3_5), cost(&nested, Line::V3_5)), (259, 259));
    }
}
