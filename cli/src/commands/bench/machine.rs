//! What was measured on.

use std::{fs, path::Path, process::Command};

use serde::Serialize;

/// Facts without which a figure says nothing.
#[derive(Debug, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct Machine {
    cpu: String,
    cores: usize,
    memory_bytes: u64,
    kernel: String,
    /// Type of the filesystem worked on, as the kernel's mount table names it.
    filesystem: String,
    /// Load averages of 1, 5 and 15 minutes, before the first run.
    load_average: Vec<f64>,
    /// Version of this program.
    version: &'static str,
    /// What the peers say of themselves.
    peers: Vec<String>,
}

impl Machine {
    /// This machine, working in `directory` beside `peers`.
    pub fn here(directory: &Path, peers: &[&Path]) -> Self {
        let read = |path: &str| fs::read_to_string(path).unwrap_or_default();
        let field = |text: &str, name: &str| {
            let line = text.lines().find(|line| line.starts_with(name))?;
            Some(line.split_once(':')?.1.trim().to_owned())
        };
        let memory = field(&read("/proc/meminfo"), "MemTotal")
            .and_then(|text| text.split_whitespace().next()?.parse::<u64>().ok());
        Self {
            cpu: field(&read("/proc/cpuinfo"), "model name").unwrap_or_default(),
            cores: std::thread::available_parallelism().map_or(1, usize::from),
            memory_bytes: memory.unwrap_or_default() * 1024,
            kernel: read("/proc/sys/kernel/osrelease").trim().to_owned(),
            filesystem: filesystem(directory).unwrap_or_default(),
            load_average: load_average(),
            version: env!("CARGO_PKG_VERSION"),
            peers: peers.iter().filter_map(|peer| version(peer)).collect(),
        }
    }

    /// For people: a fact a line.
    pub fn lines(&self) -> String {
        let Self { cpu, cores, kernel, filesystem, .. } = self;
        let load: Vec<String> = self.load_average.iter().map(|load| format!("{load:.2}")).collect();
        let mut text = format!(
            "{cpu}, {cores} cores, {} memory, Linux {kernel}, {filesystem}, load {}\netcdsnap {}",
            crate::output::bytes(self.memory_bytes),
            load.join(" "),
            self.version
        );
        for peer in &self.peers {
            text += &format!(", {peer}");
        }
        text + "\n"
    }
}

/// Load averages of 1, 5 and 15 minutes.
pub fn load_average() -> Vec<f64> {
    let text = fs::read_to_string("/proc/loadavg").unwrap_or_default();
    text.split_whitespace().take(3).filter_map(|load| load.parse().ok()).collect()
}

/// The type of the filesystem `directory` is on: that of the mount with the longest name above it.
fn filesystem(directory: &Path) -> Option<String> {
    let directory = directory.canonicalize().ok()?;
    let mounts = fs::read_to_string("/proc/self/mounts").ok()?;
    let mounted = mounts.lines().filter_map(|line| {
        let mut words = line.split_whitespace();
        let (at, kind) = (words.nth(1)?, words.next()?);
        directory.starts_with(at).then(|| (at.len(), kind.to_owned()))
    });
    mounted.max_by_key(|(len, _)| *len).map(|(_, kind)| kind)
}

/// The first line of what a peer says of its version.
fn version(peer: &Path) -> Option<String> {
    let said = Command::new(peer).arg("version").output().ok()?;
    let text = String::from_utf8_lossy(&said.stdout).into_owned();
    text.lines().next().map(|line| line.trim().to_owned())
}
