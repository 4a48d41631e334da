//! What is near a path that names nothing of etcd's: one level off is the commonest mistake.

use std::{
    collections::VecDeque,
    fmt,
    fs::{self, File, OpenOptions},
    io::Read as _,
    os::unix::fs::OpenOptionsExt as _,
    path::{Path, PathBuf},
    time::SystemTime,
};

use rustix::fs::OFlags;

use super::{Foreign, Kind, foreign};
use crate::{bolt, raw::Raw, wal::SegmentName};

/// Directories below the path that are looked into.
const DEPTH: usize = 4;
/// Entries of directories that are looked at.
const ENTRIES: usize = 4096;
/// Files whose beginning is read, and bytes of each: two meta pages of 64 KiB.
const FILES: usize = 512;
const HEAD: u64 = 128 << 10;
/// Directories above the path that are looked at.
const ABOVE: usize = 3;
/// Things of a kind that are named.
const NAMED: usize = 3;

/// What a path near the one that was named is.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Near {
    /// A data dir or a member dir.
    Member(Kind),
    /// A db file or a snapshot.
    Database,
    /// A file to be unpacked first, or something that is mistaken for a database.
    Foreign(Foreign),
}

/// What was found near a path.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Nearby {
    /// The data dir or member dir that the path is in; then nothing else was looked for.
    pub within: Option<(PathBuf, Kind)>,
    /// What the path contains: members first, then databases, then the rest; of each the newest first.
    pub found: Vec<(PathBuf, Near)>,
    /// Directories that this user may not list.
    pub denied: Vec<PathBuf>,
    /// Whether the search was given up before its end: there is too much.
    pub cut_short: bool,
}

impl Nearby {
    /// Looks around `path`, a directory: for the member it is part of, then for what it contains, at most four levels
    /// deep. Symlinks to directories are not followed.
    pub fn of(path: &Path) -> Self {
        if let Some(within) = around(path) {
            return Self { within: Some(within), ..Self::default() };
        }
        let mut search = Search::default();
        search.run(path);
        search.finish()
    }

    /// What was most likely meant: the member around the path, the only one in it, or else the newest of databases when
    /// there is no member.
    pub fn meant(&self) -> Option<&Path> {
        if let Some((path, _)) = &self.within {
            return Some(path);
        }
        let mut members = self.paths(|near| matches!(near, Near::Member(_)));
        match (members.next(), members.next()) {
            (Some(only), None) => Some(only),
            (Some(_), Some(_)) => None,
            (None, _) => self.paths(|near| *near == Near::Database).next(),
        }
    }

    /// Whether there is nothing to say.
    pub fn is_empty(&self) -> bool {
        *self == Self::default()
    }

    fn paths(&self, of: impl Fn(&Near) -> bool) -> impl Iterator<Item = &Path> {
        self.found.iter().filter(move |(_, near)| of(near)).map(|(path, _)| path.as_path())
    }
}

impl fmt::Display for Nearby {
    /// Sentences without a beginning, such as "it contains the data dir /a"; empty when nothing was found.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let mut parts = Vec::new();
        if let Some((path, kind)) = &self.within {
            parts.push(format!("it is part of the {} {}", dir(*kind), path.display()));
        }
        let members: Vec<_> = self.paths(|near| matches!(near, Near::Member(_))).collect();
        match members.as_slice() {
            [] => {}
            [only] => parts.push(format!("it contains the data dir {}", only.display())),
            several => {
                parts.push(format!("it contains {} data dirs: {}", several.len(), list(several)))
            }
        }
        let databases: Vec<_> = self.paths(|near| *near == Near::Database).collect();
        match databases.as_slice() {
            [] => {}
            [only] => parts.push(format!("it contains the snapshot or db file {}", only.display())),
            [newest, ..] => parts.push(format!(
                "it contains {} snapshots or db files, the newest is {}",
                databases.len(),
                newest.display()
            )),
        }
        let mut foreign = self.found.iter().filter_map(|(path, near)| match near {
            Near::Foreign(foreign) => Some((path, foreign)),
            _ => None,
        });
        if let (true, Some((path, newest))) = (parts.is_empty(), foreign.next()) {
            let more = match foreign.count() {
                0 => String::new(),
                more => format!(" ({more} more of such files)"),
            };
            parts.push(format!("in it {}{more}", newest.sentence(path, None)));
        }
        match self.denied.as_slice() {
            [] => {}
            [only] => {
                parts.push(format!("permission denied: this user may not list {}", only.display()))
            }
            several => {
                parts.push(format!("permission denied: this user may not list {}", list(several)))
            }
        }
        if self.cut_short {
            parts.push("there is too much in it to look at everything".to_owned());
        }
        f.write_str(&parts.join("; "))
    }
}

fn dir(kind: Kind) -> &'static str {
    if kind == Kind::MemberDir { "member dir" } else { "data dir" }
}

fn list<P: AsRef<Path>>(paths: &[P]) -> String {
    let named: Vec<String> =
        paths.iter().take(NAMED).map(|path| path.as_ref().display().to_string()).collect();
    match paths.len() - named.len() {
        0 => named.join(", "),
        more => format!("{} and {more} more", named.join(", ")),
    }
}

/// The data dir, or else the member dir, that `path` is in.
pub fn data_dir_of(path: &Path) -> Option<PathBuf> {
    around(path).map(|(path, _)| path)
}

fn around(path: &Path) -> Option<(PathBuf, Kind)> {
    let whole = path.canonicalize().ok()?;
    let above = whole.ancestors().skip(1).take(ABOVE);
    let mut found = above.filter_map(|above| Some((above.to_path_buf(), member_at(above)?)));
    let nearest = found.next()?;
    // The data dir around a member dir.
    Some(found.next().filter(|(_, kind)| *kind == Kind::DataDir).unwrap_or(nearest))
}

/// Whether `path` is a data dir or a member dir.
fn member_at(path: &Path) -> Option<Kind> {
    let has_db = |member: &Path| member.join("snap/db").is_file();
    if has_db(&path.join("member")) || has_segments(&path.join("member/wal")) {
        Some(Kind::DataDir)
    } else if has_db(path) || path.join("snap").is_dir() && has_segments(&path.join("wal")) {
        Some(Kind::MemberDir)
    } else {
        None
    }
}

fn has_segments(path: &Path) -> bool {
    let is_segment = |name: &str| SegmentName::parse(name).is_some();
    fs::read_dir(path).is_ok_and(|entries| {
        entries
            .take(ENTRIES)
            .flatten()
            .any(|entry| entry.file_name().to_str().is_some_and(is_segment))
    })
}

#[derive(Default)]
struct Search {
    found: Vec<(PathBuf, Near, Option<SystemTime>)>,
    denied: Vec<PathBuf>,
    entries: usize,
    files: usize,
    cut_short: bool,
}

impl Search {
    fn run(&mut self, path: &Path) {
        let mut pending = VecDeque::from([(path.to_path_buf(), 0)]);
        while let Some((directory, depth)) = pending.pop_front() {
            let entries = match fs::read_dir(&directory) {
                Ok(entries) => entries,
                Err(error) if error.kind() == std::io::ErrorKind::PermissionDenied => {
                    self.denied.push(directory);
                    continue;
                }
                Err(_) => continue,
            };
            for entry in entries.flatten() {
                self.entries += 1;
                if self.entries > ENTRIES {
                    self.cut_short = true;
                    return;
                }
                let Ok(kind) = entry.file_type() else { continue };
                let path = entry.path();
                if !kind.is_dir() {
                    self.file(path);
                } else if let Some(kind) = member_at(&path) {
                    let modified = fs::metadata(path.join("member/snap/db"))
                        .or_else(|_| fs::metadata(path.join("snap/db")))
                        .and_then(|metadata| metadata.modified());
                    self.found.push((path, Near::Member(kind), modified.ok()));
                } else if depth + 1 < DEPTH {
                    pending.push_back((path, depth + 1));
                }
            }
        }
    }

    fn file(&mut self, path: PathBuf) {
        let Ok(metadata) = path.metadata() else { return };
        if !metadata.is_file() {
            return;
        }
        self.files += 1;
        if self.files > FILES {
            self.cut_short = true;
            return;
        }
        if let Some(near) = head(&path).and_then(|head| what(&head)) {
            self.found.push((path, near, metadata.modified().ok()));
        }
    }

    fn finish(mut self) -> Nearby {
        let rank = |near: &Near| match near {
            Near::Member(_) => 0,
            Near::Database => 1,
            Near::Foreign(_) => 2,
        };
        self.found.sort_by(|(a, near_a, modified_a), (b, near_b, modified_b)| {
            (rank(near_a), modified_b, a).cmp(&(rank(near_b), modified_a, b))
        });
        self.denied.sort();
        let found = self.found.into_iter().map(|(path, near, _)| (path, near)).collect();
        Nearby { within: None, found, denied: self.denied, cut_short: self.cut_short }
    }
}

/// The beginning of a file; opening waits for nobody, whatever took the file's place meanwhile.
fn head(path: &Path) -> Option<Vec<u8>> {
    let flags = OFlags::NONBLOCK.bits();
    let file: File =
        OpenOptions::new().read(true).custom_flags(i32::try_from(flags).ok()?).open(path).ok()?;
    let mut head = Vec::new();
    file.take(HEAD).read_to_end(&mut head).ok()?;
    Some(head)
}

/// What a file is by its beginning; `None` for files that nobody takes for a database.
fn what(head: &[u8]) -> Option<Near> {
    match bolt::meta::choose(Raw::new(head)) {
        Ok(_) | Err(bolt::Error::BothMetas { .. } | bolt::Error::BigEndian { .. }) => {
            Some(Near::Database)
        }
        Err(_) => foreign(head).filter(Foreign::is_candidate).map(Near::Foreign),
    }
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::symlink;

    use super::*;
    use crate::bolt::{
        TxId,
        write::{Options, Writer},
    };

    fn database() -> Vec<u8> {
        let writer = Writer::new(std::io::Cursor::new(Vec::new()), Options::default()).unwrap();
        writer.finish().unwrap().seal(TxId(2)).unwrap().0.into_inner()
    }

    /// Makes files, with the directories above them.
    fn make(root: &Path, files: &[(&str, &[u8])]) {
        for (name, bytes) in files {
            let path = root.join(name);
            fs::create_dir_all(path.parent().unwrap()).unwrap();
            fs::write(path, bytes).unwrap();
        }
    }

    fn age(path: &Path, seconds: u64) {
        let then = SystemTime::now() - std::time::Duration::from_secs(seconds);
        File::options().write(true).open(path).unwrap().set_modified(then).unwrap();
    }

    #[test]
    fn the_data_dir_below_and_around_a_path_is_found() {
        let dir = tempfile::tempdir().unwrap();
        let root = dir.path();
        let db = database();
        // As k3s keeps it.
        make(
            root,
            &[
                ("server/db/etcd/member/snap/db", &db),
                ("server/db/etcd/member/wal/0000000000000000-0000000000000000.wal", b""),
                ("server/db/snapshots/on-demand-1", &db),
                ("server/tls/ca.crt", b"-----BEGIN CERTIFICATE-----"),
            ],
        );
        let data_dir = root.join("server/db/etcd");
        for path in ["", "server", "server/db"] {
            let nearby = Nearby::of(&root.join(path));
            assert_eq!(nearby.meant(), Some(data_dir.as_path()), "{nearby}");
            assert!(
                nearby
                    .to_string()
                    .starts_with(&format!("it contains the data dir {}", data_dir.display()))
            );
            assert!(nearby.to_string().contains("the snapshot or db file"), "{nearby}");
        }
        let data_dir = data_dir.canonicalize().unwrap();
        for path in
            ["server/db/etcd/member/snap", "server/db/etcd/member/wal", "server/db/etcd/member"]
        {
            let nearby = Nearby::of(&root.join(path));
            assert_eq!(nearby.meant(), Some(data_dir.as_path()), "{path}: {nearby}");
            assert_eq!(nearby.within, Some((data_dir.clone(), Kind::DataDir)));
        }
        assert_eq!(data_dir_of(&root.join("server/db/etcd/member/snap/db")), Some(data_dir));
        assert_eq!(data_dir_of(&root.join("server/tls/ca.crt")), None);
    }

    #[test]
    fn of_several_databases_the_newest_is_meant_and_of_several_members_none() {
        let dir = tempfile::tempdir().unwrap();
        let db = database();
        make(
            dir.path(),
            &[("b", &db), ("a", &db), ("c.zip", b"PK\x03\x04"), ("notes.txt", b"hello")],
        );
        age(&dir.path().join("b"), 100);
        let nearby = Nearby::of(dir.path());
        assert_eq!(nearby.meant(), Some(dir.path().join("a").as_path()));
        assert!(
            nearby.to_string().starts_with("it contains 2 snapshots or db files, the newest is"),
            "{nearby}"
        );
        assert_eq!(nearby.found.len(), 3, "a text is nothing that somebody meant: {nearby:?}");
        make(dir.path(), &[("n1/member/snap/db", &db), ("n2/member/snap/db", &db)]);
        let nearby = Nearby::of(dir.path());
        assert_eq!(nearby.meant(), None);
        assert!(nearby.to_string().starts_with("it contains 2 data dirs: "), "{nearby}");
        let packed = tempfile::tempdir().unwrap();
        make(packed.path(), &[("c.zip", b"PK\x03\x04"), ("d.zip", b"PK\x03\x04")]);
        age(&packed.path().join("c.zip"), 100);
        let said = Nearby::of(packed.path()).to_string();
        let expected = format!(
            "unpack it first with `unzip {}` (1 more of such files)",
            packed.path().join("d.zip").display()
        );
        assert!(said.ends_with(&expected), "{said}");
    }

    #[test]
    fn a_search_ends_whatever_it_meets() {
        let dir = tempfile::tempdir().unwrap();
        symlink(dir.path(), dir.path().join("loop")).unwrap();
        symlink("/nonexistent", dir.path().join("dangling")).unwrap();
        let fifo = dir.path().join("fifo");
        rustix::fs::mknodat(
            rustix::fs::CWD,
            &fifo,
            rustix::fs::FileType::Fifo,
            rustix::fs::Mode::RUSR | rustix::fs::Mode::WUSR,
            0,
        )
        .unwrap();
        assert_eq!(Nearby::of(dir.path()), Nearby::default());
        make(dir.path(), &[("1/2/3/4/5/member/snap/db", &database())]);
        assert_eq!(Nearby::of(dir.path()), Nearby::default(), "five levels are too deep");
        make(dir.path(), &[("1/2/3/x/member/snap/db", &database())]);
        assert_eq!(Nearby::of(dir.path()).meant(), Some(dir.path().join("1/2/3/x").as_path()));
        for number in 0..=ENTRIES {
            fs::write(dir.path().join(format!("file-{number}")), b"").unwrap();
        }
        let nearby = Nearby::of(dir.path());
        assert!(nearby.cut_short);
        assert!(nearby.to_string().ends_with("too much in it to look at everything"), "{nearby}");
    }
}
