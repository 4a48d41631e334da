//! Writes over revisions.

use std::fmt::Write as _;

use etcdsnap_engine::mvcc::stats::{Part, Stretch, Timeline};
use maud::{Markup, html};

use super::{
    gather::DbFacts,
    page::Scope,
    text::{grouped, revision, several},
};
use crate::output::bytes;

/// Height of the picture in its own units.
const HEIGHT: f64 = 100.0;
/// Bars for which there is room at least: a few writes are not a wall.
const LEAST: usize = 40;

/// A timeline laid out: a bar for each stretch, and room where the axis is broken.
struct Axis<'t> {
    timeline: &'t Timeline,
    /// Where each part begins, in bars.
    begins: Vec<usize>,
    /// Bars for which a break has room.
    gap: usize,
    /// Bars and breaks.
    width: usize,
}

impl<'t> Axis<'t> {
    fn new(timeline: &'t Timeline) -> Self {
        let bars = timeline.stretches().count();
        let gap = bars.div_ceil(40).max(2);
        let (mut begins, mut width) = (Vec::new(), 0_usize);
        for part in &timeline.parts {
            width += if begins.is_empty() { 0 } else { gap };
            begins.push(width);
            width += part.stretches.len();
        }
        Self { timeline, begins, gap, width: width.max(LEAST) }
    }

    /// The stretches with their places.
    fn bars(&self) -> impl Iterator<Item = (usize, &'t Stretch)> {
        let parts = self.timeline.parts.iter().zip(&self.begins);
        parts.flat_map(|(part, begin)| (*begin..).zip(&part.stretches))
    }

    /// Where `revision` is; in the middle of a break where it is in one.
    fn place(&self, revision: i64) -> f64 {
        let mut place = 0.0;
        for (part, begin) in self.timeline.parts.iter().zip(&self.begins) {
            if revision < part.first {
                return place;
            }
            let from = revision.abs_diff(part.first) as f64 / self.timeline.width.max(1) as f64;
            let bars = part.stretches.len() as f64;
            place = *begin as f64 + if from <= bars { from } else { bars + self.gap as f64 / 2.0 };
        }
        place.min(self.width as f64)
    }

    /// The ends of the revisions that each break leaves out, and where it is.
    fn breaks(&self) -> impl Iterator<Item = (i64, i64, f64)> {
        let neighbours = self.timeline.parts.iter().zip(self.timeline.parts.iter().skip(1));
        neighbours.zip(self.begins.iter().skip(1)).map(|((before, behind), begin)| {
            let middle = *begin as f64 - self.gap as f64 / 2.0;
            (
                self.timeline.last_of(before).saturating_add(1),
                behind.first.saturating_sub(1),
                middle,
            )
        })
    }
}

/// The section on history; nothing when nothing was written.
pub fn history(scope: &Scope, db: &DbFacts<'_>) -> Markup {
    let timeline = &db.readable.timeline;
    let axis = Axis::new(timeline);
    let records = |of: &Stretch| of.puts.saturating_add(of.deletions);
    let most = timeline.stretches().map(records).max().unwrap_or_default();
    let heaviest = timeline.stretches().map(|of| of.bytes).max().unwrap_or_default();
    let (Some(first), Some(last)) = (timeline.parts.first(), timeline.parts.last()) else {
        return html! {};
    };
    let (mut weights, mut puts, mut deletions) = (String::new(), String::new(), String::new());
    for (at, of) in axis.bars() {
        let height = |part: u64, of: u64| part as f64 / of.max(1) as f64 * HEIGHT;
        let (put, deleted) = (height(of.puts, most), height(of.deletions, most));
        let bytes = height(of.bytes, heaviest);
        bar(&mut weights, at, HEIGHT - bytes, bytes);
        bar(&mut puts, at, HEIGHT - put, put);
        bar(&mut deletions, at, HEIGHT - put - deleted, deleted);
    }
    let end = |part: &Part| timeline.last_of(part);
    let newest = db.revision.map_or(end(last), |revision| revision.min(end(last)));
    let mark = db.meta.compact_revision();
    // The records of the mark's own revision are its left neighbours.
    let compacted = (mark > 0).then(|| axis.place(mark.saturating_add(1)));
    let total =
        |of: fn(&Stretch) -> u64| timeline.stretches().map(of).fold(0_u64, u64::saturating_add);
    let view = format!("0 0 {} {HEIGHT}", axis.width);
    let lines = html! {
        @for (_, _, middle) in axis.breaks() {
            @for by in [-0.2, 0.2] {
                @let x = middle + by * axis.gap as f64;
                line.break x1=(format!("{x:.2}")) x2=(format!("{x:.2}")) y1="0" y2=(HEIGHT) {}
            }
        }
        @if let Some(x) = compacted.filter(|x| *x > 0.0) {
            line.cut x1=(format!("{x:.3}")) x2=(format!("{x:.3}")) y1="0" y2=(HEIGHT) {}
        }
    };
    html! {
        section id=(scope.id("history")) {
            h2 { "Writes over revisions" }
            p.lead {
                "What is in the file, by the revision that wrote it; "
                (several(timeline.width.unsigned_abs(), "revision", "revisions")) " a bar. Above, bytes: the highest bar has "
                (bytes(heaviest)) ". Below, records: the highest has " (grouped(most)) ". "
                @if mark > 0 { "History is compacted to " (revision(mark)) ": to the left of the line only each key's newest record is left." }
                @else if db.meta_known { "History was never compacted." }
            }
            div.line {
                svg viewBox=(view) preserveAspectRatio="none" role="img" aria-label="bytes written over revisions" {
                    path.c-live d=(weights) { title { "bytes" } }
                    (lines)
                }
                svg viewBox=(view) preserveAspectRatio="none" role="img" aria-label="records written over revisions" {
                    path.c-key-more d=(puts) { title { "puts" } }
                    path.c-gone d=(deletions) { title { "deletions" } }
                    (lines)
                }
            }
            div.axis { span { (revision(first.first.max(1).min(newest))) } span { "revision" } span { (revision(newest)) } }
            ul.legend {
                li { i.b-live {} "bytes " span { (bytes(total(|of| of.bytes))) } }
                li { i.b-key-more {} "puts " span { (grouped(total(|of| of.puts))) } }
                li { i.b-gone {} "deletions " span { (grouped(total(|of| of.deletions))) } }
                @if mark > 0 { li { i.b-past {} "compacted to " span { (revision(mark)) } } }
            }
            @if timeline.parts.len() > 1 {
                ul.plain {
                    @for (from, to, _) in axis.breaks() {
                        li { "The axis is broken: revisions " (revision(from)) " to " (revision(to)) " wrote nothing that is in the file." }
                    }
                }
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

#[cfg(test)]
mod tests {
    use super::*;

    fn part(first: i64, stretches: usize) -> Part {
        Part { first, stretches: vec![Stretch { puts: 1, deletions: 0, bytes: 9 }; stretches] }
    }

    #[test]
    fn a_revision_has_its_place_before_in_and_behind_a_break() {
        let parts = vec![part(0, 60), part(1_000_000_000, 30)];
        let timeline = Timeline { width: 10, parts };
        let axis = Axis::new(&timeline);
        assert_eq!((axis.gap, axis.width), (3, 93));
        assert_eq!(axis.breaks().collect::<Vec<_>>(), [(600, 999_999_999, 61.5)]);
        for (revision, place) in [
            (-5, 0.0),
            (0, 0.0),
            (55, 5.5),
            (600, 60.0),
            (601, 61.5),
            (999_999_999, 61.5),
            (1_000_000_100, 73.0),
            (i64::MAX, 93.0),
        ] {
            assert_eq!(axis.place(revision), place, "{revision}");
        }
        let places: Vec<usize> = axis.bars().map(|(at, _)| at).collect();
        assert_eq!((places.len(), places[59], places[60], places[89]), (90, 59, 63, 92));
        let nothing = Timeline::default();
        assert_eq!(Axis::new(&nothing).place(7), 0.0);
    }
}
