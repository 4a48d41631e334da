//! What is wrong with data that could still be read, as data.

use std::fmt;

/// How bad a finding is.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Severity {
    /// Not sound: something is lost, altered or would be refused by a server.
    Damage,
    /// Works, but look at it.
    Warning,
    /// Worth knowing.
    Note,
}

impl fmt::Display for Severity {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Severity::Damage => "damage",
            Severity::Warning => "warning",
            Severity::Note => "note",
        })
    }
}

/// Where a finding is. Ordered: the whole file first, then by position in it.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Place {
    /// The file as a whole.
    File,
    /// A byte, counted from the start of the file.
    Offset(u64),
    /// A page as a whole.
    Page(u64),
    /// An element of a page, counted from 0.
    Element {
        /// The page.
        page: u64,
        /// The element's index in it.
        index: usize,
    },
    /// A record of a bucket, by its raw key; the bucket as a whole when the key is empty.
    Record {
        /// The bucket's name.
        bucket: &'static str,
        /// The record's key as it is stored.
        key: Vec<u8>,
    },
    /// A revision of the key space.
    Revision {
        /// Revision of the transaction.
        main: i64,
        /// Change within the transaction.
        sub: i64,
    },
}

impl fmt::Display for Place {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Place::File => f.write_str("file"),
            Place::Offset(offset) => write!(f, "offset {offset:#x}"),
            Place::Page(id) => write!(f, "page {id}"),
            Place::Element { page, index } => write!(f, "page {page} element {index}"),
            Place::Record { bucket, key } if key.is_empty() => write!(f, "bucket {bucket}"),
            Place::Record { bucket, key } => {
                write!(f, "bucket {bucket} key {}", key.escape_ascii())
            }
            Place::Revision { main, sub } => write!(f, "revision {main}/{sub}"),
        }
    }
}

/// One thing that is wrong, or worth knowing, at one place.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Finding {
    /// How bad it is.
    pub severity: Severity,
    /// Where it is.
    pub place: Place,
    /// A stable word for scripts, such as `multiple-references`.
    pub code: &'static str,
    /// What was expected and what was found, for people. Page tree findings use bbolt's wording.
    pub message: String,
}

impl Finding {
    /// A finding of severity damage.
    pub fn damage(code: &'static str, place: Place, message: impl Into<String>) -> Self {
        Self { severity: Severity::Damage, place, code, message: message.into() }
    }

    /// A finding of severity warning.
    pub fn warning(code: &'static str, place: Place, message: impl Into<String>) -> Self {
        Self { severity: Severity::Warning, place, code, message: message.into() }
    }

    /// A finding of severity note.
    pub fn note(code: &'static str, place: Place, message: impl Into<String>) -> Self {
        Self { severity: Severity::Note, place, code, message: message.into() }
    }
}

/// `count` things in words: "1 finding", "3 findings".
pub fn counted(count: u64, noun: &str) -> String {
    format!("{count} {noun}{}", if count == 1 { "" } else { "s" })
}
