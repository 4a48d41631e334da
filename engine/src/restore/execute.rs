//! Does what was prepared: beside the targets, synced, renamed last.
//!
//! Order: every file is written and synced, then every directory from the inside out; then WAL dirs that stand
//! apart get their names, then data dirs (or `member` in them). A kill before the last rename leaves temporary
//! names only, and with several renames the units that had theirs.

use std::{
    collections::BTreeSet,
    fs::{self, DirBuilder, File, OpenOptions},
    io::{self, Read as _, Write as _},
    os::unix::fs::{DirBuilderExt, MetadataExt, OpenOptionsExt, PermissionsExt},
    path::{Path, PathBuf},
};

use super::{
    Error, Outcome, Prepared,
    db::NewDb,
    place::{Seat, Unit, UnitKind},
    prepare::{Content, NewFile, of_patched},
    raft,
};
use crate::{
    bolt::patch::Patched,
    bulk::{Bulk, ReadBack},
    progress::{Progress, Step},
    rewrite::Rewritten,
    staging::{IoError, Owner, Stage, TargetError, parent, sync_directory},
    wal::SEGMENT_BYTES,
};

/// Bytes copied at a time.
const STEP: usize = 4 << 20;

impl Prepared<'_, '_> {
    /// Writes all planned files under temporary names, synced. The caller publishes them once the input is known to
    /// have held still.
    ///
    /// # Errors
    /// When the space does not suffice, the system refuses, or the caller stopped the operation. Nothing stands under a
    /// target's name then.
    pub fn write(&self, progress: &dyn Progress) -> Result<Written<'_>, Error> {
        self.check_space(progress)?;
        let units = self.plan.layout.units();
        let mut site = Site { stages: Vec::new(), owner: self.plan.owner, progress };
        for unit in units {
            site.begin(unit)?;
        }
        for NewFile { seat, content } in self.files() {
            progress.go_on()?;
            let path = site.path(&seat);
            match content {
                Content::Snapfile => {
                    site.file(&path, 0o666, |file| file.write_all(&self.snapfile.1))?
                }
                Content::Segment(member) => {
                    let head = raft::wal_head(&self.plan.cluster, member);
                    if seat.inside.as_os_str().is_empty() {
                        site.fill_staged(&seat, |file| write_segment(file, &head))?;
                    } else {
                        site.file(&path, 0o600, |file| write_segment(file, &head))?;
                    }
                }
                Content::Db => {}
            }
        }
        let files = self.files().into_iter();
        let dbs = files.filter(|file| matches!(file.content, Content::Db));
        let written =
            self.write_dbs(&site, &dbs.map(|file| site.path(&file.seat)).collect::<Vec<_>>())?;
        site.sync_directories()?;
        Ok(Written { stages: site.stages, units, outcome: self.outcome_of(written) })
    }

    /// Writes the members' databases, which are all alike: the input is read once.
    fn write_dbs(&self, site: &Site<'_>, paths: &[PathBuf]) -> Result<Rewritten, Error> {
        match &self.edited.new {
            NewDb::Patched(patched) => self.write_patched(site, paths, patched),
            NewDb::Rewritten(rewrite) => {
                // A plan names at least one member.
                let Some((path, others)) = paths.split_first() else {
                    return Ok(Rewritten { size_bytes: 0, records_removed: 0 });
                };
                let file = site.create(path, 0o600)?;
                site.progress.step(Step::Write, path);
                let written = rewrite
                    .write_file(&file, path, ReadBack::Ends, None, site.progress)
                    .map_err(|error| match error.into_io() {
                        Ok(source) => Error::Io(IoError::at("write", path)(source)),
                        Err(error) => error.into(),
                    })?;
                others.iter().try_for_each(|other| site.copy(path, other, written.size_bytes))?;
                Ok(written)
            }
        }
    }

    fn write_patched(
        &self,
        site: &Site<'_>,
        paths: &[PathBuf],
        patched: &Patched,
    ) -> Result<Rewritten, Error> {
        let progress = site.progress;
        progress.begin("write", patched.offset);
        let files = paths
            .iter()
            .map(|path| Ok((path, site.create(path, 0o600)?)))
            .collect::<Result<Vec<_>, Error>>()?;
        let mut copies = Vec::new();
        for (path, file) in &files {
            progress.step(Step::Write, path);
            let bulk = Bulk::new(file, patched.offset).map_err(IoError::at("write", path))?;
            copies.push((path, bulk));
        }
        let old = usize::try_from(patched.offset)
            .ok()
            .and_then(|size| self.db.bytes().get(..size))
            .unwrap_or_default();
        for step in old.chunks(STEP) {
            progress.go_on()?;
            for (path, bulk) in &mut copies {
                bulk.write_all(step).map_err(IoError::at("write", path))?;
            }
            progress.advance(step.len() as u64);
        }
        for (path, bulk) in &mut copies {
            bulk.flush().map_err(IoError::at("write", path))?;
        }
        drop(copies);
        let written = of_patched(patched);
        progress.begin("sync", written.size_bytes.saturating_mul(files.len() as u64));
        for (path, file) in &files {
            let at = |source| IoError::at("write", path)(source);
            let mut file = file;
            patched.write_pages(&mut file).map_err(at)?;
            progress.step(Step::Sync, path);
            file.sync_all().map_err(at)?;
            patched.write_metas(&mut file).map_err(at)?;
            file.sync_all().map_err(at)?;
            progress.advance(written.size_bytes);
        }
        Ok(written)
    }
}

/// Where the work goes on, until everything gets its name.
/// The finished files of a restore under temporary names. Dropped before [`Written::publish`], they are removed.
#[derive(Debug)]
#[must_use = "the data dirs get their names by `publish`"]
pub struct Written<'p> {
    stages: Vec<Stage>,
    units: &'p [Unit],
    outcome: Outcome,
}

impl Written<'_> {
    /// What was written.
    pub fn outcome(&self) -> &Outcome {
        &self.outcome
    }

    /// Renames all data dirs to their final names.
    ///
    /// # Errors
    /// When something stands there meanwhile, the system refuses, or the caller stopped the operation. What was renamed
    /// already is removed again.
    pub fn publish(self, progress: &dyn Progress) -> Result<Outcome, Error> {
        progress.go_on()?;
        for (done, (stage, unit)) in self.stages.into_iter().zip(self.units).enumerate() {
            progress.step(Step::Rename, &unit.target);
            let named = match unit.kind {
                UnitKind::OverEmpty => stage.commit(),
                UnitKind::New | UnitKind::File => stage.commit_new().map_err(TargetError::from),
            };
            if let Err(error) = named {
                for unit in self.units.iter().take(done) {
                    unmake(unit).map_err(IoError::at("remove", &unit.target))?;
                }
                return Err(error.into());
            }
        }
        Ok(self.outcome)
    }
}

struct Site<'s> {
    stages: Vec<Stage>,
    owner: Option<Owner>,
    progress: &'s dyn Progress,
}

impl Site<'_> {
    /// Begins a unit, with the directories above it that are missing.
    fn begin(&mut self, unit: &Unit) -> Result<(), Error> {
        self.directories(parent(&unit.target))?;
        self.progress.step(Step::Create, &unit.target);
        let stage = match unit.kind {
            UnitKind::File => Stage::file(&unit.target)?,
            UnitKind::New | UnitKind::OverEmpty => Stage::directory(&unit.target)?,
        };
        let at = |source| Error::Io(IoError::at("set the owner of", stage.path())(source));
        match (self.owner, unit.kind) {
            (Some(owner), _) => owner.take(stage.handle()).map_err(at)?,
            (None, UnitKind::OverEmpty) => take_after(&stage, &unit.target)?,
            (None, _) => {}
        }
        self.stages.push(stage);
        Ok(())
    }

    fn path(&self, seat: &Seat) -> PathBuf {
        let stage = self.stages.get(seat.unit).map(|stage| stage.path().to_path_buf());
        let stage = stage.unwrap_or_default();
        if seat.inside.as_os_str().is_empty() { stage } else { stage.join(&seat.inside) }
    }

    /// Makes `path` and what is missing above it.
    fn directories(&self, path: &Path) -> Result<(), Error> {
        let missing =
            path.ancestors().take_while(|above| !above.as_os_str().is_empty() && !above.is_dir());
        for directory in missing.collect::<Vec<_>>().into_iter().rev() {
            self.progress.step(Step::Create, directory);
            let at = |source| IoError::at("create", directory)(source);
            match DirBuilder::new().mode(0o700).create(directory) {
                // A path with `..` in it names what was made a moment ago.
                Err(_) if directory.is_dir() => continue,
                made => made.map_err(at)?,
            }
            if let Some(owner) = self.owner {
                let open = File::open(directory).map_err(at)?;
                owner.take(&open).map_err(IoError::at("set the owner of", directory))?;
            }
        }
        Ok(())
    }

    fn create(&self, path: &Path, mode: u32) -> Result<File, Error> {
        self.directories(parent(path))?;
        self.progress.step(Step::Create, path);
        let file = OpenOptions::new()
            .write(true)
            .create_new(true)
            .mode(mode)
            .open(path)
            .map_err(IoError::at("create", path))?;
        if let Some(owner) = self.owner {
            owner.take(&file).map_err(IoError::at("set the owner of", path))?;
        }
        Ok(file)
    }

    fn file(
        &self,
        path: &Path,
        mode: u32,
        write: impl FnOnce(&mut File) -> io::Result<()>,
    ) -> Result<(), Error> {
        let mut file = self.create(path, mode)?;
        self.progress.step(Step::Write, path);
        write(&mut file).map_err(IoError::at("write", path))?;
        self.progress.step(Step::Sync, path);
        Ok(file.sync_all().map_err(IoError::at("sync", path))?)
    }

    /// Fills a unit that is itself a file.
    fn fill_staged(
        &self,
        seat: &Seat,
        write: impl FnOnce(&mut File) -> io::Result<()>,
    ) -> Result<(), Error> {
        let Some(stage) = self.stages.get(seat.unit) else { return Ok(()) };
        let mut file = stage.handle().try_clone().map_err(IoError::at("open", stage.path()))?;
        self.progress.step(Step::Write, stage.path());
        write(&mut file)
            .and_then(|()| file.sync_all())
            .map_err(IoError::at("write", stage.path()))?;
        Ok(())
    }

    /// Copies a finished db for another member, within the kernel where the filesystem can.
    fn copy(&self, original: &Path, path: &Path, bytes: u64) -> Result<(), Error> {
        const AT_ONCE: u64 = 64 << 20;
        self.progress.begin("copy", bytes);
        let source = File::open(original).map_err(IoError::at("open", original))?;
        let mut copied = 0;
        let file = self.create(path, 0o600)?;
        self.progress.step(Step::Write, path);
        loop {
            self.progress.go_on()?;
            let step = io::copy(&mut (&source).take(AT_ONCE), &mut &file)
                .map_err(IoError::at("write", path))?;
            if step == 0 {
                break;
            }
            copied += step;
            self.progress.advance(step);
        }
        if copied != bytes {
            let short = io::Error::from(io::ErrorKind::UnexpectedEof);
            return Err(IoError::at("read back", original)(short).into());
        }
        self.progress.step(Step::Sync, path);
        Ok(file.sync_all().map_err(IoError::at("sync", path))?)
    }

    /// Makes every directory durable, the innermost first.
    fn sync_directories(&self) -> Result<(), Error> {
        for stage in &self.stages {
            let mut found = BTreeSet::new();
            directories_of(stage.path(), &mut found).map_err(IoError::at("list", stage.path()))?;
            for directory in found.iter().rev() {
                self.progress.step(Step::Sync, directory);
                sync_directory(directory)?;
            }
        }
        Ok(())
    }
}

/// Gives a stage the owner and mode of the empty directory it will replace.
fn take_after(stage: &Stage, replaced: &Path) -> Result<(), Error> {
    let old = fs::metadata(replaced).map_err(IoError::at("open", replaced))?;
    let own = stage.handle().metadata().map_err(IoError::at("open", stage.path()))?;
    if (old.uid(), old.gid()) != (own.uid(), own.gid()) {
        let owner = Owner { uid: old.uid(), gid: old.gid() };
        owner.take(stage.handle()).map_err(IoError::at("keep the owner of", replaced))?;
    }
    let mode = fs::Permissions::from_mode(old.mode() & 0o7777);
    Ok(stage.handle().set_permissions(mode).map_err(IoError::at("keep the mode of", replaced))?)
}

/// `directory` and all within it, in path order, which is the outermost first. A file has none.
fn directories_of(directory: &Path, found: &mut BTreeSet<PathBuf>) -> io::Result<()> {
    if !directory.is_dir() {
        return Ok(());
    }
    found.insert(directory.to_path_buf());
    for entry in fs::read_dir(directory)? {
        let entry = entry?;
        if entry.file_type()?.is_dir() {
            directories_of(&entry.path(), found)?;
        }
    }
    Ok(())
}

/// Takes back what has its name already.
fn unmake(unit: &Unit) -> io::Result<()> {
    match unit.kind {
        UnitKind::File => fs::remove_file(&unit.target),
        UnitKind::New => fs::remove_dir_all(&unit.target),
        UnitKind::OverEmpty => {
            for entry in fs::read_dir(&unit.target)? {
                fs::remove_dir_all(entry?.path())?;
            }
            Ok(())
        }
    }
}

/// A segment, allocated to its full size as etcd does, so that a full disk shows now.
fn write_segment(file: &mut File, head: &[u8]) -> io::Result<()> {
    use rustix::{fs::FallocateFlags, io::Errno};
    match rustix::fs::fallocate(&*file, FallocateFlags::empty(), 0, SEGMENT_BYTES) {
        Ok(()) => {}
        Err(Errno::OPNOTSUPP | Errno::NOSYS) => file.set_len(SEGMENT_BYTES)?,
        Err(error) => return Err(error.into()),
    }
    file.write_all(head)
}
