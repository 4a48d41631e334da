//! Members and the WAL.

use etcdsnap_engine::{schema::members::Member, wal::LogEnd};
use maud::{Markup, html};

use super::{
    gather::DbFacts,
    page::{grouped, several, strange},
};
use etcdsnap_engine::member::WalFacts;

use crate::input::Input;

/// The section on members and the log.
pub fn member(input: &Input, db: &DbFacts<'_>) -> Markup {
    let own = input.wal().and_then(|wal| wal.metadata).map(|metadata| metadata.node_id());
    let cluster = input.wal().and_then(|wal| wal.metadata).map(|metadata| metadata.cluster_id());
    html! {
        section #member {
            h2 { "Member and log" }
            p.lead {
                (several(db.members.len() as u64, "member is", "members are")) " listed"
                @if !db.removed.is_empty() { ", " (several(db.removed.len() as u64, "was", "were")) " removed" }
                @if let Some(cluster) = cluster { "; cluster " code { (format!("{cluster:x}")) } }
                "."
                @for alarm in &db.alarms { " Alarm " b { (alarm) } " is on." }
            }
            div.cards {
                @for member in db.members.iter().take(64) { (card(member, own, db)) }
            }
            div.log { (log(input, db)) }
        }
    }
}

fn card(member: &Member, own: Option<u64>, db: &DbFacts<'_>) -> Markup {
    let conf = db.meta.conf_state.as_ref();
    let votes = conf.map(|conf| conf.voters.contains(&member.id.0));
    let is_own = own == Some(member.id.0);
    html! {
        div.card.own[is_own] {
            b { @if member.name.is_empty() { i { "unstarted" } } @else { (strange(member.name.as_bytes())) } }
            @if is_own { span.tag { "this one" } }
            @if member.is_learner { span.tag { "learner" } }
            @if votes == Some(false) && !member.is_learner { span.tag { "not in raft's conf state" } }
            p { code { (member.id.to_string()) } }
            @for (what, urls) in [("peers", &member.peer_urls), ("clients", &member.client_urls)] {
                @if !urls.is_empty() { p { (what) " " (strange(urls.join(", ").as_bytes())) } }
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
    let upto = |index: u64| index.clamp(first.saturating_sub(1), last) - first.saturating_sub(1);
    let (db, committed, all) = (upto(in_db), upto(known.max(in_db)), upto(last));
    let parts = [
        ("live", "in the db", db),
        ("past", "committed, in the log alone", committed - db),
        ("free", "not known to be committed", all - committed),
    ];
    html! {
        div.bar {
            @for (class, name, count) in parts {
                @if count > 0 { i class={ "b-" (class) } style={ "flex:" (count) } title={ (name) ": " (grouped(count)) } {} }
            }
        }
        div.axis { span { (grouped(first)) } span { "raft index" } span { (grouped(last)) } }
        ul.legend {
            @for (class, name, count) in parts {
                @if count > 0 { li { i class={ "b-" (class) } {} (name) " " span { (several(count, "entry", "entries")) } } }
            }
            li { span { "this report shows the state at " (grouped(applied)) } }
        }
    }
}
