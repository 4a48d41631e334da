//! Where a name leads: links followed as the kernel follows them under `protected_symlinks`, whatever this host has set.
//!
//! Links of `/proc` name an open file and no path: they are never resolved.

use std::{
    ffi::{OsStr, OsString},
    fs, io,
    os::unix::ffi::{OsStrExt as _, OsStringExt as _},
    path::{Component, Path, PathBuf},
};

use rustix::{
    fs::{AtFlags, CWD, FileType, Mode, OFlags, PROC_SUPER_MAGIC},
    io::Errno,
};

use super::{IoError, Refusal, TargetError, parent};

/// Links the kernel follows before it gives up.
const LINKS: usize = 40;
/// A directory in which users do not touch each other's files: sticky and world-writable.
const SHARED: u32 = 0o1002;

/// Where a directory's name leads, links followed as `Target::find` follows them. What it leads to need not exist,
/// and need not be a directory. A name that is no link stays as it is.
///
/// # Errors
/// When a link must not be followed, or a directory on the way cannot be looked at.
pub fn followed(directory: &Path) -> Result<PathBuf, TargetError> {
    // With a slash at its end the system would look behind the link.
    let plain: PathBuf = directory.components().collect();
    match fs::symlink_metadata(&plain) {
        Ok(metadata) if metadata.is_symlink() => Ok(follow(&plain)?.path),
        // What cannot be looked at is for who makes it to say.
        _ => Ok(directory.to_path_buf()),
    }
}

/// Whether a name cannot be a file's, whatever stands there.
pub(super) fn only_a_directory(path: &Path) -> bool {
    let bytes = path.as_os_str().as_bytes();
    let last = path.components().next_back();
    bytes.ends_with(b"/") || bytes.ends_with(b"/.") || !matches!(last, Some(Component::Normal(_)))
}

/// What a name leads to.
pub(super) struct Found {
    pub(super) path: PathBuf,
    pub(super) what: What,
}

pub(super) enum What {
    /// Nothing, and no directory that it could be made in.
    NoDirectory,
    Nothing,
    /// A link of `/proc`, which names an open file.
    ProcLink,
    /// Something of this kind; of a foreign owner in a directory that all users share.
    Standing {
        kind: FileType,
        foreign: bool,
    },
}

/// Follows `given` to what is no link, or to a link of `/proc`. The directory of each link is held open while the link
/// is judged and read, so that both are of the same one.
pub(super) fn follow(given: &Path) -> Result<Found, TargetError> {
    let refused = |reason| TargetError::Refused { path: given.to_path_buf(), reason };
    let mut path = given.to_path_buf();
    for _ in 0..=LINKS {
        let Some(name) = path.file_name().map(OsStr::to_os_string) else {
            return Err(refused(Refusal::Directory));
        };
        let above = parent(&path).to_path_buf();
        let at = |errno: Errno| IoError::at("open", &above)(errno.into());
        let flags = OFlags::PATH | OFlags::DIRECTORY | OFlags::CLOEXEC;
        let directory = match rustix::fs::openat(CWD, &above, flags, Mode::empty()) {
            Err(Errno::NOENT) => return Ok(Found { path, what: What::NoDirectory }),
            other => other.map_err(at)?,
        };
        let is_proc = rustix::fs::fstatfs(&directory).is_ok_and(|on| on.f_type == PROC_SUPER_MAGIC);
        let stat = match rustix::fs::statat(&directory, &name, AtFlags::SYMLINK_NOFOLLOW) {
            Ok(stat) => stat,
            Err(Errno::NOENT) if is_proc => return Err(refused(Refusal::NotOpen)),
            Err(Errno::NOENT) => return Ok(Found { path, what: What::Nothing }),
            Err(errno) => return Err(IoError::at("open", &path)(errno.into()).into()),
        };
        let holder = rustix::fs::fstat(&directory).map_err(at)?;
        let foreign = !trusted(own_uid(), stat.st_uid, holder.st_uid, holder.st_mode);
        let kind = FileType::from_raw_mode(stat.st_mode);
        if kind != FileType::Symlink {
            return Ok(Found { path, what: What::Standing { kind, foreign } });
        }
        if is_proc {
            return Ok(Found { path, what: What::ProcLink });
        }
        if foreign {
            return Err(refused(Refusal::ForeignLink));
        }
        let link = rustix::fs::readlinkat(&directory, &name, Vec::new())
            .map_err(|errno| IoError::at("read the link", &path)(errno.into()))?;
        let link = PathBuf::from(OsString::from_vec(link.into_bytes()));
        path = above.join(&link);
        if only_a_directory(&link) {
            // Such as `..`: there is no name to look up in a directory above it.
            let what = match fs::metadata(&path) {
                Ok(_) => What::Standing { kind: FileType::Directory, foreign: false },
                Err(error) if error.kind() == io::ErrorKind::NotFound => What::Nothing,
                Err(error) => return Err(IoError::at("open", &path)(error).into()),
            };
            return Ok(Found { path, what });
        }
    }
    Err(refused(Refusal::TooManyLinks))
}

/// Whether `user` may use a link or FIFO of `owner` in a directory of `holder` with `mode`. Source: Linux
/// `fs/namei.c`, `may_follow_link` and `may_create_in_sticky`.
fn trusted(user: u32, owner: u32, holder: u32, mode: u32) -> bool {
    mode & SHARED != SHARED || owner == user || owner == holder
}

pub(super) fn own_uid() -> u32 {
    rustix::process::geteuid().as_raw()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_kernels_rule_is_kept() {
        // Sticky and world-writable, link of neither the follower nor the directory's owner: refused.
        assert!(!trusted(1, 2, 0, 0o41777));
        for (user, owner, holder, mode) in
            [(2, 2, 0, 0o41777), (1, 2, 2, 0o41777), (1, 2, 0, 0o40777), (1, 2, 0, 0o41770)]
        {
            assert!(trusted(user, owner, holder, mode), "{user} {owner} {holder} {mode:o}");
        }
    }
}
