//! Findings as scripts and as people see them.

use std::collections::BTreeMap;

use etcdsnap_engine::finding::{self, Cause, Finding, Place};
use serde::Serialize;

use super::escape;

/// A finding as scripts see it.
#[derive(Debug, Serialize)]
pub struct FindingJson<'a> {
    severity: String,
    code: &'a str,
    r#where: String,
    message: &'a str,
    /// Place of the finding that explains this one.
    #[serde(skip_serializing_if = "Option::is_none")]
    follows: Option<String>,
    /// Of a cause: how many findings follow from it.
    #[serde(skip_serializing_if = "is_zero")]
    consequences: usize,
}

#[expect(clippy::trivially_copy_pass_by_ref, reason = "serde asks so")]
fn is_zero(count: &usize) -> bool {
    *count == 0
}

impl<'a> From<&'a Finding> for FindingJson<'a> {
    fn from(finding: &'a Finding) -> Self {
        Self {
            severity: finding.severity.to_string(),
            code: finding.code,
            r#where: finding.place.to_string(),
            message: &finding.message,
            follows: finding.follows.as_ref().map(ToString::to_string),
            consequences: 0,
        }
    }
}

impl<'a> FindingJson<'a> {
    /// All of `findings`, which are sorted: causes first, with the number of their consequences.
    pub fn list(findings: &'a [Finding]) -> Vec<Self> {
        let causes = finding::causes(findings);
        let own = causes.iter().map(|cause| Self {
            consequences: cause.consequences.len(),
            ..Self::from(cause.finding)
        });
        let rest = causes.iter().flat_map(|cause| &cause.consequences);
        own.chain(rest.map(|finding| Self::from(*finding))).collect()
    }
}

/// A finding as people see it, in one line. The place is left out where the message has it.
pub fn finding(finding: &Finding) -> String {
    let message = escape(&finding.message);
    if has_place(&finding.message, &finding.place) {
        return format!("{}: {message}", finding.severity);
    }
    format!("{}: {}: {message}", finding.severity, escape(&finding.place.to_string()))
}

fn has_place(message: &str, place: &Place) -> bool {
    // A number must end there: page 1 is not in a message about page 11.
    let has = |wanted: String| {
        message.match_indices(&wanted).any(|(at, found)| {
            let rest = message.get(at.saturating_add(found.len())..).unwrap_or_default();
            !rest.starts_with(|next: char| next.is_ascii_digit())
        })
    };
    match place {
        Place::File => true,
        Place::Page(_) | Place::Offset(_) | Place::Record { .. } => has(place.to_string()),
        Place::Element { page, index } => {
            has(place.to_string()) || has(format!("page({page})")) && has(format!("key[{index}]"))
        }
        Place::Revision { main, sub } => has(format!("{main}/{sub}")),
    }
}

/// Causes of one kind that people are shown; scripts get all.
const SHOWN: usize = 10;

/// Sorted `findings` as people see them: each cause a line, with the number of its consequences below it.
pub fn findings(findings: &[Finding]) -> Vec<String> {
    let causes = finding::causes(findings);
    let mut alike: BTreeMap<_, usize> = BTreeMap::new();
    for cause in &causes {
        *alike.entry((cause.finding.severity, cause.finding.code)).or_default() += 1;
    }
    let mut lines = Vec::new();
    let mut shown: BTreeMap<_, usize> = BTreeMap::new();
    for cause in &causes {
        let kind = (cause.finding.severity, cause.finding.code);
        let before = shown.entry(kind).or_default();
        *before += 1;
        if *before > SHOWN {
            continue;
        }
        lines.push(finding(cause.finding));
        lines.extend(consequences(cause));
        let more = alike.get(&kind).map_or(0, |all| all.saturating_sub(SHOWN));
        if *before == SHOWN && more > 0 {
            lines.push(format!("  {more} more like this; -w json lists them"));
        }
    }
    lines
}

fn consequences(cause: &Cause<'_>) -> Option<String> {
    let follow = match cause.consequences.len() {
        0 => return None,
        1 => "1 further finding follows".to_owned(),
        many => format!("{many} further findings follow"),
    };
    Some(format!("  {follow} from it; -w json lists them"))
}
