//! Data dirs that are not as they should be. The danger: a log that has everything and is not used, and a db that
//! belongs to another history and is taken for the newest state.

use std::{
    fs,
    path::{Path, PathBuf},
};

use serde_json::Value;

use crate::facts::{case, etcdsnap, facts, json, text, unpack};

fn hash(path: &Path, flags: &[&str]) -> (Option<i32>, Value) {
    let output = etcdsnap(&[&["hashkv", text(path), "-w", "json"], flags].concat());
    (output.status.code(), serde_json::from_slice(&output.stdout).unwrap_or_default())
}

fn doctor(path: &Path) -> (Option<i32>, String, Vec<String>) {
    let output = etcdsnap(&["doctor", text(path), "-w", "json"]);
    let said: Value = serde_json::from_slice(&output.stdout).unwrap();
    let member = said["members"][0].clone();
    let codes = member["findings"].as_array().unwrap().iter();
    let codes = codes.map(|one| one["code"].as_str().unwrap().to_owned()).collect();
    (output.status.code(), said["verdict"].as_str().unwrap().to_owned(), codes)
}

fn code(args: &[&str]) -> Option<i32> {
    etcdsnap(args).status.code()
}

/// Where the only data dir below `root` is.
fn data_dir(root: &Path) -> PathBuf {
    fs::read_dir(root).unwrap().map(|entry| entry.unwrap().path()).next().unwrap()
}

/// What etcd 3.6.16 said once it had made the state anew from the log.
#[test]
fn a_log_since_the_first_entry_replaces_a_db_that_is_missing_or_blank() {
    for (name, hash_kv, revision) in [
        ("db-gone", 2_570_787_601_u64, 32),
        ("db-zeros", 2_570_787_601, 32),
        ("db-gone-snapfiles", 265_682_616, 41),
    ] {
        let dir = case(name);
        let data = data_dir(dir.path());
        let (exit, ours) = hash(&data, &[]);
        assert_eq!(exit, Some(0), "{name}");
        assert_eq!(
            (ours["hash"].as_u64(), ours["hashRevision"].as_i64()),
            (Some(hash_kv), Some(revision)),
            "{name}"
        );
        let (_, verdict, codes) = doctor(&data);
        assert_eq!(verdict, "recoverable", "{name}: {codes:?}");
        let ahead = codes.iter().any(|code| code == "snapshot-ahead");
        assert_eq!(ahead, name == "db-gone-snapfiles", "{name}: {codes:?}");
        let saved = dir.path().join("saved.db");
        assert_eq!(code(&["save", "--data-dir", text(&data), text(&saved)]), Some(0), "{name}");
        assert_eq!(hash(&saved, &[]).1["hash"], ours["hash"], "{name}");
        let fresh = dir.path().join("fresh");
        assert_eq!(code(&["restore", text(&data), "--data-dir", text(&fresh)]), Some(0), "{name}");
        assert_eq!(hash(&fresh, &[]).1["hash"], ours["hash"], "{name}");
    }
}

#[test]
fn a_damaged_db_under_a_log_since_the_first_entry_is_made_anew() {
    for name in ["crashed-34", "crashed-35", "crashed-36", "crashed-37"] {
        let dir = unpack(name);
        let data = dir.path().join("data");
        let db = data.join("member/snap/db");
        let server = facts(name)["after_restart"]["hashkv"]["hash"].clone();
        let whole = fs::read(&db).unwrap();
        let damages: [(&str, Vec<u8>); 4] = [
            ("empty", Vec::new()),
            ("garbage", vec![0x5a; 8192]),
            ("metas", {
                let mut bytes = whole.clone();
                bytes[..8192].fill(0xff);
                bytes
            }),
            ("pages", {
                let mut bytes = whole.clone();
                let end = bytes.len();
                bytes[8192..end / 2].fill(0);
                bytes
            }),
        ];
        for (how, bytes) in damages {
            fs::write(&db, bytes).unwrap();
            let (exit, ours) = hash(&data, &[]);
            assert_eq!((exit, &ours["hash"]), (Some(0), &server), "{name} {how}");
            let (exit, verdict, codes) = doctor(&data);
            assert_eq!(verdict, "recoverable", "{name} {how}: {codes:?}");
            assert_eq!(exit, Some(1), "{name} {how}: {codes:?}");
        }
    }
}

#[test]
fn a_log_that_a_restore_made_does_not_replace_the_db_it_was_restored_with() {
    let dir = case("db-gone");
    let data = data_dir(dir.path());
    let restored = dir.path().join("restored");
    assert_eq!(code(&["restore", text(&data), "--data-dir", text(&restored)]), Some(0));
    assert_eq!(doctor(&restored).1, "healthy");
    let snap = restored.join("member/snap");
    for entry in fs::read_dir(&snap).unwrap() {
        fs::remove_file(entry.unwrap().path()).unwrap();
    }
    let (exit, verdict, codes) = doctor(&restored);
    assert_eq!((exit, verdict.as_str()), (Some(1), "recoverable-with-loss"), "{codes:?}");
    assert!(codes.iter().any(|code| code == "restored-log"), "{codes:?}");
    let saved = dir.path().join("saved.db");
    assert_eq!(code(&["save", "--data-dir", text(&restored), text(&saved)]), Some(1));
    assert!(!saved.exists());
    assert_eq!(code(&["save", "--data-dir", text(&restored), "--from-wal", text(&saved)]), Some(0));
}

#[test]
fn a_restored_db_under_the_old_log_is_refused_until_told_which_of_the_two() {
    let dir = case("restored-db-under-old-log");
    let data = data_dir(dir.path());
    let (exit, verdict, codes) = doctor(&data);
    assert_eq!((exit, verdict.as_str()), (Some(1), "recoverable-with-loss"), "{codes:?}");
    assert!(codes.iter().any(|code| code == "restored-db"), "{codes:?}");
    let saved = dir.path().join("saved.db");
    assert_eq!(code(&["save", "--data-dir", text(&data), text(&saved)]), Some(1));
    assert_eq!(code(&["restore", text(&data), "--data-dir", text(&dir.path().join("x"))]), Some(1));
    assert_eq!(hash(&data, &["--no-wal"]).1["hashRevision"], 21);
    assert_eq!(hash(&data, &["--from-wal"]).0, Some(0));
    assert_eq!(code(&["save", "--data-dir", text(&data), "--no-wal", text(&saved)]), Some(0));
}

#[test]
fn files_of_an_older_dir_among_those_of_a_restored_one_are_named() {
    let dir = case("db-gone-snapfiles");
    let data = data_dir(dir.path());
    let restored = dir.path().join("restored");
    assert_eq!(code(&["restore", text(&data), "--data-dir", text(&restored)]), Some(0));
    // As `rsync -a restored/ data/` does it.
    for part in ["member/snap", "member/wal"] {
        for entry in fs::read_dir(restored.join(part)).unwrap() {
            let path = entry.unwrap().path();
            fs::copy(&path, data.join(part).join(path.file_name().unwrap())).unwrap();
        }
    }
    let (exit, verdict, codes) = doctor(&data);
    assert_eq!((exit, verdict.as_str()), (Some(1), "recoverable"), "{codes:?}");
    assert!(codes.iter().any(|code| code == "mixed-histories"), "{codes:?}");
}

#[test]
fn nothing_was_ever_stored_where_a_member_failed_to_join() {
    let dir = case("failed-join-3.7.3");
    let data = data_dir(dir.path());
    let (_, verdict, codes) = doctor(&data);
    assert_eq!(verdict, "empty", "{codes:?}");
}

/// An entry that was acknowledged and that no file proves to be committed.
#[test]
fn entries_that_are_not_known_to_be_committed_are_shown_counted_and_left_out_on_request() {
    let dir = case("quorum-committed-37");
    let data = dir.path().join("n1");
    let key = |flags: &[&str]| {
        let output = etcdsnap(&[&["get", text(&data), "k8", "-w", "json"], flags].concat());
        assert_eq!(output.status.code(), Some(0));
        let quiet = flags.contains(&"-q");
        let warned = String::from_utf8_lossy(&output.stderr).contains("--commit known");
        let said: Value = serde_json::from_slice(&output.stdout).unwrap();
        (
            said["count"].as_i64().unwrap_or_default(),
            said["entriesUncommitted"].as_u64().unwrap(),
            warned,
            quiet,
        )
    };
    let (count, uncommitted, warned, _) = key(&["-q"]);
    assert_eq!((count, uncommitted > 0, warned), (1, true, true), "-q hides what decides");
    assert_eq!(key(&["--commit", "known"]).0, 0);
    assert_eq!(key(&["--commit", "known"]).1, 0);
    let info = json(&["info", text(&data), "-w", "json"]);
    assert!(info["revisionCommitted"].as_i64() < info["revision"].as_i64(), "{info}");
    let log = etcdsnap(&["log", text(&data), "-w", "json"]);
    let log = String::from_utf8(log.stdout).unwrap();
    let last: Value = serde_json::from_str(log.lines().last().unwrap()).unwrap();
    assert_eq!(last["uncommitted"], true, "{last}");
}

#[test]
fn the_state_at_an_earlier_entry_can_be_looked_at() {
    let dir = case("db-gone");
    let data = data_dir(dir.path());
    let revision = |to: &str| {
        let info = json(&["info", text(&data), "-w", "json", "--to", to]);
        info["revision"].as_i64().unwrap()
    };
    assert_eq!(revision("35"), 32);
    assert!(revision("20") < 32 && revision("20") > revision("10"));
    assert_eq!(code(&["info", text(&data), "--to", "36"]), Some(2));
    // The db contains entry 30: the state before is made from the log alone.
    let whole = dir.path().join("whole");
    fs::create_dir_all(whole.join("member/snap")).unwrap();
    fs::create_dir_all(whole.join("member/wal")).unwrap();
    for entry in fs::read_dir(data.join("member/wal")).unwrap() {
        let path = entry.unwrap().path();
        fs::copy(&path, whole.join("member/wal").join(path.file_name().unwrap())).unwrap();
    }
    let saved = dir.path().join("saved.db");
    assert_eq!(code(&["save", "--data-dir", text(&data), text(&saved)]), Some(0));
    let bytes = fs::read(&saved).unwrap();
    fs::write(whole.join("member/snap/db"), &bytes[..bytes.len() - 32]).unwrap();
    let earlier = json(&["info", text(&whole), "-w", "json", "--to", "20"]);
    assert_eq!(earlier["revision"].as_i64(), Some(revision("20")));
}

#[test]
fn a_value_that_was_changed_in_the_db_is_found_by_its_log() {
    let dir = case("db-gone");
    let data = data_dir(dir.path());
    let saved = dir.path().join("saved.db");
    assert_eq!(code(&["save", "--data-dir", text(&data), text(&saved)]), Some(0));
    let kv = json(&["keys", text(&data), "-w", "json"])["kvs"][0].clone();
    let value = {
        use base64::Engine as _;
        base64::engine::general_purpose::STANDARD.decode(kv["value"].as_str().unwrap()).unwrap()
    };
    let mut bytes = fs::read(&saved).unwrap();
    bytes.truncate(bytes.len() - 32);
    let db = data.join("member/snap/db");
    fs::write(&db, &bytes).unwrap();
    assert_eq!(doctor(&data).1, "healthy");
    let at = bytes.windows(value.len()).rposition(|window| window == value).unwrap();
    bytes[at + value.len() - 1] ^= 1;
    fs::write(&db, &bytes).unwrap();
    assert_eq!(code(&["verify", text(&data)]), Some(0), "no page check sees it");
    assert_eq!(code(&["verify", text(&data), "--against-wal"]), Some(1));
    let (exit, verdict, codes) = doctor(&data);
    assert_eq!((exit, verdict.as_str()), (Some(1), "recoverable"), "{codes:?}");
    assert!(codes.iter().any(|code| code == "value-changed"), "{codes:?}");
}
