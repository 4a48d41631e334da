//! Part of a key space, written anew. The danger: a record too few, which is lost, or one too many, which was to go;
//! and a result that a server, or our own judge, finds wrong.
//!
//! Random histories are held against a model that knows nothing of pages and indexes.

use std::{
    collections::{BTreeMap, BTreeSet},
    io::Cursor,
};

use etcdsnap_engine::{
    bolt::{
        Bucket, Db, TxId,
        write::{BucketOptions, Options, Writer},
    },
    finding::Severity,
    limits::Limits,
    mvcc::{self, Cut, KeySpace, LeaseOrphans, Part, Prefixes, hash_kv},
    pb::{leasepb::Lease, mvccpb::KeyValue},
    progress::Silent,
    rewrite::{Records, Rewrite},
    schema::{MetaRecords, RecordKey, Revision, Store, bucket, meta},
    snapshot::{Image, status, verify},
};
use proptest::prelude::*;
use prost::Message;

/// A change: which key, and its value and lease unless it is deleted.
type Change = (u8, Option<(Vec<u8>, i64)>);

/// A record of the model.
#[derive(Clone, Debug, PartialEq)]
pub struct Modelled {
    pub at: RecordKey,
    pub kv: KeyValue,
}

impl Modelled {
    pub fn pair(&self) -> (Vec<u8>, Vec<u8>) {
        (self.at.encode(), self.kv.encode_to_vec())
    }
}

/// A store: its records, its leases and up to where it is compacted.
#[derive(Clone, Debug)]
pub struct Model {
    pub records: Vec<Modelled>,
    leases: BTreeSet<i64>,
    pub compacted: Option<i64>,
}

fn name(key: u8) -> Vec<u8> {
    [&b"/a/"[..], b"/b/", b"/a/b/", b"c"][usize::from(key) % 4]
        .iter()
        .copied()
        .chain([b'0' + key / 4])
        .collect()
}

impl Model {
    /// What a store holds after `transactions`, as etcd numbers them.
    pub fn of(transactions: &[Vec<Change>], leases: BTreeSet<i64>) -> Self {
        let mut live: BTreeMap<Vec<u8>, KeyValue> = BTreeMap::new();
        let mut records = Vec::new();
        let mut main = 1;
        for transaction in transactions {
            let mut sub = 0;
            let mut touched = BTreeSet::new();
            for (key, change) in transaction {
                let key = name(*key);
                // A server refuses a transaction that changes a key twice, and deletes only what is there.
                if !touched.insert(key.clone()) || (change.is_none() && !live.contains_key(&key)) {
                    continue;
                }
                let revision = Revision { main: main + 1, sub };
                let kv = match change {
                    Some((value, lease)) => {
                        let old = live.get(&key);
                        let kv = KeyValue {
                            key: key.clone(),
                            create_revision: old.map_or(main + 1, |old| old.create_revision),
                            mod_revision: main + 1,
                            version: old.map_or(0, |old| old.version) + 1,
                            value: value.clone(),
                            lease: *lease,
                        };
                        live.insert(key, kv.clone());
                        kv
                    }
                    None => {
                        live.remove(&key);
                        KeyValue { key, ..KeyValue::default() }
                    }
                };
                records
                    .push(Modelled { at: RecordKey { revision, tombstone: change.is_none() }, kv });
                sub += 1;
            }
            main += i64::from(sub > 0);
        }
        Self { records, leases, compacted: None }
    }

    pub fn current(&self) -> i64 {
        let last = self.records.last().map_or(0, |record| record.at.revision.main);
        last.max(self.compacted.unwrap_or(-1)).max(1)
    }

    /// Each key's newest record at `revision`, if that is no deletion.
    pub fn live(&self, revision: i64) -> BTreeMap<Vec<u8>, &Modelled> {
        let mut live = BTreeMap::new();
        for record in self.records.iter().filter(|record| record.at.revision.main <= revision) {
            live.insert(record.kv.key.clone(), record);
        }
        live.retain(|_, record| !record.at.tombstone);
        live
    }

    /// The store after a compaction to `revision`.
    pub fn compact(&self, revision: i64) -> Model {
        let live: BTreeSet<Vec<u8>> =
            self.live(revision).values().map(|record| record.at.encode()).collect();
        let stays = |record: &&Modelled| {
            let main = record.at.revision.main;
            main > revision
                || live.contains(&record.at.encode())
                || (main == revision && record.at.tombstone)
        };
        let records = self.records.iter().filter(stays).cloned().collect();
        Model { records, leases: self.leases.clone(), compacted: Some(revision) }
    }

    /// The file of it, with a bucket etcd does not know beside its own.
    pub fn file(&self) -> Vec<u8> {
        let options = Options {
            page_size: etcdsnap_engine::bolt::write::PageSize::new(1024).unwrap(),
            ..Options::default()
        };
        let mut writer = Writer::new(Cursor::new(Vec::new()), options).unwrap();
        for name in bucket::ALL {
            let mut out = writer.bucket(name.as_bytes(), BucketOptions::default()).unwrap();
            match name {
                bucket::KEY => self.records.iter().for_each(|record| {
                    let (key, value) = record.pair();
                    out.put(&key, &value).unwrap();
                }),
                bucket::LEASE => self.leases.iter().for_each(|id| {
                    let lease = Lease { id: *id, ttl: 60, remaining_ttl: 0 }.encode_to_vec();
                    out.put(&id.to_be_bytes(), &lease).unwrap();
                }),
                bucket::META => {
                    if let Some(main) = self.compacted {
                        let mark = Revision { main, sub: 0 }.encode();
                        out.put(meta::FINISHED_COMPACT.as_bytes(), &mark).unwrap();
                        out.put(meta::SCHEDULED_COMPACT.as_bytes(), &mark).unwrap();
                    }
                }
                _ => {}
            }
        }
        let mut strange =
            writer.bucket(b"strange", BucketOptions { sequence: 7, ..Default::default() }).unwrap();
        strange.put(b"k", b"v").unwrap();
        let mut within =
            strange.bucket(b"within", BucketOptions { sequence: 8, ..Default::default() }).unwrap();
        within.put(b"deep", &[3; 3000]).unwrap();
        within.close().unwrap();
        strange.put(b"z", b"").unwrap();
        strange.close().unwrap();
        writer.finish().unwrap().seal(TxId(9)).unwrap().0.into_inner()
    }
}

fn pairs(db: &Db<'_>, name: &str) -> Records {
    let bucket = Store::new(*db).bucket(name).unwrap().unwrap();
    bucket
        .items()
        .map(|item| item.map(|item| (item.key.to_vec(), item.value.to_vec())).unwrap())
        .collect()
}

/// Writes `rewrite` to a file and reads it.
fn written(rewrite: &Rewrite<'_>) -> Vec<u8> {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("new.db");
    let file = std::fs::File::create(&path).unwrap();
    let new = rewrite.write_file(&file, &path, &Silent).unwrap();
    assert_eq!(rewrite.measure(&Silent).unwrap(), new, "what was measured is what was written");
    let bytes = std::fs::read(&path).unwrap();
    assert_eq!(bytes.len() as u64, new.size_bytes);
    let metas = rewrite.metas(&Silent).unwrap();
    assert_eq!(bytes[..metas.len()], metas, "metas that were known before");
    bytes
}

/// Holds a file against the model of what it should be.
fn assert_is(bytes: &[u8], expected: &Model) {
    let db = Db::from_bytes(bytes, Limits::default()).unwrap();
    let records: Records = expected.records.iter().map(Modelled::pair).collect();
    assert_eq!(pairs(&db, bucket::KEY), records);
    let leases: BTreeSet<i64> = pairs(&db, bucket::LEASE)
        .keys()
        .map(|id| i64::from_be_bytes(id.as_slice().try_into().unwrap()))
        .collect();
    assert_eq!(leases, expected.leases);
    let space = KeySpace::open(&Store::new(db)).unwrap();
    let (marks, _) = MetaRecords::read(&Store::new(db)).unwrap();
    let mark = expected.compacted.map(|main| Revision { main, sub: 0 });
    assert_eq!((marks.scheduled_compact, marks.finished_compact), (mark, mark));
    assert_eq!(space.current_revision(), expected.current());
    let verification = verify(&Image::split(bytes), Limits::default(), &Silent).unwrap();
    let damage: Vec<_> = verification
        .findings
        .iter()
        .filter(|finding| finding.severity == Severity::Damage)
        .collect();
    assert!(damage.is_empty(), "{damage:?}");
    let strange: Bucket<'_> = db.root().bucket(b"strange").unwrap().unwrap();
    let within = strange.bucket(b"within").unwrap().unwrap();
    assert_eq!((strange.sequence(), within.sequence()), (7, 8));
    assert_eq!(strange.items().count(), 3);
    assert_eq!(within.get(b"deep").unwrap(), Some(&[3; 3000][..]));
}

fn change() -> impl Strategy<Value = Change> {
    let put = (proptest::collection::vec(any::<u8>(), 0..40), 0i64..6).prop_map(Some);
    (0u8..12, prop_oneof![3 => put, 1 => Just(None)])
}

/// A store that may be compacted; leases 1 to 3 exist, 4 and 5 do not.
pub fn model() -> impl Strategy<Value = Model> {
    let transactions = proptest::collection::vec(proptest::collection::vec(change(), 1..4), 0..60);
    (transactions, any::<prop::sample::Index>(), any::<bool>()).prop_map(
        |(transactions, at, compacted)| {
            let model = Model::of(&transactions, BTreeSet::from([1, 2, 3]));
            let at = 1 + at.index(model.current() as usize) as i64;
            if compacted { model.compact(at) } else { model }
        },
    )
}

fn prefixes() -> impl Strategy<Value = Prefixes> {
    let prefix = prop::sample::select(vec![&b"/"[..], b"/a", b"/a/b/", b"c", b"c0", b"none"]);
    let some = proptest::collection::vec(prefix.prop_map(<[u8]>::to_vec), 0..3);
    (some.clone(), some).prop_map(|(keep, drop)| Prefixes { keep, drop })
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(400))]

    #[test]
    fn nothing_is_lost_where_nothing_is_cut(model in model()) {
        let file = model.file();
        let db = Db::from_bytes(&file, Limits::default()).unwrap();
        let new = written(&Rewrite::new(db));
        assert_is(&new, &model);
        let again = Db::from_bytes(&new, Limits::default()).unwrap();
        let (old, new) = (status(&db, &Silent).unwrap(), status(&again, &Silent).unwrap());
        prop_assert_eq!((old.hash, old.entries, old.live_keys), (new.hash, new.entries, new.live_keys));
    }

    #[test]
    fn a_compaction_removes_what_the_model_removes(model in model(), at in any::<prop::sample::Index>()) {
        let file = model.file();
        let db = Db::from_bytes(&file, Limits::default()).unwrap();
        let space = KeySpace::open(&Store::new(db)).unwrap();
        let to = at.index(model.current() as usize + 2) as i64;
        let cut = Cut::compacted(&space, to, &Silent);
        if to <= model.compacted.unwrap_or(0) {
            let refused = matches!(cut, Err(mvcc::Error::Compacted { .. }));
            prop_assert!(refused);
        } else if to > model.current() {
            let refused = matches!(cut, Err(mvcc::Error::Future { .. }));
            prop_assert!(refused);
        } else {
            let new = written(&Rewrite::with_cut(db, cut.unwrap()).unwrap());
            assert_is(&new, &model.compact(to));
        }
    }

    #[test]
    fn an_older_revision_is_what_was_there_then(
        model in model(),
        at in any::<prop::sample::Index>(),
        treatment in 0u8..3,
    ) {
        let first = model.compacted.unwrap_or(1).max(1);
        let revision = first + at.index((model.current() - first + 1) as usize) as i64;
        let orphans =
            [LeaseOrphans::Keep, LeaseOrphans::DropKeys, LeaseOrphans::Detach][usize::from(treatment)];
        let file = model.file();
        let db = Db::from_bytes(&file, Limits::default()).unwrap();
        let store = Store::new(db);
        let space = KeySpace::open(&store).unwrap();
        let part = Part { revision: Some(revision), keys: Prefixes::default(), orphans };
        let cut = Cut::part(&store, &space, &part, &Silent).unwrap();

        let mut expected = model.clone();
        expected.records.retain(|record| record.at.revision.main <= revision);
        let lost: BTreeSet<Vec<u8>> = model
            .live(revision)
            .values()
            .filter(|record| record.kv.lease > 3)
            .map(|record| record.at.encode())
            .collect();
        prop_assert_eq!(cut.summary().orphans.len(), lost.len());
        match orphans {
            LeaseOrphans::Keep => {}
            LeaseOrphans::DropKeys if lost.is_empty() => {}
            LeaseOrphans::DropKeys => {
                expected = expected.compact(revision);
                expected.records.retain(|record| !lost.contains(&record.at.encode()));
            }
            LeaseOrphans::Detach => expected
                .records
                .iter_mut()
                .filter(|record| lost.contains(&record.at.encode()))
                .for_each(|record| record.kv.lease = 0),
        }
        let new = written(&Rewrite::with_cut(db, cut).unwrap());
        assert_is(&new, &expected);
        if orphans == LeaseOrphans::Keep {
            let again = Db::from_bytes(&new, Limits::default()).unwrap();
            let now = hash_kv(&KeySpace::open(&Store::new(again)).unwrap(), None, &Silent).unwrap();
            prop_assert_eq!(now, hash_kv(&space, Some(revision), &Silent).unwrap());
        }
    }

    #[test]
    fn some_keys_keep_their_newest_record_and_the_revision_stays(model in model(), keys in prefixes()) {
        prop_assume!(!keys.is_empty());
        let file = model.file();
        let db = Db::from_bytes(&file, Limits::default()).unwrap();
        let store = Store::new(db);
        let space = KeySpace::open(&store).unwrap();
        let part = Part { revision: None, keys: keys.clone(), orphans: LeaseOrphans::Keep };
        let cut = Cut::part(&store, &space, &part, &Silent).unwrap();

        let chosen = |key: &[u8]| {
            (keys.keep.is_empty() || keys.keep.iter().any(|prefix| key.starts_with(prefix)))
                && !keys.drop.iter().any(|prefix| key.starts_with(prefix))
        };
        let current = model.current();
        let live = model.live(current);
        let with = |id: i64, wanted: bool| {
            live.values().any(|record| record.kv.lease == id && chosen(&record.kv.key) == wanted)
        };
        let mut expected = model.compact(current);
        expected.records.retain(|record| chosen(&record.kv.key));
        expected.leases.retain(|id| with(*id, true) || !with(*id, false));
        let gone = live.keys().filter(|key| !chosen(key)).count() as u64;
        prop_assert_eq!(cut.summary().keys_dropped, gone);
        prop_assert_eq!(cut.summary().leases_dropped, 3 - expected.leases.len() as u64);
        let rewrite = Rewrite::with_cut(db, cut).unwrap();
        let removed = rewrite.measure(&Silent).unwrap().records_removed;
        prop_assert_eq!(removed, (model.records.len() - expected.records.len()) as u64);
        assert_is(&written(&rewrite), &expected);
    }
}

#[test]
fn prefixes_that_no_key_begins_with_are_named() {
    let model = Model::of(&[vec![(0, Some((b"v".to_vec(), 0)))]], BTreeSet::new());
    let file = model.file();
    let db = Db::from_bytes(&file, Limits::default()).unwrap();
    let store = Store::new(db);
    let keys = Prefixes {
        keep: vec![b"/a/".to_vec()],
        drop: vec![b"/events/".to_vec(), b"/a/0".to_vec()],
    };
    let part = Part { revision: None, keys, orphans: LeaseOrphans::Keep };
    let cut = Cut::part(&store, &KeySpace::open(&store).unwrap(), &part, &Silent).unwrap();
    assert_eq!(cut.summary().idle_prefixes, [b"/events/".to_vec()]);
    assert_eq!(cut.summary().keys_dropped, 1);
}
