//! Transactions: conditions, the branch they choose, checks on it, its execution.
//!
//! Conditions and checks, of nested transactions too, look at the state before the transaction. A server that
//! replays answers no client, and up to 3.6 it therefore drops the ranges at the top of both branches
//! before anything else; from 3.7 on it checks them as every member does. Source: etcd
//! `server/etcdserver/{apply,server}.go`, `server/etcdserver/txn/txn.go`.

use super::{
    Line, Refusal,
    error::Error,
    kv::{Condition, Interval, KeyValues, Write},
    lease::Leases,
};
use crate::pb::{
    kvpb::{PutRequest, RangeRequest},
    txnpb::{Request, RequestOp, Txn, TxnId, TxnRequest},
};

/// Bytes of values that puts may take from their keys, all entries together.
const COPIES: u64 = 1 << 30;

/// Whether a server of `line` that replays drops the operation: ranges at the top, up to 3.6.
pub fn is_dropped(line: Line, txn: TxnId, op: &RequestOp) -> bool {
    line < Line::V3_7 && txn == TxnId::OUTERMOST && matches!(op.request, Some(Request::Range(_)))
}

/// Applies a transaction by the rules of `line`.
///
/// # Errors
/// When the db is damaged. `Ok(Err(_))` when the transaction is refused as a whole.
pub fn apply(
    keys: &mut KeyValues<'_>,
    leases: &Leases,
    txn: &TxnRequest,
    line: Line,
) -> Result<Result<(), Refusal>, Error> {
    let chosen = Chosen::of(keys, txn)?;
    for (at, op) in chosen.walk() {
        if is_dropped(line, at, op) {
            continue;
        }
        if let Err(refusal) = check(keys, leases, op)? {
            return Ok(Err(refusal));
        }
    }
    // An error on the way ends it there, as in servers before 3.5.17; later ones end themselves, so that no log
    // a server survived has one.
    let mut write = keys.write();
    for (_, op) in chosen.walk() {
        if let Err(refusal) = execute(&mut write, op)? {
            return Ok(Err(refusal));
        }
    }
    Ok(Ok(()))
}

/// What the puts of a transaction cost, in bytes, the dearer branch counting: while the backend is full, a
/// transaction that costs something is refused. 3.4 does not look into nested ones. Source: etcd `quota.go`.
pub fn cost(txn: &TxnRequest, line: Line) -> u64 {
    const OVERHEAD: u64 = 256;
    // From the innermost to the outermost: what is nested is known when it is asked for.
    let mut costs = vec![0_u64; txn.count()];
    for (id, own) in txn.innermost_first() {
        let branch = |ops: &[RequestOp]| {
            ops.iter().fold(0_u64, |sum, op| {
                sum.saturating_add(match &op.request {
                    Some(Request::Put(put)) => {
                        OVERHEAD + put.key.len() as u64 + put.value.len() as u64
                    }
                    Some(Request::Txn(nested)) if line > Line::V3_4 && *nested > id => {
                        costs.get(nested.index()).copied().unwrap_or_default()
                    }
                    Some(Request::Txn(_) | Request::Range(_) | Request::DeleteRange(_)) | None => 0,
                })
            })
        };
        let cost = branch(&own.success).max(branch(&own.failure));
        if let Some(known) = costs.get_mut(id.index()) {
            *known = cost;
        }
    }
    costs.first().copied().unwrap_or_default()
}

/// Which branches of a transaction and of those nested in them are done.
struct Chosen<'t> {
    txn: &'t TxnRequest,
    /// Of each transaction; meaningless where it stands in a branch that is not done.
    success: Vec<bool>,
}

impl<'t> Chosen<'t> {
    fn of(keys: &KeyValues<'_>, txn: &'t TxnRequest) -> Result<Self, Error> {
        let mut chosen = Self { txn, success: vec![false; txn.count()] };
        let mut pending = vec![(TxnId::OUTERMOST, txn.outermost())];
        while let Some((id, own)) = pending.pop() {
            let mut success = true;
            for compare in &own.compare {
                let interval = Interval::new(&compare.key, &compare.range_end);
                if !keys.all(interval, &Condition::new(compare))? {
                    success = false;
                    break;
                }
            }
            if let Some(known) = chosen.success.get_mut(id.index()) {
                *known = success;
            }
            for op in own.branch(success) {
                if let Some(Request::Txn(nested)) = op.request
                    && let Some(inner) = txn.nested(id, nested)
                {
                    pending.push((nested, inner));
                }
            }
        }
        Ok(chosen)
    }

    /// The operations to be done, in order; a nested transaction is its operations.
    fn walk(&self) -> impl Iterator<Item = (TxnId, &'t RequestOp)> {
        let branch = |id: TxnId, txn: &'t Txn| {
            let success = self.success.get(id.index()).copied().unwrap_or_default();
            (id, txn.branch(success).iter())
        };
        let mut open = vec![branch(TxnId::OUTERMOST, self.txn.outermost())];
        std::iter::from_fn(move || {
            loop {
                let (id, ops) = open.last_mut()?;
                let (id, Some(op)) = (*id, ops.next()) else {
                    open.pop();
                    continue;
                };
                let Some(Request::Txn(nested)) = op.request else { return Some((id, op)) };
                if let Some(inner) = self.txn.nested(id, nested) {
                    open.push(branch(nested, inner));
                }
            }
        })
    }
}

/// What must be true before an operation.
fn check(
    keys: &KeyValues<'_>,
    leases: &Leases,
    op: &RequestOp,
) -> Result<Result<(), Refusal>, Error> {
    match &op.request {
        Some(Request::Put(put)) => check_put(keys, leases, put),
        Some(Request::Range(range)) => Ok(check_range(keys, range)),
        Some(Request::DeleteRange(_) | Request::Txn(_)) | None => Ok(Ok(())),
    }
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

/// Whether puts may have copied `bytes` bytes of values together.
fn copies(bytes: u64) -> Result<(), Error> {
    if bytes > COPIES { Err(Error::Copies { bytes, limit: COPIES }) } else { Ok(()) }
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
    let lease = if put.ignore_lease { old.lease } else { put.lease };
    let kept = if put.ignore_value { old.value.len() } else { 0 };
    // Sixty bytes of log write as many as a value has.
    copies(write.copy(kept))?;
    let old = write.view().get(&put.key)?;
    let value = match old.filter(|_| put.ignore_value) {
        Some(old) => old.value.to_vec(),
        None => put.value.clone(),
    };
    write.put(&put.key, &value, lease)?;
    Ok(Ok(()))
}

fn execute(write: &mut Write<'_, '_>, op: &RequestOp) -> Result<Result<(), Refusal>, Error> {
    match &op.request {
        Some(Request::Put(request)) => put(write, request),
        Some(Request::DeleteRange(request)) => {
            write.delete(Interval::new(&request.key, &request.range_end))?;
            Ok(Ok(()))
        }
        Some(Request::Range(_) | Request::Txn(_)) | None => Ok(Ok(())),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::pb::kvpb::PutRequest;

    #[test]
    fn nested_puts_cost_something_from_3_5_on() {
        let put = PutRequest { key: b"k".to_vec(), value: b"vv".to_vec(), ..PutRequest::default() };
        let puts = Txn { success: vec![Request::Put(put).into()], ..Txn::default() };
        let flat = TxnRequest::from(puts.clone());
        let mut nested = TxnRequest::default();
        let middle = nested.nest(TxnId::OUTERMOST, true, Txn::default());
        nested.nest(middle, false, puts);
        assert_eq!((cost(&flat, Line::V3_4), cost(&nested, Line::V3_4)), (259, 0));
        assert_eq!((cost(&flat, Line::V3_5), cost(&nested, Line::V3_5)), (259, 259));
    }

    #[test]
    fn values_that_puts_keep_are_copied_up_to_a_limit() {
        assert!(copies(0).is_ok() && copies(COPIES).is_ok());
        assert!(matches!(copies(COPIES + 1), Err(Error::Copies { .. })));
    }
}
