//! Sentences broken into lines of the terminal's width.

use unicode_width::UnicodeWidthStr as _;

use super::columns;

/// `text` as lines that standard output can show: `first` stands before the first, as many spaces before the others.
/// Where there is no width, as in a pipe, it stays one line. Colours count as no width.
pub fn wrapped(first: &str, text: &str) -> String {
    within(first, text, columns())
}

fn within(first: &str, text: &str, columns: Option<usize>) -> String {
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
        let text = "entry 19 is not known to be committed and included";
        assert_eq!(within("  note: ", text, None), format!("  note: {text}\n"));
        let expected = "  note: entry 19 is not\n        known to be\n        committed and\n        included\n";
        assert_eq!(within("  note: ", text, Some(24)), expected);
        // A word that is wider than the terminal stays whole: it may be a path.
        assert_eq!(within("", "a /var/lib/etcd/member b", Some(6)), "a\n/var/lib/etcd/member\nb\n");
        assert_eq!(
            within("\x1b[33mwarning\x1b[0m: ", "a b", Some(11)),
            "\x1b[33mwarning\x1b[0m: a\n     b\n"
        );
    }
}
