//! What lies about in a member's directories, and who has it open.

use std::path::Path;

use super::{
    RUNNING, Verdict,
    member::{Evidence, Found},
};
use crate::{
    datadir::size_bytes,
    finding::{Finding, Place, counted},
    shell,
};

/// What lies about, and who has it open.
pub(super) fn files(evidence: &Evidence<'_>, found: &mut Found) {
    if evidence.running == Some(true) {
        found.add(Verdict::Healthy, Finding::warning("running", Place::File, RUNNING));
    }
    let Some(files) = evidence.opened.files() else { return };
    for path in &files.leftovers {
        let name = path.file_name().unwrap_or_default().to_string_lossy();
        let (code, what) = if name.starts_with("db.tmp.") {
            (
                "interrupted-defrag",
                "left by a defragmentation that was interrupted; the db is the old one",
            )
        } else if name.contains(".broken") {
            ("broken-file", "set aside by a server as broken")
        } else if name.starts_with("tmp") || name == "wal.tmp" {
            ("partial-file", "left by work that was interrupted")
        } else {
            ("unknown-file", "not a file of etcd's")
        };
        let bytes = size_bytes(path);
        let remove = shell::line([Path::new("rm"), "-r".as_ref(), "--".as_ref(), path]);
        let message = format!("{} ({bytes} bytes): {what}; to remove it: {remove}", path.display());
        found.note(code, message);
    }
    for received in evidence.received {
        let what = match received.contents {
            Some((revision, keys)) => {
                format!("revision {revision}, {}", counted(keys, "key", "keys"))
            }
            None => "it cannot be read".to_owned(),
        };
        let message = format!(
            "{}: a db that the leader sent, with entries up to {}: {what}",
            received.path.display(),
            received.index
        );
        found.note("received-db", message);
    }
}
