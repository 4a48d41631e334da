//! SIGKILL at a random moment: the target is whole or not there, and what is left beside it
//! is named by the next run.

use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

use anyhow::{Result, ensure};
use fastrand::Rng;

use crate::dataset::{Dataset, loaded, seed};
use crate::files::{contents, names, sha256};
use crate::ours;
use crate::peers::{Line, Needs};
use crate::restore_flags::RestoreFlags;
use crate::restoring::done;
use crate::server::free_url;
use crate::suite::{Suite, is_long};

pub fn trials(suite: &mut Suite) {
    let needs = || Needs::lines(&[Line::V36]);
    suite.add("killed::restore_leaves_nothing_under_the_targets_name", needs(), |dir| {
        restore_killed(&*loaded(Line::V36)?, dir)
    });
    suite.add("killed::save_leaves_nothing_under_the_targets_name", needs(), |dir| {
        save_killed(&*loaded(Line::V36)?, dir, None)
    });
    suite.add("killed::save_over_a_file_leaves_the_old_or_the_new_one", needs(), |dir| {
        save_killed(&*loaded(Line::V36)?, dir, Some(b"the snapshot of yesterday"))
    });
}

/// How often a run is killed.
fn rounds() -> u32 {
    if is_long() { 400 } else { 40 }
}

/// Starts `command` and kills it after a random share of `whole`. True if it was in time.
fn kill_within(command: &mut Command, whole: Duration, rng: &mut Rng) -> Result<bool> {
    let mut child = command.stdout(Stdio::null()).stderr(Stdio::null()).spawn()?;
    std::thread::sleep(whole.mul_f64(rng.f64() * 1.1));
    let ended = child.try_wait()?.is_some();
    child.kill()?;
    child.wait()?;
    Ok(!ended)
}

fn restore_killed(set: &Dataset, dir: &Path) -> Result<()> {
    let mut rng = Rng::with_seed(seed() ^ 0x9111);
    let url = free_url()?;
    let reference = RestoreFlags::single(dir.join("reference"), &url);
    let start = Instant::now();
    done(ours::restore(&set.snapshot, &reference, &[])?)?;
    let whole = start.elapsed();
    let wanted = contents(&reference.data_dir)?;

    let (mut killed, mut left) = (0, 0);
    for round in 0..rounds() {
        let place = dir.join(format!("round-{round}"));
        std::fs::create_dir(&place)?;
        let flags = RestoreFlags::single(place.join("data"), &url);
        let mut command = ours::restore_command(&set.snapshot, &flags, &[]);
        killed += u32::from(kill_within(&mut command, whole, &mut rng)?);
        if flags.data_dir.exists() {
            // Renamed before the kill: then everything is there.
            ensure!(contents(&flags.data_dir)? == wanted, "half a data dir in round {round}");
        } else {
            let remains = names(&place)?;
            left += u32::from(!remains.is_empty());
            let ran = done(ours::restore(&set.snapshot, &flags, &[])?)?;
            names_remains(&remains, &ran.stderr_text())?;
            ensure!(contents(&flags.data_dir)? == wanted, "another data dir after {remains:?}");
        }
        std::fs::remove_dir_all(&place)?;
    }
    eprintln!("conformance: restore killed {killed} times, remains left {left} times");
    ensure!(left > 0, "no kill came in the middle: {killed} of {} in time", rounds());
    Ok(())
}

fn save_killed(set: &Dataset, dir: &Path, old: Option<&[u8]>) -> Result<()> {
    let mut rng = Rng::with_seed(seed() ^ 0x5a7e);
    let out: PathBuf = dir.join("out.db");
    let args = ours::save_args(&set.data_dir, &out, &[ours::NO_WAL]);
    let start = Instant::now();
    ours::succeed(&args)?;
    let whole = start.elapsed();
    let wanted = sha256(&out)?;

    let (mut killed, mut left) = (0, 0);
    for round in 0..rounds() {
        for name in names(dir)? {
            std::fs::remove_file(dir.join(name))?;
        }
        if let Some(old) = old {
            std::fs::write(&out, old)?;
        }
        killed += u32::from(kill_within(ours::command().args(&args), whole, &mut rng)?);
        let is = std::fs::read(&out).ok();
        let untouched = is.as_deref() == old;
        ensure!(untouched || sha256(&out)? == wanted, "half a snapshot in round {round}");
        let remains: Vec<String> =
            names(dir)?.into_iter().filter(|name| name != "out.db").collect();
        left += u32::from(!remains.is_empty());
        let ran = ours::succeed(&args)?;
        names_remains(&remains, &ran.stderr_text())?;
        ensure!(sha256(&out)? == wanted, "another snapshot after {remains:?}");
    }
    eprintln!("conformance: save killed {killed} times, remains left {left} times");
    Ok(())
}

fn names_remains(remains: &[String], stderr: &str) -> Result<()> {
    for name in remains {
        ensure!(stderr.contains(name), "{name} was left behind and is not named:\n{stderr}");
    }
    Ok(())
}
