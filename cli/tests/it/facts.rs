//! Real members and what the real tools said about them. The danger: a number that is nearly right.

use std::{
    collections::BTreeMap,
    fs::{self, File},
    path::{Path, PathBuf},
    process::{Command, Output},
    time::SystemTime,
};

use serde_json::Value;

const SNAPSHOTS: [&str; 9] = [
    "authon-36",
    "clean-34",
    "clean-35",
    "clean-36",
    "clean-37",
    "cluster3-35",
    "cluster3-36",
    "kube-36",
    "kube-37-secretbox",
];

fn testdata() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../testdata")
}

pub fn unpack(name: &str) -> tempfile::TempDir {
    let dir = tempfile::tempdir().unwrap();
    let file = File::open(testdata().join(format!("members/{name}.tar.zst"))).unwrap();
    tar::Archive::new(zstd::Decoder::new(file).unwrap()).unpack(dir.path()).unwrap();
    dir
}

/// A small input from `testdata/cases`, unpacked.
pub fn case(name: &str) -> tempfile::TempDir {
    let dir = tempfile::tempdir().unwrap();
    case_into(name, dir.path());
    dir
}

/// As [`case`], in `dir`.
pub fn case_into(name: &str, dir: &Path) {
    for entry in fs::read_dir(testdata().join("cases").join(name)).unwrap() {
        let path = entry.unwrap().path();
        let file_name = path.file_stem().unwrap().to_owned();
        let mut input = zstd::Decoder::new(File::open(&path).unwrap()).unwrap();
        if Path::new(&file_name).extension().is_some_and(|extension| extension == "tar") {
            tar::Archive::new(input).unpack(dir).unwrap();
        } else {
            let mut output = File::create(dir.join(file_name)).unwrap();
            std::io::copy(&mut input, &mut output).unwrap();
        }
    }
}

pub fn facts(name: &str) -> Value {
    serde_json::from_slice(&fs::read(testdata().join(format!("members/{name}.json"))).unwrap())
        .unwrap()
}

pub fn etcdsnap(args: &[&str]) -> Output {
    Command::new(env!("CARGO_BIN_EXE_etcdsnap")).args(args).output().unwrap()
}

pub fn json(args: &[&str]) -> Value {
    let output = etcdsnap(args);
    assert_eq!(
        output.status.code(),
        Some(0),
        "{args:?}: {}",
        String::from_utf8_lossy(&output.stderr)
    );
    serde_json::from_slice(&output.stdout).unwrap()
}

pub fn text(path: &Path) -> &str {
    path.to_str().unwrap()
}

/// Every file below `root` with its bytes and modification time.
pub fn state(root: &Path) -> BTreeMap<PathBuf, (Vec<u8>, SystemTime)> {
    let mut found = BTreeMap::new();
    let mut pending = vec![root.to_path_buf()];
    while let Some(path) = pending.pop() {
        let metadata = path.metadata().unwrap();
        if metadata.is_dir() {
            pending.extend(fs::read_dir(&path).unwrap().map(|entry| entry.unwrap().path()));
            found.insert(path, (Vec::new(), metadata.modified().unwrap()));
        } else {
            found.insert(path.clone(), (fs::read(&path).unwrap(), metadata.modified().unwrap()));
        }
    }
    found
}

#[test]
fn status_and_hashkv_are_what_the_real_tools_said() {
    for name in SNAPSHOTS {
        let (dir, facts) = (unpack(name), facts(name));
        let snapshot = dir.path().join("snapshot.db");
        // Of the kube members only HashKV was recorded.
        if let Some(expected) = facts.get("snapshot_status") {
            let status = json(&["status", text(&snapshot), "-w", "json"]);
            // 3.4 and 3.5 counted every pair of every bucket.
            let etcd = facts["etcd"].as_str().unwrap();
            let total = if etcd.starts_with("3.4") || etcd.starts_with("3.5") {
                "entries"
            } else {
                "totalKey"
            };
            let fields = [
                ("hash", "hash"),
                ("revision", "revision"),
                ("totalSize", "totalSize"),
                (total, "totalKey"),
            ];
            for (ours, theirs) in fields {
                assert_eq!(status[ours], expected[theirs], "{name}: {ours}");
            }
        }
        let hash = json(&["hashkv", text(&snapshot), "-w", "json"]);
        assert_eq!(hash["hash"], facts["hashkv"]["hash"], "{name}");
        let verified = json(&["verify", text(&snapshot), "-w", "json"]);
        assert_eq!(verified["sound"], Value::Bool(true), "{name}: {verified}");
    }
}

#[test]
fn a_saved_snapshot_of_a_killed_idle_member_is_the_servers_own() {
    for (name, member) in [
        ("kube-36", "data"),
        ("kube-37-secretbox", "data"),
        ("cluster3-35", "n0"),
        ("cluster3-36", "n0"),
    ] {
        let dir = unpack(name);
        let (out, data) = (dir.path().join("ours.db"), dir.path().join(member));
        let before = state(&data);
        let output = etcdsnap(&["save", "--data-dir", text(&data), text(&out), "--no-wal"]);
        assert_eq!(output.status.code(), Some(0), "{}", String::from_utf8_lossy(&output.stderr));
        assert!(
            fs::read(&out).unwrap() == fs::read(dir.path().join("snapshot.db")).unwrap(),
            "{name}"
        );
        assert!(state(&data) == before, "{name}: the input changed");
    }
}

#[test]
fn every_command_leaves_its_input_alone_and_answers_alike_at_any_number_of_threads() {
    let dir = unpack("crashed-36");
    let data = dir.path().join("data");
    let before = state(&data);
    for command in ["status", "hashkv", "verify", "check", "info", "members"] {
        for format in ["simple", "table", "json", "fields"] {
            let run = |more: &[&str]| {
                let output = etcdsnap(&[&[command, text(&data), "-w", format], more].concat());
                assert_eq!(
                    output.status.code(),
                    Some(0),
                    "{command}: {}",
                    String::from_utf8_lossy(&output.stderr)
                );
                output.stdout
            };
            let one = run(&["--threads", "1"]);
            for more in [["--threads", "2"].as_slice(), &["--threads", "8"], &["--no-mmap"]] {
                assert_eq!(run(more), one, "{command} -w {format} {more:?}");
            }
        }
    }
    assert!(state(&data) == before);
}

#[test]
fn files_from_the_field_read_as_their_table_says() {
    let field = |name: &str| testdata().join("field").join(name);
    let corrupted = field("etcd-corrupted-backup.db");
    let check = etcdsnap(&["check", text(&corrupted)]);
    assert_eq!(check.status.code(), Some(1));
    assert_eq!(
        String::from_utf8(check.stdout).unwrap(),
        "page 3: already freed\npage 4: unreachable unfreed\n2 errors found\n"
    );
    let status = etcdsnap(&["status", text(&corrupted)]);
    assert_eq!(
        (status.status.code(), status.stdout.as_slice()),
        (Some(1), b"".as_slice()),
        "refused"
    );
    let auger = etcdsnap(&["status", text(&field("auger-kube.db")), "-w", "json"]);
    assert_eq!(auger.status.code(), Some(1), "its freelist is damaged");
    let status: Value = serde_json::from_slice(&auger.stdout).unwrap();
    assert_eq!(status["totalKey"], 4, "its keys can be read all the same");
}

#[test]
fn a_damaged_input_is_refused_and_nothing_is_written() {
    let dir = unpack("authon-36");
    let damaged = dir.path().join("damaged.db");
    let mut bytes = fs::read(dir.path().join("snapshot.db")).unwrap();
    let at = bytes
        .windows(4)
        .rposition(|window| window == b"\x2a\x00\x00\x00")
        .unwrap_or(bytes.len() / 2);
    bytes[at] ^= 1;
    fs::write(&damaged, &bytes).unwrap();
    let out = dir.path().join("out");
    for args in [
        ["verify", text(&damaged), "-w", "json"].as_slice(),
        &["save", "--data-dir", text(&damaged), text(&out)],
        &["restore", text(&damaged), "--data-dir", text(&out)],
    ] {
        let output = etcdsnap(args);
        assert_eq!(
            output.status.code(),
            Some(1),
            "{args:?}: {}",
            String::from_utf8_lossy(&output.stderr)
        );
        assert!(!out.exists(), "{args:?}");
    }
    let names: Vec<_> =
        fs::read_dir(dir.path()).unwrap().map(|entry| entry.unwrap().file_name()).collect();
    assert!(!names.iter().any(|name| name.to_string_lossy().contains(".tmp-")), "{names:?}");
}

#[test]
fn a_restore_makes_what_etcd_expects_and_never_twice() {
    let dir = unpack("clean-35");
    let (snapshot, out) = (dir.path().join("snapshot.db"), dir.path().join("new"));
    let args = ["restore", text(&snapshot), "--data-dir", text(&out), "-w", "json"];
    let report = json(&args);
    assert_eq!(report["memberId"], "8e9e05c52164694d");
    assert_eq!(report["clusterId"], "cdf818194e3a8c32");
    let db = out.join("member/snap/db");
    let restored = json(&["info", text(&out), "-w", "json"]);
    assert_eq!(
        (&restored["clusterId"], &restored["consistentIndex"]),
        (&"cdf818194e3a8c32".into(), &1.into())
    );
    assert_eq!(json(&["verify", text(&db), "-w", "json"])["sound"], Value::Bool(true));
    let hash = |path: &Path| json(&["hashkv", text(path), "-w", "json"]);
    assert_eq!(hash(&snapshot), hash(&out), "the key space is as it was");
    let again = etcdsnap(&args);
    assert_eq!(again.status.code(), Some(2));
    assert!(String::from_utf8_lossy(&again.stderr).contains("not empty"));
}
