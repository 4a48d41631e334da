//! Runs commands and says how long they took and how much memory of their own they had.

use std::{
    ffi::OsString,
    fs,
    path::{Path, PathBuf},
    process::{Command, Stdio},
    sync::atomic::{AtomicBool, AtomicU64, Ordering},
    thread,
    time::{Duration, Instant},
};

use anyhow::{Context as _, Result, anyhow};

/// One way to do a job.
#[derive(Clone, Debug)]
pub struct Contender {
    /// Whose way it is.
    pub who: String,
    /// What is run, one after the other.
    pub commands: Vec<Vec<OsString>>,
    /// What appears, and is removed before and after each run.
    pub outputs: Vec<PathBuf>,
    /// A file that is copied before each run, outside of the time: for who changes what is read.
    pub fresh: Option<(PathBuf, PathBuf)>,
}

/// What was measured of a contender, a figure a round.
#[derive(Clone, Debug, Default)]
pub struct Measured {
    /// How long it took.
    pub seconds: Vec<f64>,
    /// Peak of `RssAnon`: memory that is no file.
    pub anonymous: Vec<u64>,
}

impl Measured {
    /// The middle of the times.
    pub fn median(&self) -> f64 {
        let mut sorted = self.seconds.clone();
        sorted.sort_by(f64::total_cmp);
        let middle = sorted.len() / 2;
        match (sorted.get(middle), middle.checked_sub(1).and_then(|below| sorted.get(below))) {
            (Some(upper), Some(lower)) if sorted.len().is_multiple_of(2) => (upper + lower) / 2.0,
            (Some(middle), _) => *middle,
            (None, _) => f64::NAN,
        }
    }

    /// The greatest peak of memory.
    pub fn memory(&self) -> u64 {
        self.anonymous.iter().copied().max().unwrap_or_default()
    }
}

impl Contender {
    /// Someone who runs one command that leaves nothing.
    pub fn new(who: &str, command: Vec<OsString>) -> Self {
        Self { who: who.to_owned(), commands: vec![command], outputs: Vec::new(), fresh: None }
    }

    /// What it makes.
    pub fn making(mut self, outputs: Vec<PathBuf>) -> Self {
        self.outputs = outputs;
        self
    }

    /// Runs it once more, with `inputs` in memory, and notes the figures.
    ///
    /// # Errors
    /// When a command cannot be run or fails.
    pub fn run(&self, inputs: &[&Path], measured: &mut Measured) -> Result<()> {
        self.clear()?;
        if let Some((from, to)) = &self.fresh {
            if let Some(parent) = to.parent() {
                fs::create_dir_all(parent)?;
            }
            fs::copy(from, to).with_context(|| format!("copy {}", from.display()))?;
        }
        let fresh = self.fresh.as_ref().map(|(_, to)| to.as_path());
        for read in inputs.iter().copied().chain(fresh) {
            warm(read).with_context(|| format!("read {}", read.display()))?;
        }
        // What earlier runs wrote is not to be written during this one.
        rustix::fs::sync();
        let (mut seconds, mut anonymous) = (0.0, 0);
        for command in &self.commands {
            let (took, peak) = run(command)?;
            seconds += took;
            anonymous = anonymous.max(peak);
        }
        measured.seconds.push(seconds);
        measured.anonymous.push(anonymous);
        self.clear()
    }

    fn clear(&self) -> Result<()> {
        for output in &self.outputs {
            let removed =
                if output.is_dir() { fs::remove_dir_all(output) } else { fs::remove_file(output) };
            match removed {
                Err(error) if error.kind() != std::io::ErrorKind::NotFound => {
                    return Err(error).with_context(|| format!("remove {}", output.display()));
                }
                _ => {}
            }
        }
        Ok(())
    }
}

/// Reads a file once, so that every run finds it in memory.
fn warm(path: &Path) -> std::io::Result<()> {
    std::io::copy(&mut fs::File::open(path)?, &mut std::io::sink()).map(drop)
}

/// Runs one command; its time in seconds and its peak of memory in bytes.
fn run(command: &[OsString]) -> Result<(f64, u64)> {
    let (program, args) = command.split_first().ok_or_else(|| anyhow!("no command"))?;
    let shown = || command.iter().map(|word| word.to_string_lossy()).collect::<Vec<_>>().join(" ");
    let errors = tempfile::tempfile().context("a file for what it says")?;
    let start = Instant::now();
    let mut child = Command::new(program)
        .args(args)
        .stdin(Stdio::null())
        .stdout(Stdio::null())
        .stderr(errors.try_clone()?)
        .spawn()
        .with_context(|| format!("run {}", shown()))?;
    let (peak, done) = (AtomicU64::new(0), AtomicBool::new(false));
    let pid = child.id();
    let (ended, seconds) = thread::scope(|scope| {
        scope.spawn(|| {
            while !done.load(Ordering::Relaxed) {
                peak.fetch_max(anonymous(pid), Ordering::Relaxed);
                thread::sleep(Duration::from_millis(3));
            }
        });
        let ended = child.wait();
        let seconds = start.elapsed().as_secs_f64();
        done.store(true, Ordering::Relaxed);
        (ended, seconds)
    });
    let ended = ended.with_context(|| format!("wait for {}", shown()))?;
    if !ended.success() {
        use std::io::{Read as _, Seek as _};
        let (mut errors, mut said) = (errors, String::new());
        errors.rewind()?;
        errors.take(2000).read_to_string(&mut said).unwrap_or_default();
        return Err(anyhow!("{} ended with {ended}: {}", shown(), said.trim()));
    }
    Ok((seconds, peak.into_inner()))
}

/// Memory of a process that is no file, in bytes; 0 when it is gone.
fn anonymous(pid: u32) -> u64 {
    let status = fs::read_to_string(format!("/proc/{pid}/status")).unwrap_or_default();
    let line = status.lines().find_map(|line| line.strip_prefix("RssAnon:"));
    let kib = line.and_then(|line| line.split_whitespace().next()?.parse::<u64>().ok());
    kib.unwrap_or_default() * 1024
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_median_is_the_middle() {
        let of = |seconds: &[f64]| {
            Measured { seconds: seconds.to_vec(), ..Measured::default() }.median()
        };
        assert_eq!(of(&[3.0, 1.0, 2.0]), 2.0);
        assert_eq!(of(&[4.0, 1.0, 2.0, 3.0]), 2.5);
        assert!(of(&[]).is_nan());
    }

    #[test]
    fn a_command_that_fails_is_no_figure() {
        let mut measured = Measured::default();
        let input = std::env::current_exe().unwrap();
        Contender::new("true", vec!["true".into()]).run(&[&input], &mut measured).unwrap();
        let fails = Contender::new("false", vec!["false".into()]);
        assert!(fails.run(&[&input], &mut measured).is_err());
        assert_eq!(measured.seconds.len(), 1);
    }
}
