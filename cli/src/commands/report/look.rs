//! Opens the inputs, asks the engine for its judgement, and makes the part of the page that each of them has.

use std::{path::Path, time::SystemTime};

use anyhow::{Result, anyhow};
use etcdsnap_engine::{
    Error,
    diagnose::{
        AgainstError, Verdict,
        cluster::{Again, Answer, Examined, answer},
    },
    finding::Severity,
    member::{self, Committed, Opened},
    progress::Progress as _,
};
use maud::html;

use super::{
    gather,
    head::Judgement,
    page::{self, Body, Scope},
    text::path as shown_path,
};
use crate::{
    args::{Inputs, Reading},
    commands::Context,
    exit::{Exit, fail_code, say, sentence},
    input::{Input, access, open},
    output::for_terminal,
};

/// How often what a server changes meanwhile is looked at.
const ATTEMPTS: usize = 3;

/// One input on the page.
pub struct Part {
    /// Whether it is usable as it is.
    pub judgement: Judgement,
    /// All there is to say of it.
    pub body: Body,
    /// Its facts; `None` when it could not be read.
    pub summary: Option<Summary>,
}

/// What the program's answer says of an input that was read.
pub struct Summary {
    /// Whether nothing is damaged or missing.
    pub sound: bool,
    /// Number of findings.
    pub findings: usize,
    /// Number of those that are damage.
    pub damage: u64,
    /// SHA-256 of the db file or snapshot.
    pub sha256: String,
    /// How much of what the page shows is known to be committed.
    pub committed: Committed,
}

/// Everything that was found.
pub struct Looked {
    /// The engine's answer about all inputs.
    pub answer: Answer,
    /// Each input, as they were named.
    pub parts: Vec<Part>,
}

/// Looks at every input, again where files changed meanwhile. Of several, one that cannot be read does not hide the others.
///
/// # Errors
/// When none can be read: there is nothing to show.
pub fn look(context: &Context, inputs: &Inputs, now: SystemTime) -> Result<Looked> {
    let mut refused: Vec<Option<anyhow::Error>> = inputs.paths.iter().map(|_| None).collect();
    let mut attempt = 1;
    loop {
        let examined = examine(context, inputs, &mut refused)?;
        let reopen = |again: &Again| -> Result<Opened> {
            let path = inputs.paths.get(again.place).ok_or_else(|| anyhow!("no such path"))?;
            let mut reading = inputs.reading.clone();
            reading.until.to = again.to;
            reading.wal_dir = again.wal_dir.clone().or(reading.wal_dir);
            Ok(open(context, path, &reading)?.into_opened())
        };
        let answer = match answer(&examined, reopen, &context.ui) {
            Err(error) if has_moved(&error) && attempt < ATTEMPTS => {
                attempt += 1;
                continue;
            }
            answer => answer?,
        };
        let looked = parts(context, inputs, examined, now)?;
        let mut moved = false;
        let mut parts = Vec::new();
        for ((part, refused), path) in looked.into_iter().zip(&mut refused).zip(&inputs.paths) {
            match part {
                Ok(part) => parts.push(part),
                Err(error) if inputs.paths.len() == 1 && attempt >= ATTEMPTS => return Err(error),
                Err(error) => {
                    // Until its files hold still, or for good.
                    moved = true;
                    if attempt >= ATTEMPTS {
                        tell(path, &error);
                        *refused = Some(error);
                    }
                }
            }
        }
        if !moved {
            return Ok(Looked { answer, parts });
        }
        attempt += 1;
    }
}

/// Opens and judges the inputs; why one is refused is kept, and said to people where there are others.
fn examine(
    context: &Context,
    inputs: &Inputs,
    refused: &mut [Option<anyhow::Error>],
) -> Result<Vec<Examined>> {
    let several = inputs.paths.len() > 1;
    let options = inputs.reading.options(access(context)?);
    let mut examined = Vec::new();
    for (path, refused) in inputs.paths.iter().zip(&mut *refused) {
        let error = match refused.take() {
            Some(error) => error,
            None => match examined_one(context, path, &inputs.reading, &options, several) {
                Ok(one) => {
                    examined.push(one);
                    continue;
                }
                Err(error) if !several || context.ui.interrupted() => return Err(error),
                Err(error) => {
                    tell(path, &error);
                    error
                }
            },
        };
        examined.push(Examined::unreadable(path, sentence(&error)));
        *refused = Some(error);
    }
    if refused.iter().all(Option::is_some) {
        let errors = refused.iter_mut().filter_map(Option::take);
        return Err(errors.last().unwrap_or_else(|| anyhow!("no path was named")));
    }
    Ok(examined)
}

fn examined_one(
    context: &Context,
    path: &Path,
    reading: &Reading,
    options: &member::Options,
    several: bool,
) -> Result<Examined> {
    // Beside members, how their logs are read is nothing to a file.
    let alone = Reading::default();
    let reading = if several && path.is_file() { &alone } else { reading };
    let mut attempt = 1;
    let input = loop {
        match open(context, path, reading) {
            Err(error) if has_moved(&error) && attempt < ATTEMPTS => attempt += 1,
            input => break input?,
        }
    };
    if input.files().is_none()
        && let Err(error) = input.file_db().map_err(anyhow::Error::new)
        && fail_code(&error) != Exit::Damage
    {
        // No database: before all of its bytes are looked at.
        return Err(error);
    }
    Ok(Examined::new(path, input.into_opened(), options, &context.ui)?)
}

/// The part of each input, or why its bytes cannot be trusted.
fn parts(
    context: &Context,
    inputs: &Inputs,
    examined: Vec<Examined>,
    now: SystemTime,
) -> Result<Vec<Result<Part>>> {
    let several = examined.len() > 1;
    let mut parts = Vec::new();
    for (number, (one, path)) in (1..).zip(examined.into_iter().zip(&inputs.paths)) {
        let scope = if several { Scope::of(number) } else { Scope::only() };
        let (opened, judged) = match (one.opened, one.facts.judged) {
            (Some(opened), Ok(judged)) => (opened, judged),
            (_, judged) => {
                parts.push(Ok(unreadable(path, &judged.err().unwrap_or_default())));
                continue;
            }
        };
        let input = Input::from(opened);
        let part = gather::gather(context, &input, one.verification, &judged).map(|facts| {
            let judgement = Judgement::new(&input, &facts);
            let body = page::input(&scope, &input, &facts, &judgement, now);
            let usable = facts.verdict.is_none_or(|verdict| {
                matches!(verdict, Verdict::Healthy | Verdict::Recoverable | Verdict::Empty)
            });
            let summary = Summary {
                sound: usable && facts.count(Severity::Damage) == 0,
                findings: facts.findings.len(),
                damage: facts.count(Severity::Damage),
                sha256: facts.files.first().map(|file| file.sha256.to_string()).unwrap_or_default(),
                committed: input.committed(),
            };
            Part { judgement, body, summary: Some(summary) }
        });
        match input.settle() {
            Ok(()) => {
                context.say_replayed(&input);
                let part = part.map_err(|error| named(&input, error));
                parts.push(Ok(match part {
                    Err(error) if several && !context.ui.interrupted() => {
                        tell(path, &error);
                        unreadable(path, &sentence(&error))
                    }
                    part => part?,
                }));
            }
            // What went wrong in files that change is no finding about them.
            Err(error) => parts.push(Err(error.into())),
        }
    }
    Ok(parts)
}

/// An error of the key space with the name of its input.
fn named(input: &Input, error: anyhow::Error) -> anyhow::Error {
    error.downcast().map_or_else(|error| error, |error| input.name(error).into())
}

fn unreadable(path: &Path, why: &str) -> Part {
    let judgement = Judgement::unreadable(why);
    let head = html! {
        h1 { (shown_path(path)) }
        (judgement.shown())
    };
    Part { judgement, body: Body { head, rest: html! {} }, summary: None }
}

/// Whether what was read changed underneath: the same question may succeed now.
fn has_moved(error: &anyhow::Error) -> bool {
    error.chain().any(|cause| {
        let of_member = match cause.downcast_ref::<AgainstError>() {
            Some(AgainstError::Open(error)) => Some(error),
            _ => cause.downcast_ref::<member::Error>(),
        };
        of_member.is_some_and(member::Error::has_moved)
            || cause.downcast_ref().is_some_and(Error::has_moved)
    })
}

/// Says why an input is not read; the others are.
fn tell(path: &Path, error: &anyhow::Error) {
    let line = format!("error: {}", sentence(error));
    let named = line.contains(&path.display().to_string());
    let line = if named { line } else { format!("error: {}: {}", path.display(), sentence(error)) };
    say(&for_terminal(line.as_bytes()));
}
