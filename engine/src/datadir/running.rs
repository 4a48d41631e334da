//! Whether a server has a member's files open.

use std::{fs, os::unix::fs::MetadataExt, path::Path};

use super::MemberFiles;

/// Whether a process holds a lock on the db or a segment, as a running server does; `None` when the system does
/// not tell. Nothing is locked or opened to find out.
pub fn is_running(files: &MemberFiles) -> Option<bool> {
    let locks = fs::read_to_string("/proc/locks").ok()?;
    let segments = files.segments.iter().map(|(_, path)| path.as_path());
    Some(segments.chain([files.db.as_path()]).any(|path| is_locked(&locks, path)))
}

fn is_locked(locks: &str, path: &Path) -> bool {
    let Ok(metadata) = path.metadata() else { return false };
    let (major, minor) = (rustix::fs::major(metadata.dev()), rustix::fs::minor(metadata.dev()));
    let wanted = format!("{major:02x}:{minor:02x}:{}", metadata.ino());
    // 1: FLOCK  ADVISORY  WRITE 4711 08:01:1234 0 EOF
    locks.lines().any(|line| line.split_whitespace().any(|field| field == wanted))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_lock_on_the_db_is_seen_and_its_end_too() {
        let dir = tempfile::tempdir().unwrap();
        let db = dir.path().join("db");
        let file = fs::File::create(&db).unwrap();
        let files = MemberFiles { db, ..MemberFiles::default() };
        assert_eq!(is_running(&files), Some(false));
        rustix::fs::flock(&file, rustix::fs::FlockOperation::LockExclusive).unwrap();
        assert_eq!(is_running(&files), Some(true));
        drop(file);
        assert_eq!(is_running(&files), Some(false));
    }
}
