//! The way of a piece: written, read back, and its buffer returned. Each step has a thread of its own in large files.

use std::{
    fs::File,
    io,
    os::unix::fs::FileExt as _,
    sync::mpsc::{Receiver, Sender, channel},
    thread::JoinHandle,
};

use super::{AHEAD, Buffer, Reader, set_direct};

/// A piece on its way: how much of the buffer, and where in the file.
pub(super) struct Piece {
    pub(super) buffer: Buffer,
    pub(super) len: usize,
    pub(super) offset: u64,
    /// Whether it is read from the file to be shown to who reads back; else it is shown as it was written.
    pub(super) read_back: bool,
}

impl Piece {
    fn bytes(&mut self) -> &[u8] {
        self.buffer.bytes().get(..self.len).unwrap_or_default()
    }
}

/// Reads pieces back, or shows them as they were written.
pub(super) struct Reading {
    file: File,
    found: Buffer,
    reader: Reader,
}

impl Reading {
    /// Reads `file`, past the page cache when `direct`, where that can be.
    pub(super) fn new(file: File, direct: bool, reader: Reader) -> Self {
        if direct {
            // Where it cannot be, the cache gives what was written into it.
            let _ = set_direct(&file, true);
        }
        Self { file, found: Buffer::new(), reader }
    }

    fn take(&mut self, piece: &mut Piece) -> io::Result<()> {
        let offset = piece.offset;
        if !piece.read_back {
            return (self.reader)(offset, piece.bytes());
        }
        let found = self.found.bytes().get_mut(..piece.len).unwrap_or_default();
        match self.file.read_exact_at(found, offset) {
            Err(error) if error.kind() == io::ErrorKind::InvalidInput => {
                set_direct(&self.file, false)?;
                self.file.read_exact_at(found, offset)?;
            }
            other => other?,
        }
        compare(offset, piece.bytes(), found)?;
        (self.reader)(offset, found)
    }
}

/// Whether what was `found` in a file at `offset` is what was `written` there.
pub(super) fn compare(offset: u64, written: &[u8], found: &[u8]) -> io::Result<()> {
    if written == found {
        return Ok(());
    }
    let at = written.iter().zip(found).take_while(|(written, found)| written == found).count();
    let message = format!(
        "what was written reads back differently from offset {} on; the disk cannot be trusted",
        offset.saturating_add(at as u64)
    );
    Err(io::Error::new(io::ErrorKind::InvalidData, message))
}

/// Where pieces go.
pub(super) struct Line {
    steps: Steps,
    spare: Vec<Buffer>,
    under_way: usize,
}

enum Steps {
    /// In this thread, one after the other.
    Here {
        file: File,
        back: Option<Reading>,
    },
    Threads(Threads),
}

struct Threads {
    full: Option<Sender<Piece>>,
    done: Receiver<io::Result<Buffer>>,
    threads: Vec<JoinHandle<()>>,
}

impl std::fmt::Debug for Line {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Line").field("under_way", &self.under_way).finish_non_exhaustive()
    }
}

impl Line {
    /// Writes to `file`, in threads of its own when the file is `large`.
    pub(super) fn new(file: File, back: Option<Reading>, large: bool) -> Self {
        if !large {
            return Self { steps: Steps::Here { file, back }, spare: Vec::new(), under_way: 0 };
        }
        let mut spare = Vec::new();
        spare.resize_with(AHEAD, Buffer::new);
        Self { steps: Steps::Threads(Threads::start(file, back)), spare, under_way: 0 }
    }

    /// An empty buffer; waits for one that is under way when there is no other.
    pub(super) fn spare(&mut self) -> io::Result<Buffer> {
        if self.spare.is_empty() && self.under_way > 0 {
            self.take_back()?;
        }
        Ok(self.spare.pop().unwrap_or_else(Buffer::new))
    }

    /// Hands on a piece.
    pub(super) fn send(&mut self, mut piece: Piece) -> io::Result<()> {
        match &mut self.steps {
            Steps::Here { file, back } => {
                write_at(file, &mut piece)?;
                if let Some(back) = back {
                    back.take(&mut piece)?;
                }
                self.spare.push(piece.buffer);
                Ok(())
            }
            Steps::Threads(threads) => {
                self.under_way += 1;
                match threads.full.as_ref().map(|full| full.send(piece)) {
                    Some(Ok(())) => Ok(()),
                    // It ends early with an error only, which is on its way to us.
                    _ => self.settle().and_then(|()| Err(gone())),
                }
            }
        }
    }

    /// Waits for one piece.
    fn take_back(&mut self) -> io::Result<()> {
        let Steps::Threads(threads) = &self.steps else { return Ok(()) };
        let done = threads.done.recv().map_err(|_| gone())?;
        self.under_way = self.under_way.saturating_sub(1);
        self.spare.push(done?);
        Ok(())
    }

    /// Waits for all pieces.
    pub(super) fn settle(&mut self) -> io::Result<()> {
        while self.under_way > 0 {
            self.take_back()?;
        }
        Ok(())
    }
}

impl Drop for Threads {
    fn drop(&mut self) {
        // They end when nothing more can come.
        self.full = None;
        for thread in self.threads.drain(..) {
            // They panic nowhere; what they had to say was said through `done`.
            let _ = thread.join();
        }
    }
}

fn gone() -> io::Error {
    io::Error::other("the writing thread is gone")
}

impl Threads {
    fn start(file: File, back: Option<Reading>) -> Self {
        let (full, pieces) = channel();
        let (give_back, done) = channel();
        let write = move |piece: &mut Piece| write_at(&file, piece);
        let returned = give_back.clone();
        let give = move |piece: Piece| returned.send(Ok(piece.buffer)).is_ok();
        let threads = match back {
            None => vec![step(pieces, write, give, give_back)],
            Some(mut back) => {
                let (written, to_read) = channel();
                let hand_on = move |piece| written.send(piece).is_ok();
                let writing = step(pieces, write, hand_on, give_back.clone());
                let reading = step(to_read, move |piece| back.take(piece), give, give_back);
                vec![writing, reading]
            }
        };
        Self { full: Some(full), done, threads }
    }
}

/// A thread that does `work` on each of `pieces` and hands them to `next`, until there are no more, one fails, or
/// nobody takes them.
fn step(
    pieces: Receiver<Piece>,
    mut work: impl FnMut(&mut Piece) -> io::Result<()> + Send + 'static,
    next: impl Fn(Piece) -> bool + Send + 'static,
    failed: Sender<io::Result<Buffer>>,
) -> JoinHandle<()> {
    std::thread::spawn(move || {
        for mut piece in pieces {
            if let Err(error) = work(&mut piece) {
                // Who listens no more has an error already.
                let _ = failed.send(Err(error));
                return;
            }
            if !next(piece) {
                return;
            }
        }
    })
}

/// Writes; where the filesystem does not take it past the page cache after all, through it.
fn write_at(file: &File, piece: &mut Piece) -> io::Result<()> {
    let offset = piece.offset;
    match file.write_all_at(piece.bytes(), offset) {
        Err(error) if error.kind() == io::ErrorKind::InvalidInput => {
            set_direct(file, false)?;
            file.write_all_at(piece.bytes(), offset)
        }
        other => other,
    }
}
