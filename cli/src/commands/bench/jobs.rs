//! The jobs, ours and theirs.

use std::{
    ffi::OsString,
    path::{Path, PathBuf},
};

use super::{
    measure::Contender,
    server::{Server, on_path},
};

/// A job and who does it: ours first, then the peers.
pub struct Job {
    /// Its name: our command's.
    pub name: &'static str,
    /// Ours.
    pub ours: Contender,
    /// Everybody it is compared with.
    pub peers: Vec<Contender>,
}

/// Programs to compare with, where they are.
#[derive(Clone, Debug, Default)]
pub struct Peers {
    /// etcdutl.
    pub etcdutl: Option<PathBuf>,
    /// bbolt.
    pub bbolt: Option<PathBuf>,
    /// etcd and etcdctl.
    pub server: Option<(PathBuf, PathBuf)>,
}

impl Peers {
    /// Those on `PATH`.
    pub fn on_path() -> Self {
        let [etcdutl, bbolt, etcd, etcdctl] = ["etcdutl", "bbolt", "etcd", "etcdctl"].map(on_path);
        Self { etcdutl, bbolt, server: etcd.zip(etcdctl) }
    }

    /// Their names, and where they are.
    pub fn named(&self) -> [(&'static str, Option<&Path>); 3] {
        [
            ("etcdutl", self.etcdutl.as_deref()),
            ("bbolt", self.bbolt.as_deref()),
            ("etcd and etcdctl", self.server.as_ref().map(|(etcd, _)| etcd.as_path())),
        ]
    }
}

/// What jobs are done on.
#[derive(Clone, Copy, Debug)]
pub struct Input<'i> {
    /// As it was given.
    pub given: &'i Path,
    /// Its database without a digest: what a member has, and what bbolt and `etcdutl defrag` work on.
    pub db: &'i Path,
}

/// The names there are, in the order in which they are done.
pub const NAMES: [&str; 11] = [
    "status",
    "hashkv",
    "check",
    "verify",
    "top",
    "carve",
    "diff",
    "save",
    "restore",
    "restore-all",
    "compact",
];

/// The job that a server does, too.
pub const SAVE: &str = "save";

/// The snapshot that `etcdctl` fetches from `server`, with `work` to write in.
pub fn live(etcdctl: &Path, server: &Server, work: &Path) -> Contender {
    let out = work.join("out.db");
    let words = ["snapshot", "save", "--endpoints", &server.endpoint, "--command-timeout", "1h"];
    let mut command = vec![etcdctl.into()];
    command.extend(words.map(OsString::from));
    command.push(out.clone().into());
    Contender::new("etcdctl", command).making(vec![out, work.join("out.db.part")])
}

/// All jobs on `input`, with `work` to write in; `program` is ours. Beside [`SAVE`] stands [`live`], too.
pub fn jobs(
    program: &Path,
    peers: &Peers,
    Input { given: input, db }: Input<'_>,
    work: &Path,
) -> Vec<Job> {
    let words = |program: &Path, words: &[&str], paths: &[&Path]| {
        let mut all: Vec<OsString> = vec![program.into()];
        all.extend(words.iter().map(OsString::from));
        all.extend(paths.iter().map(|path| path.as_os_str().to_owned()));
        all
    };
    let ours =
        |name: &str, paths: &[&Path]| Contender::new("etcdsnap", words(program, &[name], paths));
    let etcdutl = |args: &[&str], paths: &[&Path]| {
        let etcdutl = peers.etcdutl.as_deref()?;
        Some(Contender::new("etcdutl", words(etcdutl, args, paths)))
    };
    let bbolt = |args: &[&str], paths: &[&Path]| {
        let bbolt = peers.bbolt.as_deref()?;
        Some(Contender::new("bbolt", words(bbolt, args, paths)))
    };
    let (out, data, own) = (work.join("out.db"), work.join("data"), work.join("own"));
    let three = "a=http://h:1,b=http://h:2,c=http://h:3";
    let restored = |mut contender: Contender, names: &[&str], flags: &[&str]| {
        contender.outputs = names.iter().map(|name| work.join(name)).collect();
        let dir = contender.outputs.first().cloned().unwrap_or_default();
        for command in &mut contender.commands {
            command.extend(["--data-dir".into(), dir.clone().into_os_string()]);
            command.extend(flags.iter().map(OsString::from));
        }
        contender
    };
    // Three restores, one after the other: what an admin does by hand.
    let three_restores = etcdutl(&["snapshot", "restore"], &[input]).map(|one| {
        let members = ["a", "b", "c"].iter().zip(1..).map(|(name, number)| {
            let mut command = one.commands.concat();
            let url = format!("http://h:{number}");
            let dir = work.join(format!("data-{name}"));
            for (flag, value) in [
                ("--name", *name),
                ("--initial-cluster", three),
                ("--initial-advertise-peer-urls", &url),
            ] {
                command.extend([flag.into(), value.into()]);
            }
            command.extend(["--data-dir".into(), dir.clone().into()]);
            (command, dir)
        });
        let (commands, outputs) = members.unzip();
        Contender { commands, outputs, ..one }
    });
    let mut all = ours("restore", &[input]).making(vec![data.clone()]);
    for command in &mut all.commands {
        command.extend(["--all-members".into(), data.clone().into()]);
        command.extend(["--initial-cluster".into(), three.into()]);
    }
    let mut save = ours("save", &[]).making(vec![out.clone()]);
    for command in &mut save.commands {
        command.extend(["--data-dir".into(), db.into(), out.clone().into()]);
    }
    // etcdutl's hashkv commits to the file it is asked about, and defrag is about a data dir.
    let own_db = own.join("member").join("snap").join("db");
    let fresh = |contender: Option<Contender>| {
        contender.map(|contender| Contender {
            fresh: Some((db.to_owned(), own_db.clone())),
            outputs: vec![own.clone()],
            ..contender
        })
    };
    let defrag = fresh(etcdutl(&["defrag", "--data-dir"], &[&own]));
    vec![
        job("status", ours("status", &[input]), [etcdutl(&["snapshot", "status"], &[input])]),
        job("hashkv", ours("hashkv", &[input]), [fresh(etcdutl(&["hashkv"], &[&own_db]))]),
        job("check", ours("check", &[input]), [bbolt(&["check"], &[input])]),
        job("verify", ours("verify", &[input]), [etcdutl(&["snapshot", "status"], &[input])]),
        job("top", ours("top", &[input]), [None]),
        job("carve", ours("carve", &[input]), [None]),
        // Two files with the same keys: every record is held against another one.
        job("diff", ours("diff", &[input, db]), [None]),
        job(SAVE, save, [None]),
        job(
            "restore",
            restored(ours("restore", &[input]), &["data"], &[]),
            [etcdutl(&["snapshot", "restore"], &[input])
                .map(|etcdutl| restored(etcdutl, &["data"], &[]))],
        ),
        job("restore-all", all, [three_restores]),
        job(
            "compact",
            ours("compact", &[db, &out]).making(vec![out.clone()]),
            [
                bbolt(&["compact", "-o"], &[&out, db]).map(|bbolt| bbolt.making(vec![out.clone()])),
                defrag,
            ],
        ),
    ]
}

fn job<const N: usize>(name: &'static str, ours: Contender, peers: [Option<Contender>; N]) -> Job {
    Job { name, ours, peers: peers.into_iter().flatten().collect() }
}
