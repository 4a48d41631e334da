//! `save`: the snapshot a live server would have streamed, from what SIGKILL left behind.

use std::fs;
use std::path::Path;

use anyhow::{Result, ensure};

use crate::dataset::{Dataset, loaded};
use crate::files::{names, sha256};
use crate::ours;
use crate::peers::{self, Line, Needs};
use crate::restore_flags::RestoreFlags;
use crate::server::free_url;
use crate::suite::Suite;

pub fn trials(suite: &mut Suite) {
    for line in Line::ALL {
        let tag = line.tag();
        suite.add(
            format!("saving::save_equals_the_streamed_snapshot_byte_for_byte_on_{tag}"),
            Needs::lines(&[line]),
            move |dir| equals_streamed(&*loaded(line)?, dir),
        );
        suite.add(
            format!("saving::every_etcdutl_takes_what_we_save_of_{tag}_data"),
            Needs::lines(&Line::ALL).and_bbolt(),
            move |dir| peers_take_it(&*loaded(line)?, dir),
        );
    }
    suite.add(
        "saving::damaged_input_is_refused_and_nothing_is_written",
        Needs::lines(&[Line::V36]),
        |dir| damaged_is_refused(&*loaded(Line::V36)?, dir),
    );
    suite.add("saving::standard_output_gets_the_same_bytes", Needs::lines(&[Line::V36]), |_| {
        let set = loaded(Line::V36)?;
        let args = ours::save_args(&set.data_dir, Path::new("-"), &[ours::NO_WAL]);
        let ran = ours::succeed(&args)?;
        ensure!(ran.stdout == fs::read(&set.snapshot)?, "{} bytes differ", ran.stdout.len());
        Ok(())
    });
}

fn equals_streamed(set: &Dataset, dir: &Path) -> Result<()> {
    // The data dir and the db inside it are two spellings of one input without the WAL.
    for (from, name) in [(set.data_dir.clone(), "of-dir.db"), (set.db(), "of-db.db")] {
        let out = dir.join(name);
        let ran = ours::save(&from, &out, &[ours::NO_WAL])?;
        ensure!(ran.code == Some(0), "{ran}");
        ensure!(sha256(&out)? == sha256(&set.snapshot)?, "{name} differs from the stream: {ran}");
    }
    ensure!(names(dir)? == ["of-db.db", "of-dir.db"], "remains: {:?}", names(dir)?);
    Ok(())
}

fn peers_take_it(set: &Dataset, dir: &Path) -> Result<()> {
    let out = dir.join("saved.db");
    let ran = ours::save(&set.data_dir, &out, &[ours::NO_WAL])?;
    ensure!(ran.code == Some(0), "{ran}");
    peers::bbolt_check(&out)?;
    let url = free_url()?;
    // 3.4 opens the store fully while restoring; 3.7 data is beyond it and beyond 3.5.
    for line in Line::ALL.into_iter().filter(|line| set.line < Line::V37 || *line >= Line::V36) {
        let status = peers::status(line, &out)?;
        ensure!(status.revision == set.content.revision, "{line}: {status:?}");
        let flags = RestoreFlags::single(dir.join(format!("by-{}", line.tag())), &url);
        let ran = peers::restore(line, &out, &flags)?;
        ensure!(ran.code == Some(0), "{ran}");
    }
    Ok(())
}

fn damaged_is_refused(set: &Dataset, dir: &Path) -> Result<()> {
    let mut db = fs::read(set.db())?;
    // The id in the header of the page that holds the root bucket: no reader gets past it.
    let root = (0..2usize)
        .filter_map(|meta| {
            let at = |offset: usize| -> Option<u64> {
                let from = meta * 4096 + offset;
                Some(u64::from_le_bytes(db.get(from..from + 8)?.try_into().ok()?))
            };
            Some((at(64)?, at(32)?))
        })
        .max()
        .map_or(3, |(_, root)| root);
    let at = usize::try_from(root)? * 4096;
    db[at] ^= 0x40;
    fs::create_dir(dir.join("in"))?;
    fs::write(dir.join("in/db"), db)?;
    fs::create_dir(dir.join("out"))?;
    let ran = ours::save(&dir.join("in/db"), &dir.join("out/saved.db"), &[ours::NO_WAL])?;
    ensure!(ran.code == Some(1), "{ran}");
    ensure!(ran.stderr_text().contains(&root.to_string()), "page {root} is not named: {ran}");
    ensure!(names(&dir.join("out"))?.is_empty(), "written: {:?}", names(&dir.join("out"))?);
    Ok(())
}
