//! The exit codes and what earns each; the one place that decides it.

use std::{io::Write as _, panic, process::ExitCode};

use etcdsnap_engine::{
    Cause, Error, ErrorKind, bolt,
    member::{Lacking, NotReplayed},
    mend, mvcc, redact, restore, rewrite, snapshot, v2store,
};

use crate::{
    hint,
    output::{self, Spool, error_line, for_terminal},
};

/// How a command ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Exit {
    /// Done, and what was looked at is sound.
    Sound = 0,
    /// Done, but damage or a difference was found; or refused because the input is damaged.
    Damage = 1,
    /// Could not do it.
    CouldNot = 2,
}

/// What a command has to say on standard output, and how it ended.
#[derive(Debug)]
pub struct Answer {
    /// Standard output, complete. Bytes, because values of keys are.
    pub text: Vec<u8>,
    /// What follows it, when that may be as long as the input.
    pub long: Option<Spool>,
    /// How it ended.
    pub exit: Exit,
}

impl Answer {
    /// An answer about something sound.
    pub fn sound(text: impl Into<Vec<u8>>) -> Self {
        Self::new(text, Exit::Sound)
    }

    /// An answer that ends in `exit`.
    pub fn new(text: impl Into<Vec<u8>>, exit: Exit) -> Self {
        Self { text: text.into(), long: None, exit }
    }

    /// A long answer that ends in `exit`.
    pub fn long(text: Spool, exit: Exit) -> Self {
        Self { text: Vec::new(), long: Some(text), exit }
    }
}

impl From<Exit> for ExitCode {
    fn from(exit: Exit) -> Self {
        ExitCode::from(exit as u8)
    }
}

/// Prints the answer. A reader that has gone away is a quiet end.
pub fn finish(answer: Answer) -> ExitCode {
    let mut out = std::io::stdout().lock();
    let long = |out: &mut _| answer.long.map_or(Ok(()), |long| long.copy_to(out));
    let printed = out.write_all(&answer.text).and_then(|()| long(&mut out));
    match printed.and_then(|()| out.flush()) {
        Ok(()) => answer.exit.into(),
        Err(error) if error.kind() == std::io::ErrorKind::BrokenPipe => answer.exit.into(),
        Err(error) => {
            say(&format!("error: write to standard output: {error}"));
            Exit::CouldNot.into()
        }
    }
}

/// Says why a command could not end well; of a damaged input, first what is wrong with it unless told to be quiet.
pub fn fail(error: &anyhow::Error, quiet: bool) -> ExitCode {
    if !quiet
        && let Some(Cause::Snapshot(snapshot::Error::Damaged { findings })) =
            of_engine(error).map(Error::cause)
    {
        output::findings(findings).iter().for_each(|line| say(line));
    }
    say_error(error);
    fail_code(error).into()
}

/// Says what went wrong and what to do next, in one line.
pub fn say_error(error: &anyhow::Error) {
    say(&for_terminal(format!("error: {}", sentence(error)).as_bytes()));
}

/// What went wrong, and what to do next.
pub fn sentence(error: &anyhow::Error) -> String {
    match of_engine(error).and_then(Error::next) {
        Some(hint) => format!("{error:#}; {}", hint::said(hint)),
        None => format!("{error:#}"),
    }
}

fn of_engine(error: &anyhow::Error) -> Option<&Error> {
    error.chain().find_map(|cause| cause.downcast_ref())
}

/// Says something to people on standard error; nobody left to read it is no reason to die.
pub fn say(line: &str) {
    let _ = std::io::stderr().write_all(error_line(line).as_bytes());
}

/// Writes a line to standard error that is not broken, however narrow the terminal: a command to paste, a row of a list.
pub fn say_whole(line: &str) {
    let _ = writeln!(std::io::stderr(), "{line}");
}

/// Damage in the input is 1, everything else that stops a command is 2.
pub fn fail_code(error: &anyhow::Error) -> Exit {
    if let Some(error) = of_engine(error) {
        return match error.kind() {
            ErrorKind::Damage => Exit::Damage,
            _ => Exit::CouldNot,
        };
    }
    let damage = error.chain().any(|cause| {
        if let Some(error) = cause.downcast_ref::<snapshot::Error>() {
            match error {
                snapshot::Error::Damaged { .. } => true,
                snapshot::Error::Bolt(error) => error.is_damage(),
                snapshot::Error::KeySpace(error) => error.is_damage(),
                snapshot::Error::Rewrite(error) => error.is_damage(),
                _ => false,
            }
        } else if let Some(error) = cause.downcast_ref::<restore::Error>() {
            error.is_damage()
        } else if let Some(error) = cause.downcast_ref::<rewrite::Error>() {
            error.is_damage()
        } else if let Some(redact::Error::Bolt(error)) = cause.downcast_ref::<redact::Error>() {
            error.is_damage()
        } else if let Some(error) = cause.downcast_ref::<mvcc::Error>() {
            error.is_damage()
        } else if let Some(error) = cause.downcast_ref::<NotReplayed>() {
            error.damage
        } else if cause.is::<Lacking>() || cause.is::<v2store::Error>() {
            true
        } else if let Some(error) = cause.downcast_ref::<mend::membership::Error>() {
            matches!(error, mend::membership::Error::Unlisted { .. })
        } else {
            cause.downcast_ref::<bolt::Error>().is_some_and(bolt::Error::is_damage)
        }
    });
    if damage { Exit::Damage } else { Exit::CouldNot }
}

/// A panic is our mistake, never the input's fault: it is said in a sentence and ends in exit code 2.
pub fn on_panic(work: impl FnOnce() -> ExitCode + panic::UnwindSafe) -> ExitCode {
    panic::set_hook(Box::new(|info| {
        let info = for_terminal(info.to_string().as_bytes());
        say(&format!(
            "error: a mistake in the program itself stopped it, please report it with the command line: {info}"
        ));
    }));
    panic::catch_unwind(work).unwrap_or_else(|_| Exit::CouldNot.into())
}
