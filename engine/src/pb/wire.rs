//! The messages that occur by the million, read without allocating: [`KeyValueRef`], [`RecordRef`],
//! [`EntryRef`].
//!
//! They accept and refuse exactly what the prost structs of the same name do (a test compares them on
//! mutated bytes), which is what Go's decoders do except for damage no writer makes: unknown fields are
//! skipped, the last of a repeated field wins, a known field of the wrong wire type is an error.

/// Groups within groups that are skipped before the message is refused, as in prost.
const MAX_GROUPS: usize = 100;

/// Why bytes are not a protobuf message. Offsets are from the start of the message.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum WireError {
    /// The message ends inside a field.
    #[error("message ends inside the field at byte {offset}")]
    Truncated {
        /// Where the value that does not fit starts.
        offset: usize,
    },
    /// A variable-length integer of more than 64 bits.
    #[error("overlong integer at byte {offset}")]
    Varint {
        /// Where it starts.
        offset: usize,
    },
    /// A field key that no message can have.
    #[error("invalid field key {key:#x} at byte {offset}")]
    Key {
        /// Where it starts.
        offset: usize,
        /// The key as it is stored: field number times 8 plus wire type.
        key: u64,
    },
    /// A known field that is encoded as another type.
    #[error("field {field} has wire type {wire_type} at byte {offset}")]
    WireType {
        /// Where the field's value starts.
        offset: usize,
        /// The field's number.
        field: u32,
        /// The wire type found.
        wire_type: u8,
    },
    /// A group that is closed without being open, or nested beyond any sense.
    #[error("unbalanced or too deeply nested group at byte {offset}")]
    Group {
        /// Where the group's key starts.
        offset: usize,
    },
}

/// A [`KeyValue`](super::mvccpb::KeyValue) that borrows its key and value.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct KeyValueRef<'a> {
    /// The user's key.
    pub key: &'a [u8],
    /// Main revision in which this generation of the key was created.
    pub create_revision: i64,
    /// Main revision of this change.
    pub mod_revision: i64,
    /// Puts since creation, this one included; 1 for the first.
    pub version: i64,
    /// The user's value.
    pub value: &'a [u8],
    /// Id of the lease the key is attached to; 0 for none.
    pub lease: i64,
}

impl<'a> KeyValueRef<'a> {
    /// Reads a whole message.
    ///
    /// # Errors
    /// When `bytes` are not a message with these fields.
    pub fn decode(bytes: &'a [u8]) -> Result<Self, WireError> {
        let mut fields = Fields::new(bytes);
        let mut message = Self::default();
        while let Some(key) = fields.key()? {
            match key.field {
                1 => message.key = fields.bytes(key)?,
                2 => message.create_revision = fields.int64(key)?,
                3 => message.mod_revision = fields.int64(key)?,
                4 => message.version = fields.int64(key)?,
                5 => message.value = fields.bytes(key)?,
                6 => message.lease = fields.int64(key)?,
                _ => fields.skip(key)?,
            }
        }
        Ok(message)
    }
}

/// A [`walpb::Record`](super::walpb::Record) that borrows its data. Absent scalars are 0.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct RecordRef<'a> {
    /// What `data` is.
    pub r#type: i64,
    /// CRC-32C of all data since the beginning of the log.
    pub crc: u32,
    /// The message, absent in crc records.
    pub data: Option<&'a [u8]>,
}

impl<'a> RecordRef<'a> {
    /// Reads a whole message.
    ///
    /// # Errors
    /// When `bytes` are not a message with these fields.
    pub fn decode(bytes: &'a [u8]) -> Result<Self, WireError> {
        let mut fields = Fields::new(bytes);
        let mut message = Self::default();
        while let Some(key) = fields.key()? {
            match key.field {
                1 => message.r#type = fields.int64(key)?,
                2 => message.crc = fields.uint32(key)?,
                3 => message.data = Some(fields.bytes(key)?),
                _ => fields.skip(key)?,
            }
        }
        Ok(message)
    }
}

/// A [`raftpb::Entry`](super::raftpb::Entry) that borrows its data. Absent scalars are 0.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct EntryRef<'a> {
    /// What `data` is; etcd's `Type`. Absent in what 3.7 writes for normal entries.
    pub r#type: Option<i32>,
    /// Term of the leader that proposed it.
    pub term: u64,
    /// Position in the log.
    pub index: u64,
    /// The request, absent or empty when a new leader opens its term.
    pub data: &'a [u8],
}

impl<'a> EntryRef<'a> {
    /// Reads a whole message.
    ///
    /// # Errors
    /// When `bytes` are not a message with these fields.
    pub fn decode(bytes: &'a [u8]) -> Result<Self, WireError> {
        let mut fields = Fields::new(bytes);
        let mut message = Self::default();
        while let Some(key) = fields.key()? {
            match key.field {
                // Every decoder drops the upper half of an enum silently.
                1 => message.r#type = Some(fields.int64(key)? as i32),
                2 => message.term = fields.int64(key)?.cast_unsigned(),
                3 => message.index = fields.int64(key)?.cast_unsigned(),
                4 => message.data = fields.bytes(key)?,
                _ => fields.skip(key)?,
            }
        }
        Ok(message)
    }
}

/// A field of a message as it is stored, whatever it means.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Span {
    /// The field's number.
    pub field: u32,
    /// How its value is stored.
    pub kind: SpanKind,
    /// Where its value stands, from the start of the message; of [`SpanKind::Bytes`] without the length before it.
    pub value: std::ops::Range<usize>,
}

/// How a field's value is stored.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum SpanKind {
    /// A variable-length integer.
    Varint,
    /// Four or eight bytes.
    Fixed,
    /// Bytes, text or a message.
    Bytes,
    /// A group, from behind its opening key to behind its closing key.
    Group,
}

/// The fields of a message in order; the last one says where the message stops to be one.
pub fn spans(bytes: &[u8]) -> impl Iterator<Item = Result<Span, WireError>> {
    let mut fields = Fields::new(bytes);
    let mut ended = false;
    std::iter::from_fn(move || {
        if ended {
            return None;
        }
        let span = fields.span().transpose()?;
        ended = span.is_err();
        Some(span)
    })
}

const VARINT: u8 = 0;
const FIXED64: u8 = 1;
const BYTES: u8 = 2;
const GROUP_START: u8 = 3;
const GROUP_END: u8 = 4;
const FIXED32: u8 = 5;

/// A field's number and wire type, and where they stand.
#[derive(Clone, Copy)]
struct Key {
    field: u32,
    wire_type: u8,
    offset: usize,
}

/// Walks the fields of a message. `offset` never passes the end of `bytes`.
struct Fields<'a> {
    bytes: &'a [u8],
    offset: usize,
}

impl<'a> Fields<'a> {
    fn new(bytes: &'a [u8]) -> Self {
        Self { bytes, offset: 0 }
    }

    /// The next field's key, `None` at the end of the message.
    fn key(&mut self) -> Result<Option<Key>, WireError> {
        if self.offset >= self.bytes.len() {
            return Ok(None);
        }
        let offset = self.offset;
        let key = self.varint()?;
        let wire_type = (key & 7) as u8;
        match u32::try_from(key) {
            Ok(narrow) if narrow >> 3 > 0 && wire_type <= FIXED32 => {
                Ok(Some(Key { field: narrow >> 3, wire_type, offset }))
            }
            _ => Err(WireError::Key { offset, key }),
        }
    }

    /// Most are of one byte: field keys, short lengths, versions.
    #[inline]
    fn varint(&mut self) -> Result<u64, WireError> {
        match self.bytes.get(self.offset) {
            Some(&byte) if byte < 0x80 => {
                self.offset += 1;
                Ok(byte.into())
            }
            _ => self.long_varint(),
        }
    }

    fn long_varint(&mut self) -> Result<u64, WireError> {
        let offset = self.offset;
        let mut value = 0u64;
        let rest = self.bytes.get(offset..).unwrap_or_default();
        for (place, &byte) in rest.iter().take(10).enumerate() {
            // The tenth byte has room for one bit.
            if place == 9 && byte > 1 {
                return Err(WireError::Varint { offset });
            }
            value |= u64::from(byte & 0x7f) << (7 * place);
            if byte < 0x80 {
                self.offset = offset + place + 1;
                return Ok(value);
            }
        }
        Err(WireError::Truncated { offset })
    }

    fn take(&mut self, len_bytes: u64) -> Result<&'a [u8], WireError> {
        let truncated = WireError::Truncated { offset: self.offset };
        let len = usize::try_from(len_bytes).map_err(|_| truncated)?;
        let end = self.offset.checked_add(len).ok_or(truncated)?;
        let taken = self.bytes.get(self.offset..end).ok_or(truncated)?;
        self.offset = end;
        Ok(taken)
    }

    fn expect(&self, key: Key, wire_type: u8) -> Result<(), WireError> {
        if key.wire_type == wire_type {
            return Ok(());
        }
        Err(WireError::WireType { offset: self.offset, field: key.field, wire_type: key.wire_type })
    }

    fn bytes(&mut self, key: Key) -> Result<&'a [u8], WireError> {
        self.expect(key, BYTES)?;
        let len_bytes = self.varint()?;
        self.take(len_bytes)
    }

    fn int64(&mut self, key: Key) -> Result<i64, WireError> {
        self.expect(key, VARINT)?;
        // Negative numbers are stored as their two's complement.
        self.varint().map(u64::cast_signed)
    }

    fn uint32(&mut self, key: Key) -> Result<u32, WireError> {
        self.expect(key, VARINT)?;
        // Every decoder drops the upper half silently.
        self.varint().map(|value| value as u32)
    }

    fn span(&mut self) -> Result<Option<Span>, WireError> {
        let Some(key) = self.key()? else { return Ok(None) };
        let start = self.offset;
        self.skip(key)?;
        let (kind, start) = match key.wire_type {
            VARINT => (SpanKind::Varint, start),
            FIXED64 | FIXED32 => (SpanKind::Fixed, start),
            GROUP_START => (SpanKind::Group, start),
            // `skip` has read the length, so it can be read again.
            _ => {
                let mut again = Fields { bytes: self.bytes, offset: start };
                again.varint()?;
                (SpanKind::Bytes, again.offset)
            }
        };
        Ok(Some(Span { field: key.field, kind, value: start..self.offset }))
    }

    /// Passes over a field, groups included.
    fn skip(&mut self, key: Key) -> Result<(), WireError> {
        // Field numbers of the groups that are open; a fixed array so that nothing is allocated.
        let mut open = [0u32; MAX_GROUPS];
        let mut depth = 0usize;
        let mut key = key;
        loop {
            let unbalanced = WireError::Group { offset: key.offset };
            if key.wire_type == GROUP_END {
                let innermost = depth.checked_sub(1).ok_or(unbalanced)?;
                if open.get(innermost) != Some(&key.field) {
                    return Err(unbalanced);
                }
                depth = innermost;
            } else if depth >= MAX_GROUPS {
                return Err(unbalanced);
            } else {
                match key.wire_type {
                    VARINT => drop(self.varint()?),
                    FIXED64 => drop(self.take(8)?),
                    FIXED32 => drop(self.take(4)?),
                    GROUP_START => {
                        *open.get_mut(depth).ok_or(unbalanced)? = key.field;
                        depth += 1;
                    }
                    // `key` lets no other wire type through than these and BYTES.
                    _ => {
                        let len_bytes = self.varint()?;
                        self.take(len_bytes)?;
                    }
                }
            }
            if depth == 0 {
                return Ok(());
            }
            key = self.key()?.ok_or(WireError::Truncated { offset: self.offset })?;
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::pb::{mvccpb, walpb};
    use proptest::collection::vec;
    use proptest::prelude::*;
    use prost::Message;

    /// What prost says of the same bytes, in our shape.
    fn by_prost(bytes: &[u8]) -> Option<mvccpb::KeyValue> {
        mvccpb::KeyValue::decode(bytes).ok()
    }

    fn by_us(bytes: &[u8]) -> Option<mvccpb::KeyValue> {
        KeyValueRef::decode(bytes).ok().map(|kv| mvccpb::KeyValue {
            key: kv.key.to_vec(),
            create_revision: kv.create_revision,
            mod_revision: kv.mod_revision,
            version: kv.version,
            value: kv.value.to_vec(),
            lease: kv.lease,
        })
    }

    fn record_by_us(bytes: &[u8]) -> Option<(i64, u32, Option<Vec<u8>>)> {
        let record = RecordRef::decode(bytes).ok()?;
        Some((record.r#type, record.crc, record.data.map(<[u8]>::to_vec)))
    }

    fn record_by_prost(bytes: &[u8]) -> Option<(i64, u32, Option<Vec<u8>>)> {
        let record = walpb::Record::decode(bytes).ok()?;
        Some((record.r#type(), record.crc(), record.data))
    }

    type Fields = (Option<i32>, u64, u64, Vec<u8>);

    fn entry_by_us(bytes: &[u8]) -> Option<Fields> {
        let entry = EntryRef::decode(bytes).ok()?;
        Some((entry.r#type, entry.term, entry.index, entry.data.to_vec()))
    }

    fn entry_by_prost(bytes: &[u8]) -> Option<Fields> {
        let entry = crate::pb::raftpb::Entry::decode(bytes).ok()?;
        Some((entry.r#type, entry.term(), entry.index(), entry.data.unwrap_or_default()))
    }

    fn key_value() -> impl Strategy<Value = mvccpb::KeyValue> {
        (
            vec(any::<u8>(), 0..20),
            any::<i64>(),
            any::<i64>(),
            any::<i64>(),
            vec(any::<u8>(), 0..200),
            any::<i64>(),
        )
            .prop_map(|(key, create_revision, mod_revision, version, value, lease)| {
                mvccpb::KeyValue { key, create_revision, mod_revision, version, value, lease }
            })
    }

    /// Pieces that real damage rarely makes but that tell decoders apart.
    fn piece() -> impl Strategy<Value = Vec<u8>> {
        prop_oneof![
            4 => key_value().prop_map(|kv| kv.encode_to_vec()),
            2 => vec(any::<u8>(), 0..8),
            2 => (1u8..8, 0u8..8).prop_map(|(field, wire)| vec![field << 3 | wire]),
            1 => Just(vec![0xff; 9]),
            2 => (0u8..4).prop_map(|last| [vec![0x10], vec![0xff; 9], vec![last]].concat()),
            1 => (95usize..105).prop_map(|n| vec![0x3b; n]),
            1 => (95usize..105).prop_map(|n| vec![0x3c; n]),
            1 => Just(vec![0x08, 0x96, 0x01]),
        ]
    }

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(4000))]

        #[test]
        fn any_bytes_are_judged_as_prost_judges_them(bytes in vec(any::<u8>(), 0..64)) {
            prop_assert_eq!(by_us(&bytes), by_prost(&bytes));
            prop_assert_eq!(record_by_us(&bytes), record_by_prost(&bytes));
            prop_assert_eq!(entry_by_us(&bytes), entry_by_prost(&bytes));
        }

        #[test]
        fn odd_pieces_are_judged_as_prost_judges_them(pieces in vec(piece(), 0..6)) {
            let bytes = pieces.concat();
            prop_assert_eq!(by_us(&bytes), by_prost(&bytes));
            prop_assert_eq!(record_by_us(&bytes), record_by_prost(&bytes));
            prop_assert_eq!(entry_by_us(&bytes), entry_by_prost(&bytes));
        }

        #[test]
        fn a_damaged_message_is_judged_as_prost_judges_it(
            kv in key_value(), place in any::<prop::sample::Index>(), byte in any::<u8>(), cut in any::<prop::sample::Index>(),
        ) {
            let mut bytes = kv.encode_to_vec();
            prop_assert_eq!(by_us(&bytes), Some(kv));
            if !bytes.is_empty() {
                let place = place.index(bytes.len());
                bytes[place] = byte;
                prop_assert_eq!(by_us(&bytes), by_prost(&bytes));
                bytes.truncate(cut.index(bytes.len()));
                prop_assert_eq!(by_us(&bytes), by_prost(&bytes));
            }
        }
    }

    #[test]
    fn a_real_record_is_read() {
        // `put k1 v1` as the first write of a store.
        let bytes = b"\x0a\x02k1\x10\x02\x18\x02\x20\x01\x2a\x02v1";
        let expected = KeyValueRef {
            key: b"k1",
            create_revision: 2,
            mod_revision: 2,
            version: 1,
            value: b"v1",
            lease: 0,
        };
        assert_eq!(KeyValueRef::decode(bytes), Ok(expected));
    }

    #[test]
    fn each_kind_of_damage_has_its_own_error_and_place() {
        let cases: [(&[u8], WireError); 8] = [
            (b"\x0a\x05k1", WireError::Truncated { offset: 2 }),
            (b"\x10", WireError::Truncated { offset: 1 }),
            (b"\x10\xff\xff\xff\xff\xff\xff\xff\xff\xff\x02", WireError::Varint { offset: 1 }),
            (b"\x00", WireError::Key { offset: 0, key: 0 }),
            (b"\x10\x01\x0e", WireError::Key { offset: 2, key: 0x0e }),
            (b"\x08\x01", WireError::WireType { offset: 1, field: 1, wire_type: 0 }),
            (b"\x3c", WireError::Group { offset: 0 }),
            (b"\x3b\x44", WireError::Group { offset: 1 }),
        ];
        for (bytes, error) in cases {
            assert_eq!(KeyValueRef::decode(bytes), Err(error), "{bytes:x?}");
        }
        let deep = [[0x3b; 100], [0x3c; 100]].concat();
        assert_eq!(KeyValueRef::decode(&deep), Ok(KeyValueRef::default()));
        let deeper = [[0x3b; 101], [0x3c; 101]].concat();
        assert_eq!(KeyValueRef::decode(&deeper), Err(WireError::Group { offset: 100 }));
    }
}
