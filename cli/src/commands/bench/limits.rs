//! What the machine can do: the figures that no job can be better than.

use std::{
    fs::{File, OpenOptions},
    io::{self, Read as _, Write as _},
    os::unix::fs::{FileExt as _, OpenOptionsExt as _},
    path::Path,
    time::Instant,
};

use etcdsnap_engine::source::{Access, FaultGuard, Source};
use sha2::{Digest as _, Sha256};

use super::{jobs::Input, measure::Measured};

/// Bytes handled at a time.
const STEP: usize = 4 << 20;

/// What was measured of the machine, in the rounds of the jobs it is held against.
#[derive(Debug, Default)]
pub struct Limits {
    sha256: Measured,
    write: Measured,
    read: Measured,
}

impl Limits {
    /// Measures what job `name` is held against.
    ///
    /// # Errors
    /// When the input cannot be read, or its copy not be written.
    pub fn measure(&mut self, name: &str, input: Input<'_>, work: &Path) -> anyhow::Result<()> {
        match name {
            "verify" => self.sha256.seconds.push(sha256(input.given)?),
            "restore" => {
                self.sha256.seconds.push(sha256(input.given)?);
                self.write.seconds.push(write(input.given, &work.join("limit.db"))?);
            }
            "top" | "carve" => self.read.seconds.push(read(&[input.given])?),
            "diff" => self.read.seconds.push(read(&[input.given, input.db])?),
            _ => {}
        }
        Ok(())
    }

    /// What job `name` cannot be faster than, or is at least held against, and its median in seconds.
    pub fn of(&self, name: &str) -> Option<(&'static str, f64)> {
        let (sha256, write) = (self.sha256.median(), self.write.median());
        match name {
            "verify" => Some(("SHA-256 alone", sha256)),
            "restore" if write > sha256 => Some(("synced write alone", write)),
            "restore" => Some(("SHA-256 alone", sha256)),
            "top" | "carve" | "diff" => Some(("reading alone, as cat", self.read.median())),
            _ => None,
        }
    }
}

/// Seconds that `cat` would take to read `files`, which are in memory.
///
/// # Errors
/// When they cannot be read.
fn read(files: &[&Path]) -> io::Result<f64> {
    /// What `cat` reads at a time.
    const STEP: usize = 128 << 10;
    let start = Instant::now();
    let mut buffer = vec![0; STEP];
    for file in files {
        let mut file = File::open(file)?;
        while file.read(&mut buffer)? > 0 {}
    }
    Ok(start.elapsed().as_secs_f64())
}

/// Seconds that SHA-256 of `input` alone takes, which is in memory.
///
/// # Errors
/// When it cannot be read.
fn sha256(input: &Path) -> anyhow::Result<f64> {
    let source = Source::open(input, Access::Map(FaultGuard::install()?))?;
    let start = Instant::now();
    let mut hasher = Sha256::new();
    source.bytes().chunks(STEP).for_each(|step| hasher.update(step));
    std::hint::black_box(hasher.finalize());
    Ok(start.elapsed().as_secs_f64())
}

/// Seconds that writing and syncing a copy of `input` takes at best: through the page cache, or past it where the
/// filesystem lets us.
///
/// # Errors
/// When it cannot be read or written.
fn write(input: &Path, target: &Path) -> anyhow::Result<f64> {
    let source = Source::open(input, Access::Map(FaultGuard::install()?))?;
    let mut best = f64::INFINITY;
    for past in [false, true] {
        rustix::fs::sync();
        let start = Instant::now();
        let written =
            if past { direct(source.bytes(), target) } else { cached(source.bytes(), target) };
        let seconds = start.elapsed().as_secs_f64();
        std::fs::remove_file(target)?;
        match written {
            Ok(()) => best = best.min(seconds),
            Err(_) if past => {}
            Err(error) => return Err(error.into()),
        }
    }
    Ok(best)
}

fn cached(bytes: &[u8], target: &Path) -> io::Result<()> {
    let mut file = File::create(target)?;
    for step in bytes.chunks(STEP) {
        file.write_all(step)?;
    }
    file.sync_all()
}

fn direct(bytes: &[u8], target: &Path) -> io::Result<()> {
    let flags = rustix::fs::OFlags::DIRECT.bits().cast_signed();
    let file = OpenOptions::new()
        .write(true)
        .create(true)
        .truncate(true)
        .custom_flags(flags)
        .open(target)?;
    // Memory that starts where the disk wants it to.
    let mut buffer = vec![0_u8; STEP + 4096];
    let start = buffer.as_ptr().align_offset(4096);
    let aligned = buffer.get_mut(start..start + STEP).unwrap_or_default();
    let mut offset = 0;
    for step in bytes.chunks(STEP) {
        let (part, rest) = aligned.split_at_mut(step.len());
        part.copy_from_slice(step);
        rest.fill(0);
        file.write_all_at(aligned, offset)?;
        offset += step.len() as u64;
    }
    file.set_len(bytes.len() as u64)?;
    file.sync_all()
}
