//! Logs made to be slow or deep, through the program. The danger: an answer that never comes, and a log called damaged that
//! a server reads.

use std::{path::Path, time::Instant};

use serde_json::Value;

use crate::facts::{case, etcdsnap, json, text};

fn entries(data: &Path, flags: &[&str]) -> Vec<Value> {
    let mut args = vec!["wal", text(data), "-w", "json"];
    args.extend(flags);
    let output = etcdsnap(&args);
    let lines = String::from_utf8(output.stdout).unwrap();
    lines.lines().map(|line| serde_json::from_str(line).unwrap()).collect()
}

/// 1,200 changes of one password in clear text; each was hashed, which took minutes.
#[test]
fn a_password_that_changes_often_is_hashed_once() {
    let dir = case("fuzz-bcrypt-time");
    let data = dir.path().join("data-dir");
    let start = Instant::now();
    let users = json(&["auth", text(&data), "-w", "json"]);
    assert_eq!(users["users"].as_array().unwrap().len(), 1, "{users}");
    // One hash takes a twentieth of a second; a machine under load gets some more.
    assert!(start.elapsed().as_secs() < 20, "{:?}", start.elapsed());
}

/// Transactions nested 60 deep, which etcd 3.5.35 applies: its revision is 2 then.
#[test]
fn a_deeply_nested_transaction_is_applied_and_shown() {
    let dir = case("fuzz-nested-txn");
    let data = dir.path().join("data-dir");
    let info = json(&["info", text(&data), "-w", "json"]);
    assert_eq!(info["revision"], 2, "{info}");
    let shown = entries(&data, &[]);
    let txn = shown.iter().find(|one| one.to_string().contains("notShown"));
    let txn = txn.unwrap_or_else(|| panic!("{shown:?}"));
    assert!(txn.to_string().contains("nested too deeply"), "{txn}");
    // The key of the innermost put is found, shown or not.
    let key = json(&["keys", text(&data), "-w", "json"])["kvs"][0]["key"].clone();
    assert!(key.is_string());
}
