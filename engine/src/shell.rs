//! Words and command lines as a POSIX shell takes them.

use std::{ffi::OsStr, os::unix::ffi::OsStrExt as _};

/// `word` as one word of a command line that can be pasted, whatever bytes it holds.
///
/// A word with characters that a terminal would obey or hide is written as octal numbers for `printf`, so that what is
/// seen is what is pasted.
pub fn quote(word: impl AsRef<OsStr>) -> String {
    let bytes = word.as_ref().as_bytes();
    let plain = |byte: &u8| byte.is_ascii_alphanumeric() || b"-_./:=,@%+".contains(byte);
    if !bytes.is_empty() && bytes.iter().all(plain) && !bytes.starts_with(b"=") {
        return String::from_utf8_lossy(bytes).into_owned();
    }
    match std::str::from_utf8(bytes) {
        // A command substitution drops line breaks at its end.
        Ok(text) if text.chars().all(is_shown) || bytes.ends_with(b"\n") => single(text),
        _ => {
            let inner: String = bytes.iter().map(|byte| printed(*byte)).collect();
            format!("\"$(printf {})\"", single(&inner))
        }
    }
}

/// Words as a line.
pub fn line<W: AsRef<OsStr>>(words: impl IntoIterator<Item = W>) -> String {
    words.into_iter().map(quote).collect::<Vec<_>>().join(" ")
}

fn single(text: &str) -> String {
    format!("'{}'", text.replace('\'', r"'\''"))
}

/// Letters and signs of any script; not what a terminal obeys, and not marks that change how text looks.
fn is_shown(c: char) -> bool {
    matches!(c, ' '..='~') || c.is_alphanumeric()
}

/// A byte in the format of `printf`.
fn printed(byte: u8) -> String {
    match byte {
        b'%' => "%%".to_owned(),
        b'\\' => r"\\".to_owned(),
        b' '..=b'~' => char::from(byte).to_string(),
        _ => format!("\\{byte:03o}"),
    }
}

#[cfg(test)]
mod tests {
    use std::{ffi::OsString, os::unix::ffi::OsStringExt as _, process::Command};

    use super::*;

    #[test]
    fn a_shell_reads_every_word_back() {
        let words: [&[u8]; 16] = [
            b"plain-1.db",
            b"",
            b"two words",
            b"it's",
            b"\"$HOME\" `id` \\ !",
            b"a\nb",
            b"a\n",
            b"\n",
            b"tab\there",
            b"100%\x01 'of' \\n",
            b"\xff\xfe not text",
            "日本 naïve".as_bytes(),
            "gpj.\u{202e}exe".as_bytes(),
            b"-n",
            b"=ls",
            b"~root *?[a]{b,c};&|<>()#",
        ];
        for word in words {
            let quoted = quote(OsString::from_vec(word.to_vec()));
            let ran = Command::new("sh").arg("-c").arg(format!("printf %s {quoted}")).output();
            // A word that begins with a dash is a word all the same.
            assert_eq!(ran.unwrap().stdout, word, "{quoted}");
            let shown = quoted.chars().all(is_shown) || word.ends_with(b"\n");
            assert!(shown, "{quoted:?}");
        }
        assert_eq!(line(["etcd", "--name", "n 1"]), "etcd --name 'n 1'");
    }
}
