//! Keys of the v2 API. The danger: they are in no db, so that nobody misses them before the old data dir is gone.

use std::{fs, path::Path};

use serde_json::{Value, json as value};

use crate::facts::{case, etcdsnap, json, text, unpack};

fn finding(args: &[&str]) -> Option<String> {
    let answer = json(args);
    let findings = answer["findings"].as_array().unwrap().clone();
    let found = findings.into_iter().find(|finding| finding["code"] == "v2-data")?;
    assert_eq!(found["severity"], "warning");
    Some(found["message"].as_str().unwrap().to_owned())
}

#[test]
fn keys_of_the_v2_api_are_named_and_listed() {
    let dir = case("v2store-35");
    let data = dir.path().join("d");
    let data = text(&data);
    let expected = value!({
        "index": 6,
        "keys": [
            {"path": "/late", "dir": false, "value": "late", "createdIndex": 6, "modifiedIndex": 6, "expiration": null},
            {"path": "/legacy", "dir": true, "createdIndex": 4, "modifiedIndex": 4, "expiration": null},
            {"path": "/legacy/a", "dir": false, "value": "hello", "createdIndex": 4, "modifiedIndex": 4, "expiration": null},
            {"path": "/legacy/ttl", "dir": false, "value": "hello", "createdIndex": 5, "modifiedIndex": 5,
             "expiration": "2026-11-28T03:20:20.72069082Z"},
        ],
        "entriesUncommitted": 0,
        "revisionCommitted": 31,
    });
    assert_eq!(json(&["export-v2", data]), expected);
    assert_eq!(json(&["export-v2", data, "-w", "table"]), expected, "JSON whatever the format");
    // The request of /late stands behind the snapfile.
    let earlier = json(&["export-v2", data, "--to", "39", "--from-wal"]);
    assert_eq!(earlier["keys"].as_array().unwrap().len(), 3);
    for command in ["doctor", "verify"] {
        let said = finding(&[command, data, "-w", "json"]).unwrap();
        assert!(
            said.starts_with("3 keys and 1 directory of the v2 API are in the snapfile"),
            "{said}"
        );
    }
    let info = json(&["info", data, "-w", "json"]);
    assert_eq!(info["v2Keys"], 3);
    let of_36 = info["servers"].as_array().unwrap().iter().find(|one| one["version"] == "3.6.16");
    assert_eq!(of_36.unwrap()["starts"], false);
    let output = etcdsnap(&["info", data]);
    let said = String::from_utf8(output.stderr).unwrap();
    assert!(said.contains("etcd 3.6.16 does not start on these files"), "{said}");
}

#[test]
fn save_and_restore_say_what_they_leave_behind() {
    let dir = case("v2store-35");
    let at = |name: &str| dir.path().join(name);
    let (data, snapshot) = (at("d"), at("s.db"));
    let said = |args: &[&str]| {
        let output = etcdsnap(args);
        assert_eq!(output.status.code(), Some(0), "{output:?}");
        String::from_utf8([output.stdout, output.stderr].concat()).unwrap()
    };
    let left = "left out: 3 keys and 1 directory of the v2 API; etcdsnap export-v2 lists them";
    assert!(said(&["save", text(&data), text(&snapshot)]).contains(left));
    assert!(said(&["save", text(&data), text(&at("t.db")), "-w", "table"]).contains(left));
    assert!(said(&["restore", text(&data), "--data-dir", text(&at("r"))]).contains(left));
    let json = |args: &[&str]| -> Value { json(&[args, &["-w", "json", "--dry-run"]].concat()) };
    assert_eq!(json(&["save", text(&data), text(&at("u.db"))])["v2Keys"], 3);
    assert_eq!(json(&["restore", text(&data), "--data-dir", text(&at("q"))])["v2Keys"], 3);
    // What was saved has none, and nothing says that it has.
    assert_eq!(json(&["restore", text(&snapshot), "--data-dir", text(&at("q"))])["v2Keys"], 0);
    assert_eq!(finding(&["doctor", text(&at("r")), "-w", "json"]), None);
}

#[test]
fn what_has_no_v2_store_is_said() {
    let dir = case("v2store-35");
    let refused = |args: &[&str]| {
        let output = etcdsnap(args);
        assert_eq!(output.status.code(), Some(2), "{output:?}");
        assert!(output.stdout.is_empty());
        let said = String::from_utf8(output.stderr).unwrap();
        assert!(said.contains("name its data dir"), "{said}");
    };
    refused(&["export-v2", text(&dir.path().join("d/member/snap/db"))]);
    refused(&["export-v2", text(&dir.path().join("d")), "--no-wal"]);
    let member = unpack("clean-35");
    let answer = json(&["export-v2", text(&member.path().join("data"))]);
    assert_eq!((&answer["keys"], &answer["index"]), (&value!([]), &value!(3)));
    assert_eq!(finding(&["doctor", text(&member.path().join("data")), "-w", "json"]), None);
}

fn only(dir: &Path, extension: &str) -> std::path::PathBuf {
    let entries = fs::read_dir(dir).unwrap().map(|entry| entry.unwrap().path());
    let mut found: Vec<_> =
        entries.filter(|path| path.extension().is_some_and(|is| is == extension)).collect();
    found.sort();
    found.pop().unwrap()
}

/// Without the db there is a log and a snapfile, which have all of it; and a damaged log has what stands before the damage.
#[test]
fn what_is_left_of_a_damaged_member_is_listed() {
    let dir = case("v2store-35");
    let member = dir.path().join("d/member");
    let (data, wal) = (dir.path().join("d"), only(&member.join("wal"), "wal"));
    let bytes = fs::read(&wal).unwrap();
    let at = bytes.windows(7).rposition(|is| is == b"/1/late").unwrap();
    let mut damaged = bytes.clone();
    damaged[at] ^= 1;
    fs::write(&wal, &damaged).unwrap();
    let output = etcdsnap(&["export-v2", text(&data)]);
    assert_eq!(output.status.code(), Some(1), "{output:?}");
    let answer: Value = serde_json::from_slice(&output.stdout).unwrap();
    assert_eq!(answer["keys"].as_array().unwrap().len(), 3);
    assert!(String::from_utf8_lossy(&output.stderr).contains("damage: "), "{output:?}");
    fs::write(&wal, &bytes).unwrap();
    fs::remove_file(member.join("snap/db")).unwrap();
    assert_eq!(json(&["export-v2", text(&data)])["keys"].as_array().unwrap().len(), 4);
}

/// A snapfile whose checksum is right and whose data is no store: a server up to 3.6 panics.
#[test]
fn a_snapfile_without_a_store_is_told() {
    use etcdsnap_engine::{pb::raftpb, snapfile};
    let dir = case("v2store-35");
    let data = dir.path().join("d");
    let newest = only(&data.join("member/snap"), "snap");
    let whole = snapfile::decode(&fs::read(&newest).unwrap()).unwrap();
    let broken = raftpb::Snapshot { data: Some(b"{\"Root\":7}".to_vec()), ..whole };
    fs::write(&newest, snapfile::encode(&broken)).unwrap();
    let output = etcdsnap(&["export-v2", text(&data)]);
    assert_eq!(output.status.code(), Some(1), "{output:?}");
    let said = String::from_utf8(output.stderr).unwrap();
    assert!(said.contains("at byte 8 of its JSON: expected a node"), "{said}");
    let output = etcdsnap(&["doctor", text(&data), "-w", "json"]);
    let said = String::from_utf8(output.stdout).unwrap();
    assert!(said.contains("no readable v2 store"), "{said}");
}
