//! Members of a restored cluster as JSON.

use serde::Serialize;

use super::identity::Member;
use crate::schema::json::go_json;

#[derive(Serialize)]
struct MemberJson<'a> {
    id: u64,
    #[serde(rename = "peerURLs")]
    peer_urls: &'a [String],
    #[serde(skip_serializing_if = "str::is_empty")]
    name: &'a str,
}

/// A new voting member as etcd stores it: in bucket `members`, and in the change of membership that adds
/// it. The id is a number beyond 2^53: do not read it back as a float.
pub fn member_json(member: &Member) -> String {
    go_json(&MemberJson { id: member.id.0, peer_urls: &member.peer_urls, name: &member.name })
}

#[derive(Serialize)]
struct RaftAttributes<'a> {
    #[serde(rename = "peerURLs")]
    peer_urls: &'a [String],
}

/// The part of a member that raft needs, as the v2 store keeps it.
pub(super) fn raft_attributes_json(member: &Member) -> String {
    go_json(&RaftAttributes { peer_urls: &member.peer_urls })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::ids::MemberId;

    fn member(name: &str) -> Member {
        let peer_urls = vec!["http://h:1?a&b".to_owned(), "unix:a".to_owned()];
        Member { id: MemberId(u64::MAX), name: name.to_owned(), peer_urls }
    }

    #[test]
    fn a_member_is_written_in_etcds_order_with_gos_escapes() {
        let name = "<\u{2028}\u{2029}>\"\\\u{1}\u{7f}\té";
        assert_eq!(
            member_json(&member(name)),
            "{\"id\":18446744073709551615,\"peerURLs\":[\"http://h:1?a\\u0026b\",\"unix:a\"],\
             \"name\":\"\\u003c\\u2028\\u2029\\u003e\\\"\\\\\\u0001\u{7f}\\té\"}"
        );
    }

    #[test]
    fn an_empty_name_is_left_out() {
        assert!(member_json(&member("")).ends_with("\"unix:a\"]}"));
    }
}
