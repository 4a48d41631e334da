//! The compaction marks in bucket `meta`: whether they are plausible, and whether the records agree with them.

use crate::{
    bolt::{Db, PageId, page::Node},
    finding::{Finding, Place},
    mvcc::{self, KeyIndex, KeySpace, rules::Judgement},
    progress::{Interrupted, Progress},
    schema::{
        MetaRecords, RecordKey, Store, bucket,
        meta::{CONSISTENT_INDEX, FINISHED_COMPACT, SCHEDULED_COMPACT},
    },
};

/// The first write of a store is revision 2; a server accepts compactions at 0 and 1, where there is no record.
const FIRST_WRITE: i64 = 2;

fn place(key: &str) -> Place {
    Place::Record { bucket: bucket::META, key: key.as_bytes().to_vec() }
}

/// What the marks say of themselves.
pub(super) fn plausible(meta: &MetaRecords) -> Vec<Finding> {
    let mut findings = Vec::new();
    if meta.finished_compact > meta.scheduled_compact {
        let message = format!(
            "compaction finished at {} but was scheduled at {}",
            meta.finished_compact.map_or(-1, |mark| mark.main),
            meta.scheduled_compact.map_or(-1, |mark| mark.main)
        );
        findings.push(Finding::damage("compaction-marks", place(FINISHED_COMPACT), message));
    } else if meta.compaction_pending() {
        let message = format!(
            "a compaction at {} was accepted and is not finished; a server resumes it when it starts",
            meta.compact_revision()
        );
        findings.push(Finding::note("compaction-pending", place(SCHEDULED_COMPACT), message));
    }
    for (key, mark) in
        [(SCHEDULED_COMPACT, meta.scheduled_compact), (FINISHED_COMPACT, meta.finished_compact)]
    {
        // Servers accept a first compaction at revision 0.
        if mark.is_some_and(|mark| mark.sub != 0 || mark.main < 0) {
            findings.push(Finding::damage(
                "compaction-marks",
                place(key),
                format!("{key} is {}", mark.map(|mark| mark.to_string()).unwrap_or_default()),
            ));
        }
    }
    if meta.consistent_index == Some(0) {
        findings.push(Finding::warning(
            "consistent-index",
            place(CONSISTENT_INDEX),
            "consistent index 0: no server writes that",
        ));
    }
    findings
}

/// Whether the record at the mark of an unfinished compaction is there.
///
/// etcd 3.4.34, 3.5.16, 3.6 and later keep it: it is the newest record of its key at the mark. Older servers delete it
/// when it is a deletion, with the last batch of the compaction; where that batch is full, they commit it before the
/// finished mark (etcd#17780). What such a server leaves has no superseded record at or below the mark.
///
/// # Errors
/// When a page or a record is damaged.
pub(super) fn record_at_mark(
    store: &Store<'_>,
    space: &KeySpace<'_>,
    judged: &Judgement,
    progress: &dyn Progress,
) -> Result<Option<Finding>, mvcc::Error> {
    let (meta, _) = MetaRecords::read(store)?;
    let mark = space.compact_revision();
    if !meta.compaction_pending() || judged.record_at_mark || mark < FIRST_WRITE {
        return Ok(None);
    }
    let missing = format!(
        "the compaction at revision {mark} is not finished, and no record has revision {mark}"
    );
    let beyond = match newest_on_any_page(store.db(), progress)? {
        Some(newest) if newest > space.last_record() => format!(
            "; pages outside the tree have records up to revision {newest}, the tree only up to {}",
            space.last_record()
        ),
        _ => String::new(),
    };
    let copied = "a copy made while a server writes looks like this";
    // 3.6 and later write a storage version.
    let why = if meta.storage_version.is_some() {
        "etcd 3.6 and later keep that record until a later compaction"
    } else {
        let alive = KeyIndex::build(space.bucket(), mark, progress)?.live_keys();
        if judged.records_below == alive {
            let message = format!(
                "{missing}: etcd before 3.4.34 and 3.5.16 leaves this when it stops between the last batch and the end of a compaction (etcd#17780), and so does a copy made while a server writes{beyond}; compare the number of keys with another member or backup"
            );
            return Ok(Some(Finding::warning("mark-record", place(SCHEDULED_COMPACT), message)));
        }
        "a server deletes that record last, and superseded records before it are still here"
    };
    let message = format!("{missing}: {why}, so records are lost{beyond}; {copied}");
    Ok(Some(Finding::damage("mark-record", place(SCHEDULED_COMPACT), message)))
}

/// The greatest revision at the end of any leaf of revisions in the file, whether a tree leads to it or not.
fn newest_on_any_page(db: &Db<'_>, progress: &dyn Progress) -> Result<Option<i64>, Interrupted> {
    let mut newest = None;
    let mut id = 2;
    while id < db.pages_in_file() {
        progress.go_on()?;
        let page = db.page(PageId(id)).ok();
        id += page.as_ref().map_or(1, |page| page.physical());
        let Some(Ok(Node::Leaf(leaf))) = page.as_ref().map(|page| page.node()) else { continue };
        let last = leaf.count().checked_sub(1).and_then(|last| leaf.item(last).ok());
        let key = last.filter(|item| !item.is_bucket()).map(|item| RecordKey::parse(item.key));
        if let Some(Ok(key)) = key {
            newest = newest.max(Some(key.revision.main));
        }
    }
    Ok(newest)
}
