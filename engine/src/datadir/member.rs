//! The files of a member.

use std::{
    fs,
    path::{Path, PathBuf},
};

use super::Error;
use crate::{snapfile::SnapfileName, staging::IoError, wal::SegmentName};

/// Which files make up a member.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct MemberFiles {
    /// The member dir.
    pub member: PathBuf,
    /// Its db.
    pub db: PathBuf,
    /// Where its log is.
    pub wal_dir: PathBuf,
    /// The log's segments, in order.
    pub segments: Vec<(SegmentName, PathBuf)>,
    /// Snapfiles, the newest first.
    pub snapfiles: Vec<(SnapfileName, PathBuf)>,
    /// Databases received from a leader and not taken over yet, with the raft index each contains, in order.
    pub received: Vec<(u64, PathBuf)>,
    /// What servers left behind: broken files set aside, parts of a defragmentation or of something received.
    pub leftovers: Vec<PathBuf>,
}

impl MemberFiles {
    /// Lists the member dir `member`, whose log is in `wal_dir` or, as usual, in its `wal`. A log that is not
    /// there has no segments.
    ///
    /// Where `wal_dir` is the `wal` of another member dir, the snapfiles are that member's: a log starts from its own.
    ///
    /// # Errors
    /// When a directory cannot be read.
    pub fn list(member: &Path, wal_dir: Option<&Path>) -> Result<Self, Error> {
        let snap = member.join("snap");
        let wal_dir = wal_dir.map_or_else(|| member.join("wal"), Path::to_path_buf);
        let mut files =
            Self { member: member.to_path_buf(), db: snap.join("db"), wal_dir, ..Self::default() };
        let of_log = files.wal_dir.parent().map(|other| other.join("snap"));
        let of_log = of_log.filter(|other| {
            files.wal_dir.file_name() == Some("wal".as_ref()) && *other != snap && other.is_dir()
        });
        for (name, path) in of_log.as_deref().map(entries).transpose()?.unwrap_or_default() {
            files.snapfiles.extend(SnapfileName::parse(&name).map(|snapfile| (snapfile, path)));
        }
        for (name, path) in entries(&snap)? {
            if let Some(snapfile) = SnapfileName::parse(&name) {
                files.snapfiles.extend(of_log.is_none().then_some((snapfile, path)));
            } else if let Some(index) = received(&name) {
                files.received.push((index, path));
            } else if name != "db" {
                files.leftovers.push(path);
            }
        }
        for (name, path) in entries(&files.wal_dir)? {
            match SegmentName::parse(&name) {
                Some(segment) => files.segments.push((segment, path)),
                // `0.tmp` and `1.tmp` are the next segments, made in advance by every server.
                None if matches!(name.as_str(), "0.tmp" | "1.tmp") => {}
                None => files.leftovers.push(path),
            }
        }
        for (name, path) in entries(member)? {
            if name != "snap" && name != "wal" {
                files.leftovers.push(path);
            }
        }
        files.segments.sort();
        files.snapfiles.sort();
        files.snapfiles.reverse();
        files.received.sort();
        files.leftovers.sort();
        Ok(files)
    }

    /// Whether there is a log, a snapfile, or a db that a leader sent.
    pub fn is_some(&self) -> bool {
        !(self.segments.is_empty() && self.snapfiles.is_empty() && self.received.is_empty())
    }
}

/// Bytes of a file, or of all files below a directory; symbolic links are not followed.
pub fn size_bytes(path: &Path) -> u64 {
    let Ok(metadata) = path.symlink_metadata() else { return 0 };
    if !metadata.is_dir() {
        return metadata.len();
    }
    let below = fs::read_dir(path).into_iter().flatten().flatten();
    below.map(|entry| size_bytes(&entry.path())).fold(0, u64::saturating_add)
}

/// Names and paths in a directory; none when there is no such directory.
fn entries(directory: &Path) -> Result<Vec<(String, PathBuf)>, Error> {
    let at = |source| Error::Io(IoError::at("list", directory)(source));
    let listed = match fs::read_dir(directory) {
        Ok(listed) => listed,
        Err(error)
            if matches!(
                error.kind(),
                std::io::ErrorKind::NotFound | std::io::ErrorKind::NotADirectory
            ) =>
        {
            return Ok(Vec::new());
        }
        Err(error) => return Err(at(error)),
    };
    let mut entries = Vec::new();
    for entry in listed {
        let entry = entry.map_err(at)?;
        entries.push((entry.file_name().to_string_lossy().into_owned(), entry.path()));
    }
    Ok(entries)
}

/// The raft index in the name of a db received from a leader.
fn received(name: &str) -> Option<u64> {
    let digits = name.strip_suffix(".snap.db")?;
    let hex = digits.bytes().all(|byte| matches!(byte, b'0'..=b'9' | b'a'..=b'f'));
    if digits.len() == 16 && hex { u64::from_str_radix(digits, 16).ok() } else { None }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_file_has_its_place() {
        let dir = tempfile::tempdir().unwrap();
        let (snap, wal) = (dir.path().join("snap"), dir.path().join("wal"));
        fs::create_dir_all(&snap).unwrap();
        fs::create_dir_all(&wal).unwrap();
        for name in [
            "db",
            "0000000000000002-0000000000000064.snap",
            "0000000000000001-00000000000000c8.snap",
            "00000000000000c8.snap.db",
            "db.tmp.123",
            "0000000000000001-0000000000000001.snap.broken",
        ] {
            fs::write(snap.join(name), b"").unwrap();
        }
        for name in [
            "0000000000000001-0000000000000040.wal",
            "0000000000000000-0000000000000000.wal",
            "0.tmp",
            "x.wal",
        ] {
            fs::write(wal.join(name), b"").unwrap();
        }
        let files = MemberFiles::list(dir.path(), None).unwrap();
        let names = |paths: Vec<&PathBuf>| -> Vec<String> {
            paths
                .iter()
                .map(|path| path.file_name().unwrap().to_string_lossy().into_owned())
                .collect()
        };
        let segments: Vec<u64> = files.segments.iter().map(|(name, _)| name.sequence).collect();
        assert_eq!(segments, [0, 1]);
        assert_eq!(files.snapfiles[0].0, SnapfileName { term: 2, index: 0x64 });
        assert_eq!(files.received[0].0, 0xc8);
        assert_eq!(
            names(files.leftovers.iter().collect()),
            ["0000000000000001-0000000000000001.snap.broken", "db.tmp.123", "x.wal"]
        );
        let elsewhere = MemberFiles::list(dir.path(), Some(Path::new("/nonexistent"))).unwrap();
        assert_eq!(elsewhere.segments, []);
    }
}
