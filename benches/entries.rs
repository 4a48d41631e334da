//! A log that goes on where a [`Workload`] ends.

use etcdsnap_engine::{
    pb::{
        etcdserverpb::Metadata,
        kvpb::{
            Compare, CompareResult, CompareTarget, DeleteRangeRequest, PutRequest, TargetUnion,
        },
        raftpb::{Entry, HardState},
        requestpb::{InternalRaftRequest, LeaseGrantRequest, LeaseRevokeRequest},
        txnpb::{Request, Txn},
        walpb::Snapshot,
    },
    synthetic::{Workload, key_name},
    wal::Encoder,
};
use prost::Message;

use crate::Random;

/// A segment of `entries` requests on the keys of `workload`: puts, transactions as an API server writes them,
/// deletions of keys and of ranges, leases.
pub fn log(workload: &Workload, entries: u64) -> Vec<u8> {
    let mut random = Random(workload.seed.wrapping_add(7) | 1);
    let mut log = Encoder::new(0);
    log.metadata(&Metadata { node_id: Some(1), cluster_id: Some(2) });
    log.snapshot(&Snapshot { index: Some(0), term: Some(0), conf_state: None });
    for index in 1..=entries {
        let request = request(workload, &mut random, index);
        log.entry(&Entry {
            r#type: Some(0),
            term: Some(2),
            index: Some(index),
            data: Some(request.encode_to_vec()),
        });
    }
    log.state(&HardState { term: Some(2), vote: Some(1), commit: Some(entries) });
    log.finish().0
}

fn request(workload: &Workload, random: &mut Random, index: u64) -> InternalRaftRequest {
    let chosen = random.next() % workload.keys.max(1);
    let key = key_name(usize::try_from(chosen).unwrap_or_default());
    let len = usize::try_from(random.next() % 400).unwrap_or_default();
    let put = PutRequest { key: key.clone(), value: vec![7; len], ..PutRequest::default() };
    let mut request = InternalRaftRequest::default();
    let id = i64::try_from(index).unwrap_or(i64::MAX);
    match index % 100 {
        0..60 => request.put = Some(put),
        60..85 => {
            // If it has not changed since it was read, put it; else read it again.
            let compare = Compare {
                result: CompareResult::Greater.into(),
                target: CompareTarget::Mod.into(),
                key: key.clone(),
                target_union: Some(TargetUnion::ModRevision(1)),
                range_end: Vec::new(),
            };
            let success = vec![Request::Put(put).into()];
            let txn = Txn { compare: vec![compare], success, failure: Vec::new() };
            request.txn = Some(txn.into());
        }
        85..94 => {
            request.delete_range =
                Some(DeleteRangeRequest { key, range_end: Vec::new(), prev_kv: false });
        }
        94 => {
            let mut range_end = key.clone();
            range_end.push(b'~');
            request.delete_range = Some(DeleteRangeRequest { key, range_end, prev_kv: false });
        }
        95..99 => request.lease_grant = Some(LeaseGrantRequest { id, ttl: 3600 }),
        _ => request.lease_revoke = Some(LeaseRevokeRequest { id: id.saturating_sub(2) }),
    }
    request
}
