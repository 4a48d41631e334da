//! The choice of a format, and the one way to stdout.

use std::io::{self, ErrorKind, IsTerminal, Write};

use anyhow::Context;
use serde::{Serialize, Serializer};

use super::escape;

/// The formats of `-w`, by etcdutl's names.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, clap::ValueEnum)]
pub enum Format {
    // Plain comments: clap would make a list of them and every help text long.
    // For people: one line where one is enough.
    #[default]
    Simple,
    // For people: a box.
    Table,
    // For programs: one JSON object a line, with everything that is known.
    Json,
    // For grep: one field a line.
    Fields,
}

/// Where answers go and in which shape.
#[derive(Clone, Copy, Debug)]
pub struct Output {
    /// The chosen format.
    pub format: Format,
    /// Whether text of strangers is escaped because a terminal would obey it.
    pub escape: bool,
}

impl Output {
    /// Answers in `format` on this process's stdout.
    pub fn to_stdout(format: Format) -> Self {
        Self { format, escape: io::stdout().is_terminal() }
    }

    /// Text from a file, as it may be shown in the formats for people.
    pub fn text(&self, text: &str) -> String {
        if self.escape { escape::for_terminal(text.as_bytes()) } else { text.to_string() }
    }

    /// Prints a rendered report, which ends with a line break.
    ///
    /// A reader that has closed the pipe has seen enough, and the exit code is still that of the answer.
    ///
    /// # Errors
    /// When stdout takes nothing for another reason, such as a full disk.
    pub fn print(&self, rendered: &str) -> anyhow::Result<()> {
        let mut stdout = io::stdout().lock();
        match stdout.write_all(rendered.as_bytes()).and_then(|()| stdout.flush()) {
            Err(error) if error.kind() == ErrorKind::BrokenPipe => Ok(()),
            result => result.context("write the answer to standard output"),
        }
    }
}

/// One JSON object on a line of its own.
pub(super) fn json(report: &impl Serialize) -> String {
    let mut line =
        serde_json::to_string(report).expect("a report has string keys and no failing serializer");
    line.push('\n');
    line
}

/// One line of the `fields` format.
pub(super) fn field(name: &str, value: impl std::fmt::Display) -> String {
    format!("\"{name}\" : {value}\n")
}

/// An id of a member or a cluster: lower-case hex without leading zeros, a string in JSON.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct HexId(pub u64);

impl std::fmt::Display for HexId {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "{:x}", self.0)
    }
}

impl Serialize for HexId {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(self)
    }
}
