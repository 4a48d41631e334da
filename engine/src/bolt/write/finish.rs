//! The metas, which make a file of pages a database.

use std::io::{Seek, SeekFrom, Write};

use byteorder::{ByteOrder, LittleEndian};

use super::{
    super::{
        layout,
        meta::Meta,
        page::{PageId, TxId},
    },
    FreelistKind, Options, PageSize, WriteError, output,
};

/// What was written.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Summary {
    /// Bytes of a page.
    pub page_size: PageSize,
    /// Root page of the root bucket.
    pub root: PageId,
    /// The number of pages.
    pub high_water_mark: PageId,
    /// Length of the file in bytes.
    pub size_bytes: u64,
}

/// A file that lacks only its metas. Until [`Unsealed::seal`] no reader takes it for a database.
#[derive(Debug)]
#[must_use = "without its metas the file is not a database"]
pub struct Unsealed<W> {
    out: W,
    meta: Meta,
}

impl<W> Unsealed<W> {
    /// The output, to sync it before the metas are written.
    pub fn get_ref(&self) -> &W {
        &self.out
    }

    /// The output, to sync it before the metas are written. It may be left at any position.
    pub fn get_mut(&mut self) -> &mut W {
        &mut self.out
    }

    /// Pages 0 and 1, as [`Unsealed::seal`] would write them.
    ///
    /// # Errors
    /// [`WriteError::TxId`] when `txid` is 0 or the greatest there is.
    pub fn metas(&self, txid: TxId) -> Result<[Vec<u8>; 2], WriteError> {
        sealing_metas(Meta { txid, ..self.meta })
    }

    /// What was written, the metas' two pages included.
    pub fn summary(&self) -> Summary {
        Summary {
            page_size: PageSize::new(self.meta.page_size).expect("the meta was made of a PageSize"),
            root: self.meta.root,
            high_water_mark: self.meta.high_water_mark,
            size_bytes: self.meta.size_bytes(),
        }
    }
}

impl<W: Write + Seek> Unsealed<W> {
    pub(super) fn new(
        out: W,
        options: &Options,
        root: PageId,
        high_water_mark: PageId,
        freelist: Option<PageId>,
    ) -> Self {
        debug_assert_eq!(freelist.is_some(), options.freelist == FreelistKind::Stored);
        let meta = Meta {
            slot: 0,
            page_size: options.page_size.bytes(),
            root,
            sequence: options.root_sequence,
            freelist,
            high_water_mark,
            txid: TxId(0),
        };
        Self { out, meta }
    }

    /// Writes both metas: `txid` to page `txid % 2` and the one before it to the other, so that the
    /// first commit overwrites the older. Syncing afterwards is the caller's.
    ///
    /// # Errors
    /// [`WriteError::TxId`] when `txid` is 0 or the greatest there is; [`WriteError::Io`].
    pub fn seal(mut self, txid: TxId) -> Result<(W, Summary), WriteError> {
        let pages = self.metas(txid)?;
        let io = |source| WriteError::Io { page: PageId(0), source };
        self.out.seek(SeekFrom::Start(0)).map_err(io)?;
        self.out.write_all(&pages.concat()).map_err(io)?;
        self.out.flush().map_err(io)?;
        let summary = self.summary();
        Ok((self.out, summary))
    }
}

/// Pages 0 and 1 of a database in the state of `meta`: its transaction in page `txid % 2`, the one
/// before it, with the same state, in the other.
pub(in crate::bolt) fn sealing_metas(meta: Meta) -> Result<[Vec<u8>; 2], WriteError> {
    let TxId(txid) = meta.txid;
    if txid == 0 || txid == u64::MAX {
        return Err(WriteError::TxId { txid });
    }
    Ok([0, 1].map(|slot: u8| {
        let own = txid % 2 == u64::from(slot);
        meta_page(&Meta { slot, txid: TxId(if own { txid } else { txid - 1 }), ..meta })
    }))
}

/// A meta page with the fields of `meta` for page `meta.slot`, its checksum, and zeroes to the end of
/// the page. A page shorter than a meta would be gives that much.
pub fn meta_page(meta: &Meta) -> Vec<u8> {
    let mut page = vec![0; (meta.page_size as usize).max(layout::META + layout::META_SIZE)];
    let header = output::header(u64::from(meta.slot), layout::FLAG_META, 0, 0);
    page[..layout::PAGE_HEADER].copy_from_slice(&header);
    let body = &mut page[layout::META..layout::META + layout::META_SIZE];
    let freelist = meta.freelist.map_or(layout::NO_FREELIST, |page| page.0);
    LittleEndian::write_u32(&mut body[layout::META_MAGIC..], layout::MAGIC);
    LittleEndian::write_u32(&mut body[layout::META_VERSION..], layout::VERSION);
    LittleEndian::write_u32(&mut body[layout::META_PAGE_SIZE..], meta.page_size);
    LittleEndian::write_u64(&mut body[layout::META_ROOT..], meta.root.0);
    LittleEndian::write_u64(&mut body[layout::META_SEQUENCE..], meta.sequence);
    LittleEndian::write_u64(&mut body[layout::META_FREELIST..], freelist);
    LittleEndian::write_u64(&mut body[layout::META_HIGH_WATER_MARK..], meta.high_water_mark.0);
    LittleEndian::write_u64(&mut body[layout::META_TXID..], meta.txid.0);
    let checksum = layout::fnv1a64(&body[..layout::META_CHECKSUM]);
    LittleEndian::write_u64(&mut body[layout::META_CHECKSUM..], checksum);
    page
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_meta_page_equals_one_of_a_real_server() {
        let meta = Meta {
            slot: 0,
            page_size: 4096,
            root: PageId(3),
            sequence: 0,
            freelist: None,
            high_water_mark: PageId(5),
            txid: TxId(14),
        };
        // The first 80 bytes of a snapshot made by etcd 3.6.16.
        let expected = [
            "00000000000000000400000000000000edda0ced020000000010000000000000",
            "03000000000000000000000000000000ffffffffffffffff0500000000000000",
            "0e00000000000000abbe595e09b24292",
        ]
        .concat();
        let page = meta_page(&meta);
        let hex: String = page[..80].iter().map(|byte| format!("{byte:02x}")).collect();
        assert_eq!(hex, expected);
        assert_eq!(page.len(), 4096);
        assert!(page[80..].iter().all(|byte| *byte == 0));
    }
}
