//! Package `mvccpb`: the records of the key space, borrowed.

use super::wire::{self, Wire};

/// Why bytes are no message.
pub use super::wire::WireError;

/// A `KeyValue`: the value of a record in bucket `key`, borrowed from the file.
///
/// Written by hand because millions of them are decoded: it allocates nothing. What it accepts and what
/// it answers is what a generated decoder does, which a test checks.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct KeyValue<'a> {
    /// The user's key. The only field of a deletion.
    pub key: &'a [u8],
    /// Revision at which the key's current generation began.
    pub create_revision: i64,
    /// Revision of this record.
    pub mod_revision: i64,
    /// Writes since the generation began; 1 for the first.
    pub version: i64,
    /// The user's value.
    pub value: &'a [u8],
    /// Id of the lease the key is attached to; 0 for none.
    pub lease: i64,
}

impl<'a> KeyValue<'a> {
    /// Decodes a message.
    ///
    /// # Errors
    /// When a field is cut short, malformed or has another wire type than `mvccpb.proto` gives it.
    pub fn decode(bytes: &'a [u8]) -> Result<Self, WireError> {
        let mut kv = KeyValue::default();
        let mut wire = Wire::new(bytes);
        while let Some((field, kind)) = wire.tag()? {
            match field {
                1 => kv.key = wire.bytes(kind)?,
                2 => kv.create_revision = wire.int64(kind)?,
                3 => kv.mod_revision = wire.int64(kind)?,
                4 => kv.version = wire.int64(kind)?,
                5 => kv.value = wire.bytes(kind)?,
                6 => kv.lease = wire.int64(kind)?,
                _ => wire.skip(field, kind, wire::MAX_GROUPS)?,
            }
        }
        Ok(kv)
    }
}

/// The same message, generated: the oracle of tests and the encoder where one is needed.
#[derive(Clone, PartialEq, prost::Message)]
pub struct OwnedKeyValue {
    /// The user's key.
    #[prost(bytes = "vec", tag = "1")]
    pub key: Vec<u8>,
    /// Revision at which the key's current generation began.
    #[prost(int64, tag = "2")]
    pub create_revision: i64,
    /// Revision of this record.
    #[prost(int64, tag = "3")]
    pub mod_revision: i64,
    /// Writes since the generation began.
    #[prost(int64, tag = "4")]
    pub version: i64,
    /// The user's value.
    #[prost(bytes = "vec", tag = "5")]
    pub value: Vec<u8>,
    /// Id of the lease the key is attached to.
    #[prost(int64, tag = "6")]
    pub lease: i64,
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;
    use prost::Message as _;

    use super::*;

    fn agree(bytes: &[u8]) -> Result<(), TestCaseError> {
        match (KeyValue::decode(bytes), OwnedKeyValue::decode(bytes)) {
            (Ok(ours), Ok(theirs)) => {
                prop_assert_eq!(ours.key, &theirs.key[..]);
                prop_assert_eq!(ours.value, &theirs.value[..]);
                let numbers = (ours.create_revision, ours.mod_revision, ours.version, ours.lease);
                prop_assert_eq!(
                    numbers,
                    (theirs.create_revision, theirs.mod_revision, theirs.version, theirs.lease)
                );
            }
            (Err(_), Err(_)) => {}
            (ours, theirs) => prop_assert!(false, "{ours:?} but {theirs:?} of {bytes:02x?}"),
        }
        Ok(())
    }

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(2000))]

        #[test]
        fn random_bytes_decode_as_the_generated_decoder_says(bytes in proptest::collection::vec(any::<u8>(), 0..60)) {
            agree(&bytes)?;
        }

        #[test]
        fn mutated_messages_decode_as_the_generated_decoder_says(
            key in proptest::collection::vec(any::<u8>(), 0..20),
            value in proptest::collection::vec(any::<u8>(), 0..200),
            numbers in any::<(i64, i64, i64, i64)>(),
            at in any::<prop::sample::Index>(),
            to in any::<u8>(),
            cut in any::<prop::sample::Index>(),
        ) {
            let (create_revision, mod_revision, version, lease) = numbers;
            let owned = OwnedKeyValue { key, create_revision, mod_revision, version, value, lease };
            let mut bytes = owned.encode_to_vec();
            agree(&bytes)?;
            if !bytes.is_empty() {
                let at = at.index(bytes.len());
                bytes[at] = to;
                agree(&bytes)?;
                bytes.truncate(cut.index(bytes.len()));
                agree(&bytes)?;
            }
        }
    }
}
