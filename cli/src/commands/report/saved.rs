//! What `salvage` would save of a damaged file.

use std::io::{self, Seek, SeekFrom, Write};

use anyhow::Result;
use etcdsnap_engine::salvage::{Error, Options, Report, Salvage};
use maud::{Markup, html};

use super::{
    page::Scope,
    text::{grouped, revision, several},
};
use crate::{commands::Context, input::Input};

/// Takes everything and keeps nothing: what is lost is known when all has been written.
#[derive(Default)]
struct Nowhere {
    at: u64,
    len: u64,
}

impl Write for Nowhere {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        self.at = self.at.saturating_add(bytes.len() as u64);
        self.len = self.len.max(self.at);
        Ok(bytes.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

impl Seek for Nowhere {
    fn seek(&mut self, to: SeekFrom) -> io::Result<u64> {
        let at = match to {
            SeekFrom::Start(at) => Some(at),
            SeekFrom::End(by) => self.len.checked_add_signed(by),
            SeekFrom::Current(by) => self.at.checked_add_signed(by),
        };
        self.at = at.ok_or(io::ErrorKind::InvalidInput)?;
        Ok(self.at)
    }
}

/// What salvage would save; nothing when it recognises nothing of a key space.
pub struct Saved(Option<Report>);

impl Saved {
    /// Tries it out.
    pub fn try_out(context: &Context, input: &Input) -> Result<Self> {
        let options = Options::default();
        let tried = Salvage::read(input.image().database(), options, &context.ui).and_then(
            |mut salvage| {
                let _never_sealed = salvage.write(Nowhere::default(), &context.ui)?;
                Ok(salvage.report().clone())
            },
        );
        match tried {
            Err(Error::Interrupted(interrupted)) => Err(interrupted.into()),
            tried => Ok(Self(tried.ok())),
        }
    }

    /// The section on it.
    pub fn section(&self, scope: &Scope) -> Markup {
        html! {
            section id=(scope.id("saved")) {
                h2 { "What can be saved" }
                p.lead { "Better than this is a snapshot that " code { "etcdsnap verify" } " calls sound. Without one, " code { "etcdsnap salvage" } " names the keys that are doubtful and saves:" }
                @match &self.0 {
                    Some(report) => { (found(report)) }
                    None => p { "nothing: no etcd key space was recognised." }
                }
            }
        }
    }
}

fn found(report: &Report) -> Markup {
    let lost = report.lost_pages.iter().map(|lost| lost.count);
    let pages = lost.fold(0_u64, u64::saturating_add);
    let kept = report.tree_records.saturating_add(report.found_records);
    html! {
        ul.plain {
            li {
                (several(kept, "record", "records")) " of keys, the newest of revision "
                b { (revision(report.revision)) } ": "
                (grouped(report.tree_records)) " by way of a tree, " (grouped(report.found_records))
                " on pages recognised by their content."
            }
            @if pages > 0 { li { (several(pages, "page", "pages")) " that a tree leads to cannot be read." } }
            @if report.cut_records > 0 { li { (several(report.cut_records, "record", "records")) " can be read in part only and would be left out." } }
            @if report.hole_count > 0 { li { "History may have holes in " (several(report.hole_count, "place", "places")) "." } }
            @if report.keys_are_whole() { li { "No record is missing." } }
        }
    }
}
