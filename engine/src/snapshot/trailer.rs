//! The trailer: 32 bytes of SHA-256 behind the database.

use std::fmt;

use sha2::{Digest as _, Sha256};

use crate::{
    bolt::{self, Db},
    limits::Limits,
};

/// Bytes of a trailer.
pub(super) const TRAILER: usize = 32;
/// A file has a trailer when its length modulo this is [`TRAILER`]: page sizes are multiples of it.
const MODULUS: usize = 512;

/// A SHA-256.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Digest(pub [u8; TRAILER]);

impl Digest {
    /// SHA-256 of `bytes`.
    pub fn of(bytes: &[u8]) -> Digest {
        Digest(Sha256::digest(bytes).into())
    }
}

impl fmt::Display for Digest {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.iter().try_for_each(|byte| write!(f, "{byte:02x}"))
    }
}

/// What stands behind the database.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Trailer {
    /// A digest.
    Present(Digest),
    /// Nothing: a db file, or a snapshot cut exactly before its digest.
    Absent,
    /// The file's length fits neither: it was cut or something was added.
    Odd {
        /// Bytes beyond a multiple of 512.
        extra: usize,
    },
}

/// A db file or snapshot in memory: database and trailer told apart by the file's length, as etcd does.
#[derive(Clone, Copy, Debug)]
pub struct Image<'a> {
    database: &'a [u8],
    trailer: Trailer,
}

impl<'a> Image<'a> {
    /// Splits a file's bytes.
    pub fn split(bytes: &'a [u8]) -> Self {
        let extra = bytes.len() % MODULUS;
        match bytes.split_last_chunk::<TRAILER>() {
            Some((database, digest)) if extra == TRAILER => {
                Self { database, trailer: Trailer::Present(Digest(*digest)) }
            }
            _ if extra == 0 => Self { database: bytes, trailer: Trailer::Absent },
            _ => Self { database: bytes, trailer: Trailer::Odd { extra } },
        }
    }

    /// `database` taken for a database alone: nothing is said about a digest.
    pub fn without_trailer(database: &'a [u8]) -> Self {
        Self { database, trailer: Trailer::Absent }
    }

    /// The bytes before the trailer.
    pub fn database(&self) -> &'a [u8] {
        self.database
    }

    /// What stands behind the database.
    pub fn trailer(&self) -> Trailer {
        self.trailer
    }

    /// Opens the database.
    ///
    /// # Errors
    /// When no meta can be chosen.
    pub fn db(&self, limits: Limits) -> Result<Db<'a>, bolt::Error> {
        Db::from_bytes(self.database, limits)
    }
}
