//! Keys of the v2 API beside a member's db.

use super::{
    Opened,
    opened::{Again, Raft},
};
use crate::{
    replay::{Line, ReadSnapfile, Report, Requests},
    schema::MetaRecords,
    v2store::{Error, Summary, V2Store},
    wal::Log,
};

impl Opened {
    /// The v2 store, up to the entry that the state that is shown goes to; `None` when the log was not looked at. Reads
    /// the whole log again.
    pub fn v2_store(&self) -> Option<Result<V2Store, Error>> {
        let raft = self.raft.as_ref()?;
        Some(self.read_v2(raft, &raft.files.log(), &raft.files.snapfiles()))
    }

    /// How much there is in the v2 store; `None` when the log was not looked at, or is of 3.6 or later, which start on no
    /// member that has anything there. Reads the whole log again, once.
    ///
    /// # Errors
    /// As [`V2Store::read`].
    pub fn v2_summary(&self) -> Option<Result<Summary, &Error>> {
        let raft = self.raft.as_ref()?;
        if self.has_no_v2() {
            return None;
        }
        Some(self.again(raft).v2.as_ref()?.as_ref().copied())
    }

    fn has_no_v2(&self) -> bool {
        self.report().is_some_and(|report| report.line >= Line::V3_6)
    }

    /// What the log says when all of it is read again.
    pub(super) fn again<'r>(&self, raft: &'r Raft) -> &'r Again {
        raft.again.get_or_init(|| {
            let (log, snapfiles) = (raft.files.log(), raft.files.snapfiles());
            let v2 = (!self.has_no_v2()).then(|| self.read_v2(raft, &log, &snapfiles));
            let v2 = v2.map(|read| read.map(|store| store.summary()));
            Again { requests: Requests::of(&log, &snapfiles), v2 }
        })
    }

    fn read_v2(
        &self,
        raft: &Raft,
        log: &Log<'_>,
        snapfiles: &[ReadSnapfile],
    ) -> Result<V2Store, Error> {
        let line = match (self.report(), &raft.judged.meta) {
            (Some(report), _) => report.line,
            (None, Some(meta)) => Line::detect(meta, log),
            (None, None) => Line::detect(&MetaRecords::default(), log),
        };
        let to = self.report().map(Report::applied_to);
        V2Store::read(log, line, snapfiles, to)
    }
}
