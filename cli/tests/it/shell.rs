//! Guards the contract scripts rely on before any file is opened: exit codes, which stream says what, help, and the
//! set of commands and flags.

use std::fs::File;
use std::process::{Command, Output, Stdio};

use crate::golden::assert_golden;

fn etcdsnap(args: &[&str]) -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_etcdsnap"));
    command.args(args).env_remove("COLUMNS").stdin(Stdio::null());
    command
}

fn run(args: &[&str]) -> (Option<i32>, String, String) {
    let Output { status, stdout, stderr } = etcdsnap(args).output().unwrap();
    (status.code(), String::from_utf8(stdout).unwrap(), String::from_utf8(stderr).unwrap())
}

#[test]
fn help_of_every_command_is_on_stdout_with_code_0_and_has_an_example() {
    let commands = [
        "",
        "save",
        "status",
        "verify",
        "restore",
        "compact",
        "hashkv",
        "check",
        "info",
        "members",
        "demo",
        "bench",
        "keys",
        "get",
        "leases",
        "auth",
        "alarms",
        "wal",
        "doctor",
        "snapshot",
        "history",
        "log",
        "diff",
        "top",
        "pages",
        "page",
        "buckets",
        "redact",
        "report",
        "carve",
        "salvage",
        "export-v2",
        "repair-membership",
    ];
    for command in commands {
        let args: Vec<&str> = command.split_whitespace().chain(["--help"]).collect();
        let (code, stdout, stderr) = run(&args);
        assert_eq!((code, stderr.as_str()), (Some(0), ""), "{command}");
        assert!(stdout.contains("Example:\n  etcdsnap ") || command == "snapshot", "{stdout}");
        assert_golden(
            &format!("help/{}.txt", if command.is_empty() { "etcdsnap" } else { command }),
            &stdout,
        );
    }
}

#[test]
fn both_spellings_have_the_same_flags() {
    for command in ["save", "status", "restore"] {
        let (plain, nested) =
            (run(&[command, "--help"]).1, run(&["snapshot", command, "--help"]).1);
        assert_eq!(plain, nested.replace("etcdsnap snapshot ", "etcdsnap "));
    }
}

#[test]
fn the_version_is_on_stdout_with_code_0() {
    let (code, stdout, stderr) = run(&["--version"]);
    assert_eq!((code, stderr.as_str()), (Some(0), ""));
    assert_eq!(stdout, format!("etcdsnap {}\n", env!("CARGO_PKG_VERSION")));
}

#[test]
fn usage_errors_are_on_stderr_with_code_2() {
    let cases: &[&[&str]] = &[
        &[],
        &["frobnicate"],
        &["snapshot"],
        &["snapshot", "frobnicate"],
        &["status"],
        &["status", "a.db", "b.db"],
        &["status", "a.db", "--frobnicate"],
        &["status", "a.db", "-w", "protobuf"],
        &["status", "a.db", "--threads", "0"],
        &["status", "a.db", "--threads", "1000000"],
        &["status", "a.db", "--progress", "sometimes"],
        &["status", "a.db", "--rev", "5"],
        &["verify"],
        &["page", "a.db"],
        &["page", "a.db", "x"],
        &["history", "a.db"],
        &["log", "a.db", "--from", "0"],
        &["diff"],
        &["diff", "a.db", "b.db", "c.db"],
        &["top", "a.db", "--limit", "100001"],
        &["save", "out.db"],
        &["save", "--data-dir", "d"],
        &["hashkv", "a.db", "--rev", "-1"],
        &["hashkv", "a.db", "--rev", "9223372036854775808"],
        &["restore"],
        &["restore", "a.db", "--bump-revision", "5"],
        &["restore", "a.db", "--mark-compacted"],
        &["snapshot", "restore", "a.db", "--mark-compacted=true"],
        &["restore", "a.db", "--bump-revision", "-5", "--mark-compacted"],
        &["restore", "a.db", "--skip-hash-check=perhaps"],
        &["demo", "a.db"],
    ];
    for args in cases {
        let (code, stdout, stderr) = run(args);
        assert_eq!((code, stdout.as_str()), (Some(2), ""), "{args:?}");
        assert!(!stderr.is_empty(), "{args:?}");
    }
}

#[test]
fn a_closed_pipe_is_a_quiet_end() {
    let mut child = etcdsnap(&["restore", "--help"])
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .unwrap();
    drop(child.stdout.take());
    let output = child.wait_with_output().unwrap();
    assert_eq!(
        (output.status.code(), String::from_utf8(output.stderr).unwrap().as_str()),
        (Some(0), "")
    );
}

#[test]
fn a_closed_or_full_stderr_is_no_panic() {
    let full = File::options().write(true).open("/dev/full").unwrap();
    let status = etcdsnap(&["frobnicate"]).stderr(full).status().unwrap();
    assert_eq!(status.code(), Some(2));
}
