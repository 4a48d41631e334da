//! Frames: how records are cut and padded in a segment, and what a torn one looks like.
//!
//! ```text
//!  0        7 8               8+L          a multiple of 8
//! ┌──────────┬─────────────────┬─────────────┐
//! │  length  │ record, L bytes │ 0..7 zeros  │
//! └──────────┴─────────────────┴─────────────┘
//! ```
//! The length word is little-endian. Bits 0-55 are L. When L is no multiple of 8, bit 63 is set and bits
//! 56-58 count the padding. A word of zero means that nothing has been written from here on.

use crate::raw::Raw;

/// Bytes of a length word, and what every frame's length is a multiple of.
pub const WORD_BYTES: u64 = 8;
/// The unit in which disks write: a torn frame has a piece of this size that never arrived.
pub const SECTOR_BYTES: u64 = 512;

const PADDED: u64 = 1 << 63;
const PAD_SHIFT: u32 = 56;
const PAD_MASK: u64 = 0x7;
const LEN_MASK: u64 = (1 << PAD_SHIFT) - 1;

/// What stands at an offset of a segment.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Frame<'a> {
    /// A frame that is all there.
    Whole {
        /// The record, without padding.
        body: &'a [u8],
        /// The record with its padding.
        padded: &'a [u8],
        /// Where the next frame starts.
        next: u64,
    },
    /// The end of what was written: the end of the bytes, or a length word of zero.
    End,
    /// A frame of which the end is missing.
    Incomplete,
}

/// Reads the frame at `offset`, counted from the start of the segment.
pub fn read(segment: &[u8], offset: u64) -> Frame<'_> {
    let raw = Raw::new(segment);
    let Ok(start) = usize::try_from(offset) else { return Frame::End };
    match raw.tail(start) {
        None | Some([]) => return Frame::End,
        Some(_) => {}
    }
    let Some(word) = raw.u64_le(start) else { return Frame::Incomplete };
    if word == 0 {
        return Frame::End;
    }
    whole(raw, start, word).unwrap_or(Frame::Incomplete)
}

fn whole<'a>(raw: Raw<'a>, start: usize, word: u64) -> Option<Frame<'a>> {
    let pad = if word & PADDED != 0 { (word >> PAD_SHIFT) & PAD_MASK } else { 0 };
    let len = usize::try_from(length(word)).ok()?;
    let padded_len = len.checked_add(usize::try_from(pad).ok()?)?;
    let body_start = start.checked_add(usize::try_from(WORD_BYTES).ok()?)?;
    let padded = raw.slice(body_start, padded_len)?;
    let next = u64::try_from(body_start.checked_add(padded_len)?).ok()?;
    Some(Frame::Whole { body: padded.get(..len)?, padded, next })
}

/// Whether a frame at `offset` with these padded bytes was cut short by a crash: some sector of it is
/// all zeros, counted in sectors of the file.
///
/// A frame that lies within one sector is torn only when it is zeros altogether.
pub fn is_torn(offset: u64, padded: &[u8]) -> bool {
    let in_sector = offset.wrapping_add(WORD_BYTES) % SECTOR_BYTES;
    let first = usize::try_from(SECTOR_BYTES - in_sector).unwrap_or(usize::MAX);
    let (head, rest) = padded.split_at(first.min(padded.len()));
    let sector = usize::try_from(SECTOR_BYTES).unwrap_or(usize::MAX);
    std::iter::once(head)
        .chain(rest.chunks(sector))
        .any(|piece| !piece.is_empty() && piece.iter().all(|&byte| byte == 0))
}

/// Whether the sector at `offset` was never written from there to its end. `rest` are the bytes from `offset` on.
pub fn is_unwritten(offset: u64, rest: &[u8]) -> bool {
    let to_end = SECTOR_BYTES - offset % SECTOR_BYTES;
    let sector = rest.get(..usize::try_from(to_end).unwrap_or(usize::MAX)).unwrap_or(rest);
    sector.iter().all(|&byte| byte == 0)
}

/// Bytes of a record, without padding, that a length word gives it.
pub fn length(word: u64) -> u64 {
    word & LEN_MASK
}

/// The length word of a record of `len` bytes.
pub fn word(len: usize) -> u64 {
    let len = len as u64;
    match len.wrapping_neg() % WORD_BYTES {
        0 => len,
        pad => len | PADDED | pad << PAD_SHIFT,
    }
}

/// Appends `body` as a frame.
pub fn write(out: &mut Vec<u8>, body: &[u8]) {
    let pad = body.len().wrapping_neg() % 8;
    out.extend_from_slice(&word(body.len()).to_le_bytes());
    out.extend_from_slice(body);
    out.extend(std::iter::repeat_n(0, pad));
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn frames_of_every_length_are_aligned_and_read_back() {
        for len in 1..40usize {
            let body: Vec<u8> = (1..=len as u8).collect();
            let mut segment = Vec::new();
            write(&mut segment, &body);
            assert_eq!(segment.len() % 8, 0);
            let Frame::Whole { body: read_body, padded, next } = read(&segment, 0) else {
                panic!("{len}: not whole")
            };
            assert_eq!((read_body, next), (&body[..], segment.len() as u64));
            assert_eq!(padded, &segment[8..]);
            assert_eq!(read(&segment, next), Frame::End);
        }
    }

    #[test]
    fn the_length_word_is_etcds() {
        let mut segment = Vec::new();
        write(&mut segment, &[8, 4, 16, 0]);
        assert_eq!(segment, b"\x04\0\0\0\0\0\0\x84\x08\x04\x10\0\0\0\0\0");
    }

    #[test]
    fn a_frame_cut_anywhere_is_incomplete_and_a_zero_word_is_the_end() {
        let mut segment = Vec::new();
        write(&mut segment, b"eleven byte");
        for len in 1..segment.len() {
            assert_eq!(read(&segment[..len], 0), Frame::Incomplete, "{len}");
        }
        assert_eq!(read(&[], 0), Frame::End);
        assert_eq!(read(&[0; 8], 0), Frame::End);
        assert_eq!(read(&[0; 7], 0), Frame::Incomplete);
        assert_eq!(read(&[0; 8], 9), Frame::End);
        assert_eq!(read(&[0; 8], u64::MAX), Frame::End);
    }

    #[test]
    fn a_length_beyond_the_file_or_beyond_sense_is_incomplete() {
        for word in [9, LEN_MASK, u64::MAX, PADDED | 0x0700_0000_0000_0001] {
            let mut segment = word.to_le_bytes().to_vec();
            segment.extend([1; 7]);
            assert_eq!(read(&segment, 0), Frame::Incomplete, "{word:x}");
        }
    }

    #[test]
    fn padding_bits_count_only_when_the_word_is_marked() {
        let mut segment = (8u64 | 5 << PAD_SHIFT).to_le_bytes().to_vec();
        segment.extend([1; 8]);
        assert!(matches!(read(&segment, 0), Frame::Whole { next: 16, .. }));
    }

    #[test]
    fn a_zero_sector_makes_a_frame_torn_and_zeros_within_one_do_not() {
        // The body starts at 504: 8 bytes in one sector, then one sector, then 80 bytes.
        let mut body = [1u8; 600];
        assert!(!is_torn(496, &body));
        body[..7].fill(0);
        assert!(!is_torn(496, &body));
        body[..8].fill(0);
        assert!(is_torn(496, &body));
        body.fill(1);
        body[8..520].fill(0);
        assert!(is_torn(496, &body));
        assert!(!is_torn(504, &body));
        assert!(is_torn(0, &[0; 16]));
        assert!(!is_torn(0, &[]));
    }
}
