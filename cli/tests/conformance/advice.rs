//! What `doctor` says, and its commands run as it prints them: by a shell, with the real programs.

use std::ffi::OsString;
use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

use anyhow::{Context, Result, bail, ensure};
use serde_json::Value;

use crate::gateway::{list, text};
use crate::ours;
use crate::peers::{Line, programs};
use crate::run::{Ran, run};
use crate::server::{Member, Spec, tied};

/// How a member is started where it is at home.
const START: &str = "systemctl start etcd";

/// How our own commands begin that make a new cluster: first of all, a snapshot.
const OURS: &str = "etcdsnap save ";

/// The answer of `doctor -w json`.
#[derive(Clone, Debug)]
pub struct Advice {
    pub ran: Ran,
    pub verdict: String,
    pub recover_from: Option<PathBuf>,
    pub quorum: Quorum,
    pub codes: Vec<String>,
    pub next: Vec<Next>,
    /// Which path lacks something, and which holds it.
    pub lacking: Vec<(PathBuf, PathBuf)>,
}

/// How many members vote, how many of them were given, and how many of those are intact; zeros where nobody knows.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Quorum {
    pub voters: usize,
    pub here: usize,
    pub intact: usize,
}

/// One thing to do.
#[derive(Clone, Debug)]
pub struct Next {
    pub why: String,
    /// `None` where there is nothing to paste.
    pub command: Option<String>,
}

/// Asks `doctor` about these paths.
pub fn doctor(paths: &[impl AsRef<Path>]) -> Result<Advice> {
    let mut args: Vec<OsString> = ["doctor", "-w", "json"].map(OsString::from).to_vec();
    args.extend(paths.iter().map(|path| path.as_ref().as_os_str().to_owned()));
    let ran = ours::etcdsnap(&args)?;
    let said: Value = serde_json::from_slice(&ran.stdout).with_context(|| format!("{ran}"))?;
    let count = |value: &Value| -> Result<usize> {
        match value {
            Value::Null => Ok(0),
            Value::Array(all) => Ok(all.len()),
            other => Ok(usize::try_from(other.as_u64().context("not a count")?)?),
        }
    };
    let quorum = &said["quorum"];
    let quorum = Quorum {
        voters: count(&quorum["voters"]).with_context(|| format!("quorum.voters: {ran}"))?,
        here: count(&quorum["here"]).with_context(|| format!("quorum.here: {ran}"))?,
        intact: count(&quorum["intact"]).with_context(|| format!("quorum.intact: {ran}"))?,
    };
    let next = |next: &Value| Next {
        why: text(&next["why"]),
        command: next["command"].as_str().map(str::to_owned).filter(|line| !line.is_empty()),
    };
    Ok(Advice {
        verdict: text(&said["verdict"]),
        recover_from: said["recoverFrom"].as_str().map(PathBuf::from),
        quorum,
        codes: list(&said["findings"]).iter().map(|finding| text(&finding["code"])).collect(),
        next: list(&said["next"]).iter().map(next).collect(),
        lacking: list(&said["lacking"])
            .iter()
            .map(|one| (text(&one["path"]).into(), text(&one["heldBy"]).into()))
            .collect(),
        ran,
    })
}

impl Advice {
    /// The commands in their order.
    fn commands(&self) -> impl Iterator<Item = &str> {
        self.next.iter().filter_map(|next| next.command.as_deref())
    }

    /// Whether the first thing to do is to start members where they are.
    pub fn starts(&self) -> bool {
        let first = self.next.first();
        first.is_some_and(|first| first.why.to_lowercase().contains("start"))
            && self.before_start().is_some()
    }

    /// What is to be done before a member is started where it is; `None` when it is not started.
    pub fn before_start(&self) -> Option<Vec<&str>> {
        let before: Vec<&str> =
            self.commands().take_while(|line| *line != START && !line.starts_with(OURS)).collect();
        (self.commands().nth(before.len()) == Some(START)).then_some(before)
    }

    /// Whether the first thing to do is to make a new cluster.
    pub fn recovers(&self) -> bool {
        let first = self.commands().next();
        first.is_some_and(|line| line.starts_with(OURS)) && !self.recovery().is_empty()
    }

    /// The commands that make a new cluster.
    pub fn recovery(&self) -> Vec<&str> {
        self.commands().skip_while(|line| !line.starts_with(OURS)).collect()
    }

    /// The commands that replace the members that are lost, once the others run.
    pub fn replacement(&self) -> Vec<&str> {
        let commands: Vec<&str> = self.commands().collect();
        let started = commands.iter().rposition(|line| *line == START).map_or(0, |at| at + 1);
        let behind = commands.into_iter().skip(started);
        behind.take_while(|line| !line.starts_with(OURS)).collect()
    }
}

/// A place to run commands in: an empty working directory, and a `PATH` with the programs of one
/// version.
pub struct Desk {
    line: Line,
    dir: PathBuf,
    path: OsString,
}

impl Desk {
    pub fn new(line: Line, place: &Path) -> Result<Self> {
        let (dir, bin) = (place.join("desk"), place.join("bin"));
        fs::create_dir_all(&dir)?;
        fs::create_dir_all(&bin)?;
        let programs = programs(line)?;
        for (name, program) in [
            ("etcdsnap", Path::new(ours::command().get_program())),
            ("etcd", &programs.etcd),
            ("etcdctl", &programs.etcdctl),
        ] {
            std::os::unix::fs::symlink(program, bin.join(name))?;
        }
        let mut path = bin.into_os_string();
        path.push(":/usr/bin:/bin");
        Ok(Desk { line, dir, path })
    }

    fn set(&self, command: &mut Command) {
        // Nothing is proved by waiting for the disk, and nothing by a slow hash.
        command
            .current_dir(&self.dir)
            .env("PATH", &self.path)
            .env("ETCD_UNSAFE_NO_FSYNC", "true")
            .env("ETCD_BCRYPT_COST", "4");
    }

    /// Runs one command to its end.
    pub fn run(&self, line: &str) -> Result<()> {
        let mut shell = Command::new("sh");
        self.set(&mut shell);
        let ran = run(shell.args(["-e", "-c", line]))?;
        ensure!(ran.code == Some(0), "{ran}");
        Ok(())
    }

    /// Starts the server of a command line.
    fn serve(&self, line: &str) -> Result<Member> {
        // The words as a shell takes them, one a line: no flag's value has a line break.
        let words = run(Command::new("sh").args(["-c", &format!("printf '%s\\n' {line}")]))?;
        let words = words.stdout_text();
        let value = |flag: &str| -> Result<String> {
            let mut words = words.lines();
            words.find(|word| *word == flag).with_context(|| format!("no {flag} in {line}"))?;
            let word = words.next().with_context(|| format!("no value of {flag} in {line}"))?;
            Ok(word.to_owned())
        };
        let data_dir = self.dir.join(value("--data-dir")?);
        let peer_url = value("--initial-advertise-peer-urls")?;
        let client_url = value("--advertise-client-urls")?;
        let mut spec = Spec::single(self.line, &data_dir, &peer_url);
        spec.name = value("--name")?;
        let mut shell = tied(Path::new("/bin/sh"));
        self.set(&mut shell);
        shell.args(["-c", &format!("exec {line}")]);
        Member::spawn_command(spec, client_url, shell)
    }

    /// Runs commands in their order and starts every server that they name; returns the members when they are
    /// healthy.
    pub fn follow(&self, commands: &[&str]) -> Result<Vec<Member>> {
        let mut members = Vec::new();
        for command in commands {
            if command.starts_with("etcd ") {
                members.push(self.serve(command).with_context(|| (*command).to_owned())?);
            } else {
                self.run(command)?;
            }
        }
        if members.is_empty() {
            bail!("no command starts a server: {commands:#?}");
        }
        members.iter_mut().try_for_each(Member::wait_until_healthy)?;
        Ok(members)
    }
}
