//! Inputs are read and nothing else: not written, not touched, no file beside them.

use std::path::{Path, PathBuf};

use anyhow::{Result, ensure};

use crate::dataset::{copy_to, loaded};
use crate::files::{copy_tree, traces};
use crate::ours;
use crate::peers::{Line, Needs};
use crate::restore_flags::RestoreFlags;
use crate::server::free_url;
use crate::suite::Suite;

/// Commands that only look.
pub const LOOKING: [&str; 10] =
    ["status", "hashkv", "check", "verify", "info", "members", "log", "pages", "buckets", "top"];

pub fn trials(suite: &mut Suite) {
    for line in Line::ALL {
        suite.add(
            format!("unchanged::no_command_changes_its_{}_input", line.tag()),
            Needs::lines(&[line]),
            move |dir| inputs_stay(line, dir),
        );
    }
    suite.add("unchanged::read_only_inputs_can_be_read", Needs::lines(&[Line::V36]), |dir| {
        let db = copy_to(&loaded(Line::V36)?.db(), dir, "db")?;
        let mut mode = std::fs::metadata(&db)?.permissions();
        mode.set_readonly(true);
        std::fs::set_permissions(&db, mode)?;
        for command in LOOKING {
            ours::succeed(&ours::words(&[command], &db, &[]))?;
        }
        Ok(())
    });
}

fn inputs_stay(line: Line, dir: &Path) -> Result<()> {
    let set = loaded(line)?;
    // All inputs below one directory, so that a new file beside any of them shows.
    let root = dir.join("inputs");
    std::fs::create_dir(&root)?;
    copy_tree(&set.data_dir, &root.join("data"))?;
    copy_to(&set.db(), &root, "bare")?;
    copy_to(&set.snapshot, &root, "snapshot")?;
    let inputs: [(PathBuf, &[&str]); 4] = [
        (root.join("data"), &[ours::NO_WAL]),
        (root.join("data/member"), &[ours::NO_WAL]),
        (root.join("bare"), &[]),
        (root.join("snapshot"), &[]),
    ];
    let before = traces(&root)?;
    let mut number = 0;
    for (input, more) in &inputs {
        for command in LOOKING {
            let ran = ours::succeed(&ours::words(&[command], input, more))?;
            ensure!(traces(&root)? == before, "changed by: {ran}");
        }
        number += 1;
        let out = dir.join(format!("saved-{number}"));
        let ran = ours::succeed(&ours::save_args(input, &out, more))?;
        ensure!(traces(&root)? == before, "changed by: {ran}");
        let flags = RestoreFlags::single(dir.join(format!("restored-{number}")), &free_url()?);
        let ran = ours::restore(input, &flags, more)?;
        ensure!(ran.code == Some(0), "{ran}");
        ensure!(traces(&root)? == before, "changed by: {ran}");
    }
    Ok(())
}
