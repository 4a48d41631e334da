//! The files that were read, and how to know them again.

use std::{
    fs::File,
    io::Read as _,
    path::{Path, PathBuf},
    time::SystemTime,
};

use anyhow::{Context as _, Result};
use etcdsnap_engine::{
    progress::{Interrupted, Progress as _},
    snapshot::Digest,
};
use rayon::prelude::*;
use sha2::{Digest as _, Sha256};

use crate::{commands::Context, input::Input};

/// A file that was read.
pub struct FileFact {
    pub path: PathBuf,
    pub bytes: u64,
    pub modified: Option<SystemTime>,
    pub sha256: Digest,
}

/// The files behind `input`, hashed side by side.
pub fn files(context: &Context, input: &Input) -> Result<Vec<FileFact>> {
    // A member may have lost its db.
    let mut paths = vec![input.located().db.clone()];
    paths.retain(|db| input.files().is_none() || db.exists());
    if let Some(member) = input.files() {
        paths.extend(member.snapfiles.iter().rev().map(|(_, path)| path.clone()));
        paths.extend(member.segments.iter().map(|(_, path)| path.clone()));
    }
    let bytes = |path: &PathBuf| path.metadata().map_or(0, |file| file.len());
    context.ui.begin("hash", paths.iter().map(bytes).sum());
    paths.par_iter().map(|path| hashed(context, path)).collect()
}

fn hashed(context: &Context, path: &Path) -> Result<FileFact> {
    let at = || path.display().to_string();
    let mut file = File::open(path).with_context(at)?;
    let modified = file.metadata().and_then(|file| file.modified()).ok();
    let (mut hasher, mut buffer, mut bytes) = (Sha256::new(), vec![0; 4 << 20], 0);
    loop {
        if context.ui.interrupted() {
            return Err(Interrupted.into());
        }
        let read = file.read(&mut buffer).with_context(at)?;
        if read == 0 {
            break;
        }
        hasher.update(buffer.get(..read).unwrap_or_default());
        bytes += read as u64;
        context.ui.advance(read as u64);
    }
    let sha256 = Digest(hasher.finalize().into());
    Ok(FileFact { path: path.to_path_buf(), bytes, modified, sha256 })
}
