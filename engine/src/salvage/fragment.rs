//! Records in bytes without a table of elements.

use super::{
    merge::offset_of,
    record::{agrees, revision},
};
use crate::{
    pb::wire::KeyValueRef,
    schema::{RecordKey, revision::REVISION_LEN},
};

/// A message of which the end may be missing.
pub(super) struct Partial<'a> {
    pub(super) kv: KeyValueRef<'a>,
    /// Bytes of it that are there.
    pub(super) len: usize,
    pub(super) complete: bool,
}

/// Reads `mvccpb.KeyValue` as servers write it, fields in order, up to its end or to the end of `bytes`. A message does
/// not say where it ends: it ends where no greater field follows.
pub(super) fn partial(bytes: &[u8]) -> Option<Partial<'_>> {
    let mut kv = KeyValueRef::default();
    let mut at = 0;
    let mut last = 0;
    loop {
        let done = |complete| Some(Partial { kv, len: at, complete });
        let Some(&tag) = bytes.get(at) else { return done(last == 5 || last == 6 || last == 4) };
        let field = tag >> 3;
        let varint = matches!(tag, 0x10 | 0x18 | 0x20 | 0x30);
        if field <= last || !(varint || matches!(tag, 0x0a | 0x2a)) || last == 0 && tag != 0x0a {
            return if last == 0 { None } else { done(true) };
        }
        let Some((number, len)) = number(bytes.get(at + 1..).unwrap_or_default()) else {
            return if last == 0 { None } else { done(false) };
        };
        let next = at + 1 + len;
        if varint {
            match field {
                2 => kv.create_revision = number.cast_signed(),
                3 => kv.mod_revision = number.cast_signed(),
                4 => kv.version = number.cast_signed(),
                _ => kv.lease = number.cast_signed(),
            }
            at = next;
        } else {
            let wanted = usize::try_from(number).ok()?;
            let rest = bytes.get(next..).unwrap_or_default();
            let there = rest.get(..wanted.min(rest.len())).unwrap_or_default();
            if field == 1 {
                if there.len() < wanted || wanted == 0 {
                    return None;
                }
                kv.key = there;
            } else {
                kv.value = there;
            }
            at = next + there.len();
            if there.len() < wanted {
                return Some(Partial { kv, len: at, complete: false });
            }
        }
        last = field;
    }
}

fn number(bytes: &[u8]) -> Option<(u64, usize)> {
    let mut value = 0_u64;
    for (place, byte) in bytes.iter().take(10).enumerate() {
        value |= u64::from(byte & 0x7f).checked_shl(7 * place as u32)?;
        if *byte < 0x80 {
            return Some((value, place + 1));
        }
    }
    None
}

/// A record at the beginning of `bytes`: its revision, how long that is, and its message.
pub(super) fn fragment(bytes: &[u8]) -> Option<(RecordKey, usize, Partial<'_>)> {
    // A put's message begins where a deletion has its mark.
    let deletion = bytes.get(REVISION_LEN) == Some(&b't');
    let len = REVISION_LEN + usize::from(deletion);
    let key = revision(bytes.get(..len)?)?;
    let mut partial = partial(bytes.get(len..)?)?;
    if key.tombstone {
        // Nothing but its key is in it.
        let head = partial.kv.key;
        let end = offset_of(bytes, head) as usize + head.len() - len;
        partial = Partial {
            kv: KeyValueRef { key: head, ..KeyValueRef::default() },
            len: end,
            complete: true,
        };
    }
    let main = key.revision.main;
    let begun = !partial.complete
        && (partial.kv.mod_revision == main
            || partial.kv.mod_revision == 0 && (1..=main).contains(&partial.kv.create_revision));
    (agrees(key, &partial.kv) || begun).then_some((key, len, partial))
}

/// The first place from `from` on where the bytes of a revision could begin.
pub(super) fn next_revision(bytes: &[u8], from: usize) -> Option<usize> {
    const BEFORE: usize = 8;
    let mut at = from.checked_add(BEFORE)?;
    loop {
        let rest = bytes.get(at..)?;
        at += memchr::memchr(b'_', rest)?;
        let start = at - BEFORE;
        // No store has more than 2^56 revisions, and the message behind begins with the key.
        let head = bytes.get(start..)?;
        if head.first() == Some(&0)
            && head.get(9..13) == Some(&[0; 4])
            && matches!(head.get(REVISION_LEN), Some(0x0a | b't'))
        {
            return Some(start);
        }
        at += 1;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn put(main: u8, key: &[u8], value: &[u8]) -> Vec<u8> {
        let mut bytes = vec![0, 0, 0, 0, 0, 0, 0, main, b'_', 0, 0, 0, 0, 0, 0, 0, 0];
        bytes.extend([0x0a, key.len() as u8]);
        bytes.extend(key);
        bytes.extend([0x10, main, 0x18, main, 0x20, 1, 0x2a, value.len() as u8]);
        bytes.extend(value);
        bytes
    }

    #[test]
    fn a_record_is_found_in_any_bytes_whole_or_cut() {
        let record = put(9, b"key", b"the value");
        let bytes = [&b"_rubbish_\0"[..], &record, &[0; 20]].concat();
        let at = next_revision(&bytes, 0).unwrap();
        assert_eq!(at, 10);
        let (key, len, found) = fragment(&bytes[at..]).unwrap();
        assert_eq!((key.revision.main, len, found.complete), (9, 17, true));
        assert_eq!((found.kv.key, found.kv.value), (&b"key"[..], &b"the value"[..]));
        let (_, _, found) = fragment(&record[..record.len() - 3]).unwrap();
        assert_eq!((found.kv.value, found.complete), (&b"the va"[..], false));
    }

    #[test]
    fn what_only_looks_like_a_record_is_none() {
        let mut other = put(9, b"key", b"value");
        // Modified at another revision than it stands at.
        other[7] = 8;
        assert!(fragment(&other).is_none());
        assert!(fragment(&put(9, b"", b"value")).is_none());
        assert!(next_revision(b"\0\0\0\0\0\0\0\x09_\0\0\0\0\0\0\0\0", 0).is_none());
    }

    #[test]
    fn a_deletion_ends_with_its_key() {
        let mut bytes =
            vec![0, 0, 0, 0, 0, 0, 0, 9, b'_', 0, 0, 0, 0, 0, 0, 0, 1, b't', 0x0a, 1, b'k'];
        bytes.extend(put(10, b"next", b"value"));
        let (key, len, found) = fragment(&bytes).unwrap();
        assert!(key.tombstone);
        assert_eq!((found.kv.key, found.complete), (&b"k"[..], true));
        assert_eq!(len + found.len, 21);
    }
}
