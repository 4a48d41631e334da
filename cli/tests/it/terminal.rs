//! What people read at night, on terminals of 60 and 80 columns, in pipes, with `-q`, with colours and without. The danger:
//! a table that is torn, a sentence whose end is out of sight, a colour in a file.

use std::{
    fs::File,
    io::Read as _,
    path::Path,
    process::{Command, Stdio},
};

use nix::pty::{OpenptyResult, Winsize, openpty};
use tempfile::TempDir;

use crate::{facts::case_into, golden::assert_golden};

/// What an admin runs at night.
const COMMANDS: [&str; 19] = [
    "doctor n1",
    "doctor flip",
    "doctor n1 n2 n4",
    "info n1",
    "info flip -w table",
    "keys n1",
    "members n1",
    "members n1 -w table",
    "status n1 -w table",
    "verify n1",
    "verify flip",
    "verify n1 -w table",
    "history n1 k3",
    "log n1 --from 7",
    "top n1 --limit 2",
    "save n1 out.db --dry-run",
    "save flip out.db",
    "restore n1 --data-dir out --dry-run",
    "info n4",
];

/// Those with most colours.
const FEW: [&str; 2] = ["doctor flip", "verify n1"];

/// Three members whose last entry is committed in no log, and one whose log is damaged.
fn members() -> TempDir {
    let dir = tempfile::tempdir().unwrap();
    case_into("quorum-committed-37", dir.path());
    case_into("wal-length-flip-35", dir.path());
    std::fs::rename(dir.path().join("d-flip3"), dir.path().join("flip")).unwrap();
    dir
}

fn program(dir: &Path, command: &str, more: &[&str], env: &[(&str, &str)]) -> Command {
    let mut program = Command::new(env!("CARGO_BIN_EXE_etcdsnap"));
    program.args(command.split(' ')).args(more).current_dir(dir).stdin(Stdio::null());
    program.env_remove("COLUMNS").env_remove("NO_COLOR").env("TERM", "xterm");
    program.envs(env.iter().copied());
    program
}

/// Standard output, then standard error.
fn piped(dir: &Path, command: &str, more: &[&str], env: &[(&str, &str)]) -> String {
    let ran = program(dir, command, more, env).output().unwrap();
    [ran.stdout, ran.stderr].map(|bytes| String::from_utf8(bytes).unwrap()).join("")
}

/// What a terminal of 80 columns gets.
fn on_terminal(dir: &Path, command: &str, env: &[(&str, &str)]) -> String {
    let size = Winsize { ws_row: 24, ws_col: 80, ws_xpixel: 0, ws_ypixel: 0 };
    let OpenptyResult { master: screen, slave: line } = openpty(&size, None).unwrap();
    let mut program = program(dir, command, &["--progress", "none"], env);
    let mut child = program.stdout(line.try_clone().unwrap()).stderr(line).spawn().unwrap();
    // Its ends of the line are closed with it, or the reading would not end.
    drop(program);
    let (mut screen, mut said) = (File::from(screen), Vec::new());
    let mut buffer = [0; 4096];
    // Linux ends the reading with an error once the other end is closed.
    while let Ok(count @ 1..) = screen.read(&mut buffer) {
        said.extend_from_slice(&buffer[..count]);
    }
    child.wait().unwrap();
    String::from_utf8(said).unwrap().replace("\r\n", "\n")
}

fn all(run: impl Fn(&str) -> String) -> String {
    let said = |command: &&str| format!("$ etcdsnap {command}\n{}\n", anywhere(&run(command)));
    COMMANDS.iter().map(said).collect()
}

/// Lines that are wider than `columns`; a command to paste and a row of a list are one line each, however long.
fn too_wide(text: &str, columns: usize) -> Vec<&str> {
    let is_whole = |line: &&str| {
        let word = line.trim_start();
        let starts = |words: &[&str]| words.iter().any(|start| word.starts_with(start));
        let command = starts(&["$ ", "next: ", "etcdsnap ", "etcd ", "for try "]);
        let member = word.chars().take(16).all(|c| c.is_ascii_hexdigit());
        let change = word.split_once(" put ").is_some_and(|(at, _)| at.contains('/'));
        let file = word.split_once("B  ").is_some_and(|(size, _)| size.len() < 8);
        command || member || change || file
    };
    text.lines().filter(|line| !is_whole(line) && line.chars().count() > columns).collect()
}

/// `said` without what differs from machine to machine.
fn anywhere(said: &str) -> String {
    let free = |line: &str| match line.split_once(" needed, ") {
        Some((needed, _)) => format!("{needed} needed, SO MUCH free\n"),
        None => line.to_owned(),
    };
    said.split_inclusive('\n').map(free).collect()
}

#[test]
fn nothing_is_wider_than_the_terminal_but_commands_and_records() {
    let dir = members();
    for columns in ["60", "80"] {
        let text = all(|command| piped(dir.path(), command, &[], &[("COLUMNS", columns)]));
        assert_golden(&format!("terminal/{columns}.txt"), &text);
        assert_eq!(too_wide(&text, columns.parse().unwrap()), [""; 0]);
        assert!(!text.contains('\x1b'));
    }
}

#[test]
fn a_pipe_has_whole_lines_and_no_colours() {
    let dir = members();
    let text = all(|command| piped(dir.path(), command, &[], &[]));
    assert_golden("terminal/pipe.txt", &text);
    assert!(!text.contains('\x1b'));
    for command in FEW {
        let plain = piped(dir.path(), command, &[], &[("NO_COLOR", "1")]);
        assert_eq!(plain, piped(dir.path(), command, &[], &[]));
    }
}

#[test]
fn quiet_keeps_what_decides_and_nothing_else_on_standard_error() {
    let dir = members();
    let text = all(|command| piped(dir.path(), command, &["-q"], &[]));
    assert_golden("terminal/quiet.txt", &text);
}

#[test]
fn a_terminal_has_colours_unless_told_otherwise() {
    let dir = members();
    let colours = all(|command| on_terminal(dir.path(), command, &[]));
    assert_golden("terminal/colours.txt", &colours.replace('\x1b', "<ESC>"));
    for (env, command) in [("NO_COLOR", "1"), ("TERM", "dumb")].into_iter().zip(FEW) {
        let plain = on_terminal(dir.path(), command, &[env]);
        assert_eq!(too_wide(&plain, 80), [""; 0]);
        let colours = on_terminal(dir.path(), command, &[]);
        let mut parts = colours.split('\x1b');
        let first = parts.next().unwrap_or_default().to_owned();
        let without = parts.map(|part| part.split_once('m').unwrap().1);
        assert_eq!(first + &without.collect::<String>(), plain);
    }
}
