//! The records of real logs. The dangers: a record left out, a filter that lets through, a secret that is shown,
//! damage that looks like an end.

use std::{
    collections::BTreeMap,
    fs,
    path::{Path, PathBuf},
};

use etcdsnap_engine::{
    pb::{etcdserverpb::Metadata, raftpb::Entry, requestpb::V2Request},
    wal::Encoder,
};
use prost::Message as _;
use serde_json::Value;

use crate::facts::{case, etcdsnap, text, unpack};

/// The lines of `wal -w json`, and the exit code.
fn lines(path: &Path, flags: &[&str]) -> (Vec<Value>, Option<i32>) {
    let output = etcdsnap(&[&["wal", text(path), "-w", "json"], flags].concat());
    let stdout = String::from_utf8(output.stdout).unwrap();
    (stdout.lines().map(|line| serde_json::from_str(line).unwrap()).collect(), output.status.code())
}

fn sound(path: &Path, flags: &[&str]) -> Vec<Value> {
    let (lines, code) = lines(path, flags);
    assert_eq!(code, Some(0), "{flags:?}");
    lines
}

fn segment(data: &Path) -> PathBuf {
    let found = fs::read_dir(data.join("member/wal")).unwrap().map(|entry| entry.unwrap().path());
    found.filter(|path| path.extension().is_some_and(|end| end == "wal")).min().unwrap()
}

/// Types of the records by a walk over the length words, without the engine: the type is the first field.
fn types(bytes: &[u8]) -> BTreeMap<&'static str, usize> {
    const NAMES: [&str; 6] = ["?", "metadata", "entry", "state", "crc", "snapshot"];
    let (mut at, mut found) = (0, BTreeMap::new());
    while let Some(word) = bytes.get(at..at + 8).filter(|word| **word != [0; 8]) {
        let word = i64::from_le_bytes(word.try_into().unwrap());
        let body = usize::try_from(word & 0x00ff_ffff_ffff_ffff).unwrap();
        let padding = if word < 0 { usize::try_from((word >> 56) & 7).unwrap() } else { 0 };
        assert_eq!(bytes[at + 8], 0x08, "the tag of the type");
        *found.entry(NAMES[usize::from(bytes[at + 9])]).or_default() += 1;
        at += 8 + body + padding;
    }
    found
}

#[test]
fn every_record_is_shown_once_whatever_names_the_log() {
    for name in ["clean-34", "clean-35", "clean-36", "clean-37"] {
        let dir = unpack(name);
        let data = dir.path().join("data");
        let segment = segment(&data);
        let shown = sound(&data, &[]);
        let mut counted = BTreeMap::new();
        for line in &shown {
            *counted.entry(line["type"].as_str().unwrap()).or_default() += 1;
            assert_ne!(line["kind"], "unknown", "{name}: {line}");
        }
        assert_eq!(counted, types(&fs::read(&segment).unwrap()), "{name}");
        for path in [data.join("member"), data.join("member/wal"), segment] {
            assert_eq!(sound(&path, &[]), shown, "{name}: {}", path.display());
        }
    }
}

#[test]
fn filters_give_what_a_reader_of_all_lines_would_pick() {
    let dir = unpack("clean-36");
    let data = dir.path().join("data");
    let all = sound(&data, &[]);
    let picked = |pick: &dyn Fn(&Value) -> bool| -> Vec<Value> {
        all.iter().filter(|line| pick(line)).cloned().collect()
    };
    let within = picked(&|line| line["index"].as_u64().is_some_and(|at| (100..=120).contains(&at)));
    assert!(within.len() >= 21);
    assert_eq!(sound(&data, &["--from", "100", "--to", "120"]), within);
    for kind in ["put", "txn", "delete-range", "lease-grant", "compaction", "metadata", "state"] {
        let expected = picked(&|line| line["kind"] == kind || line["type"] == kind);
        assert!(!expected.is_empty(), "{kind}");
        assert_eq!(sound(&data, &["--type", kind]), expected, "{kind}");
    }
    let both = picked(&|line| line["kind"] == "put" || line["type"] == "crc");
    assert_eq!(sound(&data, &["--type", "put,crc"]), both);
    assert_eq!(sound(&data, &["--type", "put", "--type", "crc"]), both);

    let key =
        picked(&|line| line["kind"] == "put")[0]["request"]["key"].as_str().unwrap().to_owned();
    let touching = sound(&data, &["--key-prefix", &key, "--type", "put"]);
    let expected = picked(&|line| {
        line["kind"] == "put"
            && line["request"]["key"].as_str().is_some_and(|own| own.starts_with(&key))
    });
    assert_eq!(touching, expected);
}

#[test]
fn values_are_left_out_on_request_in_transactions_too() {
    let dir = unpack("clean-36");
    let data = dir.path().join("data");
    let count = |lines: &[Value], word: &str| -> usize {
        lines.iter().map(|line| line.to_string().matches(&format!("\"{word}\":")).count()).sum()
    };
    let (with, without) =
        (sound(&data, &["--type", "txn"]), sound(&data, &["--type", "txn", "--no-values"]));
    assert!(count(&with, "valueBase64") > 0);
    assert_eq!(count(&without, "valueBase64") + count(&without, "wantedBase64"), 0);
    assert_eq!(count(&without, "valueBytes"), count(&with, "valueBase64"));
}

/// etcd writes bcrypt's `$2a$…` in base64, which begins with `JDJh`.
#[test]
fn secrets_are_masked_unless_asked_for() {
    let dir = unpack("authon-36");
    let data = dir.path().join("data");
    let all = ["simple", "table", "json", "fields"].map(|format| {
        let output = etcdsnap(&["wal", text(&data), "-w", format]);
        String::from_utf8(output.stdout).unwrap()
    });
    for shown in &all {
        assert!(shown.contains("***") && !shown.contains("JDJh"), "{shown}");
        assert!(!shown.contains("rootpw"), "{shown}");
    }
    let added = sound(&data, &["--type", "auth-user-add", "--show-passwords"]);
    assert_eq!(added[0]["request"]["name"], "root");
    assert!(added[0]["request"]["hashedPassword"].as_str().unwrap().starts_with("JDJh"));
}

#[test]
fn a_torn_tail_is_the_last_line_and_no_damage() {
    let dir = unpack("clean-36");
    let segment = segment(&dir.path().join("data"));
    let whole = sound(&segment, &[]);
    let last = whole.last().unwrap()["offset"].as_u64().unwrap();
    fs::File::options().write(true).open(&segment).unwrap().set_len(last + 12).unwrap();
    let torn = sound(&segment, &[]);
    assert_eq!(torn[..torn.len() - 1], whole[..whole.len() - 1]);
    let end = torn.last().unwrap();
    assert_eq!((&end["type"], end["offset"].as_u64()), (&"torn".into(), Some(last)));
}

#[test]
fn a_wrong_byte_is_told_with_its_place_and_what_stands_behind_it_is_listed_with_code_1() {
    let dir = unpack("clean-36");
    let segment = segment(&dir.path().join("data"));
    let whole = sound(&segment, &[]);
    let offset = whole[50]["offset"].as_u64().unwrap();
    let mut bytes = fs::read(&segment).unwrap();
    bytes[usize::try_from(offset).unwrap() + 24] ^= 1;
    fs::write(&segment, bytes).unwrap();
    let (shown, code) = lines(&segment, &[]);
    assert_eq!((&shown[..50], code), (&whole[..50], Some(1)));
    assert_eq!((&shown[50]["type"], &shown[50]["offset"]), (&"damage".into(), &offset.into()));
    let (behind, left) = (&shown[51..], &whole[51..]);
    assert_eq!(behind.len(), left.len());
    for (behind, whole) in behind.iter().zip(left) {
        let mut expected = whole.clone();
        expected["behind"] = true.into();
        assert_eq!(*behind, expected);
    }
    let stderr = String::from_utf8(etcdsnap(&["wal", text(&segment)]).stderr).unwrap();
    assert!(stderr.contains("0000000000000000-0000000000000000.wal"), "{stderr}");
    assert!(
        stderr.contains(&format!("{offset:#x}")) || stderr.contains(&offset.to_string()),
        "{stderr}"
    );
}

fn stderr(args: &[&str]) -> (String, Option<i32>) {
    let output = etcdsnap(args);
    (String::from_utf8(output.stderr).unwrap(), output.status.code())
}

/// Servers from 3.5 on lose entries 15 to 35 of this log without a word.
#[test]
fn records_behind_a_wrong_length_word_are_listed_as_such() {
    let dir = case("wal-length-flip-35");
    let data = dir.path().join("d-flip3");
    let (shown, code) = lines(&data, &[]);
    assert_eq!(code, Some(1));
    let damage = shown.iter().position(|line| line["type"] == "damage").unwrap();
    assert_eq!(shown[damage]["offset"], 0x5f0);
    let entries = |lines: &[Value]| -> Vec<u64> {
        let entries = lines.iter().filter(|line| line["type"] == "entry");
        entries.map(|line| line["index"].as_u64().unwrap()).collect()
    };
    assert_eq!(entries(&shown[..damage]), (1..=14).collect::<Vec<_>>());
    assert_eq!(entries(&shown[damage..]), (15..=35).collect::<Vec<_>>());
    assert!(shown[..damage].iter().all(|line| line.get("behind").is_none()));
    assert!(shown[damage + 1..].iter().all(|line| line["behind"] == true));
    let (said, code) = stderr(&["wal", text(&data)]);
    assert_eq!(code, Some(1));
    for part in ["offset 0x5f0", "entries 15 to 35 follow", "silently cut"] {
        assert!(said.contains(part), "{said}");
    }
    let people = String::from_utf8(etcdsnap(&["wal", text(&data)]).stdout).unwrap();
    assert_eq!(people.matches("(behind the gap)").count(), shown.len() - damage - 1);
}

#[test]
fn a_sector_of_zeros_is_torn_and_records_behind_it_are_listed() {
    let dir = unpack("clean-36");
    let segment = segment(&dir.path().join("data"));
    let whole = sound(&segment, &[]);
    let middle = whole[whole.len() / 2]["offset"].as_u64().unwrap();
    let sector = usize::try_from(middle).unwrap() / 512 * 512;
    let mut bytes = fs::read(&segment).unwrap();
    bytes[sector..sector + 512].fill(0);
    fs::write(&segment, bytes).unwrap();
    let shown = sound(&segment, &[]);
    let torn = shown.iter().position(|line| line["type"] == "torn").unwrap();
    assert_eq!(shown[..torn], whole[..torn]);
    let behind = shown.len() - torn - 1;
    assert!(behind > 50 && shown[torn + 1..].iter().all(|line| line["behind"] == true));
    let detail = shown[torn]["detail"].as_str().unwrap();
    assert!(detail.contains(&format!("{behind} whole records with entries ")), "{detail}");
    let offsets = |lines: &[Value]| -> Vec<u64> {
        lines.iter().map(|line| line["offset"].as_u64().unwrap()).collect()
    };
    assert_eq!(offsets(&shown[torn + 1..]), offsets(&whole[whole.len() - behind..]));
}

#[test]
fn what_is_no_log_is_named_with_code_2() {
    let dir = unpack("clean-36");
    let other = case("not-a-wal");
    let write = |name: &str, bytes: &[u8]| {
        let path = dir.path().join(name);
        fs::write(&path, bytes).unwrap();
        path
    };
    let log = fs::read(segment(&dir.path().join("data"))).unwrap();
    for (path, what) in [
        (other.path().join("not-a-wal.bin"), "not a log"),
        (dir.path().join("data/member/snap/db"), "a bbolt file"),
        (dir.path().join("snapshot.db"), "a bbolt file"),
        (write("empty", b""), "empty"),
        (write("zeros", &[0; 64_000]), "zeros"),
        (write("text.wal", b"raft log entry index=1 term=2 msg=\"hello\"\n"), "text"),
        (write("log.gz", b"\x1f\x8b\x08\0\0\0\0\0\0\x03"), "gzip-compressed"),
        // A log's name does not make it one.
        (write("0000000000000000-0000000000000000.wal", &[0xa5; 4096]), "not a log"),
    ] {
        for format in ["simple", "json"] {
            let output = etcdsnap(&["wal", text(&path), "-w", format]);
            let said = String::from_utf8(output.stderr).unwrap();
            assert_eq!((output.status.code(), output.stdout), (Some(2), vec![]), "{said}");
            assert!(said.contains(what), "{}: {said}", path.display());
        }
    }
    // One whole record makes it a log, whatever became of the others.
    for len in [16, 20, 60] {
        let cut = write("cut", &log[..len]);
        assert_eq!(lines(&cut, &[]).1, Some(0), "{len}");
    }
    // So do two that prove each other where the first is damaged.
    let mut damaged = log;
    damaged[8] = 0xff;
    let (shown, code) = lines(&write("damaged", &damaged), &[]);
    assert_eq!(code, Some(1));
    assert!(shown.len() > 100, "{}", shown.len());
}

/// A log as etcd 2.x wrote it: requests of the v2 API are the entries' data.
fn v2_log() -> Vec<u8> {
    let mut encoder = Encoder::new(0);
    encoder.metadata(&Metadata { node_id: Some(9), cluster_id: Some(8) });
    let mut add = |index: u64, method: &str, path: &str, val: &str| {
        let request = V2Request {
            id: 1000 + index,
            method: method.into(),
            path: path.into(),
            val: val.into(),
            ..V2Request::default()
        };
        encoder.entry(&Entry {
            r#type: Some(0),
            term: Some(2),
            index: Some(index),
            data: Some(request.encode_to_vec()),
        });
    };
    add(1, "PUT", "/0/members/9/attributes", "{\"name\":\"m\"}");
    for index in 2..40 {
        add(index, "PUT", &format!("/1/message/{index}"), "Hello world");
    }
    add(40, "DELETE", "/1/message/7", "");
    let (mut bytes, _) = encoder.finish();
    bytes.resize(bytes.len() + 4096, 0);
    bytes
}

#[test]
fn a_log_without_a_db_is_read_and_summed_up() {
    let dir = tempfile::tempdir().unwrap();
    let name = "0000000000000000-0000000000000000.wal";
    let made = |path: &str| {
        let wal = dir.path().join(path);
        fs::create_dir_all(&wal).unwrap();
        fs::write(wal.join(name), v2_log()).unwrap();
    };
    made("a/member/wal");
    made("b/member/wal");
    // etcd 2.x keeps only snapfiles there.
    fs::create_dir_all(dir.path().join("b/member/snap")).unwrap();
    fs::write(dir.path().join("b/member/snap/0000000000000002-000000000000000a.snap"), b"x")
        .unwrap();
    made("bare");
    for path in ["a", "a/member", "a/member/wal", "b", "b/member", "bare"] {
        let path = dir.path().join(path);
        let shown = sound(&path, &["--type", "v2"]);
        assert_eq!(shown.len(), 40);
        let last = &shown[39]["request"];
        assert_eq!((&last["method"], &last["path"]), (&"DELETE".into(), &"/1/message/7".into()));
        let (said, _) = stderr(&["wal", text(&path)]);
        assert!(said.contains("entries 1 to 40, v2 requests"), "{}: {said}", path.display());
        assert_eq!(stderr(&["-q", "wal", text(&path)]), (String::new(), Some(0)));
    }
    // Beside its db a log is not summed up.
    let member = unpack("clean-36");
    assert_eq!(stderr(&["wal", text(&member.path().join("data"))]), (String::new(), Some(0)));
}

/// etcd 3.4.23 does not start on it: "max entry size limit exceeded".
#[test]
fn an_entry_above_10_mib_is_listed() {
    let dir = case("big-entry-34");
    let shown = sound(&dir.path().join("d"), &["--type", "put", "--no-values"]);
    let longest = shown.iter().filter_map(|line| line["request"]["valueBytes"].as_u64()).max();
    assert_eq!(longest, Some(11 << 20));
}
