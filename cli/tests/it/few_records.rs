//! Questions about few records of a member whose log could replace its db. The danger: an answer from a damaged db where the
//! log has the right one, and a look at everything where nobody asked for it.

use std::{
    fs,
    path::{Path, PathBuf},
};

use etcdsnap_engine::{
    member::{self, DbState},
    progress::Silent,
    snapshot::Depth,
    source::Access,
};
use serde_json::Value;

use crate::facts::{etcdsnap, json, text, unpack};

/// A key, and its record in the db as it begins: field 1 with the key.
fn some_record(data: &Path) -> (String, Vec<u8>) {
    let keys = json(&["keys", text(data), "-w", "json"]);
    let count = keys["kvs"].as_array().unwrap().len();
    let listed = etcdsnap(&["keys", text(data)]);
    let listed = String::from_utf8(listed.stdout).unwrap();
    let key = listed.lines().nth(count / 2).unwrap().to_owned();
    let mut record = vec![0x0a, u8::try_from(key.len()).unwrap()];
    record.extend(key.as_bytes());
    (key, record)
}

/// Changes one byte of every record that begins with `record`.
fn spoil(db: &Path, record: &[u8], at: usize) {
    let mut bytes = fs::read(db).unwrap();
    let places: Vec<usize> = (0..bytes.len() - record.len())
        .filter(|start| bytes[*start..].starts_with(record))
        .collect();
    assert!(!places.is_empty());
    places.iter().for_each(|start| bytes[start + at] ^= 1);
    fs::write(db, bytes).unwrap();
}

fn db_of(data: &Path) -> PathBuf {
    data.join("member/snap/db")
}

fn answers(data: &Path, key: &str) -> [Value; 4] {
    let data = text(data);
    [vec!["get", data, key], vec!["hashkv", data], vec!["members", data], vec!["keys", data]]
        .map(|args| json(&[args, vec!["-w", "json"]].concat()))
}

fn total(data: &Path) -> Value {
    json(&["info", text(data), "-w", "json"])["totalKey"].clone()
}

#[test]
fn a_record_that_cannot_be_decoded_is_read_from_the_log() {
    let dir = unpack("clean-36");
    let data = dir.path().join("data");
    let (key, record) = some_record(&data);
    let (before, keys) = (answers(&data, &key), total(&data));
    // Its first byte, the key's tag.
    spoil(&db_of(&data), &record, 0);
    assert_eq!(etcdsnap(&["get", text(&db_of(&data)), &key]).status.code(), Some(1));
    assert!(answers(&data, &key) == before);
    assert_eq!(total(&data), keys);
    // Said once, although the question was put twice.
    let output = etcdsnap(&["get", text(&data), &key]);
    let said = String::from_utf8(output.stderr).unwrap();
    assert_eq!(said.matches("to an empty db").count(), 1, "{said}");
}

#[test]
fn a_key_that_is_not_there_is_looked_for_in_the_log() {
    let dir = unpack("clean-36");
    let data = dir.path().join("data");
    let (key, record) = some_record(&data);
    let before = answers(&data, &key);
    // The key's last letter: a history that begins with its second version, and that of a key that never was.
    spoil(&db_of(&data), &record, record.len() - 1);
    assert!(answers(&data, &key) == before);
}

#[test]
fn how_far_records_are_looked_at_is_up_to_the_question() {
    let dir = unpack("clean-36");
    let data = dir.path().join("data");
    let (_, record) = some_record(&data);
    let state = |depth: Depth| {
        let options = member::Options { depth, ..member::Options::new(Access::Read) };
        let opened = member::open(&data, &options, &Silent).unwrap();
        (opened.db_state().unwrap(), opened.is_replaceable(), opened.known_pages().is_some())
    };
    assert_eq!(state(Depth::All), (DbState::Sound, true, true));
    spoil(&db_of(&data), &record, 0);
    assert_eq!(state(Depth::Small), (DbState::Sound, true, true));
    assert_eq!(state(Depth::All), (DbState::Damaged, false, true));
}
