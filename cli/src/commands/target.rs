//! Where a command's output goes: not into what is read, not over anything but a file, and not where nothing can be
//! written.

use std::{
    fs,
    path::{Path, PathBuf},
};

use anyhow::{Context as _, Result, anyhow};
use etcdsnap_engine::{
    shell,
    staging::{Target, check_parent, followed, remains},
};

use super::Context;
use crate::input::apart;

/// What `out` leads to. `sources` are what is read. Says what killed runs left beside it, and which file it replaces.
///
/// # Errors
/// When it is within what is read, is nothing that is written to, or cannot be written.
pub fn target(context: &Context, sources: &[&Path], out: &Path) -> Result<Target> {
    let is_apart = |out: &Path| sources.iter().try_for_each(|source| apart(source, out));
    if out != Path::new("-") {
        is_apart(out)?;
    }
    let target = Target::find(out)?;
    if let Some(file) = target.file() {
        is_apart(file)?;
        name_remains(context, file);
    }
    target.check_writable()?;
    Ok(target)
}

/// As [`target`], of a command that reads back what it writes.
///
/// # Errors
/// As [`target`], and when it is a stream.
pub fn file_target(context: &Context, sources: &[&Path], out: &Path) -> Result<Target> {
    let target = target(context, sources, out)?;
    target.require_file()?;
    Ok(target)
}

/// Where `given`, the name of a directory to be made, leads.
///
/// # Errors
/// When a link must not be followed, and for `-`, which is no directory.
pub fn directory(given: &Path) -> Result<PathBuf> {
    if given == Path::new("-") {
        return Err(anyhow!("standard output takes no data dir: name the data dir to make"));
    }
    followed(given).context("nothing was written")
}

/// As [`directory`], of one that must not be there yet and is made in a directory that is. `sources` are what is read.
/// Says what killed runs left beside it.
///
/// # Errors
/// As [`directory`], when it is within what is read, exists, or cannot be made.
pub fn new_directory(context: &Context, sources: &[&Path], given: &Path) -> Result<PathBuf> {
    let directory = directory(given)?;
    sources.iter().try_for_each(|source| apart(source, &directory))?;
    name_remains(context, &directory);
    if fs::symlink_metadata(&directory).is_ok() {
        return Err(anyhow!("{} exists; name a directory that does not", given.display()));
    }
    check_parent(&directory)?;
    Ok(directory)
}

/// Names the file that was replaced, or would be.
pub fn name_replaced(context: &Context, target: &Target, dry_run: bool) {
    let Some(file) = target.file().filter(|_| target.replaces()) else { return };
    let what = if dry_run { "would replace" } else { "replaced" };
    let given = target.given().display();
    context.warn(&if file == target.given() {
        format!("{what}: {given}")
    } else {
        format!("{what}: {given}, which leads to {}", file.display())
    });
}

/// Says what killed runs left beside `target`.
pub fn name_remains(context: &Context, target: &Path) {
    for path in remains(target) {
        context.warn(&format!(
            "warning: a run that was killed left {}; remove it with: {}",
            path.display(),
            shell::line(["rm".as_ref(), "-r".as_ref(), "--".as_ref(), path.as_os_str()])
        ));
    }
}
