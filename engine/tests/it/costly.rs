//! Guards against logs made to be slow: what a replay costs must grow with the log and the state, not with the product
//! of both. Each kind of log fills 100 kB with what is cheap to write and dear to apply.

use etcdsnap_engine::{
    limits::Limits,
    pb::{
        authpb::{Permission, UserAddOptions},
        etcdserverpb::{AlarmType, Metadata},
        kvpb::{
            Compare, CompareResult, CompareTarget, DeleteRangeRequest, PutRequest, TargetUnion,
        },
        raftpb::{ConfChange, ConfChangeType, ConfState, Entry, HardState},
        requestpb::*,
        txnpb::{Request, Txn, TxnId, TxnRequest},
    },
    progress::Silent,
    replay::{Base, Boot, Line, Replayed, Until, replay},
    snapshot::Image,
    wal::{Encoder, Log, Segment, SegmentName},
};
use prost::Message;

use crate::replay::made::empty;

/// Bytes of a log.
const LOG: usize = 100_000;
/// Processor time one may take, in milliseconds. Most take 50; the product of both takes seconds.
const MOST: u64 = 700;

/// An entry's type and data.
type Data = (i32, Vec<u8>);

fn request(request: InternalRaftRequest) -> Data {
    (0, request.encode_to_vec())
}

fn put(key: usize, lease: i64) -> PutRequest {
    PutRequest { key: name(key), lease, ..PutRequest::default() }
}

fn put_of(put: PutRequest) -> Data {
    request(InternalRaftRequest { put: Some(put), ..Default::default() })
}

fn name(n: usize) -> Vec<u8> {
    format!("{n:04x}").into_bytes()
}

fn alice() -> Option<RequestHeader> {
    Some(RequestHeader { id: 0, username: b"a".to_vec(), auth_revision: u64::MAX })
}

/// By a user who may not do everything.
fn by_alice(request: InternalRaftRequest) -> Data {
    self::request(InternalRaftRequest { header: alice(), ..request })
}

fn by_root(request: InternalRaftRequest) -> Data {
    let header = RequestHeader { id: 0, username: b"root".to_vec(), auth_revision: u64::MAX };
    self::request(InternalRaftRequest { header: Some(header), ..request })
}

/// Users root and a, role r of a with `permissions` permissions, auth on.
fn with_auth(permissions: usize) -> Vec<Data> {
    with_permissions((0..permissions).map(|n| may_write(b"r", name(n * 2))))
}

fn with_permissions(permissions: impl Iterator<Item = InternalRaftRequest>) -> Vec<Data> {
    let options = Some(UserAddOptions { no_password: true });
    let user = |name: &[u8]| {
        let add = AuthUserAddRequest { name: name.to_vec(), options, ..Default::default() };
        InternalRaftRequest { auth_user_add: Some(add), ..Default::default() }
    };
    let role = |name: &[u8]| {
        let add = AuthRoleAddRequest { name: name.to_vec() };
        InternalRaftRequest { auth_role_add: Some(add), ..Default::default() }
    };
    let mut made = vec![user(b"root"), role(b"root"), grant(b"root", b"root")];
    made.extend([user(b"a"), role(b"r"), grant(b"a", b"r")]);
    made.extend(permissions);
    made.push(InternalRaftRequest { auth_enable: Some(EmptyRequest {}), ..Default::default() });
    made.into_iter().map(request).collect()
}

fn grant(user: &[u8], role: &[u8]) -> InternalRaftRequest {
    let grant = AuthUserGrantRoleRequest { user: user.to_vec(), role: role.to_vec() };
    InternalRaftRequest { auth_user_grant_role: Some(grant), ..Default::default() }
}

fn may_write(role: &[u8], key: Vec<u8>) -> InternalRaftRequest {
    let perm = Some(Permission { perm_type: 1, key, range_end: Vec::new() });
    let grant = AuthRoleGrantPermissionRequest { name: role.to_vec(), perm };
    InternalRaftRequest { auth_role_grant_permission: Some(grant), ..Default::default() }
}

/// A condition on all keys that holds for each of them, so that each has to be asked.
fn on_all(n: usize) -> Compare {
    let (target, result, union) = match n % 5 {
        0 => (CompareTarget::Mod, CompareResult::NotEqual, TargetUnion::ModRevision(i64::MAX)),
        1 => (CompareTarget::Version, CompareResult::Greater, TargetUnion::Version(0)),
        2 => (CompareTarget::Create, CompareResult::Less, TargetUnion::CreateRevision(i64::MAX)),
        3 => (CompareTarget::Value, CompareResult::Equal, TargetUnion::Value(Vec::new())),
        _ => (CompareTarget::Value, CompareResult::NotEqual, TargetUnion::Value(name(n))),
    };
    Compare {
        result: result.into(),
        target: target.into(),
        key: b"0".to_vec(),
        target_union: Some(union),
        range_end: vec![0],
    }
}

fn txn(txn: TxnRequest) -> Data {
    request(InternalRaftRequest { txn: Some(txn), ..Default::default() })
}

fn delete_all() -> DeleteRangeRequest {
    DeleteRangeRequest { key: vec![0], range_end: vec![0], prev_kv: false }
}

fn delete(delete: DeleteRangeRequest) -> Data {
    request(InternalRaftRequest { delete_range: Some(delete), ..Default::default() })
}

fn member(kind: ConfChangeType, id: usize, urls: &[usize]) -> Data {
    let urls: Vec<String> = urls.iter().map(|url| format!("\"{url}\"")).collect();
    let context = format!("{{\"id\":{id},\"peerURLs\":[{}]}}", urls.join(","));
    let change = ConfChange {
        id: None,
        r#type: Some(kind.into()),
        node_id: Some(id as u64),
        context: Some(context.into_bytes()),
    };
    (1, change.encode_to_vec())
}

/// A log that begins with `first` and goes on with what `next` makes of 0, 1, 2 … until it is full.
fn log(first: Vec<Data>, mut next: impl FnMut(usize) -> Data) -> Vec<u8> {
    let mut encoder = Encoder::new(0);
    encoder.metadata(&Metadata { node_id: Some(1), cluster_id: Some(2) });
    let mut index = 0;
    let mut written = 200;
    let mut add = |(kind, data): Data| {
        index += 1;
        let entry =
            Entry { r#type: Some(kind), term: Some(1), index: Some(index), data: Some(data) };
        written += entry.encoded_len() + 32;
        if written < LOG {
            encoder.entry(&entry);
        } else {
            index -= 1;
        }
        written < LOG
    };
    first.into_iter().for_each(|data| assert!(add(data), "the first entries fill the log"));
    for n in 0.. {
        if !add(next(n)) {
            break;
        }
    }
    encoder.state(&HardState { term: Some(1), vote: Some(1), commit: Some(index) });
    let (bytes, _) = encoder.finish();
    assert!(bytes.len() <= LOG, "{}", bytes.len());
    bytes
}

fn applied(line: Line, log: &[u8]) -> Replayed {
    let name = SegmentName { sequence: 0, index: 0 };
    let log = Log::read(&[Segment { name, bytes: log }]);
    let bytes = empty();
    let db = Image::split(&bytes).db(Limits::default()).unwrap();
    let boot = Boot {
        line,
        base: Base::Empty,
        start: 0,
        snapshot: 0,
        start_conf: ConfState { voters: vec![1], ..ConfState::default() },
        v2_store: None,
        entries: log.entries_behind(0).unwrap(),
        broken: None,
        without_snapfile: false,
    };
    replay(&db, &log, &boot, Until::default(), &Silent).unwrap()
}

/// Processor time of this thread so far, in milliseconds: another program's load does not count.
fn processor_ms() -> u64 {
    let stat = std::fs::read_to_string("/proc/thread-self/schedstat").unwrap();
    stat.split(' ').next().unwrap().parse::<u64>().unwrap() / 1_000_000
}

/// Applies `log` in this thread alone; fails when that takes too long.
fn is_quick(what: &str, line: Line, log: &[u8]) -> Replayed {
    let pool = rayon::ThreadPoolBuilder::new().num_threads(1).use_current_thread().build();
    let start = processor_ms();
    let replayed = pool.as_ref().map_or_else(
        // This thread has become a pool of one before.
        |_| applied(line, log),
        |pool| pool.install(|| applied(line, log)),
    );
    let took = processor_ms() - start;
    println!(
        "{what}: {took} ms, {} refused of {}",
        replayed.report.refused, replayed.report.applied
    );
    assert!(took < MOST, "{what}: {took} ms");
    replayed
}

#[test]
fn passwords_are_hashed_once_and_at_a_bounded_cost() {
    let user = |n: usize, password: usize| {
        let add =
            AuthUserAddRequest { name: name(n), password: name(password), ..Default::default() };
        request(InternalRaftRequest { auth_user_add: Some(add), ..Default::default() })
    };
    let change = |n: usize, password: usize| {
        let change = AuthUserChangePasswordRequest {
            name: name(n),
            password: name(password),
            ..Default::default()
        };
        request(InternalRaftRequest {
            auth_user_change_password: Some(change),
            ..Default::default()
        })
    };
    let delete = |n: usize| {
        let delete = AuthUserDeleteRequest { name: name(n) };
        request(InternalRaftRequest { auth_user_delete: Some(delete), ..Default::default() })
    };
    let log_of_changes = log(vec![user(0, 0)], |n| change(0, n));
    let of_one = is_quick("one user's passwords", Line::V3_4, &log_of_changes);
    assert_eq!((of_one.report.resalted.len(), of_one.report.password_cost), (1, 10));
    let log_of_deletions = log(Vec::new(), |n| if n % 2 == 0 { user(n, n) } else { delete(n - 1) });
    let of_none = is_quick("users that go again", Line::V3_4, &log_of_deletions);
    assert!(of_none.report.resalted.len() <= 1, "{:?}", of_none.report);
    // Each of them can sign in afterwards, so that each costs something, and all together what the count says.
    let of_many = applied(Line::V3_4, &log(Vec::new(), |n| user(n, n)));
    assert!(of_many.report.resalted.len() > 1500, "{:?}", of_many.report.resalted.len());
    assert_eq!(of_many.report.password_cost, 4);
}

#[test]
fn conditions_on_ranges_do_not_ask_each_key_again_and_again() {
    let keys: Vec<Data> = (0..800).map(|n| put_of(put(n, 0))).collect();
    let many = log(keys.clone(), |n| {
        let compare = (0..50).map(|more| on_all(n * 50 + more)).collect();
        txn(Txn { compare, ..Txn::default() }.into())
    });
    is_quick("conditions on all keys", Line::V3_5, &many);
    let with_puts = log(keys.clone(), |n| {
        let compare = (0..3).map(|more| on_all(n * 3 + more)).collect();
        let success = vec![Request::Put(put(n, 0)).into()];
        txn(Txn { compare, success, failure: Vec::new() }.into())
    });
    is_quick("conditions between puts", Line::V3_5, &with_puts);
    let nested = log(keys, |n| {
        let mut all = TxnRequest::default();
        let mut at = TxnId::OUTERMOST;
        for more in 0..200 {
            let compare = vec![on_all(n * 200 + more)];
            at = all.nest(at, true, Txn { compare, ..Txn::default() });
        }
        txn(all)
    });
    is_quick("conditions of nested transactions", Line::V3_7, &nested);
}

#[test]
fn deletions_do_not_pass_what_is_gone_again_and_again() {
    let each = log(Vec::new(), |n| match n % 2 {
        0 => put_of(put(n, 0)),
        _ => delete(delete_all()),
    });
    is_quick("a put and a deletion of all", Line::V3_5, &each);
    let mut keys: Vec<Data> = (0..1000).map(|n| put_of(put(n, 0))).collect();
    keys.push(delete(delete_all()));
    let nothing = log(keys, |_| {
        let deletions = (0..100).map(|_| Request::DeleteRange(delete_all()).into()).collect();
        txn(Txn { success: deletions, ..Txn::default() }.into())
    });
    is_quick("deletions of nothing", Line::V3_5, &nothing);
}

#[test]
fn leases_are_asked_for_their_keys_alone() {
    let lease = |id: usize| {
        let grant = LeaseGrantRequest { id: id as i64, ttl: 60 };
        request(InternalRaftRequest { lease_grant: Some(grant), ..Default::default() })
    };
    let revoke = |id: usize| {
        let revoke = LeaseRevokeRequest { id: id as i64 };
        request(InternalRaftRequest { lease_revoke: Some(revoke), ..Default::default() })
    };
    let revocations = log(vec![lease(1), put_of(put(0, 1)), revoke(1)], |n| match n % 3 {
        0 => lease(2 + n / 3),
        1 => put_of(put(n / 3, (2 + n / 3) as i64)),
        _ => revoke(2 + n / 3),
    });
    is_quick("leases that end", Line::V3_5, &revocations);
    // All keys hang on one lease and leave it for another.
    let leaving = log(vec![lease(1), lease(2)], |n| put_of(put(n / 2, 1 + (n % 2) as i64)));
    is_quick("keys that leave a lease", Line::V3_5, &leaving);
    let checkpoints = log((0..800).map(|n| lease(n + 1)).collect(), |_| {
        let checkpoints = vec![LeaseCheckpoint { id: 1, remaining_ttl: 0 }];
        let checkpoint = Some(LeaseCheckpointRequest { checkpoints });
        request(InternalRaftRequest { lease_checkpoint: checkpoint, ..Default::default() })
    });
    is_quick("checkpoints", Line::V3_5, &checkpoints);
    // Whoever attaches a key to a lease must be allowed to write all of its keys.
    for permissions in [1, 300] {
        let mut first = with_auth(permissions);
        first.push(by_root(InternalRaftRequest {
            lease_grant: Some(LeaseGrantRequest { id: 1, ttl: 60 }),
            ..Default::default()
        }));
        first.push(by_root(may_write(b"r", name(0))));
        let attached = log(first, |n| {
            let put = put(n % permissions * 2, 1);
            by_alice(InternalRaftRequest { put: Some(put), ..Default::default() })
        });
        is_quick("keys of a lease under auth", Line::V3_5, &attached);
    }
}

#[test]
fn permissions_are_gathered_once() {
    let of_alice =
        |n: usize| by_alice(InternalRaftRequest { put: Some(put(n, 0)), ..Default::default() });
    let many = log(with_auth(800), |n| of_alice(n % 800 * 2));
    let replayed = is_quick("many permissions", Line::V3_5, &many);
    assert_eq!(replayed.report.refused, 0);
    let between = log(with_auth(400), |n| match n % 2 {
        0 => by_root(may_write(b"r", name(1000 + n))),
        _ => of_alice(0),
    });
    is_quick("permissions granted between puts", Line::V3_5, &between);
    // Those that stand apart, and those that are one span together.
    let touching = (0..500).map(|n| {
        let perm = Some(Permission { perm_type: 1, key: name(n), range_end: name(n + 1) });
        let grant = AuthRoleGrantPermissionRequest { name: b"r".to_vec(), perm };
        InternalRaftRequest { auth_role_grant_permission: Some(grant), ..Default::default() }
    });
    for first in [with_auth(600), with_permissions(touching)] {
        let revoked = log(first, |n| match n % 3 {
            0 => by_root(may_write(b"r", name(1))),
            1 => of_alice(0),
            _ => {
                let (role, key) = (b"r".to_vec(), name(1));
                let revoke = AuthRoleRevokePermissionRequest { role, key, range_end: Vec::new() };
                by_root(InternalRaftRequest {
                    auth_role_revoke_permission: Some(revoke),
                    ..Default::default()
                })
            }
        });
        is_quick("permissions revoked between puts", Line::V3_5, &revoked);
    }
    let many_ops = log(with_auth(500), |_| {
        let success = (0..100).map(|n| Request::Put(put(n % 500 * 2, 0)).into()).collect();
        let txn = Some(Txn { success, ..Txn::default() }.into());
        by_alice(InternalRaftRequest { txn, ..Default::default() })
    });
    is_quick("permissions asked by transactions", Line::V3_5, &many_ops);
    let roles = log(with_auth(0), |n| {
        let role = name(n / 2);
        by_root(if n % 2 == 0 {
            let add = AuthRoleAddRequest { name: role };
            InternalRaftRequest { auth_role_add: Some(add), ..Default::default() }
        } else {
            grant(b"a", &role)
        })
    });
    is_quick("roles of one user", Line::V3_5, &roles);
    let options = Some(UserAddOptions { no_password: true });
    let mut users = with_auth(0);
    users.extend((0..700).map(|n| {
        let add = AuthUserAddRequest { name: name(n), options, ..Default::default() };
        by_root(InternalRaftRequest { auth_user_add: Some(add), ..Default::default() })
    }));
    let deletions = log(users, |n| {
        by_root(if n % 2 == 0 {
            let add = AuthRoleAddRequest { name: b"x".to_vec() };
            InternalRaftRequest { auth_role_add: Some(add), ..Default::default() }
        } else {
            let delete = AuthRoleDeleteRequest { role: b"x".to_vec() };
            InternalRaftRequest { auth_role_delete: Some(delete), ..Default::default() }
        })
    });
    is_quick("roles that go, of many users", Line::V3_5, &deletions);
}

#[test]
fn members_and_alarms_are_looked_up() {
    use ConfChangeType::{AddNode, RemoveNode, UpdateNode};
    for line in [Line::V3_5, Line::V3_6] {
        let added = log(Vec::new(), |n| member(AddNode, n + 2, &[n]));
        let replayed = is_quick("members that come", line, &added);
        assert_eq!(replayed.report.refused, 0);
        assert!(replayed.report.conf().voters.len() > 800);
        let gone = log((0..500).map(|n| member(AddNode, n + 2, &[n])).collect(), |n| match n % 2 {
            0 => member(AddNode, 1000 + n, &[1000 + n]),
            _ => member(RemoveNode, 999 + n, &[]),
        });
        is_quick("members that come and go", line, &gone);
        let moved = log((0..600).map(|n| member(AddNode, n + 2, &[n])).collect(), |n| {
            member(UpdateNode, n % 600 + 2, &[n + 1000])
        });
        is_quick("members that move", line, &moved);
        let urls: Vec<usize> = (0..5000).collect();
        let long = log(vec![member(AddNode, 2, &urls)], |n| member(AddNode, n + 3, &[n + 10_000]));
        is_quick("a member with many addresses", line, &long);
    }
    let alarms = log(Vec::new(), |n| {
        let alarm = AlarmRequest {
            action: AlarmAction::Activate.into(),
            member_id: n as u64,
            alarm: AlarmType::Nospace.into(),
        };
        request(InternalRaftRequest { alarm: Some(alarm), ..Default::default() })
    });
    is_quick("alarms", Line::V3_5, &alarms);
}

#[test]
fn transactions_of_any_shape_cost_what_they_are_long() {
    let wide = log(Vec::new(), |_| {
        let success = vec![Default::default(); 20_000];
        txn(Txn { success, ..Txn::default() }.into())
    });
    is_quick("operations that are nothing", Line::V3_7, &wide);
    let deep = log(Vec::new(), |_| {
        let mut all = TxnRequest::default();
        let mut at = TxnId::OUTERMOST;
        for level in 0..4_000 {
            at = all.nest(at, level % 2 == 0, Txn::default());
        }
        txn(all)
    });
    assert!(deep.len() > LOG / 2);
    for line in [Line::V3_4, Line::V3_5, Line::V3_6, Line::V3_7] {
        is_quick("transactions nested 4,000 deep", line, &deep);
    }
    let nospace = AlarmRequest {
        action: AlarmAction::Activate.into(),
        member_id: 1,
        alarm: AlarmType::Nospace.into(),
    };
    let full = log(
        vec![request(InternalRaftRequest { alarm: Some(nospace), ..Default::default() })],
        |_| {
            let mut all = TxnRequest::default();
            let mut at = TxnId::OUTERMOST;
            for _ in 0..4_000 {
                at = all.nest(at, true, Txn::default());
            }
            txn(all)
        },
    );
    is_quick("costs of nested transactions", Line::V3_5, &full);
}

#[test]
fn versions_and_names_replace_one_another() {
    let attributes = log(vec![member(ConfChangeType::AddNode, 2, &[2])], |n| {
        let request = V2Request {
            method: b"PUT".to_vec(),
            path: b"/0/members/2/attributes".to_vec(),
            val: format!(r#"{{"name":"n{n}"}}"#).into_bytes(),
            ..V2Request::default()
        };
        (0, request.encode_to_vec())
    });
    is_quick("names", Line::V3_5, &attributes);
    let compactions = log(Vec::new(), |n| match n % 2 {
        0 => put_of(put(0, 0)),
        _ => {
            let compaction = etcdsnap_engine::pb::kvpb::CompactionRequest {
                revision: n as i64 / 2,
                physical: false,
            };
            request(InternalRaftRequest { compaction: Some(compaction), ..Default::default() })
        }
    });
    is_quick("compactions", Line::V3_5, &compactions);
}
