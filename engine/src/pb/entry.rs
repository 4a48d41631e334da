//! What an entry of the raft log holds.

use prost::Message as _;

use super::{
    raftpb::{ConfChange, EntryType},
    requestpb::{InternalRaftRequest, V2Request},
};

/// The decoded data of an entry.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Decoded {
    /// No data: what a new leader opens its term with.
    Empty,
    /// A request.
    Request(Box<InternalRaftRequest>),
    /// A request of the v2 API, up to 3.6.
    V2(Box<V2Request>),
    /// A change of membership.
    ConfChange(ConfChange),
    /// Nothing any etcd writes.
    Unknown,
}

impl Decoded {
    /// Decodes the data of an entry of type `kind`. Source: etcd `applyEntryNormal`: what is no request, or a
    /// request that wraps one of the v2 API, is of the v2 API.
    pub fn new(kind: i32, data: &[u8]) -> Self {
        match EntryType::try_from(kind) {
            Ok(EntryType::Normal) if data.is_empty() => Decoded::Empty,
            Ok(EntryType::Normal) => Self::normal(data),
            Ok(EntryType::ConfChange) => {
                ConfChange::decode(data).map_or(Decoded::Unknown, Decoded::ConfChange)
            }
            Ok(EntryType::ConfChangeV2) | Err(_) => Decoded::Unknown,
        }
    }

    fn normal(data: &[u8]) -> Self {
        match InternalRaftRequest::decode(data) {
            Ok(InternalRaftRequest { v2: Some(request), .. }) => Decoded::V2(Box::new(request)),
            Ok(request) => Decoded::Request(Box::new(request)),
            Err(_) => V2Request::decode(data)
                .map_or(Decoded::Unknown, |request| Decoded::V2(Box::new(request))),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::pb::kvpb::PutRequest;

    #[test]
    fn every_kind_of_entry_is_told_apart() {
        let put = PutRequest { key: b"k".to_vec(), ..PutRequest::default() };
        let request = InternalRaftRequest { put: Some(put), ..InternalRaftRequest::default() };
        let v2 =
            V2Request { method: "PUT".into(), path: "/0/version".into(), ..V2Request::default() };
        let wrapped =
            InternalRaftRequest { v2: Some(v2.clone()), ..InternalRaftRequest::default() };
        let change = ConfChange { node_id: Some(7), ..ConfChange::default() };
        let normal = |bytes: &[u8]| Decoded::new(0, bytes);
        assert_eq!(normal(&[]), Decoded::Empty);
        assert_eq!(normal(&request.encode_to_vec()), Decoded::Request(Box::new(request)));
        assert_eq!(normal(&v2.encode_to_vec()), Decoded::V2(Box::new(v2.clone())));
        assert_eq!(normal(&wrapped.encode_to_vec()), Decoded::V2(Box::new(v2)));
        assert_eq!(Decoded::new(1, &change.encode_to_vec()), Decoded::ConfChange(change));
        assert_eq!(normal(&[0xff; 3]), Decoded::Unknown);
        assert_eq!(Decoded::new(2, &[]), Decoded::Unknown);
    }

    /// Real servers of 3.4 to 3.6 apply such entries.
    #[test]
    fn names_that_are_no_text_are_taken() {
        use crate::pb::requestpb::AuthUserAddRequest;
        let add = AuthUserAddRequest { name: b"a\xff".to_vec(), ..AuthUserAddRequest::default() };
        let request = InternalRaftRequest { auth_user_add: Some(add), ..Default::default() };
        let v2 = V2Request { method: b"PUT".to_vec(), val: vec![0xfe], ..V2Request::default() };
        let normal = |bytes: &[u8]| Decoded::new(0, bytes);
        assert_eq!(normal(&request.encode_to_vec()), Decoded::Request(Box::new(request)));
        assert_eq!(normal(&v2.encode_to_vec()), Decoded::V2(Box::new(v2)));
    }
}
