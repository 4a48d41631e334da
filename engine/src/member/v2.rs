//! Keys of the v2 API beside a member's db.

use super::Opened;
use crate::{
    replay::{Line, Report},
    v2store::{Error, Summary, V2Store},
};

impl Opened {
    /// The v2 store, up to the entry that the state that is shown goes to; `None` when the log was not looked at. Reads
    /// the whole log again.
    pub fn v2_store(&self) -> Option<Result<V2Store, Error>> {
        let raft = self.raft.as_ref()?;
        let log = raft.files.log();
        let line = match (self.report(), &raft.judged.meta) {
            (Some(report), _) => report.line,
            (None, Some(meta)) => Line::detect(meta, &log),
            (None, None) => Line::detect(&Default::default(), &log),
        };
        let to = self.report().map(Report::applied_to);
        Some(V2Store::read(&log, line, &raft.files.snapfiles(), to))
    }

    /// How much there is in the v2 store; nothing where it cannot be read.
    pub fn v2_summary(&self) -> Summary {
        let store = self.v2_store().and_then(Result::ok);
        store.map(|store| store.summary()).unwrap_or_default()
    }
}
