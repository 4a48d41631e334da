//! The trailer: 32 bytes of SHA-256 behind the database.

use std::fmt;

use sha2::{Digest as _, Sha256};

use crate::{
    bolt::{
        self, Db,
        meta::{self, Meta, Metas},
        page::PageHeader,
    },
    limits::Limits,
    raw::Raw,
};

/// Bytes of a trailer.
pub(super) const TRAILER: usize = 32;
/// To etcd a file has a trailer when its length modulo this is [`TRAILER`]: page sizes are multiples of it.
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

/// A db file or snapshot in memory, database and trailer told apart.
#[derive(Clone, Copy, Debug)]
pub struct Image<'a> {
    database: &'a [u8],
    trailer: Trailer,
    behind: u64,
    digest_part: Option<usize>,
}

impl<'a> Image<'a> {
    /// Splits the bytes of a db file or snapshot.
    ///
    /// A server writes the digest at high water mark × page size, and nothing behind it. There it is looked for first:
    /// block devices, tapes and `dd conv=sync` add bytes. etcd itself takes the last 32 bytes for the digest when the
    /// file's length modulo 512 is 32, and so does this where nothing speaks for the other place.
    pub fn split(bytes: &'a [u8]) -> Self {
        Self::at_mark(bytes).unwrap_or_else(|| Self::by_length(bytes))
    }

    /// Splits the bytes of a member's db by their length alone, as etcd does: what stands behind the database in a data
    /// dir is what bbolt allocated, zeros or old pages.
    pub fn of_member(bytes: &'a [u8]) -> Self {
        Self::by_length(bytes)
    }

    /// `database` taken for a database alone: nothing is said about a digest.
    pub fn without_trailer(database: &'a [u8]) -> Self {
        Self { database, trailer: Trailer::Absent, behind: 0, digest_part: None }
    }

    fn by_length(bytes: &'a [u8]) -> Self {
        let extra = bytes.len() % MODULUS;
        let alone = Self::without_trailer(bytes);
        match bytes.split_last_chunk::<TRAILER>() {
            Some((database, digest)) if extra == TRAILER => {
                Self { database, trailer: Trailer::Present(Digest(*digest)), ..alone }
            }
            _ if extra == 0 => alone,
            _ => Self { trailer: Trailer::Odd { extra }, ..alone },
        }
    }

    /// The digest at the high water mark; `None` where nothing proves that it is one.
    fn at_mark(bytes: &'a [u8]) -> Option<Self> {
        let metas = meta::choose(Raw::new(bytes)).ok()?;
        let (database, rest) =
            bytes.split_at_checked(usize::try_from(metas.active.size_bytes()).ok()?)?;
        if (1..TRAILER).contains(&rest.len()) {
            let trailer = Trailer::Odd { extra: rest.len() };
            let digest_part = Some(rest.len());
            return Some(Self { trailer, digest_part, ..Self::without_trailer(bytes) });
        }
        let (digest, behind) = rest.split_first_chunk::<TRAILER>()?;
        let digest = Digest(*digest);
        (behind.is_empty() || is_digest(digest, database, behind, &metas)).then_some(Self {
            database,
            trailer: Trailer::Present(digest),
            behind: behind.len() as u64,
            digest_part: None,
        })
    }

    /// The bytes before the trailer.
    pub fn database(&self) -> &'a [u8] {
        self.database
    }

    /// What stands behind the database.
    pub fn trailer(&self) -> Trailer {
        self.trailer
    }

    /// Bytes that stand behind the digest, where no server writes any.
    pub fn behind(&self) -> u64 {
        self.behind
    }

    /// How many bytes of the digest there are, where the file ends within it.
    pub fn digest_part(&self) -> Option<usize> {
        self.digest_part
    }

    /// Whether the file is a snapshot: it has a digest, or ends within it.
    pub fn is_snapshot(&self) -> bool {
        matches!(self.trailer, Trailer::Present(_)) || self.digest_part.is_some()
    }

    /// Opens the database.
    ///
    /// # Errors
    /// When no meta can be chosen.
    pub fn db(&self, limits: Limits) -> Result<Db<'a>, bolt::Error> {
        Db::from_bytes(self.database, limits)
    }
}

/// Whether `digest`, which stands behind `database` and before `behind`, is a digest, right or wrong.
///
/// What bbolt leaves behind a database is zeros, or pages of a commit that a crash cut off; those begin at the high water
/// mark, each with its id. Everything else needs a proof: the SHA-256 itself, or the metas of a file that nobody has
/// opened for writing since it was made, together with a length that no db has, a slot that no db uses, or bytes behind
/// it that are all alike.
fn is_digest(digest: Digest, database: &[u8], behind: &[u8], metas: &Metas) -> bool {
    let header = PageHeader::parse(Raw::new(&digest.0));
    let is_page = header.is_some_and(|header| {
        header.id == metas.active.high_water_mark.0 && header.flags.is_known()
    });
    if is_page || is_blank(&digest.0) {
        return false;
    }
    if is_untouched(metas) {
        // bbolt writes transaction T into slot T modulo 2, and a db is a number of whole pages.
        let wrong_slot = metas.active.txid.0 % 2 != u64::from(metas.active.slot);
        let rest = (TRAILER + behind.len()) % metas.active.page_size as usize;
        if wrong_slot || rest != 0 || behind.iter().all(|byte| behind.first() == Some(byte)) {
            return true;
        }
    }
    Digest::of(database) == digest
}

/// Whether bytes are too much alike for a digest.
fn is_blank(bytes: &[u8]) -> bool {
    const FEW: usize = 12;
    let mut known = Vec::with_capacity(FEW);
    !bytes.iter().any(|byte| {
        if !known.contains(byte) {
            known.push(*byte);
        }
        known.len() == FEW
    })
}

/// Whether both metas say the same, as transactions T and T − 1: so a snapshot is made, and the next commit ends it. A
/// server that stops leaves that, too, where nothing had to be written.
pub(super) fn is_untouched(metas: &Metas) -> bool {
    match metas.slots {
        [Ok(zero), Ok(one)] => {
            let same = Meta { slot: one.slot, txid: one.txid, ..zero } == one;
            same && zero.txid.0.abs_diff(one.txid.0) == 1
        }
        // What a torn meta said is not known.
        _ => true,
    }
}

#[cfg(test)]
mod tests {
    use std::io;

    use super::*;
    use crate::bolt::{
        TxId,
        write::{BucketOptions, Options, Writer, meta_page},
    };

    const PAGE: usize = 4096;

    /// A database of transaction `txid`, its metas as `Tx.WriteTo` of bbolt writes them.
    fn database(txid: u64) -> Vec<u8> {
        let mut writer = Writer::new(io::Cursor::new(Vec::new()), Options::default()).unwrap();
        let mut bucket = writer.bucket(b"key", BucketOptions::default()).unwrap();
        bucket.put(b"k", &[7; 3000]).unwrap();
        bucket.close().unwrap();
        let mut bytes = writer.finish().unwrap().seal(TxId(txid)).unwrap().0.into_inner();
        let meta = *Db::from_bytes(&bytes, Limits::default()).unwrap().meta();
        for (slot, txid) in [(0, txid), (1, txid - 1)] {
            let page = meta_page(&Meta { slot, txid: TxId(txid), ..meta });
            let at = usize::from(slot) * PAGE;
            bytes[at..at + PAGE].copy_from_slice(&page);
        }
        bytes
    }

    /// The snapshot of `database`, with `behind` behind its digest; its value is changed when `changed`.
    fn snapshot(database: &[u8], changed: bool, behind: &[u8]) -> Vec<u8> {
        let mut bytes = database.to_vec();
        if changed {
            let at = bytes.iter().rposition(|byte| *byte == 7).unwrap();
            bytes[at] = 8;
        }
        [&bytes[..], &Digest::of(database).0, behind].concat()
    }

    fn noise(len: usize) -> Vec<u8> {
        let mut rng = fastrand::Rng::with_seed(7);
        std::iter::repeat_with(|| rng.u8(..)).take(len).collect()
    }

    #[test]
    fn the_digest_of_a_snapshot_is_found_at_the_high_water_mark_whatever_stands_behind_it() {
        for txid in [16, 17] {
            let database = database(txid);
            for len in [1, 31, 32, 480, 512, PAGE - 32, 2 * PAGE - 32, 100_000] {
                for behind in [vec![0; len], vec![0xff; len], noise(len)] {
                    let bytes = snapshot(&database, false, &behind);
                    let image = Image::split(&bytes);
                    assert_eq!(image.trailer(), Trailer::Present(Digest::of(&database)));
                    assert_eq!(
                        (image.database().len(), image.behind()),
                        (database.len(), len as u64)
                    );
                    assert!(image.is_snapshot());
                }
                let bytes = snapshot(&database, true, &vec![0; len]);
                let image = Image::split(&bytes);
                assert_eq!(image.trailer(), Trailer::Present(Digest::of(&database)), "{len} zeros");
                assert_eq!(image.behind(), len as u64);
            }
        }
        // Noise behind a changed value: only a slot that no db uses proves the snapshot.
        let odd = database(17);
        let bytes = snapshot(&odd, true, &noise(2 * PAGE - 32));
        assert!(Image::split(&bytes).is_snapshot());
    }

    #[test]
    fn a_digest_that_is_cut_off_is_known_by_its_place() {
        let database = database(16);
        let whole = snapshot(&database, false, &[]);
        for part in 1..TRAILER {
            let image = Image::split(&whole[..database.len() + part]);
            assert_eq!(image.trailer(), Trailer::Odd { extra: part });
            assert_eq!((image.digest_part(), image.is_snapshot()), (Some(part), true));
        }
        let image = Image::split(&whole[..database.len()]);
        assert_eq!((image.trailer(), image.is_snapshot()), (Trailer::Absent, false));
        assert!(Image::split(&whole).is_snapshot());
    }

    #[test]
    fn what_bbolt_leaves_behind_a_database_is_no_digest() {
        // A server that stopped leaves the same state twice.
        let database = database(16);
        let mark = (database.len() / PAGE) as u64;
        let page = |id: u64, flags: u16| {
            let mut page = noise(PAGE);
            page[..8].copy_from_slice(&id.to_le_bytes());
            page[8..10].copy_from_slice(&flags.to_le_bytes());
            page
        };
        let mut empty_leaf = vec![0; PAGE];
        empty_leaf[..8].copy_from_slice(&mark.to_le_bytes());
        empty_leaf[8] = 2;
        let tails = [
            vec![0; 16 << 20],
            [page(mark, 2), vec![0; 3 * PAGE]].concat(),
            [page(mark, 1), page(mark + 1, 2)].concat(),
            [empty_leaf, vec![0; PAGE]].concat(),
            // The end of a value whose page is no longer known.
            [vec![b'v'; 20], vec![0; 2 * PAGE - 20]].concat(),
            noise(4 * PAGE),
        ];
        for tail in tails {
            let bytes = [database.clone(), tail].concat();
            assert_eq!(Image::split(&bytes).trailer(), Trailer::Absent);
            assert_eq!(Image::of_member(&bytes).trailer(), Trailer::Absent);
        }
    }
}
