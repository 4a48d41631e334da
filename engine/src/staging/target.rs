//! What an output's name leads to.
//!
//! Nothing that exists is replaced but a regular file. A symbolic link is followed: what it names is made or replaced, and
//! the link stays. Links of `/proc`, such as `/dev/stdout` leads to, name an open file: they are opened, never resolved.

use std::{
    ffi::OsStr,
    fs::{self, File},
    io::{self, Seek as _, SeekFrom},
    os::{
        fd::{AsFd, OwnedFd},
        unix::{
            ffi::OsStrExt as _,
            fs::{FileTypeExt as _, MetadataExt as _},
        },
    },
    path::{Path, PathBuf},
    time::Duration,
};

use rustix::{
    fs::{Access, FileType, Mode, OFlags, Stat},
    io::Errno,
};

use super::{
    IoError, Refusal, TargetError,
    follow::{Found, What, follow, only_a_directory, own_uid},
    is_mount_point, parent,
    stage::NAME_ROOM,
};
use crate::progress::Interrupted;

/// How long to wait before looking again whether a FIFO has a reader.
const WAIT: Duration = Duration::from_millis(20);
/// The longest name a directory can hold, in bytes.
const NAME_MAX: usize = 255;

/// Where an output goes, as it was when the name was looked at.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Target {
    given: PathBuf,
    place: Place,
}

#[derive(Clone, Debug, PartialEq, Eq)]
enum Place {
    /// A file is made there, or replaced.
    File { path: PathBuf, replaces: bool },
    /// The process's own standard output or standard error.
    Standard(Standard),
    /// A FIFO or a character device.
    Special(PathBuf),
    /// A link of `/proc` that names an open file.
    Open(PathBuf),
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Standard {
    Output,
    Error,
}

impl Target {
    /// Finds what `given` leads to; `-` is standard output.
    ///
    /// # Errors
    /// When it leads to what is never written to, or its directory cannot be looked at.
    pub fn find(given: &Path) -> Result<Self, TargetError> {
        let at = |place| Ok(Self { given: given.to_path_buf(), place });
        if given == Path::new("-") {
            return at(Place::Standard(Standard::Output));
        }
        let refused = |reason| TargetError::Refused { path: given.to_path_buf(), reason };
        if only_a_directory(given) {
            return Err(refused(Refusal::Directory));
        }
        let Found { path, what } = follow(given)?;
        let place = match what {
            What::NoDirectory => {
                let missing = Errno::NOENT.into();
                return Err(IoError::at("open", parent(&path))(missing).into());
            }
            What::Nothing if only_a_directory(&path) => return Err(refused(Refusal::Directory)),
            What::Nothing => Place::File { path, replaces: false },
            What::ProcLink => opened(path).map_err(refused)?,
            What::Standing { kind, foreign } => match kind {
                FileType::RegularFile if is_mount_point(&path) => {
                    return Err(refused(Refusal::MountPoint));
                }
                FileType::RegularFile => Place::File { path, replaces: true },
                FileType::Fifo if foreign => return Err(refused(Refusal::ForeignFifo)),
                FileType::Fifo | FileType::CharacterDevice => Place::Special(path),
                FileType::Directory => return Err(refused(Refusal::Directory)),
                FileType::BlockDevice => return Err(refused(Refusal::BlockDevice)),
                _ => return Err(refused(Refusal::Socket)),
            },
        };
        at(place)
    }

    /// The name as it was given.
    pub fn given(&self) -> &Path {
        &self.given
    }

    /// The file that is made or replaced, links followed; `None` for a stream.
    pub fn file(&self) -> Option<&Path> {
        match &self.place {
            Place::File { path, .. } => Some(path),
            _ => None,
        }
    }

    /// As [`Target::file`], for what has to be a file.
    ///
    /// # Errors
    /// When it is a stream.
    pub fn require_file(&self) -> Result<&Path, TargetError> {
        self.file().ok_or_else(|| self.refused(Refusal::Stream))
    }

    /// Whether a file stands there that will be replaced.
    pub fn replaces(&self) -> bool {
        matches!(self.place, Place::File { replaces: true, .. })
    }

    /// Whether it is written to as a stream: standard output, a FIFO, a device, an open descriptor.
    pub fn is_stream(&self) -> bool {
        self.file().is_none()
    }

    /// Whether what is written goes where standard output goes.
    pub fn is_standard_output(&self) -> bool {
        match &self.place {
            Place::File { .. } => false,
            Place::Standard(Standard::Output) => true,
            Place::Standard(Standard::Error) => false,
            Place::Special(path) | Place::Open(path) => {
                let own = rustix::fs::fstat(io::stdout());
                let same = |own: Stat, other: &fs::Metadata| {
                    // A device may have several names.
                    let device = other.file_type().is_char_device()
                        && FileType::from_raw_mode(own.st_mode) == FileType::CharacterDevice
                        && own.st_rdev == other.rdev();
                    device || (own.st_dev, own.st_ino) == (other.dev(), other.ino())
                };
                matches!((own, fs::metadata(path)), (Ok(own), Ok(other)) if same(own, &other))
            }
        }
    }

    /// Refuses what could not be written, without writing anything.
    ///
    /// # Errors
    /// When this user may not write there, or the filesystem is read-only.
    pub fn check_writable(&self) -> Result<(), TargetError> {
        match &self.place {
            Place::File { path, replaces } => {
                let name = path.file_name().unwrap_or_default();
                if name.len().saturating_add(NAME_ROOM) > NAME_MAX {
                    return Err(self.refused(Refusal::LongName));
                }
                check_directory(parent(path))?;
                if *replaces && !may_replace(path)? {
                    return Err(self.refused(Refusal::ForeignFile));
                }
                Ok(())
            }
            Place::Standard(_) => Ok(()),
            Place::Special(path) | Place::Open(path) => {
                let access = rustix::fs::access(path, Access::WRITE_OK);
                Ok(access.map_err(|errno| IoError::at("open", path)(errno.into()))?)
            }
        }
    }

    /// Opens the stream; `None` for a file, which a [`Stage`](super::Stage) makes. Of a FIFO it waits for a reader, and
    /// asks `interrupted` meanwhile whether to give up.
    ///
    /// # Errors
    /// When the system refuses, and when what stands there changed.
    pub fn open(&self, interrupted: &dyn Fn() -> bool) -> Result<Option<File>, TargetError> {
        let own = |fd: io::Result<OwnedFd>| -> Result<Option<File>, TargetError> {
            Ok(Some(File::from(fd.map_err(IoError::at("open", &self.given))?)))
        };
        match &self.place {
            Place::File { .. } => Ok(None),
            Place::Standard(Standard::Output) => own(io::stdout().as_fd().try_clone_to_owned()),
            Place::Standard(Standard::Error) => own(io::stderr().as_fd().try_clone_to_owned()),
            Place::Special(path) => self.open_path(path, OFlags::NOFOLLOW, interrupted).map(Some),
            Place::Open(path) => {
                let mut file = self.open_path(path, OFlags::empty(), interrupted)?;
                go_on(path, &mut file).map_err(IoError::at("open", path))?;
                Ok(Some(file))
            }
        }
    }

    fn open_path(
        &self,
        path: &Path,
        how: OFlags,
        interrupted: &dyn Fn() -> bool,
    ) -> Result<File, TargetError> {
        // A FIFO without a reader would block, and no signal would end that.
        let flags = OFlags::WRONLY | OFlags::NOCTTY | OFlags::CLOEXEC | OFlags::NONBLOCK | how;
        let file = loop {
            match rustix::fs::open(path, flags, Mode::empty()) {
                Ok(fd) => break File::from(fd),
                Err(Errno::NXIO) if is_fifo(path) => {
                    if interrupted() {
                        return Err(Interrupted.into());
                    }
                    std::thread::sleep(WAIT);
                }
                Err(errno) => return Err(IoError::at("open", path)(errno.into()).into()),
            }
        };
        let at = |errno: Errno| IoError::at("open", path)(errno.into());
        let stat = rustix::fs::fstat(&file).map_err(at)?;
        match FileType::from_raw_mode(stat.st_mode) {
            FileType::Fifo | FileType::CharacterDevice => {}
            FileType::RegularFile if matches!(self.place, Place::Open(_)) => {}
            _ => return Err(self.refused(Refusal::Changed)),
        }
        let flags = rustix::fs::fcntl_getfl(&file).map_err(at)?;
        rustix::fs::fcntl_setfl(&file, flags - OFlags::NONBLOCK).map_err(at)?;
        Ok(file)
    }

    fn refused(&self, reason: Refusal) -> TargetError {
        TargetError::Refused { path: self.given.clone(), reason }
    }
}

/// Refuses a target of which nothing can be made because of the directory it will stand in: directories that do not
/// exist yet are made in the nearest one that does.
///
/// # Errors
/// When that is no directory, or cannot be written.
pub fn check_parent(target: &Path) -> Result<(), IoError> {
    let mut above = parent(target);
    while fs::metadata(above).is_err_and(|error| error.kind() == io::ErrorKind::NotFound) {
        let next = parent(above);
        if next == above {
            break;
        }
        above = next;
    }
    check_directory(above)
}

/// Whether files can be made in `directory`.
fn check_directory(directory: &Path) -> Result<(), IoError> {
    let at = IoError::at("write into", directory);
    match fs::metadata(directory) {
        Err(error) => return Err(at(error)),
        Ok(metadata) if !metadata.is_dir() => return Err(at(Errno::NOTDIR.into())),
        Ok(_) => {}
    }
    rustix::fs::access(directory, Access::WRITE_OK | Access::EXEC_OK)
        .map_err(|errno| at(errno.into()))
}

/// Whether this user may rename something over the file at `path`: in a sticky directory not everybody may.
fn may_replace(path: &Path) -> Result<bool, IoError> {
    let directory = parent(path);
    let above = fs::metadata(directory).map_err(IoError::at("open", directory))?;
    let file = fs::symlink_metadata(path).map_err(IoError::at("open", path))?;
    let own = own_uid();
    Ok(above.mode() & 0o1000 == 0 || own == 0 || [above.uid(), file.uid()].contains(&own))
}

fn is_fifo(path: &Path) -> bool {
    fs::metadata(path).is_ok_and(|metadata| metadata.file_type().is_fifo())
}

/// What a link of `/proc` names.
fn opened(path: PathBuf) -> Result<Place, Refusal> {
    let standard = match path.file_name().map(OsStr::as_bytes) {
        Some(b"1") => Some(Standard::Output),
        Some(b"2") => Some(Standard::Error),
        _ => None,
    };
    let own = Path::new("/proc").join(std::process::id().to_string());
    let is_own = |at: PathBuf| at.starts_with(&own) && at.ends_with("fd");
    // A socket cannot be opened a second time, and can be written to all the same.
    if let Some(standard) = standard
        && fs::canonicalize(parent(&path)).is_ok_and(is_own)
    {
        return Ok(Place::Standard(standard));
    }
    let kind = fs::metadata(&path).map_err(|_| Refusal::NotOpen)?.file_type();
    if kind.is_dir() {
        Err(Refusal::Directory)
    } else if kind.is_block_device() {
        Err(Refusal::BlockDevice)
    } else if kind.is_socket() {
        Err(Refusal::Socket)
    } else {
        Ok(Place::Open(path))
    }
}

/// Makes `file`, opened anew through the link at `path`, write as the descriptor does that the link names: behind what
/// was written through it, and only where it was opened for writing.
fn go_on(path: &Path, file: &mut File) -> io::Result<()> {
    let number = path.file_name().unwrap_or_default();
    let facts = fs::canonicalize(parent(path))?.with_file_name("fdinfo").join(number);
    // Not every system shows them.
    let Ok(facts) = fs::read_to_string(facts) else { return Ok(()) };
    let fact = |name: &str| facts.lines().find_map(|line| line.strip_prefix(name)).map(str::trim);
    let flags = fact("flags:").and_then(|flags| u32::from_str_radix(flags, 8).ok());
    let flags = OFlags::from_bits_retain(flags.unwrap_or_else(|| OFlags::WRONLY.bits()));
    if flags & OFlags::RWMODE == OFlags::RDONLY {
        return Err(Errno::BADF.into());
    }
    if !file.metadata()?.is_file() {
        return Ok(());
    }
    if flags.contains(OFlags::APPEND) {
        let own = rustix::fs::fcntl_getfl(&*file)?;
        return Ok(rustix::fs::fcntl_setfl(file, own | OFlags::APPEND)?);
    }
    let position = fact("pos:").and_then(|position| position.parse().ok()).unwrap_or(0);
    file.seek(SeekFrom::Start(position)).map(|_| ())
}

#[cfg(test)]
mod tests {
    use std::{
        io::{Read as _, Write as _},
        os::unix::{
            fs::{PermissionsExt as _, chown, symlink},
            net::UnixListener,
        },
    };

    use super::*;
    use crate::staging::{Stage, followed, remains};

    /// Makes a special file; `false`, said aloud, where this user may not.
    fn node(path: &Path, kind: FileType, major: u32, minor: u32) -> bool {
        let device = rustix::fs::makedev(major, minor);
        let mode = Mode::from_raw_mode(0o600);
        let made = rustix::fs::mknodat(rustix::fs::CWD, path, kind, mode, device);
        if made.is_err() {
            eprintln!("SKIPPED: a {kind:?} cannot be made here: {made:?}");
        }
        made.is_ok()
    }

    fn reason(path: &Path) -> Refusal {
        match Target::find(path) {
            Err(TargetError::Refused { reason, .. }) => reason,
            other => panic!("{}: {other:?}", path.display()),
        }
    }

    fn as_file(path: &Path) -> (PathBuf, bool) {
        let target = Target::find(path).unwrap();
        (target.require_file().unwrap().to_path_buf(), target.replaces())
    }

    #[test]
    fn a_link_is_followed_and_stays() {
        let dir = tempfile::tempdir().unwrap();
        let at = |name: &str| dir.path().join(name);
        fs::create_dir(at("sub")).unwrap();
        fs::write(at("sub/file"), "old").unwrap();
        symlink("sub/file", at("relative")).unwrap();
        symlink(at("relative"), at("absolute")).unwrap();
        symlink("sub/none", at("dangling")).unwrap();
        symlink("sub", at("directory")).unwrap();
        symlink("loop", at("loop")).unwrap();
        symlink("sub/..", at("up")).unwrap();
        assert_eq!(as_file(&at("sub/file")), (at("sub/file"), true));
        assert_eq!(as_file(&at("absolute")), (at("sub/file"), true));
        assert_eq!(as_file(&at("directory/new")), (at("directory/new"), false));
        assert_eq!(as_file(&at("dangling")), (at("sub/none"), false));
        for name in ["directory", "up", "sub", "sub/", "sub/.", "sub/..", "new/", ""] {
            let path = if name.is_empty() { PathBuf::new() } else { at(name) };
            assert_eq!(reason(&path), Refusal::Directory, "{name}");
        }
        assert_eq!(reason(&at("loop")), Refusal::TooManyLinks);
        assert!(matches!(Target::find(&at("none/file")), Err(TargetError::Io(_))));

        for (name, real) in [("absolute", "sub/file"), ("dangling", "sub/none")] {
            let stage = Stage::file(&at(name)).unwrap();
            stage.handle().write_all(b"new").unwrap();
            stage.commit().unwrap();
            assert!(at(name).is_symlink() && !at(real).is_symlink(), "{name}");
            assert_eq!(fs::read(at(real)).unwrap(), b"new");
        }
        assert_eq!(followed(&at("directory/")).unwrap(), at("sub"));
        assert_eq!(followed(&at("dangling")).unwrap(), at("sub/none"));
        assert_eq!(followed(&at("none/at/all")).unwrap(), at("none/at/all"));
        symlink("none/at/all", at("far")).unwrap();
        assert_eq!(followed(&at("far")).unwrap(), at("none/at/all"));
        assert!(matches!(Target::find(&at("far")), Err(TargetError::Io(_))));
    }

    #[test]
    fn nothing_but_a_file_is_replaced() {
        let dir = tempfile::tempdir().unwrap();
        let at = |name: &str| dir.path().join(name);
        let _listener = UnixListener::bind(at("socket")).unwrap();
        assert_eq!(reason(&at("socket")), Refusal::Socket);
        if node(&at("block"), FileType::BlockDevice, 7, 200) {
            assert_eq!(reason(&at("block")), Refusal::BlockDevice);
        }
        assert!(node(&at("fifo"), FileType::Fifo, 0, 0));
        let mut streams = vec![at("fifo")];
        if node(&at("null"), FileType::CharacterDevice, 1, 3) {
            streams.push(at("null"));
        }
        symlink(at("fifo"), at("link")).unwrap();
        streams.extend([at("link"), "-".into(), "/dev/stdout".into(), "/dev/fd/2".into()]);
        for path in streams {
            let target = Target::find(&path).unwrap();
            assert!(target.is_stream() && !target.replaces(), "{}", path.display());
            assert!(target.check_writable().is_ok());
            let refused = Stage::file(&path).unwrap_err();
            let TargetError::Refused { reason, .. } = refused else { panic!("{refused}") };
            assert_eq!(reason, Refusal::Stream, "{}", path.display());
        }
        assert_eq!(reason(Path::new("/dev/fd/999")), Refusal::NotOpen);

        // What comes to stand there while the work goes on is not replaced either.
        for begun_over_a_file in [false, true] {
            let path = at("late");
            if begun_over_a_file {
                fs::write(&path, "old").unwrap();
            }
            let stage = Stage::file(&path).unwrap();
            let _ = fs::remove_file(&path);
            assert!(node(&path, FileType::Fifo, 0, 0));
            assert!(stage.commit().is_err());
            assert!(is_fifo(&path) && remains(&path).is_empty());
            fs::remove_file(&path).unwrap();
        }
    }

    #[test]
    fn a_stream_is_written_to_where_it_is() {
        let dir = tempfile::tempdir().unwrap();
        let fifo = dir.path().join("fifo");
        assert!(node(&fifo, FileType::Fifo, 0, 0));
        let target = Target::find(&fifo).unwrap();
        assert!(matches!(target.open(&|| true), Err(TargetError::Interrupted(_))));
        let reader = std::thread::spawn({
            let fifo = fifo.clone();
            move || fs::read(fifo).unwrap()
        });
        // More than a pipe holds: the descriptor blocks as any other.
        let bytes = vec![7; 1 << 20];
        target.open(&|| false).unwrap().unwrap().write_all(&bytes).unwrap();
        assert!(reader.join().unwrap() == bytes && is_fifo(&fifo));

        // An open descriptor: behind what was written through it.
        let path = dir.path().join("file");
        for append in [false, true] {
            let mut file =
                File::options().create(true).append(append).write(true).open(&path).unwrap();
            file.set_len(0).unwrap();
            file.write_all(b"before ").unwrap();
            let number = std::os::fd::AsRawFd::as_raw_fd(&file);
            let target = Target::find(Path::new(&format!("/dev/fd/{number}"))).unwrap();
            target.open(&|| false).unwrap().unwrap().write_all(b"after").unwrap();
            assert_eq!(fs::read(&path).unwrap(), b"before after", "{append}");
        }
        let mut file = File::open(&path).unwrap();
        let number = std::os::fd::AsRawFd::as_raw_fd(&file);
        let target = Target::find(Path::new(&format!("/proc/self/fd/{number}"))).unwrap();
        assert!(target.open(&|| false).is_err(), "it is open for reading");
        let mut text = String::new();
        file.read_to_string(&mut text).unwrap();
        assert_eq!(text, "before after");
    }

    #[test]
    fn links_and_fifos_of_others_are_left_alone_where_everybody_writes() {
        const NOBODY: u32 = 65534;
        let dir = tempfile::tempdir().unwrap();
        let shared = dir.path().join("shared");
        fs::create_dir(&shared).unwrap();
        let (victim, link, fifo) =
            (dir.path().join("victim"), shared.join("link"), shared.join("fifo"));
        fs::write(&victim, "precious").unwrap();
        symlink(&victim, &link).unwrap();
        assert!(node(&fifo, FileType::Fifo, 0, 0));
        let behind = dir.path().join("behind");
        symlink(&link, &behind).unwrap();
        if std::os::unix::fs::lchown(&link, Some(NOBODY), None).is_err() {
            eprintln!("SKIPPED: this user cannot give files away");
            return;
        }
        chown(&fifo, Some(NOBODY), None).unwrap();
        for (mode, owner, allowed) in
            [(0o1777, 0, false), (0o777, 0, true), (0o1775, 0, true), (0o1777, NOBODY, true)]
        {
            chown(&shared, Some(owner), None).unwrap();
            fs::set_permissions(&shared, fs::Permissions::from_mode(mode)).unwrap();
            if allowed {
                assert_eq!(as_file(&link), (victim.clone(), true), "{mode:o}");
                assert!(Target::find(&fifo).unwrap().is_stream());
                continue;
            }
            assert_eq!(reason(&link), Refusal::ForeignLink);
            assert_eq!(reason(&behind), Refusal::ForeignLink);
            assert_eq!(reason(&fifo), Refusal::ForeignFifo);
            assert!(Stage::file(&link).is_err() && followed(&link).is_err());
            assert_eq!(fs::read(&victim).unwrap(), b"precious");
        }
    }

    #[test]
    fn what_cannot_be_written_is_found_without_writing() {
        let dir = tempfile::tempdir().unwrap();
        let at = |name: &str| dir.path().join(name);
        fs::write(at("file"), "").unwrap();
        let check = |path: &Path| Target::find(path).and_then(|target| target.check_writable());
        check(&at("new")).unwrap();
        check(&at("file")).unwrap();
        assert!(check(&at("file/new")).is_err() && check_parent(&at("file/deep/new")).is_err());
        check_parent(&at("deep/er/new")).unwrap();
        let long = at(&"x".repeat(NAME_MAX - NAME_ROOM + 1));
        assert!(matches!(
            check(&long),
            Err(TargetError::Refused { reason: Refusal::LongName, .. })
        ));
        check(&at(&"x".repeat(NAME_MAX - NAME_ROOM))).unwrap();
        // Nothing can be made in it, not even by root.
        assert!(check(Path::new("/proc/new")).is_err());
        assert_eq!(fs::read_dir(dir.path()).unwrap().count(), 1);
    }
}
