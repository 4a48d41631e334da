//! One answer whatever the number of threads, byte for byte.

use std::fs;
use std::path::Path;

use anyhow::{Context, Result, ensure};

use crate::dataset::{loaded, seed};
use crate::files::{contents, sha256};
use crate::ours;
use crate::peers::{Line, Needs};
use crate::restore_flags::RestoreFlags;
use crate::restoring::done;
use crate::server::free_url;
use crate::suite::Suite;
use crate::unchanged::LOOKING;

const THREADS: [&str; 3] = ["1", "2", "8"];

pub fn trials(suite: &mut Suite) {
    for line in Line::ALL {
        suite.add(
            format!("threads::results_on_{}_data_do_not_depend_on_threads", line.tag()),
            Needs::lines(&[line]),
            move |dir| {
                let set = loaded(line)?;
                answers_agree(&set.snapshot)?;
                answers_agree(&set.db())?;
                files_agree(&set.snapshot, &set.data_dir, dir)
            },
        );
    }
    suite.add(
        "threads::reports_of_damage_do_not_depend_on_threads",
        Needs::lines(&[Line::V36]),
        |dir| {
            let sound = fs::read(&loaded(Line::V36)?.snapshot)?;
            let path = dir.join("damaged.db");
            let mut rng = fastrand::Rng::with_seed(seed() ^ 0x7412);
            // From one finding to many, whose order could come from the schedule.
            for flips in [1, 5, 20, 80, 200] {
                let mut bytes = sound.clone();
                for _ in 0..flips {
                    let place = rng.usize(8192..bytes.len());
                    bytes[place] ^= rng.u8(1..);
                }
                fs::write(&path, &bytes)?;
                answers_agree(&path).with_context(|| format!("{flips} flipped bytes"))?;
            }
            Ok(())
        },
    );
}

fn answers_agree(input: &Path) -> Result<()> {
    for command in LOOKING {
        for format in ["json", "simple"] {
            let mut answers = Vec::new();
            for threads in THREADS {
                let more = ["-w", format, "--threads", threads];
                let ran = ours::etcdsnap(&ours::words(&[command], input, &more))?;
                answers.push((ran.code, ran.stdout));
            }
            let same = answers.windows(2).all(|pair| pair[0] == pair[1]);
            ensure!(same, "{command} -w {format} on {} differs", input.display());
        }
    }
    Ok(())
}

fn files_agree(snapshot: &Path, data_dir: &Path, dir: &Path) -> Result<()> {
    let url = free_url()?;
    let (mut saved, mut restored) = (Vec::new(), Vec::new());
    for threads in THREADS {
        let out = dir.join(format!("saved-{threads}"));
        done(ours::save(data_dir, &out, &[ours::NO_WAL, "--threads", threads])?)?;
        saved.push(sha256(&out)?);
        let flags = RestoreFlags::single(dir.join(format!("restored-{threads}")), &url);
        done(ours::restore(snapshot, &flags, &["--threads", threads])?)?;
        restored.push(contents(&flags.data_dir)?);
    }
    ensure!(saved.windows(2).all(|pair| pair[0] == pair[1]), "saved files differ");
    ensure!(restored.windows(2).all(|pair| pair[0] == pair[1]), "restored files differ");
    Ok(())
}
