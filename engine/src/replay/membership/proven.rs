//! The members as a raft log proves them, whatever the db says.

use super::{Membership, roster::Roster, v2};
use crate::{
    ids::MemberId,
    pb::{
        entry::Decoded,
        raftpb::{ConfState, EntryType},
    },
    replay::{Line, ReadSnapfile, Refusal},
    schema::members::Member,
    wal::Log,
};

/// The snapshot that a log starts from.
#[derive(Clone, Debug, Default)]
pub struct Start<'s> {
    /// Term of its entry; 0 where the log starts at its first entry.
    pub term: u64,
    /// Index of its entry; 0 where the log starts at its first entry.
    pub index: u64,
    /// Raft's configuration there.
    pub conf: ConfState,
    /// JSON of the v2 store there, when a snapfile has it.
    pub v2_store: Option<&'s [u8]>,
}

impl<'s> Start<'s> {
    /// The newest snapshot that `log` knows to be committed.
    pub fn of(log: &Log<'_>, snapfiles: &'s [ReadSnapfile]) -> Self {
        let Some(newest) = log.valid_snapshots().max_by_key(|mark| mark.index()) else {
            return Self::default();
        };
        let (term, index) = (newest.term(), newest.index());
        let named = |file: &&ReadSnapfile| (file.name.term, file.name.index) == (term, index);
        let content = snapfiles.iter().find(named).and_then(|file| file.content.as_ref().ok());
        let conf = newest
            .conf_state
            .clone()
            .or_else(|| content?.metadata.clone()?.conf_state)
            .unwrap_or_default();
        Self { term, index, conf, v2_store: content.and_then(|content| content.data.as_deref()) }
    }
}

/// The members once entries up to `index` are applied, by id; `None` where the files do not prove it: the beginning of
/// the log is gone and no snapfile has the members, or the log holds changes whose effect depends on a server's flags.
pub fn proven(log: &Log<'_>, snapfiles: &[ReadSnapfile], index: u64) -> Option<Vec<Member>> {
    let start = Start::of(log, snapfiles);
    let (from, known) = match start.v2_store.and_then(v2::roster) {
        Some(roster) if start.index <= index => (start.index, roster),
        // Every member there ever was is in the log.
        _ if log.begins_at_first() => (0, Roster::default()),
        _ => return None,
    };
    let mut membership = Membership { v2: Some(known), ..Membership::default() };
    for logged in log.entries_behind(from).ok()? {
        if logged.entry.index > index {
            break;
        }
        let kind = logged.entry.r#type.unwrap_or_default();
        let decoded = Decoded::new(kind, logged.entry.data);
        match &decoded {
            Decoded::ConfChange(change) => {
                let roster = membership.v2.as_ref()?;
                // How many learners there may be is a flag since 3.6.
                if roster.validate(change) == Err(Refusal::TooManyLearners) {
                    return None;
                }
            }
            Decoded::Request(request) => {
                let set = request.cluster_member_attr_set.as_ref();
                let Some((set, attributes)) =
                    set.and_then(|set| Some((set, set.member_attributes.as_ref()?)))
                else {
                    continue;
                };
                membership.v2.as_mut()?.set_attributes(
                    MemberId(set.member_id),
                    attributes.name.clone(),
                    attributes.client_urls.clone(),
                );
                continue;
            }
            // What cannot be decoded may be a change of membership.
            Decoded::Unknown if kind != EntryType::Normal as i32 => return None,
            _ => {}
        }
        // A learner that moved is none any more to servers of 3.4; to raft it is one.
        membership.note(Line::V3_5, &decoded);
    }
    Some(membership.v2?.members().cloned().collect())
}
