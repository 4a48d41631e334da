//! Runs a program to its end and keeps everything it said.

use std::fmt;
use std::os::unix::process::ExitStatusExt;
use std::process::{Command, Stdio};

use anyhow::{Context, Result};

/// How a program ended and what it said.
#[derive(Clone, Debug)]
pub struct Ran {
    /// `None` when a signal ended it.
    pub code: Option<i32>,
    pub signal: Option<i32>,
    pub stdout: Vec<u8>,
    pub stderr: Vec<u8>,
    line: String,
}

impl Ran {
    pub fn stdout_text(&self) -> String {
        String::from_utf8_lossy(&self.stdout).into_owned()
    }

    pub fn stderr_text(&self) -> String {
        String::from_utf8_lossy(&self.stderr).into_owned()
    }
}

impl fmt::Display for Ran {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "`{}` ended with ", self.line)?;
        match (self.code, self.signal) {
            (Some(code), _) => write!(f, "exit code {code}")?,
            (None, signal) => write!(f, "signal {signal:?}")?,
        }
        let tail = |text: String| -> String {
            let skip = text.chars().count().saturating_sub(2000);
            text.chars().skip(skip).collect()
        };
        write!(f, "\n--- stdout\n{}", tail(self.stdout_text()))?;
        write!(f, "\n--- stderr\n{}", tail(self.stderr_text()))
    }
}

/// Runs `command` without input.
pub fn run(command: &mut Command) -> Result<Ran> {
    let line = std::iter::once(command.get_program())
        .chain(command.get_args())
        .map(|word| word.to_string_lossy())
        .collect::<Vec<_>>()
        .join(" ");
    let output =
        command.stdin(Stdio::null()).output().with_context(|| format!("running {line}"))?;
    Ok(Ran {
        code: output.status.code(),
        signal: output.status.signal(),
        stdout: output.stdout,
        stderr: output.stderr,
        line,
    })
}
