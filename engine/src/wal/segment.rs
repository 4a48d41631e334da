//! Names of segment files.

use std::fmt;

/// Bytes a segment file is allocated with; once a write ends beyond them the next segment is begun.
pub const SEGMENT_BYTES: u64 = 64_000_000;

/// The name of a segment file. Orders as the log does.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct SegmentName {
    /// Position in the row of segments, from 0 without gaps. Old segments are deleted.
    pub sequence: u64,
    /// One more than the last raft index written when the segment was begun; 0 for the first. After a
    /// change of leader a segment can hold smaller indexes than its name says.
    pub index: u64,
}

impl SegmentName {
    /// Reads a file name as etcd prints it; `None` for anything else, such as `0.tmp` or `*.broken`.
    pub fn parse(file_name: &str) -> Option<Self> {
        let (sequence, index) = crate::ids::hex_pair(file_name.strip_suffix(".wal")?)?;
        Some(Self { sequence, index })
    }
}

impl fmt::Display for SegmentName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:016x}-{:016x}.wal", self.sequence, self.index)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_are_printed_as_etcd_does_and_read_back() {
        let name = SegmentName { sequence: 11, index: 0xabcdef };
        assert_eq!(name.to_string(), "000000000000000b-0000000000abcdef.wal");
        assert_eq!(SegmentName::parse(&name.to_string()), Some(name));
    }

    #[test]
    fn other_files_of_the_folder_are_not_segments() {
        for other in [
            "0.tmp",
            "",
            ".wal",
            "0000000000000000-0000000000000000.wal.broken",
            "0000000000000000-0000000000000000",
            "000000000000000-00000000000000000.wal",
            "0000000000000000_0000000000000000.wal",
            "000000000000000B-0000000000000000.wal",
            "+000000000000000-0000000000000000.wal",
            "é00000000000000-0000000000000000.wal",
        ] {
            assert_eq!(SegmentName::parse(other), None, "{other}");
        }
    }
}
