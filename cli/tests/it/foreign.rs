//! Paths and files that are not what they were taken for. The danger: a wrong word for it sends a tired person the wrong
//! way.

use std::{
    fs,
    os::unix::fs::PermissionsExt as _,
    path::Path,
    process::{Command, Output},
};

use crate::facts::{etcdsnap, text, unpack};

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
