//! Bounds-checked little- and big-endian reads from untrusted bytes.
//!
//! Nothing here can panic: a read past the end is `None`, and the caller says where in the file that was.

use byteorder::{BigEndian, ByteOrder, LittleEndian};

/// A view of untrusted bytes whose every read is checked.
#[derive(Clone, Copy, Debug)]
pub struct Raw<'a> {
    bytes: &'a [u8],
}

impl<'a> Raw<'a> {
    /// Wraps `bytes`.
    pub fn new(bytes: &'a [u8]) -> Self {
        Self { bytes }
    }

    /// Length in bytes.
    pub fn len(&self) -> usize {
        self.bytes.len()
    }

    /// Whether there are no bytes at all.
    pub fn is_empty(&self) -> bool {
        self.bytes.is_empty()
    }

    /// The `len` bytes at `offset`, or `None` when they are not all there.
    pub fn slice(&self, offset: usize, len: usize) -> Option<&'a [u8]> {
        self.bytes.get(offset..offset.checked_add(len)?)
    }

    /// The bytes from `offset` to the end.
    pub fn tail(&self, offset: usize) -> Option<&'a [u8]> {
        self.bytes.get(offset..)
    }

    /// Little-endian u16 at `offset`.
    pub fn u16_le(&self, offset: usize) -> Option<u16> {
        self.slice(offset, 2).map(LittleEndian::read_u16)
    }

    /// Little-endian u32 at `offset`.
    pub fn u32_le(&self, offset: usize) -> Option<u32> {
        self.slice(offset, 4).map(LittleEndian::read_u32)
    }

    /// Little-endian u64 at `offset`.
    pub fn u64_le(&self, offset: usize) -> Option<u64> {
        self.slice(offset, 8).map(LittleEndian::read_u64)
    }

    /// Big-endian u64 at `offset`.
    pub fn u64_be(&self, offset: usize) -> Option<u64> {
        self.slice(offset, 8).map(BigEndian::read_u64)
    }
}
