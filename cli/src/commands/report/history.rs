//! Writes over revisions.

use std::fmt::Write as _;

use maud::{Markup, html};

use super::{
    gather::DbFacts,
    page::{grouped, several},
};
use crate::output::bytes;

/// Height of the picture in its own units.
const HEIGHT: f64 = 100.0;

/// The section on history.
pub fn history(db: &DbFacts<'_>) -> Markup {
    let timeline = &db.readable.timeline;
    let stretches: Vec<_> = timeline.stretches().copied().collect();
    let first = timeline.parts.first().map_or(0, |part| part.first);
    let last = timeline.parts.last().map_or(0, |part| timeline.last_of(part));
    let most = stretches.iter().map(|of| of.puts + of.deletions).max().unwrap_or_default();
    let heaviest = stretches.iter().map(|of| of.bytes).max().unwrap_or_default();
    if most == 0 {
        return html! {};
    }
    let (mut weights, mut puts, mut deletions) = (String::new(), String::new(), String::new());
    for (at, of) in stretches.iter().enumerate() {
        let height = |part: u64, of: u64| part as f64 / of.max(1) as f64 * HEIGHT;
        let (put, deleted) = (height(of.puts, most), height(of.deletions, most));
        let bytes = height(of.bytes, heaviest);
        bar(&mut weights, at, HEIGHT - bytes, bytes);
        bar(&mut puts, at, HEIGHT - put, put);
        bar(&mut deletions, at, HEIGHT - put - deleted, deleted);
    }
    let newest = db.revision.unwrap_or(last).min(last).max(0);
    let mark = db.meta.compact_revision();
    let compacted = (mark as f64 - first as f64) / timeline.width as f64;
    let compacted = compacted.clamp(0.0, stretches.len() as f64);
    let total = |of: fn(&etcdsnap_engine::mvcc::stats::Stretch) -> u64| -> u64 {
        stretches.iter().map(of).sum()
    };
    let view = format!("0 0 {} {HEIGHT}", stretches.len());
    let line = html! {
        @if mark > 0 && compacted > 0.0 {
            line.cut x1=(format!("{compacted:.3}")) x2=(format!("{compacted:.3}")) y1="0" y2=(HEIGHT) {}
        }
    };
    html! {
        section #history {
            h2 { "Writes over revisions" }
            p.lead {
                "What is in the file, by the revision that wrote it; "
                (several(timeline.width.unsigned_abs(), "revision", "revisions")) " a bar. Above, bytes: the highest bar has "
                (bytes(heaviest)) ". Below, records: the highest has " (grouped(most)) ". "
                @if mark > 0 { "History is compacted to " (grouped(mark.unsigned_abs())) ": to the left of the line only each key's newest record is left." }
                @else if db.meta_known { "History was never compacted." }
            }
            div.line {
                svg viewBox=(view) preserveAspectRatio="none" role="img" aria-label="bytes written over revisions" {
                    path.c-live d=(weights) { title { "bytes" } }
                    (line)
                }
                svg viewBox=(view) preserveAspectRatio="none" role="img" aria-label="records written over revisions" {
                    path.c-key-more d=(puts) { title { "puts" } }
                    path.c-gone d=(deletions) { title { "deletions" } }
                    (line)
                }
            }
            div.axis { span { (grouped(first.max(1).unsigned_abs())) } span { "revision" } span { (grouped(newest.unsigned_abs())) } }
            ul.legend {
                li { i.b-live {} "bytes " span { (bytes(total(|of| of.bytes))) } }
                li { i.b-key-more {} "puts " span { (grouped(total(|of| of.puts))) } }
                li { i.b-gone {} "deletions " span { (grouped(total(|of| of.deletions))) } }
                @if mark > 0 { li { i.b-past {} "compacted to " span { (grouped(mark.unsigned_abs())) } } }
            }
        }
    }
}

fn bar(path: &mut String, at: usize, top: f64, height: f64) {
    if height > 0.0 {
        // Writing to a String cannot fail.
        let _ = write!(path, "M{at}.06 {top:.2}h.88v{height:.2}h-.88z");
    }
}
