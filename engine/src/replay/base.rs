//! An empty db, as a server that boots for the first time makes it.

use std::io::Cursor;

use crate::{
    bolt::{
        TxId,
        write::{BucketOptions, Options, WriteError, Writer},
    },
    schema::{auth, bucket},
};

/// The bytes of an empty db: every bucket, and the first auth revision.
///
/// # Errors
/// None that a correct writer gives: everything that is written is fixed.
pub fn empty_db() -> Result<Vec<u8>, WriteError> {
    let mut writer = Writer::new(Cursor::new(Vec::new()), Options::default())?;
    for name in bucket::ALL {
        let mut records = writer.bucket(name.as_bytes(), BucketOptions::default())?;
        if name == bucket::AUTH {
            records.put(auth::REVISION.as_bytes(), &1_u64.to_be_bytes())?;
        }
    }
    Ok(writer.finish()?.seal(TxId(1))?.0.into_inner())
}
