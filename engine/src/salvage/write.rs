//! The fresh database, and which of its keys are doubtful.

use std::io::{Seek, Write};

use super::{
    Error, Salvage,
    report::{Doubt, Report},
};
use crate::{
    bolt::{
        Db, TxId,
        write::{BucketOptions, Fill, Options, PageSize, Unsealed, Writer},
    },
    mvcc::{self, KeyIndex, KeySpace},
    progress::Progress,
    rewrite::Records,
    schema::{RecordKey, Revision, Store, bucket, meta},
};

/// A key of the result that may not be what the undamaged file had.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Doubtful {
    /// The key.
    pub key: Vec<u8>,
    /// Of its newest record.
    pub revision: Revision,
    /// Why.
    pub doubt: Doubt,
}

impl Salvage<'_> {
    /// Writes everything that was saved to `out`, an empty file; only the metas are left to be written. The report says
    /// afterwards what came from where.
    ///
    /// # Errors
    /// [`Error::Nothing`] when there is no record, [`Error::Write`], or when the work was interrupted.
    pub fn write<W: Write + Seek>(
        &mut self,
        out: W,
        progress: &dyn Progress,
    ) -> Result<Unsealed<W>, Error> {
        progress.begin("salvage", self.pages.bytes().len() as u64);
        let page_size = u32::try_from(self.pages.page_size()).unwrap_or_default();
        let options = Options {
            page_size: PageSize::new(page_size).unwrap_or_default(),
            root_fill: Fill::FULL,
            ..Options::default()
        };
        let mut writer = Writer::new(out, options)?;
        let full = BucketOptions { fill: Fill::FULL, sequence: 0 };
        let mut names: Vec<Vec<u8>> = self.small.keys().cloned().collect();
        names.push(bucket::KEY.into());
        names.sort();
        for name in names {
            let mut new = writer.bucket(&name, full)?;
            if name == bucket::KEY.as_bytes() {
                let merged = self.keys.merge(progress, &mut |record| {
                    progress.advance((record.item.key.len() + record.item.value.len()) as u64);
                    Ok(new.put(record.item.key, record.item.value)?)
                })?;
                self.take(merged);
            } else {
                if name == bucket::META.as_bytes() {
                    self.mark();
                }
                for (key, value) in self.small.get(&name).into_iter().flatten() {
                    new.put(key, value)?;
                }
            }
            new.close()?;
        }
        if self.report.tree_records + self.report.found_records == 0
            && self.small.values().all(Records::is_empty)
        {
            let (pages, page_size) = (self.pages.count(), self.pages.page_size());
            return Err(Error::Nothing { pages, page_size });
        }
        Ok(writer.finish()?)
    }

    /// The transaction of the new file's state: the source's, where a meta says it.
    pub fn txid(&self) -> TxId {
        TxId(self.pages.metas().first().map_or(2, |meta| meta.txid.0.clamp(1, u64::MAX - 1)))
    }

    fn take(&mut self, merged: super::merge::Merged) {
        use super::report::{BucketFrom, BucketReport};
        let report = &mut self.report;
        report.runs = merged.runs;
        report.holes = merged.holes;
        report.hole_count = merged.hole_count;
        report.doubt_below = merged.doubt_below;
        report.cut = merged.cut;
        report.cut_records = merged.cut_records;
        report.tree_records = merged.tree_records;
        report.found_records = merged.found_records;
        report.superseded = merged.superseded;
        report.missing_below_mark = merged.missing_below_mark;
        report.revision = merged.last.map_or(0, |key| key.revision.main);
        let gaps = report.lost_pages.iter().any(|lost| lost.bucket == bucket::KEY);
        let from = match (report.tree_records, report.found_records) {
            (0, 0) if !report.index_certain || gaps => BucketFrom::Lost,
            (0, 1..) => BucketFrom::Content,
            (_, 0) if gaps || report.cut_records > 0 => BucketFrom::PartOfTree,
            (_, 0) => BucketFrom::Tree,
            _ => BucketFrom::TreeAndContent,
        };
        let records = report.tree_records + report.found_records;
        let keys = BucketReport { name: bucket::KEY.to_owned(), from, records };
        report.buckets.retain(|bucket| bucket.name != keys.name);
        report.buckets.push(keys);
        report.buckets.sort_by(|one, other| one.name.cmp(&other.name));
    }

    /// Sets the compaction marks. Where history may have holes it is compacted to its end, as
    /// [`Cut`](crate::mvcc::Cut) does it: whoever watches from an older revision is told so, and misses nothing in silence.
    fn mark(&mut self) {
        let report = &mut self.report;
        let meta_known = report
            .buckets
            .iter()
            .any(|one| one.name == bucket::META && one.from == super::BucketFrom::Tree);
        report.compaction = report.compact_revision;
        if report.keys_are_whole() && meta_known {
            return;
        }
        let main = report.revision.max(report.compact_revision);
        if main < 1 {
            return;
        }
        report.compaction = main;
        let mark = Revision { main, sub: 0 }.encode().to_vec();
        let records = self.small.entry(bucket::META.into()).or_default();
        for key in [meta::SCHEDULED_COMPACT, meta::FINISHED_COMPACT] {
            records.insert(key.into(), mark.clone());
        }
    }
}

/// The keys of `db`, which holds what `report` speaks of, that are doubtful; in key order. What was written behind
/// `replayed`, when the WAL was applied to what is incomplete, is doubtful too.
///
/// # Errors
/// When `db` cannot be read.
pub fn doubtful(
    db: &Db<'_>,
    report: &Report,
    replayed: Option<i64>,
    progress: &dyn Progress,
) -> Result<Vec<Doubtful>, mvcc::Error> {
    let mut found = Vec::new();
    if report.runs.is_empty() && report.doubt_below.is_none() && replayed.is_none() {
        return Ok(found);
    }
    let space = KeySpace::open(&Store::new(*db))?;
    let index = KeyIndex::build(space.bucket(), i64::MAX, progress)?;
    index.for_each_live(|record| {
        let RecordKey { revision, .. } = record.key;
        let replayed = replayed.filter(|from| revision.main > *from).map(|_| Doubt::Replayed);
        if let Some(doubt) = replayed.or_else(|| report.doubt(record.key)) {
            found.push(Doubtful { key: record.kv.key.to_vec(), revision, doubt });
        }
    })?;
    found.sort_unstable();
    Ok(found)
}
