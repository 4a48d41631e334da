//! Opens an input as the command line asks.

use std::path::Path;

use anyhow::{Result, anyhow};
pub use etcdsnap_engine::jobs::Input;
use etcdsnap_engine::{
    jobs::{self, Answered},
    member::Options,
    mvcc,
    source::{Access, FaultGuard},
};

use crate::{
    args::Reading,
    commands::Context,
    exit::{Exit, fail_code},
};

/// How the files of an input are read.
pub fn access(context: &Context) -> Result<Access> {
    use anyhow::Context as _;
    Ok(if context.global.no_mmap {
        Access::Read
    } else {
        Access::Map(FaultGuard::install().context("map files; --no-mmap reads them")?)
    })
}

/// How `path` is opened.
pub fn options(context: &Context, path: &Path, reading: &Reading) -> Result<Options> {
    if path == Path::new("-") {
        return Err(anyhow!(
            "standard input cannot be read here: a database is read in any order; save it to a file first"
        ));
    }
    Ok(reading.options(access(context)?))
}

/// Opens the input at `path`, mapped or read, and applies its log unless told otherwise.
pub fn open(context: &Context, path: &Path, reading: &Reading) -> Result<Input> {
    Ok(Input::open(path, &options(context, path, reading)?, &context.ui)?)
}

/// Refuses to write to `target` when that is, or is within, what is read: evidence stays as it is.
pub fn apart(source: &Path, target: &Path) -> Result<()> {
    let Ok(source_at) = source.canonicalize() else { return Ok(()) };
    // The target may be to be made, with directories above it.
    let above = target.ancestors().find_map(|above| {
        let above = if above.as_os_str().is_empty() { Path::new(".") } else { above };
        Some((above.canonicalize().ok()?, target.strip_prefix(above).unwrap_or(target)))
    });
    let Some((above, rest)) = above else { return Ok(()) };
    let target_at = if rest.as_os_str().is_empty() { above } else { above.join(rest) };
    let read = member_of(&source_at).unwrap_or(&source_at);
    if target_at.starts_with(read) {
        return Err(anyhow!(
            "{} is in what is read, {}, which is never changed",
            target.display(),
            if read == source_at { source.display() } else { read.display() }
        ));
    }
    Ok(())
}

/// The member dir whose db `path` is: a file of one member is evidence with all that stands around it.
fn member_of(path: &Path) -> Option<&Path> {
    path.parent()?.parent().filter(|_| path.ends_with("member/snap/db"))
}

/// Opens `path` and asks `question` of it, again when the files changed meanwhile.
pub fn ask<T>(
    context: &Context,
    path: &Path,
    reading: &Reading,
    question: impl Fn(&Input) -> Result<T>,
) -> Result<T> {
    let options = options(context, path, reading)?;
    told(context, jobs::ask(path, &options, &context.ui, |input| Ok(named(input, question(input)))))
}

/// As [`ask`], for a question about few records: the other records are not verified first. If the answer meets damage
/// and the log can replace the db, all records are verified and the question is asked again.
pub fn ask_about_few<T>(
    context: &Context,
    path: &Path,
    reading: &Reading,
    question: impl Fn(&Input) -> Result<T>,
) -> Result<T> {
    ask_unless(context, path, reading, question, |_| false)
}

/// As [`ask_about_few`]; a `doubtful` answer is asked for again, too, after all records are verified.
pub fn ask_unless<T>(
    context: &Context,
    path: &Path,
    reading: &Reading,
    question: impl Fn(&Input) -> Result<T>,
    doubtful: impl Fn(&T) -> bool,
) -> Result<T> {
    let options = options(context, path, reading)?;
    let question = |input: &Input| Ok(named(input, question(input)));
    let doubtful = |answer: &Result<T>| match answer {
        Ok(answer) => doubtful(answer),
        Err(error) => fail_code(error) == Exit::Damage,
    };
    told(context, jobs::ask_about_few(path, &options, &context.ui, question, doubtful))
}

/// An error of the key space with the file's name, unless it says already which of several inputs it is about.
fn named<T>(input: &Input, answer: Result<T>) -> Result<T> {
    answer.map_err(|error| {
        if !error.chain().next().is_some_and(|first| first.is::<mvcc::Error>()) {
            return error;
        }
        error.downcast().map_or_else(|error| error, |error| input.name(error).into())
    })
}

/// Prints notes on the state that was read, and returns the answer.
fn told<T>(
    context: &Context,
    answered: Result<Answered<Result<T>>, etcdsnap_engine::Error>,
) -> Result<T> {
    let Answered { answer, state, .. } = answered?;
    let answer = answer?;
    context.say_state(&state);
    Ok(answer)
}
