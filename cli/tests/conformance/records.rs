//! What bbolt's own program says of a database: records and compaction marks, read without our
//! reader, and what its `compact` makes of one.

use std::fs;
use std::path::Path;
use std::process::Command;

use anyhow::{Context, Result, ensure};

use crate::peers::{bbolt, own_copy};
use crate::run::{Ran, run};

/// `bbolt WORDS COPY MORE…` on a copy of `file`.
fn ask(file: &Path, word: &str, more: &[&str]) -> Result<Ran> {
    let dir = own_copy(file)?;
    run(Command::new(bbolt()?).arg(word).arg(dir.path().join("copy.db")).args(more))
}

/// The keys of bucket `key`, in hex and in order: main revision, `5f`, sub revision, and `74`
/// for a tombstone.
pub fn of(file: &Path) -> Result<Vec<String>> {
    let ran = ask(file, "keys", &["key", "--format", "hex"])?;
    ensure!(ran.code == Some(0), "{ran}");
    Ok(ran.stdout_text().lines().map(str::to_owned).collect())
}

/// How many records bucket `key` has.
pub fn count(file: &Path) -> Result<i64> {
    Ok(i64::try_from(of(file)?.len())?)
}

/// The revisions of the accepted and of the finished compaction; `None` for a mark that is not
/// there.
pub fn marks(file: &Path) -> Result<[Option<i64>; 2]> {
    let mark = |name: &str| -> Result<Option<i64>> {
        let ran = ask(file, "get", &["meta", name, "--format", "hex"])?;
        if ran.code != Some(0) {
            let said = ran.stdout_text() + &ran.stderr_text();
            ensure!(said.contains("key not found"), "{ran}");
            return Ok(None);
        }
        let hex = ran.stdout_text();
        let hex = hex.trim();
        ensure!(hex.len() == 34 && hex.ends_with("5f0000000000000000"), "{name} is {hex:?}");
        Ok(Some(i64::from_str_radix(&hex[..16], 16)?))
    };
    Ok([mark("scheduledCompactRev")?, mark("finishedCompactRev")?])
}

/// The length of what `bbolt compact` makes of `file`.
pub fn compacted_len(file: &Path) -> Result<u64> {
    let dir = own_copy(file)?;
    let out = dir.path().join("out.db");
    let ran = run(Command::new(bbolt()?)
        .args(["compact", "-o"])
        .arg(&out)
        .arg(dir.path().join("copy.db")))?;
    ensure!(ran.code == Some(0), "{ran}");
    Ok(fs::metadata(&out).with_context(|| format!("{ran}"))?.len())
}
