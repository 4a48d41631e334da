//! Files and trees: copied, and described so that any change shows.

use std::collections::BTreeMap;
use std::fs;
use std::os::unix::fs::{MetadataExt, PermissionsExt};
use std::path::{Path, PathBuf};

use anyhow::{Context, Result};
use sha2::{Digest, Sha256};

/// Copies files and directories with their modes.
pub fn copy_tree(from: &Path, to: &Path) -> Result<()> {
    for (path, is_dir) in entries(from)? {
        let target = to.join(path.strip_prefix(from)?);
        if is_dir {
            fs::create_dir_all(&target)?;
            fs::set_permissions(&target, fs::metadata(&path)?.permissions())?;
        } else {
            fs::copy(&path, &target).with_context(|| format!("copying {}", path.display()))?;
        }
    }
    Ok(())
}

/// `root` and everything below it in path order, parents first.
fn entries(root: &Path) -> Result<Vec<(PathBuf, bool)>> {
    let mut found = Vec::new();
    let mut open = vec![root.to_path_buf()];
    while let Some(path) = open.pop() {
        let is_dir = fs::symlink_metadata(&path)
            .with_context(|| format!("looking at {}", path.display()))?
            .is_dir();
        if is_dir {
            for entry in fs::read_dir(&path)? {
                open.push(entry?.path());
            }
        }
        found.push((path, is_dir));
    }
    found.sort();
    Ok(found)
}

/// What may not change about an input: mode, length, modification time and content.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Trace {
    pub mode: u32,
    pub len: u64,
    /// Seconds and nanoseconds.
    pub modified: (i64, i64),
    pub sha256: String,
}

/// Every file and directory at or below `root`, by path relative to it.
pub fn traces(root: &Path) -> Result<BTreeMap<PathBuf, Trace>> {
    let mut traces = BTreeMap::new();
    for (path, is_dir) in entries(root)? {
        let meta = fs::symlink_metadata(&path)?;
        let sha256 = if is_dir { String::new() } else { sha256(&path)? };
        let trace = Trace {
            mode: meta.permissions().mode() & 0o7777,
            len: if is_dir { 0 } else { meta.len() },
            modified: (meta.mtime(), meta.mtime_nsec()),
            sha256,
        };
        traces.insert(path.strip_prefix(root)?.to_path_buf(), trace);
    }
    Ok(traces)
}

/// As [`traces`], without times: two trees made by two runs are equal when these are.
pub fn contents(root: &Path) -> Result<BTreeMap<PathBuf, Trace>> {
    let mut traces = traces(root)?;
    for trace in traces.values_mut() {
        trace.modified = (0, 0);
    }
    Ok(traces)
}

pub fn sha256(path: &Path) -> Result<String> {
    let mut hasher = Sha256::new();
    let mut file = fs::File::open(path).with_context(|| format!("opening {}", path.display()))?;
    std::io::copy(&mut file, &mut hasher)?;
    Ok(hasher.finalize().iter().map(|byte| format!("{byte:02x}")).collect())
}

/// The names in `dir`, sorted.
pub fn names(dir: &Path) -> Result<Vec<String>> {
    let mut names = Vec::new();
    for entry in fs::read_dir(dir)? {
        names.push(entry?.file_name().to_string_lossy().into_owned());
    }
    names.sort();
    Ok(names)
}
