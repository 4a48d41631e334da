//! The page as a whole: head, verdict, evidence, map, findings.

use std::time::SystemTime;

use base64::{Engine as _, engine::general_purpose::STANDARD};
use etcdsnap_engine::{
    datadir::Kind,
    finding::{Finding, Severity},
    snapshot::Trailer,
};
use maud::{DOCTYPE, Markup, PreEscaped, html};
use sha2::{Digest as _, Sha256};

use super::{
    gather::{DbFacts, Facts},
    history, map, member, space,
};
use crate::{
    input::Input,
    output::{bytes, for_terminal},
};

const STYLE: &str = include_str!("report.css");
const SCRIPT: &str = include_str!("report.js");
/// Findings that are listed: the page must stay small.
const LISTED: usize = 1000;
/// Findings that are marked in the map.
const MARKED: usize = 300;

/// The whole page.
pub fn page(input: &Input, facts: &Facts<'_>, now: SystemTime) -> String {
    let path = input.located().path.display().to_string();
    let picture = facts
        .db
        .as_ref()
        .map(|db| map::Picture::new(&db.map, db.store.db().meta().high_water_mark.0));
    let parts = parts(input, facts, picture.as_ref(), now);
    let hash = STANDARD.encode(Sha256::digest(SCRIPT.as_bytes()));
    // Nothing may be fetched, sent or run but the script below.
    let policy = format!(
        "default-src 'none'; style-src 'unsafe-inline'; script-src 'sha256-{hash}'; base-uri 'none'; form-action 'none'"
    );
    let markup = html! {
        (DOCTYPE)
        html lang="en" {
            head {
                meta charset="utf-8";
                meta http-equiv="Content-Security-Policy" content=(policy);
                meta name="viewport" content="width=device-width, initial-scale=1";
                meta name="referrer" content="no-referrer";
                meta name="robots" content="noindex";
                title { "etcd report: " (for_terminal(path.as_bytes())) }
                style { (PreEscaped(STYLE)) }
            }
            body {
                header.top {
                    div.brand { "etcdsnap report" }
                    h1 { bdi { (for_terminal(path.as_bytes())) } }
                    (verdict(input, facts))
                    nav {
                        @for (id, name, _) in &parts {
                            a href={ "#" (id) } { (name) }
                        }
                    }
                }
                main {
                    @if let Some(db) = &facts.db { (figures(db)) }
                    @for (_, _, part) in &parts { (part) }
                }
                footer {
                    "Made by etcdsnap " (env!("CARGO_PKG_VERSION"))
                    ". This page is one file: it loads nothing and sends nothing."
                }
                script { (PreEscaped(SCRIPT)) }
            }
        }
    };
    markup.into_string() + "\n"
}

/// The sections, with their anchors and names; those that have nothing to say are left out.
fn parts(
    input: &Input,
    facts: &Facts<'_>,
    picture: Option<&map::Picture>,
    now: SystemTime,
) -> Vec<(&'static str, &'static str, Markup)> {
    let all = &facts.verification.findings;
    // What is only worth knowing comes late.
    let grave = all.iter().any(|finding| finding.severity != Severity::Note);
    let found = |here: bool| {
        if here && !all.is_empty() {
            findings(facts, picture)
        } else {
            html! {}
        }
    };
    let mut parts = vec![("findings", "Findings", found(grave))];
    if let Some(saved) = &facts.saved {
        parts.push(("saved", "What can be saved", saved.section(input)));
    }
    if let (Some(db), Some(picture)) = (&facts.db, picture) {
        parts.extend([
            ("map", "Page map", page_map(facts, db, picture)),
            ("space", "Space", space::space(db)),
            ("history", "History", history::history(db)),
            ("keys", "Keys", space::keys(db)),
            ("member", "Member", member::member(input, db)),
            ("buckets", "Buckets", space::buckets(db)),
        ]);
    }
    parts.extend([
        ("findings", "Findings", found(!grave)),
        ("checks", "Checks", checks(facts)),
        ("evidence", "Evidence", evidence(input, facts, now)),
    ]);
    parts.retain(|(_, _, part)| !part.0.is_empty());
    parts
}

fn count(facts: &Facts<'_>, severity: Severity) -> usize {
    facts.verification.findings.iter().filter(|finding| finding.severity == severity).count()
}

/// One of something, or several.
pub fn several(count: u64, one: &str, more: &str) -> String {
    format!("{} {}", grouped(count), if count == 1 { one } else { more })
}

/// A number with its thousands apart.
pub fn grouped(number: u64) -> String {
    let digits = number.to_string();
    let mut out = String::with_capacity(digits.len() * 4 / 3);
    for (at, digit) in digits.chars().enumerate() {
        if at > 0 && (digits.len() - at).is_multiple_of(3) {
            out.push(',');
        }
        out.push(digit);
    }
    out
}

/// A key, a name, an address: text of strangers.
pub fn strange(text: &[u8]) -> Markup {
    html! { bdi { (for_terminal(text)) } }
}

fn verdict(input: &Input, facts: &Facts<'_>) -> Markup {
    let (damage, warnings) = (count(facts, Severity::Damage), count(facts, Severity::Warning));
    let first = |severity| {
        let of_severity = |finding: &&Finding| finding.severity == severity;
        let mut findings = facts.verification.findings.iter().filter(of_severity);
        let any = findings.clone().next();
        // That a digest differs says that something is wrong, the others say what.
        let first = findings.find(|finding| finding.code != "digest").or(any);
        first.map(|finding| for_terminal(finding.message.as_bytes())).unwrap_or_default()
    };
    let (class, word, sentence) = if damage > 0 {
        let found = several(damage as u64, "finding of damage", "findings of damage");
        ("bad", "Damaged", format!("{found}. The first: {}", first(Severity::Damage)))
    } else if warnings > 0 {
        let found = several(warnings as u64, "thing to look at", "things to look at");
        (
            "warn",
            "Sound, with warnings",
            format!("{found}. The first: {}", first(Severity::Warning)),
        )
    } else if matches!(input.image().trailer(), Trailer::Present(_)) {
        let sentence = "Its digest matches: no byte has changed since it was taken. Pages, records, history and members are as a server writes them.";
        ("good", "Sound", sentence.to_owned())
    } else {
        let sentence = "Pages, records, history and members are as a server writes them. A db has no digest: whether a value was changed cannot be seen.";
        ("good", "Sound", sentence.to_owned())
    };
    html! {
        div class={ "verdict " (class) } {
            span.dot {}
            div {
                b { (word) }
                p { (sentence) }
            }
        }
    }
}

fn figures(db: &DbFacts<'_>) -> Markup {
    let (counts, size) = (db.map.counts(), db.store.db().page_size());
    let total = db.store.db().size_bytes();
    let free = counts.free.saturating_mul(size);
    let usage = db.usage.as_ref().ok();
    let compacted = db.meta.compact_revision();
    let percent = |part: u64| (part as f64 / total.max(1) as f64 * 100.0).round();
    html! {
        dl.figures {
            @if let Some(usage) = usage {
                div { dt { "Keys" } dd.v { (grouped(usage.total.live.records)) }
                    dd.s { "in " (several(db.readable.records.records, "record", "records")) } }
            } @else {
                div { dt { "Records that can be read" } dd.v { (grouped(db.readable.records.records)) }
                    dd.s { (several(db.readable.unreadable, "place", "places")) " cannot" } }
            }
            div { dt { "Revision" } dd.v { (db.revision.map_or_else(|| "unknown".to_owned(), |revision| grouped(revision.unsigned_abs()))) }
                dd.s { @if !db.meta_known { "compaction unknown" } @else if compacted < 0 { "never compacted" } @else { "compacted to " (grouped(compacted.unsigned_abs())) } } }
            div { dt { "Database" } dd.v { (bytes(total)) }
                dd.s { (several(db.map.len(), "page", "pages")) " of " (size) } }
            div { dt { "Free" } dd.v { (bytes(free)) } dd.s { (percent(free)) "% of it" } }
            @if let Some(usage) = usage {
                @let prediction = &usage.prediction;
                @let after = prediction.compaction.map_or(prediction.rewritten, |_| prediction.compacted);
                div { dt { "Could be" } dd.v { (bytes(after.defragmented)) }
                    dd.s { @if prediction.compaction.is_some() { "compacted and defragmented" } @else { "defragmented" } } }
            }
            @if let Some(leases) = db.leases {
                div { dt { "Leases" } dd.v { (grouped(leases as u64)) }
                    dd.s { (several(db.alarms.len() as u64, "alarm", "alarms")) } }
            }
        }
    }
}

fn marker(finding: &Finding) -> &'static str {
    match finding.severity {
        Severity::Damage => "mark damage",
        Severity::Warning => "mark warning",
        Severity::Note => "mark note",
    }
}

fn page_map(facts: &Facts<'_>, db: &DbFacts<'_>, picture: &map::Picture) -> Markup {
    let names: Vec<String> = map::names()
        .iter()
        .map(|name| if picture.per > 1 { format!("mostly {name}") } else { (*name).to_owned() })
        .collect();
    let names = serde_json::to_string(&names).unwrap_or_default();
    let marks = marks(facts, picture);
    // No square is wider than this many pixels, and no ring smaller than can be hit.
    let widest = picture.columns * 20;
    let radius = (picture.columns as f64 / 80.0).clamp(0.7, 1.6);
    html! {
        section #map {
            h2 { "Page map" }
            p.lead {
                @if picture.per == 1 { "Every square is a page of " (bytes(db.store.db().page_size())) ", in file order." }
                @else { "Every square is " (grouped(picture.per)) " pages, in file order: what most of them are, and damage wherever there is any." }
                @if !marks.is_empty() { " Rings are findings; they lead to them." }
            }
            div.map style={ "max-width:" (widest) "px" } {
                svg.cells viewBox={ "0 0 " (picture.columns) " " (picture.rows) } role="img" aria-label="page map"
                    data-cols=(picture.columns) data-per=(picture.per) data-pages=(picture.pages)
                    data-names=(names) data-cells=(picture.runs) {
                    @for (kind, path, _) in &picture.layers {
                        path class={ "c-" (kind.class) } d=(path) { title { (kind.name) } }
                    }
                    @for (number, finding, x, y) in &marks {
                        a href={ "#finding-" (number) } id={ "map-" (number) } {
                            title { (for_terminal(finding.message.as_bytes())) }
                            circle class=(marker(finding)) cx=(x) cy=(y) r=(radius) pointer-events="all" {}
                        }
                    }
                }
            }
            div.read { "Point at a square to see what it is." }
            ul.legend {
                @for (kind, _, total) in &picture.layers {
                    li { i class={ "b-" (kind.class) } {} (kind.name) " " span { (grouped(*total)) } }
                }
            }
        }
    }
}

/// Findings with a place in the map: the first of each square.
fn marks<'f>(facts: &'f Facts<'_>, picture: &map::Picture) -> Vec<(usize, &'f Finding, f64, f64)> {
    let mut marks: Vec<(usize, &Finding, f64, f64)> = Vec::new();
    let of_pages = facts.verification.findings.iter().zip(&facts.pages).enumerate();
    for (number, (finding, page)) in of_pages.take(LISTED) {
        let place = page.and_then(|page| picture.position(page));
        let Some((x, y)) = place.filter(|_| finding.severity != Severity::Note) else { continue };
        let taken = marks.iter().any(|mark| (mark.2, mark.3) == (x, y));
        if !taken && marks.len() < MARKED {
            marks.push((number, finding, x, y));
        }
    }
    marks
}

fn findings(facts: &Facts<'_>, picture: Option<&map::Picture>) -> Markup {
    let all = &facts.verification.findings;
    let marks = picture.map(|picture| (picture, marks(facts, picture)));
    // The mark of a page is that of the first finding in its square.
    let mark_of = |page: u64| {
        let (picture, marks) = marks.as_ref()?;
        let (x, y) = picture.position(page)?;
        marks.iter().find(|mark| (mark.2, mark.3) == (x, y)).map(|mark| mark.0)
    };
    let mut order: Vec<usize> = (0..all.len()).collect();
    // The worst first; what two checks found is one thing.
    order.sort_by_key(|number| all.get(*number));
    order.dedup_by_key(|number| all.get(*number));
    html! {
        section #findings {
            h2 { "Findings" }
            p.lead {
                (grouped(count(facts, Severity::Damage) as u64)) " of damage, "
                (several(count(facts, Severity::Warning) as u64, "warning", "warnings")) ", "
                (several(count(facts, Severity::Note) as u64, "note", "notes")) "."
            }
            table.wide {
                thead { tr { th { "Severity" } th { "Where" } th { "What" } th { "Code" } } }
                tbody {
                    @for number in order.iter().copied().take(LISTED) {
                        @if let Some(finding) = all.get(number) {
                            tr id={ "finding-" (number) } {
                                td class={ "sev " (finding.severity.to_string()) } { (finding.severity.to_string()) }
                                td {
                                    @let place = for_terminal(finding.place.to_string().as_bytes());
                                    @let page = facts.pages.get(number).copied().flatten();
                                    @match page.and_then(mark_of) {
                                        Some(mark) => a href={ "#map-" (mark) } { bdi { (place) } },
                                        None => bdi { (place) },
                                    }
                                    @if let Some(page) = page.filter(|_| !place.starts_with("page")) {
                                        " (page " (page) ")"
                                    }
                                }
                                td.msg { (strange(finding.message.as_bytes())) }
                                td.mono { (finding.code) }
                            }
                        }
                    }
                }
            }
            @if order.len() > LISTED {
                p.lead { "and " (grouped((order.len() - LISTED) as u64)) " more: " code { "etcdsnap verify" } " lists all of them." }
            }
        }
    }
}

fn checks(facts: &Facts<'_>) -> Markup {
    html! {
        section #checks {
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

fn time(at: SystemTime) -> String {
    humantime::format_rfc3339_seconds(at).to_string()
}

fn evidence(input: &Input, facts: &Facts<'_>, now: SystemTime) -> Markup {
    let kind = match input.kind() {
        Kind::Snapshot => "etcd snapshot",
        Kind::DataDir => "data dir",
        Kind::MemberDir => "member dir",
        _ => "db file",
    };
    html! {
        section #evidence {
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
                        @for file in &facts.files {
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
        }
    }
}
