//! The page as a whole: head, what decides, the sections.

use std::time::SystemTime;

use base64::{Engine as _, engine::general_purpose::STANDARD};
use etcdsnap_engine::finding::Severity;
use maud::{DOCTYPE, Markup, PreEscaped, html};
use sha2::{Digest as _, Sha256};

use super::{
    findings,
    gather::Facts,
    head::{self, Judgement},
    history, keys,
    map::Picture,
    member, pages, space,
    text::path,
};
use crate::input::Input;

const STYLE: &str = include_str!("report.css");
const SCRIPT: &str = include_str!("report.js");

/// Which input of the page something is about: anchors are unique in it.
pub struct Scope {
    prefix: String,
}

impl Scope {
    /// Of the only input.
    pub fn only() -> Self {
        Self { prefix: String::new() }
    }

    /// Of input number `number` of several.
    pub fn of(number: usize) -> Self {
        Self { prefix: format!("m{number}-") }
    }

    /// The anchor `name` of this input.
    pub fn id(&self, name: &str) -> String {
        format!("{}{name}", self.prefix)
    }
}

/// What there is to say of an input: on a page of its own, what to do next stands between both.
pub struct Body {
    /// Its name and verdict.
    pub head: Markup,
    /// All the rest.
    pub rest: Markup,
}

/// The page around `body`; `title` is text of strangers that was made safe.
pub fn page(title: &str, body: &Markup) -> String {
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
                title { "etcd report: " (title) }
                style { (PreEscaped(STYLE)) }
            }
            body {
                main {
                    div.brand { "etcdsnap report" }
                    (body)
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

/// All there is to say of one input, and what to do next.
pub fn input(
    scope: &Scope,
    input: &Input,
    facts: &Facts<'_>,
    judgement: &Judgement,
    now: SystemTime,
) -> Body {
    let parts = parts(scope, input, facts, now);
    Body {
        head: html! {
            h1 { (path(&input.located().path)) }
            (judgement.shown())
        },
        rest: html! {
            @if let Some(db) = &facts.db {
                (head::decides(input, db))
                (head::figures(db))
            }
            nav {
                @for (id, name, _) in &parts {
                    a href={ "#" (scope.id(id)) } { (name) }
                }
            }
            @for (_, _, part) in &parts { (part) }
        },
    }
}

/// The sections, with their anchors and names; those that have nothing to say are left out.
fn parts(
    scope: &Scope,
    input: &Input,
    facts: &Facts<'_>,
    now: SystemTime,
) -> Vec<(&'static str, &'static str, Markup)> {
    let picture =
        facts.db.as_ref().map(|db| Picture::new(&db.map, db.store.db().meta().high_water_mark.0));
    let marks = picture.as_ref().map(|picture| pages::marks(facts, picture)).unwrap_or_default();
    // What is only worth knowing comes late.
    let grave = facts.findings.iter().any(|(finding, _)| finding.severity != Severity::Note);
    let found = |here: bool| {
        if here && !facts.findings.is_empty() {
            findings::findings(
                scope,
                facts,
                picture.as_ref().map(|picture| (picture, marks.as_slice())),
            )
        } else {
            html! {}
        }
    };
    let mut parts = vec![("findings", "Findings", found(grave))];
    if let Some(saved) = &facts.saved {
        parts.push(("saved", "What can be saved", saved.section(scope)));
    }
    if let (Some(db), Some(picture)) = (&facts.db, &picture) {
        parts.extend([
            ("space", "Space", space::space(scope, db)),
            ("map", "Page map", pages::section(scope, db, picture, &marks)),
            ("history", "History", history::history(scope, db)),
            ("keys", "Keys", keys::keys(scope, db)),
            ("member", "Member", member::member(scope, input, db)),
            ("buckets", "Buckets", keys::buckets(scope, db)),
        ]);
    }
    parts.extend([
        ("findings", "Findings", found(!grave)),
        ("checks", "Checks", findings::checks(scope, facts)),
        ("evidence", "Evidence", findings::evidence(scope, input, facts, now)),
    ]);
    parts.retain(|(_, _, part)| !part.0.is_empty());
    parts
}
