//! What every sound history obeys.
//!
//! Above the compaction mark nothing may be missing: transactions count up by one, changes within one
//! from 0, and each key's records follow from one another. At and below it compaction has removed
//! records, so only the order is judged there. Source: etcd `kvstore_txn.go`, `key_index.go`.

use std::{collections::HashSet, fs::File};

use super::{
    Error, KeyIndex, KeySpace, Record, Scan,
    index::{AT_ONCE, Stopped, Watch, watch_spilled},
    known::Known,
    record::place,
};
use crate::{
    bolt::{Item, PageId},
    finding::{self, Finding, Place, Severity},
    progress::Progress,
    schema::{RecordError, RecordKey, Revision},
};

/// What was found in the key space.
#[derive(Clone, Debug, Default)]
pub struct Judgement {
    /// What is wrong, unsorted.
    pub findings: Vec<Finding>,
    /// Records looked at.
    pub records: u64,
    /// Records at or below the compaction mark.
    pub records_below: u64,
    /// Whether a record has the compaction mark's revision.
    pub record_at_mark: bool,
    /// Keys that exist.
    pub live_keys: u64,
}

/// Databases of at most so many bytes are judged without a scratch file: the index of all records they can have takes
/// less than what the other parts of the work have.
const SMALL: u64 = 96 << 20;

/// Judges every record of `space`; `leases` are the ids of the leases there are; `scan` says whether
/// the page tree is known to be sound. With a `scratch` file, whose content is lost, memory does not grow with the
/// number of keys, and the file takes 28 bytes a record; where it cannot be written, it does without.
///
/// # Errors
/// When a page is damaged or the work was interrupted; damaged records are findings.
pub fn judge(
    space: &KeySpace<'_>,
    leases: &HashSet<i64>,
    max_findings: usize,
    scan: Scan,
    scratch: Option<&File>,
    progress: &dyn Progress,
) -> Result<Judgement, Error> {
    let new = || Rules::new(space.compact_revision(), max_findings);
    let leased = |rules: &mut Rules, record: &Record<'_>| {
        lease_of(record, leases).into_iter().for_each(|finding| rules.report(finding));
    };
    if let (Some(scratch), Some(bucket)) = (scratch, space.bucket())
        && bucket.db().bytes_in_file() > SMALL
    {
        match watch_spilled(bucket, scan, (scratch, AT_ONCE), progress, new, leased) {
            Ok((live_keys, rules)) => return Ok(rules.finish(live_keys)),
            Err(Stopped::KeySpace(error)) => return Err(error),
            Err(Stopped::Scratch) => {}
        }
    }
    let (index, mut rules) =
        KeyIndex::build_watched(space.bucket(), i64::MAX, scan, progress, new)?;
    index.for_each_leased(|record| leased(&mut rules, record))?;
    Ok(rules.finish(index.live_keys()))
}

/// The first record of a key that is in the file.
fn first_of_key(record: &Record<'_>, compact: i64) -> Option<Finding> {
    let Revision { main, sub } = record.key.revision;
    let place = Place::Revision { main, sub };
    let key = record.kv.key.escape_ascii();
    if main <= compact {
        return None;
    }
    if record.key.tombstone {
        let message = format!(
            "key {key} is deleted at {main}/{sub} but has no record before that: records are missing"
        );
        return Some(Finding::damage("generation", place, message));
    }
    if record.kv.version != 1 || record.kv.create_revision != main {
        let message = format!(
            "key {key} begins at {main}/{sub} with version {} created at {}, expected version 1 created there: records are missing",
            record.kv.version, record.kv.create_revision
        );
        return Some(Finding::damage("generation", place, message));
    }
    None
}

fn lease_of(record: &Record<'_>, leases: &HashSet<i64>) -> Option<Finding> {
    if record.kv.lease == 0 || leases.contains(&record.kv.lease) {
        return None;
    }
    let Revision { main, sub } = record.key.revision;
    let message = format!(
        "live key {} is attached to lease {:x}, which does not exist",
        record.kv.key.escape_ascii(),
        record.kv.lease
    );
    // A server logs an error, keeps the key for good, and goes on: see `LeaseOrphans::Keep`.
    Some(Finding::warning("lease-missing", Place::Revision { main, sub }, message))
}

struct Rules {
    compact: i64,
    max_findings: usize,
    /// The run's very first record.
    opening: Option<Revision>,
    /// The first record above the compaction mark.
    first: Option<Revision>,
    last: Option<Revision>,
    records: u64,
    records_below: u64,
    record_at_mark: bool,
    /// Elements that were no records: what follows one cannot be judged against what went before.
    undecodable: u64,
    /// The last leaf with such an element, and the place of the first one in it.
    broken_leaf: Option<(PageId, Place)>,
    /// The first element without a readable revision since the last record: it explains a gap there.
    unplaced: Option<Place>,
    /// The same as it was at the run's very first record.
    unplaced_at_opening: Option<Place>,
    findings: Vec<Finding>,
    dropped: u64,
    worst_dropped: Option<Severity>,
}

impl Rules {
    fn new(compact: i64, max_findings: usize) -> Self {
        Self {
            compact,
            max_findings,
            opening: None,
            first: None,
            last: None,
            records: 0,
            records_below: 0,
            record_at_mark: false,
            undecodable: 0,
            broken_leaf: None,
            unplaced: None,
            unplaced_at_opening: None,
            findings: Vec::new(),
            dropped: 0,
            worst_dropped: None,
        }
    }

    /// All that was found, of a key space with so many keys that exist.
    fn finish(mut self, live_keys: u64) -> Judgement {
        self.beginning();
        self.keep_first();
        if let Some(worst) = self.worst_dropped {
            let message = format!("{} more findings in the key space are not listed", self.dropped);
            self.findings.push(Finding::new(worst, "more-findings", Place::File, message));
        }
        Judgement {
            findings: self.findings,
            records: self.records,
            records_below: self.records_below,
            record_at_mark: self.record_at_mark,
            live_keys,
        }
    }

    fn report(&mut self, finding: Finding) {
        self.findings.push(finding);
        if self.findings.len() >= self.max_findings.saturating_mul(2).max(64) {
            self.keep_first();
        }
    }

    /// Keeps the first findings in their order. The first of all are among the first of every run, so what
    /// is kept does not depend on where runs begin, nor on the order in which they report.
    fn keep_first(&mut self) {
        if self.findings.len() <= self.max_findings {
            return;
        }
        finding::sort(&mut self.findings);
        let dropped = self.findings.get(self.max_findings..).unwrap_or_default();
        self.dropped += dropped.len() as u64;
        let worst = dropped.iter().map(|finding| finding.severity).min();
        self.worst_dropped = self.worst_dropped.into_iter().chain(worst).min();
        self.findings.truncate(self.max_findings);
    }

    fn damage(&mut self, code: &'static str, at: Revision, message: String) {
        self.report(Finding::damage(code, Place::Revision { main: at.main, sub: at.sub }, message));
    }

    /// What the first record above the compaction mark must be.
    fn beginning(&mut self) {
        let Some(first) = self.first else { return };
        // The first write of a store, compacted at its start or not at all, is revision 2.
        let expected = self.compact.saturating_add(1).max(2);
        if self.undecodable == 0 && first.main > expected {
            let message = format!(
                "the first record above the compaction mark {} is {first}, expected {expected}/0: records are missing",
                self.compact
            );
            self.damage("revision-gap", first, message);
        }
    }

    /// `next` stands right behind `previous` in the file; the tree's order is already known to hold.
    fn succession(&mut self, previous: Revision, next: Revision, unplaced: Option<Place>) {
        if next.main <= self.compact {
            return;
        }
        let from = if previous.main <= self.compact {
            Revision { main: self.compact, sub: i64::MAX }
        } else {
            previous
        };
        let follows = (next.main == from.main && Some(next.sub) == from.sub.checked_add(1))
            || (Some(next.main) == from.main.checked_add(1) && next.sub == 0);
        if !follows {
            let message = format!(
                "revision {next} follows {previous} above the compaction mark {}: records between them are missing",
                self.compact
            );
            let place = Place::Revision { main: next.main, sub: next.sub };
            let finding = Finding::damage("revision-gap", place, message);
            self.report(Finding { follows: unplaced, ..finding });
        }
    }

    /// The next record of this run, decodable or not.
    fn follow(&mut self, revision: Revision) {
        let unplaced = self.unplaced.take();
        match self.last {
            Some(last) => self.succession(last, revision, unplaced),
            None => {
                self.opening = Some(revision);
                self.unplaced_at_opening = unplaced;
            }
        }
        if revision.main > self.compact && self.first.is_none() {
            self.first = Some(revision);
        }
        self.record_at_mark |= revision.main == self.compact;
        self.last = Some(revision);
    }

    fn fields(&mut self, record: &Record<'_>) {
        let revision = record.key.revision;
        let kv = &record.kv;
        if revision.main < 1 {
            self.damage(
                "revision",
                revision,
                format!("revision {revision}: a store's first write is revision 2"),
            );
        }
        if record.key.tombstone {
            let bare = kv.create_revision == 0
                && kv.mod_revision == 0
                && kv.version == 0
                && kv.lease == 0
                && kv.value.is_empty();
            if !bare {
                self.damage(
                    "tombstone",
                    revision,
                    format!("deletion at {revision} carries more than its key"),
                );
            }
            return;
        }
        if *kv == Default::default() {
            // What `restore --bump-revision` leaves: a record with an empty value.
            let message = format!(
                "revision {revision} is an empty record: the revision was bumped by a restore"
            );
            self.report(Finding::note(
                "bumped-revision",
                Place::Revision { main: revision.main, sub: revision.sub },
                message,
            ));
            return;
        }
        if kv.key.is_empty() {
            self.damage("record", revision, format!("record at {revision} has no key"));
        }
        if kv.mod_revision != revision.main {
            let message =
                format!("record at {revision} says it was modified at {}", kv.mod_revision);
            self.damage("mod-revision", revision, message);
        }
        if kv.create_revision < 1 || kv.create_revision > revision.main || kv.version < 1 {
            let message = format!(
                "record at {revision} has version {} and was created at {}",
                kv.version, kv.create_revision
            );
            self.damage("record", revision, message);
        } else if kv.version == 1 && kv.create_revision != kv.mod_revision {
            let message = format!(
                "record at {revision} has version 1 but was created at {}",
                kv.create_revision
            );
            self.damage("record", revision, message);
        }
    }
}

impl<'a> Watch<'a> for Rules {
    type Kept = Known;
    type Link = ();
    const SUCCESSIONS: bool = true;

    fn keep(&mut self, _: &Item<'a>, record: &Record<'a>) -> Known {
        Known::of(record, self.compact)
    }

    fn settled(previous: Option<Known>, next: Known) -> bool {
        next.follows(previous)
    }

    fn record(&mut self, record: &Record<'a>) {
        self.records += 1;
        let revision = record.key.revision;
        self.records_below += u64::from(revision.main <= self.compact);
        self.follow(revision);
        self.fields(record);
    }

    fn first(&mut self, record: &Record<'a>) {
        if let Some(finding) = first_of_key(record, self.compact) {
            self.report(finding);
        }
    }

    fn pair(&mut self, previous: &Record<'a>, next: &Record<'a>) {
        let at = next.key.revision;
        let key = next.kv.key.escape_ascii();
        if next.kv.key.is_empty() {
            return;
        }
        // Below the mark the beginning of a generation, or the end of the one before it, may be gone already.
        let regenerated =
            at.main <= self.compact && next.kv.create_revision > previous.key.revision.main;
        let wrong = match (previous.key.tombstone, next.key.tombstone) {
            (true, true) if at.main > self.compact => {
                Some(format!("key {key} is deleted at {at} and was already deleted at {}", previous.key.revision))
            }
            (_, true) => None,
            (true, false) => (!regenerated && (next.kv.version != 1 || next.kv.create_revision != at.main)).then(|| {
                format!(
                    "key {key} at {at} has version {} created at {}, but it was deleted at {}: expected a new generation",
                    next.kv.version, next.kv.create_revision, previous.key.revision
                )
            }),
            (false, false) => {
                let created = next.kv.create_revision == previous.kv.create_revision;
                let counts = if at.main > self.compact {
                    previous.kv.version.checked_add(1) == Some(next.kv.version)
                } else {
                    next.kv.version > previous.kv.version
                };
                (!(regenerated || created && counts)).then(|| {
                    format!(
                        "key {key} at {at} has version {} created at {}, but version {} created at {} stands before it at {}",
                        next.kv.version,
                        next.kv.create_revision,
                        previous.kv.version,
                        previous.kv.create_revision,
                        previous.key.revision
                    )
                })
            }
        };
        if let Some(message) = wrong {
            self.damage("generation", at, message);
        }
    }

    fn undecodable(&mut self, item: &Item<'a>, error: RecordError) -> Result<(), Error> {
        self.undecodable += 1;
        let leaf = self.broken_leaf.take().filter(|(page, _)| *page == item.page);
        let follows = leaf.map(|(_, first)| first);
        let first = follows.clone().unwrap_or_else(|| place(item));
        self.broken_leaf = Some((item.page, first.clone()));
        match RecordKey::parse(item.key) {
            Ok(key) => self.follow(key.revision),
            Err(_) => {
                self.unplaced.get_or_insert(first);
            }
        }
        let finding = Finding::damage("undecodable", place(item), error.to_string());
        self.report(Finding { follows, ..finding });
        Ok(())
    }

    fn join(&mut self, next: Self) {
        let unplaced = self.unplaced.take();
        if let Some(first) = next.opening {
            let before = unplaced.or(next.unplaced_at_opening);
            match self.last {
                Some(last) => self.succession(last, first, before),
                None => self.unplaced_at_opening = before,
            }
            self.unplaced = next.unplaced;
        } else {
            self.unplaced = unplaced.or(next.unplaced);
        }
        self.opening = self.opening.or(next.opening);
        self.first = self.first.or(next.first);
        self.last = next.last.or(self.last);
        self.records += next.records;
        self.records_below += next.records_below;
        self.record_at_mark |= next.record_at_mark;
        self.undecodable += next.undecodable;
        self.dropped += next.dropped;
        self.worst_dropped = self.worst_dropped.into_iter().chain(next.worst_dropped).min();
        next.findings.into_iter().for_each(|finding| self.report(finding));
    }
}

#[cfg(test)]
mod tests {
    use std::{collections::HashMap, io::Cursor};

    use prost::Message as _;

    use super::*;
    use crate::{
        bolt::{
            Db, TxId,
            write::{BucketOptions, Options as WriteOptions, Writer},
        },
        pb::{mvccpb::KeyValue, wire::KeyValueRef},
        progress::Silent,
        schema::{Store, bucket},
    };

    fn records() -> impl Iterator<Item = Record<'static>> {
        let numbers = [i64::MIN, -1, 0, 1, 2, 3, (1 << 31) - 2, 1 << 32, i64::MAX];
        let fields = (1..4).flat_map(move |main| {
            numbers
                .into_iter()
                .flat_map(move |create| numbers.map(|version| (main, create, version)))
        });
        fields.flat_map(|(main, create_revision, version)| {
            [false, true].map(|tombstone| Record {
                key: RecordKey { revision: Revision { main, sub: 0 }, tombstone },
                kv: KeyValueRef {
                    key: b"k",
                    create_revision,
                    mod_revision: main,
                    version,
                    ..KeyValueRef::default()
                },
            })
        })
    }

    /// A bucket of records as no server would write all of them.
    fn odd_history(seed: u64) -> Vec<u8> {
        let mut state = seed;
        let mut random = |below: u64| {
            state = state
                .wrapping_mul(6_364_136_223_846_793_005)
                .wrapping_add(1_442_695_040_888_963_407);
            (state >> 33) % below
        };
        let mut writer = Writer::new(Cursor::new(Vec::new()), WriteOptions::default()).unwrap();
        let mut bucket = writer.bucket(bucket::KEY.as_bytes(), BucketOptions::default()).unwrap();
        let mut known: HashMap<u64, (i64, i64)> = HashMap::new();
        for main in 2..20_000_i64 {
            let id = random(700);
            let key = format!("k{id}").into_bytes();
            let odd = random(400) == 0;
            let tombstone = known.contains_key(&id) && random(6) == 0;
            let mut kv = KeyValue { key, ..KeyValue::default() };
            if tombstone {
                known.remove(&id);
            } else {
                let (create, version) = known.get(&id).map_or((main, 1), |(c, v)| (*c, v + 1));
                known.insert(id, (create, version));
                kv.create_revision = create;
                kv.mod_revision = main;
                kv.version = version + i64::from(odd);
                kv.lease = if random(9) == 0 { random(40) as i64 } else { 0 };
                kv.value = vec![7; 100];
            }
            let record = RecordKey { revision: Revision { main, sub: 0 }, tombstone };
            bucket.put(&record.encode(), &kv.encode_to_vec()).unwrap();
        }
        bucket.close().unwrap();
        writer.finish().unwrap().seal(TxId(2)).unwrap().0.into_inner()
    }

    /// The index in memory is the oracle of what goes by way of a file.
    #[test]
    fn a_scratch_file_changes_nothing_that_is_found() {
        let leases: HashSet<i64> = (1..20).collect();
        for seed in 1..4 {
            let bytes = odd_history(seed);
            let db = Db::from_bytes(&bytes, Default::default()).unwrap();
            let bucket = Store::new(db).bucket(bucket::KEY).unwrap().unwrap();
            let leased = |rules: &mut Rules, record: &Record<'_>| {
                lease_of(record, &leases).into_iter().for_each(|finding| rules.report(finding));
            };
            let sorted = |rules: Rules, live: u64| {
                let mut judged = rules.finish(live);
                finding::sort(&mut judged.findings);
                (judged.findings, judged.records, judged.live_keys)
            };
            for most in [100_000, 50] {
                let new = || Rules::new(-1, most);
                let scan = Scan::Parallel;
                let (index, mut rules) =
                    KeyIndex::build_watched(Some(&bucket), i64::MAX, scan, &Silent, new).unwrap();
                index.for_each_leased(|record| leased(&mut rules, record)).unwrap();
                let expected = sorted(rules, index.live_keys());
                assert!(expected.0.len() >= 50, "{} findings", expected.0.len());
                for (threads, at_once) in [(1, 1 << 19), (2, 100), (8, 1 << 12)] {
                    let pool = rayon::ThreadPoolBuilder::new().num_threads(threads);
                    let spilled = pool.build().unwrap().install(|| {
                        let scratch = (&tempfile::tempfile().unwrap(), at_once);
                        watch_spilled(&bucket, scan, scratch, &Silent, new, leased)
                    });
                    let Ok((live, rules)) = spilled else { panic!("stopped") };
                    assert!(sorted(rules, live) == expected, "{threads} threads, {at_once}");
                }
            }
        }
    }

    #[test]
    fn a_scratch_file_that_cannot_be_written_is_told_from_damage() {
        let bytes = odd_history(9);
        let db = Db::from_bytes(&bytes, Default::default()).unwrap();
        let bucket = Store::new(db).bucket(bucket::KEY).unwrap().unwrap();
        let scratch = File::open("/dev/null").unwrap();
        let scratch = (&scratch, AT_ONCE);
        let new = || Rules::new(-1, 10);
        let spilled = watch_spilled(&bucket, Scan::Parallel, scratch, &Silent, new, |_, _| {});
        assert!(matches!(spilled, Err(Stopped::Scratch)));
    }

    /// The full rules are the oracle of what is kept of a record.
    #[test]
    fn what_a_kept_record_settles_the_full_rules_find_nothing_in() {
        let mut settled = [0, 0];
        for compact in [-1, 1, 2] {
            for next in records() {
                if Known::of(&next, compact).follows(None) {
                    assert_eq!(first_of_key(&next, compact), None, "{next:?} at mark {compact}");
                    settled[0] += 1;
                }
                for previous in records().filter(|p| p.key.revision < next.key.revision) {
                    let known = Known::of(&previous, compact);
                    if !Known::of(&next, compact).follows(Some(known)) {
                        continue;
                    }
                    let mut rules = Rules::new(compact, 10);
                    rules.pair(&previous, &next);
                    let found = &rules.findings;
                    assert!(
                        found.is_empty(),
                        "{previous:?}, {next:?} at mark {compact}: {found:?}"
                    );
                    settled[1] += 1;
                }
            }
        }
        assert!(settled[0] > 50 && settled[1] > 1000, "{settled:?} settled: nothing was compared");
    }
}
