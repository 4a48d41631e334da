//! Findings, checks, and the evidence they rest on.

use std::time::SystemTime;

use etcdsnap_engine::{datadir::Kind, finding::Severity};
use maud::{Markup, html};

use super::{
    gather::Facts,
    map::Picture,
    page::Scope,
    pages::{Mark, mark_of},
    text::{grouped, several, short, strange, time},
};
use crate::input::Input;

/// Findings that are listed: the page must stay small.
pub const LISTED: usize = 1000;
/// Files that are listed.
const FILES: usize = 256;

/// The section on findings; `drawn` is the picture they are marked in.
pub fn findings(
    scope: &Scope,
    facts: &Facts<'_>,
    drawn: Option<(&Picture, &[Mark<'_>])>,
) -> Markup {
    html! {
        section id=(scope.id("findings")) {
            h2 { "Findings" }
            p.lead {
                (grouped(facts.count(Severity::Damage))) " of damage, "
                (several(facts.count(Severity::Warning), "warning", "warnings")) ", "
                (several(facts.count(Severity::Note), "note", "notes")) "."
            }
            table.wide {
                thead { tr { th { "Severity" } th { "Where" } th { "What" } th { "Code" } } }
                tbody {
                    @for (number, (finding, page)) in facts.findings.iter().enumerate().take(LISTED) {
                        tr id={ (scope.id("finding-")) (number) } {
                            td class={ "sev " (finding.severity.to_string()) } { (finding.severity.to_string()) }
                            td {
                                @let place = short(finding.place.to_string().as_bytes());
                                @let mark = page.zip(drawn).and_then(|(page, (picture, marks))| mark_of(marks, picture, page));
                                @match mark {
                                    Some(mark) => a href={ "#" (scope.id("map-")) (mark) } { bdi { (place) } },
                                    None => bdi { (place) },
                                }
                                @if let Some(page) = page.filter(|_| !place.starts_with("page")) { " (page " (page) ")" }
                            }
                            td.msg { (strange(finding.message.as_bytes())) }
                            td.mono { (finding.code) }
                        }
                    }
                }
            }
            @if facts.findings.len() > LISTED {
                p.lead { "and " (grouped(facts.findings.len().saturating_sub(LISTED) as u64)) " more: " code { "etcdsnap verify" } " lists all of them." }
            }
        }
    }
}

/// The section on checks.
pub fn checks(scope: &Scope, facts: &Facts<'_>) -> Markup {
    html! {
        section id=(scope.id("checks")) {
            h2 { "Checks" }
            p.lead { "What was asked of the file, as " code { "etcdsnap verify" } " does." }
            table.wide {
                tbody {
                    @for check in &facts.verification.checks {
                        tr {
                            td { b { (check.name) } }
                            td { @if check.sound { span.ok { "sound" } } @else { span.no { "not sound" } } }
                            td.msg { (strange(check.detail.as_bytes())) }
                        }
                    }
                }
            }
        }
    }
}

/// The section on what was read.
pub fn evidence(scope: &Scope, input: &Input, facts: &Facts<'_>, now: SystemTime) -> Markup {
    let kind = match input.kind() {
        Kind::Snapshot => "etcd snapshot",
        Kind::DataDir => "data dir",
        Kind::MemberDir => "member dir",
        _ => "db file",
    };
    html! {
        section id=(scope.id("evidence")) {
            h2 { "Evidence" }
            p.lead { "What was read, and how to know it again. Nothing was written to it, locked or renamed." }
            dl.facts {
                dt { "Input" } dd { (strange(input.located().path.display().to_string().as_bytes())) }
                dt { "Kind" } dd { (kind) }
                @if let Some(db) = &facts.db {
                    @let meta = db.store.db().meta();
                    dt { "Transaction" } dd { (meta.txid.0) ", meta " (meta.slot) }
                    @if let Some(version) = &db.meta.storage_version { dt { "Storage version" } dd { (strange(version.as_bytes())) } }
                    @if let Some(version) = &db.meta.cluster_version { dt { "Cluster version" } dd { (strange(version.as_bytes())) } }
                }
                dt { "Report made" } dd { (time(now)) }
                dt { "Program" } dd { "etcdsnap " (env!("CARGO_PKG_VERSION")) }
            }
            div.scroll {
                table.wide {
                    thead { tr { th { "File" } th.num { "Bytes" } th { "Modified" } th { "SHA-256" } } }
                    tbody {
                        @for file in facts.files.iter().take(FILES) {
                            tr {
                                td.msg { (strange(file.path.display().to_string().as_bytes())) }
                                td.num { (grouped(file.bytes)) }
                                td { (file.modified.map(time).unwrap_or_default()) }
                                td { code.key { (file.sha256.to_string()) } }
                            }
                        }
                    }
                }
            }
            @if facts.files.len() > FILES { p.lead { "and " (several(facts.files.len().saturating_sub(FILES) as u64, "file", "files")) " more, which were read too." } }
        }
    }
}
