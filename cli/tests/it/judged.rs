//! What `verify` and `salvage` say of files that fuzzing made. The danger: an answer that is another one on the next
//! run, so that nobody can compare two of them; a damaged record that is saved and called whole.

use std::{
    fs,
    path::{Path, PathBuf},
};

use fastrand::Rng;
use serde_json::Value;

use crate::facts::{case, etcdsnap, json, text, unpack};

fn files(dir: &Path) -> Vec<PathBuf> {
    let mut files: Vec<PathBuf> =
        fs::read_dir(dir).unwrap().map(|entry| entry.unwrap().path()).collect();
    files.sort();
    files
}

/// The snapshot of a real member with some bytes changed, most of them where pages have their structure, and both metas'
/// checksums right.
fn mutated(sound: &[u8], rng: &mut Rng) -> Vec<u8> {
    let mut bytes = sound.to_vec();
    for _ in 0..rng.usize(1..12) {
        let at = rng.usize(8192..bytes.len() - 64);
        let at = if rng.bool() { at / 4096 * 4096 + rng.usize(..64) } else { at };
        bytes[at] = rng.u8(..);
    }
    bytes
}

fn said(args: &[&str]) -> (Option<i32>, Vec<u8>, Vec<u8>) {
    let ran = etcdsnap(args);
    (ran.status.code(), ran.stdout, ran.stderr)
}

fn verified(path: &Path) -> Value {
    let ran = etcdsnap(&["verify", text(path), "-w", "json"]);
    serde_json::from_slice(&ran.stdout).unwrap_or_else(|_| panic!("{ran:?}"))
}

#[test]
fn every_run_says_the_same_of_a_damaged_file() {
    let dir = case("fuzz-verify-order");
    let sound = unpack("clean-36");
    let sound = fs::read(sound.path().join("snapshot.db")).unwrap();
    let mut rng = Rng::with_seed(15);
    for number in 0..3 {
        fs::write(dir.path().join(format!("m{number}.db")), mutated(&sound, &mut rng)).unwrap();
    }
    for path in files(dir.path()) {
        let first = said(&["verify", text(&path), "-w", "json"]);
        for run in 0..20 {
            let threads = ["1", "2", "8"][run % 3];
            let again = said(&["verify", text(&path), "-w", "json", "--threads", threads]);
            assert!(first == again, "{} in run {run}, {threads} threads", path.display());
        }
        let target = dir.path().join("never.db");
        // Without the space that is left, which is another one at any time.
        let salvage = ["salvage", text(&path), "--output", text(&target)];
        let commands: [&[&str]; 8] = [
            &["doctor", text(&path)],
            &["check", text(&path)],
            &["keys", text(&path)],
            &["leases", text(&path)],
            &["log", text(&path)],
            &["top", text(&path)],
            &["carve", text(&path)],
            &salvage,
        ];
        for command in commands {
            let run = |more: &[&str]| {
                let said = said(&[command, more].concat());
                let made = fs::read(&target).ok();
                fs::remove_file(&target).unwrap_or_default();
                (said, made)
            };
            let first = run(&[]);
            for threads in ["1", "2", "8"] {
                assert!(first == run(&["--threads", threads]), "{command:?}, {threads} threads");
            }
        }
    }
}

#[test]
fn one_cause_is_one_line_and_json_has_everything() {
    let dir = case("fuzz-verify-order");
    let path = dir.path().join("fuzzed.db");
    let json = verified(&path);
    let findings = json["findings"].as_array().unwrap();
    assert!(findings.len() > 20, "{findings:#?}");
    let causes: Vec<&Value> = findings.iter().filter(|one| one["follows"].is_null()).collect();
    assert_eq!(causes.len(), 1, "{causes:#?}");
    assert_eq!(causes[0], &findings[0], "causes come first");
    assert_eq!(causes[0]["consequences"], findings.len() - 1);
    let ran = etcdsnap(&["verify", text(&path)]);
    let shown = String::from_utf8(ran.stdout).unwrap();
    assert!(shown.contains("DAMAGED, 1 finding\n"), "{shown}");
    let follow = format!("{} further findings follow from it", findings.len() - 1);
    assert!(shown.contains(&follow), "{shown}");
    assert_eq!(shown.matches("damage: ").count(), 1, "{shown}");
    assert_eq!(shown.lines().count(), 8, "{shown}");
}

#[test]
fn a_place_is_said_once() {
    let dir = case("fuzz-verify-order");
    let shown = etcdsnap(&["verify", text(&dir.path().join("order.db"))]).stdout;
    let shown = String::from_utf8(shown).unwrap();
    assert!(shown.contains("  damage: revision 4/0 follows 4/0 above"), "{shown}");
}

#[test]
fn what_is_saved_of_damaged_records_is_never_called_whole() {
    let dir = case("fuzz-salvage-whole");
    let (gap, saved) = (dir.path().join("salv-gap.db"), dir.path().join("saved.db"));
    let ran = etcdsnap(&["salvage", text(&gap), "--output", text(&saved), "-w", "json", "-q"]);
    let json: Value = serde_json::from_slice(&ran.stdout).unwrap();
    assert_eq!((ran.status.code(), &json["whole"]), (Some(1), &Value::Bool(false)), "{json}");
    let damaged = &json["damagedRecords"];
    assert_eq!(damaged[0]["revision"], 8, "{json}");
    assert_eq!(damaged[0]["code"], "revision-gap");
    assert!(damaged[0]["keyBase64"].is_string(), "{json}");
    assert_eq!(damaged.as_array().unwrap().len(), 1);
    let ran = etcdsnap(&["salvage", text(&gap), "--output", text(&saved)]);
    let shown = String::from_utf8(ran.stdout).unwrap();
    assert!(!shown.contains("nothing is lost") && !shown.contains("lost:"), "{shown}");
    assert_eq!(shown.matches("revision 8/0 follows 4/0").count(), 1, "{shown}");
    assert!(shown.contains("damaged in the source and saved as it stands there"), "{shown}");
}

#[test]
fn a_verdict_of_salvage_is_that_of_verify_of_its_output() {
    let sound = unpack("clean-36");
    let sound = fs::read(sound.path().join("snapshot.db")).unwrap();
    let dir = tempfile::tempdir().unwrap();
    let (from, to) = (dir.path().join("from.db"), dir.path().join("to.db"));
    let mut rng = Rng::with_seed(31);
    let mut told = 0;
    for round in 0..40 {
        fs::write(&from, mutated(&sound, &mut rng)).unwrap();
        fs::remove_file(&to).unwrap_or_default();
        let ran = etcdsnap(&["salvage", text(&from), "--output", text(&to), "-w", "json", "-q"]);
        let json: Value = serde_json::from_slice(&ran.stdout).unwrap();
        let verified = verified(&to);
        if verified["sound"] == Value::Bool(false) {
            told += 1;
            assert_eq!(ran.status.code(), Some(1), "round {round}: {json}");
        }
        let revisions = |findings: &Value| -> Vec<String> {
            let damage = findings.as_array().unwrap().iter();
            let damage = damage.filter(|one| one["severity"] == "damage");
            let mut messages: Vec<String> = damage
                .filter(|one| one["where"].as_str().unwrap().starts_with("revision"))
                .map(|one| one["message"].as_str().unwrap().to_owned())
                .collect();
            messages.sort();
            messages
        };
        let mut listed: Vec<String> = json["damagedRecords"]
            .as_array()
            .unwrap()
            .iter()
            .map(|one| one["message"].as_str().unwrap().to_owned())
            .collect();
        listed.sort();
        assert_eq!(listed, revisions(&verified["findings"]), "round {round}");
    }
    assert!(told > 0, "no round left damage in the output");
}

#[test]
fn every_answer_about_a_state_says_what_is_not_known_to_be_committed() {
    let dir = case("quorum-committed-37");
    let [path, other, out] = ["n1", "n2", "out"].map(|name| dir.path().join(name));
    let (path, other, out) = (text(&path), text(&other), text(&out));
    let commands: [&[&str]; 17] = [
        &["status", path],
        &["hashkv", path],
        &["verify", path],
        &["info", path],
        &["doctor", path],
        &["members", path],
        &["leases", path],
        &["auth", path],
        &["alarms", path],
        &["top", path],
        &["restore", path, "--data-dir", out, "--dry-run"],
        &["keys", path],
        &["get", path, "k"],
        &["report", path, "-o", out],
        &["save", path, out],
        &["compact", path, out],
        &["report", path, other, "-o", out],
    ];
    for command in commands {
        let said = json(&[command, &["-w", "json", "-q"]].concat());
        assert_eq!(said["entriesUncommitted"], 1, "{command:?}: {said}");
        assert_eq!(said["revisionCommitted"], 8, "{command:?}: {said}");
    }
    let shown = String::from_utf8(said(&["verify", path]).1).unwrap();
    assert!(shown.contains("; not known to be committed: 1\n"), "{shown}");
    let members = json(&["report", path, other, "-o", out, "-w", "json", "-q"])["members"].clone();
    assert_eq!(members[1]["entriesUncommitted"], 1, "{members}");
}
