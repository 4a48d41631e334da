//! Meta pages: parsing, validation, and the one rule that chooses between the two.

use std::fmt;

use super::{
    error::Error,
    layout,
    page::{PageId, TxId},
};
use crate::raw::Raw;

/// The fields of a meta page as they are stored; nothing is believed yet.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct RawMeta {
    /// Magic number; [`layout::MAGIC`] in a meta.
    pub magic: u32,
    /// Format version; [`layout::VERSION`].
    pub version: u32,
    /// Page size in bytes.
    pub page_size: u32,
    /// Root page of the root bucket.
    pub root: u64,
    /// Sequence of the root bucket.
    pub sequence: u64,
    /// Page of the freelist; [`layout::NO_FREELIST`] when not stored.
    pub freelist: u64,
    /// First page id never allocated.
    pub high_water_mark: u64,
    /// Transaction that wrote the meta.
    pub txid: u64,
    /// Checksum as stored.
    pub checksum: u64,
    /// Checksum as computed over the stored fields.
    pub computed: u64,
}

/// Why a meta page is not valid. The kinds are tested in this order, as bbolt does.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum MetaError {
    /// The file ends before the meta does.
    #[error("missing, the file ends before it")]
    Missing,
    /// bbolt's "invalid database".
    #[error("invalid database (magic {magic:#010x}, expected 0xed0cdaed)")]
    Invalid {
        /// What stands in the magic's place.
        magic: u32,
    },
    /// bbolt's "version mismatch".
    #[error("version mismatch (version {version}, expected 2)")]
    Version {
        /// The version found.
        version: u32,
    },
    /// bbolt's "checksum error".
    #[error("checksum error (stored {stored:#018x}, computed {computed:#018x})")]
    Checksum {
        /// As stored.
        stored: u64,
        /// As computed.
        computed: u64,
    },
}

/// A validated meta: its pointers may be followed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Meta {
    /// Which of the two meta pages, 0 or 1.
    pub slot: u8,
    /// Page size in bytes, a power of two from 512 B to 16 MiB.
    pub page_size: u32,
    /// Root page of the root bucket.
    pub root: PageId,
    /// Sequence of the root bucket; 0 in practice.
    pub sequence: u64,
    /// Page of the freelist; `None` when it is not stored.
    pub freelist: Option<PageId>,
    /// First page id never allocated; bbolt's `pgid`.
    pub high_water_mark: PageId,
    /// Transaction that wrote the meta.
    pub txid: TxId,
}

impl Meta {
    /// Bytes of the database: high water mark × page size, what etcd calls the total size.
    pub fn size_bytes(&self) -> u64 {
        self.high_water_mark.0.saturating_mul(u64::from(self.page_size))
    }
}

/// The meta in use, and what was found in both meta pages.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Metas {
    /// The valid meta with the higher transaction id; page 0 when equal.
    pub active: Meta,
    /// Both meta pages, page 0 first.
    pub slots: [Result<Meta, MetaError>; 2],
}

impl RawMeta {
    /// The meta of the page that begins at `page_offset`; `None` when the file ends before it does.
    pub fn parse(file: Raw<'_>, page_offset: u64) -> Option<RawMeta> {
        let start = usize::try_from(page_offset).ok()?.checked_add(layout::META)?;
        let bytes = file.slice(start, layout::META_SIZE)?;
        let raw = Raw::new(bytes);
        Some(RawMeta {
            magic: raw.u32_le(layout::META_MAGIC)?,
            version: raw.u32_le(layout::META_VERSION)?,
            page_size: raw.u32_le(layout::META_PAGE_SIZE)?,
            root: raw.u64_le(layout::META_ROOT)?,
            sequence: raw.u64_le(layout::META_SEQUENCE)?,
            freelist: raw.u64_le(layout::META_FREELIST)?,
            high_water_mark: raw.u64_le(layout::META_HIGH_WATER_MARK)?,
            txid: raw.u64_le(layout::META_TXID)?,
            checksum: raw.u64_le(layout::META_CHECKSUM)?,
            computed: layout::fnv1a64(raw.slice(0, layout::META_CHECKSUM)?),
        })
    }

    fn validate(&self, slot: u8) -> Result<Meta, MetaError> {
        if self.magic != layout::MAGIC {
            return Err(MetaError::Invalid { magic: self.magic });
        }
        if self.version != layout::VERSION {
            return Err(MetaError::Version { version: self.version });
        }
        if self.checksum != self.computed {
            return Err(MetaError::Checksum { stored: self.checksum, computed: self.computed });
        }
        Ok(Meta {
            slot,
            page_size: self.page_size,
            root: PageId(self.root),
            sequence: self.sequence,
            freelist: (self.freelist != layout::NO_FREELIST).then_some(PageId(self.freelist)),
            high_water_mark: PageId(self.high_water_mark),
            txid: TxId(self.txid),
        })
    }

    /// Whether this was a meta once: magic or the rest of the constants stand where they should.
    fn resembles_meta(&self) -> bool {
        self.magic == layout::MAGIC
            || (self.version == layout::VERSION && self.checksum == self.computed)
    }
}

fn read_slot(file: Raw<'_>, slot: u8, offset: u64) -> Result<Meta, MetaError> {
    RawMeta::parse(file, offset).ok_or(MetaError::Missing)?.validate(slot)
}

/// Finds the page size as bbolt does at open: from meta 0, else from a probe of every possible
/// position of meta 1. `None` when neither is valid.
fn detect_page_size(file: Raw<'_>) -> Option<(u8, u32)> {
    if let Ok(meta) = read_slot(file, 0, 0) {
        return Some((0, meta.page_size));
    }
    let len = u64::try_from(file.len()).ok()?;
    (0..=14)
        .map(|shift| 1024_u64 << shift)
        .take_while(|position| *position < len.saturating_sub(1024))
        .find_map(|position| read_slot(file, 1, position).ok())
        .map(|meta| (1, meta.page_size))
}

/// Chooses the meta in use: the valid one with the higher transaction id, page 0 when equal.
///
/// The one place that decides it, for every reader. Source: bbolt `db.go` (`getPageSize`, `meta`).
///
/// # Errors
/// When the file is too small, no meta is valid, or the page size is not one that bbolt writes.
pub fn choose(file: Raw<'_>) -> Result<Metas, Error> {
    let len = file.len() as u64;
    let swapped = layout::MAGIC.swap_bytes();
    if let Some(found) = RawMeta::parse(file, 0)
        && found.magic == swapped
    {
        return Err(Error::BigEndian { offset: layout::META as u64 });
    }
    let Some((slot, page_size)) = detect_page_size(file) else {
        return Err(without_meta(file));
    };
    if !page_size.is_power_of_two() || !layout::PAGE_SIZES.contains(&page_size) {
        return Err(Error::PageSize { slot, found: page_size });
    }
    if len < 2 * u64::from(page_size) {
        return Err(Error::TooSmall { len });
    }
    let slots = [read_slot(file, 0, 0), read_slot(file, 1, u64::from(page_size))];
    let active = match slots {
        [Ok(zero), Ok(one)] => {
            if one.txid > zero.txid {
                one
            } else {
                zero
            }
        }
        [Ok(zero), Err(_)] => zero,
        [Err(_), Ok(one)] => one,
        [Err(meta0), Err(meta1)] => return Err(Error::BothMetas { meta0, meta1 }),
    };
    if active.page_size != page_size {
        return Err(Error::PageSize { slot: active.slot, found: active.page_size });
    }
    Ok(Metas { active, slots })
}

/// The error of a file without a valid meta: damage when something still looks like a meta.
fn without_meta(file: Raw<'_>) -> Error {
    let len = file.len() as u64;
    let meta0 = read_slot(file, 0, 0).err().unwrap_or(MetaError::Missing);
    let mut resembles = RawMeta::parse(file, 0).is_some_and(|meta| meta.resembles_meta());
    let mut meta1 = MetaError::Missing;
    for position in layout_positions() {
        let Some(raw) = RawMeta::parse(file, position) else { break };
        if raw.resembles_meta() {
            resembles = true;
            meta1 = raw.validate(1).err().unwrap_or(MetaError::Missing);
            break;
        }
        if position == 4096 {
            meta1 = raw.validate(1).err().unwrap_or(MetaError::Missing);
        }
    }
    if resembles {
        Error::BothMetas { meta0, meta1 }
    } else if len < 2 * u64::from(*layout::PAGE_SIZES.start()) {
        Error::TooSmall { len }
    } else {
        Error::NotBolt { meta0, meta1 }
    }
}

/// Where meta 1 can begin: every page size there is.
fn layout_positions() -> impl Iterator<Item = u64> {
    (9..=24).map(|shift| 1_u64 << shift)
}

impl fmt::Display for Meta {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(
            f,
            "meta {} (txid {}, root {}, high water mark {})",
            self.slot, self.txid, self.root, self.high_water_mark
        )
    }
}
