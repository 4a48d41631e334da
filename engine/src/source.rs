//! Bytes of a file, mapped or read: the ground every reader stands on, and the only `unsafe` there is.
//!
//! A map is fast, but it turns a failing disk and a file cut short by somebody else into SIGBUS. Here both end in an
//! error: [`FaultGuard`] puts zero pages in the place of those that cannot be read and remembers where that was, and
//! [`Source::check`] tells. **No result may be shown before `check` has passed**: until then bytes may be zeros that
//! are in no file. [`Source::read`] needs neither handler nor trust, and works wherever a map does.
//!
//! What cannot be promised: a file that somebody writes to while it is mapped (the `db` of a running server) changes
//! beneath its readers, and two reads of one byte may differ. Readers must therefore check every value they take, not
//! the bytes it came from. `check` notices the change afterwards by length and times, which is as fine as the
//! file system's clock (a few milliseconds) and blind to writers that set times back.
//!
//! Start at [`Source`]. This room knows nothing of what the bytes mean.
#![expect(
    unsafe_code,
    reason = "maps and the signal handler that makes them safe to read live here alone"
)]

use std::fs::{File, Metadata};
use std::io::{self, Read, Seek, SeekFrom};
use std::os::unix::fs::{FileTypeExt, MetadataExt};
use std::path::{Path, PathBuf};

use memmap2::{Advice, Mmap, MmapOptions};
use rustix::fs::{Mode, OFlags};

mod error;
pub use error::{Change, Error, Kind};
pub use guard::FaultGuard;

/// The bytes of one file, opened read-only and never locked, or of memory.
///
/// The file stays open as long as this lives, so that [`Source::check`] asks about the file that was read and not
/// about one that has taken its name.
#[derive(Debug)]
pub struct Source {
    bytes: Bytes,
    file: Option<Opened>,
}

#[derive(Debug)]
enum Bytes {
    Owned(Vec<u8>),
    Mapped(guard::Mapping),
}

/// An open file and what was true of it before its first byte was taken.
#[derive(Debug)]
struct Opened {
    file: File,
    path: PathBuf,
    /// Whether `path` was followed, so that it can be followed again. A file that was handed in open has only a label.
    by_path: bool,
    seen: Seen,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Seen {
    len: u64,
    dev: u64,
    ino: u64,
    mtime: (i64, i64),
    ctime: (i64, i64),
}

/// How files are looked at.
#[derive(Clone, Copy, Debug)]
pub enum Access {
    /// Mapped, guarded.
    Map(FaultGuard),
    /// Read into memory.
    Read,
}

impl Source {
    /// Maps or reads the file at `path`.
    ///
    /// # Errors
    /// As [`Source::map`] or [`Source::read`].
    pub fn open(path: impl AsRef<Path>, access: Access) -> Result<Self, Error> {
        match access {
            Access::Map(guard) => Self::map(path, guard),
            Access::Read => Self::read(path),
        }
    }

    /// Maps the file at `path`; nothing is read until it is looked at.
    ///
    /// Threads that look at the bytes must not block SIGBUS: the system kills a process that blocks the signal of its
    /// own fault. A system call that is handed bytes of a page that cannot be read ends in `EFAULT` instead.
    ///
    /// # Errors
    /// [`Error::Open`], [`Error::NotAFile`], and those of a map: [`Error::TooLarge`] for the address space,
    /// [`Error::Map`], [`Error::TooManyMaps`].
    pub fn map(path: impl AsRef<Path>, guard: FaultGuard) -> Result<Self, Error> {
        Self::map_opened(Opened::open(path.as_ref())?, guard)
    }

    /// Maps a file that is open already; `label` names it in errors and is never followed.
    ///
    /// # Errors
    /// As [`Source::map`].
    pub fn map_file(
        file: &File,
        label: impl AsRef<Path>,
        guard: FaultGuard,
    ) -> Result<Self, Error> {
        Self::map_opened(Opened::handed_in(file, label.as_ref())?, guard)
    }

    /// Reads the whole file at `path` into memory.
    ///
    /// # Errors
    /// [`Error::Open`], [`Error::NotAFile`], [`Error::Read`] with the offset the disk failed at, [`Error::TooLarge`]
    /// when this machine's memory cannot hold it, [`Error::Changed`] when the file became shorter meanwhile.
    pub fn read(path: impl AsRef<Path>) -> Result<Self, Error> {
        Self::read_opened(Opened::open(path.as_ref())?)
    }

    /// Reads a file that is open already, from its start, moving its position; `label` names it in errors and is never
    /// followed.
    ///
    /// # Errors
    /// As [`Source::read`].
    pub fn read_file(file: &File, label: impl AsRef<Path>) -> Result<Self, Error> {
        Self::read_opened(Opened::handed_in(file, label.as_ref())?)
    }

    /// Takes bytes that are in memory already; there is nothing to check about them.
    pub fn from_bytes(bytes: Vec<u8>) -> Self {
        Self { bytes: Bytes::Owned(bytes), file: None }
    }

    /// The first `keep_bytes` of this source with `writes` over them and behind them: what the file would hold after
    /// those writes. Nothing is written to the file; of a map, only pages that are written to take memory.
    ///
    /// # Errors
    /// What [`Source::check`] says of this source up to now; [`Error::Map`] and [`Error::TooLarge`] when there is no
    /// memory or address space for it; [`Error::Beyond`] when less than `keep_bytes` are there.
    pub fn overlaid(self, keep_bytes: u64, writes: &[(u64, &[u8])]) -> Result<Self, Error> {
        self.check()?;
        let beyond = Error::Beyond { len_bytes: self.len() as u64, wanted_bytes: keep_bytes };
        let keep = usize::try_from(keep_bytes).ok().filter(|&keep| keep <= self.len());
        let keep = keep.ok_or(beyond)?;
        let too_large = || Error::TooLarge {
            path: self.path().unwrap_or(Path::new("memory")).to_path_buf(),
            len_bytes: keep_bytes,
            limit_bytes: isize::MAX as u64,
        };
        let mut len = keep;
        for (offset, bytes) in writes {
            let end =
                usize::try_from(*offset).ok().and_then(|start| start.checked_add(bytes.len()));
            len = len.max(end.filter(|&end| isize::try_from(end).is_ok()).ok_or_else(too_large)?);
        }
        let bytes = match (&self.bytes, &self.file) {
            (Bytes::Mapped(_), Some(opened)) => Bytes::Mapped(guard::Mapping::overlaid(
                &opened.file,
                &opened.path,
                keep,
                len,
                writes,
            )?),
            _ => {
                let Bytes::Owned(mut owned) = self.bytes else { return Err(too_large()) };
                owned.truncate(keep);
                owned
                    .try_reserve_exact(len - keep)
                    .map_err(|_| Error::NoMemory { len_bytes: len as u64 })?;
                owned.resize(len, 0);
                overlay(&mut owned, writes);
                return Ok(Self { bytes: Bytes::Owned(owned), file: self.file });
            }
        };
        Ok(Self { bytes, file: self.file })
    }

    fn map_opened(opened: Opened, guard: FaultGuard) -> Result<Self, Error> {
        let bytes = match opened.seen.len {
            0 => Bytes::Owned(Vec::new()),
            len_bytes => {
                Bytes::Mapped(guard::Mapping::new(&opened.file, &opened.path, len_bytes, guard)?)
            }
        };
        Ok(Self { bytes, file: Some(opened) })
    }

    fn read_opened(opened: Opened) -> Result<Self, Error> {
        let bytes = opened.read_whole()?;
        Ok(Self { bytes: Bytes::Owned(bytes), file: Some(opened) })
    }

    /// All bytes, as many as the file had when it was opened.
    pub fn bytes(&self) -> &[u8] {
        match &self.bytes {
            Bytes::Owned(bytes) => bytes,
            Bytes::Mapped(mapping) => mapping.bytes(),
        }
    }

    /// How many bytes there are.
    pub fn len(&self) -> usize {
        self.bytes().len()
    }

    /// Whether there are none.
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// Whether the bytes are a map of the file rather than a copy of it.
    pub fn is_mapped(&self) -> bool {
        matches!(self.bytes, Bytes::Mapped(_))
    }

    /// The path or label of the file; absent for memory.
    pub fn path(&self) -> Option<&Path> {
        self.file.as_ref().map(|opened| opened.path.as_path())
    }

    /// Tells the system that the bytes will be looked at from first to last. A hint: nothing is wrong when it is not
    /// taken, and nothing happens for bytes in memory.
    pub fn advise_sequential(&self) {
        if let Bytes::Mapped(mapping) = &self.bytes {
            mapping.advise_sequential();
        }
    }

    /// Whether everything that was taken from [`Source::bytes`] so far may be believed.
    ///
    /// # Errors
    /// [`Error::Fault`] when a page could not be read since the file was mapped; [`Error::Changed`] when its length,
    /// identity or times are not those it was opened with; [`Error::Open`] when the system does not say.
    pub fn check(&self) -> Result<(), Error> {
        let Some(opened) = &self.file else { return Ok(()) };
        if let Bytes::Mapped(mapping) = &self.bytes
            && let Some(offset) = mapping.fault()
        {
            return Err(Error::Fault { path: opened.path.clone(), offset });
        }
        match opened.change()? {
            Some(change) => Err(Error::Changed { path: opened.path.clone(), change }),
            None => Ok(()),
        }
    }
}

/// Asks the processor to fetch the start of `bytes`, which will be looked at soon. A hint: nothing is read where that
/// would be a page fault, and nothing happens on processors other than x86-64.
pub fn prefetch(bytes: &[u8]) {
    /// A page's header and its first elements.
    const LINES: usize = 2;
    #[cfg(target_arch = "x86_64")]
    for line in bytes.chunks(64).take(LINES) {
        use std::arch::x86_64::{_MM_HINT_T0, _mm_prefetch};
        // SAFETY: the address lies within `bytes`, and a prefetch neither reads nor faults; every x86-64 has it.
        unsafe { _mm_prefetch::<_MM_HINT_T0>(line.as_ptr().cast()) }
    }
    #[cfg(not(target_arch = "x86_64"))]
    let _ = (bytes, LINES);
}

/// Copies each of `writes` to its offset; all lie within `bytes`.
fn overlay(bytes: &mut [u8], writes: &[(u64, &[u8])]) {
    for (offset, write) in writes {
        let start = usize::try_from(*offset).unwrap_or(usize::MAX);
        if let Some(place) = bytes.get_mut(start..).and_then(|rest| rest.get_mut(..write.len())) {
            place.copy_from_slice(write);
        }
    }
}

impl Opened {
    fn open(path: &Path) -> Result<Self, Error> {
        let open_error = |source| Error::Open { path: path.to_path_buf(), source };
        // Looked at before it is opened: to open a device can already do something.
        expect_bytes(path, &std::fs::metadata(path).map_err(open_error)?)?;
        // The pipe that takes a file's place between the two must not make us wait for its writer.
        let flags = OFlags::RDONLY | OFlags::CLOEXEC | OFlags::NOCTTY | OFlags::NONBLOCK;
        // Only a file's owner may leave its access time alone.
        let file = rustix::fs::open(path, flags | OFlags::NOATIME, Mode::empty())
            .or_else(|_| rustix::fs::open(path, flags, Mode::empty()))
            .map_err(|errno| open_error(errno.into()))?;
        Self::new(File::from(file), path, true)
    }

    fn handed_in(file: &File, label: &Path) -> Result<Self, Error> {
        let file =
            file.try_clone().map_err(|source| Error::Open { path: label.to_path_buf(), source })?;
        Self::new(file, label, false)
    }

    fn new(file: File, path: &Path, by_path: bool) -> Result<Self, Error> {
        let open_error = |source| Error::Open { path: path.to_path_buf(), source };
        let metadata = file.metadata().map_err(open_error)?;
        expect_bytes(path, &metadata)?;
        let seen = Seen::new(&file, &metadata).map_err(open_error)?;
        Ok(Self { file, path: path.to_path_buf(), by_path, seen })
    }

    fn read_whole(&self) -> Result<Vec<u8>, Error> {
        let len_bytes = self.seen.len;
        let too_large =
            |limit_bytes| Error::TooLarge { path: self.path.clone(), len_bytes, limit_bytes };
        // An allocator may promise more than there is, and the process would be killed while it is filled.
        let limit = memory_bytes();
        if len_bytes > limit {
            return Err(too_large(limit));
        }
        let len = usize::try_from(len_bytes).map_err(|_| too_large(usize::MAX as u64))?;
        let mut bytes = Vec::new();
        bytes.try_reserve_exact(len).map_err(|_| too_large(limit))?;
        let mut file = &self.file;
        file.seek(SeekFrom::Start(0))
            .and_then(|_| file.take(len_bytes).read_to_end(&mut bytes))
            .map_err(|source| Error::Read {
                path: self.path.clone(),
                offset: bytes.len() as u64,
                source,
            })?;
        if bytes.len() < len {
            let change = Change::Length { opened: len_bytes, now: bytes.len() as u64 };
            return Err(Error::Changed { path: self.path.clone(), change });
        }
        Ok(bytes)
    }

    fn change(&self) -> Result<Option<Change>, Error> {
        let open_error = |source| Error::Open { path: self.path.clone(), source };
        let now = self
            .file
            .metadata()
            .and_then(|metadata| Seen::new(&self.file, &metadata))
            .map_err(open_error)?;
        if now.len != self.seen.len {
            return Ok(Some(Change::Length { opened: self.seen.len, now: now.len }));
        }
        if self.by_path {
            match std::fs::metadata(&self.path) {
                Ok(at_path) if (at_path.dev(), at_path.ino()) == (now.dev, now.ino) => {}
                Ok(_) => return Ok(Some(Change::Replaced)),
                Err(error) if error.kind() == io::ErrorKind::NotFound => {
                    return Ok(Some(Change::Removed));
                }
                Err(error) => return Err(open_error(error)),
            }
        }
        if now.mtime != self.seen.mtime {
            return Ok(Some(Change::Written));
        }
        Ok((now != self.seen).then_some(Change::Status))
    }
}

impl Seen {
    fn new(mut file: &File, metadata: &Metadata) -> io::Result<Self> {
        // A block device says its length only to those who seek its end.
        let len = if metadata.file_type().is_block_device() {
            file.seek(SeekFrom::End(0))?
        } else {
            metadata.len()
        };
        Ok(Self {
            len,
            dev: metadata.dev(),
            ino: metadata.ino(),
            mtime: (metadata.mtime(), metadata.mtime_nsec()),
            ctime: (metadata.ctime(), metadata.ctime_nsec()),
        })
    }
}

fn expect_bytes(path: &Path, metadata: &Metadata) -> Result<(), Error> {
    let kind = match metadata.file_type() {
        t if t.is_file() || t.is_block_device() => return Ok(()),
        t if t.is_dir() => Kind::Directory,
        t if t.is_fifo() => Kind::Fifo,
        t if t.is_socket() => Kind::Socket,
        t if t.is_char_device() => Kind::CharDevice,
        _ => Kind::Other,
    };
    Err(Error::NotAFile { path: path.to_path_buf(), kind })
}

/// Memory and swap of this machine.
fn memory_bytes() -> u64 {
    let info = rustix::system::sysinfo();
    // The fields are as wide as the platform's `unsigned long`.
    let total = (info.totalram as u64).saturating_add(info.totalswap as u64);
    total.saturating_mul(u64::from(info.mem_unit.max(1)))
}

/// The signal handler, the table it reads, and the maps that stand in it.
mod guard {
    use super::*;
    use std::sync::atomic::{AtomicUsize, Ordering, fence};
    use std::sync::{Mutex, OnceLock, PoisonError};

    use libc::{c_int, c_void, siginfo_t};
    use rustix::mm::{MapFlags, ProtFlags};

    /// Proof that SIGBUS of a mapped file is caught; maps cannot be had without it.
    ///
    /// An embedder that wants no signal handler in its process does not install one and uses [`Source::read`].
    #[derive(Clone, Copy, Debug)]
    pub struct FaultGuard {
        _installed: (),
    }

    impl FaultGuard {
        /// Installs the handler for SIGBUS, once for the whole process and until it ends.
        ///
        /// A SIGBUS that does not come from one of our maps goes on to the handler that was there before, or does
        /// what it does by default. A handler installed later must do the same for ours, or maps lose their guard.
        ///
        /// # Errors
        /// [`Error::Guard`] when the system refuses the handler.
        pub fn install() -> Result<Self, Error> {
            static INSTALLED: OnceLock<Result<(), i32>> = OnceLock::new();
            INSTALLED
                .get_or_init(|| {
                    install_handler().map_err(|error| error.raw_os_error().unwrap_or(libc::EINVAL))
                })
                .map(|()| Self { _installed: () })
                .map_err(|errno| Error::Guard { source: io::Error::from_raw_os_error(errno) })
        }
    }

    /// How many files may be mapped at a time.
    const SLOTS: usize = 256;

    /// What the handler knows of one map. Written under [`REGISTRY`], read by the handler without a lock.
    ///
    /// `version` is odd while the rest is being written and moves with each change, so that the handler never takes
    /// the start of one map for that of another.
    struct Slot {
        version: AtomicUsize,
        /// Address of the first byte; 0 when the slot is free.
        start: AtomicUsize,
        /// Address after the last page.
        end: AtomicUsize,
        /// Lowest offset that could not be read; `usize::MAX` when all could.
        fault: AtomicUsize,
    }

    static TABLE: [Slot; SLOTS] = [const {
        Slot {
            version: AtomicUsize::new(0),
            start: AtomicUsize::new(0),
            end: AtomicUsize::new(0),
            fault: AtomicUsize::new(usize::MAX),
        }
    }; SLOTS];
    static REGISTRY: Mutex<()> = Mutex::new(());

    /// Page size, handler and flags that were there before ours: set before the handler can run.
    static PAGE: AtomicUsize = AtomicUsize::new(4096);
    static PREVIOUS: AtomicUsize = AtomicUsize::new(libc::SIG_DFL);
    static PREVIOUS_HAS_INFO: AtomicUsize = AtomicUsize::new(0);

    impl Slot {
        /// Changes where the map is; callers hold [`REGISTRY`].
        fn set(&self, start: usize, end: usize) {
            let version = self.version.load(Ordering::Relaxed);
            self.version.store(version.wrapping_add(1), Ordering::Relaxed);
            fence(Ordering::Release);
            self.start.store(start, Ordering::Relaxed);
            self.end.store(end, Ordering::Relaxed);
            self.fault.store(usize::MAX, Ordering::Relaxed);
            self.version.store(version.wrapping_add(2), Ordering::Release);
        }

        /// Start and end of the map if `address` is in it.
        ///
        /// The slot of the map a thread is reading stands still, because reading borrows the map; one that moves is
        /// another's and is passed over.
        fn range_of(&self, address: usize) -> Option<(usize, usize)> {
            let version = self.version.load(Ordering::Acquire);
            let (start, end) =
                (self.start.load(Ordering::Relaxed), self.end.load(Ordering::Relaxed));
            fence(Ordering::Acquire);
            let still =
                version.is_multiple_of(2) && self.version.load(Ordering::Relaxed) == version;
            (still && start != 0 && (start..end).contains(&address)).then_some((start, end))
        }
    }

    /// A map of a whole file that stands in the table.
    #[derive(Debug)]
    pub(super) struct Mapping {
        map: Mmap,
        slot: usize,
    }

    impl Mapping {
        pub(super) fn new(
            file: &File,
            path: &Path,
            len_bytes: u64,
            _: FaultGuard,
        ) -> Result<Self, Error> {
            let path = || path.to_path_buf();
            let len = usize::try_from(len_bytes)
                .ok()
                .filter(|&len| isize::try_from(len).is_ok())
                .ok_or_else(|| Error::TooLarge {
                path: path(),
                len_bytes,
                limit_bytes: isize::MAX as u64,
            })?;
            // SAFETY: memmap2 asks that the file is not cut short or written to while it is mapped, which nobody can
            // promise for a file. Cut short, the pages are replaced by the handler that `FaultGuard` vouches for.
            // Written to, bytes change between two reads; the contract of this room (see its docs) is that readers
            // check the values they took, and nobody is handed a reference to anything but plain bytes.
            let map = unsafe { MmapOptions::new().len(len).map(file) }
                .map_err(|source| Error::Map { path: path(), len_bytes, source })?;
            let slot = watch(map.as_ptr() as usize, len)
                .ok_or_else(|| Error::TooManyMaps { path: path(), limit: SLOTS })?;
            Ok(Self { map, slot })
        }

        /// A private map of the first `keep` bytes of a file within `len` bytes of memory, with `writes` over it.
        ///
        /// Only for a file that is mapped already, which proves that the handler is installed.
        pub(super) fn overlaid(
            file: &File,
            path: &Path,
            keep: usize,
            len: usize,
            writes: &[(u64, &[u8])],
        ) -> Result<Self, Error> {
            let refused =
                |source| Error::Map { path: path.to_path_buf(), len_bytes: len as u64, source };
            let mut memory =
                MmapOptions::new().len(len.max(1)).no_reserve_swap().map_anon().map_err(refused)?;
            let start = memory.as_mut_ptr();
            if keep > 0 {
                let flags = MapFlags::PRIVATE | MapFlags::FIXED | MapFlags::NORESERVE;
                // SAFETY: the `keep` bytes lie in memory that was mapped just above and that nobody refers to yet. The
                // map is private: writes to it reach no file. What is said of the file's own changes in `new`
                // holds here.
                unsafe {
                    rustix::mm::mmap(
                        start.cast(),
                        keep,
                        ProtFlags::READ | ProtFlags::WRITE,
                        flags,
                        file,
                        0,
                    )
                }
                .map_err(|errno| refused(errno.into()))?;
            }
            let too_many = Error::TooManyMaps { path: path.to_path_buf(), limit: SLOTS };
            let slot = watch(start as usize, len).ok_or(too_many)?;
            let release = Release(slot);
            // What stood behind the `keep` bytes in their last page is not part of it.
            let rest = keep.next_multiple_of(PAGE.load(Ordering::Relaxed)).min(len);
            if let Some(rest) = memory.get_mut(keep..rest) {
                rest.fill(0);
            }
            overlay(&mut memory, writes);
            let map = memory.make_read_only().map_err(refused)?;
            std::mem::forget(release);
            Ok(Self { map, slot })
        }

        pub(super) fn bytes(&self) -> &[u8] {
            &self.map
        }

        /// Lowest offset of a page that could not be read.
        pub(super) fn fault(&self) -> Option<u64> {
            let offset = TABLE[self.slot].fault.load(Ordering::SeqCst);
            (offset != usize::MAX).then_some(offset as u64)
        }

        pub(super) fn advise_sequential(&self) {
            // A hint that is refused costs speed and nothing else.
            let _ = self.map.advise(Advice::Sequential);
        }
    }

    /// Lets the handler know of a map; `None` when it knows of too many.
    fn watch(start: usize, len: usize) -> Option<usize> {
        // A map ends with a whole page, and memory ends later.
        let end = start.saturating_add(len).next_multiple_of(PAGE.load(Ordering::Relaxed));
        let _held = REGISTRY.lock().unwrap_or_else(PoisonError::into_inner);
        let slot = TABLE.iter().position(|slot| slot.start.load(Ordering::Relaxed) == 0)?;
        TABLE[slot].set(start, end);
        Some(slot)
    }

    /// Frees a slot of the table when dropped.
    struct Release(usize);

    impl Drop for Release {
        fn drop(&mut self) {
            let _held = REGISTRY.lock().unwrap_or_else(PoisonError::into_inner);
            TABLE[self.0].set(0, 0);
        }
    }

    impl Drop for Mapping {
        // Runs before the field `map` is unmapped: whoever gets the same addresses next finds the slot free.
        fn drop(&mut self) {
            drop(Release(self.slot));
        }
    }

    fn install_handler() -> io::Result<()> {
        PAGE.store(rustix::param::page_size(), Ordering::Relaxed);
        // The old handler is noted before ours can run, and noted again in case it changed in between.
        note_previous(&exchange(None)?);
        let handler: extern "C" fn(c_int, *mut siginfo_t, *mut c_void) = on_sigbus;
        // SAFETY: all zeros is a valid `sigaction`: no flags, an empty mask, the default action.
        let mut ours: libc::sigaction = unsafe { std::mem::zeroed() };
        ours.sa_sigaction = handler as usize;
        // On the alternate stack, because a stack overflow is a SIGBUS on some systems.
        ours.sa_flags = libc::SA_SIGINFO | libc::SA_ONSTACK;
        note_previous(&exchange(Some(&ours))?);
        Ok(())
    }

    fn note_previous(previous: &libc::sigaction) {
        let has_info = previous.sa_flags & libc::SA_SIGINFO != 0;
        PREVIOUS_HAS_INFO.store(usize::from(has_info), Ordering::SeqCst);
        PREVIOUS.store(previous.sa_sigaction, Ordering::SeqCst);
    }

    /// Sets the action for SIGBUS, if one is given, and returns the one that was there.
    fn exchange(new: Option<&libc::sigaction>) -> io::Result<libc::sigaction> {
        // SAFETY: as in `install_handler`.
        let mut old: libc::sigaction = unsafe { std::mem::zeroed() };
        let new = new.map_or(std::ptr::null(), std::ptr::from_ref);
        // SAFETY: both pointers are valid or null for the length of the call; the handler in `new` is `on_sigbus`,
        // which does only what a signal handler may.
        match unsafe { libc::sigaction(libc::SIGBUS, new, &mut old) } {
            0 => Ok(old),
            _ => Err(io::Error::last_os_error()),
        }
    }

    /// Runs on the thread that touched the page. Uses atomics and bare system calls only; `rustix` makes them without
    /// `errno`, which the interrupted code may be about to look at.
    extern "C" fn on_sigbus(signal: c_int, info: *mut siginfo_t, context: *mut c_void) {
        // SAFETY: the system hands a valid `siginfo_t` to a handler installed with SA_SIGINFO.
        let code = unsafe { (*info).si_code };
        // A code above 0 is the system's own; only then is there an address.
        if code > 0 {
            // SAFETY: as above; SIGBUS from the system carries an address.
            let address = unsafe { (*info).si_addr() } as usize;
            if replace_pages(address) {
                return;
            }
        }
        pass_on(signal, code, info, context);
    }

    /// Puts zero pages from `address` to the end of the map it is in; `false` when it is in none of ours.
    fn replace_pages(address: usize) -> bool {
        let Some((slot, start, end)) = TABLE
            .iter()
            .find_map(|slot| slot.range_of(address).map(|(start, end)| (slot, start, end)))
        else {
            return false;
        };
        let page = address - address % PAGE.load(Ordering::Relaxed);
        // Noted first, so that nobody reads a zero of ours before `check` would tell.
        slot.fault.fetch_min(page - start, Ordering::SeqCst);
        // The whole map when its tail alone is refused: that needs no further entry in the system's table of maps.
        map_zeros(page, end) || map_zeros(start, end)
    }

    fn map_zeros(start: usize, end: usize) -> bool {
        let flags = MapFlags::PRIVATE | MapFlags::FIXED | MapFlags::NORESERVE;
        // Writable, because the page can be one that `overlaid` was about to write to.
        let prot = ProtFlags::READ | ProtFlags::WRITE;
        // SAFETY: the range lies in one of our maps, which the interrupted thread borrows, so that it is neither
        // unmapped nor anybody else's; it holds plain bytes that may have any value.
        unsafe { rustix::mm::mmap_anonymous(start as *mut c_void, end - start, prot, flags) }
            .is_ok()
    }

    /// Does what would have happened without us.
    fn pass_on(signal: c_int, code: c_int, info: *mut siginfo_t, context: *mut c_void) {
        let previous = PREVIOUS.load(Ordering::SeqCst);
        match previous {
            // The system lets nobody ignore a fault, but a signal that was sent can be.
            libc::SIG_IGN if code <= 0 => {}
            libc::SIG_DFL | libc::SIG_IGN => {
                // SAFETY: both calls are allowed in a signal handler. The process ends: a fault repeats itself when
                // the handler returns, and a signal that was sent is sent again.
                unsafe {
                    libc::signal(signal, libc::SIG_DFL);
                    if !(libc::BUS_ADRALN..=libc::BUS_OBJERR).contains(&code) {
                        libc::raise(signal);
                    }
                }
            }
            handler if PREVIOUS_HAS_INFO.load(Ordering::SeqCst) != 0 => {
                // SAFETY: the address came from `sigaction` with SA_SIGINFO set, so it is such a function.
                let handler: extern "C" fn(c_int, *mut siginfo_t, *mut c_void) =
                    unsafe { std::mem::transmute(handler as *const ()) };
                handler(signal, info, context);
            }
            handler => {
                // SAFETY: the address came from `sigaction` without SA_SIGINFO, so it is such a function.
                let handler: extern "C" fn(c_int) =
                    unsafe { std::mem::transmute(handler as *const ()) };
                handler(signal);
            }
        }
    }

    #[cfg(test)]
    mod tests {
        //! Guards against a handler that swallows the faults of others, in a process of its own that may die of them.

        use super::*;
        use std::os::unix::process::ExitStatusExt;
        use std::process::Command;

        const CHILD: &str = "ETCDSNAP_TEST_FAULT_CHILD";

        /// Runs the test of this name again, alone in a new process, with [`CHILD`] set.
        fn run_alone(test: &str) -> std::process::ExitStatus {
            let test = format!("source::guard::tests::{test}");
            let exe = std::env::current_exe().unwrap();
            let output =
                Command::new(exe).args(["--exact", &test]).env(CHILD, "1").output().unwrap();
            output.status
        }

        fn touch_a_cut_map_that_is_not_ours() -> u8 {
            let file = tempfile::tempfile().unwrap();
            file.set_len(8192).unwrap();
            // SAFETY: the test wants the fault.
            let map = unsafe { Mmap::map(&file) }.unwrap();
            file.set_len(0).unwrap();
            std::hint::black_box(map[5000])
        }

        #[test]
        fn a_fault_outside_our_maps_still_ends_the_process() {
            if std::env::var_os(CHILD).is_some() {
                FaultGuard::install().unwrap();
                touch_a_cut_map_that_is_not_ours();
                return;
            }
            let status = run_alone("a_fault_outside_our_maps_still_ends_the_process");
            assert_eq!(status.signal(), Some(libc::SIGBUS), "{status}");
        }

        #[test]
        fn a_fault_outside_our_maps_reaches_the_handler_that_was_there_before() {
            extern "C" fn theirs(_: c_int, info: *mut siginfo_t, _: *mut c_void) {
                // SAFETY: `_exit` may be called in a handler, and `info` is the system's.
                unsafe { libc::_exit(if (*info).si_addr().is_null() { 43 } else { 42 }) }
            }
            if std::env::var_os(CHILD).is_some() {
                // SAFETY: all zeros is a valid `sigaction`.
                let mut action: libc::sigaction = unsafe { std::mem::zeroed() };
                let handler: extern "C" fn(c_int, *mut siginfo_t, *mut c_void) = theirs;
                action.sa_sigaction = handler as usize;
                action.sa_flags = libc::SA_SIGINFO;
                exchange(Some(&action)).unwrap();
                FaultGuard::install().unwrap();
                touch_a_cut_map_that_is_not_ours();
                return;
            }
            let status =
                run_alone("a_fault_outside_our_maps_reaches_the_handler_that_was_there_before");
            assert_eq!(status.code(), Some(42), "{status}");
        }

        #[test]
        fn a_slot_matches_its_own_addresses_alone_and_none_once_it_is_free() {
            let slot = Slot {
                version: AtomicUsize::new(0),
                start: AtomicUsize::new(0),
                end: AtomicUsize::new(0),
                fault: AtomicUsize::new(usize::MAX),
            };
            assert_eq!(slot.range_of(0), None);
            slot.set(4096, 8192);
            assert_eq!(slot.range_of(4095), None);
            assert_eq!(slot.range_of(4096), Some((4096, 8192)));
            assert_eq!(slot.range_of(8191), Some((4096, 8192)));
            assert_eq!(slot.range_of(8192), None);
            slot.version.store(7, Ordering::Relaxed);
            assert_eq!(slot.range_of(4096), None, "a slot that is being written");
            slot.set(0, 0);
            assert_eq!(slot.range_of(4096), None);
        }
    }
}
