//! Large files, written while the next part is made ready, and past the page cache where the filesystem lets us.
//!
//! Gigabytes that go through the page cache are copied twice and push out what others read; then the sync at the
//! end waits for all of them at once. Small files do go through it: there it is faster.

use std::{
    fs::File,
    io::{self, Seek, SeekFrom, Write},
    os::unix::fs::FileExt as _,
    sync::mpsc::{Receiver, Sender, channel},
    thread::JoinHandle,
};

use rustix::fs::OFlags;

/// Bytes handed to the system at a time.
const STEP: usize = 4 << 20;
/// What disks want memory and offsets to be multiples of.
const ALIGNMENT: usize = 4096;
/// Pieces that may be under way while one is filled.
const AHEAD: usize = 2;
/// Files smaller than this go through the page cache.
const LARGE: u64 = 32 << 20;

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

/// A piece on its way: how much of the buffer, and where in the file.
struct Piece {
    buffer: Buffer,
    len: usize,
    offset: u64,
}

/// Writes a file from its start, or from where it is told to. [`Write::flush`] waits until the system has everything;
/// syncing is the caller's.
#[derive(Debug)]
pub struct Bulk<'f> {
    file: &'f File,
    writer: Option<Writer>,
    buffer: Buffer,
    filled: usize,
    offset: u64,
    spare: Vec<Buffer>,
    under_way: usize,
    direct: bool,
}

#[derive(Debug)]
struct Writer {
    full: Sender<Piece>,
    done: Receiver<io::Result<Buffer>>,
    thread: JoinHandle<()>,
}

impl std::fmt::Debug for Buffer {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Buffer").finish_non_exhaustive()
    }
}

impl<'f> Bulk<'f> {
    /// Writes to `file`, which will have about `size_bytes`.
    ///
    /// # Errors
    /// When the file cannot be opened a second time.
    pub fn new(file: &'f File, size_bytes: u64) -> io::Result<Self> {
        let mut bulk = Self {
            file,
            writer: None,
            buffer: Buffer::new(),
            filled: 0,
            offset: 0,
            spare: Vec::new(),
            under_way: 0,
            direct: false,
        };
        if size_bytes >= LARGE {
            bulk.spare.resize_with(AHEAD, Buffer::new);
            bulk.writer = Some(Writer::start(file.try_clone()?));
            // Some filesystems refuse at once, some with the first write.
            bulk.direct = set_direct(file, true).is_ok();
        }
        Ok(bulk)
    }

    /// Hands on what is filled.
    fn emit(&mut self) -> io::Result<()> {
        let (len, offset) = (std::mem::take(&mut self.filled), self.offset);
        self.offset = offset.saturating_add(len as u64);
        if self.direct && (len < STEP || !offset.is_multiple_of(ALIGNMENT as u64)) {
            // The tail, and what begins within a block, is not for the disk itself.
            self.settle()?;
            self.direct = false;
            set_direct(self.file, false)?;
        }
        if self.writer.is_none() {
            let bytes = self.buffer.bytes().get(..len).unwrap_or_default();
            return self.file.write_all_at(bytes, offset);
        }
        if self.spare.is_empty() {
            self.take_back()?;
        }
        let next = self.spare.pop().unwrap_or_else(Buffer::new);
        let piece = Piece { buffer: std::mem::replace(&mut self.buffer, next), len, offset };
        let sent = self.writer.as_ref().map(|writer| writer.full.send(piece));
        self.under_way += 1;
        match sent {
            Some(Ok(())) => Ok(()),
            _ => Err(io::Error::other("the writing thread is gone")),
        }
    }

    /// Waits for one piece.
    fn take_back(&mut self) -> io::Result<()> {
        let Some(writer) = &self.writer else { return Ok(()) };
        let done = writer.done.recv().map_err(io::Error::other)?;
        self.under_way -= 1;
        self.spare.push(done?);
        Ok(())
    }

    /// Waits for all pieces.
    fn settle(&mut self) -> io::Result<()> {
        while self.under_way > 0 {
            self.take_back()?;
        }
        Ok(())
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
        self.settle()
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
        if let Some(Writer { full, done, thread }) = self.writer.take() {
            drop((full, done));
            // It ends with its channels, and panics nowhere.
            let _ = thread.join();
        }
        if self.direct {
            // Whoever writes on expects an ordinary file.
            let _ = set_direct(self.file, false);
        }
    }
}

impl Writer {
    fn start(file: File) -> Self {
        let (full, pieces) = channel::<Piece>();
        let (give_back, done) = channel();
        let thread = std::thread::spawn(move || {
            for Piece { mut buffer, len, offset } in pieces {
                let bytes = buffer.bytes().get(..len).unwrap_or_default();
                let written = write_at(&file, bytes, offset);
                if give_back.send(written.map(|()| buffer)).is_err() {
                    return;
                }
            }
        });
        Self { full, done, thread }
    }
}

/// Writes; where the filesystem does not take it past the page cache after all, through it.
fn write_at(file: &File, bytes: &[u8], offset: u64) -> io::Result<()> {
    match file.write_all_at(bytes, offset) {
        Err(error) if error.kind() == io::ErrorKind::InvalidInput => {
            set_direct(file, false)?;
            file.write_all_at(bytes, offset)
        }
        other => other,
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

    #[test]
    fn a_full_disk_is_an_error_of_the_writer() {
        let full = File::options().write(true).open("/dev/full").unwrap();
        let mut bulk = Bulk::new(&full, LARGE).unwrap();
        let piece = vec![1; STEP];
        let written = (0..20).try_for_each(|_| bulk.write_all(&piece)).and_then(|()| bulk.flush());
        assert_eq!(written.unwrap_err().kind(), io::ErrorKind::StorageFull);
    }
}
