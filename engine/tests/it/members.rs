//! Real members from `testdata/members`, unpacked in memory.

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
