//! `demo`: a tour on a small real member.

use std::{fs, path::Path};

use super::{Context, doctor, info, restore, save, verify};
use crate::{
    args::{Doctor, Input, Inputs, Reading, Restore, Save, Verify},
    exit::Answer,
};
use anyhow::{Context as _, Result};

/// A member whose etcd 3.6 was killed while a third of its log was not in its db; see `testdata/README.md`.
const MEMBER: &[u8] = include_bytes!("../../../testdata/members/crashed-36.tar.zst");

/// Unpacks the member into a temporary directory and runs doctor, info, verify, save and restore on it.
pub fn run(context: &Context) -> Result<Answer> {
    let work = tempfile::Builder::new()
        .prefix("etcdsnap-demo-")
        .tempdir()
        .context("make a temporary directory")?;
    let unpacked = zstd::Decoder::new(MEMBER)
        .map(tar::Archive::new)
        .and_then(|mut archive| archive.unpack(work.path()));
    unpacked.with_context(|| format!("unpack the demo member to {}", work.path().display()))?;
    let data_dir = work.path().join("data");
    let (snapshot, restored) = (work.path().join("backup.db"), work.path().join("restored"));
    let mut text =
        String::from("A member whose etcd 3.6 was killed under load. In a temporary directory:\n");
    let (data, backup) = (data_dir.display(), snapshot.display());
    let now = Reading::default;
    let input = || Input { path: data_dir.clone(), reading: now() };
    let inputs = |path: &Path| Verify {
        inputs: Inputs { paths: vec![path.to_path_buf()], reading: now() },
        against_wal: false,
    };
    let doctor_args = Doctor { paths: vec![data_dir.clone()], wal_dir: None };
    step(&mut text, &format!("etcdsnap doctor {data}"), &doctor::run(context, &doctor_args)?);
    step(&mut text, &format!("etcdsnap info {data}"), &info::run(context, &input())?);
    step(&mut text, &format!("etcdsnap verify {data}"), &verify::run(context, &inputs(&data_dir))?);
    let save = Save {
        first: data_dir.clone(),
        second: Some(snapshot.clone()),
        data_dir: None,
        compact: false,
        read_back: false,
        dry_run: false,
        reading: now(),
    };
    step(&mut text, &format!("etcdsnap save {data} {backup}"), &save::run(context, &save)?);
    let verified = verify::run(context, &inputs(&snapshot))?;
    step(&mut text, &format!("etcdsnap verify {backup}"), &verified);
    step(
        &mut text,
        &format!("etcdsnap restore {backup} --data-dir {}", restored.display()),
        &restore::run(context, &Restore::to(snapshot.clone(), restored.clone()))?,
    );
    text += "\n$ what etcd finds when it boots\n";
    tree(&mut text, work.path(), &restored)?;
    text += "\nThe temporary directory is removed again.\n";
    Ok(Answer::sound(text))
}

/// A command and what it says on standard output.
fn step(text: &mut String, command: &str, answer: &Answer) {
    *text += &format!("\n$ {command}\n{}", String::from_utf8_lossy(&answer.text));
}

fn tree(text: &mut String, root: &Path, directory: &Path) -> Result<()> {
    let mut entries: Vec<_> = fs::read_dir(directory)?.collect::<Result<_, _>>()?;
    entries.sort_by_key(fs::DirEntry::path);
    for entry in entries {
        let path = entry.path();
        if path.is_dir() {
            tree(text, root, &path)?;
        } else {
            let shown = path.strip_prefix(root).unwrap_or(&path);
            *text += &format!(
                "{:>10}  {}\n",
                crate::output::bytes(entry.metadata()?.len()),
                shown.display()
            );
        }
    }
    Ok(())
}
