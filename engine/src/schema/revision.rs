//! Revisions and their encoding as keys of the `key` bucket.

use std::fmt;

use crate::raw::Raw;

/// Bytes of a revision: main u64 BE, `_`, sub u64 BE.
pub const REVISION_LEN: usize = 17;
/// What follows the revision in the key of a deletion.
pub const TOMBSTONE: u8 = b't';
const SEPARATOR: u8 = b'_';
const SEPARATOR_AT: usize = 8;
const SUB_AT: usize = 9;

/// A revision: `main` counts write transactions, `sub` the changes within one.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Revision {
    /// Write transaction; the first one of a store is 2.
    pub main: i64,
    /// Change within the transaction, from 0.
    pub sub: i64,
}

impl fmt::Display for Revision {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}/{}", self.main, self.sub)
    }
}

/// A key of the `key` bucket: a revision, and whether it deleted its key.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct RecordKey {
    /// When.
    pub revision: Revision,
    /// Whether the record is a deletion.
    pub tombstone: bool,
}

/// Why bytes are no key of the `key` bucket. etcd from 3.6 on refuses the same.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum KeyError {
    /// Neither 17 nor 18 bytes.
    #[error("{0} bytes, expected 17 or 18")]
    Length(usize),
    /// Another byte between main and sub.
    #[error("separator {0:#04x}, expected 0x5f")]
    Separator(u8),
    /// A number with the sign bit set.
    #[error("negative revision {0}")]
    Negative(Revision),
    /// An 18th byte that is not `t`.
    #[error("mark {0:#04x}, expected 0x74")]
    Mark(u8),
}

impl Revision {
    /// The 17 bytes of this revision.
    pub fn encode(self) -> [u8; REVISION_LEN] {
        let mut bytes = [0; REVISION_LEN];
        let (main, rest) = bytes.split_at_mut(SEPARATOR_AT);
        main.copy_from_slice(&self.main.to_be_bytes());
        if let Some((separator, sub)) = rest.split_first_mut() {
            *separator = SEPARATOR;
            sub.copy_from_slice(&self.sub.to_be_bytes());
        }
        bytes
    }
}

impl RecordKey {
    /// The 17 or 18 bytes of this key.
    pub fn encode(self) -> Vec<u8> {
        let mut bytes = self.revision.encode().to_vec();
        if self.tombstone {
            bytes.push(TOMBSTONE);
        }
        bytes
    }

    /// Decodes a key of the `key` bucket.
    ///
    /// # Errors
    /// When it is not one that etcd writes.
    pub fn parse(key: &[u8]) -> Result<RecordKey, KeyError> {
        let tombstone = match key.get(REVISION_LEN..) {
            Some([]) => false,
            Some([TOMBSTONE]) => true,
            Some([mark]) => return Err(KeyError::Mark(*mark)),
            _ => return Err(KeyError::Length(key.len())),
        };
        let raw = Raw::new(key);
        let field =
            |offset| raw.u64_be(offset).map(u64::cast_signed).ok_or(KeyError::Length(key.len()));
        let revision = Revision { main: field(0)?, sub: field(SUB_AT)? };
        match key.get(SEPARATOR_AT) {
            Some(&SEPARATOR) => {}
            other => return Err(KeyError::Separator(other.copied().unwrap_or_default())),
        }
        if revision.main < 0 || revision.sub < 0 {
            return Err(KeyError::Negative(revision));
        }
        Ok(RecordKey { revision, tombstone })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_first_write_and_a_deletion_decode_as_servers_write_them() {
        let put = b"\0\0\0\0\0\0\0\x02_\0\0\0\0\0\0\0\0";
        let expected = RecordKey { revision: Revision { main: 2, sub: 0 }, tombstone: false };
        assert_eq!(RecordKey::parse(put), Ok(expected));
        assert_eq!(expected.revision.encode(), *put);
        let delete = b"\0\0\0\0\0\0\0\x08_\0\0\0\0\0\0\0\x01t";
        let expected = RecordKey { revision: Revision { main: 8, sub: 1 }, tombstone: true };
        assert_eq!(RecordKey::parse(delete), Ok(expected));
        assert_eq!(expected.encode(), delete);
    }

    #[test]
    fn keys_that_no_server_writes_are_refused_by_kind() {
        assert_eq!(RecordKey::parse(b"short"), Err(KeyError::Length(5)));
        assert_eq!(
            RecordKey::parse(b"\0\0\0\0\0\0\0\x02-\0\0\0\0\0\0\0\0"),
            Err(KeyError::Separator(b'-'))
        );
        assert_eq!(
            RecordKey::parse(b"\0\0\0\0\0\0\0\x02_\0\0\0\0\0\0\0\0x"),
            Err(KeyError::Mark(b'x'))
        );
        let negative = Revision { main: -1, sub: 0 };
        assert_eq!(RecordKey::parse(&negative.encode()), Err(KeyError::Negative(negative)));
    }
}
