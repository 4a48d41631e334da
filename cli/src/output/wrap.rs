//! Sentences broken into lines of the terminal's width.

use unicode_width::UnicodeWidthStr as _;

use super::terminal::{Tone, coloured, columns, error_coloured, error_columns};

/// `text` as lines that standard output can show: `first` stands before the first, as many spaces before the others.
/// Where there is no width, as in a pipe, it stays one line. Colours count as no width.
pub fn wrapped(first: &str, text: &str) -> String {
    within(first, text, columns())
}

/// A line about a finding, as standard output shows it: its severity in colour, broken into lines of the terminal's width.
pub fn finding_line(indent: &str, line: &str) -> String {
    let (lead, tone, text) = parts(line);
    within(&format!("{indent}{}", coloured(lead, tone)), text, columns())
}

/// `line` as standard error shows it: what kind of line it is in colour, broken into lines of the terminal's width.
pub fn error_line(line: &str) -> String {
    let (lead, tone, text) = parts(line);
    within(&error_coloured(lead, tone), text, error_columns())
}

/// What kind of line `line` says that it is, and the rest of it.
fn parts(line: &str) -> (&str, Tone, &str) {
    let leads = [
        ("error: ", Tone::Bad),
        ("damage: ", Tone::Bad),
        ("warning: ", Tone::Uneasy),
        ("note: ", Tone::Plain),
        ("  ", Tone::Plain),
    ];
    let found = leads.into_iter().find(|(lead, _)| line.starts_with(lead));
    let (lead, tone) = found.unwrap_or(("", Tone::Plain));
    let (lead, rest) = line.split_at(lead.len());
    (lead, tone, rest)
}

/// As [`wrapped`], for so many columns.
pub(super) fn within(first: &str, text: &str, columns: Option<usize>) -> String {
    let Some(columns) = columns else { return format!("{first}{text}\n") };
    let indent = width(first).min(columns / 2);
    let mut out = first.to_owned();
    let mut used = width(first);
    let mut empty = true;
    for word in text.split(' ') {
        let wide = width(word);
        if !empty && used + 1 + wide > columns {
            out.push('\n');
            out.push_str(&" ".repeat(indent));
            used = indent;
            empty = true;
        }
        if !empty {
            out.push(' ');
            used += 1;
        }
        out.push_str(word);
        used += wide;
        empty = false;
    }
    out.push('\n');
    out
}

/// Columns that `text` takes, escape sequences of colours left out.
fn width(text: &str) -> usize {
    let mut parts = text.split('\x1b');
    let plain = parts.next().unwrap_or_default().width();
    plain
        + parts.map(|part| part.split_once('m').map_or(0, |(_, rest)| rest.width())).sum::<usize>()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lines_end_at_words_and_go_on_under_the_first() {
        let text = "entry 19 is included: a client may know it";
        assert_eq!(within("  note: ", text, None), format!("  note: {text}\n"));
        let expected =
            "  note: entry 19 is\n        included: a\n        client may know\n        it\n";
        assert_eq!(within("  note: ", text, Some(24)), expected);
        // A word that is wider than the terminal stays whole: it may be a path.
        assert_eq!(within("", "a /var/lib/etcd/member b", Some(6)), "a\n/var/lib/etcd/member\nb\n");
        assert_eq!(
            within("\x1b[33mwarning\x1b[0m: ", "a b", Some(11)),
            "\x1b[33mwarning\x1b[0m: a\n     b\n"
        );
    }
}
