//! What is inside a key space: who fills it, what changed, where two differ. The danger: a record counted twice or
//! under the wrong heading, a difference that is not told, an order that depends on threads.
//!
//! Random histories are held against models that look at one record after the other.

use std::collections::{BTreeMap, BTreeSet};

use etcdsnap_engine::{
    bolt::{Db, layout, map::PageMap},
    limits::Limits,
    mvcc::{
        self, Change, Diff, DiffCounts, KeySpace, Side,
        log::{Span, changes, history},
        stats::{Amount, Grouping, KeyUse, Options, Tally, Usage, usage},
    },
    progress::Silent,
    rewrite::Rewrite,
    schema::{Store, bucket},
};
use proptest::prelude::*;

use crate::{
    cut::{Model, Modelled, model},
    members::databases,
};

fn on_threads<T: Send>(count: usize, work: impl FnOnce() -> T + Send) -> T {
    rayon::ThreadPoolBuilder::new().num_threads(count).build().unwrap().install(work)
}

fn db(file: &[u8]) -> Db<'_> {
    Db::from_bytes(file, Limits::default()).unwrap()
}

/// What is added up, in a form that can be compared.
#[derive(Debug, PartialEq)]
struct Added {
    total: Tally,
    prefixes: Vec<(Vec<u8>, Tally)>,
    largest: Vec<(Vec<u8>, u64)>,
    rewritten: Vec<(Vec<u8>, i64)>,
}

fn by_one(model: &Model, options: &Options) -> Added {
    let revision = options.revision.unwrap_or_else(|| model.current());
    let live = model.live(revision);
    let mut total = Tally::default();
    let mut prefixes: BTreeMap<Vec<u8>, Tally> = BTreeMap::new();
    for record in &model.records {
        let (key, value) = record.pair();
        let bytes = (16 + key.len() + value.len()) as u64;
        let mut tally = Tally::default();
        let newest = live.get(&record.kv.key);
        *match newest {
            _ if record.at.revision.main > revision => &mut tally.later,
            Some(newest) if newest.at == record.at => &mut tally.live,
            Some(_) => &mut tally.superseded,
            None => &mut tally.deleted,
        } = Amount { records: 1, bytes };
        total.add(&tally);
        let key = &record.kv.key;
        if let Some(prefix) = options.grouping.prefix_of(key, options.grouping.depth) {
            prefixes.entry(prefix.to_vec()).or_default().add(&tally);
        }
    }
    let mut keys: Vec<&Modelled> = live.values().copied().collect();
    let order = |record: &&Modelled| (record.kv.mod_revision, record.kv.key.clone());
    keys.sort_by_key(|record| (std::cmp::Reverse(record.kv.value.len()), order(record)));
    let largest = keys.iter().map(|record| (record.kv.key.clone(), record.kv.value.len() as u64));
    let largest = largest.take(options.most).collect();
    keys.sort_by_key(|record| (std::cmp::Reverse(record.kv.version), order(record)));
    let rewritten = keys.iter().map(|record| (record.kv.key.clone(), record.kv.version));
    let rewritten = rewritten.take(options.most).collect();
    Added { total, prefixes: prefixes.into_iter().collect(), largest, rewritten }
}

fn added(usage: &Usage<'_>) -> Added {
    let key = |of: &KeyUse<'_>| of.key.to_vec();
    Added {
        total: usage.total,
        prefixes: usage.prefixes.iter().map(|one| (one.prefix.to_vec(), one.tally)).collect(),
        largest: usage.largest.iter().map(|of| (key(of), of.value_bytes)).collect(),
        rewritten: usage.rewritten.iter().map(|of| (key(of), of.version)).collect(),
    }
}

/// Each key's newest record at a revision, what became of it between two of them.
fn net(
    before: &BTreeMap<Vec<u8>, &Modelled>,
    after: &BTreeMap<Vec<u8>, &Modelled>,
    prefix: &[u8],
) -> (Vec<(Vec<u8>, Change)>, u64) {
    let mut keys: Vec<&Vec<u8>> = before.keys().chain(after.keys()).collect();
    keys.sort();
    keys.dedup();
    let mut equal = 0;
    let mut found = Vec::new();
    for key in keys.into_iter().filter(|key| key.starts_with(prefix)) {
        let change = match (before.get(key), after.get(key)) {
            (None, _) => Change::Added,
            (_, None) => Change::Removed,
            (Some(was), Some(is)) if was.kv == is.kv => {
                equal += 1;
                continue;
            }
            _ => Change::Changed,
        };
        found.push((key.clone(), change));
    }
    (found, equal)
}

fn differences(diff: &Diff<'_>) -> (Vec<(Vec<u8>, Change)>, u64) {
    let mut counts = DiffCounts { equal: diff.counts().equal, ..DiffCounts::default() };
    let mut found = Vec::new();
    for difference in diff.differences() {
        let of = difference.unwrap();
        assert_eq!(of.before.is_none(), of.change == Change::Added);
        assert_eq!(of.after.is_none(), of.change == Change::Removed);
        for record in [of.before, of.after].into_iter().flatten() {
            assert_eq!(record.kv.key, of.key);
        }
        *match of.change {
            Change::Added => &mut counts.added,
            Change::Changed => &mut counts.changed,
            Change::Removed => &mut counts.removed,
        } += 1;
        found.push((of.key.to_vec(), of.change));
    }
    assert_eq!(counts, *diff.counts());
    assert_eq!(found.is_empty(), diff.is_empty());
    (found, counts.equal)
}

/// Revision and encoded record of every change.
type Changes = Vec<(Vec<u8>, Vec<u8>)>;

fn logged(space: &KeySpace<'_>, span: &Span) -> Result<Changes, mvcc::Error> {
    let mut all = Changes::new();
    let read = |records: &mut dyn Iterator<Item = Result<mvcc::Record<'_>, mvcc::Error>>| {
        records
            .map(|record| record.map(|record| (record.key.encode(), record.kv.key.to_vec())))
            .collect::<Result<Changes, _>>()
    };
    changes(space, span, &Silent, read, |some| {
        all.extend(some);
        Ok::<_, mvcc::Error>(())
    })?;
    Ok(all)
}

fn revision(model: &Model, at: &prop::sample::Index) -> i64 {
    let first = model.compacted.unwrap_or(1).max(1);
    first + at.index((model.current() - first + 1) as usize) as i64
}

/// Holds what is predicted of a compaction to `to`, looking at each revision of `seen`, against one that is done.
fn predicted(file: &[u8], seen: &[Option<i64>], to: i64) {
    let db = db(file);
    let store = Store::new(db);
    let space = KeySpace::open(&store).unwrap();
    let done = mvcc::Cut::compacted(&space, to, &Silent)
        .map(|cut| Rewrite::with_cut(db, cut).unwrap().measure(&Silent).unwrap());
    let all = Rewrite::new(db).measure(&Silent).unwrap();
    for revision in seen {
        let options = Options {
            grouping: Grouping { prefix: Vec::new(), separator: b"/".to_vec(), depth: 1 },
            revision: *revision,
            compaction: Some(to),
            most: 1,
        };
        for threads in [1, 2, 8] {
            let predicted = on_threads(threads, || usage(&store, &options, &Silent));
            let Ok(rest) = &done else {
                let refused = matches!(predicted, Err(mvcc::Error::Compacted { .. }));
                assert!(refused, "what cannot be compacted is not predicted");
                continue;
            };
            let prediction = predicted.unwrap().prediction;
            assert_eq!(prediction.rewritten.compacted, all.size_bytes);
            let is = (prediction.removed.records, prediction.compacted.compacted);
            let case = format!("to {to} seen at {revision:?} on {threads} threads");
            assert_eq!(is, (rest.records_removed, rest.size_bytes), "{case}");
        }
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(150))]

    #[test]
    fn every_record_is_counted_once_and_under_its_heading(
        model in model(),
        at in any::<prop::sample::Index>(),
        depth in 0usize..4,
        grouping in prop::sample::select(vec![("", "/"), ("/a/", "/"), ("", ""), ("/", "b")]),
        most in 0usize..4,
    ) {
        let file = model.file();
        let (prefix, separator) = (grouping.0.into(), grouping.1.into());
        let options = Options {
            grouping: Grouping { prefix, separator, depth },
            revision: Some(revision(&model, &at)),
            compaction: None,
            most,
        };
        let expected = by_one(&model, &options);
        for threads in [1, 2, 8] {
            on_threads(threads, || {
                let usage = usage(&Store::new(db(&file)), &options, &Silent).unwrap();
                assert_eq!(added(&usage), expected, "{threads} threads");
                assert_eq!(usage.depth, depth);
            });
        }
    }

    /// What `compact` would write is known to the byte, whichever revision is looked at.
    #[test]
    fn a_prediction_is_what_compact_writes(
        model in model(),
        at in (any::<prop::sample::Index>(), any::<prop::sample::Index>()),
    ) {
        let (seen, to) = (revision(&model, &at.0), revision(&model, &at.1));
        predicted(&model.file(), &[None, Some(seen)], to);
    }

    #[test]
    fn two_revisions_and_two_files_differ_as_their_models_do(
        models in (model(), model()),
        at in (any::<prop::sample::Index>(), any::<prop::sample::Index>()),
        prefix in prop::sample::select(vec!["", "/a/", "c"]),
    ) {
        let files = (models.0.file(), models.1.file());
        let (first, second) = (revision(&models.0, &at.0), revision(&models.1, &at.1));
        let within = revision(&models.0, &at.1);
        let (one, other) = (models.0.live(first), models.1.live(second));
        let later = models.0.live(within);
        for threads in [1, 2, 8] {
            on_threads(threads, || {
                let (a, b) = (Store::new(db(&files.0)), Store::new(db(&files.1)));
                let (a, b) = (KeySpace::open(&a).unwrap(), KeySpace::open(&b).unwrap());
                let before = Side { space: &a, revision: Some(first) };
                let prefix = prefix.as_bytes();
                for (side, expected) in [
                    (Side { space: &b, revision: Some(second) }, &other),
                    (Side { space: &a, revision: Some(within) }, &later),
                ] {
                    let diff = Diff::between(before, side, prefix, &Silent).unwrap();
                    assert_eq!(differences(&diff), net(&one, expected, prefix));
                }
            });
        }
    }

    #[test]
    fn the_log_is_every_change_in_order_and_a_history_those_of_its_key(
        model in model(),
        at in (any::<prop::sample::Index>(), any::<prop::sample::Index>()),
    ) {
        let file = model.file();
        let (from, to) = (revision(&model, &at.0), revision(&model, &at.1));
        let expected = |from: i64, to: i64| -> Changes {
            let inside = model.records.iter().filter(|record| {
                (from..=to).contains(&record.at.revision.main)
            });
            inside.map(|record| (record.at.encode(), record.kv.key.clone())).collect()
        };
        for threads in [1, 2, 8] {
            on_threads(threads, || {
                let store = Store::new(db(&file));
                let space = KeySpace::open(&store).unwrap();
                let some = logged(&space, &Span { from: Some(from), to: Some(to) }).unwrap();
                assert_eq!(some, expected(from, to));
                let all = logged(&space, &Span::default()).unwrap();
                assert_eq!(all, expected(0, i64::MAX));
                for key in [&b"/a/0"[..], b"/b/0", b"c1", b"none"] {
                    let is: Vec<Vec<u8>> = history(&space, key, Some(to), &Silent)
                        .unwrap()
                        .iter()
                        .map(|record| record.key.encode())
                        .collect();
                    let of_key = expected(0, to).into_iter().filter(|(_, other)| other == key);
                    assert_eq!(is, of_key.map(|(at, _)| at).collect::<Vec<_>>());
                }
            });
        }
        let store = Store::new(db(&file));
        let space = KeySpace::open(&store).unwrap();
        let compact = space.compact_revision();
        for (from, is_compacted) in [(compact - 1, true), (0, true), (model.current() + 1, false)] {
            let refused = logged(&space, &Span { from: Some(from), to: None }).unwrap_err();
            let compacted = matches!(refused, mvcc::Error::Compacted { .. });
            prop_assert_eq!(compacted, is_compacted, "{}", refused);
        }
    }
}

/// Deletions of one revision over several leaves, at which compactions end: they stay, and only the last parts of the tree
/// are searched for them.
#[test]
fn a_prediction_is_right_at_every_revision_of_many_leaves() {
    let put = |key: u8| (key, Some((vec![key; 30], 0)));
    let of = |keys: std::ops::Range<u8>, step| keys.step_by(step);
    let transactions: Vec<Vec<_>> = vec![
        of(0..200, 1).map(put).collect(),
        of(0..200, 2).map(|key| (key, None)).collect(),
        of(0..200, 4).map(put).collect(),
        vec![put(3)],
        of(0..200, 4).chain(of(1..200, 2)).map(|key| (key, None)).collect(),
        of(0..100, 1).map(put).collect(),
        of(0..100, 1).map(|key| (key, None)).collect(),
    ];
    let model = Model::of(&transactions, BTreeSet::new());
    let file = model.file();
    let space = db(&file).root().bucket(bucket::KEY.as_bytes()).unwrap().unwrap();
    assert!(space.subtrees(16).len() >= 16, "in parts");
    for to in 1..=model.current() {
        let around =
            [to - 1, to, to + 1].into_iter().filter(|at| (1..=model.current()).contains(at));
        predicted(&file, &around.map(Some).chain([None]).collect::<Vec<_>>(), to);
    }
}

/// A watch sees the write, so a difference is told although the value is the same.
#[test]
fn a_key_written_again_with_the_same_value_has_changed() {
    let put = |key| (key, Some((b"same".to_vec(), 0)));
    let model = Model::of(&[vec![put(0), put(1)], vec![put(1)]], BTreeSet::new());
    let file = model.file();
    let store = Store::new(db(&file));
    let space = KeySpace::open(&store).unwrap();
    let side = |revision| Side { space: &space, revision: Some(revision) };
    let diff = Diff::between(side(2), side(3), b"", &Silent).unwrap();
    let (found, equal) = differences(&diff);
    assert_eq!((found, equal), (vec![(b"/b/0".to_vec(), Change::Changed)], 1));
}

/// Records, structure, slack, free pages: every byte of a real database has one heading.
#[test]
fn the_bytes_of_real_members_add_up() {
    for name in ["clean-34", "clean-36", "kube-36", "authon-36"] {
        for (path, bytes) in databases(name) {
            let db = db(&bytes);
            let map = PageMap::read(&db, &Silent).unwrap();
            let options = Options {
                grouping: Grouping { prefix: Vec::new(), separator: b"/".to_vec(), depth: 2 },
                revision: None,
                compaction: None,
                most: 5,
            };
            let usage = usage(&Store::new(db), &options, &Silent).unwrap();
            let key = map.buckets().iter().find(|of| of.name == bucket::KEY.as_bytes()).unwrap();
            let headers = key.leaf_pages * layout::PAGE_HEADER as u64;
            assert_eq!(usage.total.bytes() + headers, key.leaf_used, "{path}");
            assert_eq!(usage.total.records(), key.elements, "{path}");
            let mut by_prefix = Tally::default();
            usage.prefixes.iter().for_each(|one| by_prefix.add(&one.tally));
            assert_eq!(by_prefix, usage.total, "{path}");
            assert_eq!(usage.prediction.bytes, db.size_bytes());
        }
    }
}
