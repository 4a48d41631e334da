//! Reads an input and answers one question about its state.

use std::path::{Path, PathBuf};

use serde::Serialize;

use super::{Input, input::refused};
use crate::{
    error::{Cause, Error, ErrorKind},
    member::{self, Committed, Lacking, Options},
    progress::Progress,
    replay,
    snapshot::Depth,
};

/// An answer about the state of an input, and how far that state can be trusted.
#[derive(Clone, Debug, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct Answered<T> {
    /// The answer.
    #[serde(flatten)]
    pub answer: T,
    /// How much of the state is known to be committed.
    #[serde(flatten)]
    pub committed: Committed,
    /// What became of the log.
    #[serde(skip)]
    pub state: StateRead,
}

/// What state was read.
#[derive(Clone, Debug)]
pub struct StateRead {
    /// The path that was given.
    pub path: PathBuf,
    /// Whether a server had the files open.
    pub running: bool,
    /// What was applied of the log; `None` for a file, and where the log was not applied.
    pub report: Option<replay::Report>,
    /// What the state lacks, because the log is damaged before its end.
    pub lacking: Option<Lacking>,
}

impl StateRead {
    /// What state of `input` was read.
    pub fn of(input: &Input) -> Self {
        Self {
            path: input.located().path.clone(),
            running: input.is_running(),
            report: input.report().cloned(),
            lacking: input.lacking(),
        }
    }
}

impl<T> Answered<T> {
    /// `answer` about the state of `input`.
    pub fn of(input: &Input, answer: T) -> Self {
        Self { answer, committed: input.committed(), state: StateRead::of(input) }
    }
}

/// Opens `path` and answers `question` about it. Asks again when the files changed meanwhile: a running server commits now
/// and then, and its files hold still between two commits.
///
/// # Errors
/// When the path cannot be opened, when the files never held still, and the question's own errors.
pub fn ask<T>(
    path: &Path,
    options: &Options,
    progress: &dyn Progress,
    question: impl Fn(&Input) -> Result<T, Error>,
) -> Result<Answered<T>, Error> {
    let answered = member::with(path, options, progress, question);
    let (input, answer) = answered.map_err(|error| refused(path, error))?;
    finish(&input, answer)
}

/// As [`ask`], for a question about few records: the db is used before all its records are verified. If the answer meets
/// damage or is `doubtful`, and the log can replace the db, all records are verified and the question is asked again.
///
/// # Errors
/// As [`ask`].
pub fn ask_about_few<T>(
    path: &Path,
    options: &Options,
    progress: &dyn Progress,
    question: impl Fn(&Input) -> Result<T, Error>,
    doubtful: impl Fn(&T) -> bool,
) -> Result<Answered<T>, Error> {
    let few = Options { depth: Depth::Small, ..options.clone() };
    let answered = member::with(path, &few, progress, &question);
    let (input, answer): (Input, _) = answered.map_err(|error| refused(path, error))?;
    let doubtful = match &answer {
        Ok(answer) => doubtful(answer),
        Err(error) => error.kind() == ErrorKind::Damage,
    };
    if doubtful && input.is_replaceable() {
        drop(input);
        return ask(path, options, progress, question);
    }
    finish(&input, answer)
}

fn finish<T>(input: &Input, answer: Result<T, Error>) -> Result<Answered<T>, Error> {
    match answer {
        Ok(answer) => Ok(Answered::of(input, answer)),
        Err(error) if error.path().is_none() => Err(named(input, error)),
        Err(error) => Err(error),
    }
}

/// An error of the key space, or of pages, with the file's name and what to do.
fn named(input: &Input, error: Error) -> Error {
    match error.into_cause() {
        Cause::KeySpace(error) => input.name(error),
        Cause::Bolt(error) => input.explain(error),
        cause => cause.into(),
    }
}
