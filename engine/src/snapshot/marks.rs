//! The compaction marks in bucket `meta`: whether they are plausible.

use crate::{
    finding::{Finding, Place},
    schema::{
        MetaRecords, bucket,
        meta::{CONSISTENT_INDEX, FINISHED_COMPACT, SCHEDULED_COMPACT},
    },
};

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
            "a compaction at {} was accepted and is not finished; a server resumes it at boot",
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
