//! How a log ends, and what can be wrong there.

use super::{At, Error};

/// How a log ends.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum LogEnd {
    /// Behind a whole record.
    Clean(At),
    /// Inside a record that a crash cut short, or before sectors that never reached the disk. A server cuts the
    /// segment here, with what `Log::behind` tells of: sectors of one write reach the disk in any order.
    Torn(At),
    /// At something no crash explains. A server refuses the log; what is before is good.
    Damaged(At, Damage),
}

/// What makes a log end before its files do.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum Damage {
    /// A record is wrong.
    #[error(transparent)]
    Record(#[from] Error),
    /// A length word is wrong: whole records stand behind it. A crash does not do that. Servers of 3.5 to 3.7 take it
    /// for a write cut short and cut the segment here, silently and with all that stands behind; 3.4 does so when the
    /// length is below 10 MiB, and refuses the log otherwise.
    #[error("the length word says {}; {}", length_said(*says, *left), behind_said(*records, *entries))]
    Length {
        /// Bytes that the length word gives its record.
        says: u64,
        /// Bytes of the segment behind the length word.
        left: u64,
        /// Whole records behind it, its own among them where its data is proven; in all segments.
        records: u64,
        /// Smallest and greatest index of the entries among them.
        entries: Option<(u64, u64)>,
    },
    /// The length word before counts its padding wrong, so that the next frame is not where it leads. Servers do as with
    /// a wrong length, or refuse the log.
    #[error("the record before has a wrong padding count; {}", behind_said(*records, *entries))]
    Padding {
        /// Whole records behind, in all segments.
        records: u64,
        /// Smallest and greatest index of the entries among them.
        entries: Option<(u64, u64)>,
    },
    /// A record is cut short in a segment that others follow.
    #[error("a record is cut short, although more segments follow")]
    Cut,
    /// A segment holds no record, not even the first one that each has, and others follow it.
    #[error("the segment holds no record, although more segments follow")]
    Empty,
    /// A segment does not go on where the one before ends.
    #[error(
        "the segment begins with checksum {found:08x}, the one before ends with {expected:08x}"
    )]
    Chain {
        /// Running checksum at the end of the segment before.
        expected: u32,
        /// The one the segment begins with.
        found: u32,
    },
    /// A segment is missing.
    #[error("segment {expected:016x} is missing")]
    Missing {
        /// Sequence number of the segment that should be here.
        expected: u64,
    },
    /// Segments say that they belong to different members.
    #[error("the metadata names member {found:x}, earlier segments name {expected:x}")]
    Metadata {
        /// Member id named first.
        expected: u64,
        /// Member id named here.
        found: u64,
    },
}

impl Damage {
    /// What servers do when they start on such a log, as a sentence without its subject's article.
    pub fn servers(&self) -> &'static str {
        match self {
            // Tried: etcd 3.4.23 refuses from 10 MiB on; 3.5.35, 3.6.16 and 3.7.3 log it as "repaired".
            Self::Length { says, left, .. } if says > left => {
                "servers from 3.5 on start and silently cut the log here, 3.4 refuses it"
            }
            Self::Length { says: 0, .. } => "servers start and silently cut the log here",
            _ => "a server refuses this log",
        }
    }
}

fn length_said(says: u64, left: u64) -> String {
    let bytes = if says == 1 { "byte" } else { "bytes" };
    if says > left {
        format!("{says} {bytes}, but the segment has only {left} left")
    } else {
        format!("{says} {bytes}, which is wrong")
    }
}

fn behind_said(records: u64, entries: Option<(u64, u64)>) -> String {
    let (one, verb) = if records == 1 { ("", "follows") } else { ("s", "follow") };
    let entries = match entries {
        None => String::new(),
        Some((first, last)) if first == last => format!(" with entry {first}"),
        Some((first, last)) => format!(" with entries {first} to {last}"),
    };
    format!("{records} whole record{one}{entries} {verb}")
}
