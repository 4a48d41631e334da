//! What a command that writes will make: files, and the space they need.

use std::path::{Path, PathBuf};

use etcdsnap_engine::staging::Space;
use serde::Serialize;

use super::{bytes, escape};

/// Files and space, as scripts see them.
#[derive(Debug, Serialize)]
pub struct PlannedJson {
    files: Vec<FileJson>,
    space: Vec<SpaceJson>,
}

#[derive(Debug, Serialize)]
struct FileJson {
    path: String,
    bytes: u64,
}

#[derive(Debug, Serialize)]
struct SpaceJson {
    path: String,
    needed: u64,
    /// Absent when the filesystem does not say.
    available: Option<u64>,
}

impl PlannedJson {
    /// Of `files` with their lengths, on filesystems as they are now.
    pub fn new(files: &[(PathBuf, u64)], space: &[Space]) -> Self {
        Self {
            files: files
                .iter()
                .map(|(path, bytes)| FileJson { path: shown(path), bytes: *bytes })
                .collect(),
            space: space
                .iter()
                .map(|space| SpaceJson {
                    path: shown(&space.path),
                    needed: space.needed,
                    available: space.available,
                })
                .collect(),
        }
    }
}

/// Files and space, as people see them; a line each.
pub fn planned(files: &[(PathBuf, u64)], space: &[Space]) -> String {
    let mut text = String::new();
    for (path, length) in files {
        text += &format!("{:>10}  {}\n", bytes(*length), escape(&shown(path)));
    }
    for space in space {
        let available = space.available.map_or_else(|| "an unknown amount".to_owned(), bytes);
        text += &format!(
            "space: {} needed, {available} free on the filesystem of {}\n",
            bytes(space.needed),
            escape(&shown(&space.path))
        );
    }
    text
}

fn shown(path: &Path) -> String {
    path.display().to_string()
}
