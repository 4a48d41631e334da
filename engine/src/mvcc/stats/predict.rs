//! What the database would be like after a compaction and a defragmentation.

use crate::{
    bolt::{
        self, Bucket, Db, layout,
        write::{Estimate, Estimated, Fill, PageSize, Style},
    },
    mvcc::Error,
    schema::{Store, bucket, meta, revision::REVISION_LEN},
};

use super::Amount;

/// Lengths of a record's key and value in its page, and whether it is kept by the compaction. Eight bytes, because
/// there is one for every record of a wave.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Sizes {
    value: u32,
    key: u16,
    stays: bool,
}

impl Sizes {
    pub(super) fn new(key: usize, value: usize, stays: bool) -> Self {
        Self {
            value: u32::try_from(value).unwrap_or(u32::MAX),
            key: u16::try_from(key).unwrap_or(u16::MAX),
            stays,
        }
    }

    fn lengths(self) -> (usize, usize) {
        (usize::from(self.key), self.value as usize)
    }
}

/// Bytes of a database that is written anew, by whom.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Rewritten {
    /// By etcd's defragmentation, as etcd reports a database's size; its file may be up to 16 MiB longer.
    pub defragmented: u64,
    /// By `compact`, which fills pages.
    pub compacted: u64,
}

/// What compaction and defragmentation would give back. Bytes are of the database: high water mark × page size, which
/// is what etcd reports as its size and what a snapshot has but for its digest.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Prediction {
    /// The database as it is.
    pub bytes: u64,
    /// Written anew with all of its history.
    pub rewritten: Rewritten,
    /// The revision history would be compacted to; `None` when it is already compacted to the newest one.
    pub compaction: Option<i64>,
    /// Records that the compaction would remove.
    pub removed: Amount,
    /// Compacted and then written anew.
    pub compacted: Rewritten,
}

const STYLES: [Style; 2] = [Style::Defragmented, Style::Packed(Fill::FULL)];

/// Lays out the records in page after page, without the records.
pub(super) struct Forecast {
    page_size: PageSize,
    bytes: u64,
    compaction: Option<i64>,
    removed: Amount,
    /// All records, in either style.
    all: [Estimate; 2],
    /// Those that a compaction leaves.
    rest: [Estimate; 2],
}

impl Forecast {
    pub(super) fn new(db: &Db<'_>, compaction: Option<i64>) -> Result<Self, Error> {
        // Opening a database checked its page size.
        let page_size = PageSize::new(db.meta().page_size).unwrap_or_default();
        Ok(Self {
            page_size,
            bytes: db.size_bytes(),
            compaction,
            removed: Amount::default(),
            all: STYLES.map(|style| Estimate::new(page_size, style)),
            rest: STYLES.map(|style| Estimate::new(page_size, style)),
        })
    }

    pub(super) fn take(&mut self, sizes: &[Sizes]) {
        let put = |estimates: &mut [Estimate; 2], all: bool| {
            for estimate in estimates {
                for size in sizes.iter().filter(|size| all || size.stays) {
                    let (key, value) = size.lengths();
                    estimate.put(key, value);
                }
            }
        };
        rayon::join(|| put(&mut self.all, true), || put(&mut self.rest, false));
        for (key, value) in sizes.iter().filter(|size| !size.stays).map(|size| size.lengths()) {
            self.removed.records += 1;
            self.removed.bytes += (layout::ELEMENT + key + value) as u64;
        }
    }

    pub(super) fn finish(self, store: &Store<'_>) -> Result<Prediction, Error> {
        let rewritten = |[theirs, ours]: [Estimate; 2], marked| -> Result<Rewritten, Error> {
            let bytes = |key: Estimate, style| {
                let pages = pages(store, &key.finish(), self.page_size, style, marked)?;
                Ok::<_, Error>(pages * u64::from(self.page_size.bytes()))
            };
            let [by_etcd, by_us] = STYLES;
            Ok(Rewritten { defragmented: bytes(theirs, by_etcd)?, compacted: bytes(ours, by_us)? })
        };
        Ok(Prediction {
            bytes: self.bytes,
            rewritten: rewritten(self.all, false)?,
            compaction: self.compaction,
            removed: self.removed,
            compacted: rewritten(self.rest, self.compaction.is_some())?,
        })
    }
}

/// All pages of the database when bucket `key` takes so many, and with the marks of a compaction when it is `marked`.
fn pages(
    store: &Store<'_>,
    key: &Estimated,
    page_size: PageSize,
    style: Style,
    marked: bool,
) -> Result<u64, Error> {
    const METAS: u64 = 2;
    let mut root = Estimate::new(page_size, style);
    let (mut total, mut left_free) = (METAS, 0);
    for item in store.db().root().items() {
        let item = item?;
        let estimated = if item.key == bucket::KEY.as_bytes() {
            *key
        } else if item.is_bucket() {
            let bucket = Bucket::from_item(*store.db(), &item)?;
            let marks = if marked && item.key == bucket::META.as_bytes() {
                missing_marks(&bucket)?
            } else {
                Vec::new()
            };
            estimate(&bucket, page_size, style, (0, &marks), &mut total)?
        } else {
            root.put(item.key.len(), item.value.len());
            continue;
        };
        root.put_bucket(item.key.len(), &estimated);
        total += estimated.pages;
        left_free = left_free.max(estimated.left_free);
    }
    Ok(total + root.finish().pages + left_free)
}

/// Lengths of the compaction marks that bucket `meta` does not have yet.
fn missing_marks(records: &Bucket<'_>) -> Result<Vec<(usize, usize)>, bolt::Error> {
    let mut missing = Vec::new();
    for mark in [meta::FINISHED_COMPACT, meta::SCHEDULED_COMPACT] {
        if records.get(mark.as_bytes())?.is_none() {
            missing.push((mark.len(), REVISION_LEN));
        }
    }
    Ok(missing)
}

/// A bucket but `key` at `depth`, with more elements of these lengths; the pages of buckets within it go to `total`.
fn estimate(
    bucket: &Bucket<'_>,
    page_size: PageSize,
    style: Style,
    (depth, more): (usize, &[(usize, usize)]),
    total: &mut u64,
) -> Result<Estimated, bolt::Error> {
    let mut estimate_of = Estimate::new(page_size, style);
    let limit = bucket.db().limits().max_depth;
    for item in bucket.items() {
        let item = item?;
        if !item.is_bucket() {
            estimate_of.put(item.key.len(), item.value.len());
            continue;
        }
        if depth >= limit {
            return Err(bolt::Error::TooDeep { page: item.page, limit });
        }
        let nested = Bucket::from_item(*bucket.db(), &item)?;
        let nested = estimate(&nested, page_size, style, (depth + 1, &[]), total)?;
        estimate_of.put_bucket(item.key.len(), &nested);
        *total += nested.pages;
    }
    more.iter().for_each(|(key, value)| estimate_of.put(*key, *value));
    Ok(estimate_of.finish())
}
