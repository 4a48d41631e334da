//! `demo`: a tour on a small real member.

use std::{fs, path::Path};

use super::{Context, info, restore, save, verify};
use crate::{
    args::{Input, Inputs, Reading, Restore, Save},
    exit::Answer,
};
use anyhow::{Context as _, Result};

/// A member whose etcd 3.6 was killed with a small Kubernetes cluster in it; see `testdata/README.md`.
const MEMBER: &[u8] = include_bytes!("../../../testdata/members/kube-36.tar.zst");

/// Unpacks the member into a temporary directory and runs info, verify, save and restore on it.
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
    let mut text = String::from(
        "A member of a small Kubernetes cluster; its etcd 3.6 was killed. In a temporary directory:\n",
    );
    step(&mut text, &format!("etcdsnap info {}", data_dir.display()));
    text +=
        &info::run(context, &Input { path: data_dir.clone(), reading: Reading::default() })?.text;
    step(&mut text, &format!("etcdsnap verify {}", data_dir.display()));
    text += &verify::run(
        context,
        &Inputs { paths: vec![data_dir.clone()], reading: Reading::default() },
    )?
    .text;
    step(
        &mut text,
        &format!("etcdsnap save --data-dir {} {}", data_dir.display(), snapshot.display()),
    );
    text += &save::run(
        context,
        &Save { data_dir, out: snapshot.clone(), reading: Reading::default() },
    )?
    .text;
    step(&mut text, &format!("etcdsnap verify {}", snapshot.display()));
    text += &verify::run(
        context,
        &Inputs { paths: vec![snapshot.clone()], reading: Reading::default() },
    )?
    .text;
    step(
        &mut text,
        &format!("etcdsnap restore {} --data-dir {}", snapshot.display(), restored.display()),
    );
    text += &restore::run(context, &Restore::to(snapshot, restored.clone()))?.text;
    step(&mut text, "what etcd finds when it boots");
    tree(&mut text, work.path(), &restored)?;
    text += "\nThe temporary directory is removed again.\n";
    Ok(Answer::sound(text))
}

fn step(text: &mut String, command: &str) {
    *text += &format!("\n$ {command}\n");
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
