//! How the program ends: three codes, decided here alone, and never a panic.

use std::any::Any;
use std::fmt;
use std::io::Write;
use std::panic::{self, AssertUnwindSafe};
use std::process::ExitCode;

use crate::output::escape;

/// The three ways a run ends.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Exit {
    /// Done, and what was looked at is sound.
    Sound = 0,
    /// Done, but damage or a difference was found; or refused because the input is damaged.
    Damage = 1,
    /// Could not do it: bad arguments, I/O, not an etcd file.
    CouldNot = 2,
}

impl Exit {
    /// The code for something that was looked at.
    pub fn of_soundness(sound: bool) -> Self {
        if sound { Self::Sound } else { Self::Damage }
    }
}

impl From<Exit> for ExitCode {
    fn from(exit: Exit) -> Self {
        Self::from(exit as u8)
    }
}

/// An error that is the input's fault: work was refused because of damage. Put it into the chain of an error, and the
/// code is 1.
#[derive(Debug)]
pub struct Refused(pub String);

impl fmt::Display for Refused {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

impl std::error::Error for Refused {}

/// The one place that turns an error into a code.
pub fn of_error(error: &anyhow::Error) -> Exit {
    if error.is::<Refused>() || error.chain().any(|cause| cause.is::<Refused>()) {
        Exit::Damage
    } else {
        Exit::CouldNot
    }
}

/// Runs `work`, says on stderr what went wrong, and gives the code to end with.
///
/// A panic is a mistake of ours: it becomes a sentence and code 2.
pub fn run(work: impl FnOnce() -> anyhow::Result<Exit>) -> Exit {
    panic::set_hook(Box::new(|info| {
        let at = info
            .location()
            .map(|at| format!(" at {}:{}", at.file(), at.line()))
            .unwrap_or_default();
        say(&format!(
            "etcdsnap: a mistake in the program itself stopped it{at}: {}\n\
             The data was not changed. Please report this line, the command and `etcdsnap --version` at {}/issues",
            escape::for_terminal(panic_text(info.payload()).as_bytes()),
            env!("CARGO_PKG_REPOSITORY"),
        ));
    }));
    match panic::catch_unwind(AssertUnwindSafe(work)) {
        Ok(Ok(exit)) => exit,
        Ok(Err(error)) => {
            say(&format!("etcdsnap: {}", escape::for_terminal(format!("{error:#}").as_bytes())));
            of_error(&error)
        }
        Err(_) => Exit::CouldNot,
    }
}

/// Prints what clap has to say: help and version with code 0, usage errors with code 2.
pub fn of_usage(error: &clap::Error) -> Exit {
    // Nobody is left to be told that a closed pipe took nothing.
    let _ = error.print();
    if error.use_stderr() { Exit::CouldNot } else { Exit::Sound }
}

/// A line on stderr; a stderr that takes nothing changes no result.
fn say(line: &str) {
    let _ = writeln!(std::io::stderr().lock(), "{line}");
}

fn panic_text(payload: &(dyn Any + Send)) -> &str {
    payload
        .downcast_ref::<&str>()
        .copied()
        .or_else(|| payload.downcast_ref::<String>().map(String::as_str))
        .unwrap_or("no message")
}

#[cfg(test)]
mod tests {
    use super::*;
    use anyhow::{Context, anyhow};

    #[test]
    fn refused_input_is_damage_wherever_it_stands_in_the_chain() {
        let refused = || Refused("page 3: already freed".into());
        assert_eq!(of_error(&anyhow::Error::new(refused())), Exit::Damage);
        assert_eq!(
            of_error(&anyhow::Error::new(refused()).context("save").context("a.db")),
            Exit::Damage
        );
        assert_eq!(of_error(&anyhow!("no such file").context(refused())), Exit::Damage);
        assert_eq!(of_error(&anyhow!("no such file")), Exit::CouldNot);
    }

    #[test]
    fn an_answer_keeps_its_code_and_a_panic_gives_2() {
        assert_eq!(run(|| Ok(Exit::Sound)), Exit::Sound);
        assert_eq!(run(|| Ok(Exit::Damage)), Exit::Damage);
        assert_eq!(run(|| Err(anyhow!("no")).context("open a.db")), Exit::CouldNot);
        assert_eq!(run(|| panic!("slip")), Exit::CouldNot);
    }
}
