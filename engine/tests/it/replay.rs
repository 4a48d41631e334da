//! Guards against what a crash must not cost: an entry that was acknowledged and is not in what is shown, or one
//! that is shown and was not. The judge is what the real server said after it was restarted on a copy.

use std::path::Path;

use etcdsnap_engine::{
    datadir::MemberFiles,
    limits::Limits,
    mvcc::{HashKv, KeySpace, hash_kv},
    progress::Silent,
    replay::{Boot, Commit, Line, RaftFiles, Report, replay},
    schema::{MetaRecords, Store},
    snapshot::{Image, verify},
    source::{Access, FaultGuard, Source},
};

use crate::members::{facts, unpack};

/// The member in `member` as it would be after a restart.
pub fn replayed(member: &Path, commit: Option<Commit>) -> (Source, Report) {
    let access = Access::Map(FaultGuard::install().unwrap());
    let files = MemberFiles::list(member, None).unwrap();
    let source = Source::open(&files.db, access).unwrap();
    let raft = RaftFiles::open(&files, access).unwrap();
    let log = raft.log();
    let outcome = {
        let db = Image::split(source.bytes()).db(Limits::default()).unwrap();
        let (meta, _) = MetaRecords::read(&Store::new(db)).unwrap();
        let boot = Boot::new(&files, &log, &meta, &raft.snapfiles()).unwrap();
        replay(&db, &log, &boot, commit, &Silent).unwrap()
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
        let (source, report) = replayed(&dir.path().join("data/member"), None);
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
        let (source, report) = replayed(&dir.path().join(data).join("member"), None);
        let server = &facts(name)["hashkv"]["hash"];
        assert_eq!(
            Some(u64::from(hash(&source).hash)),
            server.as_u64(),
            "{name}/{data}: {report:?}"
        );
        let several = name.starts_with("cluster3");
        assert_eq!(report.target.commit == Commit::Known, several, "{name}/{data}");
        assert_eq!(report.conf().voters.len(), if several { 2 } else { 1 }, "{name}/{data}");
    }
}

#[test]
fn a_removed_member_ends_at_its_removal() {
    for name in ["cluster3-35", "cluster3-36"] {
        let dir = unpack(name);
        let (_, report) = replayed(&dir.path().join("n2/member"), Some(Commit::All));
        let own = report.conf();
        assert_eq!((own.voters.len(), own.learners.len()), (2, 1), "{name}: {report:?}");
    }
}
