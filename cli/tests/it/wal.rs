//! The records of real logs. The dangers: a record left out, a filter that lets through, a secret that is shown,
//! damage that looks like an end.

use std::{
    collections::BTreeMap,
    fs,
    path::{Path, PathBuf},
};

use serde_json::Value;

use crate::facts::{etcdsnap, text, unpack};

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
fn a_wrong_byte_ends_the_list_with_its_place_and_code_1() {
    let dir = unpack("clean-36");
    let segment = segment(&dir.path().join("data"));
    let whole = sound(&segment, &[]);
    let offset = whole[50]["offset"].as_u64().unwrap();
    let mut bytes = fs::read(&segment).unwrap();
    bytes[usize::try_from(offset).unwrap() + 24] ^= 1;
    fs::write(&segment, bytes).unwrap();
    let (shown, code) = lines(&segment, &[]);
    assert_eq!((shown.as_slice(), code), (&whole[..50], Some(1)));
    let stderr = String::from_utf8(etcdsnap(&["wal", text(&segment)]).stderr).unwrap();
    assert!(stderr.contains("0000000000000000-0000000000000000.wal"), "{stderr}");
    assert!(
        stderr.contains(&format!("{offset:#x}")) || stderr.contains(&offset.to_string()),
        "{stderr}"
    );
}
