//! Where output goes: into a stream, to a file, or nowhere. The danger: a device, a FIFO or a link that is replaced by a
//! file, as `save … /dev/null` once did to a whole host; and a run that finds after an hour that it cannot write.

use std::{
    fs::{self, File},
    io::Read as _,
    os::unix::{
        fs::{FileTypeExt as _, PermissionsExt as _, symlink},
        net::UnixListener,
    },
    path::{Path, PathBuf},
    process::{Command, Output, Stdio},
};

use rustix::fs::{CWD, FileType, Mode};
use serde_json::Value;

use crate::facts::{etcdsnap, json, state, text, unpack};

/// Every command that writes a file, with what is in front of its output's name.
fn writers(snapshot: &str) -> Vec<Vec<String>> {
    let words = |words: &[&str]| words.iter().map(|word| (*word).to_owned()).collect();
    vec![
        words(&["save", snapshot]),
        words(&["save", "--compact", "--data-dir", snapshot]),
        words(&["snapshot", "save", snapshot]),
        words(&["compact", snapshot]),
        words(&["redact", snapshot]),
        words(&["report", snapshot, "-o"]),
        words(&["salvage", snapshot, "--output"]),
        words(&["bench", "--size", "64KiB", "--make"]),
    ]
}

fn streams(writer: &[String]) -> bool {
    writer.iter().any(|word| ["save", "report"].contains(&word.as_str()))
}

fn run(writer: &[String], more: &[&str]) -> Output {
    let words: Vec<&str> = writer.iter().map(String::as_str).chain(more.iter().copied()).collect();
    etcdsnap(&words)
}

fn refused(writer: &[String], more: &[&str], why: &str) {
    let out = run(writer, more);
    let said = String::from_utf8_lossy(&out.stderr);
    assert_eq!(out.status.code(), Some(2), "{writer:?} {more:?}: {said}");
    assert!(out.stdout.is_empty(), "{writer:?} {more:?}");
    assert!(said.contains(why), "{writer:?} {more:?}: {said}");
}

/// Makes a special file; `false`, said aloud, where this user may not.
fn node(path: &Path, kind: FileType, major: u32, minor: u32) -> bool {
    let device = rustix::fs::makedev(major, minor);
    let made = rustix::fs::mknodat(CWD, path, kind, Mode::from_raw_mode(0o600), device);
    if made.is_err() {
        eprintln!("SKIPPED: a {kind:?} cannot be made here: {made:?}");
    }
    made.is_ok()
}

/// What the name itself is, links not followed.
fn kind(path: &Path) -> (bool, bool, bool, u64) {
    let metadata = fs::symlink_metadata(path).unwrap();
    let kind = metadata.file_type();
    let inode = std::os::unix::fs::MetadataExt::ino(&metadata);
    (kind.is_fifo(), kind.is_char_device(), kind.is_symlink(), inode)
}

#[test]
fn nothing_but_a_file_is_ever_replaced() {
    let dir = unpack("clean-36");
    let at = |name: &str| dir.path().join(name);
    let snapshot = at("snapshot.db");
    let _listener = UnixListener::bind(at("socket.db")).unwrap();
    fs::create_dir(at("directory.db")).unwrap();
    symlink("directory.db", at("link-to-directory.db")).unwrap();
    symlink("circle.db", at("circle.db")).unwrap();
    let has_block = node(&at("block.db"), FileType::BlockDevice, 7, 200);
    let has_null = node(&at("null.db"), FileType::CharacterDevice, 1, 3);
    assert!(node(&at("fifo.db"), FileType::Fifo, 0, 0));
    symlink("fifo.db", at("link-to-fifo.db")).unwrap();
    for writer in writers(text(&snapshot)) {
        let never = [
            ("socket.db", "is a socket"),
            ("directory.db", "is a directory"),
            ("link-to-directory.db", "is a directory"),
            ("circle.db", "leads to itself"),
        ];
        let block = has_block.then_some(("block.db", "is a block device"));
        for (name, why) in never.into_iter().chain(block) {
            let before = kind(&at(name));
            refused(&writer, &[text(&at(name))], why);
            if writer[0] != "bench" {
                refused(&writer, &[text(&at(name)), "--dry-run"], why);
            }
            assert_eq!(kind(&at(name)), before, "{writer:?} {name}");
        }
        let null = has_null.then_some("null.db");
        for name in ["fifo.db", "link-to-fifo.db"].into_iter().chain(null) {
            let before = kind(&at(name));
            if !streams(&writer) {
                refused(&writer, &[text(&at(name))], "name the file to write");
            } else if name == "null.db" {
                assert_eq!(run(&writer, &[text(&at(name))]).status.code(), Some(0), "{writer:?}");
            } else {
                let into_file = at("expected");
                assert_eq!(run(&writer, &[text(&into_file)]).status.code(), Some(0));
                let reader = std::thread::spawn({
                    let fifo = at("fifo.db");
                    move || fs::read(fifo).unwrap()
                });
                let out = run(&writer, &[text(&at(name)), "-w", "json"]);
                assert_eq!(out.status.code(), Some(0), "{writer:?}");
                let said: Value = serde_json::from_slice(&out.stdout).unwrap();
                assert_eq!(said["replaced"], false, "{said}");
                let (read, expected) = (reader.join().unwrap(), fs::read(&into_file).unwrap());
                // A report says when it was made.
                assert!(read == expected || writer[0] == "report", "{writer:?} {name}");
                assert!(read.len().abs_diff(expected.len()) < 100);
                fs::remove_file(into_file).unwrap();
            }
            assert_eq!(kind(&at(name)), before, "{writer:?} {name}");
        }
        if !streams(&writer) {
            let name = if writer[0] == "salvage" { at("-.db") } else { "-".into() };
            if writer[0] != "salvage" {
                refused(&writer, &[text(&name)], "name the file to write");
            }
            refused(
                &writer,
                &["/dev/stdout"],
                if writer[0] == "salvage" { "not empty" } else { "name the file to write" },
            );
        }
    }
    refused(
        &["salvage".into(), text(&snapshot).into(), "--output".into()],
        &["-"],
        "standard output",
    );
    let left: Vec<String> = fs::read_dir(dir.path())
        .unwrap()
        .map(|entry| entry.unwrap().file_name().into_string().unwrap())
        .filter(|name| name.contains(".tmp-") || name == "-")
        .collect();
    assert!(left.is_empty(), "{left:?}");
}

#[test]
fn a_link_is_followed_and_the_file_it_names_is_replaced() {
    let dir = unpack("clean-36");
    let at = |name: &str| dir.path().join(name);
    fs::create_dir(at("elsewhere")).unwrap();
    let snapshot = at("snapshot.db");
    for writer in writers(text(&snapshot)) {
        fs::write(at("elsewhere/old.db"), "yesterday's").unwrap();
        symlink("elsewhere/old.db", at("link.db")).unwrap();
        symlink(at("elsewhere/new.db"), at("dangling.db")).unwrap();
        for (link, real, replaced) in
            [("link.db", "elsewhere/old.db", true), ("dangling.db", "elsewhere/new.db", false)]
        {
            let out = run(&writer, &[text(&at(link)), "-w", "json"]);
            let err = String::from_utf8_lossy(&out.stderr);
            assert_eq!(out.status.code(), Some(0), "{writer:?}: {err}");
            assert!(at(link).is_symlink() && !at(real).is_symlink(), "{writer:?} {link}");
            assert!(fs::metadata(at(real)).unwrap().len() > 1000, "{writer:?} {link}");
            let said: Value = serde_json::from_slice(&out.stdout).unwrap();
            assert_eq!(said["replaced"], replaced, "{writer:?} {said}");
            let named = err.contains(&format!("replaced: {}", at(link).display()));
            assert_eq!(named, replaced, "{writer:?}: {err}");
            assert_eq!(err.contains(text(&at(real))), replaced, "{writer:?}: {err}");
            fs::remove_file(at(link)).unwrap();
            fs::remove_file(at(real)).unwrap();
        }
    }
    // Neither does a link lead into what is read.
    let data = at("data");
    symlink(data.join("member/new.db"), at("inside.db")).unwrap();
    symlink(data.join("new"), at("new-dir")).unwrap();
    let before = state(&data);
    for writer in writers(text(&data)) {
        if !["bench", "salvage"].contains(&writer[0].as_str()) {
            refused(&writer, &[text(&at("inside.db"))], "which is never changed");
        }
    }
    let restore = ["restore", text(&data), "--data-dir"].map(str::to_owned);
    refused(&restore, &[text(&at("new-dir"))], "which is never changed");
    assert_eq!(state(&data), before);
}

#[test]
fn a_link_of_another_user_is_not_followed_where_everybody_writes() {
    const NOBODY: u32 = 65534;
    let dir = unpack("clean-36");
    let at = |name: &str| dir.path().join(name);
    let snapshot = at("snapshot.db");
    fs::create_dir(at("shared")).unwrap();
    fs::set_permissions(at("shared"), fs::Permissions::from_mode(0o1777)).unwrap();
    fs::write(at("victim.db"), "precious").unwrap();
    fs::create_dir(at("victim-dir")).unwrap();
    symlink(at("victim.db"), at("shared/link.db")).unwrap();
    symlink(at("victim-dir"), at("shared/dir")).unwrap();
    symlink(at("shared/link.db"), at("behind.db")).unwrap();
    for link in ["shared/link.db", "shared/dir"] {
        if std::os::unix::fs::lchown(at(link), Some(NOBODY), None).is_err() {
            eprintln!("SKIPPED: this user cannot give files away");
            return;
        }
    }
    for writer in writers(text(&snapshot)) {
        for link in ["shared/link.db", "behind.db"] {
            refused(&writer, &[text(&at(link))], "protected_symlinks");
        }
    }
    let restore = ["restore", text(&snapshot)].map(str::to_owned);
    for more in [&["--data-dir"][..], &["--data-dir", "x", "--wal-dir"], &["--all-members"]] {
        let link = at("shared/dir");
        refused(&restore, &[more, &[text(&link)]].concat(), "protected_symlinks");
    }
    assert_eq!(fs::read(at("victim.db")).unwrap(), b"precious");
    assert_eq!(fs::read_dir(at("victim-dir")).unwrap().count(), 0);
    // A link of one's own may be followed there, as everywhere.
    symlink(at("victim.db"), at("shared/own.db")).unwrap();
    json(&["save", text(&snapshot), text(&at("shared/own.db")), "-w", "json"]);
    assert!(fs::metadata(at("victim.db")).unwrap().len() > 1000);
}

#[test]
fn open_descriptors_are_written_to_and_never_resolved() {
    let dir = unpack("clean-36");
    let at = |name: &str| dir.path().join(name);
    let snapshot = at("snapshot.db");
    let expected = fs::read(&snapshot).unwrap();
    let program = env!("CARGO_BIN_EXE_etcdsnap");
    for name in ["-", "/dev/stdout", "/dev/fd/1", "/proc/self/fd/1"] {
        // A pipe, and a file with something in it already, which a shell opened.
        let piped = etcdsnap(&["save", text(&snapshot), name]);
        assert_eq!(piped.status.code(), Some(0), "{name}");
        assert!(piped.stdout == expected, "{name}");
        let script = format!(
            "(printf before; '{program}' save '{}' {name}) > '{}'",
            snapshot.display(),
            at("out").display()
        );
        let status = Command::new("sh").args(["-c", &script]).status().unwrap();
        assert!(status.success(), "{name}");
        assert!(
            fs::read(at("out")).unwrap() == [b"before", expected.as_slice()].concat(),
            "{name}"
        );
        let page = etcdsnap(&["report", text(&snapshot), "-o", name]);
        assert!(
            page.stdout.starts_with(b"<!DOCTYPE html>") && page.stdout.ends_with(b"</html>\n"),
            "{name}"
        );
    }
    for (name, redirection) in [("/dev/fd/3", "3>"), ("/proc/self/fd/7", "7>>")] {
        let script = format!(
            "'{program}' save '{}' {name} {redirection} '{}'",
            snapshot.display(),
            at("fd").display()
        );
        fs::write(at("fd"), "").unwrap();
        let out = Command::new("sh").args(["-c", &script]).output().unwrap();
        assert!(out.status.success(), "{}", String::from_utf8_lossy(&out.stderr));
        assert!(String::from_utf8_lossy(&out.stdout).starts_with("Snapshot saved at "), "{name}");
        assert!(fs::read(at("fd")).unwrap() == expected, "{name}");
    }
    // Not what is read, and not what is not open.
    let own =
        format!("'{program}' save '{}' /dev/fd/3 3<> '{}'", snapshot.display(), snapshot.display());
    let out = Command::new("sh").args(["-c", &own]).output().unwrap();
    assert_eq!(out.status.code(), Some(2));
    assert!(fs::read(&snapshot).unwrap() == expected);
    refused(&["save".into(), text(&snapshot).into()], &["/dev/fd/99"], "nothing that is open");
}

#[test]
fn who_reads_a_fifo_is_not_left_waiting_by_damage() {
    let dir = unpack("clean-36");
    let (snapshot, fifo) = (dir.path().join("snapshot.db"), dir.path().join("fifo"));
    let mut bytes = fs::read(&snapshot).unwrap();
    let last = bytes.len() - 1;
    bytes[last] ^= 1;
    let broken = dir.path().join("broken.db");
    fs::write(&broken, bytes).unwrap();
    assert!(node(&fifo, FileType::Fifo, 0, 0));
    let reader = std::thread::spawn({
        let fifo = fifo.clone();
        move || {
            let mut read = Vec::new();
            File::open(fifo).unwrap().read_to_end(&mut read).map(|_| read.len())
        }
    });
    let out = etcdsnap(&["save", text(&broken), text(&fifo)]);
    assert_eq!(out.status.code(), Some(1), "{}", String::from_utf8_lossy(&out.stderr));
    assert_eq!(reader.join().unwrap().unwrap(), 0);
    // Without a reader it waits, and an interrupt ends that.
    let mut child = Command::new(env!("CARGO_BIN_EXE_etcdsnap"))
        .args(["save", text(&snapshot), text(&fifo)])
        .stdout(Stdio::null())
        .stderr(Stdio::null())
        .spawn()
        .unwrap();
    std::thread::sleep(std::time::Duration::from_millis(500));
    assert!(child.try_wait().unwrap().is_none(), "nobody reads");
    rustix::process::kill_process(
        rustix::process::Pid::from_child(&child),
        rustix::process::Signal::INT,
    )
    .unwrap();
    assert_eq!(child.wait().unwrap().code(), Some(2));
}

#[test]
fn a_dry_run_finds_what_cannot_be_written() {
    let dir = unpack("clean-36");
    let at = |name: &str| dir.path().join(name);
    let snapshot = at("snapshot.db");
    fs::write(at("file"), "old").unwrap();
    let before = state(dir.path());
    for writer in writers(text(&snapshot)) {
        if writer[0] == "bench" {
            continue;
        }
        refused(&writer, &[text(&at("missing/out.db")), "--dry-run"], "No such file");
        refused(&writer, &[text(&at("file/out.db")), "--dry-run"], "Not a directory");
        refused(&writer, &[text(&at(&format!("{}.db", "x".repeat(250)))), "--dry-run"], "no room");
    }
    for more in [&["--data-dir"][..], &["--all-members"]] {
        let restore = ["restore", text(&snapshot)].map(str::to_owned);
        let under_a_file = at("file/deep/er");
        refused(&restore, &[more, &[text(&under_a_file), "--dry-run"]].concat(), "Not a directory");
    }
    // A plan names what would be replaced, and replaces nothing.
    let out = etcdsnap(&["save", text(&snapshot), text(&at("file")), "--dry-run", "-w", "json"]);
    let said: Value = serde_json::from_slice(&out.stdout).unwrap();
    assert_eq!(said["replaced"], true);
    assert!(String::from_utf8_lossy(&out.stderr).contains("would replace: "));
    assert_eq!(state(dir.path()), before);
}

#[test]
fn a_dry_run_finds_what_this_user_may_not_write() {
    let dir = unpack("clean-36");
    fs::set_permissions(dir.path(), fs::Permissions::from_mode(0o755)).unwrap();
    let closed = dir.path().join("closed");
    fs::create_dir(&closed).unwrap();
    // Another user's directory, as another user.
    let as_nobody = |words: &[&str]| {
        let program = dir.path().join("etcdsnap");
        if !program.exists() {
            fs::copy(env!("CARGO_BIN_EXE_etcdsnap"), &program).unwrap();
        }
        let mut command = Command::new("setpriv");
        command.args(["--reuid", "65534", "--clear-groups", "--"]).arg(program).args(words);
        command.output()
    };
    let snapshot = dir.path().join("snapshot.db");
    fs::set_permissions(&snapshot, fs::Permissions::from_mode(0o644)).unwrap();
    match as_nobody(&["status", text(&snapshot)]) {
        Ok(out) if out.status.success() => {}
        other => return eprintln!("SKIPPED: no other user can be taken on: {other:?}"),
    }
    let target = closed.join("out.db");
    for writer in writers(text(&snapshot)).iter().filter(|writer| writer[0] != "bench") {
        let words: Vec<&str> = writer.iter().map(String::as_str).collect();
        let out = as_nobody(&[&words, &[text(&target), "--dry-run"][..]].concat()).unwrap();
        let said = String::from_utf8_lossy(&out.stderr);
        assert_eq!(out.status.code(), Some(2), "{writer:?}: {said}");
        assert!(said.contains("Permission denied"), "{writer:?}: {said}");
    }
    let data_dir = closed.join("new");
    let out = as_nobody(&["restore", text(&snapshot), "--data-dir", text(&data_dir), "--dry-run"]);
    let out = out.unwrap();
    assert_eq!(out.status.code(), Some(2));
    assert!(String::from_utf8_lossy(&out.stderr).contains("Permission denied"));
}

#[test]
fn a_data_dir_is_made_where_a_link_leads() {
    let dir = unpack("clean-36");
    let at = |name: &str| dir.path().join(name);
    let snapshot = at("snapshot.db");
    fs::create_dir(at("empty")).unwrap();
    symlink("empty", at("to-empty")).unwrap();
    symlink("made/later", at("to-nothing")).unwrap();
    symlink("file", at("to-file")).unwrap();
    fs::write(at("file"), "old").unwrap();
    for (link, real) in [("to-empty", "empty"), ("to-nothing", "made/later")] {
        json(&["restore", text(&snapshot), "--data-dir", text(&at(link)), "-w", "json"]);
        assert!(at(link).is_symlink() && at(real).join("member/snap/db").is_file(), "{link}");
    }
    let restore = ["restore", text(&snapshot), "--data-dir"].map(str::to_owned);
    for name in ["to-file", "file"] {
        refused(&restore, &[text(&at(name))], "not empty or could not be read");
    }
    refused(&restore, &["-"], "standard output");
    assert_eq!(fs::read(at("file")).unwrap(), b"old");
}

#[test]
fn save_takes_two_paths_and_says_what_it_saved() {
    let dir = unpack("crashed-36");
    let (data, out) = (dir.path().join("data"), dir.path().join("out.db"));
    let first = json(&["save", text(&data), text(&out), "-w", "json"]);
    let saved = fs::read(&out).unwrap();
    let second = etcdsnap(&["save", "--data-dir", text(&data), text(&out)]);
    let (said, err) =
        (String::from_utf8_lossy(&second.stdout), String::from_utf8_lossy(&second.stderr));
    assert_eq!(second.status.code(), Some(0), "{err}");
    assert!(fs::read(&out).unwrap() == saved);
    assert!(said.starts_with(&format!("Snapshot saved at {}\n", out.display())), "{said}");
    let status = json(&["status", text(&out), "-w", "json"]);
    for line in [
        format!("revision: {}", status["revision"]),
        format!("keys: {}", status["totalKey"]),
        format!("({} bytes)", saved.len()),
        format!("sha256: {}", first["sha256"].as_str().unwrap()),
        format!("WAL entries applied: {}; not known to be committed: 0", first["entriesReplayed"]),
    ] {
        assert!(said.contains(&line), "{line} in {said}");
    }
    assert_eq!((&first["revision"], &first["keys"]), (&status["revision"], &status["totalKey"]));
    assert!(err.contains(&format!("replaced: {}", out.display())), "{err}");
    let quiet = etcdsnap(&["save", "-q", text(&data), text(&out)]);
    assert!(quiet.stderr.is_empty());
    let restored =
        json(&["restore", text(&data), "--data-dir", text(&dir.path().join("new")), "-w", "json"]);
    assert_eq!(restored["keys"], status["totalKey"]);
    assert_eq!(restored["entriesReplayed"], first["entriesReplayed"]);
    assert_eq!(restored["entriesUncommitted"], 0);
    for (words, why) in [
        (&["save", "out.db"][..], "etcdsnap save PATH OUT"),
        (&["save", "--data-dir", "a", "b", "c"], "both name what is saved"),
    ] {
        let words: Vec<String> = words.iter().map(|word| (*word).to_owned()).collect();
        refused(&words, &[], why);
    }
}

#[test]
fn etcdctls_connection_flags_are_answered() {
    let dir = unpack("clean-36");
    let snapshot = dir.path().join("snapshot.db");
    let given = [
        "--endpoints",
        "https://10.0.0.1:2379",
        "--cacert",
        "ca",
        "--cert",
        "c",
        "--key",
        "k",
        "--user",
        "root:secret",
        "--password",
        "secret",
        "--dial-timeout",
        "2s",
        "--command-timeout=5s",
        "--insecure-skip-tls-verify",
        "--insecure-transport=false",
        "--discovery-srv",
        "example.org",
        "-d",
        "example.org",
    ];
    let given = &given[..given.len() - 2];
    let new = dir.path().join("new");
    for words in [
        vec!["snapshot", "status", text(&snapshot)],
        vec!["snapshot", "restore", text(&snapshot), "--dry-run", "--data-dir", text(&new)],
    ] {
        for all in [[&words[..], given].concat(), [given, &words[..]].concat()] {
            let out = etcdsnap(&all);
            let said = String::from_utf8_lossy(&out.stderr);
            assert_eq!(out.status.code(), Some(0), "{all:?}: {said}");
            assert_eq!(said.matches("no server is asked").count(), 1, "{said}");
        }
    }
    for words in [["snapshot", "save"].as_slice(), &["save"]] {
        let all = [words, given, &["my out.db"]].concat();
        let out = etcdsnap(&all);
        let said = String::from_utf8_lossy(&out.stderr);
        assert_eq!(out.status.code(), Some(2), "{said}");
        assert!(said.contains("etcdctl --endpoints https://10.0.0.1:2379 "), "{said}");
        assert!(said.contains("snapshot save 'my out.db'") && said.lines().count() == 1, "{said}");
        assert!(!said.contains("secret"), "{said}");
    }
    refused(&["keys".into(), text(&snapshot).into()], &["--endpoints", "x"], "asks no server");
    assert!(!PathBuf::from("my out.db").exists());
}

#[test]
fn a_prefix_that_keeps_nothing_and_a_raise_too_far_are_refused() {
    let dir = unpack("kube-36");
    let (snapshot, new) = (dir.path().join("snapshot.db"), dir.path().join("new"));
    let restore = ["restore", text(&snapshot), "--data-dir", text(&new)].map(str::to_owned);
    for more in [
        &["--keep-prefix", "/registry/none/"][..],
        &["--keep-prefix", "/registry/", "--keep-prefix", "/registry/none/"],
        &["--keep-prefix", "/registry/none/", "--drop-prefix", "/x", "--dry-run"],
    ] {
        refused(&restore, more, "/registry/none/");
    }
    // What is kept and dropped again keeps nothing either.
    refused(
        &restore,
        &["--keep-prefix", "/registry/pods/", "--drop-prefix", "/registry/"],
        "/registry/pods/",
    );
    let kept = json(&[
        "restore",
        text(&snapshot),
        "--data-dir",
        text(&new),
        "--keep-prefix",
        "/registry/",
        "--dry-run",
        "-w",
        "json",
    ]);
    assert!(kept["keys"].as_u64().unwrap() > 0, "{kept}");

    let revision = kept["sourceRevision"].as_i64().unwrap();
    let most = i64::MAX - 1_000_000_000_000 - revision;
    let bump = |by: i64| {
        ["--mark-compacted".to_owned(), "--dry-run".to_owned(), format!("--bump-revision={by}")]
    };
    let words = |by: i64| bump(by).to_vec();
    let out = run(&restore, &words(most).iter().map(String::as_str).collect::<Vec<_>>());
    assert_eq!(out.status.code(), Some(0), "{}", String::from_utf8_lossy(&out.stderr));
    for by in [most + 1, i64::MAX] {
        refused(
            &restore,
            &words(by).iter().map(String::as_str).collect::<Vec<_>>(),
            "cannot be raised that far",
        );
    }
    assert!(!new.exists());
}

#[test]
fn progress_ends_at_its_total_and_has_stages_for_writing_and_syncing() {
    let dir = unpack("crashed-36");
    let at = |name: &str| dir.path().join(name);
    let data = at("data");
    for words in [
        vec!["save", text(&data), "out.db"],
        vec!["save", "--compact", text(&data), "small.db"],
        vec!["restore", text(&data), "--data-dir", "new"],
        vec!["restore", text(&data), "--data-dir", "newer", "--compact"],
    ] {
        let mut command = Command::new(env!("CARGO_BIN_EXE_etcdsnap"));
        let out = command
            .current_dir(dir.path())
            .args(&words)
            .args(["--progress", "json"])
            .output()
            .unwrap();
        assert!(out.status.success(), "{words:?}");
        let err = String::from_utf8(out.stderr).unwrap();
        let events: Vec<Value> =
            err.lines().filter_map(|line| serde_json::from_str(line).ok()).collect();
        let ends: Vec<&Value> = events.iter().filter(|event| event["event"] == "end").collect();
        let stages: Vec<&str> = ends.iter().map(|event| event["stage"].as_str().unwrap()).collect();
        let write = stages.iter().rposition(|stage| *stage == "write");
        let sync = stages.iter().rposition(|stage| *stage == "sync");
        assert!(
            write.is_some() && write < sync && sync == Some(stages.len() - 1),
            "{words:?}: {stages:?}"
        );
        for event in &ends {
            assert_eq!(event["doneBytes"], event["totalBytes"], "{words:?}: {event}");
        }
    }
}
