//! The answer as data: what a program prints or serialises.

use base64::{Engine as _, engine::general_purpose::STANDARD};
use serde::{Serialize, Serializer};

use crate::finding::Finding;

/// The answer about all paths.
#[derive(Clone, Debug, Serialize)]
#[serde(rename_all = "camelCase")]
#[non_exhaustive]
pub struct Answer {
    /// What the chosen path is good for; without a choice, what is lost at least.
    pub verdict: &'static str,
    /// The path to recover from; `None` where no choice is right.
    pub recover_from: Option<String>,
    /// The path whose db takes the place of the lost one; absent where the chosen path has its own.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub db_from: Option<String>,
    /// Why that one.
    pub reason: Option<String>,
    /// The voters; `None` where nothing tells who votes.
    pub quorum: Option<QuorumAnswer>,
    /// What was found about the paths together, then about the only path or the chosen one.
    #[serde(serialize_with = "findings")]
    pub findings: Vec<Finding>,
    /// What to do, in order.
    pub next: Vec<Step>,
    /// Each path, as they were named.
    pub members: Vec<MemberAnswer>,
    /// How many entries of the chosen path its own files do not prove to be committed.
    pub entries_uncommitted: u64,
    /// The chosen path's newest revision that is known to be committed.
    pub revision_committed: Option<i64>,
    /// Where contents differ that should be the same.
    pub differences: Vec<DifferenceAnswer>,
    /// What one path holds and another lacks.
    pub lacking: Vec<LackingAnswer>,
    /// Whether nothing is damaged, differs, or could not be looked at.
    #[serde(skip)]
    pub sound: bool,
}

/// A step: a reason for people and a command for a shell.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Step {
    /// Why, and what to know before.
    pub why: String,
    /// What to paste.
    pub command: String,
}

/// Who votes.
#[derive(Clone, Debug, Serialize)]
#[serde(rename_all = "camelCase")]
#[non_exhaustive]
pub struct QuorumAnswer {
    /// How many vote.
    pub voters: usize,
    /// How many of these have a dir among the paths.
    pub here: usize,
    /// How many of these a server starts on with everything they acknowledged.
    pub intact: usize,
    /// How many are a majority.
    pub needed: usize,
    /// Whether everything that was ever acknowledged is among the paths.
    pub complete: bool,
    /// Ids of the voters.
    pub voter_ids: Vec<String>,
    /// Ids of those of which no dir was named.
    pub missing_ids: Vec<String>,
    /// Ids of the learners.
    pub learner_ids: Vec<String>,
    /// Last raft index that all logs agree on.
    pub agreed_index: Option<u64>,
    /// Last raft index that the logs of a majority hold.
    pub majority_index: Option<u64>,
    /// Raft index of a change of membership that is not known to be committed.
    pub pending_change: Option<u64>,
}

/// A path.
#[derive(Clone, Debug, Serialize)]
#[serde(rename_all = "camelCase")]
#[non_exhaustive]
pub struct MemberAnswer {
    /// The path as it was given.
    pub path: String,
    /// What it is good for on its own; `unreadable` when it could not be looked at.
    pub verdict: &'static str,
    /// Why it could not be looked at.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub error: Option<String>,
    /// Id of the member.
    pub member_id: Option<String>,
    /// Id of its cluster.
    pub cluster_id: Option<String>,
    /// Its name.
    pub name: Option<String>,
    /// `voter`, `learner`, `former`, `snapshot` or `unknown`.
    pub role: &'static str,
    /// Whether its log counts towards a majority.
    pub counts: bool,
    /// Newest revision.
    pub revision: Option<i64>,
    /// Keys that exist.
    pub keys: Option<u64>,
    /// Raft index of the last entry of its log.
    pub last_index: Option<u64>,
    /// Term of that entry.
    pub last_term: Option<u64>,
    /// Raft index up to which its own files prove that entries are committed.
    pub known_index: Option<u64>,
    /// How many entries are in its state and not known to be committed.
    pub entries_uncommitted: Option<u64>,
    /// Newest revision that is known to be committed.
    pub revision_committed: Option<i64>,
    /// How many entries of the chosen path it lacks.
    pub entries_behind: Option<u64>,
    /// How many revisions of the chosen path it lacks.
    pub revisions_behind: Option<i64>,
    /// Whether a server has the files open.
    pub running: bool,
    /// What was found about it on its own.
    #[serde(serialize_with = "findings")]
    pub findings: Vec<Finding>,
}

/// Where a path differs from the one it was compared with.
#[derive(Clone, Debug, Serialize)]
#[serde(rename_all = "camelCase")]
#[non_exhaustive]
pub struct DifferenceAnswer {
    /// The path that differs; where a majority tells, the one that is wrong.
    pub path: String,
    /// The path it was compared with.
    pub compared_with: String,
    /// First revision whose records differ.
    pub first_revision: Option<i64>,
    /// Revision up to which was compared.
    pub compared_to: i64,
    /// How many keys differ.
    pub keys_differing: u64,
    /// The first of them.
    pub keys: Vec<Key>,
}

/// What a path holds and another lacks.
#[derive(Clone, Debug, Serialize)]
#[serde(rename_all = "camelCase")]
#[non_exhaustive]
pub struct LackingAnswer {
    /// The path that lacks it.
    pub path: String,
    /// The path that holds it.
    pub held_by: String,
    /// Why it does not matter, or what it means.
    pub reason: &'static str,
    /// First and last raft index, where logs were compared.
    pub entries: Option<(u64, u64)>,
    /// First and last revision, where states were compared.
    pub revisions: Option<(i64, i64)>,
    /// How many keys are written or deleted.
    pub keys_written: u64,
    /// The first of them.
    pub keys: Vec<Key>,
}

/// A key: text where it is UTF-8, and always base64.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Key(pub Vec<u8>);

impl Serialize for Key {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        use serde::ser::SerializeStruct as _;
        let text = std::str::from_utf8(&self.0).ok();
        let mut out = serializer.serialize_struct("Key", 1 + usize::from(text.is_some()))?;
        if let Some(text) = text {
            out.serialize_field("key", text)?;
        }
        out.serialize_field("keyBase64", &STANDARD.encode(&self.0))?;
        out.end()
    }
}

#[derive(Serialize)]
struct FindingJson<'a> {
    severity: String,
    code: &'a str,
    r#where: String,
    message: &'a str,
}

fn findings<S: Serializer>(findings: &[Finding], serializer: S) -> Result<S::Ok, S::Error> {
    serializer.collect_seq(findings.iter().map(|finding| FindingJson {
        severity: finding.severity.to_string(),
        code: finding.code,
        r#where: finding.place.to_string(),
        message: &finding.message,
    }))
}
