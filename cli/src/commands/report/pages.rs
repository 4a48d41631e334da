//! The section that shows the page map, and which findings are marked in it.

use etcdsnap_engine::finding::{Finding, Severity};
use maud::{Markup, html};

use super::{
    findings::LISTED,
    gather::{DbFacts, Facts},
    map::{self, Picture},
    page::Scope,
    text::{grouped, percent, several, short},
};
use crate::output::bytes;

/// Findings that are marked in the map.
const MARKED: usize = 300;

/// A finding that is marked in the map.
pub struct Mark<'f> {
    /// Its number among all findings.
    pub number: usize,
    finding: &'f Finding,
    cell: (u64, u64),
}

/// The first finding of each cell, of those that are listed.
pub fn marks<'f>(facts: &'f Facts<'_>, picture: &Picture) -> Vec<Mark<'f>> {
    let mut marks: Vec<Mark<'f>> = Vec::new();
    for (number, (finding, page)) in facts.findings.iter().enumerate().take(LISTED) {
        let cell = page.and_then(|page| picture.cell(page));
        let Some(cell) = cell.filter(|_| finding.severity != Severity::Note) else { continue };
        if marks.len() < MARKED && !marks.iter().any(|mark| mark.cell == cell) {
            marks.push(Mark { number, finding, cell });
        }
    }
    marks
}

/// The number of the finding whose mark is where page `page` is.
pub fn mark_of(marks: &[Mark<'_>], picture: &Picture, page: u64) -> Option<usize> {
    let cell = picture.cell(page)?;
    marks.iter().find(|mark| mark.cell == cell).map(|mark| mark.number)
}

/// The section.
pub fn section(scope: &Scope, db: &DbFacts<'_>, picture: &Picture, marks: &[Mark<'_>]) -> Markup {
    let names = serde_json::to_string(&map::names()).unwrap_or_default();
    let size = bytes(db.store.db().page_size());
    // No square is wider than this many pixels.
    let widest = picture.columns.saturating_mul(20);
    let max = if picture.shares { String::new() } else { format!("max-width:{widest}px") };
    html! {
        section id=(scope.id("map")) {
            h2 { "Page map" }
            p.lead {
                @if picture.shares {
                    "The file from its first page to its last in " (picture.columns) " strips of " (several(picture.per, "page", "pages"))
                    " of " (size) ". The heights are shares of what the pages are; damage is drawn large enough to be seen."
                } @else { "Every square is a page of " (size) ", in file order." }
                @if !marks.is_empty() { " Frames are findings; they lead to them." }
            }
            div.map style=(max) {
                svg.cells.strips[picture.shares] viewBox={ "0 0 " (picture.columns) " " (picture.height) }
                    preserveAspectRatio=(if picture.shares { "none" } else { "xMidYMid meet" })
                    role="img" aria-label="page map" data-shares=(if picture.shares { "yes" } else { "no" })
                    data-cols=(picture.columns) data-per=(picture.per) data-pages=(picture.pages)
                    data-names=(names) data-cells=(picture.cells) {
                    @for (kind, path, _) in &picture.layers {
                        path class={ "c-" (kind.class) } d=(path) { title { (kind.name) } }
                    }
                    @for mark in marks { (drawn(scope, mark, picture)) }
                }
            }
            @if picture.shares { div.axis { span { "page 0" } span { "page " (grouped(picture.pages.saturating_sub(1))) } } }
            div.read { "Point at a " @if picture.shares { "strip" } @else { "square" } " to see what it is." }
            ul.legend {
                @for (kind, _, pages) in &picture.layers {
                    li { i class={ "b-" (kind.class) } {} (kind.name) " " span { (several(*pages, "page", "pages")) ", " (percent(*pages, picture.pages)) } }
                }
            }
        }
    }
}

/// A frame around the cell of a finding, which leads to it.
fn drawn(scope: &Scope, mark: &Mark<'_>, picture: &Picture) -> Markup {
    let (x, y) = mark.cell;
    let class = match mark.finding.severity {
        Severity::Damage => "mark damage",
        Severity::Warning => "mark warning",
        Severity::Note => "mark note",
    };
    // A square of a picture with many is too small to be hit.
    let wide = (picture.columns as f64 / 40.0).clamp(1.4, 3.0);
    let (x, y, width, height) = if picture.shares {
        (x as f64, 0.0, 1.0, picture.height as f64)
    } else {
        (x as f64 + 0.44 - wide / 2.0, y as f64 + 0.44 - wide / 2.0, wide, wide)
    };
    html! {
        a href={ "#" (scope.id("finding-")) (mark.number) } id={ (scope.id("map-")) (mark.number) } {
            title { (short(mark.finding.message.as_bytes())) }
            rect class=(class) x=(format!("{x:.2}")) y=(format!("{y:.2}")) width=(format!("{width:.2}")) height=(format!("{height:.2}"))
                rx=[(!picture.shares).then_some("0.4")] pointer-events="all" {}
        }
    }
}
