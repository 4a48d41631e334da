//! What standard output and standard error can show: how wide they are, and whether they have colours.

use std::{
    io::{IsTerminal, stderr, stdout},
    os::fd::AsFd,
};

use etcdsnap_engine::finding::Severity;

/// Columns that a line of standard output may have; `None` where there is no limit, as in a pipe. An exported `COLUMNS`
/// counts everywhere.
pub fn columns() -> Option<usize> {
    columns_of(stdout())
}

/// As [`columns`], of standard error.
pub fn error_columns() -> Option<usize> {
    columns_of(stderr())
}

fn columns_of(stream: impl IsTerminal + AsFd) -> Option<usize> {
    let set = std::env::var("COLUMNS").ok().and_then(|text| text.parse().ok());
    set.or_else(|| {
        let size = rustix::termios::tcgetwinsize(&stream).ok().filter(|_| stream.is_terminal());
        size.map(|size| usize::from(size.ws_col))
    })
    .filter(|columns| *columns > 0)
}

/// Whether colours may be used: on a terminal that has them, unless `NO_COLOR` is set.
/// Source: <https://no-color.org>.
fn has_colours(stream: &impl IsTerminal) -> bool {
    let set = |name| std::env::var_os(name).is_some_and(|value| !value.is_empty());
    let dumb = std::env::var("TERM").is_ok_and(|term| term == "dumb");
    stream.is_terminal() && !set("NO_COLOR") && !dumb
}

/// How good a word is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Tone {
    /// Nothing is wrong.
    Good,
    /// Look at it.
    Uneasy,
    /// Something is damaged or lost.
    Bad,
    /// Neither.
    Plain,
}

impl From<Severity> for Tone {
    fn from(severity: Severity) -> Self {
        match severity {
            Severity::Damage => Tone::Bad,
            Severity::Warning => Tone::Uneasy,
            Severity::Note => Tone::Plain,
        }
    }
}

/// `text` in the colour of `tone`, for standard output.
pub fn coloured(text: &str, tone: Tone) -> String {
    in_colour(text, tone, has_colours(&stdout()))
}

/// As [`coloured`], for standard error.
pub fn error_coloured(text: &str, tone: Tone) -> String {
    in_colour(text, tone, has_colours(&stderr()))
}

fn in_colour(text: &str, tone: Tone, has_colours: bool) -> String {
    let code = match tone {
        Tone::Good => "32",
        Tone::Uneasy => "33",
        Tone::Bad => "31;1",
        Tone::Plain => return text.to_owned(),
    };
    if has_colours { format!("\x1b[{code}m{text}\x1b[0m") } else { text.to_owned() }
}
