//! The membership that a db lists, mended by raft's configuration.
//!
//! etcd 3.5.0 to 3.5.19 lost the promotion of a learner in the db, and restores by etcd 3.4 left members of the old
//! cluster in it; etcd 3.6 trusts the db and refuses to start. Source: etcd issues 19557 and 20967.

use std::{
    collections::BTreeMap,
    fs::{self, File},
    io::{self, Write as _},
    path::{Path, PathBuf},
};

use crate::{
    bolt::{
        self,
        patch::{Patch, PatchError},
        write::BucketOptions,
    },
    datadir::MemberFiles,
    ids::MemberId,
    member::{self, Opened, Options},
    progress::Progress,
    schema::{Store, bucket, json, members},
    staging::{IoError, Stage, sync_directory},
};

/// What is wrong with one member of the db.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Change {
    /// Raft says that it votes, the db that it learns.
    Votes(MemberId),
    /// Raft says that it learns, the db that it votes.
    Learns(MemberId),
    /// Raft does not know it: a zombie.
    Removed(MemberId),
}

/// Why the membership cannot be mended.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum Error {
    /// The member cannot be opened.
    #[error(transparent)]
    Open(#[from] member::Error),
    /// A page of the db is damaged.
    #[error(transparent)]
    Bolt(#[from] bolt::Error),
    /// The new db could not be made.
    #[error(transparent)]
    Patch(#[from] PatchError),
    /// A file could not be written.
    #[error(transparent)]
    Io(#[from] IoError),
    /// There is no log that proves what is right.
    #[error("{}: the raft log does not tell raft's configuration", path.display())]
    NoProof {
        /// The data dir.
        path: PathBuf,
    },
    /// Raft knows a member that the db does not list.
    #[error(
        "raft has member {member}, and the db does not list it: its name and addresses are in no file"
    )]
    Unlisted {
        /// Its id.
        member: MemberId,
    },
}

/// What a mended data dir is made of.
#[derive(Debug)]
pub struct Plan {
    changes: Vec<Change>,
    db: Opened,
    files: MemberFiles,
    records: BTreeMap<Vec<u8>, Vec<u8>>,
}

impl Plan {
    /// Compares the members that the db at `path` lists with raft's configuration at the db's last entry.
    ///
    /// # Errors
    /// When the member cannot be opened, no log proves what is right, or raft knows a member that the db does not list.
    pub fn new(path: &Path, options: &Options, progress: &dyn Progress) -> Result<Self, Error> {
        let no_proof = || Error::NoProof { path: path.to_path_buf() };
        let alone = Options { no_wal: true, ..options.clone() };
        let db = member::open(path, &alone, progress)?;
        let contained = {
            let store = Store::new(db.database()?);
            crate::schema::MetaRecords::read(&store)?.0.consistent_index.ok_or_else(no_proof)?
        };
        // Raft's configuration as it was when the db was written: later entries change the db when a server starts.
        let then = Options { to: Some(contained), ..options.clone() };
        let judged = member::open(path, &then, progress)?;
        let conf = judged.report().map(|report| report.conf().clone()).ok_or_else(no_proof)?;
        let files = judged.files().cloned().ok_or_else(no_proof)?;
        judged.check()?;
        if conf.voters.is_empty() {
            return Err(no_proof());
        }
        let store = Store::new(db.database()?);
        let listed = members::members(&store)?.records;
        let known = |id: u64| listed.iter().any(|member| member.id.0 == id);
        if let Some(id) = conf.voters.iter().chain(&conf.learners).find(|id| !known(**id)) {
            return Err(Error::Unlisted { member: MemberId(*id) });
        }
        let mut changes = Vec::new();
        let mut records = BTreeMap::new();
        for mut member in listed {
            let id = member.id;
            let (votes, learns) = (conf.voters.contains(&id.0), conf.learners.contains(&id.0));
            match (votes, learns, member.is_learner) {
                (true, _, true) => changes.push(Change::Votes(id)),
                (false, true, false) => changes.push(Change::Learns(id)),
                (false, false, _) => {
                    changes.push(Change::Removed(id));
                    continue;
                }
                _ => {}
            }
            member.is_learner = learns && !votes;
            records.insert(id.to_string().into_bytes(), json::member(&member).into_bytes());
        }
        Ok(Self { changes, db, files, records })
    }

    /// What is wrong, in the order of the db.
    pub fn changes(&self) -> &[Change] {
        &self.changes
    }

    /// Writes the mended data dir to `target`, which must not exist: the db with the right members; log and snapfiles
    /// byte for byte. It appears whole or not at all.
    ///
    /// # Errors
    /// When something cannot be written, or a file that is read changed.
    pub fn write(&self, target: &Path) -> Result<(), Error> {
        let db = self.db.database()?;
        let mut patch = Patch::new(&db)?;
        patch.replace_bucket(
            bucket::MEMBERS.as_bytes(),
            BucketOptions::default(),
            &self.records,
        )?;
        let patched = patch.finish()?;
        let stage = Stage::directory(target)?;
        let member = stage.path().join("member");
        let (snap, wal) = (member.join("snap"), member.join("wal"));
        for directory in [&member, &snap, &wal] {
            make(directory)?;
        }
        let to = snap.join("db");
        let mut file = create(&to)?;
        let kept = self.db.bytes().get(..usize::try_from(patched.offset).unwrap_or(usize::MAX));
        let written = file
            .write_all(kept.unwrap_or_default())
            .and_then(|()| patched.write_pages(&mut file))
            .and_then(|()| patched.write_metas(&mut file))
            .and_then(|()| file.sync_all());
        written.map_err(IoError::at("write", &to))?;
        let segments = self.files.segments.iter().map(|(_, path)| (path, &wal));
        let snapfiles = self.files.snapfiles.iter().map(|(_, path)| (path, &snap));
        let received = self.files.received.iter().map(|(_, path)| (path, &snap));
        for (path, directory) in segments.chain(snapfiles).chain(received) {
            copy(path, &directory.join(path.file_name().unwrap_or_default()))?;
        }
        for directory in [&snap, &wal, &member] {
            sync_directory(directory)?;
        }
        self.db.check()?;
        stage.commit_new()?;
        Ok(())
    }
}

fn make(directory: &Path) -> Result<(), IoError> {
    use std::os::unix::fs::DirBuilderExt as _;
    fs::DirBuilder::new().mode(0o700).create(directory).map_err(IoError::at("create", directory))
}

fn create(path: &Path) -> Result<File, IoError> {
    use std::os::unix::fs::OpenOptionsExt as _;
    fs::OpenOptions::new()
        .write(true)
        .create_new(true)
        .mode(0o600)
        .open(path)
        .map_err(IoError::at("create", path))
}

fn copy(from: &Path, to: &Path) -> Result<(), IoError> {
    let mut source = File::open(from).map_err(IoError::at("open", from))?;
    let mut file = create(to)?;
    let copied = io::copy(&mut source, &mut file).and_then(|_| file.sync_all());
    copied.map_err(IoError::at("write", to))
}
