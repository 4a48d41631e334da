//! JSON as Go's encoding/json writes it.

use serde::Serialize;

use super::{
    members::Member,
    meta::{ConfState, Downgrade},
};

/// Compact JSON with Go's habits: `<`, `>`, `&` and the two Unicode line separators are escaped, so that
/// it can stand in HTML. None of them occurs outside of strings.
pub fn go_json(value: &impl Serialize) -> String {
    serde_json::to_string(value)
        .expect("plain structs of strings and numbers always become JSON")
        .replace('<', "\\u003c")
        .replace('>', "\\u003e")
        .replace('&', "\\u0026")
        .replace('\u{2028}', "\\u2028")
        .replace('\u{2029}', "\\u2029")
}

#[derive(Serialize)]
struct MemberJson<'a> {
    id: u64,
    #[serde(rename = "peerURLs")]
    peer_urls: &'a [String],
    #[serde(rename = "isLearner", skip_serializing_if = "is_false")]
    is_learner: bool,
    #[serde(skip_serializing_if = "str::is_empty")]
    name: &'a str,
    #[serde(rename = "clientURLs", skip_serializing_if = "<[_]>::is_empty")]
    client_urls: &'a [String],
}

#[expect(clippy::trivially_copy_pass_by_ref, reason = "serde calls it with a reference")]
fn is_false(value: &bool) -> bool {
    !value
}

/// A member as bucket `members` holds it. The id is a number beyond 2^53: do not read it back as a float.
pub fn member(member: &Member) -> String {
    go_json(&MemberJson {
        id: member.id.0,
        peer_urls: &member.peer_urls,
        is_learner: member.is_learner,
        name: &member.name,
        client_urls: &member.client_urls,
    })
}

#[derive(Serialize)]
struct ConfStateJson<'a> {
    #[serde(skip_serializing_if = "<[_]>::is_empty")]
    voters: &'a [u64],
    #[serde(skip_serializing_if = "<[_]>::is_empty")]
    learners: &'a [u64],
    #[serde(skip_serializing_if = "<[_]>::is_empty")]
    voters_outgoing: &'a [u64],
    #[serde(skip_serializing_if = "<[_]>::is_empty")]
    learners_next: &'a [u64],
    auto_leave: bool,
}

/// Raft's configuration as bucket `meta` holds it.
pub fn conf_state(conf: &ConfState) -> String {
    go_json(&ConfStateJson {
        voters: &conf.voters,
        learners: &conf.learners,
        voters_outgoing: &conf.voters_outgoing,
        learners_next: &conf.learners_next,
        auto_leave: conf.auto_leave,
    })
}

#[derive(Serialize)]
struct DowngradeJson<'a> {
    #[serde(rename = "target-version")]
    target_version: &'a str,
    enabled: bool,
}

/// A downgrade as bucket `cluster` holds it.
pub fn downgrade(downgrade: &Downgrade) -> String {
    go_json(&DowngradeJson {
        target_version: &downgrade.target_version,
        enabled: downgrade.enabled,
    })
}
