//! Danger: a restored member whose log differs from what etcd writes boots here and fails there, or boots
//! under another id than its peers expect. So the bytes are held to those of etcdutl.

use etcdsnap_engine::pb::raftpb::{ConfChange, ConfState, EntryType, Snapshot, SnapshotMetadata};
use etcdsnap_engine::restore::{Cluster, InitialCluster, PeerUrl, member_json, raft};
use etcdsnap_engine::wal::{self, End, Kind, Payload, Record};
use etcdsnap_engine::{ids, snapfile};
use prost::Message;

/// Words given to etcdutl, and the first bytes of what 3.6 and 3.7 made of them.
struct Golden {
    name: &'static str,
    initial: &'static str,
    token: &'static str,
    advertised: &'static str,
    by_3_6: &'static [u8],
    by_3_7: &'static [u8],
}

const GOLDEN: [Golden; 3] = [
    Golden {
        name: "default",
        initial: "default=http://localhost:2380",
        token: "etcd-cluster",
        advertised: "http://localhost:2380",
        by_3_6: include_bytes!("golden/restored-one-3.6.wal"),
        by_3_7: include_bytes!("golden/restored-one-3.7.wal"),
    },
    Golden {
        name: "m2",
        initial: "m1=http://10.0.0.1:2380,m2=http://10.0.0.2:2380,m3=http://10.0.0.3:2380",
        token: "tok",
        advertised: "http://10.0.0.2:2380",
        by_3_6: include_bytes!("golden/restored-three-3.6.wal"),
        by_3_7: include_bytes!("golden/restored-three-3.7.wal"),
    },
    Golden {
        name: "a<b>&é",
        initial: "a<b>&é=https://[fe80::1%25eth0]:2380,n2=unix://localhost:2222,\
                  a<b>&é=http://10.1.1.1:80,n3=http://h:1?a=b&c#f<g",
        token: "t o&k",
        advertised: "http://10.1.1.1:80,https://[fe80::1%25eth0]:2380",
        by_3_6: include_bytes!("golden/restored-odd-3.6.wal"),
        by_3_7: include_bytes!("golden/restored-odd-3.7.wal"),
    },
];

impl Golden {
    fn cluster(&self) -> Cluster {
        let initial = InitialCluster::parse(self.initial).unwrap();
        initial.check_member(self.name, &PeerUrl::parse_list(self.advertised).unwrap()).unwrap();
        initial.cluster(self.token).unwrap()
    }

    fn own_id(&self) -> ids::MemberId {
        self.cluster().member_named(self.name).unwrap().id
    }
}

#[test]
fn the_log_is_byte_for_byte_the_one_etcdutl_writes() {
    for golden in GOLDEN {
        let mut head = raft::wal_head(&golden.cluster(), golden.own_id());
        assert!(head.len() < golden.by_3_6.len());
        head.resize(golden.by_3_6.len(), 0);
        assert!(head == golden.by_3_6, "{}", golden.initial);
    }
}

#[test]
fn the_log_says_what_the_one_of_3_7_says() {
    // 3.7 leaves out zero fields, so the records are compared by their meaning.
    for golden in GOLDEN {
        let head = raft::wal_head(&golden.cluster(), golden.own_id());
        let ours: Vec<_> = wal::records(&head).map(|record| meaning(&record.unwrap())).collect();
        let theirs: Vec<_> =
            wal::records(golden.by_3_7).map(|record| meaning(&record.unwrap())).collect();
        assert_eq!(ours, theirs);
        assert_eq!(ours.len(), 5 + golden.cluster().members.len());
    }
}

/// A record with its absent fields filled in with zeros.
fn meaning(record: &Record<'_>) -> (Kind, String) {
    let text = match record.payload().unwrap() {
        Payload::Entry(entry) => {
            assert_eq!(entry.r#type(), EntryType::ConfChange);
            let change = ConfChange::decode(entry.data()).unwrap();
            let context = String::from_utf8(change.context().to_vec()).unwrap();
            let change = (change.id(), change.r#type(), change.node_id());
            format!("{} {} {change:?} {context}", entry.term(), entry.index())
        }
        Payload::Snapshot(mark) => {
            let voters = mark.conf_state.as_ref().map(|state| filled(state.clone()));
            format!("{} {} {voters:?}", mark.term(), mark.index())
        }
        other => format!("{other:?}"),
    };
    (record.kind, text)
}

fn filled(state: ConfState) -> ConfState {
    ConfState { auto_leave: Some(state.auto_leave()), ..state }
}

#[test]
fn the_snapfile_says_who_takes_part_as_etcdutls_does() {
    let cluster = GOLDEN[1].cluster();
    let (name, bytes) = raft::snapfile(&cluster);
    assert_eq!(name.to_string(), "0000000000000001-0000000000000003.snap");
    let ours = snapfile::decode(&bytes).unwrap();
    for theirs in [
        &include_bytes!("golden/restored-three-3.6.snap")[..],
        &include_bytes!("golden/restored-three-3.7.snap")[..],
    ] {
        let decoded = snapfile::decode(theirs).unwrap();
        assert_eq!(snapfile::encode(&decoded), theirs, "etcdutl's own file is written again alike");
        assert_eq!(filled_metadata(&ours), filled_metadata(&decoded));

        // The same tree of members; the counters of creation follow Go's random order of maps there.
        let json = |bytes: &[u8]| serde_json::from_slice::<serde_json::Value>(bytes).unwrap();
        let (our_json, their_json) = (json(ours.data()), json(decoded.data()));
        assert_eq!(paths_and_values(&our_json["Root"]), paths_and_values(&their_json["Root"]));
        assert_eq!(our_json["CurrentIndex"], their_json["CurrentIndex"]);
        assert_eq!(our_json["CurrentVersion"], their_json["CurrentVersion"]);
    }
}

fn filled_metadata(snapshot: &Snapshot) -> SnapshotMetadata {
    let metadata = snapshot.metadata.clone().unwrap();
    SnapshotMetadata { conf_state: metadata.conf_state.map(filled), ..metadata }
}

/// Path, value and kind of every node, depth first.
fn paths_and_values(node: &serde_json::Value) -> Vec<(String, String, bool)> {
    let text = |field: &str| node[field].as_str().unwrap().to_owned();
    assert_eq!(text("ExpireTime"), "0001-01-01T00:00:00Z");
    let children = node["Children"].as_object();
    let mut all = vec![(text("Path"), text("Value"), children.is_some())];
    for child in children.into_iter().flat_map(|children| children.values()) {
        all.extend(paths_and_values(child));
    }
    all
}

#[test]
fn a_members_json_is_the_one_in_etcdutls_log() {
    for golden in GOLDEN {
        let contexts: Vec<String> = wal::records(golden.by_3_6)
            .filter_map(|record| match record.unwrap().payload().unwrap() {
                Payload::Entry(entry) => {
                    let change = ConfChange::decode(entry.data()).unwrap();
                    Some(String::from_utf8(change.context.unwrap()).unwrap())
                }
                _ => None,
            })
            .collect();
        let ours: Vec<String> = golden.cluster().members.iter().map(member_json).collect();
        assert_eq!(ours, contexts);
    }
}

#[test]
fn logs_of_real_members_are_read_up_to_where_they_were_cut() {
    let logs: [(&[u8], usize, u64, u64); 3] = [
        (include_bytes!("golden/member-3.4.wal"), 54, 26, 8056),
        (include_bytes!("golden/member-3.5.wal"), 50, 25, 7776),
        (include_bytes!("golden/member-3.7.wal"), 58, 27, 8064),
    ];
    for (bytes, count, last_index, offset) in logs {
        let mut records = wal::records(bytes);
        let payloads: Vec<Payload> =
            records.by_ref().map(|record| record.unwrap().payload().unwrap()).collect();
        assert_eq!((payloads.len(), records.end()), (count, Some(End::Torn { offset })));
        let indexes: Vec<u64> = payloads
            .iter()
            .filter_map(|payload| match payload {
                Payload::Entry(entry) => Some(entry.index()),
                _ => None,
            })
            .collect();
        assert_eq!(indexes, (1..=last_index).collect::<Vec<_>>());
        let metadata = wal::metadata(bytes).unwrap().unwrap();
        assert!(metadata.node_id() != 0 && metadata.cluster_id() != 0);
    }
}
