//! Large files, written while the next part is made ready, and past the page cache where the filesystem lets us.
//!
//! Gigabytes that go through the page cache are copied twice and push out what others read; then the sync at the
//! end waits for all of them at once. Small files do go through it: there it is faster.
//!
//! A file can be read back while it is written: see [`Bulk::reading_back`].

mod line;

use std::{
    fs::File,
    io::{self, Seek, SeekFrom, Write},
    os::unix::fs::FileExt as _,
    path::Path,
};

use rustix::fs::{Advice, OFlags};

use self::line::{Line, Piece, Reading};

/// Bytes handed to the system at a time.
const STEP: usize = 4 << 20;
/// What disks want memory and offsets to be multiples of.
const ALIGNMENT: usize = 4096;
/// Pieces that may be under way while one is filled.
const AHEAD: usize = 3;
/// Files smaller than this go through the page cache.
const LARGE: u64 = 32 << 20;
/// What went through the page cache is kept up to so many bytes, to be read back when it is on the disk.
const KEPT: usize = 32 << 20;

/// How much of a file is asked of the disk again.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ReadBack {
    /// What decides what the rest means: the metas, and the file's end. Costs nothing.
    Ends,
    /// Every byte. Where one stream takes all that the disk can do, writing takes twice as long.
    All,
}

/// Sees what is in the file, piece by piece in the order of writing: offset and bytes.
pub type Reader = Box<dyn FnMut(u64, &[u8]) -> io::Result<()> + Send>;

/// Memory that begins where a disk wants it to.
struct Buffer {
    memory: Vec<u8>,
    start: usize,
}

impl Buffer {
    fn new() -> Self {
        let memory = vec![0; STEP + ALIGNMENT];
        let start = memory.as_ptr().align_offset(ALIGNMENT).min(ALIGNMENT);
        Self { memory, start }
    }

    fn bytes(&mut self) -> &mut [u8] {
        self.memory.get_mut(self.start..self.start + STEP).unwrap_or_default()
    }
}

impl std::fmt::Debug for Buffer {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Buffer").finish_non_exhaustive()
    }
}

/// Writes a file from its start, or from where it is told to. [`Write::flush`] waits until the system has everything;
/// syncing is the caller's.
#[derive(Debug)]
pub struct Bulk<'f> {
    file: &'f File,
    line: Line,
    buffer: Buffer,
    filled: usize,
    offset: u64,
    /// Length of the file that is not to be exceeded.
    most: u64,
    direct: bool,
    /// Whether what is written past the page cache is read back.
    all: bool,
    /// Whether it began past the page cache.
    large: bool,
    back: Option<Back>,
}

/// What is to be read back later, and through what.
#[derive(Debug)]
struct Back {
    file: File,
    kept: Vec<(u64, Vec<u8>)>,
    kept_bytes: usize,
}

impl<'f> Bulk<'f> {
    /// Writes to `file`, which will have about `size_bytes`.
    ///
    /// # Errors
    /// When the file cannot be opened a second time.
    pub fn new(file: &'f File, size_bytes: u64) -> io::Result<Self> {
        Self::begin(file, size_bytes, None)
    }

    /// As [`Bulk::new`], and no file that becomes more than twice as large. Everything is shown to `reader` in the order
    /// of writing; with [`ReadBack::All`] what is written past the page cache is first read back from `path` and
    /// compared. What went through the cache, the file's end and what is written out of order, is read from the disk
    /// by [`Bulk::read_back_rest`], after the caller has synced.
    ///
    /// # Errors
    /// When the file cannot be opened again.
    pub fn reading_back(
        file: &'f File,
        path: &Path,
        size_bytes: u64,
        read_back: ReadBack,
        reader: Reader,
    ) -> io::Result<Self> {
        // Two descriptions: one will be set past the page cache, the other is for what went through it.
        let back = (File::open(path)?, File::open(path)?, reader);
        let mut bulk = Self::begin(file, size_bytes, Some(back))?;
        bulk.all = read_back == ReadBack::All;
        Ok(bulk)
    }

    fn begin(
        file: &'f File,
        size_bytes: u64,
        back: Option<(File, File, Reader)>,
    ) -> io::Result<Self> {
        let large = size_bytes >= LARGE;
        // Some filesystems refuse at once, some with the first write.
        let direct = large && set_direct(file, true).is_ok();
        let (reading, back) = match back {
            None => (None, None),
            Some((now, later, reader)) => (
                Some(Reading::new(now, direct, reader)),
                Some(Back { file: later, kept: Vec::new(), kept_bytes: 0 }),
            ),
        };
        let most = if back.is_some() { size_bytes.saturating_mul(2) } else { u64::MAX };
        let line = Line::new(file.try_clone()?, reading, large);
        let buffer = Buffer::new();
        Ok(Self {
            file,
            line,
            buffer,
            filled: 0,
            offset: 0,
            most,
            direct,
            all: false,
            large: direct,
            back,
        })
    }

    /// Reads back from the disk what went through the page cache. To be called when everything is written and synced.
    ///
    /// # Errors
    /// When it cannot be read, or is not what was written.
    pub fn read_back_rest(&mut self) -> io::Result<()> {
        self.flush()?;
        let Some(back) = &mut self.back else { return Ok(()) };
        let mut found = Vec::new();
        for (offset, written) in std::mem::take(&mut back.kept) {
            let len = std::num::NonZeroU64::new(written.len() as u64);
            // Out of the cache, so that the disk is asked. Where that is refused, the cache answers.
            let _ = rustix::fs::fadvise(&back.file, offset, len, Advice::DontNeed);
            found.resize(written.len(), 0);
            back.file.read_exact_at(&mut found, offset)?;
            line::compare(offset, &written, &found)?;
        }
        Ok(())
    }

    /// Hands on what is filled.
    fn emit(&mut self) -> io::Result<()> {
        let (len, offset) = (std::mem::take(&mut self.filled), self.offset);
        self.offset = offset.saturating_add(len as u64);
        if self.direct && (len < STEP || !offset.is_multiple_of(ALIGNMENT as u64)) {
            // The tail, and what begins within a block, is not for the disk itself.
            self.line.settle()?;
            self.direct = false;
            set_direct(self.file, false)?;
        }
        if self.offset > self.most {
            // Made of pages that share their bytes, for one; whoever asked for it will hear of the damage.
            return Err(io::ErrorKind::FileTooLarge.into());
        }
        let mut now = self.direct && self.all;
        if let Some(back) = &mut self.back
            && !self.direct
        {
            // What is too much to be kept is read at once: the page cache answers, on filesystems that have nothing else.
            now = back.kept_bytes + len > KEPT;
            if !now {
                let bytes = self.buffer.bytes().get(..len).unwrap_or_default();
                back.kept.push((offset, bytes.to_vec()));
                back.kept_bytes += len;
            }
        }
        let next = self.line.spare()?;
        let buffer = std::mem::replace(&mut self.buffer, next);
        self.line.send(Piece { buffer, len, offset, read_back: now })
    }
}

impl Write for Bulk<'_> {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        let filled = self.filled;
        let room = self.buffer.bytes().get_mut(filled..).unwrap_or_default();
        let len = room.len().min(bytes.len());
        if let (Some(room), Some(bytes)) = (room.get_mut(..len), bytes.get(..len)) {
            room.copy_from_slice(bytes);
        }
        self.filled += len;
        if self.filled == STEP {
            self.emit()?;
        }
        Ok(len)
    }

    fn flush(&mut self) -> io::Result<()> {
        if self.filled > 0 {
            self.emit()?;
        }
        self.line.settle()
    }
}

impl Seek for Bulk<'_> {
    fn seek(&mut self, position: SeekFrom) -> io::Result<u64> {
        let SeekFrom::Start(offset) = position else {
            return Err(io::ErrorKind::Unsupported.into());
        };
        self.flush()?;
        self.offset = offset;
        Ok(offset)
    }
}

impl Drop for Bulk<'_> {
    fn drop(&mut self) {
        if self.large {
            // Whoever writes on expects an ordinary file.
            let _ = set_direct(self.file, false);
        }
    }
}

fn set_direct(file: &File, direct: bool) -> io::Result<()> {
    let mut flags = rustix::fs::fcntl_getfl(file)?;
    flags.set(OFlags::DIRECT, direct);
    Ok(rustix::fs::fcntl_setfl(file, flags)?)
}

#[cfg(test)]
mod tests {
    use std::fs;

    use super::*;

    #[test]
    fn what_is_written_is_what_was_given_at_any_size_and_offset() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("file");
        for (start, len) in [
            (0, 0),
            (0, 1),
            (8192, 5000),
            (2048, STEP * 3 + 17),
            (8192, STEP * 4),
            (0, LARGE as usize + 999),
        ] {
            for hint in [len as u64, LARGE] {
                let file = File::create(&path).unwrap();
                let mut expected = vec![0; start];
                expected.extend((0..len).map(|at| (at / 7 % 251) as u8));
                let mut bulk = Bulk::new(&file, hint).unwrap();
                bulk.seek(SeekFrom::Start(start as u64)).unwrap();
                for piece in expected.get(start..).unwrap().chunks(100_003) {
                    bulk.write_all(piece).unwrap();
                }
                // As the metas: at the beginning, last.
                if start >= 8 {
                    bulk.seek(SeekFrom::Start(0)).unwrap();
                    bulk.write_all(b"12345678").unwrap();
                    expected[..8].copy_from_slice(b"12345678");
                }
                bulk.flush().unwrap();
                drop(bulk);
                (&file).write_all(b"").unwrap();
                assert!(fs::read(&path).unwrap() == expected, "{start} {len} {hint}");
                let flags = rustix::fs::fcntl_getfl(&file).unwrap();
                assert!(!flags.contains(OFlags::DIRECT), "left past the cache");
            }
        }
    }

    fn read_back(dir: &Path, all: ReadBack, spoil: Option<u64>) -> io::Result<(Vec<u8>, Vec<u8>)> {
        use std::sync::{Arc, Mutex};
        let path = dir.join("back");
        let _ = fs::remove_file(&path);
        let file = File::create(&path)?;
        let seen = Arc::new(Mutex::new(Vec::new()));
        let (shown, spoiled) = (Arc::clone(&seen), File::options().write(true).open(&path)?);
        let reader: Reader = Box::new(move |offset, bytes: &[u8]| {
            let mut shown = shown.lock().unwrap();
            let start = usize::try_from(offset).unwrap();
            let end = shown.len().max(start + bytes.len());
            shown.resize(end, 0);
            shown[start..start + bytes.len()].copy_from_slice(bytes);
            Ok(())
        });
        let bytes: Vec<u8> = (0..LARGE as usize + 999).map(|at| (at / 7 % 251) as u8).collect();
        let mut bulk = Bulk::reading_back(&file, &path, bytes.len() as u64, all, reader)?;
        bulk.seek(SeekFrom::Start(8192))?;
        bulk.write_all(&bytes[8192..])?;
        bulk.seek(SeekFrom::Start(0))?;
        bulk.write_all(&bytes[..8192])?;
        bulk.flush()?;
        file.sync_all()?;
        if let Some(offset) = spoil {
            spoiled.write_all_at(b"~", offset)?;
            spoiled.sync_all()?;
        }
        bulk.read_back_rest()?;
        drop(bulk);
        let seen = seen.lock().unwrap().clone();
        Ok((bytes, seen))
    }

    #[test]
    fn what_is_read_back_is_what_was_written_and_the_rest_comes_from_the_disk() {
        let dir = tempfile::tempdir().unwrap();
        for all in [ReadBack::Ends, ReadBack::All] {
            let (bytes, seen) = read_back(dir.path(), all, None).unwrap();
            assert!(bytes == seen && fs::read(dir.path().join("back")).unwrap() == bytes);
            // A disk that changed what it was given, in the metas and in the tail.
            for offset in [4000, LARGE + 500] {
                let error = read_back(dir.path(), all, Some(offset)).unwrap_err();
                let place = format!("from offset {offset} on");
                assert!(error.to_string().contains(&place), "{error}");
            }
        }
        let (written, found) = ([1, 2, 3], [1, 2, 4]);
        let error = line::compare(10, &written, &found).unwrap_err();
        assert!(error.to_string().contains("offset 12"), "{error}");
    }

    #[test]
    fn who_reads_back_can_refuse() {
        let dir = tempfile::tempdir().unwrap();
        for len in [10, LARGE as usize + 1] {
            let path = dir.path().join(len.to_string());
            let file = File::create(&path).unwrap();
            let refuse: Reader = Box::new(|_, _| Err(io::Error::other("refused")));
            let mut bulk =
                Bulk::reading_back(&file, &path, len as u64, ReadBack::Ends, refuse).unwrap();
            let written = bulk.write_all(&vec![1; len]).and_then(|()| bulk.flush());
            assert_eq!(written.unwrap_err().to_string(), "refused", "{len}");
        }
    }

    #[test]
    fn a_full_disk_is_an_error_of_the_writer() {
        let full = File::options().write(true).open("/dev/full").unwrap();
        let mut bulk = Bulk::new(&full, LARGE).unwrap();
        let piece = vec![1; STEP];
        let written = (0..20).try_for_each(|_| bulk.write_all(&piece)).and_then(|()| bulk.flush());
        assert_eq!(written.unwrap_err().kind(), io::ErrorKind::StorageFull);
    }
}
