//! Reads protobuf's wire format from borrowed bytes.

/// Groups may nest; deeper than this they are refused, as generated decoders do.
pub(super) const MAX_GROUPS: u32 = 100;

/// Why bytes are no message.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum WireError {
    /// The bytes end within a field.
    #[error("cut short")]
    CutShort,
    /// A number of more than 64 bits.
    #[error("varint longer than 64 bits")]
    Varint,
    /// A field with another wire type than it has.
    #[error("wire type {0} where another is expected")]
    WireType(u8),
    /// Field number 0 or one beyond 2^29 − 1.
    #[error("field number {0}")]
    Field(u64),
    /// A group that ends as another, does not begin, or nests too deep.
    #[error("malformed group")]
    Group,
}

const VARINT: u8 = 0;
const FIXED64: u8 = 1;
const BYTES: u8 = 2;
const GROUP: u8 = 3;
const GROUP_END: u8 = 4;
const FIXED32: u8 = 5;

/// A message under way.
#[derive(Clone, Copy, Debug)]
pub(super) struct Wire<'a> {
    rest: &'a [u8],
}

impl<'a> Wire<'a> {
    pub(super) fn new(bytes: &'a [u8]) -> Self {
        Self { rest: bytes }
    }

    /// The next field's number and wire type; `None` at the end.
    pub(super) fn tag(&mut self) -> Result<Option<(u32, u8)>, WireError> {
        if self.rest.is_empty() {
            return Ok(None);
        }
        let key = self.varint()?;
        let kind = (key & 7) as u8;
        if kind > FIXED32 {
            return Err(WireError::WireType(kind));
        }
        match u32::try_from(key) {
            Ok(key) if key >> 3 != 0 => Ok(Some((key >> 3, kind))),
            _ => Err(WireError::Field(key >> 3)),
        }
    }

    pub(super) fn varint(&mut self) -> Result<u64, WireError> {
        let mut value = 0_u64;
        for shift in (0..64).step_by(7) {
            let (&byte, rest) = self.rest.split_first().ok_or(WireError::CutShort)?;
            self.rest = rest;
            value |= u64::from(byte & 0x7f) << shift;
            if byte < 0x80 {
                // The tenth byte holds one bit only.
                return if shift == 63 && byte > 1 { Err(WireError::Varint) } else { Ok(value) };
            }
        }
        Err(WireError::Varint)
    }

    pub(super) fn int64(&mut self, kind: u8) -> Result<i64, WireError> {
        if kind != VARINT {
            return Err(WireError::WireType(kind));
        }
        self.varint().map(u64::cast_signed)
    }

    pub(super) fn bytes(&mut self, kind: u8) -> Result<&'a [u8], WireError> {
        if kind != BYTES {
            return Err(WireError::WireType(kind));
        }
        let len = self.varint()?;
        self.take(len)
    }

    fn take(&mut self, len: u64) -> Result<&'a [u8], WireError> {
        let len = usize::try_from(len).map_err(|_| WireError::CutShort)?;
        let (taken, rest) = self.rest.split_at_checked(len).ok_or(WireError::CutShort)?;
        self.rest = rest;
        Ok(taken)
    }

    /// Passes over a field that the message does not know.
    pub(super) fn skip(&mut self, field: u32, kind: u8, groups: u32) -> Result<(), WireError> {
        match kind {
            VARINT => self.varint().map(drop),
            FIXED64 => self.take(8).map(drop),
            BYTES => self.bytes(kind).map(drop),
            FIXED32 => self.take(4).map(drop),
            GROUP => {
                let inner = groups.checked_sub(1).ok_or(WireError::Group)?;
                loop {
                    match self.tag()?.ok_or(WireError::CutShort)? {
                        (end, GROUP_END) if end == field => return Ok(()),
                        (_, GROUP_END) => return Err(WireError::Group),
                        (inside, kind) => self.skip(inside, kind, inner)?,
                    }
                }
            }
            _ => Err(WireError::Group),
        }
    }
}
