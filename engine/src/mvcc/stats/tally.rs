//! What is added up by key and by prefix while the key index is built.

use rayon::prelude::*;

use super::{
    Amount, MAX_PREFIXES, PrefixUse, Tally,
    prefix::{Grouping, Prefixes},
};
use crate::{
    bolt::Item,
    mvcc::{Error, KeyIndex, Record, index::Watch},
};

/// A key's newest record and all that came before it. Words of 32 bits, so that nothing is lost to alignment; what does
/// not fit into one, which no etcd writes, counts as the most that does.
#[derive(Clone, Copy, Debug, Default)]
pub(in crate::mvcc) struct Seen {
    bytes: u32,
    /// Bytes of the value alone.
    pub value: u32,
    /// Writes since the key was created.
    pub version: u32,
    /// Number of its prefix, [`NO_PREFIX`] when it is not asked for.
    prefix: u32,
    before: u32,
    /// A number of 64 bits, the high half first.
    bytes_before: [u32; 2],
}

const NO_PREFIX: u32 = u32::MAX;

impl Seen {
    fn own(&self) -> Amount {
        Amount { records: 1, bytes: self.bytes.into() }
    }

    fn history(&self) -> Amount {
        let [high, low] = self.bytes_before;
        Amount { records: self.before.into(), bytes: u64::from(high) << 32 | u64::from(low) }
    }
}

fn short(number: impl TryInto<u32>) -> u32 {
    number.try_into().unwrap_or(u32::MAX)
}

/// Adds up what the index does not keep; what is added up by key, it does.
pub(super) struct Tallying<'a> {
    prefixes: Prefixes<'a>,
    later: Amount,
    /// By number of prefix.
    later_by: Vec<Amount>,
}

impl<'a> Tallying<'a> {
    pub(super) fn new(grouping: &Grouping) -> Self {
        let prefixes = Prefixes::new(grouping, MAX_PREFIXES);
        Self { prefixes, later: Amount::default(), later_by: Vec::new() }
    }

    fn count_later(&mut self, number: u32, amount: Amount) {
        self.later_by.resize(self.prefixes.given(), Amount::default());
        self.later_by.get_mut(number as usize).into_iter().for_each(|sum| sum.add(amount));
    }

    /// All records, those of each prefix, and the depth of the prefixes.
    pub(super) fn finish(self, index: &KeyIndex<'a, Seen>) -> (Tally, Vec<PrefixUse<'a>>, usize) {
        let new = || (Tally::default(), vec![Tally::default(); self.prefixes.given()]);
        let (mut total, mut by) = index
            .shards()
            .with_min_len(index.shards().len().div_ceil(rayon::current_num_threads()))
            .fold(new, |(mut total, mut by), shard| {
                for (place, seen) in shard {
                    let mut tally = Tally::default();
                    if place.is_tombstone() {
                        tally.deleted = seen.own();
                        tally.deleted.add(seen.history());
                    } else {
                        (tally.live, tally.superseded) = (seen.own(), seen.history());
                    }
                    total.add(&tally);
                    by.get_mut(seen.prefix as usize).into_iter().for_each(|sum| sum.add(&tally));
                }
                (total, by)
            })
            .reduce(new, |(mut total, mut by), (more, more_by)| {
                total.add(&more);
                by.iter_mut().zip(&more_by).for_each(|(sum, more)| sum.add(more));
                (total, by)
            });
        total.later = self.later;
        by.iter_mut().zip(&self.later_by).for_each(|(sum, later)| sum.later = *later);
        let (prefixes, depth) = self.prefixes.finish(&by);
        (total, prefixes, depth)
    }
}

impl<'a> Watch<'a> for Tallying<'a> {
    type Kept = Seen;
    /// What each number of a prefix in the part is in all.
    type Link = Vec<u32>;
    const SUCCESSIONS: bool = true;

    fn keep(&mut self, item: &Item<'a>, record: &Record<'a>) -> Seen {
        Seen {
            bytes: short(Amount::of(item).bytes),
            value: short(record.kv.value.len()),
            version: short(record.kv.version.max(0)),
            prefix: self.prefixes.number(record.kv.key).unwrap_or(NO_PREFIX),
            before: 0,
            bytes_before: [0, 0],
        }
    }

    fn follow(previous: Option<Seen>, next: Seen, link: &Vec<u32>) -> Seen {
        let prefix = link.get(next.prefix as usize).copied().unwrap_or(NO_PREFIX);
        let Some(previous) = previous else { return Seen { prefix, ..next } };
        let mut before = previous.history();
        before.add(previous.own());
        Seen {
            prefix,
            before: short(before.records),
            bytes_before: [(before.bytes >> 32) as u32, before.bytes as u32],
            ..next
        }
    }

    fn beyond(&mut self, item: &Item<'a>) -> Result<(), Error> {
        let record = Record::decode(item)?;
        let amount = Amount::of(item);
        self.later.add(amount);
        if let Some(number) = self.prefixes.number(record.kv.key) {
            self.count_later(number, amount);
        }
        Ok(())
    }

    fn join(&mut self, next: Self) -> Vec<u32> {
        let link = self.prefixes.join(&next.prefixes);
        self.later.add(next.later);
        for (number, amount) in link.iter().zip(next.later_by) {
            self.count_later(*number, amount);
        }
        link
    }
}

#[cfg(test)]
mod tests {
    use std::{collections::BTreeMap, io::Cursor};

    use prost::Message as _;

    use super::*;
    use crate::{
        bolt::{
            Db, TxId,
            write::{BucketOptions, Options, PageSize, Writer},
        },
        mvcc::Scan,
        pb::mvccpb::KeyValue,
        progress::Silent,
        schema::{RecordKey, Revision, bucket},
    };

    const RECORDS: i64 = 1200;

    /// Revision, key and whether it is a deletion; keys are written three times and some are deleted.
    fn records() -> impl Iterator<Item = (i64, String, bool)> {
        (1..=RECORDS).map(|main| {
            let n = main % 400;
            (main, format!("/{}/{}/{}/{n}", n / 133, n / 20, n / 2), n % 7 == main / 400)
        })
    }

    fn element(main: i64, key: &str, tombstone: bool) -> (Vec<u8>, Vec<u8>) {
        let revision = Revision { main, sub: 0 };
        let kv = KeyValue {
            key: key.into(),
            value: if tombstone { Vec::new() } else { vec![7; n_bytes(main)] },
            ..KeyValue::default()
        };
        (RecordKey { revision, tombstone }.encode(), kv.encode_to_vec())
    }

    fn n_bytes(main: i64) -> usize {
        usize::try_from(main % 50).unwrap() + 1
    }

    fn file() -> Vec<u8> {
        let options = Options { page_size: PageSize::new(1024).unwrap(), ..Options::default() };
        let mut writer = Writer::new(Cursor::new(Vec::new()), options).unwrap();
        let mut out = writer.bucket(bucket::KEY.as_bytes(), BucketOptions::default()).unwrap();
        for (main, key, tombstone) in records() {
            let (key, value) = element(main, &key, tombstone);
            out.put(&key, &value).unwrap();
        }
        out.close().unwrap();
        writer.finish().unwrap().seal(TxId(9)).unwrap().0.into_inner()
    }

    /// All records and those of each prefix, one after the other.
    fn plainly(grouping: &Grouping, depth: usize, seen: i64) -> (Tally, Vec<(String, Tally)>) {
        let newest: BTreeMap<String, (i64, bool)> = records()
            .filter(|(main, ..)| *main <= seen)
            .map(|(main, key, tombstone)| (key, (main, tombstone)))
            .collect();
        let (mut total, mut prefixes) = (Tally::default(), BTreeMap::<String, Tally>::new());
        for (main, key, tombstone) in records() {
            let (stored, value) = element(main, &key, tombstone);
            let bytes = (16 + stored.len() + value.len()) as u64;
            let mut tally = Tally::default();
            *match newest.get(&key) {
                _ if main > seen => &mut tally.later,
                Some((_, true)) | None => &mut tally.deleted,
                Some((last, false)) if *last == main => &mut tally.live,
                Some(_) => &mut tally.superseded,
            } = Amount { records: 1, bytes };
            total.add(&tally);
            let prefix = grouping.prefix_of(key.as_bytes(), depth).unwrap();
            let prefix = String::from_utf8(prefix.to_vec()).unwrap();
            prefixes.entry(prefix).or_default().add(&tally);
        }
        (total, prefixes.into_iter().collect())
    }

    /// Parts give numbers of their own and come to other depths before they are joined.
    #[test]
    fn where_the_depth_is_lowered_every_record_is_counted_under_its_shorter_prefix() {
        let file = file();
        let db = Db::from_bytes(&file, Default::default()).unwrap();
        let bucket = db.root().bucket(bucket::KEY.as_bytes()).unwrap().unwrap();
        let grouping = Grouping { prefix: Vec::new(), separator: b"/".to_vec(), depth: 3 };
        // After 300 each key was written once at most, so that numbers of the first parts count to the end.
        for (most, expected, seen) in
            [(300, 3, 900), (100, 2, 900), (15, 1, 900), (2, 0, 900), (15, 1, 300), (2, 0, 300)]
        {
            for threads in [1, 2, 8] {
                let pool = rayon::ThreadPoolBuilder::new().num_threads(threads).build().unwrap();
                let (total, prefixes, depth) = pool.install(|| {
                    let tallying = || Tallying {
                        prefixes: Prefixes::new(&grouping, most),
                        ..Tallying::new(&grouping)
                    };
                    let scan = Scan::Parallel;
                    let (index, tallying) =
                        KeyIndex::build_watched(Some(&bucket), seen, scan, &Silent, tallying)
                            .unwrap();
                    tallying.finish(&index)
                });
                assert_eq!(depth, expected, "at most {most}");
                let text = |prefix: &[u8]| String::from_utf8(prefix.to_vec()).unwrap();
                let is = prefixes.iter().map(|one| (text(one.prefix), one.tally)).collect();
                let case = format!("at most {most} at {seen} on {threads} threads");
                assert_eq!((total, is), plainly(&grouping, depth, seen), "{case}");
            }
        }
    }
}
