//! Where restored files will stand, and which renames bring them there.

use std::{
    fs, io,
    path::{Component, Path, PathBuf},
};

use super::{Error, raft};
use crate::staging::{IoError, is_mount_point};

/// Something that gets its name by one rename.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Unit {
    /// Its name.
    pub target: PathBuf,
    /// What it is.
    pub kind: UnitKind,
}

/// What gets a name.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum UnitKind {
    /// A directory where nothing stands.
    New,
    /// A directory in place of an empty one, whose owner and mode it takes.
    OverEmpty,
    /// A file in a directory that exists.
    File,
}

/// A place within a unit.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Seat {
    /// Which unit.
    pub unit: usize,
    /// Path in it; empty for the unit itself.
    pub inside: PathBuf,
}

impl Seat {
    /// A place below this one.
    pub(super) fn below(&self, inside: &str) -> Seat {
        Seat { unit: self.unit, inside: self.inside.join(inside) }
    }
}

/// Where a member's files will stand.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Seats {
    /// Its directory `snap`.
    pub snap: Seat,
    /// Its WAL segment.
    pub segment: Seat,
}

/// Units in the order of their renames: WAL dirs first, because a data dir without its WAL must not be.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Layout {
    units: Vec<Unit>,
}

impl Layout {
    /// The units in the order of their renames.
    pub fn units(&self) -> &[Unit] {
        &self.units
    }

    /// Where `seat` will be.
    pub fn path(&self, seat: &Seat) -> PathBuf {
        let target = self.units.get(seat.unit).map(|unit| unit.target.clone()).unwrap_or_default();
        if seat.inside.as_os_str().is_empty() { target } else { target.join(&seat.inside) }
    }

    fn unit(&mut self, target: PathBuf, kind: UnitKind) -> Seat {
        self.units.push(Unit { target, kind });
        Seat { unit: self.units.len() - 1, inside: PathBuf::new() }
    }

    /// Places one member: its data dir, and its WAL dir when that is apart.
    pub fn one(data_dir: &Path, wal_dir: Option<&Path>) -> Result<(Layout, Seats), Error> {
        let mut layout = Layout::default();
        let segment = raft::SEGMENT.to_string();
        let apart = wal_dir.map(|wal_dir| apart(data_dir, wal_dir)).transpose()?;
        let wal = match apart {
            Some(Apart::Outside) => {
                let wal_dir = wal_dir.unwrap_or(data_dir);
                let refused = || Error::WalDir { path: wal_dir.into() };
                Some(match vacancy(wal_dir, &[&segment], refused)? {
                    Vacancy::Absent => layout.unit(wal_dir.into(), UnitKind::New).below(&segment),
                    _ => layout.unit(wal_dir.join(&segment), UnitKind::File),
                })
            }
            _ => None,
        };
        let refused = || Error::DataDir { path: data_dir.into() };
        let (data, member) = match vacancy(data_dir, &["member"], refused)? {
            Vacancy::Absent => {
                let data = layout.unit(data_dir.into(), UnitKind::New);
                (Some(data.clone()), data.below("member"))
            }
            _ => (None, layout.unit(data_dir.join("member"), UnitKind::New)),
        };
        let segment = match (wal, apart, data) {
            (Some(segment), ..) => segment,
            (None, Some(Apart::Inside(inside)), Some(data)) => {
                let mut seat = data;
                seat.inside = inside.join(&segment);
                seat
            }
            // In a directory that exists, only `member` gets a name.
            (None, Some(Apart::Inside(inside)), None) => match inside.strip_prefix("member") {
                Ok(rest) => Seat { unit: member.unit, inside: rest.join(&segment) },
                Err(_) => {
                    let inner = data_dir.join(inside);
                    return Err(Error::Nested { outer: data_dir.into(), inner });
                }
            },
            (None, ..) => member.below("wal").below(&segment),
        };
        Ok((layout, Seats { snap: member.below("snap"), segment }))
    }

    /// Places all members, named `names`, in `root`, and their WALs in `wal_root` when that is given.
    pub fn all<'n>(
        root: &Path,
        wal_root: Option<&Path>,
        names: impl Iterator<Item = &'n str> + Clone,
    ) -> Result<(Layout, Vec<Seats>), Error> {
        for name in names.clone() {
            let mut components = Path::new(name).components();
            let plain = matches!(
                (components.next(), components.next()),
                (Some(Component::Normal(only)), None) if only == name
            );
            if !plain || name == LOST_AND_FOUND {
                return Err(Error::DirectoryName { name: name.to_owned(), root: root.into() });
            }
        }
        if let Some(wal_root) = wal_root
            && !matches!(apart(root, wal_root)?, Apart::Outside)
        {
            return Err(Error::Nested { outer: root.into(), inner: wal_root.into() });
        }
        let mut layout = Layout::default();
        let wals =
            wal_root.map(|wal_root| layout.directories_in(wal_root, names.clone())).transpose()?;
        let data = layout.directories_in(root, names)?;
        let seats = data.into_iter().enumerate().map(|(index, data)| {
            let own = || data.below("member").below("wal");
            let wal = wals.as_ref().and_then(|wals| wals.get(index)).cloned().unwrap_or_else(own);
            Seats {
                snap: data.below("member").below("snap"),
                segment: wal.below(&raft::SEGMENT.to_string()),
            }
        });
        let seats = seats.collect();
        Ok((layout, seats))
    }

    /// A directory a name: one rename for all of them where that can be.
    fn directories_in<'n>(
        &mut self,
        root: &Path,
        names: impl Iterator<Item = &'n str> + Clone,
    ) -> Result<Vec<Seat>, Error> {
        // Only where members are renamed one by one can their remains stand in it.
        let work: Vec<&str> =
            if is_mount_point(root) { names.clone().collect() } else { Vec::new() };
        let kind = match vacancy(root, &work, || Error::Root { path: root.into() })? {
            Vacancy::Absent => UnitKind::New,
            Vacancy::Empty => UnitKind::OverEmpty,
            // Nothing can be renamed to the name of a mount point.
            Vacancy::MountPoint => {
                return Ok(names.map(|name| self.unit(root.join(name), UnitKind::New)).collect());
            }
        };
        // A symbolic link to it stays; what it leads to is replaced.
        let root = match kind {
            UnitKind::OverEmpty => fs::canonicalize(root).map_err(IoError::at("find", root))?,
            _ => root.into(),
        };
        let root = self.unit(root, kind);
        Ok(names.map(|name| root.below(name)).collect())
    }
}

/// What a filesystem's check puts at its top.
const LOST_AND_FOUND: &str = "lost+found";

/// What stands where something is to be made.
enum Vacancy {
    /// Nothing.
    Absent,
    /// An empty directory.
    Empty,
    /// A mount point without anything of its own.
    MountPoint,
}

/// Whether `directory` is free. `work` names what a killed run may have left in it.
fn vacancy(directory: &Path, work: &[&str], refused: impl Fn() -> Error) -> Result<Vacancy, Error> {
    match fs::symlink_metadata(directory) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(Vacancy::Absent),
        Err(error) => return Err(IoError::at("open", directory)(error).into()),
        Ok(_) => {}
    }
    let mounted = is_mount_point(directory);
    let unreadable = |error: io::Error| match error.kind() {
        io::ErrorKind::PermissionDenied => IoError::at("open", directory)(error).into(),
        _ => refused(),
    };
    for entry in fs::read_dir(directory).map_err(unreadable)? {
        let name = entry.map_err(unreadable)?.file_name();
        let name = name.as_encoded_bytes();
        let remains = work.iter().any(|work| {
            name.strip_prefix(work.as_bytes()).is_some_and(|rest| rest.starts_with(b".tmp-"))
        });
        if !(remains || (mounted && name == LOST_AND_FOUND.as_bytes())) {
            return Err(refused());
        }
    }
    Ok(if mounted { Vacancy::MountPoint } else { Vacancy::Empty })
}

/// How a WAL dir stands to a data dir.
enum Apart {
    /// Neither is in the other.
    Outside,
    /// The WAL dir is in the data dir, there.
    Inside(PathBuf),
}

/// By their names: a symbolic link is not followed.
fn apart(data_dir: &Path, wal_dir: &Path) -> Result<Apart, Error> {
    let absolute = |path: &Path| std::path::absolute(path).map_err(IoError::at("find", path));
    let (data, wal) = (absolute(data_dir)?, absolute(wal_dir)?);
    match wal.strip_prefix(&data) {
        Ok(inside) if !inside.as_os_str().is_empty() => Ok(Apart::Inside(inside.to_path_buf())),
        Err(_) if !data.starts_with(&wal) => Ok(Apart::Outside),
        _ => Err(Error::Nested { outer: wal_dir.into(), inner: data_dir.into() }),
    }
}
