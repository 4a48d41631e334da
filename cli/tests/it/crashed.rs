//! Crashed members through the program. The danger: something acknowledged that is not shown, a verdict that sends
//! an admin the wrong way, a password on a screen.

use std::{
    fs::{self, OpenOptions},
    path::Path,
};

use serde_json::Value;

use crate::facts::{etcdsnap, facts, json, state, text, unpack};

const CRASHED: [&str; 4] = ["crashed-34", "crashed-35", "crashed-36", "crashed-37"];

pub fn doctor(paths: &[&Path]) -> (Option<i32>, Value) {
    let mut args = vec!["doctor", "-w", "json", "-q"];
    args.extend(paths.iter().map(|path| text(path)));
    let output = etcdsnap(&args);
    (output.status.code(), serde_json::from_slice(&output.stdout).unwrap())
}

pub fn codes(diagnosis: &Value) -> Vec<&str> {
    diagnosis["findings"]
        .as_array()
        .unwrap()
        .iter()
        .map(|one| one["code"].as_str().unwrap())
        .collect()
}

/// The one segment of an unpacked member, and where its records end.
fn segment(data: &Path) -> (std::path::PathBuf, u64) {
    let wal = data.join("member/wal");
    let mut names: Vec<_> =
        fs::read_dir(&wal).unwrap().map(|entry| entry.unwrap().path()).collect();
    names.retain(|path| path.extension().is_some_and(|extension| extension == "wal"));
    names.sort();
    let path = names.pop().unwrap();
    let listed = etcdsnap(&["wal", text(&path), "-w", "json"]);
    let last = String::from_utf8(listed.stdout).unwrap();
    let last: Value = serde_json::from_str(last.lines().last().unwrap()).unwrap();
    (path, last["offset"].as_u64().unwrap())
}

#[test]
fn every_key_of_a_crashed_member_is_what_its_server_said_after_a_restart() {
    for name in CRASHED {
        let dir = unpack(name);
        let data = dir.path().join("data");
        let before = state(&data);
        let server = &facts(name)["after_restart_get_all"];
        let ours = json(&["keys", text(&data), "-w", "json"]);
        assert_eq!(ours["kvs"], server["kvs"], "{name}");
        assert_eq!(ours["count"], server["count"], "{name}");
        assert_eq!(ours["header"]["revision"], server["header"]["revision"], "{name}");

        let info = json(&["info", text(&data), "-w", "json"]);
        let (last, db) =
            (info["walLastIndex"].as_u64().unwrap(), info["entriesReplayed"].as_u64().unwrap());
        assert!(db > 1000 && db < last, "{name}: {info}");
        // Without the WAL the db is what it was, far behind.
        let alone = json(&["keys", text(&data), "-w", "json", "--no-wal"]);
        assert!(alone["header"]["revision"].as_i64() < server["header"]["revision"].as_i64());

        let saved = dir.path().join("saved.db");
        let report = json(&["save", "--data-dir", text(&data), text(&saved), "-w", "json"]);
        assert_eq!((&report["walApplied"], &report["entriesReplayed"]), (&true.into(), &db.into()));
        let hash = json(&["hashkv", text(&saved), "-w", "json"]);
        assert_eq!(hash["hash"], facts(name)["after_restart"]["hashkv"]["hash"], "{name}");
        json(&["verify", text(&saved), "-w", "json"]);
        assert_eq!(state(&data), before, "{name}: the evidence changed");
    }
}

#[test]
fn the_wal_and_the_threads_and_reading_without_a_map_give_the_same_bytes() {
    let dir = unpack("crashed-36");
    let data = dir.path().join("data");
    let mut saved = Vec::new();
    for (at, flags) in [vec![], vec!["--threads", "1"], vec!["--threads", "8"], vec!["--no-mmap"]]
        .into_iter()
        .enumerate()
    {
        let out = dir.path().join(format!("{at}.db"));
        let mut args = vec!["save", "--data-dir", text(&data), text(&out), "-q"];
        args.extend(flags);
        assert_eq!(etcdsnap(&args).status.code(), Some(0));
        saved.push(fs::read(&out).unwrap());
    }
    assert!(saved.iter().all(|bytes| *bytes == saved[0]));
}

#[test]
fn doctor_calls_members_that_a_server_starts_on_healthy() {
    for name in CRASHED.iter().chain(&["clean-34", "clean-35", "clean-36", "clean-37", "kube-36"]) {
        let dir = unpack(name);
        let (code, found) = doctor(&[&dir.path().join("data")]);
        assert_eq!((code, &found["verdict"]), (Some(0), &"healthy".into()), "{name}: {found}");
    }
}

#[test]
fn doctor_names_what_is_wrong_with_the_log() {
    /// Verdict, code of the finding, part of the next command, and what is done to a data dir.
    type Case = (&'static str, &'static str, &'static str, fn(&Path));
    let cases: [Case; 6] = [
        ("recoverable-with-loss", "wal-missing", "--no-wal", |data| {
            fs::remove_dir_all(data.join("member/wal")).unwrap();
        }),
        ("recoverable-with-loss", "foreign-wal", "--no-wal", |data| {
            let other = unpack("clean-36");
            let wal = data.join("member/wal");
            fs::remove_dir_all(&wal).unwrap();
            fs::rename(other.path().join("data/member/wal"), wal).unwrap();
        }),
        // The db contains what was damaged, and the entries behind it are whole.
        ("recoverable", "wal-damaged", "--to", |data| {
            let (path, last) = segment(data);
            let mut bytes = fs::read(&path).unwrap();
            bytes[last as usize / 2 + 200] ^= 0x55;
            fs::write(path, bytes).unwrap();
        }),
        ("recoverable-with-loss", "wal-behind", "--no-wal", |data| {
            // Everything behind the db's own index is cut off at a record's boundary, and more.
            let (path, _) = segment(data);
            let listed = etcdsnap(&[
                "wal",
                text(&path),
                "-w",
                "json",
                "--type",
                "entry",
                "--from",
                "3000",
                "--to",
                "3000",
            ]);
            let entry: Value = serde_json::from_slice(&listed.stdout).unwrap();
            let file = OpenOptions::new().write(true).open(&path).unwrap();
            file.set_len(entry["offset"].as_u64().unwrap()).unwrap();
        }),
        ("healthy", "torn-wal", "save", |data| {
            let (path, last) = segment(data);
            OpenOptions::new().write(true).open(path).unwrap().set_len(last + 12).unwrap();
        }),
        ("healthy", "interrupted-defrag", "save", |data| {
            fs::write(data.join("member/snap/db.tmp.123"), b"half").unwrap();
        }),
    ];
    for (verdict, code, next, hurt) in cases {
        let dir = unpack("crashed-36");
        let data = dir.path().join("data");
        hurt(&data);
        let (exit, found) = doctor(&[&data]);
        assert_eq!(found["verdict"], verdict, "{code}: {found}");
        assert_eq!(exit, Some(i32::from(verdict != "healthy")), "{code}");
        assert!(codes(&found).contains(&code), "{code}: {found}");
        assert!(found["next"].to_string().contains(next), "{code}: {found}");
        // What the verdict promises is so: with the flags it names, save works; without, it refuses.
        let out = dir.path().join("out.db");
        let save = etcdsnap(&["save", "--data-dir", text(&data), text(&out), "-q"]);
        assert_eq!(save.status.success(), verdict == "healthy", "{code}: {save:?}");
        if verdict != "healthy" {
            assert!(!out.exists());
            let save = etcdsnap(&["save", "--data-dir", text(&data), text(&out), "-q", "--no-wal"]);
            assert_eq!(save.status.code(), Some(0), "{code}: {save:?}");
            if next == "--to" {
                let last = json(&["info", text(&out), "-w", "json"]);
                let whole = facts("crashed-36")["after_restart"]["hashkv"].clone();
                fs::remove_file(&out).unwrap();
                let command = found["next"].as_array().unwrap().iter();
                let mut command = command.map(|step| step["command"].as_str().unwrap());
                let command = command.find(|command| command.contains("--to")).unwrap();
                let to =
                    command.split_whitespace().skip_while(|word| *word != "--to").nth(1).unwrap();
                let save = ["save", "--data-dir", text(&data), text(&out), "-q", "--to", to];
                assert_eq!(etcdsnap(&save).status.code(), Some(0), "{command}");
                let hash = json(&["hashkv", text(&out), "-w", "json"]);
                assert_eq!(hash["hash"], whole["hash"], "nothing is lost: {last}");
            }
        }
    }
}

#[test]
fn doctor_sees_a_damaged_db_and_a_torn_meta() {
    let dir = unpack("crashed-36");
    let db = dir.path().join("data/member/snap/db");
    let sound = fs::read(&db).unwrap();
    let txid = |bytes: &[u8], page: usize| {
        u64::from_le_bytes(bytes[page * 4096 + 64..][..8].try_into().unwrap())
    };
    let newer = usize::from(txid(&sound, 1) > txid(&sound, 0));
    let mut torn = sound.clone();
    torn[newer * 4096 + 40] ^= 1;
    fs::write(&db, &torn).unwrap();
    let (exit, found) = doctor(&[&dir.path().join("data")]);
    assert!(codes(&found).contains(&"torn-meta"), "{found}");
    assert!(exit == Some(0) && found["verdict"] == "healthy", "{found}");

    let mut both = torn.clone();
    both[(1 - newer) * 4096 + 40] ^= 1;
    fs::write(&db, &both).unwrap();
    let (exit, found) = doctor(&[&dir.path().join("data")]);
    assert_eq!((exit, &found["verdict"]), (Some(1), &"recoverable".into()), "{found}");
    assert!(codes(&found).contains(&"db-unreadable"));

    // The root page of the tree.
    let root = u64::from_le_bytes(sound[newer * 4096 + 32..][..8].try_into().unwrap()) as usize;
    let mut damaged = sound;
    damaged[root * 4096] ^= 0xff;
    fs::write(&db, &damaged).unwrap();
    let (exit, found) = doctor(&[&dir.path().join("data")]);
    assert_eq!((exit, &found["verdict"]), (Some(1), &"recoverable".into()), "{found}");
    assert!(codes(&found).contains(&"db-damaged"), "{found}");
    // Without the log that replaces it, only parts of it can be read.
    fs::remove_dir_all(dir.path().join("data/member/wal")).unwrap();
    let (exit, found) = doctor(&[&dir.path().join("data")]);
    assert_eq!((exit, &found["verdict"]), (Some(1), &"salvage-only".into()), "{found}");
    assert_eq!(found["recoverFrom"], Value::Null);
    assert!(codes(&found).contains(&"hot-copy"), "{found}");
}

#[test]
fn of_several_members_doctor_chooses_who_knows_most_and_knows_who_was_removed() {
    for name in ["cluster3-35", "cluster3-36"] {
        let dir = unpack(name);
        let member = |name: &str| dir.path().join(name);
        let (exit, found) = doctor(&[&member("n2"), &member("n3"), &member("n0"), &member("n1")]);
        assert_eq!(exit, Some(0), "{name}: {found}");
        let chosen = found["recoverFrom"].as_str().unwrap();
        assert!(!chosen.ends_with("n2"), "{name}: {found}");
        let by_path = |which: &str| {
            let all = found["members"].as_array().unwrap();
            all.iter().find(|one| one["path"].as_str().unwrap().ends_with(which)).unwrap()
        };
        assert!(codes(by_path("n2")).contains(&"removed"), "{name}: {found}");
        assert!(codes(by_path("n3")).contains(&"learner"), "{name}: {found}");
        assert_eq!(found["differences"], Value::Array(Vec::new()), "{name}");
    }
}

#[test]
fn a_record_cut_short_is_shown_as_torn_and_a_wrong_one_as_damage() {
    let dir = unpack("crashed-37");
    let data = dir.path().join("data");
    let (path, last) = segment(&data);
    OpenOptions::new().write(true).open(&path).unwrap().set_len(last + 12).unwrap();
    let listed = etcdsnap(&["wal", text(&data), "-w", "json"]);
    assert_eq!(listed.status.code(), Some(0));
    let lines = String::from_utf8(listed.stdout).unwrap();
    let torn: Value = serde_json::from_str(lines.lines().last().unwrap()).unwrap();
    assert_eq!((&torn["type"], &torn["offset"]), (&"torn".into(), &last.into()));

    let mut bytes = fs::read(&path).unwrap();
    bytes[last as usize - 20] ^= 1;
    fs::write(&path, bytes).unwrap();
    let listed = etcdsnap(&["wal", text(&data), "-w", "json"]);
    assert_eq!(listed.status.code(), Some(1));
    assert!(String::from_utf8_lossy(&listed.stderr).contains("checksum"), "{listed:?}");
}

#[test]
fn the_records_of_a_log_are_found_by_index_type_and_key_and_passwords_are_masked() {
    let dir = unpack("crashed-34");
    let data = dir.path().join("data");
    let lines = |flags: &[&str]| -> Vec<Value> {
        let mut args = vec!["wal", text(&data), "-w", "json"];
        args.extend(flags);
        let output = etcdsnap(&args);
        assert_eq!(output.status.code(), Some(0), "{output:?}");
        let text = String::from_utf8(output.stdout).unwrap();
        text.lines().map(|line| serde_json::from_str(line).unwrap()).collect()
    };
    let all = lines(&[]);
    let entries = lines(&["--type", "entry"]);
    assert_eq!(entries.len(), 6001);
    assert!(entries.iter().zip(1_u64..).all(|(entry, index)| entry["index"] == index));
    let puts = lines(&["--type", "put"]);
    assert_eq!(puts.len(), all.iter().filter(|line| line["kind"] == "put").count());
    assert!(puts.len() > 3000);
    let some = lines(&["--from", "10", "--to", "12", "--type", "entry"]);
    let indexes: Vec<_> = some.iter().map(|entry| entry["index"].as_u64().unwrap()).collect();
    assert_eq!(indexes, [10, 11, 12]);
    let one = lines(&["--key-prefix", "/app/key-00007", "--type", "put"]);
    assert!(!one.is_empty() && one.iter().all(|put| put["request"]["key"] == "/app/key-00007"));

    let unknown = etcdsnap(&["wal", text(&data), "--type", "puts"]);
    assert_eq!(unknown.status.code(), Some(2));
    assert!(String::from_utf8_lossy(&unknown.stderr).contains("delete-range"), "{unknown:?}");
    // Every kind that occurs can be asked for.
    let kinds: std::collections::BTreeSet<&str> =
        entries.iter().map(|entry| entry["kind"].as_str().unwrap()).collect();
    assert!(kinds.len() > 12, "{kinds:?}");
    kinds.iter().for_each(|kind| assert!(!lines(&["--type", kind]).is_empty(), "{kind}"));

    let users = lines(&["--type", "auth-user-add"]);
    assert_eq!(users.len(), 3);
    assert!(users.iter().all(|user| user["request"]["password"] == "***"), "{users:?}");
    let shown = lines(&["--type", "auth-user-add", "--show-passwords"]);
    assert!(shown.iter().all(|user| user["request"]["password"] != "***"));
}

#[test]
fn keys_at_a_revision_are_those_of_then() {
    let dir = unpack("clean-36");
    let db = dir.path().join("snapshot.db");
    let now = json(&["keys", text(&db), "-w", "json"]);
    let key =
        now["kvs"].as_array().unwrap().iter().max_by_key(|kv| kv["version"].as_i64()).unwrap();
    let name = {
        use base64::Engine as _;
        let bytes = base64::engine::general_purpose::STANDARD.decode(key["key"].as_str().unwrap());
        String::from_utf8(bytes.unwrap()).unwrap()
    };
    let changed = key["mod_revision"].as_i64().unwrap();
    let get = |revision: i64| {
        json(&["get", text(&db), &name, "-w", "json", "--rev", &revision.to_string()])
    };
    assert_eq!(get(changed)["kvs"][0], *key);
    let before = &get(changed - 1)["kvs"][0];
    let version = |kv: &Value| kv["version"].as_i64();
    assert_eq!(version(before), version(key).map(|version| version - 1));
    for (revision, message) in [(1, "has been compacted"), (1_000_000, "future revision")] {
        let output = etcdsnap(&["get", text(&db), &name, "--rev", &revision.to_string()]);
        assert_eq!(output.status.code(), Some(2));
        assert!(String::from_utf8_lossy(&output.stderr).contains(message), "{output:?}");
    }
}

/// Replaces the contents of a bucket of the db in `data`, as a server's commit would.
pub fn rewrite(
    data: &Path,
    name: &str,
    change: impl Fn(&mut std::collections::BTreeMap<Vec<u8>, Vec<u8>>),
) {
    use etcdsnap_engine::{
        bolt::{patch::Patch, write::BucketOptions},
        limits::Limits,
        schema::Store,
        snapshot::Image,
    };
    let path = data.join("member/snap/db");
    let mut bytes = fs::read(&path).unwrap();
    let patched = {
        let db = Image::without_trailer(&bytes).db(Limits::default()).unwrap();
        let bucket = Store::new(db).bucket(name).unwrap().unwrap();
        let mut records: std::collections::BTreeMap<Vec<u8>, Vec<u8>> = bucket
            .items()
            .map(|item| item.map(|item| (item.key.to_vec(), item.value.to_vec())).unwrap())
            .collect();
        change(&mut records);
        let mut patch = Patch::new(&db).unwrap();
        patch.replace_bucket(name.as_bytes(), BucketOptions::default(), records).unwrap();
        patch.finish().unwrap()
    };
    bytes.truncate(patched.offset as usize);
    bytes.extend(&patched.pages);
    for (offset, write) in &patched.writes()[1..] {
        let at = *offset as usize;
        bytes[at..at + write.len()].copy_from_slice(write);
    }
    fs::write(path, bytes).unwrap();
}

#[test]
fn doctor_knows_alarms_and_members_that_only_one_side_has() {
    let dir = unpack("crashed-36");
    let data = dir.path().join("data");
    // AlarmMember {memberID 7, alarm NOSPACE}, and {7, CORRUPT}.
    rewrite(&data, "alarm", |records| {
        records.insert(vec![8, 7, 16, 1], Vec::new());
        records.insert(vec![8, 7, 16, 2], Vec::new());
    });
    rewrite(&data, "members", |records| {
        records
            .insert(b"abc".to_vec(), br#"{"id":2748,"peerURLs":["http://z"],"name":"z"}"#.to_vec());
    });
    let (exit, found) = doctor(&[&data]);
    assert_eq!((exit, &found["verdict"]), (Some(0), &"recoverable".into()), "{found}");
    for code in ["nospace", "corrupt", "zombie-member"] {
        assert!(codes(&found).contains(&code), "{code}: {found}");
    }
    let alarms = json(&["alarms", text(&data), "-w", "json"]);
    assert_eq!(alarms["alarms"][0]["alarm"], "NOSPACE");
    // While the alarm is on puts of the log are refused, as its server would.
    let info = json(&["keys", text(&data), "-w", "json"]);
    let server = &facts("crashed-36")["after_restart_get_all"]["header"]["revision"];
    assert!(info["header"]["revision"].as_i64() < server.as_i64(), "{}", info["header"]);
}

#[test]
fn doctor_names_a_log_without_its_beginning_and_a_db_that_the_log_has_left_behind() {
    // A learner that joined by a snapshot: its log starts at 1482.
    let dir = unpack("cluster3-36");
    let data = dir.path().join("n3");
    let snap = data.join("member/snap");
    let snapfiles = fs::read_dir(&snap).unwrap().map(|entry| entry.unwrap().path());
    let newest = snapfiles.filter(|path| path.extension().is_some_and(|end| end == "snap")).max();
    let newest = newest.unwrap();
    let kept = fs::read(&newest).unwrap();
    fs::remove_file(&newest).unwrap();
    let (exit, found) = doctor(&[&data]);
    // No server of 3.6 starts; the db and the log have everything.
    assert_eq!((exit, &found["verdict"]), (Some(1), &"recoverable".into()), "{found}");
    assert!(codes(&found).contains(&"wal-purged"), "{found}");
    assert_eq!(found["quorum"]["intact"], 0);
    let whole_keys = json(&["keys", text(&data), "-w", "json", "-q"]);

    fs::write(&newest, kept).unwrap();
    assert_eq!(doctor(&[&data]).1["verdict"], "healthy");
    assert_eq!(json(&["keys", text(&data), "-w", "json", "-q"]), whole_keys);
    let whole = fs::read(snap.join("db")).unwrap();
    rewrite(&data, "meta", |records| {
        records.insert(b"consistent_index".to_vec(), 5_u64.to_be_bytes().to_vec());
    });
    let (exit, found) = doctor(&[&data]);
    assert_eq!((exit, &found["verdict"]), (Some(1), &"recoverable-with-loss".into()), "{found}");
    assert!(codes(&found).contains(&"snap-db-missing"), "{found}");
    // With the db that the leader sent beside it, a server takes that one, and so do we.
    let index = newest.file_stem().unwrap().to_str().unwrap().split('-').nth(1).unwrap();
    fs::write(snap.join(format!("{index}.snap.db")), whole).unwrap();
    let (exit, found) = doctor(&[&data]);
    assert_eq!((exit, &found["verdict"]), (Some(0), &"healthy".into()), "{found}");
    assert!(codes(&found).contains(&"received-db"), "{found}");
}

#[test]
fn a_data_dir_is_restored_with_its_wal_applied() {
    let dir = unpack("crashed-35");
    let (data, restored) = (dir.path().join("data"), dir.path().join("restored"));
    let flags = ["--initial-cluster-token", "new", "-q"];
    let args =
        [["restore", text(&data), "--data-dir", text(&restored)].as_slice(), &flags].concat();
    assert_eq!(etcdsnap(&args).status.code(), Some(0));
    let hash = json(&["hashkv", text(&restored), "-w", "json"]);
    assert_eq!(hash["hash"], facts("crashed-35")["after_restart"]["hashkv"]["hash"]);
    let alone = dir.path().join("alone");
    let args = ["restore", text(&data), "--data-dir", text(&alone), "--no-wal", "-q"];
    assert_eq!(etcdsnap(&args).status.code(), Some(0));
    assert_ne!(json(&["hashkv", text(&alone), "-w", "json"])["hash"], hash["hash"]);
}
