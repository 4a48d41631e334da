//! `redact` as people meet it. The dangers: the original changed, a copy that is shared and says too much, and a copy that
//! says something else.

use std::fs;

use serde_json::Value;

use crate::facts::{etcdsnap, json, state, text, unpack};

#[test]
fn a_copy_is_sound_as_the_original_and_holds_no_value() {
    let dir = unpack("authon-36");
    let (snapshot, copy) = (dir.path().join("snapshot.db"), dir.path().join("copy.db"));
    let before = state(&snapshot);
    let said = json(&["redact", text(&snapshot), text(&copy), "-w", "json"]);
    assert_eq!(said["sameFindings"], true, "{said}");
    assert_eq!((&said["keys"], &said["kind"]), (&"kept".into(), &"snapshot".into()));
    assert!(state(&snapshot) == before, "the original changed");
    let values = |path| -> Vec<(Value, Value)> {
        let kvs = json(&["keys", text(path), "-w", "json"])["kvs"].clone();
        let kvs = kvs.as_array().unwrap().clone();
        kvs.into_iter().map(|kv| (kv["key"].clone(), kv["value"].clone())).collect()
    };
    let (values, copied) = (values(&snapshot), values(&copy));
    assert!(values.len() == copied.len() && !values.is_empty());
    for (was, is) in values.iter().zip(&copied) {
        assert_eq!(was.0, is.0, "keys stay");
        let length = |value: &Value| value.as_str().map(str::len);
        assert_eq!(length(&was.1), length(&is.1), "{was:?}");
        assert!(
            is.1.is_null() || "cmVkYWN0ZWQg".starts_with(&is.1.as_str().unwrap()[..1]),
            "{is:?}"
        );
    }
    let without = |command: &[&str], path| {
        let mut said = json(&[command, &[text(path), "-w", "json"]].concat());
        for field in ["path", "hash", "checks"] {
            said[field] = Value::Null;
        }
        said.to_string()
    };
    for command in
        [["info"].as_slice(), &["status"], &["verify"], &["check"], &["leases"], &["auth"]]
    {
        let same = without(command, &snapshot) == without(command, &copy);
        // Passwords are no part of `auth`'s answer.
        assert!(same, "{command:?}: {}\n{}", without(command, &snapshot), without(command, &copy));
    }
}

#[test]
fn a_damaged_file_gives_a_copy_with_the_same_damage_and_code_1() {
    let dir = unpack("clean-36");
    let (snapshot, copy) = (dir.path().join("snapshot.db"), dir.path().join("copy.db"));
    let mut bytes = fs::read(&snapshot).unwrap();
    let pages = bytes.len() / 4096;
    // The middle page of a tree names another one; and the last is not there.
    let page = (pages / 2..pages).find(|page| bytes[page * 4096 + 8] == 2).unwrap();
    bytes[page * 4096] ^= 0x40;
    bytes.truncate((pages - 1) * 4096);
    let damaged = dir.path().join("damaged.db");
    fs::write(&damaged, &bytes).unwrap();
    let output = etcdsnap(&["redact", text(&damaged), text(&copy), "-w", "json"]);
    assert_eq!(output.status.code(), Some(1));
    let said: Value = serde_json::from_slice(&output.stdout).unwrap();
    assert_eq!(said["sameFindings"], true, "{said}");
    assert_eq!(fs::metadata(&copy).unwrap().len(), bytes.len() as u64);
    for command in ["verify", "check"] {
        let findings = |path| -> Value {
            let output = etcdsnap(&[command, text(path), "-w", "json"]);
            assert_eq!(output.status.code(), Some(1), "{command}");
            serde_json::from_slice::<Value>(&output.stdout).unwrap()["findings"].clone()
        };
        assert!(!findings(&damaged).as_array().unwrap().is_empty());
        assert_eq!(findings(&damaged), findings(&copy), "{command}");
    }
}

#[test]
fn a_dry_run_writes_nothing_and_targets_in_the_input_are_refused() {
    let dir = unpack("clean-36");
    let data = dir.path().join("data");
    let before = state(dir.path());
    let out = dir.path().join("copy.db");
    let said = json(&["redact", text(&data), text(&out), "--dry-run", "-w", "json"]);
    assert_eq!(said["dryRun"], true);
    assert_eq!(said["files"][0]["bytes"], said["bytes"]);
    for target in [data.join("member/snap/copy.db"), data.join("member/snap/db")] {
        let output = etcdsnap(&["redact", text(&data), text(&target)]);
        assert_eq!(output.status.code(), Some(2));
    }
    let output = etcdsnap(&["redact", text(&dir.path().join("data/member/wal")), text(&out)]);
    assert_eq!(output.status.code(), Some(2));
    assert!(state(dir.path()) == before);
}

#[test]
fn keys_are_replaced_alike_by_the_same_seed_alone() {
    let dir = unpack("kube-36");
    let snapshot = dir.path().join("snapshot.db");
    let copy = |name: &str, more: &[&str]| {
        let path = dir.path().join(name);
        json(
            &[&["redact", text(&snapshot), text(&path), "--redact-keys", "-w", "json"], more]
                .concat(),
        );
        fs::read(path).unwrap()
    };
    let one = copy("1", &["--seed", "a"]);
    assert!(one == copy("2", &["--seed", "a"]));
    assert!(one != copy("3", &["--seed", "b"]));
    assert!(copy("4", &[]) != copy("5", &[]), "without a seed each run has its own");
    let has = |bytes: &[u8], word: &[u8]| bytes.windows(word.len()).any(|window| window == word);
    let secret = b"bootstrap-signer";
    assert!(has(&fs::read(&snapshot).unwrap(), secret) && !has(&one, secret));
}
