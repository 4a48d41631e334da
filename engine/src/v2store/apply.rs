//! What the entries of a log do to the v2 store. Source: etcd `server/etcdserver/apply_v2.go`, `membership/cluster.go`.

use super::{
    Refused,
    tree::{Condition, Expiry, Tree},
};
use crate::{
    pb::{
        entry::Decoded,
        raftpb::{ConfChange, EntryType},
        requestpb::{InternalRaftRequest, V2Request},
        wire::spans,
    },
    replay::{
        Line,
        membership::{Change, Roster},
    },
    wal::LoggedEntry,
};

/// Numbers of the fields that make a request one of the v2 API, or one about the cluster. In a bare request of the v2 API
/// number 2 is its method.
const OF_INTEREST: [u32; 3] = [2, 1300, 1301];

/// The store while entries are applied to it.
pub(super) struct Applying {
    pub(super) tree: Tree,
    /// Members, which decide which changes of membership are made: each counts in the store's index.
    pub(super) roster: Roster,
    /// Whose rules are followed.
    pub(super) line: Line,
    /// Requests of clients that ask for a change, also those that were refused.
    pub(super) requests: u64,
}

impl Applying {
    pub(super) fn apply(&mut self, logged: &LoggedEntry<'_>) {
        let kind = logged.entry.r#type.unwrap_or_default();
        if kind == EntryType::Normal as i32
            && !spans(logged.entry.data)
                .any(|span| span.map_or(true, |span| OF_INTEREST.contains(&span.field)))
        {
            return;
        }
        match Decoded::new(kind, logged.entry.data) {
            Decoded::V2(v2) => self.request(&v2),
            Decoded::ConfChange(change) => self.conf_change(&change),
            Decoded::Request(request) => self.of_cluster(&request),
            Decoded::Empty | Decoded::Unknown => {}
        }
    }

    fn request(&mut self, v2: &V2Request) {
        let (path, value) = (v2.path.as_slice(), v2.val.as_slice());
        let at = (v2.expiration != 0).then_some(v2.expiration);
        let expiry = Expiry { at, refresh: v2.refresh };
        let condition = Condition { value: &v2.prev_value, index: v2.prev_index };
        let conditional = v2.prev_index > 0 || !v2.prev_value.is_empty();
        let tree = &mut self.tree;
        let done = match v2.method.as_slice() {
            b"POST" => tree.create(path, v2.dir, value, true, expiry),
            b"DELETE" if conditional => tree.compare_and_delete(path, condition),
            b"DELETE" => tree.delete(path, v2.dir, v2.recursive),
            b"PUT" => match v2.prev_exist {
                Some(false) => tree.create(path, v2.dir, value, false, expiry),
                _ if conditional => tree.compare_and_swap(path, condition, value, expiry),
                Some(true) => tree.update(path, value, expiry),
                None if path == b"/0/version" => return self.version(value),
                None => match attributes_of(path) {
                    Some(id) => return self.attributes(id, value),
                    None => tree.set(path, v2.dir, value, expiry),
                },
            },
            b"SYNC" => {
                tree.expire(v2.time);
                return;
            }
            _ => return,
        };
        // A request that is refused changes nothing, as on the server.
        let _: Result<(), Refused> = done;
        self.requests = self.requests.saturating_add(1);
    }

    /// Servers of 3.5 understand what later ones say of a cluster, and keep it here too.
    fn of_cluster(&mut self, request: &InternalRaftRequest) {
        if let Some(set) = &request.cluster_version_set {
            self.version(set.ver.as_bytes());
        } else if let Some(set) = &request.cluster_member_attr_set {
            self.attributes(set.member_id, b"{}");
        }
    }

    fn version(&mut self, version: &[u8]) {
        let _ = self.tree.set(b"/0/version", false, version, Expiry::default());
    }

    /// Name and client URLs of a member: no change where the member is unknown.
    fn attributes(&mut self, id: u64, value: &[u8]) {
        if self.roster.get(crate::ids::MemberId(id)).is_some() {
            let path = format!("/0/members/{id:x}/attributes");
            let _ = self.tree.set(path.as_bytes(), false, value, Expiry::default());
        }
    }

    /// Keeps members where the server keeps them: each such change counts in the store's index.
    fn conf_change(&mut self, change: &ConfChange) {
        let Ok(valid) = self.roster.validate(change) else { return };
        self.roster.make(self.line, &valid);
        let id = valid.id().0;
        let own = format!("/0/members/{id:x}/raftAttributes");
        let (own, never) = (own.as_bytes(), Expiry::default());
        // What is said of members is not shown, so that a value stands for all.
        let done = match valid {
            Change::Add(_) => self.tree.create(own, false, b"{}", false, never),
            Change::Promote(_) | Change::Update { .. } => self.tree.update(own, b"{}", never),
            Change::Remove(_) => {
                let member = format!("/0/members/{id:x}");
                let removed = format!("/0/removed_members/{id:x}");
                let gone = self.tree.delete(member.as_bytes(), true, true);
                gone.and_then(|()| {
                    self.tree.create(removed.as_bytes(), false, b"removed", false, never)
                })
            }
        };
        let _: Result<(), Refused> = done;
    }
}

/// The member whose name and client URLs `path` holds. etcd looks for this anywhere in the path.
fn attributes_of(path: &[u8]) -> Option<u64> {
    let path = std::str::from_utf8(path).ok()?;
    let (_, rest) = path.split_once("/0/members/")?;
    let (id, _) = rest.split_once("/attributes")?;
    let hex = !id.is_empty() && id.len() <= 16 && id.bytes().all(|byte| byte.is_ascii_hexdigit());
    u64::from_str_radix(id, 16).ok().filter(|_| hex)
}

#[cfg(test)]
mod tests {
    use prost::Message as _;

    use super::*;
    use crate::pb::{
        membershippb::ClusterVersionSetRequest,
        raftpb::{ConfChangeType, Entry},
    };
    use crate::wal::{Encoder, Log, Segment, SegmentName};

    fn put(path: &str) -> V2Request {
        V2Request {
            method: b"PUT".to_vec(),
            path: path.into(),
            val: b"v".to_vec(),
            ..V2Request::default()
        }
    }

    fn change(kind: ConfChangeType, id: u64, url: &str) -> (i32, Vec<u8>) {
        let context = format!(r#"{{"id":{id},"peerURLs":["{url}"]}}"#).into_bytes();
        let (r#type, node_id) = (Some(kind.into()), Some(id));
        let change = ConfChange { id: None, r#type, node_id, context: Some(context) };
        (1, change.encode_to_vec())
    }

    /// The store's index after each entry, and the number of clients' requests.
    fn indexes(entries: &[(i32, Vec<u8>)]) -> (Vec<u64>, u64) {
        let mut encoder = Encoder::new(0);
        for (index, (kind, data)) in (1..).zip(entries) {
            let data = Some(data.clone());
            encoder.entry(&Entry { r#type: Some(*kind), term: Some(1), index: Some(index), data });
        }
        let (bytes, _) = encoder.finish();
        let name = SegmentName { sequence: 0, index: 0 };
        let log = Log::read(&[Segment { name, bytes: &bytes }]);
        let mut applying = Applying {
            tree: Tree::default(),
            roster: Roster::default(),
            line: Line::V3_5,
            requests: 0,
        };
        let each = log.entries.iter().map(|logged| {
            applying.apply(logged);
            applying.tree.index()
        });
        (each.collect(), applying.requests)
    }

    #[test]
    fn what_servers_say_of_themselves_counts_in_the_index() {
        use ConfChangeType::{AddNode, RemoveNode, UpdateNode};
        let version = ClusterVersionSetRequest { ver: "3.6.0".into() };
        let later =
            InternalRaftRequest { cluster_version_set: Some(version), ..Default::default() };
        let entries = [
            change(AddNode, 7, "http://a"),
            change(AddNode, 8, "http://a"),
            change(UpdateNode, 7, "http://b"),
            (0, put("/0/members/7/attributes").encode_to_vec()),
            (0, put("/0/members/9/attributes").encode_to_vec()),
            (0, put("/0/version").encode_to_vec()),
            (0, later.encode_to_vec()),
            (0, put("/1/a").encode_to_vec()),
            change(RemoveNode, 7, ""),
            change(AddNode, 7, "http://a"),
            (0, Vec::new()),
        ];
        assert_eq!(indexes(&entries), (vec![1, 1, 2, 3, 3, 4, 5, 6, 8, 8, 8], 1));
    }

    #[test]
    fn only_what_asks_for_a_change_is_a_request() {
        let with = |method: &[u8]| {
            (0, V2Request { method: method.to_vec(), ..put("/1/a") }.encode_to_vec())
        };
        let entries = [with(b"PUT"), with(b"QGET"), with(b"SYNC"), with(b"POST"), with(b"DELETE")];
        // A key below a file is refused.
        assert_eq!(indexes(&entries), (vec![1, 1, 1, 1, 2], 3));
        let wrapped = InternalRaftRequest { v2: Some(put("/1/b")), ..Default::default() };
        assert_eq!(indexes(&[(0, wrapped.encode_to_vec())]), (vec![1], 1));
    }
}
