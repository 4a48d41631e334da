//! Several members of one incident on one page: what they are together, then each of them.

use etcdsnap_engine::{
    diagnose::cluster::{Answer, MemberAnswer, QuorumAnswer},
    finding::Finding,
};
use maud::{Markup, html};

use super::{
    head::{self, Judgement},
    look::Part,
    page::Scope,
    text::{grouped, revision, several, short, strange},
};

/// Findings about the members together that are listed.
const LISTED: usize = 200;
/// Ids that are listed.
const IDS: usize = 32;

/// The title of a page with so many inputs.
pub fn title(count: usize) -> String {
    several(count as u64, "member", "members")
}

/// The page of several inputs, numbered from 1.
pub fn body(answer: &Answer, parts: &[Part]) -> Markup {
    html! {
        h1 { (title(parts.len())) }
        (Judgement::together(answer).shown())
        (head::next(&answer.next))
        (together(answer))
        section #members {
            h2 { "Members" }
            div.scroll {
                table.wide.overview {
                    thead { tr {
                        th { "Member" } th { "Verdict" } th { "Role" } th.num { "Revision" } th.num { "Last entry" }
                        th.num { "Entries behind" } th.num { "Not known to be committed" }
                    } }
                    tbody {
                        @for (number, (member, part)) in (1..).zip(answer.members.iter().zip(parts)) { (row(number, member, part)) }
                    }
                }
            }
        }
        @for (number, part) in (1..).zip(parts) {
            article id=(anchor(number)) { (part.body.head) (part.body.rest) }
        }
    }
}

fn anchor(number: usize) -> String {
    Scope::of(number).id("top")
}

fn row(number: usize, member: &MemberAnswer, part: &Part) -> Markup {
    let cell = |name: &str, value: Option<String>| {
        html! { td.num { span.th { (name) " " } (value.unwrap_or_else(|| "-".to_owned())) } }
    };
    html! {
        tr {
            td.msg {
                a href={ "#" (anchor(number)) } { (strange(member.path.as_bytes())) }
                @if let Some(name) = &member.name { " " span.tag { (strange(name.as_bytes())) } }
                @if member.running { " " span.tag { "running" } }
            }
            td class={ "sev " (part.judgement.class) } { (part.judgement.word) }
            @if let Some(error) = &member.error {
                td colspan="5" { (strange(error.as_bytes())) }
            } @else {
                td { (member.role) @if !member.counts && member.role == "voter" { ", does not count" } }
                (cell("revision", member.revision.map(revision)))
                (cell("last entry", member.last_index.map(grouped)))
                (cell("entries behind", member.entries_behind.map(grouped)))
                (cell("not known to be committed", member.entries_uncommitted.map(grouped)))
            }
        }
    }
}

/// What was found by comparing them.
fn together(answer: &Answer) -> Markup {
    let own =
        |finding: &&Finding| !answer.members.iter().any(|member| member.findings.contains(finding));
    let findings: Vec<&Finding> = answer.findings.iter().filter(own).collect();
    html! {
        @if answer.quorum.is_some() || !findings.is_empty() {
            section #together {
                h2 { "Together" }
                @if let Some(quorum) = &answer.quorum { (voters(answer, quorum)) }
                @if !findings.is_empty() {
                    table.wide {
                        tbody {
                            @for finding in findings.iter().take(LISTED) {
                                tr {
                                    td class={ "sev " (finding.severity.to_string()) } { (finding.severity.to_string()) }
                                    td.msg { (strange(finding.message.as_bytes())) }
                                    td.mono { (finding.code) }
                                }
                            }
                        }
                    }
                }
                @if findings.len() > LISTED {
                    p.lead { "and " (grouped(findings.len().saturating_sub(LISTED) as u64)) " more: " code { "etcdsnap doctor" } " lists all of them." }
                }
            }
        }
    }
}

fn voters(answer: &Answer, quorum: &QuorumAnswer) -> Markup {
    let ids = |ids: &[String]| {
        let mut shown = ids.get(..IDS).unwrap_or(ids).join(", ");
        if ids.len() > IDS {
            shown += &format!(" and {} more", grouped(ids.len().saturating_sub(IDS) as u64));
        }
        short(shown.as_bytes())
    };
    html! {
        dl.facts {
            dt { "Voters" }
            dd {
                (quorum.voters) ", of which " (quorum.here) @if quorum.here == 1 { " is" } @else { " are" } " here and "
                (quorum.intact) @if quorum.intact == 1 { " is" } @else { " are" } " intact; a majority is " (quorum.needed)
            }
            @if !quorum.missing_ids.is_empty() { dt { "Not here" } dd { code { (ids(&quorum.missing_ids)) } } }
            @if !quorum.learner_ids.is_empty() { dt { "Learners" } dd { code { (ids(&quorum.learner_ids)) } } }
            @if let Some(agreed) = quorum.agreed_index { dt { "All logs agree" } dd { "up to entry " (grouped(agreed)) } }
            @if let Some(held) = quorum.majority_index { dt { "A majority holds" } dd { "all up to entry " (grouped(held)) } }
            @if answer.entries_uncommitted > 0 {
                dt { "Not known to be committed" }
                dd { (several(answer.entries_uncommitted, "entry", "entries")) " of the one to recover from, by its own files" }
            }
            @if let Some(change) = quorum.pending_change {
                dt { "Membership" } dd { "entry " (grouped(change)) " changes it and is not known to be committed" }
            }
        }
    }
}
