//! Whole-file invariants, as findings in bbolt's words.
//!
//! [`check`] first asks in parallel whether all is well, which it nearly always is. Only when something
//! is not does `exact` walk the file in bbolt's order and say what: its findings do not
//! depend on the number of threads.

mod exact;
mod fast;

use super::{
    Db, Error, PageId,
    freelist::Freelist,
    meta::{Meta, MetaError},
};
use crate::{
    finding::{self, Finding, Place, Severity},
    progress::{Interrupted, Progress},
};

/// Checks the pages of the whole file: metas, bounds, references, page types, key order, inline
/// buckets, the freelist where one is stored.
///
/// All findings are reported, causes first; an empty list is bbolt's `OK`. Source: bbolt
/// `tx_check.go`, whose wording is kept for what it can find. It stops at the first finding in files
/// without a stored freelist and panics on wrong page ids; both are findings here.
///
/// # Errors
/// Only [`Interrupted`].
pub fn check(db: &Db<'_>, progress: &dyn Progress) -> Result<Vec<Finding>, Interrupted> {
    let freelist = Freelist::read(db);
    if freelist.is_ok() && db.missing_tail().is_none() {
        let sound = fast::is_sound(db, freelist.as_ref().ok().and_then(Option::as_ref), progress)?;
        if sound {
            return Ok(meta_findings(db));
        }
    }
    let mut findings = meta_findings(db);
    findings.extend(tail_finding(db));
    findings.extend(exact::findings(db, freelist, progress)?);
    finding::sort(&mut findings);
    Ok(findings)
}

/// The plain sequential check: what [`check`] must agree with. For tests.
#[cfg(any(test, feature = "testkit"))]
pub fn check_sequential(db: &Db<'_>) -> Vec<Finding> {
    let mut findings = meta_findings(db);
    findings.extend(tail_finding(db));
    let silent = crate::progress::Silent;
    findings.extend(exact::findings(db, Freelist::read(db), &silent).unwrap_or_default());
    finding::sort(&mut findings);
    findings
}

/// The code of a wrong page header of a valid meta.
pub const META_HEADER: &str = "meta-header";

/// Whether `finding` keeps a server, or a restore, from using the database. bbolt's checks refuse a wrong header of a
/// meta page; every server opens the file by its metas and writes both headers anew.
pub fn is_obstacle(finding: &Finding) -> bool {
    finding.severity == Severity::Damage && finding.code != META_HEADER
}

/// The two meta pages: what their headers say, and whether their metas are valid.
///
/// bbolt opens a file by the metas alone and writes both headers anew in its next commits, so servers and restores
/// take any header. Its check asserts the headers of both pages, used or not, and `etcdutl snapshot status` runs it
/// since 3.5: a header that no commit wrote is damage. A page without a valid meta is what a crash during a commit
/// leaves: the other one is used, and it is said.
fn meta_findings(db: &Db<'_>) -> Vec<Finding> {
    let active = db.meta();
    let of_slot = |(slot, meta): (usize, &Result<Meta, MetaError>)| {
        let page = PageId(slot as u64);
        let place = Place::Page(page.0);
        match (meta, db.meta_header(page)) {
            (Ok(_), Ok(())) => None,
            (Ok(_), Err(error)) => Some(Finding::damage(META_HEADER, place, error.to_string())),
            (Err(meta), header) => {
                let mut message = format!(
                    "meta {slot}: {meta}; using meta {} of transaction {}: the last commit may have been cut short",
                    active.slot, active.txid
                );
                if let Err(error @ (Error::PageIdDiffers { .. } | Error::UnknownFlags { .. })) =
                    header
                {
                    message += &format!(
                        "; bbolt and etcd open the file and write the page anew, but `bbolt check` and `etcdutl snapshot status` stop at it: {error}"
                    );
                }
                Some(Finding::warning("torn-meta", place, message))
            }
        }
    };
    db.metas().slots.iter().enumerate().filter_map(of_slot).collect()
}

fn tail_finding(db: &Db<'_>) -> Option<Finding> {
    db.missing_tail().map(|tail| {
        Finding::damage(
            "missing-tail",
            Place::Offset(tail.found),
            format!(
                "the file ends at {} bytes, the database has {} bytes (high water mark {} × page size {}): its tail is missing",
                tail.found,
                tail.expected,
                db.meta().high_water_mark,
                db.page_size()
            ),
        )
    })
}
