//! Single keys, and buckets.

use etcdsnap_engine::mvcc::stats::KeyUse;
use maud::{Markup, html};

use super::{
    gather::DbFacts,
    page::Scope,
    text::{grouped, percent, several, strange},
};
use crate::output::bytes;

/// Buckets that are listed.
const LISTED: usize = 64;

/// The section on single keys.
pub fn keys(scope: &Scope, db: &DbFacts<'_>) -> Markup {
    let Ok(usage) = &db.usage else { return html! {} };
    if usage.largest.is_empty() {
        return html! {};
    }
    let most = usage.largest.first().map_or(1, |of| of.value_bytes);
    // A record may claim a negative version.
    let times = |of: &KeyUse<'_>| u64::try_from(of.version).unwrap_or_default();
    let often = usage.rewritten.first().map_or(1, times);
    html! {
        section id=(scope.id("keys")) {
            h2 { "Keys" }
            p.lead { "The first " (usage.largest.len()) " by either measure, of " (several(usage.total.live.records, "key", "keys")) " that exist." }
            div.two {
                div {
                    h3 { "Largest values" }
                    ol.rank { @for of in &usage.largest { (ranked(of.key, &bytes(of.value_bytes), of.value_bytes, most)) } }
                }
                div {
                    h3 { "Written most since their creation" }
                    ol.rank.past {
                        @for of in &usage.rewritten {
                            (ranked(of.key, &grouped(times(of)), times(of), often))
                        }
                    }
                }
            }
        }
    }
}

/// A line of a list with a bar as long as its share of the greatest.
pub fn ranked(key: &[u8], shown: &str, number: u64, most: u64) -> Markup {
    let share = (number as f64 / most.max(1) as f64 * 100.0).min(100.0);
    html! {
        li {
            div.row { span.key { (strange(key)) } b { (shown) } }
            div.m { i style={ "width:" (format!("{share:.1}")) "%" } {} }
        }
    }
}

/// The section on buckets.
pub fn buckets(scope: &Scope, db: &DbFacts<'_>) -> Markup {
    let size = db.store.db().page_size();
    let all = db.map.buckets();
    html! {
        section id=(scope.id("buckets")) {
            h2 { "Buckets" }
            p.lead { "What bbolt keeps: a tree of pages each, or, of small ones, a place in the page that names them." }
            div.scroll {
                table {
                    thead { tr { th { "Bucket" } th.num { "Elements" } th.num { "Pages" } th.num { "Filled" } th.num { "Depth" } th.num { "Damaged" } } }
                    tbody {
                        @for (number, of) in all.iter().enumerate().take(LISTED) {
                            @let used = of.branch_used.saturating_add(of.leaf_used);
                            tr {
                                td { @if of.parent.is_none() { i { "names of buckets" } } @else { (strange(&db.map.path(number).join(&b'/'))) } }
                                td.num { (grouped(of.elements)) }
                                td.num { @if of.is_inline() { "inline" } @else { (grouped(of.physical())) } }
                                td.num { @if of.is_inline() || of.physical() == 0 { "" } @else { (percent(used, of.physical().saturating_mul(size))) } }
                                td.num { @if of.depth > 0 { (of.depth) } }
                                td.num { @if of.damaged_pages > 0 { span.no { (grouped(of.damaged_pages)) } } }
                            }
                        }
                    }
                }
            }
            @if all.len() > LISTED { p.lead { "and " (grouped(all.len().saturating_sub(LISTED) as u64)) " more: " code { "etcdsnap buckets" } " lists all of them." } }
        }
    }
}
