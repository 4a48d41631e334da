//! `salvage` and `carve` as scripts meet them. The danger: a damaged member whose WAL is forgotten, or applied to
//! what it does not fit; a deleted key that disturbs a terminal.

use std::{fs, path::Path};

use serde_json::Value;

use crate::facts::{etcdsnap, json, state, text, unpack};

fn salvage(path: &Path, output: &Path) -> (Option<i32>, Value) {
    let ran = etcdsnap(&["salvage", text(path), "--output", text(output), "-w", "json", "-q"]);
    (ran.status.code(), serde_json::from_slice(&ran.stdout).unwrap_or_default())
}

#[test]
fn the_wal_of_a_sound_member_is_applied_to_what_is_saved() {
    let dir = unpack("crashed-36");
    let data = dir.path().join("data");
    let before = state(&data);
    let saved = dir.path().join("saved.db");
    let (code, said) = salvage(&data, &saved);
    assert_eq!((code, &said["whole"]), (Some(0), &Value::Bool(true)), "{said}");
    assert!(said["wal"]["entriesReplayed"].as_u64().unwrap() > 1000, "{said}");
    let hash = |path| json(&["hashkv", text(path), "-w", "json", "-q"]);
    assert_eq!(hash(&saved), hash(&data));
    assert_eq!(state(&data), before, "the input changed");
}

#[test]
fn of_a_lost_newer_meta_the_wal_makes_up_or_it_is_said() {
    let dir = unpack("crashed-35");
    let data = dir.path().join("data");
    let whole = json(&["hashkv", text(&data), "-w", "json", "-q"]);
    let db = data.join("member/snap/db");
    let mut bytes = fs::read(&db).unwrap();
    bytes[..4096].fill(0);
    fs::write(&db, &bytes).unwrap();
    let saved = dir.path().join("saved.db");
    let (code, said) = salvage(&data, &saved);
    assert_eq!((code, &said["keys"]["doubtful"]), (Some(0), &0.into()), "{said}");
    assert_eq!(json(&["hashkv", text(&saved), "-w", "json", "-q"]), whole);
    // Without a log there is only what that commit left in the file.
    let alone = dir.path().join("alone.db");
    let (code, said) = salvage(&db, &alone);
    assert_eq!((code, &said["whole"]), (Some(1), &Value::Bool(false)), "{said}");
    assert!(said["records"]["found"].as_u64().unwrap() > 50, "{said}");
    assert!(said["keys"]["doubtful"].as_u64().unwrap() > 0, "{said}");
    // As of a member whose log is gone.
    fs::remove_dir_all(data.join("member/wal")).unwrap();
    fs::create_dir(data.join("member/wal")).unwrap();
    let without = dir.path().join("without.db");
    let (code, said) = salvage(&data, &without);
    assert_eq!(code, Some(1), "{said}");
    assert!(fs::read(&without).unwrap() == fs::read(&alone).unwrap());
}

#[test]
fn a_wal_that_nobody_can_place_is_not_applied_and_that_is_said() {
    let dir = unpack("crashed-36");
    let data = dir.path().join("data");
    let db = data.join("member/snap/db");
    let mut bytes = fs::read(&db).unwrap();
    bytes[..2 * 4096].fill(0);
    fs::write(&db, bytes).unwrap();
    let (code, said) = salvage(&data, &dir.path().join("saved.db"));
    assert_eq!(code, Some(1), "{said}");
    assert!(said["wal"]["notApplied"].as_str().unwrap().contains("consistent index"), "{said}");
    assert_eq!(said["wal"]["entriesReplayed"], 0);
    assert!(said["keys"]["live"].as_u64().unwrap() > 200, "{said}");
    // The log has every entry since the first: without it, salvage is what is left.
    fs::remove_dir_all(data.join("member/wal")).unwrap();
    let doctor = json_of(&["doctor", text(&data), "-w", "json", "-q"]);
    let next = doctor["next"].as_array().unwrap();
    assert!(
        next.iter().any(|step| step["command"].as_str().unwrap().starts_with("etcdsnap salvage")),
        "{next:?}"
    );
}

fn json_of(args: &[&str]) -> Value {
    serde_json::from_slice(&etcdsnap(args).stdout).unwrap()
}

#[test]
fn bytes_that_are_no_database_are_refused_with_code_2() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("noise");
    for bytes in [Vec::new(), vec![7; 100_000], vec![0; 100_000]] {
        fs::write(&path, bytes).unwrap();
        let (code, said) = salvage(&path, &dir.path().join("out.db"));
        assert_eq!((code, said), (Some(2), Value::Null));
        assert!(!dir.path().join("out.db").exists());
        let carved = etcdsnap(&["carve", text(&path), "-q"]);
        assert_eq!((carved.status.code(), carved.stdout.len()), (Some(0), 0));
    }
}

#[test]
fn a_carved_key_cannot_disturb_a_terminal() {
    // A record alone in a file: a put of a key that clears the screen.
    let key = b"\x1b[2J\xff\xe2\x80\xae";
    let mut bytes = vec![0; 8192];
    bytes.extend([0, 0, 0, 0, 0, 0, 0, 9, b'_', 0, 0, 0, 0, 0, 0, 0, 0, 0x0a, key.len() as u8]);
    bytes.extend(key);
    bytes.extend([0x10, 9, 0x18, 9, 0x20, 1, 0x2a, 2, b'o', b'k']);
    bytes.resize(16_384, 0);
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("one.db");
    fs::write(&path, bytes).unwrap();
    let shown = String::from_utf8(etcdsnap(&["carve", text(&path)]).stdout).unwrap();
    assert!(
        shown.starts_with("9/0  \\x1b[2J\\xff\\u{202e}  2 bytes  page 2 offset 0x2000"),
        "{shown}"
    );
    let record = json(&["carve", text(&path), "-w", "json"]);
    assert_eq!(record["keyBase64"], "G1sySv/igK4=");
    assert_eq!((&record["source"], &record["complete"]), (&"fragment".into(), &true.into()));
}

#[test]
fn flags_that_a_db_cannot_obey_are_refused() {
    let dir = unpack("crashed-36");
    let (data, out) = (dir.path().join("data"), dir.path().join("out.db"));
    for flags in [
        &["--bump-revision", "10", "--mark-compacted"][..],
        &["--mark-compacted"],
        &["--all-members"],
        &["--clear-alarms"],
        &["--wal-dir", "elsewhere"],
    ] {
        let args = [&["salvage", text(&data), "--output", text(&out)], flags].concat();
        let ran = etcdsnap(&args);
        assert_eq!(ran.status.code(), Some(2), "{flags:?}");
        let said = String::from_utf8(ran.stderr).unwrap();
        assert!(said.contains(flags[0]) && !out.exists(), "{said}");
    }
}

#[test]
fn a_wal_named_for_a_db_without_a_member_is_refused_and_not_forgotten() {
    let dir = unpack("crashed-36");
    let (data, out) = (dir.path().join("data"), dir.path().join("out.db"));
    let (db, wal) = (data.join("member/snap/db"), data.join("member/wal"));
    for flags in [["--source-wal-dir", text(&wal)], ["--commit", "known"]] {
        let ran = etcdsnap(&[&["salvage", text(&db), "--output", text(&out)], &flags[..]].concat());
        assert_eq!(ran.status.code(), Some(2), "{flags:?}");
        assert!(!out.exists());
    }
}

#[test]
fn space_is_asked_for_what_will_be_written() {
    let dir = unpack("crashed-36");
    let db = dir.path().join("data/member/snap/db");
    let file = fs::OpenOptions::new().append(true).open(&db).unwrap();
    file.set_len(1 << 30).unwrap();
    for (out, times) in [("out.db", 1), ("out", 2)] {
        let out = dir.path().join(out);
        let (code, said) = salvage(&db, &out);
        assert_eq!(code, Some(0), "{said}");
        let bytes = said["files"][0]["bytes"].as_u64().unwrap();
        assert!(bytes < 2 << 20, "{said}");
        // A restored member's db may be some pages larger than what was saved.
        let needed = said["space"][0]["needed"].as_u64().unwrap();
        assert!((times * (bytes - 32_768)..=times * bytes).contains(&needed), "{said}");
    }
}

#[test]
fn standard_output_is_no_name_for_what_is_saved() {
    let dir = unpack("crashed-36");
    let program = std::path::absolute(env!("CARGO_BIN_EXE_etcdsnap")).unwrap();
    let ran = std::process::Command::new(program)
        .args(["salvage", "data", "--output", "-"])
        .current_dir(dir.path())
        .output()
        .unwrap();
    assert_eq!(ran.status.code(), Some(2));
    assert!(!dir.path().join("-").exists());
    assert!(String::from_utf8(ran.stderr).unwrap().contains("name the data dir"));
}
