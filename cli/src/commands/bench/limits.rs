//! What the machine can do: the figures that no job can be better than.

use std::{
    fs::{File, OpenOptions},
    io::{self, Write as _},
    os::unix::fs::{FileExt as _, OpenOptionsExt as _},
    path::Path,
    time::Instant,
};

use etcdsnap_engine::source::{Access, FaultGuard, Source};
use sha2::{Digest as _, Sha256};

/// Bytes handled at a time.
const STEP: usize = 4 << 20;

/// Seconds that SHA-256 of `input` alone takes, which is in memory.
///
/// # Errors
/// When it cannot be read.
pub fn sha256(input: &Path) -> anyhow::Result<f64> {
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
pub fn write(input: &Path, target: &Path) -> anyhow::Result<f64> {
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
