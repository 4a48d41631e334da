//! `--dry-run`: nothing changes, and what is announced is what the run then does.

use std::collections::BTreeMap;
use std::ffi::OsString;
use std::path::{Path, PathBuf};

use anyhow::{Context, Result, ensure};
use serde_json::Value;

use crate::dataset::{Dataset, loaded};
use crate::files::{names, traces};
use crate::gateway::{int, list, text};
use crate::ours;
use crate::peers::{Line, Needs};
use crate::run::Ran;
use crate::suite::Suite;

/// What is written, by the words after the input; `{}` is the test's directory.
const WRITING: [(&str, &[&str]); 12] = [
    ("restore", &["--data-dir", "{}/data"]),
    ("restore", &["--data-dir", "{}/data", "--wal-dir", "{}/wal/dir"]),
    ("restore", &["--data-dir", "{}/data", "--wal-dir", "{}/data/wal"]),
    ("restore", &["--all-members", "{}/root", "--initial-cluster", "a=http://h:1,b=http://h:2"]),
    ("restore", &["--data-dir", "{}/data", "--rev", "REV", "--orphan-leases", "keep"]),
    ("restore", &["--data-dir", "{}/data", "--rev", "REV", "--orphan-leases", "drop-keys"]),
    ("restore", &["--data-dir", "{}/data", "--drop-prefix", "app/3/", "--clear-alarms"]),
    (
        "restore",
        &["--data-dir", "{}/data", "--compact", "--bump-revision", "7", "--mark-compacted"],
    ),
    ("save", &["{}/out.db"]),
    ("save", &["{}/out.db", "--compact"]),
    ("compact", &["{}/out.db"]),
    ("compact", &["{}/out.db", "--compaction", "REV"]),
];

pub fn trials(suite: &mut Suite) {
    for line in Line::ALL {
        suite.add(
            format!("planned::a_dry_run_announces_what_{}_data_becomes", line.tag()),
            Needs::lines(&[line]),
            move |dir| {
                let set = loaded(line)?;
                for (number, (command, words)) in WRITING.iter().enumerate() {
                    let place = dir.join(number.to_string());
                    std::fs::create_dir(&place)?;
                    announced(&set, command, words, &place)
                        .with_context(|| format!("{command} {words:?}"))?;
                    std::fs::remove_dir_all(&place)?;
                }
                Ok(())
            },
        );
    }
    suite.add("planned::what_cannot_be_done_is_not_announced", Needs::lines(&[Line::V36]), |dir| {
        let set = loaded(Line::V36)?;
        std::fs::create_dir(dir.join("data"))?;
        std::fs::write(dir.join("data/precious"), "mine")?;
        std::fs::create_dir(dir.join("out.db"))?;
        for (command, words) in [WRITING[0], WRITING[8], WRITING[10]] {
            let ran = run(&set, command, words, dir, &["--dry-run"])?;
            ensure!(ran.code == Some(2), "{ran}");
        }
        Ok(())
    });
}

/// Runs `command` on the data's snapshot or data dir.
fn run(set: &Dataset, command: &str, words: &[&str], dir: &Path, more: &[&str]) -> Result<Ran> {
    let oldest = set.hashes.iter().map(|hash| hash.compact_revision).max().unwrap_or(-1);
    let revision = ((oldest + set.content.revision) / 2).max(oldest + 1);
    let mut args: Vec<OsString> = vec![command.into()];
    if command == "save" {
        args.extend(["--data-dir".into(), set.data_dir.clone().into()]);
    } else {
        args.push(set.snapshot.clone().into());
    }
    for word in words {
        args.push(match *word {
            "REV" => revision.to_string().into(),
            word => word.replace("{}", &dir.to_string_lossy()).into(),
        });
    }
    args.extend(more.iter().map(OsString::from));
    ours::etcdsnap(&args)
}

fn announced(set: &Dataset, command: &str, words: &[&str], dir: &Path) -> Result<()> {
    let before = (traces(dir)?, traces(&set.data_dir)?, traces(&set.snapshot)?);
    let dry = run(set, command, words, dir, &["--dry-run", "-w", "json"])?;
    let told = run(set, command, words, dir, &["--dry-run"])?;
    let after = (traces(dir)?, traces(&set.data_dir)?, traces(&set.snapshot)?);
    ensure!(before == after, "a dry run changed something: {dry}");
    ensure!(told.stdout_text().contains("nothing was written"), "{told}");

    let real = run(set, command, words, dir, &["-w", "json"])?;
    ensure!(dry.code == Some(0) && real.code == Some(0), "{dry}\n{real}");
    let announced: Value = serde_json::from_slice(&dry.stdout)?;
    let happened: Value = serde_json::from_slice(&real.stdout)?;
    ensure!(announced["dryRun"] == Value::Bool(true), "{announced}");
    let (is, wanted) = (comparable(announced.clone()), comparable(happened));
    ensure!(is == wanted, "announced {is}\nhappened {wanted}");

    let mut listed = BTreeMap::new();
    for file in list(&announced["files"]) {
        let path = PathBuf::from(text(&file["path"]));
        ensure!(
            told.stdout_text().contains(&*path.to_string_lossy()),
            "{path:?} is not told: {told}"
        );
        listed.insert(path, int(&file["bytes"])?);
    }
    let mut found = BTreeMap::new();
    for (path, trace) in traces(dir)? {
        let path = dir.join(path);
        if path.is_file() {
            found.insert(path, i64::try_from(trace.len)?);
        }
    }
    ensure!(found == listed, "files {found:?}, announced {listed:?}");
    let needed: Result<i64> =
        list(&announced["space"]).iter().map(|space| int(&space["needed"])).sum();
    ensure!(needed? == listed.values().sum::<i64>(), "{announced}");
    ensure!(names(dir)?.iter().all(|name| !name.contains(".tmp-")), "{:?}", names(dir)?);
    Ok(())
}

/// Without what a run alone can know.
fn comparable(mut answer: Value) -> Value {
    if let Some(answer) = answer.as_object_mut() {
        answer.remove("dryRun");
        answer.remove("sha256");
    }
    if let Some(space) = answer["space"].as_array_mut() {
        for space in space.iter_mut().filter_map(Value::as_object_mut) {
            space.remove("available");
        }
    }
    answer
}
