//! Text of strangers, made safe to show: keys, names and paths come from files somebody else wrote.

use std::{fmt::Write, io::IsTerminal as _};

/// Text for standard output: escaped when a terminal would obey it, as it is for a file or a pipe.
pub fn escape(text: &str) -> String {
    if std::io::stdout().is_terminal() { for_terminal(text.as_bytes()) } else { text.to_owned() }
}

/// `bytes` with everything escaped that a terminal would obey or hide: control characters, direction marks, invisible
/// characters and what is not UTF-8. A backslash stays as it is: messages of the engine hold escaped keys already.
pub fn for_terminal(bytes: &[u8]) -> String {
    let mut out = String::with_capacity(bytes.len());
    for chunk in bytes.utf8_chunks() {
        if chunk.valid().bytes().all(|byte| (b' '..=b'~').contains(&byte)) {
            out.push_str(chunk.valid());
        } else {
            push_escaped(&mut out, chunk.valid());
        }
        for &byte in chunk.invalid() {
            push_byte(&mut out, byte);
        }
    }
    out
}

fn push_escaped(out: &mut String, text: &str) {
    for c in text.chars() {
        match c {
            '\n' => out.push_str("\\n"),
            '\r' => out.push_str("\\r"),
            '\t' => out.push_str("\\t"),
            c if c.is_ascii_control() => push_byte(out, c as u8),
            c if c.is_control() || is_hidden(c) => out.extend(c.escape_unicode()),
            c => out.push(c),
        }
    }
}

/// Whether a terminal shows nothing for `c`, or shows what follows in another order: what Unicode calls default
/// ignorable, among it all marks of direction; line breaks; annotations; and what is no character, which HTML must
/// not hold.
fn is_hidden(c: char) -> bool {
    matches!(c,
        '\u{ad}' | '\u{34f}' | '\u{61c}' | '\u{115f}' | '\u{1160}' | '\u{17b4}' | '\u{17b5}' | '\u{180b}'..='\u{180f}'
        | '\u{200b}'..='\u{200f}' | '\u{2028}'..='\u{202e}' | '\u{2060}'..='\u{206f}' | '\u{3164}'
        | '\u{fdd0}'..='\u{fdef}' | '\u{fe00}'..='\u{fe0f}' | '\u{feff}' | '\u{ffa0}' | '\u{fff0}'..='\u{fffb}'
        | '\u{1bca0}'..='\u{1bca3}' | '\u{1d173}'..='\u{1d17a}' | '\u{e0000}'..='\u{e0fff}')
        || u32::from(c) & 0xfffe == 0xfffe
}

fn push_byte(out: &mut String, byte: u8) {
    write_infallible(out, format_args!("\\x{byte:02x}"));
}

fn write_infallible(out: &mut String, text: std::fmt::Arguments<'_>) {
    // Writing to a String cannot fail.
    let _ = out.write_fmt(text);
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_a_terminal_would_obey_or_hide_is_escaped() {
        let cases: [(&[u8], &str); 10] = [
            (b"/registry/pods/a b", "/registry/pods/a b"),
            (b"\x1b]0;owned\x07", "\\x1b]0;owned\\x07"),
            (b"a\r\n\tb\x00\x7f", "a\\r\\n\\tb\\x00\\x7f"),
            ("\u{9b}31m".as_bytes(), "\\u{9b}31m"),
            ("gpj.\u{202e}exe".as_bytes(), "gpj.\\u{202e}exe"),
            ("a\u{200b}b\u{feff}\u{e0041}".as_bytes(), "a\\u{200b}b\\u{feff}\\u{e0041}"),
            (b"\xff\xc3(\xe2\x82", "\\xff\\xc3(\\xe2\\x82"),
            (
                "a\u{ad}\u{200d}\u{3164}\u{fe0f}\u{e0100}b".as_bytes(),
                "a\\u{ad}\\u{200d}\\u{3164}\\u{fe0f}\\u{e0100}b",
            ),
            ("\u{fffe}\u{10ffff}\u{fdd0}".as_bytes(), "\\u{fffe}\\u{10ffff}\\u{fdd0}"),
            ("naïve 日本 \\x1b".as_bytes(), "naïve 日本 \\x1b"),
        ];
        for (bytes, expected) in cases {
            assert_eq!(for_terminal(bytes), expected);
        }
    }
}
