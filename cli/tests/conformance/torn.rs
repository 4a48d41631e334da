//! Logs that end badly: `etcdsnap` calls torn what a real server repairs, and damage what it refuses.
//!
//! The danger guarded against: one line drawn elsewhere than etcd draws it. Each sample is a real log
//! with one thing done to its last records; the server of that version starts on a copy.

use std::fs;
use std::path::{Path, PathBuf};

use anyhow::{Context, Result, ensure};
use etcdsnap_engine::wal::{End, Records, Tail};
use fastrand::Rng;

use crate::boot;
use crate::dataset::seed;
use crate::facts;
use crate::files::{copy_tree, names};
use crate::fixtures::Fixture;
use crate::ours;
use crate::peers::{Line, Needs};
use crate::server::{Member, Spec, free_url};
use crate::suite::{Suite, is_long};

pub fn trials(suite: &mut Suite) {
    for line in Line::ALL {
        suite.add(
            format!("torn::what_{}_repairs_and_what_it_refuses", line.tag()),
            Needs::lines(&[line]).and_fixtures(),
            move |dir| samples(line, dir),
        );
    }
}

/// Samples of a version in this run.
fn count() -> usize {
    if is_long() { 60 } else { 6 }
}

/// Where the last records of a log are.
pub struct Log {
    pub path: PathBuf,
    pub bytes: Vec<u8>,
    /// Start of each record.
    pub starts: Vec<usize>,
    pub end: usize,
}

impl Log {
    pub fn newest(data_dir: &Path) -> Result<Self> {
        let wal = data_dir.join("member/wal");
        let names = names(&wal)?;
        let name = names.iter().rfind(|name| name.ends_with(".wal")).context("no segment")?;
        let path = wal.join(name);
        let bytes = fs::read(&path)?;
        let mut records = Records::new(&bytes, 0, Tail::Newest);
        let starts = records
            .by_ref()
            .map(|record| record.map(|record| record.offset as usize))
            .collect::<Result<Vec<_>, _>>()?;
        // A killed server's last buffer may have been written in part.
        let Some(End::Clean { offset } | End::Torn { offset }) = records.end() else {
            anyhow::bail!("{} does not end cleanly", path.display());
        };
        Ok(Self { path, bytes, starts, end: offset as usize })
    }

    /// Does one thing to one of the last records; says what.
    fn hurt(&self, rng: &mut Rng, kind: usize) -> (Vec<u8>, String) {
        let mut bytes = self.bytes.clone();
        let last = self.starts.len() - 1 - rng.usize(..100);
        let start = self.starts[last];
        let next = self.starts.get(last + 1).copied().unwrap_or(self.end);
        let inside = start + rng.usize(..next - start);
        let what = match kind {
            0 => {
                bytes.truncate(inside);
                format!("cut at {inside}, in the record at {start}")
            }
            1 => {
                bytes.truncate(next);
                format!("cut at {next}, behind the record at {start}")
            }
            2 => {
                bytes[inside] ^= 1 << rng.u8(..8);
                format!("bit flipped at {inside}, in the record at {start}")
            }
            3 => {
                bytes[inside..].fill(0);
                format!("zeros from {inside}, in the record at {start}")
            }
            4 => {
                // A sector that never arrived, and nothing behind it.
                let sector = (inside / 512 * 512).max(start);
                let end = (sector / 512 * 512 + 512).min(bytes.len());
                bytes[sector..end].fill(0);
                format!("zeros from {sector} to {end}")
            }
            5 => {
                bytes[start + 8..next].fill(0);
                format!("zeros in the record at {start}, its length left")
            }
            6 => {
                let garbage: Vec<u8> = (0..40).map(|_| rng.u8(1..)).collect();
                bytes[self.end..self.end + garbage.len()].copy_from_slice(&garbage);
                format!("garbage at the end, {}", self.end)
            }
            _ => {
                bytes[start..start + 8].copy_from_slice(&rng.u64(..).to_le_bytes());
                format!("length word at {start} overwritten")
            }
        };
        (bytes, what)
    }
}

fn samples(line: Line, dir: &Path) -> Result<()> {
    let fixture = Fixture::unpack(&format!("crashed-{}", line.tag()), dir)?;
    let [data_dir] = &fixture.data_dirs()?[..] else { anyhow::bail!("several members") };
    let log = Log::newest(data_dir)?;
    let mut rng = Rng::with_seed(seed().wrapping_mul(47).wrapping_add(line as u64));
    let whole = ours::hashkv(data_dir, 0, &[])?;
    let (mut boots, mut refusals, mut lost) = (0, 0, 0);
    for round in 0..count() {
        let (bytes, what) = log.hurt(&mut rng, (round + line as usize * 3) % 8);
        fs::write(&log.path, &bytes)?;
        let own = ours::hashkv(data_dir, 0, &[]);
        let copy = dir.join("copy");
        copy_tree(data_dir, &copy)?;
        let started = Member::start(Spec::single(line, &copy, &free_url()?));
        let what = || format!("round {round}: {what}");
        match (started, own) {
            (Ok(member), Ok(own)) => {
                let gateway = boot::gateway(&member, false).with_context(what)?;
                facts::content(&gateway).with_context(what)?;
                let hash = facts::latest_hashkv(&member, &gateway, false).with_context(what)?;
                ensure!(own == hash, "{}: {own:?}, the server says {hash:?}", what());
                member.sigkill()?;
                boots += 1;
            }
            (Err(_), Err(_)) => refusals += 1,
            // A message that ends inside a field is to 3.4 to 3.6 a write cut short, wherever it stands: they cut
            // it off with every acknowledged entry behind it. Its frame is whole, so that it is damage. So is a
            // length word that leads past the segment or beside the next frame to all servers.
            (Ok(member), Err(error)) => {
                let gateway = boot::gateway(&member, false).with_context(what)?;
                facts::content(&gateway).with_context(what)?;
                let hash = facts::latest_hashkv(&member, &gateway, false).with_context(what)?;
                let repaired = server_log(dir, line)?.contains("repair");
                let message = format!("{error:#}");
                let length =
                    message.contains("length word") || message.contains("its padding wrong");
                ensure!(
                    repaired && (length || line <= Line::V36 && hash != whole),
                    "{}: the server starts, we refuse: {message}",
                    what()
                );
                member.sigkill()?;
                lost += 1;
            }
            // 3.4 refuses a length beyond 10 MiB, although nothing was ever written there.
            (Err(error), Ok(own)) => {
                let refused = server_log(dir, line)?.contains("max entry size limit exceeded");
                ensure!(
                    line == Line::V34 && refused,
                    "{}: the server refuses ({error:#}), we say {own:?}",
                    what()
                );
                refusals += 1;
            }
        }
        fs::remove_dir_all(&copy)?;
        fs::remove_file(server_log_path(dir, line))?;
    }
    eprintln!(
        "conformance: {line} {boots} repaired or whole, {refusals} refused, {lost} cut by the server with acknowledged entries, seed {}",
        seed()
    );
    Ok(())
}

/// Where the server that ran on the copy wrote its log.
fn server_log_path(dir: &Path, line: Line) -> PathBuf {
    dir.join("copy").with_extension(format!("{}.log", line.tag()))
}

fn server_log(dir: &Path, line: Line) -> Result<String> {
    Ok(String::from_utf8_lossy(&fs::read(server_log_path(dir, line))?).into_owned())
}
