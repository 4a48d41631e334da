//! One record of bucket `key`.

use super::Error;
use crate::{
    bolt::Item,
    finding::Place,
    pb::wire::KeyValueRef,
    schema::{RecordError, RecordKey, bucket},
};

/// A change of one key, borrowed from the file.
#[derive(Clone, Copy, Debug)]
pub struct Record<'a> {
    /// When, and whether it is a deletion.
    pub key: RecordKey,
    /// The message; of a deletion only its key is set.
    pub kv: KeyValueRef<'a>,
}

impl<'a> Record<'a> {
    /// Decodes an element of bucket `key`.
    ///
    /// # Errors
    /// When its key is no revision or its value no `KeyValue`.
    pub fn decode(item: &Item<'a>) -> Result<Self, Error> {
        Self::parse(item).map_err(|error| Error::Record { place: place(item), error })
    }

    pub(super) fn parse(item: &Item<'a>) -> Result<Self, RecordError> {
        if item.is_bucket() {
            return Err(RecordError::Bucket);
        }
        let key = RecordKey::parse(item.key)?;
        let kv = KeyValueRef::decode(item.value).map_err(|error| RecordError::Message {
            message: "mvccpb.KeyValue",
            reason: error.to_string(),
        })?;
        Ok(Self { key, kv })
    }

    /// Decodes the key of an element of bucket `key` only.
    ///
    /// # Errors
    /// When it is no revision.
    pub fn key_of(item: &Item<'_>) -> Result<RecordKey, Error> {
        RecordKey::parse(item.key)
            .map_err(|error| Error::Record { place: place(item), error: error.into() })
    }
}

pub(super) fn place(item: &Item<'_>) -> Place {
    match RecordKey::parse(item.key) {
        Ok(key) => Place::Revision { main: key.revision.main, sub: key.revision.sub },
        Err(_) => Place::Record { bucket: bucket::KEY, key: item.key.to_vec() },
    }
}
