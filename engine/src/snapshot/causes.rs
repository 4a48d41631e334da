//! Which findings follow from which, across the checks of `verify`.

use std::collections::BTreeMap;

use crate::{
    finding::{Finding, Place, Severity},
    schema::bucket,
};

/// Findings of the page check that explain nothing in the trees.
const BESIDE_THE_TREES: [&str; 6] = [
    "freelist",
    "freelist-entry",
    "already-freed",
    "reachable-freed",
    "unreachable-unfreed",
    "more-findings",
];

/// The place of the first cause among the page check's findings that makes records unreadable or hides them.
pub(super) fn in_tree(findings: &[Finding]) -> Option<&Place> {
    let first = findings.iter().find(|finding| {
        finding.severity == Severity::Damage
            && finding.follows.is_none()
            && !BESIDE_THE_TREES.contains(&finding.code)
    });
    first.map(|finding| &finding.place)
}

/// The place of the first damage in bucket `lease`.
pub(super) fn in_leases(findings: &[Finding]) -> Option<&Place> {
    let damage = findings.iter().filter(|finding| finding.severity == Severity::Damage);
    let mut places = damage.map(|finding| &finding.place);
    places.find(|place| matches!(place, Place::Record { bucket: bucket::LEASE, .. }))
}

/// Makes all damage among `findings` follow from the finding at `cause`, and leases that are missing, too.
pub(super) fn link_all(findings: &mut [Finding], cause: &Place) {
    let explained = findings
        .iter_mut()
        .filter(|finding| finding.severity == Severity::Damage || finding.code == "lease-missing");
    explained.for_each(|finding| finding.follows = Some(cause.clone()));
}

/// Links the findings of the key space: generations that do not go on follow from the gap in the revisions, or the
/// undecodable record, before them. Missing leases follow from damage in bucket `lease`.
pub(super) fn link_history(findings: &mut [Finding], leases: Option<&Place>) {
    let missing = findings.iter().filter(|one| matches!(one.code, "undecodable" | "revision-gap"));
    let missing: BTreeMap<Place, Place> = missing
        .filter(|finding| matches!(finding.place, Place::Revision { .. }))
        .map(|one| (one.place.clone(), one.follows.clone().unwrap_or_else(|| one.place.clone())))
        .collect();
    for finding in findings {
        match finding.code {
            "generation" => {
                let before = missing.range(..=&finding.place).next_back();
                finding.follows = before.map(|(_, cause)| cause.clone());
            }
            "lease-missing" => finding.follows = leases.cloned(),
            _ => {}
        }
    }
}
