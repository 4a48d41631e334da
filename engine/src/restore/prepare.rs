//! A plan and the input brought together: everything that will be written is known, nothing is written yet.

use std::path::PathBuf;

use super::{
    Error, Plan,
    db::{self, Edited, NewDb},
    place::Seat,
    raft,
};
use crate::{
    bolt::{Db, patch::Patched},
    ids::MemberId,
    mvcc::CutSummary,
    progress::Progress,
    rewrite::Rewritten,
    snapfile::SnapfileName,
    staging::{Filesystem, Space},
    wal::SEGMENT_BYTES,
};

/// A restore that is ready to be done.
#[derive(Debug)]
pub struct Prepared<'p, 'a> {
    pub(super) plan: &'p Plan,
    pub(super) db: Db<'a>,
    pub(super) edited: Edited<'a>,
    pub(super) snapfile: (SnapfileName, Vec<u8>),
    /// Of each file, in the order of [`Prepared::files`].
    filesystems: Vec<Filesystem>,
}

/// What a restore makes, or would make.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Outcome {
    /// The store's revision: of the last record or compaction mark, raised when asked; 0 for an empty store.
    pub revision: i64,
    /// The same of the source.
    pub source_revision: i64,
    /// Revision up to which history is compacted, −1 for never.
    pub compact_revision: i64,
    /// Records of bucket `key` that the source has and the result has not.
    pub records_removed: u64,
    /// What became of keys and leases.
    pub cut: CutSummary,
    /// Alarms left out.
    pub alarms_cleared: u64,
    /// Length of each member's database in bytes.
    pub db_bytes: u64,
    /// Every file, with its length in bytes.
    pub files: Vec<(PathBuf, u64)>,
    /// What that takes of which filesystem, as it is before anything is made.
    pub space: Vec<Space>,
}

/// A file to be made.
pub(super) struct NewFile {
    pub(super) seat: Seat,
    pub(super) content: Content,
}

/// What is in it.
#[derive(Clone, Copy)]
pub(super) enum Content {
    Db,
    Segment(MemberId),
    Snapfile,
}

impl<'p, 'a> Prepared<'p, 'a> {
    /// Reads what `plan` depends on in `db`, which the caller has verified.
    ///
    /// # Errors
    /// When a revision is not there, keys hang on lost leases and nobody said what becomes of them, or the
    /// input cannot be edited.
    pub fn new(plan: &'p Plan, db: &Db<'a>, progress: &dyn Progress) -> Result<Self, Error> {
        let edited = db::edit(db, plan, progress)?;
        let snapfile = raft::snapfile(&plan.cluster);
        let mut prepared = Self { plan, db: *db, edited, snapfile, filesystems: Vec::new() };
        let files = prepared.files();
        prepared.filesystems =
            files.iter().map(|file| Filesystem::of(&plan.layout.path(&file.seat))).collect();
        Ok(prepared)
    }

    /// What will be made, to the byte. Of a database that is written anew this takes a pass over the input.
    ///
    /// # Errors
    /// When the input cannot be read.
    pub fn outcome(&self, progress: &dyn Progress) -> Result<Outcome, Error> {
        Ok(self.outcome_of(match &self.edited.new {
            NewDb::Rewritten(rewrite) => rewrite.measure(progress)?,
            NewDb::Patched(patched) => of_patched(patched),
        }))
    }

    /// Refuses what will not fit. A database that is written anew is measured only when the old one would not fit.
    pub(super) fn check_space(&self, progress: &dyn Progress) -> Result<(), Error> {
        let fits = |outcome: &Outcome| outcome.space.iter().try_for_each(Space::check);
        let bound = match &self.edited.new {
            NewDb::Patched(patched) => return Ok(fits(&self.outcome_of(of_patched(patched)))?),
            NewDb::Rewritten(rewrite) => rewrite.bound(),
        };
        if fits(&self.outcome_of(Rewritten { size_bytes: bound, records_removed: 0 })).is_ok() {
            return Ok(());
        }
        Ok(fits(&self.outcome(progress)?)?)
    }

    pub(super) fn outcome_of(&self, db: Rewritten) -> Outcome {
        let edited = &self.edited;
        let cut = match &edited.new {
            NewDb::Rewritten(rewrite) => rewrite.cut().map(|cut| cut.summary().clone()),
            NewDb::Patched(_) => None,
        };
        let files = self.files().into_iter().map(|file| {
            let bytes = match file.content {
                Content::Db => db.size_bytes,
                Content::Segment(_) => SEGMENT_BYTES,
                Content::Snapfile => self.snapfile.1.len() as u64,
            };
            (self.plan.layout.path(&file.seat), bytes)
        });
        let files: Vec<(PathBuf, u64)> = files.collect();
        let space = Space::of(self.filesystems.iter().zip(files.iter().map(|(_, bytes)| *bytes)));
        Outcome {
            revision: edited.revision,
            source_revision: edited.source_revision,
            compact_revision: edited.compact_revision,
            records_removed: db.records_removed,
            cut: cut.unwrap_or_default(),
            alarms_cleared: edited.alarms_cleared,
            db_bytes: db.size_bytes,
            files,
            space,
        }
    }

    /// Every file of every member.
    pub(super) fn files(&self) -> Vec<NewFile> {
        let files = self.plan.members.iter().flat_map(|one| {
            let seats = &one.seats;
            let file = |seat, content| NewFile { seat, content };
            [
                file(seats.snap.below("db"), Content::Db),
                file(seats.snap.below(&self.snapfile.0.to_string()), Content::Snapfile),
                file(seats.segment.clone(), Content::Segment(one.member.id)),
            ]
        });
        files.collect()
    }
}

/// What is known of a patched database before it is written.
pub(super) fn of_patched(patched: &Patched) -> Rewritten {
    let size_bytes = patched.offset + patched.pages.len() as u64;
    Rewritten { size_bytes, records_removed: 0 }
}
