//! Histories that no server writes, and odd ones that servers do write. The danger: records missing from a
//! database that is called sound, or a sound one that is refused in the night it is needed.

use std::{collections::BTreeMap, io::Cursor};

use etcdsnap_engine::{
    bolt::{
        TxId,
        write::{BucketOptions, Options, Writer},
    },
    finding::Severity,
    limits::Limits,
    pb::{leasepb::Lease, mvccpb::KeyValue},
    progress::Silent,
    schema::{Revision, bucket},
    snapshot::{Image, Verification, verify},
};
use prost::Message;

#[derive(Default)]
struct History {
    buckets: BTreeMap<&'static str, BTreeMap<Vec<u8>, Vec<u8>>>,
}

impl History {
    fn record(
        mut self,
        bucket: &'static str,
        key: impl AsRef<[u8]>,
        value: impl AsRef<[u8]>,
    ) -> Self {
        let records = self.buckets.entry(bucket).or_default();
        records.insert(key.as_ref().to_vec(), value.as_ref().to_vec());
        self
    }

    fn put(self, main: i64, key: &str, create: i64, version: i64) -> Self {
        self.put_with(main, 0, key, create, main, version, 0)
    }

    #[expect(clippy::too_many_arguments, reason = "the fields of a record")]
    fn put_with(
        self,
        main: i64,
        sub: i64,
        key: &str,
        create: i64,
        modified: i64,
        version: i64,
        lease: i64,
    ) -> Self {
        let record = KeyValue {
            key: key.into(),
            create_revision: create,
            mod_revision: modified,
            version,
            value: b"v".to_vec(),
            lease,
        };
        self.record(bucket::KEY, Revision { main, sub }.encode(), record.encode_to_vec())
    }

    fn delete(self, main: i64, key: &str) -> Self {
        let record = KeyValue { key: key.into(), ..KeyValue::default() };
        let mut at = Revision { main, sub: 0 }.encode().to_vec();
        at.push(b't');
        self.record(bucket::KEY, at, record.encode_to_vec())
    }

    fn compacted(self, scheduled: i64, finished: i64) -> Self {
        let mark = |main| Revision { main, sub: 0 }.encode();
        self.record(bucket::META, "scheduledCompactRev", mark(scheduled)).record(
            bucket::META,
            "finishedCompactRev",
            mark(finished),
        )
    }

    /// Codes of all damage found.
    fn damage(&self) -> Vec<&'static str> {
        self.found(Severity::Damage)
    }

    fn found(&self, severity: Severity) -> Vec<&'static str> {
        let findings = self.verified().findings.into_iter();
        findings.filter(|one| one.severity == severity).map(|finding| finding.code).collect()
    }

    /// Codes of all damage that nothing else explains, with the number of its consequences.
    fn causes(&self) -> Vec<(&'static str, usize)> {
        let verification = self.verified();
        let causes = verification.causes().into_iter();
        let damage = causes.filter(|cause| cause.finding.severity == Severity::Damage);
        damage.map(|cause| (cause.finding.code, cause.consequences.len())).collect()
    }

    fn verified(&self) -> Verification {
        let mut writer = Writer::new(Cursor::new(Vec::new()), Options::default()).unwrap();
        for name in bucket::ALL {
            let mut out = writer.bucket(name.as_bytes(), BucketOptions::default()).unwrap();
            for (key, value) in self.buckets.get(name).into_iter().flatten() {
                out.put(key, value).unwrap();
            }
        }
        let (out, _) = writer.finish().unwrap().seal(TxId(2)).unwrap();
        verify(&Image::split(&out.into_inner()), Limits::default(), &Silent).unwrap()
    }
}

fn history() -> History {
    History::default()
}

#[test]
fn a_plain_history_is_sound() {
    let plain = history()
        .put(2, "a", 2, 1)
        .put(3, "a", 2, 2)
        .delete(4, "a")
        .put(5, "a", 5, 1)
        .put(6, "b", 6, 1);
    assert_eq!(plain.damage(), [] as [&str; 0]);
}

#[test]
fn a_missing_revision_is_found_wherever_it_was() {
    assert_eq!(history().put(2, "a", 2, 1).put(4, "b", 4, 1).damage(), ["revision-gap"]);
    assert_eq!(
        history().put(3, "b", 3, 1).damage(),
        ["revision-gap"],
        "the first write is revision 2"
    );
    let sub = history().put(2, "a", 2, 1).put_with(3, 1, "b", 3, 3, 1, 0);
    assert_eq!(sub.damage(), ["revision-gap"], "changes of a transaction count from 0");
    let above_mark = history().put(5, "a", 5, 1).compacted(3, 3);
    assert_eq!(above_mark.damage(), ["revision-gap"]);
    assert_eq!(
        history().put(2, "a", 2, 1).put(4, "a", 2, 3).compacted(3, 3).damage(),
        ["generation"],
        "version 2 was live at 3"
    );
}

#[test]
fn below_the_compaction_mark_records_may_be_missing() {
    let compacted =
        history().put(5, "a", 2, 3).put(9, "b", 9, 1).put(11, "a", 2, 4).compacted(10, 10);
    assert_eq!(compacted.damage(), [] as [&str; 0]);
    let tombstone_at_mark =
        history().put(5, "a", 2, 3).delete(10, "b").put(11, "b", 11, 1).compacted(10, 10);
    assert_eq!(tombstone_at_mark.damage(), [] as [&str; 0]);
    let pending = history().put(2, "a", 2, 1).put(3, "a", 2, 2).put(4, "a", 2, 3).compacted(3, 2);
    assert_eq!(pending.damage(), [] as [&str; 0], "a compaction under way is no damage");
}

#[test]
fn records_that_do_not_follow_from_one_another_are_found() {
    assert_eq!(history().put(2, "a", 2, 1).put(3, "a", 2, 3).damage(), ["generation"]);
    assert_eq!(history().put(2, "a", 2, 1).put(3, "a", 1, 2).damage(), ["generation"]);
    assert_eq!(history().put(2, "a", 2, 2).damage(), ["generation"], "a key begins with version 1");
    assert_eq!(
        history().put(2, "a", 2, 1).delete(3, "a").put(4, "a", 2, 2).damage(),
        ["generation"]
    );
    assert_eq!(history().put(2, "a", 2, 1).delete(3, "a").delete(4, "a").damage(), ["generation"]);
    assert_eq!(history().delete(2, "a").damage(), ["generation"], "nothing was there to delete");
    assert_eq!(history().put_with(2, 0, "a", 2, 3, 1, 0).damage(), ["mod-revision", "record"]);
}

#[test]
fn only_live_keys_need_their_lease() {
    let lease = |id: i64| Lease { id, ttl: 60, remaining_ttl: 0 }.encode_to_vec();
    let missing = history().put_with(2, 0, "a", 2, 2, 1, 7);
    // Servers run with it: they log an error and never end the key.
    assert_eq!(missing.damage(), [] as [&str; 0]);
    assert_eq!(missing.found(Severity::Warning), ["lease-missing"]);
    let there = history().put_with(2, 0, "a", 2, 2, 1, 7).record(
        bucket::LEASE,
        7_i64.to_be_bytes(),
        lease(7),
    );
    assert_eq!(there.damage(), [] as [&str; 0]);
    let gone_with_its_key = history().put_with(2, 0, "a", 2, 2, 1, 7).delete(3, "a");
    assert_eq!(gone_with_its_key.damage(), [] as [&str; 0]);
    let other = history().record(bucket::LEASE, 7_i64.to_be_bytes(), lease(8));
    assert_eq!(other.damage(), ["undecodable"], "key and value name different leases");
}

#[test]
fn a_bumped_revision_is_no_damage() {
    let mark = Revision { main: 1002, sub: 0 };
    let bumped =
        history().put(2, "a", 2, 1).record(bucket::KEY, mark.encode(), b"").compacted(1002, 2);
    assert_eq!(bumped.damage(), [] as [&str; 0]);
    let later = history()
        .put(2, "a", 2, 1)
        .record(bucket::KEY, mark.encode(), b"")
        .put(1003, "a", 2, 2)
        .compacted(1002, 1002);
    assert_eq!(later.damage(), [] as [&str; 0]);
}

#[test]
fn records_that_do_not_decode_are_found() {
    assert_eq!(history().record(bucket::KEY, b"short", b"").damage(), ["undecodable"]);
    assert_eq!(
        history().record(bucket::KEY, Revision { main: 2, sub: 0 }.encode(), b"\x0a\xff").damage(),
        ["undecodable"]
    );
    for (name, key, value) in [
        (bucket::META, "consistent_index", "short"),
        (bucket::META, "confState", "{"),
        (bucket::META, "storageVersion", "three"),
        (bucket::META, "finishedCompactRev", "short"),
        (bucket::CLUSTER, "downgrade", "[]x"),
        (bucket::MEMBERS, "1a", "{\"id\":27,\"peerURLs\":[]}"),
        (bucket::MEMBERS, "1A", "{\"id\":26,\"peerURLs\":[]}"),
        (bucket::MEMBERS_REMOVED, "1a", "gone"),
        (bucket::AUTH, "authEnabled", "yes"),
        (bucket::AUTH_USERS, "root", "\u{a}\u{4}toor"),
        (bucket::LEASE, "short", ""),
        (bucket::ALARM, "\u{8}", ""),
    ] {
        let found = history().record(name, key, value).damage();
        assert!(
            !found.is_empty() && found.iter().all(|code| *code == "undecodable"),
            "{name}/{key}: {found:?}"
        );
    }
}

#[test]
fn compaction_marks_must_agree() {
    let swapped = history().put(2, "a", 2, 1).put(3, "a", 2, 2).compacted(2, 3);
    assert_eq!(swapped.damage(), ["compaction-marks"]);
}

/// A history whose revisions 2 to 10 were compacted to 8 by a server of `version`, and that lost what `records` does
/// not give.
fn compacting(version: Option<&str>, records: History) -> History {
    let records = records.compacted(8, 4);
    match version {
        Some(version) => records.record(bucket::META, "storageVersion", version),
        None => records,
    }
}

#[test]
fn a_compaction_under_way_never_loses_the_record_at_its_mark() {
    // etcd 3.6 keeps the record at the mark, be it a deletion.
    let whole = |version| compacting(version, history().put(2, "a", 2, 1).delete(8, "b"));
    assert_eq!(whole(Some("3.6.0")).damage(), [] as [&str; 0]);
    assert_eq!(whole(None).damage(), [] as [&str; 0]);
    let cut = |version| compacting(version, history().put(2, "a", 2, 1).put(3, "b", 3, 1));
    assert_eq!(cut(Some("3.6.0")).damage(), ["mark-record"]);
    assert_eq!(cut(Some("3.7.0")).damage(), ["mark-record"]);
    // An older server may have deleted it as the last of its records (etcd#17780).
    assert_eq!(cut(None).damage(), [] as [&str; 0]);
    assert_eq!(cut(None).found(Severity::Warning), ["mark-record"]);
    // But not before the records that it replaced.
    let replaced = compacting(None, history().put(2, "a", 2, 1).put(3, "a", 2, 2));
    assert_eq!(replaced.damage(), ["mark-record"]);
    let deleted = compacting(None, history().put(2, "a", 2, 1).delete(3, "a"));
    assert_eq!(deleted.damage(), ["mark-record"]);
    assert_eq!(compacting(None, history()).damage(), [] as [&str; 0]);
    assert_eq!(compacting(Some("3.6.0"), history()).damage(), ["mark-record"]);
}

#[test]
fn marks_without_a_record_are_known() {
    let at = |scheduled, records: History| {
        let records = records.record(bucket::META, "storageVersion", "3.6.0");
        let mark = Revision { main: scheduled, sub: 0 }.encode();
        records.record(bucket::META, "scheduledCompactRev", mark).found(Severity::Damage)
    };
    // A server accepts compactions at 0 and 1 of an empty store.
    assert_eq!(at(0, history()), [] as [&str; 0]);
    assert_eq!(at(1, history().put(2, "a", 2, 1)), [] as [&str; 0]);
    // What `restore --mark-compacted` leaves.
    let bump = Revision { main: 1002, sub: 0 }.encode();
    let bumped = history().put(2, "a", 2, 1).record(bucket::KEY, bump, b"");
    assert_eq!(at(1002, bumped), [] as [&str; 0]);
    // A finished compaction by an older server, which a newer one took over.
    let finished =
        history().put(2, "a", 2, 1).compacted(8, 8).record(bucket::META, "storageVersion", "3.6.0");
    assert_eq!(finished.damage(), [] as [&str; 0]);
}

#[test]
fn what_a_gap_explains_follows_from_it() {
    let gap = history()
        .put(2, "a", 2, 1)
        .put(3, "b", 3, 1)
        .put(9, "a", 2, 3)
        .put(10, "b", 3, 4)
        .put(11, "c", 5, 2);
    assert_eq!(gap.causes(), [("revision-gap", 3)]);
    let before = history().put(2, "a", 2, 2).put(4, "b", 4, 1).put(5, "c", 3, 2);
    assert_eq!(before.causes(), [("generation", 0), ("revision-gap", 1)]);
    // Of two gaps, each explains what stands behind it.
    let two = history().put(2, "a", 2, 1).put(4, "a", 2, 3).put(6, "a", 2, 5).put(7, "b", 5, 2);
    assert_eq!(two.causes(), [("revision-gap", 1), ("revision-gap", 2)]);
}

#[test]
fn a_record_that_cannot_be_placed_explains_the_gap_behind_it() {
    let revision = |main| Revision { main, sub: 0 }.encode();
    let mut odd = revision(3).to_vec();
    odd[8] = b'-';
    let broken = history()
        .put(2, "a", 2, 1)
        .record(bucket::KEY, odd, b"")
        .put(4, "a", 2, 3)
        .record(bucket::KEY, revision(5), b"\x0a\xff")
        .put(6, "a", 2, 5);
    assert_eq!(broken.causes(), [("undecodable", 4)]);
}

#[test]
fn leases_that_are_missing_follow_from_a_damaged_lease() {
    let records = history().put_with(2, 0, "a", 2, 2, 1, 7).put_with(3, 0, "b", 3, 3, 1, 8);
    let broken = records.record(bucket::LEASE, 7_i64.to_be_bytes(), "rubbish");
    assert_eq!(broken.causes(), [("undecodable", 2)]);
}
