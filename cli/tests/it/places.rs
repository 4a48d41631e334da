//! Where the program writes and where it refuses to. The danger: evidence overwritten by the tool that was to
//! save it; a refusal that does not say what to do.

use std::{fs, os::unix::fs::symlink, path::Path};

use crate::facts::{etcdsnap, json, state, text, unpack};

fn refused(args: &[&str], why: &str) {
    let out = etcdsnap(args);
    let said = String::from_utf8_lossy(&out.stderr);
    assert_eq!(out.status.code(), Some(2), "{args:?}: {said}");
    assert!(said.contains(why), "{args:?}: {said}");
}

#[test]
fn nothing_is_written_into_what_is_read() {
    let dir = unpack("clean-36");
    let data = dir.path().join("data");
    let snapshot = dir.path().join("snapshot.db");
    let link = dir.path().join("link.db");
    symlink(&snapshot, &link).unwrap();
    let before = state(dir.path());
    let inside = |path: &str| text(&data.join(path)).to_owned();
    let (data, snapshot, link) = (text(&data), text(&snapshot), text(&link));
    let why = "which is never changed";
    for out in [inside("backup.db"), inside("member/snap/db"), inside("member/snap/b.db")] {
        refused(&["save", "--data-dir", data, &out], why);
        refused(&["compact", data, &out], why);
    }
    let db = inside("member/snap/db");
    for out in [inside("member/snap/b.db"), inside("member/wal/b.db"), inside("member/b.db")] {
        refused(&["save", "--data-dir", &db, &out], why);
        refused(&["report", &db, "-o", &out], why);
    }
    refused(&["compact", snapshot, snapshot], why);
    refused(&["compact", snapshot, link], why);
    refused(&["compact", link, snapshot], why);
    refused(&["restore", data, "--data-dir", &inside("new/dir")], why);
    refused(&["restore", data, "--data-dir", &inside("../data/new"), "--dry-run"], why);
    refused(&["restore", data, "--all-members", &inside("new")], why);
    let beside = text(&dir.path().join("beside")).to_owned();
    refused(&["restore", data, "--data-dir", &beside, "--wal-dir", &inside("wal")], why);
    assert_eq!(before, state(dir.path()));
}

#[test]
fn a_compacted_file_takes_the_place_of_an_older_one_and_standard_output_is_refused() {
    let dir = unpack("clean-36");
    let snapshot = dir.path().join("snapshot.db");
    let out = dir.path().join("out.db");
    fs::write(&out, "yesterday's").unwrap();
    let said = json(&["compact", text(&snapshot), text(&out), "-w", "json"]);
    assert_eq!(said["kind"], "snapshot");
    assert_eq!(fs::metadata(&out).unwrap().len(), said["bytes"].as_u64().unwrap());
    let verified = json(&["verify", text(&out), "-w", "json"]);
    assert_eq!(verified["sound"], true);
    refused(&["compact", text(&snapshot), "-"], "name the file");
    refused(&["save", "--data-dir", text(&snapshot), "-", "--dry-run"], "name the file");
    assert!(!Path::new("-").exists());
}

#[test]
fn what_a_kill_left_between_two_renames_is_named() {
    let dir = unpack("clean-36");
    let snapshot = dir.path().join("snapshot.db");
    let (data, wal) = (dir.path().join("new"), dir.path().join("wal"));
    // As a kill after the WAL dir's rename leaves it.
    fs::create_dir_all(dir.path().join("new.tmp-7/member/snap")).unwrap();
    fs::create_dir(&wal).unwrap();
    fs::write(wal.join("0000000000000000-0000000000000000.wal"), "").unwrap();
    let out =
        etcdsnap(&["restore", text(&snapshot), "--data-dir", text(&data), "--wal-dir", text(&wal)]);
    let said = String::from_utf8_lossy(&out.stderr);
    assert_eq!(out.status.code(), Some(2), "{said}");
    assert!(said.contains("rm -r -- ") && said.contains("new.tmp-7"), "{said}");
    assert!(said.contains("may come from a restore that was killed"), "{said}");
}

#[test]
fn a_plan_tells_people_what_would_be_done() {
    let dir = unpack("kube-36");
    let snapshot = dir.path().join("snapshot.db");
    let root = dir.path().join("root");
    let before = state(dir.path());
    let out = etcdsnap(&[
        "restore",
        text(&snapshot),
        "--all-members",
        text(&root),
        "--initial-cluster",
        "a=http://10.0.0.1:2380,b=http://10.0.0.2:2380",
        "--drop-prefix",
        "/registry/events/",
        "--drop-prefix",
        "/nothing/",
        "--dry-run",
    ]);
    let said = String::from_utf8_lossy(&out.stdout);
    assert_eq!(out.status.code(), Some(0), "{said}");
    for part in [
        "would restore member a",
        "would restore member b",
        "left out: 46 keys",
        "left out: 1 lease,",
        "no key begins with /nothing/",
        "root/b/member/snap/db",
        "64 MB",
        "space: ",
        "--initial-advertise-peer-urls http://10.0.0.2:2380",
        "nothing was written: this was a dry run",
    ] {
        assert!(said.contains(part), "{part} in {said}");
    }
    assert_eq!(before, state(dir.path()));
}

#[test]
fn keys_that_wait_for_a_decision_are_listed() {
    let dir = unpack("kube-36");
    let snapshot = dir.path().join("snapshot.db");
    let data = dir.path().join("new");
    let out = etcdsnap(&["restore", text(&snapshot), "--data-dir", text(&data), "--rev", "400"]);
    let said = String::from_utf8_lossy(&out.stderr);
    assert_eq!(out.status.code(), Some(2), "{said}");
    for part in ["/registry/masterleases/192.0.2.2  lease ", "2 keys", "--orphan-leases", "detach"]
    {
        assert!(said.contains(part), "{part} in {said}");
    }
    assert!(!data.exists());
    refused(&["restore", text(&snapshot), "--data-dir", text(&data), "--rev", "793"], "792");
    refused(&["restore", text(&snapshot), "--data-dir", text(&data), "--drop-prefix", ""], "empty");
}

#[test]
fn roundabout_paths_lead_where_they_lead() {
    let dir = unpack("clean-36");
    let snapshot = dir.path().join("snapshot.db");
    let (link, behind) = (dir.path().join("link"), dir.path().join("behind"));
    fs::create_dir(&behind).unwrap();
    symlink(&behind, &link).unwrap();
    let three = "a=http://h:1,b=http://h:2";
    let args =
        ["restore", text(&snapshot), "--all-members", text(&link), "--initial-cluster", three];
    let said = json(&[&args[..], &["-w", "json"]].concat());
    assert!(link.is_symlink() && behind.join("b/member/snap/db").is_file(), "{said}");
    let odd = dir.path().join("not/../yet/there");
    json(&["restore", text(&snapshot), "--data-dir", text(&odd), "-w", "json"]);
    assert!(dir.path().join("yet/there/member/snap/db").is_file());
}

#[test]
fn a_bench_measures_what_it_made_up() {
    let dir = tempfile::tempdir().unwrap();
    let made = dir.path().join("made.db");
    let said = json(&["bench", "--size", "1MiB", "--make", text(&made), "-w", "json"]);
    assert_eq!(fs::metadata(&made).unwrap().len(), said["bytes"].as_u64().unwrap());
    assert_eq!(json(&["verify", text(&made), "-w", "json"])["sound"], true);
    let before = state(&made);
    let work = dir.path().join("work");
    fs::create_dir(&work).unwrap();
    let args = ["bench", text(&made), "--rounds", "2", "--dir", text(&work), "-w", "json"];
    let said = json(&args);
    let jobs = said["files"][0]["jobs"].as_array().unwrap();
    let names: Vec<&str> = jobs.iter().map(|job| job["name"].as_str().unwrap()).collect();
    let all = [
        "status",
        "hashkv",
        "check",
        "verify",
        "top",
        "carve",
        "diff",
        "save",
        "restore",
        "restore-all",
        "compact",
    ];
    assert_eq!(names, all);
    for job in jobs {
        assert_eq!(job["seconds"].as_array().unwrap().len(), 2, "{job}");
        assert!(job["medianSeconds"].as_f64().unwrap() > 0.0, "{job}");
    }
    assert_eq!(said["files"][0]["path"], text(&made));
    assert!(said["machine"]["cores"].as_u64().unwrap() > 0);
    assert!(before == state(&made), "the input changed");
    assert_eq!(fs::read_dir(&work).unwrap().count(), 0, "something is left behind");
    refused(&["bench", text(&made), "--job", "nothing"], "no job nothing");
    refused(&["bench", "--size", "1", "--make", text(&made)], "64KiB");
}
