//! Paths and files that are not what they were taken for. The danger: a wrong word for it sends a tired person the wrong
//! way.

use std::{
    fs,
    os::unix::fs::PermissionsExt as _,
    path::Path,
    process::{Command, Output},
};

use base64::{Engine as _, engine::general_purpose::STANDARD};
use etcdsnap_engine::{bolt::Db, limits::Limits};

use crate::facts::{case, etcdsnap, json, text, unpack};

/// Exit code and standard error.
fn said(out: &Output) -> (Option<i32>, String) {
    (out.status.code(), String::from_utf8_lossy(&out.stderr).into_owned())
}

fn set_mode(path: &Path, mode: u32) {
    fs::set_permissions(path, fs::Permissions::from_mode(mode)).unwrap();
}

#[test]
fn permission_denied_is_said_as_that() {
    let dir = unpack("clean-36");
    let data = dir.path().join("data");
    let program = dir.path().join("etcdsnap");
    set_mode(dir.path(), 0o755);
    fs::copy(env!("CARGO_BIN_EXE_etcdsnap"), &program).unwrap();
    // Root may read everything; nobody else may search a directory of mode 0700 or 0000.
    let root = rustix::process::geteuid().is_root();
    let run = |args: &[&str]| {
        if root {
            let nobody = ["--reuid=65534", "--regid=65534", "--clear-groups"];
            Command::new("setpriv").args(nobody).arg(&program).args(args).output().unwrap()
        } else {
            etcdsnap(args)
        }
    };
    let mode = if root { 0o700 } else { 0 };
    set_mode(&data.join("member/snap/db"), 0o644);
    for closed in ["", "member", "member/snap", "member/wal"] {
        for open in ["", "member", "member/snap", "member/wal"] {
            set_mode(&data.join(open), 0o755);
        }
        let closed = data.join(closed);
        set_mode(&closed, mode);
        for path in [data.clone(), data.join("member"), data.join("member/snap/db")] {
            let within_reach = path.ends_with("db") && closed.ends_with("wal");
            for command in ["info", "verify"] {
                let (code, said) = said(&run(&[command, text(&path)]));
                if within_reach {
                    assert_eq!(code, Some(0), "{}: {said}", path.display());
                    continue;
                }
                assert_eq!(code, Some(2), "{}: {said}", path.display());
                assert!(said.to_lowercase().contains("permission denied"), "{said}");
                assert!(!said.contains("neither"), "{said}");
            }
        }
        set_mode(&closed, 0o755);
    }
}

#[test]
fn a_path_one_level_off_is_answered_with_what_is_there_and_the_command() {
    let dir = unpack("clean-36");
    let data = dir.path().join("data");
    let k3s = dir.path().join("k3s it's/server/db");
    fs::create_dir_all(k3s.join("snapshots")).unwrap();
    fs::rename(&data, k3s.join("etcd")).unwrap();
    fs::rename(dir.path().join("snapshot.db"), k3s.join("snapshots/on-demand")).unwrap();
    let etcd = k3s.join("etcd");
    for path in
        [k3s.as_path(), k3s.parent().unwrap(), &etcd.join("member/snap"), &etcd.join("member/wal")]
    {
        let (code, told) = said(&etcdsnap(&["info", "-w", "json", text(path)]));
        assert_eq!(code, Some(2), "{told}");
        assert!(told.contains(&format!("the data dir {}", text(&etcd))), "{told}");
        let quoted = text(&etcd).replace('\'', r"'\''");
        assert!(told.ends_with(&format!("next: etcdsnap info -w json '{quoted}'\n")), "{told}");
    }
    let snapshots = k3s.join("snapshots");
    let flag = format!("--data-dir={}", text(&snapshots));
    let (code, told) = said(&etcdsnap(&["save", &flag, text(&dir.path().join("out.db"))]));
    assert_eq!(code, Some(2), "{told}");
    assert!(told.contains("it contains the snapshot or db file"), "{told}");
    assert!(told.contains("next: etcdsnap save '--data-dir="), "{told}");
    assert!(told.contains("/snapshots/on-demand' "), "{told}");
    // Nothing there: nothing is made up.
    let empty = dir.path().join("empty");
    fs::create_dir(&empty).unwrap();
    let (code, told) = said(&etcdsnap(&["info", text(&empty)]));
    let expected = "neither a data dir (member/snap/db) nor a member dir (snap/db)\n";
    assert!(code == Some(2) && told.ends_with(expected), "{told}");
}

#[test]
fn files_that_are_no_database_are_named_as_what_they_are() {
    let dir = unpack("clean-36");
    let snapshot = fs::read(dir.path().join("snapshot.db")).unwrap();
    let wal = dir.path().join("data/member/wal");
    let segment = fs::read_dir(&wal)
        .unwrap()
        .map(|entry| entry.unwrap().path())
        .find(|path| path.extension().is_some_and(|extension| extension == "wal"));
    let cases: [(&[u8], &str, &str); 7] = [
        (
            b"SQLite format 3\0\x10\0\x01\x01",
            "an SQLite database",
            "k3s keeps its state there (kine)",
        ),
        (b"", "empty (0 bytes)", "NAME.part"),
        (
            b"<?xml version=\"1.0\"?><Error><Code>NoSuchKey</Code></Error>",
            "an XML document",
            "it says \"NoSuchKey\"",
        ),
        (b"<html><title>502 Bad Gateway</title>", "an HTML page", "it says \"502 Bad Gateway\""),
        (b"Salted__01234567abcdef", "OpenSSL-encrypted", "openssl enc -d"),
        (&[0; 100_000], "nothing but zeros", "look for another copy"),
        (b"\x78\x9c\xed\x9b\x4f\x68", "zlib-compressed", "zlib.decompress"),
    ];
    let told = |path: &Path| {
        let (code, told) = said(&etcdsnap(&["verify", text(path)]));
        assert_eq!(code, Some(2), "{told}");
        told
    };
    for (number, (bytes, name, advice)) in cases.into_iter().enumerate() {
        // A name says nothing.
        let path = dir.path().join(format!("snapshot-{number}.db.gz"));
        fs::write(&path, bytes).unwrap();
        let told = told(&path);
        assert!(told.contains(&format!("is {name}, not an etcd database")), "{told}");
        assert!(told.contains(advice), "{told}");
    }
    let base64 = dir.path().join("snapshot.b64");
    fs::write(&base64, STANDARD.encode(&snapshot)).unwrap();
    assert!(
        told(&base64)
            .contains("is base64 text, not an etcd database: unpack it first with `base64 -d")
    );
    let told = told(&segment.unwrap());
    assert!(told.contains("is a segment of a WAL"), "{told}");
    assert!(
        told.contains(&format!("name the data dir instead: {}", text(&dir.path().join("data")))),
        "{told}"
    );
}

/// Every command that reads etcd's data, of the file `path`.
fn commands<'a>(path: &'a str, out: &'a str) -> Vec<Vec<&'a str>> {
    vec![
        vec!["verify", path],
        vec!["status", path],
        vec!["snapshot", "status", path],
        vec!["info", path],
        vec!["keys", path],
        vec!["get", path, "k"],
        vec!["hashkv", path],
        vec!["leases", path],
        vec!["members", path],
        vec!["auth", path],
        vec!["alarms", path],
        vec!["log", path],
        vec!["history", path, "k"],
        vec!["diff", path, path],
        vec!["doctor", path],
        vec!["top", path],
        vec!["carve", path],
        vec!["compact", path, out],
        vec!["save", "--data-dir", path, out],
        vec!["redact", path, out],
        vec!["report", path, "-o", out],
        vec!["restore", path, "--data-dir", out],
        vec!["restore", path, "--all-members", out],
        vec!["salvage", path, "--output", out],
    ]
}

#[test]
fn of_another_programs_bbolt_file_pages_and_buckets_are_shown_and_nothing_else() {
    let cases = [
        ("plain-bbolt", "raft.db", "it has the buckets \"conf\", \"logs\""),
        ("influx-like", "influx-like.db", "it has the buckets \"bucketsv1\", \"organizationsv1\""),
        ("deep-buckets", "deep.db", "it has the bucket \"d\""),
        ("page-size-512", "ps512.db", "it has the bucket \"v1\""),
    ];
    for (name, file, buckets) in cases {
        let dir = case(name);
        let path = dir.path().join(file);
        let path = text(&path);
        let checked = etcdsnap(&["check", path]);
        assert_eq!(String::from_utf8_lossy(&checked.stdout), "OK\n", "{name}");
        for args in [
            vec!["check", path],
            vec!["pages", path],
            vec!["buckets", path],
            vec!["page", path, "2"],
        ] {
            assert_eq!(said(&etcdsnap(&args)), (Some(0), String::new()), "{args:?}");
        }
        let out = dir.path().join("out.db");
        for args in commands(path, text(&out)) {
            let (code, said) = said(&etcdsnap(&args));
            assert_eq!(code, Some(2), "{args:?}: {said}");
            let expected = format!("{path} is a bbolt file, not etcd's: {buckets}");
            assert!(said.contains(&expected), "{args:?}: {said}");
            assert!(!said.contains("damage"), "{args:?}: {said}");
            assert!(!out.exists(), "{args:?}");
        }
    }
}

#[test]
fn buckets_are_listed_as_deep_as_they_nest() {
    let dir = case("deep-buckets");
    let path = dir.path().join("deep.db");
    let said = json(&["buckets", text(&path), "-w", "json"]);
    let buckets = said["buckets"].as_array().unwrap();
    assert_eq!(buckets.len(), 201);
    assert_eq!(
        (&buckets[200]["level"], buckets[200]["withinBase64"].as_array().unwrap().len()),
        (&201.into(), 200)
    );
    let dir = case("page-size-512");
    let pages = json(&["pages", text(&dir.path().join("ps512.db")), "-w", "json"]);
    assert_eq!(pages["pageSize"], 512);
}

#[test]
fn a_damaged_etcd_file_is_etcds_all_the_same() {
    let dir = unpack("clean-36");
    let snapshot = dir.path().join("snapshot.db");
    let info = json(&["pages", text(&snapshot), "-w", "json"]);
    let sound = fs::read(&snapshot).unwrap();
    let root = info["pages"].as_array().unwrap().iter().find(|page| {
        // The page that names the buckets belongs to the bucket without a name.
        page["type"] == "leaf" && page["bucketBase64"].as_array().is_some_and(Vec::is_empty)
    });
    let root = usize::try_from(root.unwrap()["id"].as_u64().unwrap()).unwrap() * 4096;
    type Damage<'d> = &'d dyn Fn(&mut [u8]);
    let damages: [Damage<'_>; 4] = [
        &|bytes| bytes[root..root + 4096].fill(0),
        &|bytes| bytes[root + 8] = 0x40,
        // The names of the buckets, but for the last ones.
        &|bytes| {
            for name in [&b"alarm"[..], b"auth", b"cluster", b"key", b"lease"] {
                let page = &mut bytes[root..root + 4096];
                let at = page.windows(name.len()).position(|at| at == name).unwrap();
                page[at] = b'!';
            }
        },
        &|bytes| bytes[16..80].fill(7),
    ];
    for (number, damage) in damages.iter().enumerate() {
        let path = dir.path().join(format!("damaged-{number}.db"));
        let mut bytes = sound.clone();
        damage(&mut bytes);
        fs::write(&path, bytes).unwrap();
        let (code, verified) = said(&etcdsnap(&["verify", text(&path)]));
        assert_eq!(code, Some(1), "damage {number}: {verified}");
        let out = dir.path().join(format!("salvaged-{number}.db"));
        let salvaged = etcdsnap(&["salvage", text(&path), "--output", text(&out)]);
        assert!(out.exists(), "damage {number}: {}", said(&salvaged).1);
    }
}

/// Does something to both metas of a file with pages of 4096 bytes, and seals them.
fn in_metas(bytes: &mut [u8], change: impl Fn(&mut [u8])) {
    for slot in [0, 1] {
        let meta = &mut bytes[slot * 4096 + 16..slot * 4096 + 80];
        change(meta);
        let checksum = etcdsnap_engine::bolt::layout::fnv1a64(&meta[..56]);
        meta[56..].copy_from_slice(&checksum.to_le_bytes());
    }
}

/// A copy of a db that its server wrote to meanwhile: the root page has become a leaf of another bucket.
#[test]
fn a_root_page_of_pairs_is_damage_and_no_empty_database() {
    let dir = unpack("clean-36");
    let mut bytes = fs::read(dir.path().join("data/member/snap/db")).unwrap();
    let page = {
        let db = Db::from_bytes(&bytes, Limits::default()).unwrap();
        let records = db.root().bucket(b"key").unwrap().unwrap();
        records.items().next().unwrap().unwrap().page
    };
    in_metas(&mut bytes, |meta| meta[16..24].copy_from_slice(&page.0.to_le_bytes()));
    let path = dir.path().join("copied.db");
    fs::write(&path, bytes).unwrap();
    let out = dir.path().join("out.db");
    for command in [
        "info", "verify", "doctor", "status", "hashkv", "keys", "get", "members", "leases", "save",
        "restore",
    ] {
        let more = match command {
            "get" => vec!["k"],
            "save" => vec![text(&out)],
            "restore" => vec!["--data-dir", text(&out)],
            _ => vec![],
        };
        let ran = etcdsnap(&[&[command, text(&path)], &more[..]].concat());
        let told = said(&ran).1 + &String::from_utf8_lossy(&ran.stdout);
        assert_eq!(ran.status.code(), Some(1), "{command}: {told}");
        assert!(told.contains("a pair among the top-level buckets"), "{command}: {told}");
    }
    assert!(!out.exists());
}

#[test]
fn a_database_without_buckets_is_etcds_in_a_data_dir_and_nothing_alone() {
    let dir = case("failed-join-3.7.3");
    let data = dir.path().join("jf-3.7.3");
    let (code, told) = said(&etcdsnap(&["info", text(&data)]));
    assert_eq!(code, Some(0), "{told}");
    assert!(!told.contains("not etcd's"), "{told}");
    // Nothing was ever stored, so nothing is damaged.
    let verified = etcdsnap(&["verify", text(&data), "--no-wal"]);
    assert_eq!(verified.status.code(), Some(0), "{}", String::from_utf8_lossy(&verified.stdout));
    // As bbolt makes it, before a server made its first bucket.
    let mut empty = fs::read(data.join("member/snap/db")).unwrap()[..4 * 4096].to_vec();
    in_metas(&mut empty, |meta| {
        meta[16..24].copy_from_slice(&3_u64.to_le_bytes());
        meta[32..40].copy_from_slice(&u64::MAX.to_le_bytes());
        meta[40..48].copy_from_slice(&4_u64.to_le_bytes());
    });
    empty[2 * 4096..].fill(0);
    empty[3 * 4096] = 3;
    empty[3 * 4096 + 8] = 2;
    let alone = dir.path().join("alone.db");
    fs::write(&alone, &empty).unwrap();
    let checked = etcdsnap(&["check", text(&alone)]);
    assert_eq!(String::from_utf8_lossy(&checked.stdout), "OK\n");
    let (code, told) = said(&etcdsnap(&["info", text(&alone)]));
    assert_eq!(code, Some(2), "{told}");
    assert!(told.contains("a bbolt file without buckets: it holds nothing of etcd's"), "{told}");
    fs::write(data.join("member/snap/db"), &empty).unwrap();
    let (code, told) = said(&etcdsnap(&["info", text(&data)]));
    assert_eq!(code, Some(0), "{told}");
}

#[test]
fn a_digest_is_found_where_padding_hides_it_and_all_commands_agree() {
    let dir = case("padded-snapshot");
    let changed = dir.path().join("padded-changed.db");
    let out = dir.path().join("out");
    let path = text(&changed);
    let status = |path: &str| json(&["status", path, "-w", "json"])["kind"].clone();
    assert_eq!(status(path), "snapshot");
    for args in [
        vec!["verify", path],
        vec!["save", "--data-dir", path, text(&out)],
        vec!["restore", path, "--data-dir", text(&out)],
    ] {
        let (code, said) = said(&etcdsnap(&args));
        assert_eq!(code, Some(1), "{args:?}: {said}");
        assert!(!out.exists());
    }
    let unpadded = &fs::read(&changed).unwrap()[..20480 + 32];
    fs::write(&changed, unpadded).unwrap();
    assert_eq!(said(&etcdsnap(&["verify", path])).0, Some(1));

    let dir = unpack("clean-36");
    let snapshot = dir.path().join("snapshot.db");
    let sound = fs::read(&snapshot).unwrap();
    let hash = |path: &Path| json(&["hashkv", text(path), "-w", "json"])["hash"].clone();
    for (number, len) in [1, 480, 4064, 100_000].into_iter().enumerate() {
        let padded = dir.path().join("padded.db");
        fs::write(&padded, [&sound[..], &vec![0; len]].concat()).unwrap();
        let verified = json(&["verify", text(&padded), "-w", "json"]);
        let notes = verified["findings"].as_array().unwrap();
        let note = notes.iter().find(|note| note["code"] == "behind-digest").unwrap();
        assert!(
            note["message"]
                .as_str()
                .unwrap()
                .starts_with(&format!("{len} bytes follow the digest"))
        );
        assert_eq!(status(text(&padded)), "snapshot");
        let saved = dir.path().join(format!("saved-{number}.db"));
        json(&["save", "--data-dir", text(&padded), text(&saved), "-w", "json"]);
        assert!(
            fs::read(&saved).unwrap() == sound,
            "what is saved is the snapshot without the padding"
        );
        let restored = dir.path().join(format!("restored-{number}"));
        json(&["restore", text(&padded), "--data-dir", text(&restored), "-w", "json"]);
        assert_eq!(hash(&restored), hash(&snapshot));
    }
    let cut = dir.path().join("cut.db");
    fs::write(&cut, &sound[..sound.len() - 10]).unwrap();
    assert_eq!(status(text(&cut)), "snapshot");
    let verified = etcdsnap(&["verify", text(&cut)]);
    let told = String::from_utf8_lossy(&verified.stdout).into_owned();
    assert!(told.contains("the file ends after 22 of the 32 bytes of its digest"), "{told}");
    assert_eq!(verified.status.code(), Some(1));
}

#[test]
fn pages_are_shown_where_no_meta_is_valid_and_that_is_said() {
    let dir = case("both-metas");
    let path = dir.path().join("both-metas.db");
    let path = text(&path);
    for (page, kind) in [("0", "meta"), ("1", "meta"), ("5", "leaf")] {
        let shown = etcdsnap(&["page", path, page, "-w", "json"]);
        let (code, said) = said(&shown);
        assert_eq!(code, Some(1), "{said}");
        assert!(said.contains("both meta pages are damaged: meta 0: checksum error"), "{said}");
        assert!(said.contains("pages of 4096 bytes is what most headers fit"), "{said}");
        let shown: serde_json::Value = serde_json::from_slice(&shown.stdout).unwrap();
        assert_eq!(
            (&shown["type"], shown["hex"].as_str().unwrap().len()),
            (&kind.into(), 2 * 4096)
        );
    }
    let listed = etcdsnap(&["pages", path, "-w", "json"]);
    assert_eq!(listed.status.code(), Some(1));
    let listed: serde_json::Value = serde_json::from_slice(&listed.stdout).unwrap();
    assert_eq!((&listed["pageSize"], &listed["total"]), (&4096.into(), &64.into()));
    assert_eq!(listed["problems"][0]["code"], "meta");
    for args in [vec!["check", path], vec!["buckets", path], vec!["verify", path]] {
        assert_eq!(said(&etcdsnap(&args)).0, Some(1), "{args:?}");
    }
}

#[test]
fn a_big_endian_db_is_named_by_doctor_and_not_sent_to_salvage() {
    let dir = case("big-endian-dir");
    let data = dir.path().join("be");
    let out = etcdsnap(&["doctor", text(&data)]);
    let told = String::from_utf8_lossy(&out.stdout).into_owned();
    assert!(told.contains("big-endian bbolt file"), "{told}");
    assert!(!told.contains("no valid meta page"), "{told}");
    assert!(!told.contains("etcdsnap salvage"), "{told}");
}
