//! What is inside a file, as people and scripts see it. The dangers: a key that makes a terminal lie, JSON that does not
//! parse because of one, a difference without its exit code, a damaged page that is passed over in silence.

use std::{
    fs,
    io::Cursor,
    path::{Path, PathBuf},
    sync::atomic::{AtomicBool, Ordering},
    time::{Duration, SystemTime},
};

use base64::{Engine as _, engine::general_purpose::STANDARD};
use etcdsnap_engine::{
    bolt::{
        TxId,
        write::{BucketOptions, Options, Writer},
    },
    pb::mvccpb::KeyValue,
    schema::{RecordKey, Revision, bucket},
};
use prost::Message as _;
use serde_json::Value;

use crate::facts::{etcdsnap, json, state, text, unpack};

const PAGE: usize = 4096;

/// Keys, and one bucket name, that somebody chose to be seen by nobody, or otherwise than they are.
const NASTY: [&[u8]; 7] = [
    b"/a/\x1b]0;owned\x07\x1b[2J",
    b"/a/line\nbreak\r\n",
    "/a/gpj.\u{202e}exe".as_bytes(),
    "/a/\u{200b}\u{feff}hidden\u{2028}".as_bytes(),
    b"/a/\xff\xfe\xc3(",
    "/a/\u{9b}31m".as_bytes(),
    b"/a/quote\"back\\slash</script>",
];

/// A database in which each of these keys is put twice, then deleted, and put a third time, the key being its value.
fn nasty(dir: &Path) -> PathBuf {
    let mut writer = Writer::new(Cursor::new(Vec::new()), Options::default()).unwrap();
    let mut names: Vec<&[u8]> = bucket::ALL.iter().map(|name| name.as_bytes()).collect();
    names.push(NASTY[4]);
    names.sort();
    for name in names {
        let mut records = writer.bucket(name, BucketOptions::default()).unwrap();
        if name == NASTY[4] {
            // Too large to stand in the page that names the bucket.
            records.put(NASTY[0], &[b'\x1b'; 3000]).unwrap();
        }
        if name != bucket::KEY.as_bytes() {
            continue;
        }
        let mut main = 1;
        for round in 0..4 {
            for key in NASTY {
                main += 1;
                let deletes = round == 2;
                let kv = KeyValue {
                    key: key.to_vec(),
                    value: if deletes { Vec::new() } else { key.to_vec() },
                    create_revision: if deletes { 0 } else { [2, 2, 0, main][round] },
                    mod_revision: if deletes { 0 } else { main },
                    version: [1, 2, 0, 1][round],
                    lease: 0,
                };
                let revision = Revision { main, sub: 0 };
                let at = RecordKey { revision, tombstone: deletes };
                records.put(&at.encode(), &kv.encode_to_vec()).unwrap();
            }
        }
    }
    let path = dir.join("nasty.db");
    fs::write(&path, writer.finish().unwrap().seal(TxId(3)).unwrap().0.into_inner()).unwrap();
    path
}

fn base64(key: &[u8]) -> Value {
    STANDARD.encode(key).into()
}

#[test]
fn keys_that_a_terminal_would_obey_are_escaped_and_whole_in_json() {
    let dir = tempfile::tempdir().unwrap();
    let db = nasty(dir.path());
    let ids = ["2", "3", "4"];
    let mut asked: Vec<Vec<&str>> = vec![
        vec!["top", text(&db), "--depth", "1"],
        vec!["top", text(&db), "--separator", "", "--depth", "5"],
        vec!["log", text(&db), "--values"],
        vec!["diff", text(&db), "--from", "10", "--values"],
        vec!["pages", text(&db)],
        vec!["buckets", text(&db)],
    ];
    // No argument can be other than text here.
    let texts = NASTY.iter().filter_map(|key| std::str::from_utf8(key).ok());
    asked.extend(texts.map(|key| vec!["history", text(&db), key, "--values"]));
    asked.extend(ids.iter().map(|id| vec!["page", text(&db), id]));
    for args in &asked {
        for format in ["simple", "table", "fields"] {
            let output = etcdsnap(&[args.as_slice(), &["-w", format]].concat());
            assert!(output.status.code().unwrap() < 2, "{args:?} -w {format}");
            let shown = String::from_utf8(output.stdout).expect("what is shown is text");
            assert!(!shown.is_empty());
            let obeyed = |c: char| {
                c.is_control() && c != '\n'
                    || matches!(c, '\u{202e}' | '\u{200b}' | '\u{feff}' | '\u{2028}')
            };
            assert!(!shown.contains(obeyed), "{args:?} -w {format}: {shown:?}");
        }
        let output = etcdsnap(&[args.as_slice(), &["-w", "json"]].concat());
        let out = String::from_utf8(output.stdout).unwrap();
        for line in out.lines() {
            let value: Value = serde_json::from_str(line).expect("JSON");
            assert!(value.is_object());
        }
    }

    let log = etcdsnap(&["log", text(&db), "-w", "json"]).stdout;
    let log: Vec<Value> = String::from_utf8(log)
        .unwrap()
        .lines()
        .map(|line| serde_json::from_str(line).unwrap())
        .collect();
    assert_eq!(log.len(), 4 * NASTY.len());
    for (line, key) in log.iter().zip(NASTY.iter().cycle()) {
        assert_eq!(line["keyBase64"], base64(key));
        let as_text = std::str::from_utf8(key).map_or(Value::Null, Value::from);
        assert_eq!(line["key"], as_text);
    }
    assert_eq!(log[14]["type"], "delete");
    assert_eq!((&log[14]["version"], &log[14]["valueBase64"]), (&Value::Null, &Value::Null));
    let diff: Value = {
        let out = etcdsnap(&["diff", text(&db), "--from", "10", "-w", "json", "--values"]).stdout;
        serde_json::from_slice(&out).unwrap()
    };
    let mut sorted = NASTY.to_vec();
    sorted.sort();
    let keys: Vec<&Value> =
        diff["differences"].as_array().unwrap().iter().map(|one| &one["keyBase64"]).collect();
    assert_eq!(
        keys,
        sorted.iter().map(|key| base64(key)).collect::<Vec<_>>().iter().collect::<Vec<_>>()
    );
    assert!(diff["differences"][0]["before"]["valueBase64"].is_string());
    let buckets = json(&["buckets", text(&db), "-w", "json"]);
    let named = buckets["buckets"].as_array().unwrap();
    assert!(named.iter().any(|one| one["nameBase64"] == base64(NASTY[4])));

    let hex = etcdsnap(&["log", text(&db), "--hex", "--to", "2"]).stdout;
    assert!(String::from_utf8(hex).unwrap().contains("\\x2f\\x61\\x2f\\x1b\\x5d"));
}

#[test]
fn answers_are_alike_at_any_number_of_threads_and_leave_the_input_alone() {
    let dir = unpack("crashed-36");
    let data = dir.path().join("data");
    let snapshot = dir.path().join("data/member/snap/db");
    let before = state(dir.path());
    let key = "/app/key-00154";
    for args in [
        ["top", text(&data)].as_slice(),
        &["top", text(&data), "--separator", "", "--depth", "12", "--limit", "3"],
        &["log", text(&data)],
        &["history", text(&data), key],
        &["diff", text(&snapshot), text(&data)],
        &["pages", text(&data)],
        &["page", text(&data), "5"],
        &["buckets", text(&data)],
    ] {
        for format in ["simple", "table", "json", "fields"] {
            let run = |more: &[&str]| {
                let output = etcdsnap(&[args, &["-w", format], more].concat());
                let said = String::from_utf8_lossy(&output.stderr).into_owned();
                assert!(matches!(output.status.code(), Some(0 | 1)), "{args:?}: {said}");
                (output.status.code(), output.stdout)
            };
            let one = run(&["--threads", "1"]);
            for more in [["--threads", "2"].as_slice(), &["--threads", "8"], &["--no-mmap"]] {
                assert!(run(more) == one, "{args:?} -w {format} {more:?}");
            }
        }
    }
    assert!(state(dir.path()) == before);
}

/// A crashed member whose last entry, a put, is not yet known to be committed.
fn uncertain() -> tempfile::TempDir {
    let dir = unpack("crashed-36");
    let data = dir.path().join("data");
    let listed = String::from_utf8(etcdsnap(&["wal", text(&data), "-w", "json"]).stdout).unwrap();
    let records: Vec<Value> =
        listed.lines().map(|line| serde_json::from_str(line).unwrap()).collect();
    let state = records
        .windows(2)
        .rfind(|pair| pair[0]["kind"] == "put" && pair[1]["type"] == "state")
        .map(|pair| &pair[1])
        .unwrap();
    let segment = data.join("member/wal").join(state["segment"].as_str().unwrap());
    let file = fs::OpenOptions::new().write(true).open(segment).unwrap();
    file.set_len(state["offset"].as_u64().unwrap()).unwrap();
    dir
}

#[test]
fn how_far_the_wal_is_applied_can_be_chosen() {
    let dir = uncertain();
    let (data, known) = (dir.path().join("data"), dir.path().join("known.db"));
    let save = ["save", "--data-dir", text(&data), text(&known), "--commit", "known"];
    assert_eq!(etcdsnap(&save).status.code(), Some(0));
    let before = json(&["info", text(&known), "-w", "json"])["revision"].as_i64().unwrap();
    let of = |args: &[&str], how: &str| {
        let output = etcdsnap(&[args, &["-w", "json", "--commit", how]].concat());
        let said = String::from_utf8_lossy(&output.stderr).into_owned();
        (output.status.code(), String::from_utf8(output.stdout).unwrap(), said)
    };
    let mut key = String::new();
    for (how, revision) in [("known", before), ("all", before + 1)] {
        let (code, out, said) = of(&["log", text(&data)], how);
        let last: Value = serde_json::from_str(out.lines().last().unwrap()).unwrap();
        assert_eq!((code, &last["revision"]), (Some(0), &revision.into()), "{how}: {said}");
        key = last["key"].as_str().unwrap().to_owned();
        let (code, out, said) = of(&["top", text(&data)], how);
        let top: Value = serde_json::from_str(&out).unwrap();
        assert_eq!((code, &top["revision"]), (Some(0), &revision.into()), "{how}: {said}");
    }
    let changes = |how| {
        let history: Value =
            serde_json::from_str(&of(&["history", text(&data), &key], how).1).unwrap();
        history["changes"].as_array().unwrap().len()
    };
    assert_eq!(changes("all"), changes("known") + 1);
    // Of two inputs the flag is about the one that has a WAL.
    for (first, second) in [(&known, &data), (&data, &known)] {
        for (how, expected) in [("known", 0), ("all", 1)] {
            let (code, _, said) = of(&["diff", text(first), text(second)], how);
            assert_eq!(code, Some(expected), "{how}: {said}");
        }
    }
    assert_eq!(of(&["diff", text(&data), text(&data)], "all").0, Some(0));
    assert_eq!(of(&["diff", text(&known), text(&known)], "known").0, Some(2));
    let wal = dir.path().join("wal");
    fs::rename(data.join("member/wal"), &wal).unwrap();
    let apart = ["diff", text(&known), text(&data), "--wal-dir", text(&wal)];
    assert_eq!(of(&apart, "all").0, Some(1));
    assert_eq!(of(&apart, "known").0, Some(0));
}

#[test]
fn a_member_that_changes_while_it_is_read_is_not_shown() {
    let dir = unpack("crashed-36");
    let data = dir.path().join("data");
    let db = fs::File::options().write(true).open(data.join("member/snap/db")).unwrap();
    let commands = [
        vec!["top", text(&data)],
        vec!["log", text(&data)],
        vec!["history", text(&data), "k"],
        vec!["diff", text(&data), text(&data)],
    ];
    let ended = AtomicBool::new(false);
    let outputs = std::thread::scope(|scope| {
        scope.spawn(|| {
            let mut at = SystemTime::UNIX_EPOCH;
            while !ended.load(Ordering::Relaxed) {
                at += Duration::from_secs(1);
                db.set_modified(at).unwrap();
            }
        });
        let outputs: Vec<_> = commands.iter().map(|args| etcdsnap(args)).collect();
        ended.store(true, Ordering::Relaxed);
        outputs
    });
    for (args, output) in commands.iter().zip(outputs) {
        // Now and then it holds still for long enough.
        if output.status.code() == Some(0) {
            continue;
        }
        let said = String::from_utf8_lossy(&output.stderr);
        assert_eq!((output.status.code(), output.stdout.len()), (Some(2), 0), "{args:?}: {said}");
        assert!(said.contains("a server is running"), "{args:?}: {said}");
    }
}

#[test]
fn what_is_refused_names_the_file_and_the_next_command() {
    let dir = unpack("clean-36");
    let (sound, damaged) = (dir.path().join("snapshot.db"), dir.path().join("damaged.db"));
    let bytes = fs::read(&sound).unwrap();
    let leaf = pages(&sound).iter().filter(|(_, kind, _)| kind == "leaf").nth(5).unwrap().0;
    let both_metas = |bytes: &mut Vec<u8>| {
        bytes[32] ^= 1;
        bytes[PAGE + 32] ^= 1;
    };
    let a_leaf = |bytes: &mut Vec<u8>| bytes[leaf as usize * PAGE + 8] = 0x40;
    // The message of its first record is none any more; the tree is as it was.
    let a_record = |bytes: &mut Vec<u8>| {
        let element = leaf as usize * PAGE + 16;
        let field = |at: usize| u32::from_le_bytes(*bytes[element + at..].first_chunk().unwrap());
        let value = element + field(4) as usize + field(8) as usize;
        bytes[value] = 0xff;
    };
    for damage in [&both_metas as &dyn Fn(&mut Vec<u8>), &a_leaf, &a_record] {
        let mut bytes = bytes.clone();
        damage(&mut bytes);
        fs::write(&damaged, bytes).unwrap();
        for args in [
            ["top", text(&damaged)].as_slice(),
            &["log", text(&damaged)],
            &["history", text(&damaged), "k"],
            &["diff", text(&sound), text(&damaged)],
            &["diff", text(&damaged), text(&sound)],
            &["keys", text(&damaged)],
        ] {
            let output = etcdsnap(args);
            let said = String::from_utf8_lossy(&output.stderr);
            assert_eq!(output.status.code(), Some(1), "{args:?}: {said}");
            let last = said.lines().last().unwrap();
            assert!(last.contains(text(&damaged)), "{args:?}: {said}");
            assert!(last.contains("`etcdsnap salvage`"), "{args:?}: {said}");
        }
    }
    for args in [
        ["top", text(&sound), "--rev", "1"].as_slice(),
        &["log", text(&sound), "--from", "1"],
        &["history", text(&sound), "k", "--rev", "1"],
        &["diff", text(&sound), "--from", "1"],
        &["keys", text(&sound), "--rev", "1"],
    ] {
        let said = etcdsnap(args).stderr;
        let said = String::from_utf8_lossy(&said);
        let named = format!("{}: required revision", text(&sound));
        assert_eq!(said.matches(&named).count(), 1, "{args:?}: {said}");
    }
    let turned = etcdsnap(&["log", text(&sound), "--from", "2000", "--to", "1999"]);
    assert_eq!((turned.status.code(), turned.stdout.len()), (Some(2), 0));
}

fn log(args: &[&str]) -> Vec<Value> {
    let output = etcdsnap(&[args, &["-w", "json"]].concat());
    let said = String::from_utf8_lossy(&output.stderr).into_owned();
    assert_eq!(output.status.code(), Some(0), "{args:?}: {said}");
    let out = String::from_utf8(output.stdout).unwrap();
    out.lines().map(|line| serde_json::from_str(line).unwrap()).collect()
}

#[test]
fn a_data_dir_shows_what_its_wal_adds_unless_told_otherwise() {
    let dir = unpack("crashed-36");
    let data = dir.path().join("data");
    let revision = |more: &[&str]| {
        json(&[&["info", text(&data), "-w", "json"], more].concat())["revision"].clone()
    };
    let last = |more: &[&str]| {
        log(&[&["log", text(&data)], more].concat()).last().unwrap()["revision"].clone()
    };
    let (with, without) = (revision(&[]), revision(&["--no-wal"]));
    assert_ne!(with, without);
    assert_eq!((last(&[]), last(&["--no-wal"])), (with.clone(), without.clone()));
    let top = |more: &[&str]| json(&[&["top", text(&data), "-w", "json"], more].concat());
    assert_eq!(top(&[])["revision"], with);
    assert_eq!(top(&["--no-wal"])["revision"], without);
    // What the WAL adds is the difference between the db and the member.
    let db = data.join("member/snap/db");
    let output = etcdsnap(&["diff", text(&db), text(&data), "-w", "json"]);
    assert_eq!(output.status.code(), Some(1));
    let diff: Value = serde_json::from_slice(&output.stdout).unwrap();
    assert_eq!((&diff["before"]["revision"], &diff["after"]["revision"]), (&without, &with));
    let same = etcdsnap(&["diff", text(&db), text(&data), "--no-wal"]);
    assert_eq!(same.status.code(), Some(0));
}

#[test]
fn revisions_that_are_not_there_are_refused_with_both_ends_named() {
    let dir = unpack("clean-36");
    let snapshot = dir.path().join("snapshot.db");
    let path = text(&snapshot);
    for args in [
        ["log", path, "--from", "1143"].as_slice(),
        &["log", path, "--to", "2580"],
        &["history", path, "/app/key-00001", "--rev", "1143"],
        &["diff", path, "--from", "1143"],
        &["diff", path, path, "--to", "2580"],
        &["top", path, "--rev", "1143"],
        &["top", path, "--compaction", "1144"],
        &["top", path, "--compaction", "2580"],
    ] {
        let output = etcdsnap(args);
        let said = String::from_utf8_lossy(&output.stderr);
        assert_eq!((output.status.code(), output.stdout.len()), (Some(2), 0), "{args:?}: {said}");
        assert!(said.contains("there are 1144 to 2579"), "{args:?}: {said}");
    }
    assert_eq!(etcdsnap(&["diff", path]).status.code(), Some(2), "nothing to compare with");
    assert_eq!(etcdsnap(&["diff", path, path]).status.code(), Some(0));
    assert_eq!(etcdsnap(&["diff", path, "--from", "2578"]).status.code(), Some(1));
    assert_eq!(log(&["log", path, "--from", "1144"])[0]["revision"], 1144);
    let prefixed = log(&["log", path, "/app/key-0015"]);
    let all = log(&["log", path]);
    let wanted = all
        .iter()
        .filter(|line| line["key"].as_str().is_some_and(|key| key.starts_with("/app/key-0015")));
    assert_eq!(prefixed, wanted.cloned().collect::<Vec<_>>());
}

/// Pages of a file by their type.
fn pages(path: &Path) -> Vec<(u64, String, u64)> {
    let output = etcdsnap(&["pages", text(path), "-w", "json"]);
    let pages: Value = serde_json::from_slice(&output.stdout).unwrap();
    let list = pages["pages"].as_array().unwrap().iter();
    list.map(|page| {
        let kind = page["type"].as_str().unwrap().to_owned();
        (page["id"].as_u64().unwrap(), kind, page["overflow"].as_u64().unwrap_or_default())
    })
    .collect()
}

fn page(path: &Path, id: u64) -> (Option<i32>, Value) {
    let output = etcdsnap(&["page", text(path), &id.to_string(), "-w", "json"]);
    (output.status.code(), serde_json::from_slice(&output.stdout).unwrap_or_default())
}

#[test]
fn every_kind_of_page_can_be_looked_at() {
    let dir = unpack("clean-36");
    let snapshot = dir.path().join("snapshot.db");
    let bytes = fs::read(&snapshot).unwrap();
    let all = pages(&snapshot);
    let free = all.iter().find(|(_, kind, _)| kind == "free").unwrap().0;
    let long = all.iter().find(|(_, _, overflow)| *overflow > 0).unwrap();

    let (code, meta) = page(&snapshot, 0);
    assert_eq!(
        (code, &meta["type"], &meta["meta"]["pageSize"]),
        (Some(0), &"meta".into(), &4096.into())
    );
    let (code, first) = page(&snapshot, long.0);
    assert_eq!((code, &first["header"]["overflow"]), (Some(0), &long.2.into()));
    let (code, rest) = page(&snapshot, long.0 + long.2);
    assert_eq!((code, &rest["type"]), (Some(0), &"overflow".into()));
    assert_eq!(rest["continues"], long.0);
    assert_eq!(rest["elements"].as_array().unwrap().len(), 0);
    let (code, unused) = page(&snapshot, free);
    assert_eq!((code, &unused["type"]), (Some(0), &"free".into()));
    assert!(!unused["elements"].as_array().unwrap().is_empty(), "what it held before is shown");
    for shown in [&meta, &first, &rest, &unused] {
        let at = shown["offset"].as_u64().unwrap() as usize;
        let hex: String = bytes[at..at + PAGE].iter().map(|byte| format!("{byte:02x}")).collect();
        assert_eq!(shown["hex"], hex);
    }
    let (code, _) = page(&snapshot, bytes.len() as u64 / PAGE as u64);
    assert_eq!(code, Some(2), "there is no such page");
    let dump = etcdsnap(&["page", text(&snapshot), "0"]).stdout;
    let dump = String::from_utf8(dump).unwrap();
    assert!(dump.contains("00000010  ed da 0c ed"), "the meta's magic is in the dump: {dump}");
}

#[test]
fn a_damaged_page_is_shown_as_far_as_it_goes_and_the_damage_is_named() {
    let dir = unpack("clean-36");
    let snapshot = dir.path().join("snapshot.db");
    let sound = fs::read(&snapshot).unwrap();
    let all = pages(&snapshot);
    let leaf = all.iter().filter(|(_, kind, _)| kind == "leaf").nth(5).unwrap().0 as usize;
    let damaged = dir.path().join("damaged.db");
    let elements = page(&snapshot, leaf as u64).1["elements"].as_array().unwrap().len();
    // Its own id; its type; the position of its third element.
    for (at, byte, named, shown) in [
        (0, 0xee, "self identifies as", elements),
        (8, 0x40, "unexpected type/flags", 0),
        (16 + 2 * 16 + 6, 0x77, "lie outside the page's data", elements - 1),
    ] {
        let mut bytes = sound.clone();
        bytes[leaf * PAGE + at] = byte;
        fs::write(&damaged, &bytes).unwrap();
        let (code, is) = page(&damaged, leaf as u64);
        assert_eq!((code, &is["type"]), (Some(1), &"damaged".into()), "{named}");
        assert!(is["problems"].to_string().contains(named), "{is}");
        assert_eq!(is["elements"].as_array().unwrap().len(), shown, "{named}");
        for command in ["pages", "buckets"] {
            for format in ["simple", "table", "json", "fields"] {
                let output = etcdsnap(&[command, text(&damaged), "-w", format]);
                assert_eq!(output.status.code(), Some(1), "{command}");
                assert!(!output.stdout.is_empty(), "{command}");
                let said = String::from_utf8_lossy(&output.stderr).into_owned();
                assert!(said.contains(named), "{command}: {said}");
            }
        }
        // What adds up records does not begin with a tree that cannot be read.
        for args in [
            ["top", text(&damaged)].as_slice(),
            &["log", text(&damaged)],
            &["history", text(&damaged), "k"],
            &["diff", text(&snapshot), text(&damaged)],
        ] {
            let output = etcdsnap(args);
            assert_eq!((output.status.code(), output.stdout.len()), (Some(1), 0), "{args:?}");
        }
    }
    // The tail of the file is gone.
    fs::write(&damaged, &sound[..sound.len() / 2 / PAGE * PAGE]).unwrap();
    let output = etcdsnap(&["pages", text(&damaged), "-w", "json"]);
    let list: Value = serde_json::from_slice(&output.stdout).unwrap();
    assert_eq!(output.status.code(), Some(1));
    assert!(list["missing"].as_u64().unwrap() > 10, "{}", list["missing"]);
}

#[test]
fn top_says_what_it_lists_and_what_it_leaves_out() {
    let dir = unpack("kube-36");
    let snapshot = dir.path().join("snapshot.db");
    let top = |more: &[&str]| json(&[&["top", text(&snapshot), "-w", "json"], more].concat());
    let all = top(&["--limit", "1000"]);
    let some = top(&["--limit", "3"]);
    let total = |of: &Value, field: &str| -> u64 {
        let listed = of["prefixes"].as_array().unwrap().iter();
        listed.map(|one| one[field].as_u64().unwrap()).sum()
    };
    assert_eq!(some["prefixes"].as_array().unwrap().len(), 3);
    for field in ["bytes", "keys", "supersededBytes", "deletedRecords"] {
        let left_out = some["otherPrefixes"][field].as_u64().unwrap();
        assert_eq!(total(&some, field) + left_out, total(&all, field), "{field}");
    }
    let bytes = all["bytes"].as_object().unwrap();
    let parts = bytes.iter().filter(|(name, _)| *name != "total");
    let sum: u64 = parts.map(|(_, bytes)| bytes.as_u64().unwrap()).sum();
    assert_eq!(sum, bytes["total"].as_u64().unwrap(), "every byte once");
    assert_eq!(sum + 32, fs::metadata(&snapshot).unwrap().len());
    assert_eq!(all["prefixes"][0]["prefix"], "/registry/deployments/");
    let within = top(&["--prefix", "/registry/pods/", "--depth", "1"]);
    let names: Vec<&str> = within["prefixes"]
        .as_array()
        .unwrap()
        .iter()
        .map(|one| one["prefix"].as_str().unwrap())
        .collect();
    assert!(
        names.contains(&"/registry/pods/kube-system/") || names.contains(&"/registry/pods/shop/"),
        "{names:?}"
    );
}
