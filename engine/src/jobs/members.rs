//! The members of the cluster, as the database lists them.

use std::path::Path;

use serde::Serialize;

use super::{Answered, Input, ask_about_few};
use crate::{
    error::Error,
    finding::Finding,
    ids::MemberId,
    member::Options,
    progress::Progress,
    schema::{MetaRecords, Store, members as records, meta},
};

/// Members, removed members, and raft's configuration.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "camelCase")]
#[non_exhaustive]
pub struct Members {
    /// By id. A database of 3.5 or older may list members that left long ago.
    pub members: Vec<Member>,
    /// Members that were removed; their ids never come back.
    pub removed: Vec<MemberId>,
    /// Raft's configuration; `None` before 3.5, which keeps it in the `.snap` files alone.
    pub conf_state: Option<ConfState>,
    /// Records that do not decode.
    #[serde(skip)]
    pub findings: Vec<Finding>,
}

/// A member.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
#[non_exhaustive]
pub struct Member {
    /// Its id.
    pub id: MemberId,
    /// Its name; empty until a member that was added at run time starts.
    pub name: String,
    /// Where its peers reach it.
    #[serde(rename = "peerURLs")]
    pub peer_urls: Vec<String>,
    /// Where clients reach it; empty until it starts.
    #[serde(rename = "clientURLs")]
    pub client_urls: Vec<String>,
    /// Whether it does not vote.
    #[serde(rename = "isLearner")]
    pub is_learner: bool,
}

/// Raft's configuration.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
#[non_exhaustive]
pub struct ConfState {
    /// Members that vote, ascending.
    pub voters: Vec<MemberId>,
    /// Members that do not, ascending.
    pub learners: Vec<MemberId>,
}

/// Lists the members.
///
/// # Errors
/// When the input cannot be read or a page is damaged.
pub fn members(
    path: &Path,
    reading: &Options,
    progress: &dyn Progress,
) -> Result<Answered<Members>, Error> {
    let question = |input: &Input| {
        let store = Store::new(input.db()?);
        let (members, removed) = (records::members(&store)?, records::removed(&store)?);
        let (meta, _) = MetaRecords::read(&store)?;
        Ok(Members {
            members: members.records.into_iter().map(Member::of).collect(),
            removed: removed.records,
            conf_state: meta.conf_state.map(ConfState::of),
            findings: [members.findings, removed.findings].concat(),
        })
    };
    ask_about_few(path, reading, progress, question, |_| false)
}

impl Member {
    fn of(member: records::Member) -> Self {
        let records::Member { id, peer_urls, is_learner, name, client_urls } = member;
        Self { id, name, peer_urls, client_urls, is_learner }
    }
}

impl ConfState {
    fn of(conf: meta::ConfState) -> Self {
        let ids = |ids: Vec<u64>| ids.into_iter().map(MemberId).collect();
        Self { voters: ids(conf.voters), learners: ids(conf.learners) }
    }
}
