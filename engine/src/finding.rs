//! What is wrong with data that could still be read, as data.

use std::{
    collections::{BTreeMap, BTreeSet},
    fmt,
};

/// How bad a finding is.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Severity {
    /// Not sound: something is lost, altered or would be refused by a server.
    Damage,
    /// Works, but look at it.
    Warning,
    /// Worth knowing.
    Note,
}

impl fmt::Display for Severity {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Severity::Damage => "damage",
            Severity::Warning => "warning",
            Severity::Note => "note",
        })
    }
}

/// Where a finding is. Ordered: the whole file first, then by position in it.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Place {
    /// The file as a whole.
    File,
    /// A byte, counted from the start of the file.
    Offset(u64),
    /// A page as a whole.
    Page(u64),
    /// An element of a page, counted from 0.
    Element {
        /// The page.
        page: u64,
        /// The element's index in it.
        index: usize,
    },
    /// A record of a bucket, by its raw key; the bucket as a whole when the key is empty.
    Record {
        /// The bucket's name.
        bucket: &'static str,
        /// The record's key as it is stored.
        key: Vec<u8>,
    },
    /// A revision of the key space.
    Revision {
        /// Revision of the transaction.
        main: i64,
        /// Change within the transaction.
        sub: i64,
    },
}

impl Place {
    /// The page that the place names or lies in. `None` where the place names no bytes of the file; which page holds a
    /// record or a revision is asked of `schema::Store::page_of`.
    pub fn page(&self, page_size: u64) -> Option<u64> {
        match self {
            Place::Page(page) | Place::Element { page, .. } => Some(*page),
            Place::Offset(offset) => offset.checked_div(page_size),
            Place::File | Place::Record { .. } | Place::Revision { .. } => None,
        }
    }
}

impl fmt::Display for Place {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Place::File => f.write_str("file"),
            Place::Offset(offset) => write!(f, "offset {offset:#x}"),
            Place::Page(id) => write!(f, "page {id}"),
            Place::Element { page, index } => write!(f, "page {page} element {index}"),
            Place::Record { bucket, key } if key.is_empty() => write!(f, "bucket {bucket}"),
            Place::Record { bucket, key } => {
                write!(f, "bucket {bucket} key {}", key.escape_ascii())
            }
            Place::Revision { main, sub } => write!(f, "revision {main}/{sub}"),
        }
    }
}

/// One thing that is wrong, or worth knowing, at one place.
///
/// Ordered totally: causes before consequences, then by severity, place, code and message. [`sort`] is the only
/// code that puts findings into that order.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Finding {
    /// Place of the finding that explains this one; `None` when this one is a cause itself.
    pub follows: Option<Place>,
    /// How bad it is.
    pub severity: Severity,
    /// Where it is.
    pub place: Place,
    /// A stable word for scripts, such as `multiple-references`.
    pub code: &'static str,
    /// What was expected and what was found, for people. Page tree findings use bbolt's wording.
    pub message: String,
}

impl Finding {
    /// A finding that no other explains.
    pub fn new(
        severity: Severity,
        code: &'static str,
        place: Place,
        message: impl Into<String>,
    ) -> Self {
        Self { follows: None, severity, place, code, message: message.into() }
    }

    /// A finding of severity damage.
    pub fn damage(code: &'static str, place: Place, message: impl Into<String>) -> Self {
        Self::new(Severity::Damage, code, place, message)
    }

    /// A finding of severity warning.
    pub fn warning(code: &'static str, place: Place, message: impl Into<String>) -> Self {
        Self::new(Severity::Warning, code, place, message)
    }

    /// A finding of severity note.
    pub fn note(code: &'static str, place: Place, message: impl Into<String>) -> Self {
        Self::new(Severity::Note, code, place, message)
    }
}

/// Sorts findings into their one order and removes those that say the same of the same place twice.
///
/// The order depends on the findings alone, never on threads or hash seeds.
pub fn sort(findings: &mut Vec<Finding>) {
    findings.sort_unstable();
    // A cause stands before a consequence that repeats it, not always next to it.
    let mut said = BTreeSet::new();
    let repeated: Vec<bool> = findings
        .iter()
        .map(|one| !said.insert((&one.place, one.code, one.severity, &one.message)))
        .collect();
    let mut repeated = repeated.into_iter();
    findings.retain(|_| !repeated.next().unwrap_or_default());
}

/// A finding and those that follow from it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Cause<'f> {
    /// What explains the others.
    pub finding: &'f Finding,
    /// What it explains, in the order of `findings`.
    pub consequences: Vec<&'f Finding>,
}

/// Groups sorted `findings` by cause, so that each thing that is wrong is one item.
///
/// A consequence whose cause is not among them is an item of its own.
pub fn causes(findings: &[Finding]) -> Vec<Cause<'_>> {
    let mut causes: Vec<Cause<'_>> = Vec::new();
    let mut at: BTreeMap<&Place, usize> = BTreeMap::new();
    for finding in findings {
        match finding.follows.as_ref().and_then(|place| at.get(place)) {
            Some(cause) => {
                if let Some(cause) = causes.get_mut(*cause) {
                    cause.consequences.push(finding);
                }
            }
            None => {
                at.entry(&finding.place).or_insert(causes.len());
                causes.push(Cause { finding, consequences: Vec::new() });
            }
        }
    }
    causes
}

/// A number with its noun: `1 entry`, `2 entries`.
pub fn counted(count: u64, one: &str, several: &str) -> String {
    format!("{count} {}", if count == 1 { one } else { several })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn following(place: u64, cause: u64) -> Finding {
        Finding {
            follows: Some(Place::Page(cause)),
            ..Finding::damage("page-type", Place::Page(place), "as well")
        }
    }

    #[test]
    fn the_order_depends_on_the_findings_alone() {
        let all = [
            Finding::damage("a", Place::Page(1), "first"),
            Finding::damage("a", Place::Page(1), "second"),
            Finding::damage("b", Place::Page(1), "first"),
            Finding::damage("a", Place::Page(2), "first"),
            Finding::warning("a", Place::File, "first"),
            Finding::note("a", Place::File, "first"),
            following(1, 7),
        ];
        for start in 0..all.len() {
            let mut turned = [&all[start..], &all[..start]].concat();
            turned.extend_from_slice(&all[..2]);
            sort(&mut turned);
            assert_eq!(turned, all);
        }
    }

    #[test]
    fn a_consequence_that_repeats_its_cause_is_left_out() {
        let cause = Finding::damage("page-type", Place::Page(4), "as well");
        let mut findings = vec![following(4, 4), following(5, 4), cause.clone()];
        sort(&mut findings);
        assert_eq!(findings, [cause, following(5, 4)]);
    }

    #[test]
    fn consequences_stand_with_their_cause() {
        let mut findings = vec![
            following(9, 4),
            following(8, 4),
            following(7, 6),
            Finding::damage("page-id", Place::Page(4), "it is not page 4"),
        ];
        sort(&mut findings);
        let causes = causes(&findings);
        let shown: Vec<(&Place, usize)> =
            causes.iter().map(|cause| (&cause.finding.place, cause.consequences.len())).collect();
        // Nothing was found at page 6.
        assert_eq!(shown, [(&Place::Page(4), 2), (&Place::Page(7), 0)]);
    }
}
