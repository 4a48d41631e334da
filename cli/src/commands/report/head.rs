//! What decides: the verdict, what to do next, and what to know before.

use etcdsnap_engine::{
    diagnose::{
        Verdict,
        cluster::{Answer, Step},
    },
    finding::Severity,
    pb::etcdserverpb::AlarmType,
    replay::NotableKind,
    snapshot::Trailer,
};
use maud::{Markup, html};

use super::{
    gather::{DbFacts, Facts},
    text::{PATH, cut, grouped, percent, revision, several, short, strange},
};
use crate::{
    input::Input,
    output::{bytes, for_terminal},
};

/// Alarms that are shown.
const ALARMS: usize = 16;

/// A verdict for people.
pub struct Judgement {
    /// Class in the style sheet.
    pub class: &'static str,
    /// The word for scripts.
    pub stable: &'static str,
    /// One or two words for people.
    pub word: String,
    /// What that means.
    pub sentence: String,
}

impl Judgement {
    /// Of an input that was read.
    pub fn new(input: &Input, facts: &Facts<'_>) -> Self {
        match facts.verdict {
            Some(verdict) => of_member(verdict, facts),
            None => of_file(input, facts),
        }
    }

    /// Of an input that could not be read.
    pub fn unreadable(why: &str) -> Self {
        Self {
            class: "bad",
            stable: "unreadable",
            word: "Not read".to_owned(),
            sentence: short(why.as_bytes()),
        }
    }

    /// Of several inputs together.
    pub fn together(answer: &Answer) -> Self {
        let class = match answer.verdict {
            "healthy" if answer.sound => "good",
            "healthy" | "recoverable" | "empty" => "warn",
            _ => "bad",
        };
        let mut sentence = match (&answer.recover_from, &answer.reason) {
            (Some(path), Some(reason)) => format!("Recover from {path}: {reason}."),
            (Some(path), None) => format!("Recover from {path}."),
            (None, _) => "None of them is the right one to recover from.".to_owned(),
        };
        if let Some(quorum) = answer.quorum.as_ref().filter(|quorum| quorum.intact >= quorum.needed)
            && answer.recover_from.is_some()
        {
            let voters = several(quorum.voters as u64, "voter", "voters");
            let (intact, verb) = (quorum.intact, if quorum.intact == 1 { "is" } else { "are" });
            sentence = format!(
                "{intact} of {voters} {verb} intact, a majority: start what is intact. Only if that cannot be done: {sentence}"
            );
        }
        let damage = answer.findings.iter().find(|found| found.severity == Severity::Damage);
        if let Some(damage) = damage {
            sentence += &format!(" But {}.", damage.message);
        }
        let sentence = cut(sentence.as_bytes(), PATH);
        Self { class, stable: answer.verdict, word: titled(answer.verdict), sentence }
    }

    /// The block at the top of the page.
    pub fn shown(&self) -> Markup {
        html! {
            div class={ "verdict " (self.class) } {
                span.dot {}
                div {
                    b { (self.word) }
                    p { (self.sentence) }
                }
            }
        }
    }
}

/// How many findings there are of the worst severity, and the first that says what is wrong.
fn first(facts: &Facts<'_>) -> String {
    for (severity, one, more) in [
        (Severity::Damage, "finding of damage", "findings of damage"),
        (Severity::Warning, "warning", "warnings"),
    ] {
        let findings = || {
            let of_severity = move |finding: &_| severity == *finding;
            facts.findings.iter().filter(move |found| of_severity(&found.0.severity))
        };
        let any = findings().next();
        // That a digest differs says that something is wrong, the others say what.
        if let Some((first, _)) = findings().find(|found| found.0.code != "digest").or(any) {
            let found = several(facts.count(severity), one, more);
            let lead = if facts.count(severity) == 1 { "It is" } else { "The first" };
            return format!("{found}. {lead}: {}", short(first.message.as_bytes()));
        }
    }
    String::new()
}

fn of_member(verdict: Verdict, facts: &Facts<'_>) -> Judgement {
    let (class, meaning) = match verdict {
        Verdict::Healthy => ("good", "A server starts on these files and has everything."),
        Verdict::Recoverable => (
            "warn",
            "Everything is there, but something must be done before or after a server starts on it.",
        ),
        Verdict::RecoverableWithLoss => {
            ("bad", "A snapshot can be made, but it may lack writes that this member acknowledged.")
        }
        Verdict::SalvageOnly => ("bad", "The db is damaged: only parts of it can be read."),
        Verdict::Empty => ("warn", "Nothing was ever stored here."),
    };
    let word = titled(verdict.as_str());
    let sentence = format!("{meaning} {}", first(facts)).trim().to_owned();
    Judgement { class, stable: verdict.as_str(), word, sentence }
}

/// A word for scripts as people write it.
fn titled(word: &str) -> String {
    let mut word = word.replace('-', " ");
    word.get_mut(..1).into_iter().for_each(str::make_ascii_uppercase);
    word
}

fn of_file(input: &Input, facts: &Facts<'_>) -> Judgement {
    let (class, stable, word) = if facts.count(Severity::Damage) > 0 {
        ("bad", "damaged", "Damaged")
    } else if facts.count(Severity::Warning) > 0 {
        ("warn", "sound", "Sound, with warnings")
    } else {
        ("good", "sound", "Sound")
    };
    let sentence = match input.image().trailer() {
        _ if class != "good" => first(facts),
        Trailer::Present(_) => "Its digest matches: no byte has changed since it was taken. Pages, records, history and members are as a server writes them.".to_owned(),
        _ => "Pages, records, history and members are as a server writes them. A db has no digest: whether a value was changed cannot be seen.".to_owned(),
    };
    Judgement { class, stable, word: word.to_owned(), sentence }
}

/// A command, whole: it is to be copied. What a terminal obeys was quoted by the engine; what a browser would hide is shown.
fn command(command: &str) -> Markup {
    html! { bdi { (for_terminal(command.as_bytes())) } }
}

/// What to do next; nothing when there is nothing to do.
pub fn next(steps: &[Step]) -> Markup {
    html! {
        @if !steps.is_empty() {
            section.next {
                h2 { "What to do next" }
                ol.steps {
                    @for step in steps {
                        li {
                            (strange(step.why.as_bytes()))
                            pre { code { (command(&step.command)) } }
                        }
                    }
                }
            }
        }
    }
}

/// Entries not known to be committed, alarms, auth: what to know before anything is done.
pub fn decides(input: &Input, db: &DbFacts<'_>) -> Markup {
    html! {
        section.decides {
            h2 { "Before you start" }
            dl.facts {
                dt { "Not known to be committed" } dd { (uncommitted(input)) }
                dt { "Alarms" } dd { (alarms(db)) }
                dt { "Auth" } dd { (auth(db)) }
            }
        }
    }
}

fn uncommitted(input: &Input) -> Markup {
    let Some(report) = input.report() else {
        return match input.located().member {
            Some(_) => html! { "unknown: the WAL was not applied" },
            None => html! { "nothing: a file alone holds no WAL entries" },
        };
    };
    let (entries, left_out) = (report.entries_uncommitted(), report.left_out());
    let to = report.applied_to();
    html! {
        @if entries > 0 {
            b { (several(entries, "entry", "entries")) } ", up to " (grouped(to))
            ", no file of this member proves to be committed. This page shows the state with "
            @if entries == 1 { "it: a client may have been told of it, and a leader that runs may overrule it." }
            @else { "them: a client may have been told of them, and a leader that runs may overrule them." }
        } @else { "no entries" }
        @if left_out > 0 {
            " " (several(left_out, "entry", "entries")) " behind " (grouped(to)) @if left_out == 1 { " is" } @else { " are" } " not part of what this page shows."
        }
        @if !report.notable.is_empty() {
            ul.plain {
                @for notable in report.notable.iter().take(ALARMS) {
                    li {
                        "Entry " (grouped(notable.index)) " "
                        @match notable.what {
                            NotableKind::Compaction(to) => { "compacts history up to revision " (revision(to)) "." }
                            NotableKind::Membership => "changes the membership.",
                        }
                    }
                }
            }
        }
    }
}

fn alarms(db: &DbFacts<'_>) -> Markup {
    let Some(alarms) = &db.alarms else { return html! { "unknown: they cannot be read" } };
    html! {
        @if alarms.is_empty() { "none" }
        @for (number, alarm) in alarms.iter().enumerate().take(ALARMS) {
            @if number > 0 { "; " }
            b.warned {
                @match alarm.alarm() {
                    AlarmType::Nospace => "NOSPACE",
                    AlarmType::Corrupt => "CORRUPT",
                    AlarmType::None => "unknown alarm",
                }
            }
            " of member " code { (format!("{:x}", alarm.member_id)) }
            @match alarm.alarm() {
                AlarmType::Nospace => ", writes are refused until it is compacted, defragmented and disarmed",
                AlarmType::Corrupt => ", members differ: reads and writes are refused",
                AlarmType::None => "",
            }
        }
        @if alarms.len() > ALARMS { " and " (grouped(alarms.len().saturating_sub(ALARMS) as u64)) " more" }
    }
}

fn auth(db: &DbFacts<'_>) -> Markup {
    let Some(auth) = &db.auth else { return html! { "unknown: it cannot be read" } };
    let who = || {
        let users = several(auth.users as u64, "user", "users");
        format!("{users}, {}", several(auth.roles as u64, "role", "roles"))
    };
    html! {
        @if auth.enabled { b { "on" } ": " (who()) "; a restored cluster asks for the same passwords" }
        @else if auth.users > 0 || auth.roles > 0 { "off; " (who()) }
        @else { "off" }
    }
}

/// Revision, keys and sizes at a glance.
pub fn figures(db: &DbFacts<'_>) -> Markup {
    let (counts, size) = (db.map.counts(), db.store.db().page_size());
    let total = db.store.db().size_bytes();
    let free = counts.free.saturating_mul(size);
    let compacted = db.meta.compact_revision();
    let figure = |name: &str, value: String, below: String| {
        html! {
            div { dt { (name) } dd.v { (value) } dd.s { (below) } }
        }
    };
    html! {
        dl.figures {
            (figure(
                "Revision",
                db.revision.map_or_else(|| "unknown".to_owned(), revision),
                match compacted {
                    _ if !db.meta_known => "compaction unknown".to_owned(),
                    ..0 => "never compacted".to_owned(),
                    mark => format!("compacted to {}", revision(mark)),
                },
            ))
            @if let Ok(usage) = &db.usage {
                (figure("Keys", grouped(usage.total.live.records), format!("in {}", several(db.readable.records.records, "record", "records"))))
            } @else {
                (figure("Records that can be read", grouped(db.readable.records.records), format!("{} cannot", several(db.readable.unreadable, "place", "places"))))
            }
            (figure("Database", bytes(total), format!("{} of {size}", several(db.map.len(), "page", "pages"))))
            (figure("Free", bytes(free), format!("{} of it", percent(free, total))))
            @if let Ok(usage) = &db.usage {
                @let prediction = &usage.prediction;
                @let after = prediction.compaction.map_or(prediction.rewritten, |_| prediction.compacted);
                @if after.defragmented < total {
                    (figure("Could be", bytes(after.defragmented), if prediction.compaction.is_some() { "compacted and defragmented" } else { "defragmented" }.to_owned()))
                }
            }
            @if let Some(leases) = db.leases {
                (figure("Leases", grouped(leases as u64), match db.members.len() { 0 => "no members".to_owned(), members => several(members as u64, "member", "members") }))
            }
        }
    }
}
