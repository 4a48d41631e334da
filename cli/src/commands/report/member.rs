//! Members and the WAL.

use etcdsnap_engine::{schema::members::Member, wal::LogEnd};
use maud::{Markup, html};

use super::{
    gather::DbFacts,
    page::Scope,
    text::{grouped, several, strange},
};
use etcdsnap_engine::member::WalFacts;

use crate::input::Input;

/// Members that are shown.
const SHOWN: usize = 64;
/// Addresses of a member that are shown.
const URLS: usize = 8;

/// The section on members and the log.
pub fn member(scope: &Scope, input: &Input, db: &DbFacts<'_>) -> Markup {
    let own = input.wal().and_then(|wal| wal.metadata).map(|metadata| metadata.node_id());
    let cluster = input.wal().and_then(|wal| wal.metadata).map(|metadata| metadata.cluster_id());
    html! {
        section id=(scope.id("member")) {
            h2 { "Member and log" }
            p.lead {
                (several(db.members.len() as u64, "member is", "members are")) " listed"
                @if db.members.len() > SHOWN { ", of which " (SHOWN) " are shown" }
                @if !db.removed.is_empty() { "; " (several(db.removed.len() as u64, "member was", "members were")) " removed" }
                @if let Some(cluster) = cluster { "; cluster " code { (format!("{cluster:x}")) } }
                "."
            }
            div.cards {
                @for member in db.members.iter().take(SHOWN) { (card(member, own, db)) }
            }
            div.log { (log(input, db)) }
        }
    }
}

fn card(member: &Member, own: Option<u64>, db: &DbFacts<'_>) -> Markup {
    let conf = db.meta.conf_state.as_ref();
    let votes = conf.map(|conf| conf.voters.contains(&member.id.0));
    let is_own = own == Some(member.id.0);
    let urls = |urls: &[String]| {
        let mut shown = urls.get(..URLS).unwrap_or(urls).join(", ");
        if urls.len() > URLS {
            shown += &format!(" and {} more", urls.len().saturating_sub(URLS));
        }
        shown
    };
    html! {
        div.card.own[is_own] {
            b { @if member.name.is_empty() { i { "unstarted" } } @else { (strange(member.name.as_bytes())) } }
            @if is_own { span.tag { "this one" } }
            @if member.is_learner { span.tag { "learner" } }
            @if votes == Some(false) && !member.is_learner { span.tag { "not in raft's conf state" } }
            p { code { (member.id.to_string()) } }
            @for (what, all) in [("peers", &member.peer_urls), ("clients", &member.client_urls)] {
                @if !all.is_empty() { p { (what) " " (strange(urls(all).as_bytes())) } }
            }
        }
    }
}

fn log(input: &Input, db: &DbFacts<'_>) -> Markup {
    let index = db.meta.consistent_index;
    let at = |index: Option<u64>| index.map_or_else(|| "unknown".to_owned(), grouped);
    let Some(wal) = input.wal() else {
        return html! {
            p.lead {
                "The db contains raft entries up to " b { (at(index)) }
                @if let Some(term) = db.meta.term { ", term " (grouped(term)) }
                ". "
                @if input.located().member.is_some() { "Its WAL was not looked at." } @else { "A file alone has no WAL." }
            }
        };
    };
    html! {
        h3 { "Write-ahead log" }
        (entries(input, wal, index))
        @if let Some(why) = input.not_replayed() { p.lead { span.no { "Not applied: " } (strange(why.to_string().as_bytes())) } }
        @match &wal.end {
            Some(LogEnd::Torn(at)) => p.lead { "It ends in a record that a crash cut short, at " (strange(at.to_string().as_bytes())) "; nobody was told of it." },
            Some(LogEnd::Damaged(at, damage)) => p.lead { span.no { "Damaged" } " at " (strange(at.to_string().as_bytes())) ": " (strange(damage.to_string().as_bytes())) },
            _ => {},
        }
        @if let Some(files) = input.files() {
            p.lead {
                (several(wal.segments as u64, "segment", "segments")) ", "
                (several(files.snapfiles.len() as u64, "snapfile", "snapfiles"))
                @if !files.leftovers.is_empty() { ", " (several(files.leftovers.len() as u64, "file", "files")) " that servers left behind" }
                "."
            }
        }
    }
}

/// What of the log is in the db, what was applied to it here, and what may not count.
fn entries(input: &Input, wal: &WalFacts, index: Option<u64>) -> Markup {
    let (Some(first), Some(last)) = (wal.first_index, wal.last_index) else {
        return html! { p.lead { "It holds no entries." } };
    };
    let (in_db, known) = match input.report() {
        Some(report) => (report.consistent_index, report.target.known),
        None => (index.unwrap_or(0), wal.commit.unwrap_or(0)),
    };
    let applied = input.report().map_or(in_db, |report| report.target.index);
    let counts = Counts::new((first, last), in_db, known);
    let parts = [
        ("live", "in the db", counts.in_db),
        ("past", "committed, in the log alone", counts.committed),
        ("free", "not known to be committed", counts.open),
    ];
    html! {
        div.bar {
            @for (class, name, count) in parts {
                @if count > 0 { i class={ "b-" (class) } style={ "flex:" (count) } title={ (name) ": " (grouped(count)) } {} }
            }
        }
        div.axis { span { (grouped(first.min(last))) } span { "raft index" } span { (grouped(first.max(last))) } }
        ul.legend {
            @for (class, name, count) in parts {
                @if count > 0 { li { i class={ "b-" (class) } {} (name) " " span { (several(count, "entry", "entries")) } } }
            }
            li { span { "this report shows the state at " (grouped(applied)) } }
        }
        @if last < first {
            p.lead { "Its entries go back: the first has index " (grouped(first)) ", the last " (grouped(last)) "; what was written later counts." }
        }
    }
}

/// Entries of a log by what is known of them.
#[derive(Debug, PartialEq, Eq)]
struct Counts {
    /// Contained in the db.
    in_db: u64,
    /// Not contained in it, and known to be committed.
    committed: u64,
    /// Not known to be committed.
    open: u64,
}

impl Counts {
    /// Of a log whose first and last entries have these indexes, in whatever order. A db may be ahead of its log and know
    /// less than it.
    fn new((first, last): (u64, u64), in_db: u64, known: u64) -> Self {
        let (least, greatest) = (first.min(last), first.max(last));
        // Index 0 is no entry.
        let before = least.saturating_sub(1);
        let up_to = |index: u64| index.clamp(before, greatest).saturating_sub(before);
        let (db, committed, all) = (up_to(in_db), up_to(known.max(in_db)), up_to(greatest));
        Self {
            in_db: db,
            committed: committed.saturating_sub(db),
            open: all.saturating_sub(committed),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn entries_are_counted_whatever_the_indexes_are() {
        let counts = |in_db, committed, open| Counts { in_db, committed, open };
        assert_eq!(Counts::new((1, 10), 4, 7), counts(4, 3, 3));
        assert_eq!(Counts::new((5, 10), 2, 20), counts(0, 6, 0));
        assert_eq!(Counts::new((5, 10), 20, 7), counts(6, 0, 0));
        // A log that goes back.
        assert_eq!(Counts::new((8, 4), 0, 6), counts(0, 3, 2));
        assert_eq!(Counts::new((u64::MAX, 0), 0, 0), counts(0, 0, u64::MAX));
        assert_eq!(Counts::new((0, 0), u64::MAX, u64::MAX), counts(0, 0, 0));
        assert_eq!(Counts::new((u64::MAX, u64::MAX), 0, u64::MAX), counts(0, 1, 0));
    }
}
