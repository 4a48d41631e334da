//! Guards against what a crash must not cost: an entry that was acknowledged and is not in what is shown, or one
//! that is shown and was not. The judge is what the real server said after it was restarted on a copy.

use std::path::Path;

use etcdsnap_engine::{
    datadir::MemberFiles,
    limits::Limits,
    mvcc::{HashKv, KeySpace, hash_kv},
    progress::Silent,
    replay::{Boot, Commit, Line, RaftFiles, Report, Until, replay},
    schema::{MetaRecords, Store},
    snapshot::{Image, verify},
    source::{Access, FaultGuard, Source},
};

use crate::members::{facts, unpack};

/// The member in `member` as it would be after a restart.
pub fn replayed(member: &Path, commit: Commit) -> (Source, Report) {
    let access = Access::Map(FaultGuard::install().unwrap());
    let files = MemberFiles::list(member, None).unwrap();
    let source = Source::open(&files.db, access).unwrap();
    let raft = RaftFiles::open(&files, access).unwrap();
    let log = raft.log();
    let outcome = {
        let db = Image::split(source.bytes()).db(Limits::default()).unwrap();
        let (meta, _) = MetaRecords::read(&Store::new(db)).unwrap();
        let boot = Boot::new(&files, &log, Some(&meta), &raft.snapfiles()).unwrap();
        replay(&db, &log, &boot, Until { commit, to: None }, &Silent).unwrap()
    };
    raft.check().unwrap();
    let source = match &outcome.patched {
        Some(patched) => source.overlaid(patched.offset, &patched.writes()).unwrap(),
        None => source,
    };
    (source, outcome.report)
}

fn hash(source: &Source) -> HashKv {
    let db = Image::without_trailer(source.bytes()).db(Limits::default()).unwrap();
    hash_kv(&KeySpace::open(&Store::new(db)).unwrap(), None, &Silent).unwrap()
}

#[test]
fn crashed_members_have_the_hash_their_server_had_after_a_restart() {
    for (name, line) in [
        ("crashed-34", Line::V3_4),
        ("crashed-35", Line::V3_5),
        ("crashed-36", Line::V3_6),
        ("crashed-37", Line::V3_7),
    ] {
        let dir = unpack(name);
        let (source, report) = replayed(&dir.path().join("data/member"), Commit::All);
        let server = &facts(name)["after_restart"]["hashkv"];
        let ours = hash(&source);
        assert_eq!(Some(u64::from(ours.hash)), server["hash"].as_u64(), "{name}: {report:?}");
        assert_eq!(Some(ours.compact_revision), server["compact_revision"].as_i64(), "{name}");
        assert_eq!(report.line, line, "{name}");
        assert!(report.applied > 1000, "{name}: {report:?}");
        let found = verify(&Image::without_trailer(source.bytes()), Limits::default(), &Silent);
        let damage: Vec<_> = found.unwrap().findings;
        assert!(
            damage
                .iter()
                .all(|finding| finding.severity != etcdsnap_engine::finding::Severity::Damage),
            "{name}: {damage:?}"
        );
    }
}

#[test]
fn members_of_clusters_and_clean_ones_have_the_hash_of_the_live_server() {
    for (name, data) in [
        ("cluster3-35", "n0"),
        ("cluster3-35", "n1"),
        ("cluster3-35", "n3"),
        ("cluster3-36", "n0"),
        ("cluster3-36", "n1"),
        ("cluster3-36", "n3"),
        ("kube-36", "data"),
        ("kube-37-secretbox", "data"),
        ("clean-34", "data"),
        ("clean-35", "data"),
        ("clean-36", "data"),
        ("clean-37", "data"),
        ("authon-36", "data"),
    ] {
        let dir = unpack(name);
        let (source, report) = replayed(&dir.path().join(data).join("member"), Commit::All);
        let server = &facts(name)["hashkv"]["hash"];
        assert_eq!(
            Some(u64::from(hash(&source).hash)),
            server.as_u64(),
            "{name}/{data}: {report:?}"
        );
        let several = name.starts_with("cluster3");
        assert_eq!(report.target.alone, !several, "{name}/{data}");
        assert_eq!(report.conf().voters.len(), if several { 2 } else { 1 }, "{name}/{data}");
    }
}

#[test]
fn a_removed_member_ends_at_its_removal() {
    for name in ["cluster3-35", "cluster3-36"] {
        let dir = unpack(name);
        let (_, report) = replayed(&dir.path().join("n2/member"), Commit::All);
        let own = report.conf();
        assert_eq!((own.voters.len(), own.learners.len()), (2, 1), "{name}: {report:?}");
    }
}

/// A member whose log has these requests behind each other, on an empty db.
pub mod made {
    use std::io::Cursor;

    use etcdsnap_engine::{
        bolt::{
            TxId,
            write::{BucketOptions, Options, Writer},
        },
        limits::Limits,
        pb::{
            authpb::{Permission, UserAddOptions},
            entry::Decoded,
            kvpb::{DeleteRangeRequest, PutRequest},
            requestpb::*,
        },
        progress::Silent,
        replay::{Line, Outcome, Refusal, State},
        schema::{Store, bucket},
        snapshot::Image,
    };

    pub fn empty() -> Vec<u8> {
        let mut writer = Writer::new(Cursor::new(Vec::new()), Options::default()).unwrap();
        for name in bucket::ALL {
            writer.bucket(name.as_bytes(), BucketOptions::default()).unwrap();
        }
        writer.finish().unwrap().seal(TxId(1)).unwrap().0.into_inner()
    }

    /// Applies `requests` one by one; gives their outcomes and the state's revision.
    pub fn applied(line: Line, requests: &[InternalRaftRequest]) -> (Vec<Outcome>, i64) {
        let bytes = empty();
        let db = Image::split(&bytes).db(Limits::default()).unwrap();
        let mut state = State::load(&Store::new(db), line, &Silent).unwrap();
        let outcomes = (1..).zip(requests).map(|(index, request)| {
            state.apply(index, 1, &Decoded::Request(Box::new(request.clone()))).unwrap()
        });
        (outcomes.collect(), state.keys().revision())
    }

    fn by(user: &str, auth_revision: u64, request: InternalRaftRequest) -> InternalRaftRequest {
        let header = RequestHeader { id: 1, username: user.into(), auth_revision };
        InternalRaftRequest { header: Some(header), ..request }
    }

    fn user(name: &str) -> InternalRaftRequest {
        let options = Some(UserAddOptions { no_password: true });
        let add = AuthUserAddRequest { name: name.into(), options, ..Default::default() };
        InternalRaftRequest { auth_user_add: Some(add), ..Default::default() }
    }

    fn role(name: &str) -> InternalRaftRequest {
        let add = AuthRoleAddRequest { name: name.into() };
        InternalRaftRequest { auth_role_add: Some(add), ..Default::default() }
    }

    fn grant(user: &str, role: &str) -> InternalRaftRequest {
        let grant = AuthUserGrantRoleRequest { user: user.into(), role: role.into() };
        InternalRaftRequest { auth_user_grant_role: Some(grant), ..Default::default() }
    }

    fn may_write(role: &str, key: &[u8], range_end: &[u8]) -> InternalRaftRequest {
        let perm = Permission { perm_type: 1, key: key.to_vec(), range_end: range_end.to_vec() };
        let grant = AuthRoleGrantPermissionRequest { name: role.into(), perm: Some(perm) };
        InternalRaftRequest { auth_role_grant_permission: Some(grant), ..Default::default() }
    }

    fn put(key: &[u8], lease: i64) -> InternalRaftRequest {
        let put =
            PutRequest { key: key.to_vec(), value: b"v".to_vec(), lease, ..Default::default() };
        InternalRaftRequest { put: Some(put), ..Default::default() }
    }

    fn lease(id: i64) -> InternalRaftRequest {
        InternalRaftRequest {
            lease_grant: Some(LeaseGrantRequest { id, ttl: 60 }),
            ..Default::default()
        }
    }

    fn revoke(id: i64) -> InternalRaftRequest {
        InternalRaftRequest { lease_revoke: Some(LeaseRevokeRequest { id }), ..Default::default() }
    }

    fn delete(key: &[u8], range_end: &[u8]) -> InternalRaftRequest {
        let delete =
            DeleteRangeRequest { key: key.to_vec(), range_end: range_end.to_vec(), prev_kv: false };
        InternalRaftRequest { delete_range: Some(delete), ..Default::default() }
    }

    #[test]
    fn permissions_are_those_of_the_moment_a_request_is_applied() {
        let enable =
            InternalRaftRequest { auth_enable: Some(EmptyRequest {}), ..Default::default() };
        // Seven changes of auth before it is enabled: revision 7 from the 0 of an empty db.
        let mut requests = vec![
            user("root"),
            role("root"),
            grant("root", "root"),
            user("alice"),
            role("writer"),
            grant("alice", "writer"),
            may_write("writer", b"a", b"m"),
            enable,
        ];
        let before = requests.len();
        requests.extend([
            by("alice", 7, lease(5)),
            by("alice", 7, put(b"b", 5)),
            by("alice", 7, put(b"z", 0)),
            by("alice", 6, put(b"b", 0)),
            by("", 0, put(b"b", 0)),
            by("root", 7, put(b"z", 5)),
            by("alice", 7, put(b"c", 5)),
            by("alice", 7, delete(b"a", b"\0")),
            by("alice", 7, delete(b"a", b"m")),
            by("alice", 7, user("bob")),
            by("root", 7, user("bob")),
            // Auth has changed: who signed in before is refused, and root only by 3.4 and only for leases.
            by("alice", 7, put(b"b", 0)),
            by("root", 7, revoke(5)),
        ]);
        let (outcomes, revision) = applied(Line::V3_6, &requests);
        let refused = |refusal| Outcome::Refused(refusal);
        let denied = || refused(Refusal::PermissionDenied);
        assert!(outcomes[..before].iter().all(|outcome| *outcome == Outcome::Applied));
        let expected = [
            Outcome::Applied,
            Outcome::Applied,
            denied(),
            refused(Refusal::OldRevision),
            refused(Refusal::UserEmpty),
            Outcome::Applied,
            denied(),
            denied(),
            Outcome::Applied,
            denied(),
            Outcome::Applied,
            refused(Refusal::OldRevision),
            Outcome::Applied,
        ];
        assert_eq!(outcomes[before..], expected);
        // Puts of b and z, deletion of b, revocation with z.
        assert_eq!(revision, 5);
        let (outcomes, revision) = applied(Line::V3_4, &requests);
        assert_eq!(outcomes.last(), Some(&refused(Refusal::OldRevision)));
        assert_eq!(revision, 4);
    }
}

/// Real servers of 3.4 to 3.6 applied such a log with 10,000 levels, 3.7.3 with 4,999 and ended itself at 5,000.
#[test]
fn transactions_of_any_depth_are_applied_as_far_as_the_server_decodes_them() {
    use etcdsnap_engine::{
        pb::{
            entry::Decoded,
            kvpb::PutRequest,
            requestpb::InternalRaftRequest,
            txnpb::{Request, Txn, TxnId, TxnRequest},
        },
        replay::{Error, Outcome, State},
    };
    use prost::Message;
    let entry = |levels: usize| {
        let put = PutRequest { key: b"k".to_vec(), ..PutRequest::default() };
        let put = Txn { success: vec![Request::Put(put).into()], ..Txn::default() };
        let mut txn = TxnRequest::default();
        let mut at = TxnId::OUTERMOST;
        for level in 2..=levels {
            at = txn.nest(at, true, if level == levels { put.clone() } else { Txn::default() });
        }
        let request = InternalRaftRequest { txn: Some(txn), ..InternalRaftRequest::default() };
        Decoded::new(0, &request.encode_to_vec())
    };
    let bytes = made::empty();
    let db = Image::split(&bytes).db(Limits::default()).unwrap();
    for (levels, line, ends) in [
        (49, Line::V3_4, false),
        (1_000, Line::V3_5, false),
        (100_000, Line::V3_6, false),
        (4_999, Line::V3_7, false),
        (5_000, Line::V3_7, true),
    ] {
        let mut state = State::load(&Store::new(db), line, &Silent).unwrap();
        let outcome = state.apply(1, 1, &entry(levels));
        if ends {
            assert!(matches!(outcome, Err(Error::ServerEnds { .. })), "{outcome:?}");
        } else {
            assert_eq!((outcome.unwrap(), state.keys().revision()), (Outcome::Applied, 2));
        }
    }
}
