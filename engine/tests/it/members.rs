//! Real members from `testdata/members` and small inputs from `testdata/cases`, unpacked in memory.

use std::{fs::File, io::Read, path::Path};

/// The databases of the member `name`: each `db` of a data dir and each snapshot, with its path in the archive.
pub fn databases(name: &str) -> Vec<(String, Vec<u8>)> {
    let path =
        Path::new(env!("CARGO_MANIFEST_DIR")).join(format!("../testdata/members/{name}.tar.zst"));
    let mut archive = tar::Archive::new(zstd::Decoder::new(File::open(path).unwrap()).unwrap());
    let mut found = Vec::new();
    for entry in archive.entries().unwrap() {
        let mut entry = entry.unwrap();
        let path = entry.path().unwrap().into_owned();
        if path.ends_with("snap/db") || path.ends_with("snapshot.db") {
            let mut bytes = Vec::new();
            entry.read_to_end(&mut bytes).unwrap();
            found.push((format!("{name}/{}", path.display()), bytes));
        }
    }
    assert!(!found.is_empty(), "{name} holds a database");
    found
}

/// The files of the small input `name`, with their paths.
pub fn case_files(name: &str) -> Vec<(String, Vec<u8>)> {
    let dir = Path::new(env!("CARGO_MANIFEST_DIR")).join("../testdata/cases").join(name);
    let mut found = Vec::new();
    for entry in std::fs::read_dir(dir).unwrap() {
        let path = entry.unwrap().path();
        let name = path.file_stem().unwrap().to_str().unwrap().to_owned();
        let mut input = zstd::Decoder::new(File::open(&path).unwrap()).unwrap();
        if !name.ends_with(".tar") {
            let mut bytes = Vec::new();
            input.read_to_end(&mut bytes).unwrap();
            found.push((name, bytes));
            continue;
        }
        for entry in tar::Archive::new(input).entries().unwrap() {
            let mut entry = entry.unwrap();
            if entry.header().entry_type().is_file() {
                let path = entry.path().unwrap().into_owned();
                let path = path.strip_prefix(".").unwrap_or(&path).display().to_string();
                let mut bytes = Vec::new();
                entry.read_to_end(&mut bytes).unwrap();
                found.push((path, bytes));
            }
        }
    }
    found.sort();
    found
}

/// Unpacks the member `name` into a directory of its own.
pub fn unpack(name: &str) -> tempfile::TempDir {
    let path =
        Path::new(env!("CARGO_MANIFEST_DIR")).join(format!("../testdata/members/{name}.tar.zst"));
    let dir = tempfile::tempdir().unwrap();
    let mut archive = tar::Archive::new(zstd::Decoder::new(File::open(path).unwrap()).unwrap());
    archive.unpack(dir.path()).unwrap();
    dir
}

/// Unpacks the case `name` of `testdata/cases` into a directory of its own.
pub fn case(name: &str) -> tempfile::TempDir {
    let path = Path::new(env!("CARGO_MANIFEST_DIR"))
        .join(format!("../testdata/cases/{name}/{name}.tar.zst"));
    let dir = tempfile::tempdir().unwrap();
    let mut archive = tar::Archive::new(zstd::Decoder::new(File::open(path).unwrap()).unwrap());
    archive.unpack(dir.path()).unwrap();
    dir
}

/// What the real tools said about the member `name`.
pub fn facts(name: &str) -> serde_json::Value {
    let path =
        Path::new(env!("CARGO_MANIFEST_DIR")).join(format!("../testdata/members/{name}.json"));
    serde_json::from_slice(&std::fs::read(path).unwrap()).unwrap()
}
