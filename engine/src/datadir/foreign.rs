//! Files that are handed in by mistake, or before they were unpacked: what they are, by their content.

use std::path::Path;

use base64::{Engine as _, engine::general_purpose::STANDARD};

use crate::{shell, snapfile, wal};

/// A file that is no database.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Foreign {
    /// What it is, to be read after "is".
    pub name: &'static str,
    /// What to do with it.
    pub advice: Advice,
    /// The first words of a text.
    pub says: Option<String>,
}

/// What to do with a file that is no database.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Advice {
    /// Unpack it with this command; `FILE` stands for its path.
    Unpack(&'static str),
    /// Decrypt it with this command.
    Decrypt(&'static str),
    /// It is part of a member: name the data dir instead.
    NameDataDir,
    /// Something else.
    Other(&'static str),
}

impl Foreign {
    fn new(name: &'static str, advice: Advice) -> Self {
        Self { name, advice, says: None }
    }

    /// Whether somebody may have meant it, as opposed to other files that stand beside a backup.
    pub(super) fn is_candidate(&self) -> bool {
        !matches!(self.advice, Advice::Other(words) if words != SQLITE)
    }

    /// A sentence about the file at `path`, of which this is known, with what to do; `data_dir` is the data dir it is in.
    pub fn sentence(&self, path: &Path, data_dir: Option<&Path>) -> String {
        let quoted = shell::quote(path);
        let command = |verb: &str, command: &str| {
            format!("{verb} it first with `{}`", command.replace("FILE", &quoted))
        };
        let advice = match (self.advice, data_dir) {
            (Advice::Unpack(unpack), _) => command("unpack", unpack),
            (Advice::Decrypt(decrypt), _) => command("decrypt", decrypt),
            (Advice::NameDataDir, Some(data_dir)) => {
                format!("name the data dir instead: {}", data_dir.display())
            }
            (Advice::NameDataDir, None) => {
                "name the data dir it belongs to, which holds member/snap and member/wal".to_owned()
            }
            (Advice::Other(words), _) => words.replace("FILE", &quoted),
        };
        let says = self.says.as_ref().map(|says| format!("; it says {says:?}")).unwrap_or_default();
        let path = path.display();
        format!("{path} is {}, not an etcd database: {advice}{says}", self.name)
    }
}

/// What a file that is no database is, by its content: `bytes` are all of it, or its beginning. `None` when nothing is
/// known.
pub fn foreign(bytes: &[u8]) -> Option<Foreign> {
    if bytes.is_empty() {
        return Some(Foreign::new("empty (0 bytes)", Advice::Other(EMPTY)));
    }
    packed(bytes).or_else(|| raft(bytes)).or_else(|| text(bytes)).or_else(|| {
        let blank = is_blank(bytes);
        blank.then_some(Foreign::new("nothing but zeros", Advice::Other(ZEROS)))
    })
}

const EMPTY: &str = "the copy or download ended before its first byte; `etcdctl snapshot save` writes NAME.part and renames it when it is done: look for another copy";
const ZEROS: &str =
    "its space was reserved and its content never written, or lost: look for another copy";
const SQLITE: &str = "k3s keeps its state there (kine) unless it runs etcd; copy it with `sqlite3 FILE '.backup OUT'`";
const ANSWERED: &str =
    "a server answered the download with this instead of the file: fetch it again";
const PYTHON: &str = "python3 -c 'import sys,zlib; sys.stdout.buffer.write(zlib.decompress(sys.stdin.buffer.read()))' < FILE > OUT";

/// Compressed, encrypted and archived files, and other databases.
fn packed(bytes: &[u8]) -> Option<Foreign> {
    use Advice::{Decrypt, Other, Unpack};
    const MAGICS: [(&[u8], &str, Advice); 11] = [
        (b"\x1f\x8b", "gzip-compressed", Unpack("gunzip -k FILE")),
        (b"PK\x03\x04", "a zip archive", Unpack("unzip FILE")),
        (b"\x28\xb5\x2f\xfd", "zstd-compressed", Unpack("zstd -dk FILE")),
        (b"\xfd7zXZ\0", "xz-compressed", Unpack("xz -dk FILE")),
        (b"BZh", "bzip2-compressed", Unpack("bzip2 -dk FILE")),
        (b"\x04\x22\x4d\x18", "lz4-compressed", Unpack("lz4 -dk FILE")),
        (b"7z\xbc\xaf\x27\x1c", "a 7z archive", Unpack("7z x FILE")),
        (b"age-encryption.org/", "age-encrypted", Decrypt("age --decrypt -i KEY -o OUT FILE")),
        (
            b"Salted__",
            "OpenSSL-encrypted",
            Decrypt("openssl enc -d -CIPHER -pbkdf2 -in FILE -out OUT"),
        ),
        (b"SQLite format 3\0", "an SQLite database", Other(SQLITE)),
        (
            b"LUKS\xba\xbe",
            "a LUKS-encrypted volume",
            Other("open it with `cryptsetup open` and mount it"),
        ),
    ];
    const TAR_AT: usize = 257;
    if let Some((_, name, advice)) = MAGICS.iter().find(|(magic, ..)| bytes.starts_with(magic)) {
        return Some(Foreign::new(name, *advice));
    }
    if bytes.get(TAR_AT..).is_some_and(|rest| rest.starts_with(b"ustar")) {
        return Some(Foreign::new("a tar archive", Unpack("tar -xf FILE")));
    }
    if let Some(name) = open_pgp(bytes) {
        return Some(Foreign::new(name, Decrypt("gpg --output OUT --decrypt FILE")));
    }
    // The window of 32 KiB and the four levels that zlib writes; their check bits make the word a multiple of 31.
    let zlib = matches!(bytes, [0x78, 0x01 | 0x5e | 0x9c | 0xda, block, ..] if block & 6 != 6);
    zlib.then_some(Foreign::new("zlib-compressed", Unpack(PYTHON)))
}

/// The first packet of a binary OpenPGP message (RFC 9580).
fn open_pgp(bytes: &[u8]) -> Option<&'static str> {
    let first = *bytes.first()?;
    let (tag, length) = match first {
        0xc0.. => {
            let length = match *bytes.get(1)? {
                192..=223 => 2,
                255 => 5,
                _ => 1,
            };
            (first & 0x3f, length)
        }
        0x80.. => {
            let length = match first & 3 {
                0 => 1,
                1 => 2,
                2 => 4,
                _ => 0,
            };
            (first >> 2 & 0xf, length)
        }
        _ => return None,
    };
    let body = bytes.get(1 + length..)?;
    match (tag, body) {
        // Session keys for a recipient, then for a passphrase: version and algorithm.
        (1, [3, _, _, _, _, _, _, _, _, 1..=3 | 16 | 18 | 25 | 26, ..])
        | (3, [4..=6, 1..=13, ..]) => Some("GPG-encrypted"),
        // Compressed data by its algorithm, and the head of a signed message.
        (8, [0..=3, ..]) | (4, [3, 0 | 1, ..]) => Some("a GPG message"),
        _ => None,
    }
}

/// A member's other files.
fn raft(bytes: &[u8]) -> Option<Foreign> {
    /// No snapfile is as large; it is read whole.
    const LARGE: usize = 64 << 20;
    let first = wal::records(bytes).next();
    if first.is_some_and(|record| record.is_ok_and(|record| record.kind == wal::Kind::CRC)) {
        let name = "a segment of a WAL (`etcdsnap wal` shows it)";
        return Some(Foreign::new(name, Advice::NameDataDir));
    }
    if bytes.len() <= LARGE && snapfile::decode(bytes).is_ok() {
        return Some(Foreign::new("a raft snapfile, which has no keys", Advice::NameDataDir));
    }
    None
}

/// Texts: armoured and encoded files, and the pages that servers send for a file they do not have.
fn text(bytes: &[u8]) -> Option<Foreign> {
    use Advice::{Decrypt, Other, Unpack};
    const HEAD: usize = 4096;
    let head = bytes.get(..HEAD).unwrap_or(bytes);
    let head = match std::str::from_utf8(head) {
        Ok(text) => text,
        // A character that the head cuts through.
        Err(error) if error.error_len().is_none() => {
            std::str::from_utf8(head.get(..error.valid_up_to())?).ok()?
        }
        Err(_) => return None,
    };
    let head = head.trim_start_matches('\u{feff}').trim_start();
    if head.is_empty() || head.contains(|c: char| c.is_control() && !c.is_whitespace()) {
        return None;
    }
    let starts =
        |with: &str| head.get(..with.len()).is_some_and(|start| start.eq_ignore_ascii_case(with));
    let (name, advice) = match () {
        () if starts("-----BEGIN AGE ENCRYPTED FILE-----") => {
            ("age-encrypted", Decrypt("age --decrypt -i KEY -o OUT FILE"))
        }
        () if starts("-----BEGIN PGP MESSAGE-----") => {
            ("GPG-encrypted", Decrypt("gpg --output OUT --decrypt FILE"))
        }
        () if starts("-----BEGIN ") => {
            ("a PEM file", Other("it holds a key, a certificate or a message"))
        }
        () if starts("<!doctype html") || starts("<html") => ("an HTML page", Other(ANSWERED)),
        () if starts("<?xml") || starts("<error") => ("an XML document", Other(ANSWERED)),
        () if starts("version https://git-lfs") => {
            ("a Git LFS pointer", Other("`git lfs pull` fetches the file"))
        }
        () if is_encoded(head, |byte| byte.is_ascii_hexdigit()) => {
            ("hexadecimal text", Unpack("xxd -r -p FILE OUT"))
        }
        () if is_encoded(head, |byte| byte.is_ascii_alphanumeric() || b"+/=".contains(&byte))
            && decodes(head) =>
        {
            ("base64 text", Unpack("base64 -d FILE > OUT"))
        }
        () if starts("{") || starts("[") => {
            ("JSON text", Other("it was not made by `etcdctl snapshot save`"))
        }
        () => ("a text", Other("it was not made by `etcdctl snapshot save`")),
    };
    let encoded = matches!(advice, Unpack(_) | Decrypt(_));
    let says = (!encoded).then(|| words(head));
    Some(Foreign { name, advice, says })
}

/// Whether all of `head` but line ends is such characters, and enough of them.
fn is_encoded(head: &str, of: impl Fn(u8) -> bool) -> bool {
    const ENOUGH: usize = 64;
    let mut bytes = head.bytes().filter(|byte| !matches!(byte, b'\r' | b'\n'));
    head.len() >= ENOUGH && bytes.all(of)
}

/// Whether the first characters are base64.
fn decodes(head: &str) -> bool {
    const FIRST: usize = 64;
    let first: Vec<u8> =
        head.bytes().filter(|byte| !byte.is_ascii_whitespace()).take(FIRST).collect();
    STANDARD.decode(first).is_ok()
}

/// The first words of a text: of an error page, its title or its code.
fn words(head: &str) -> String {
    const LONG: usize = 80;
    let within = |tag: &str| {
        let lower = head.to_ascii_lowercase();
        let start = lower.find(&format!("<{tag}>"))? + tag.len() + 2;
        let len = lower.get(start..)?.find('<')?;
        head.get(start..start + len)
    };
    // Of a key its first line and no more.
    let first = if head.starts_with("-----") { head.lines().next().unwrap_or(head) } else { head };
    let said = within("title").or_else(|| within("code")).unwrap_or(first);
    let said: Vec<&str> = said.split_whitespace().collect();
    let said = said.join(" ");
    match said.char_indices().nth(LONG) {
        Some((end, _)) => format!("{}…", said.get(..end).unwrap_or_default()),
        None => said,
    }
}

/// Whether nothing but zeros stands in `bytes`. Of what is longer only the first 64 MiB and the last MiB are looked at.
pub fn is_blank(bytes: &[u8]) -> bool {
    const HEAD: usize = 64 << 20;
    const TAIL: usize = 1 << 20;
    let head = bytes.get(..HEAD).unwrap_or(bytes);
    let tail =
        bytes.len().checked_sub(TAIL).and_then(|start| bytes.get(start..)).unwrap_or_default();
    head.iter().chain(tail).all(|byte| *byte == 0)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn name(bytes: &[u8]) -> Option<&'static str> {
        foreign(bytes).map(|found| found.name)
    }

    fn said(bytes: &[u8]) -> String {
        foreign(bytes).unwrap().sentence(Path::new("x.db"), None)
    }

    #[test]
    fn files_are_known_by_their_first_bytes() {
        // As gpg, openssl, zlib and sqlite3 write them.
        let cases: [(&[u8], &str); 14] = [
            (b"\x8c\x0d\x04\x09\x03\x02\x9a\x1d", "GPG-encrypted"),
            (b"\x85\x01\x8c\x03\x21\x8e\x45\x53\x25\x0b\x66\xd9\x01\x0b", "GPG-encrypted"),
            (b"\xc1\xc0\x4c\x03\x21\x8e\x45\x53\x25\x0b\x66\xd9\x01\x0b", "GPG-encrypted"),
            (b"\xa3\x01\xed\x98\x7b\x4c", "a GPG message"),
            (b"-----BEGIN PGP MESSAGE-----\n\njA0E", "GPG-encrypted"),
            (b"-----BEGIN AGE ENCRYPTED FILE-----\nYWdl", "age-encrypted"),
            (b"age-encryption.org/v1\n", "age-encrypted"),
            (b"Salted__\x18m\x07\xb0\xae\xe8v\xf0", "OpenSSL-encrypted"),
            (b"\x78\x9c\xed\x9b\x4f\x68", "zlib-compressed"),
            (b"\x78\x01\xed\x9a\x4f\x68", "zlib-compressed"),
            (b"SQLite format 3\0\x10\0", "an SQLite database"),
            (b"\x1f\x8b\x08\0", "gzip-compressed"),
            (b"", "empty (0 bytes)"),
            (&[0; 4096], "nothing but zeros"),
        ];
        for (bytes, expected) in cases {
            assert_eq!(name(bytes), Some(expected), "{}", bytes.escape_ascii());
        }
        assert_eq!(name(b"\x78\x9d\xed\x9b"), None);
        assert_eq!(name(b"\x00\x01\x02\x03\x04\x05\x06\x07\xfe\xff"), None);
    }

    #[test]
    fn a_command_can_be_pasted_whatever_the_path_is() {
        let said = foreign(b"\x1f\x8b\x08\0").unwrap().sentence(Path::new("it's $(x).gz"), None);
        assert!(said.ends_with(r"unpack it first with `gunzip -k 'it'\''s $(x).gz'`"), "{said}");
    }

    #[test]
    fn a_text_is_quoted_as_far_as_it_helps() {
        let html = b"<!DOCTYPE html>\n<html><head><title>404 Not\n Found</title></head>";
        assert_eq!(name(html), Some("an HTML page"));
        assert!(
            said(html).ends_with("fetch it again; it says \"404 Not Found\""),
            "{}",
            said(html)
        );
        let xml =
            b"\xef\xbb\xbf<?xml version=\"1.0\"?><Error><Code>NoSuchKey</Code><Message>m</Message>";
        assert!(said(xml).contains("an XML document"), "{}", said(xml));
        assert!(said(xml).ends_with("it says \"NoSuchKey\""), "{}", said(xml));
        assert_eq!(name(b"{\"error\":\"denied\"}"), Some("JSON text"));
        assert!(said("Fehler: Zugriff verweigert ä".as_bytes()).contains("Zugriff verweigert ä"));
        let key = b"-----BEGIN RSA PRIVATE KEY-----\nMIIEsecret";
        assert_eq!(name(key), Some("a PEM file"));
        assert!(!said(key).contains("secret"), "{}", said(key));
        let long = "word ".repeat(1000);
        assert!(said(long.as_bytes()).len() < 300);
        // The head ends within a character.
        assert_eq!(name("ä".repeat(4000).as_bytes()), Some("a text"));
        assert_eq!(name(&[&b"x"[..], "ä".repeat(4000).as_bytes()].concat()), Some("a text"));
        assert_eq!(name(b"a bell \x07 is no text"), None);
    }

    #[test]
    fn encoded_text_is_told_from_words() {
        let database =
            [&[0_u8; 8][..], &[4, 0, 0, 0, 0, 0, 0, 0], b"\xed\xda\x0c\xed", &[2; 40]].concat();
        let base64 = STANDARD.encode(&database);
        assert_eq!(name(base64.as_bytes()), Some("base64 text"));
        let lines: Vec<&str> = [&base64[..40], &base64[40..]].to_vec();
        assert_eq!(name(lines.join("\r\n").as_bytes()), Some("base64 text"));
        assert!(said(base64.as_bytes()).contains("unpack it first with `base64 -d x.db > OUT`"));
        let hex: String = database.iter().map(|byte| format!("{byte:02x}")).collect();
        assert_eq!(name(hex.as_bytes()), Some("hexadecimal text"));
        assert_eq!(name(b"short"), Some("a text"));
        assert_eq!(
            name("a sentence of several words is no base64, however long it may be".as_bytes()),
            Some("a text")
        );
    }

    #[test]
    fn a_members_other_files_name_its_data_dir() {
        let (segment, _) = wal::Encoder::new(7).finish();
        let padded = [&segment[..], &[0; 4096]].concat();
        for segment in [segment, padded] {
            assert_eq!(name(&segment), Some("a segment of a WAL (`etcdsnap wal` shows it)"));
        }
        let snapfile = include_bytes!("../../tests/it/golden/restored-three-3.6.snap");
        let found = foreign(snapfile).unwrap();
        assert_eq!(found.name, "a raft snapfile, which has no keys");
        let said = found.sentence(Path::new("a.snap"), Some(Path::new("/var/lib/etcd")));
        assert!(said.ends_with("name the data dir instead: /var/lib/etcd"), "{said}");
    }
}
