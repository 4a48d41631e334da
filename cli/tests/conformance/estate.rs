//! The machines that the guide speaks of, as one test has them: a directory for each, an address for each, and a
//! kubelet that starts etcd while its manifest is there.

use std::collections::BTreeMap;
use std::ffi::OsString;
use std::fs;
use std::net::TcpListener;
use std::os::unix::fs::{PermissionsExt, symlink};
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::{Duration, Instant};

use anyhow::{Context, Result, ensure};
use fastrand::Rng;
use rustix::process::Signal;

use crate::authority::Authority;
use crate::handbook::programs;
use crate::ours;
use crate::peers::{self, Line};
use crate::run::{Ran, run};
use crate::server::{Member, Spec, tied};

/// What runs as the guide has it.
const AS_IT_IS: [&str; 8] = ["mkdir", "mv", "cp", "sed", "grep", "export", "etcdctl", "etcdsnap"];

/// What a function of the test does instead.
const STAND_INS: [(&str, &str); 2] = [
    // The kubelet of the test writes down what runs.
    ("crictl", "test \"$*\" = ps && cat \"$NODE/containers\"\n"),
    // Machines are directories. Two histories in one directory are what the guide warns of.
    (
        "rsync",
        "set -e; test $# = 3; test \"$1\" = -aS; from=${2#cp?:}; to=${3#cp?:}\n\
         if test -e \"$to\"; then echo \"rsync: $to is there already\" >&2; exit 1; fi\n\
         mkdir -p \"$to\" && cp -a \"$from.\" \"$to\"\n",
    ),
];

/// The paths of the guide that belong to one machine.
const OWN: [&str; 4] = ["/etc/kubernetes", "/root", "/var/lib/etcd", "/backup"];

/// A directory that only the machine has where the person works.
const RESTORED: &str = "/restored";

/// The port of the guide's members where the test's own clients write, without TLS.
const SIDE_DOOR: u16 = 2378;

/// How long the test waits for what a person waits for.
pub const PATIENCE: Duration = Duration::from_secs(90);

/// What kubeadm writes, as far as etcd looks at it.
const MANIFEST: &str = "\
apiVersion: v1
kind: Pod
spec:
  containers:
  - command:
    - etcd
    - --advertise-client-urls=https://10.0.0.1N:2379
    - --cert-file=/etc/kubernetes/pki/etcd/server.crt
    - --client-cert-auth=true
    - --data-dir=/var/lib/etcd
    - --initial-advertise-peer-urls=https://10.0.0.1N:2380
    - --initial-cluster=CLUSTER
    - --initial-cluster-state=new
    - --key-file=/etc/kubernetes/pki/etcd/server.key
    - --listen-client-urls=https://127.0.0.1:2379,https://10.0.0.1N:2379,http://10.0.0.1N:2378
    - --listen-peer-urls=https://10.0.0.1N:2380
    - --name=cpN
    - --peer-cert-file=/etc/kubernetes/pki/etcd/peer.crt
    - --peer-client-cert-auth=true
    - --peer-key-file=/etc/kubernetes/pki/etcd/peer.key
    - --peer-trusted-ca-file=/etc/kubernetes/pki/etcd/ca.crt
    - --snapshot-count=10000
    - --trusted-ca-file=/etc/kubernetes/pki/etcd/ca.crt
    name: etcd
";

/// One machine.
pub struct Node {
    pub name: String,
    /// Its root directory.
    pub root: PathBuf,
    number: usize,
    etcd: Option<Member>,
    /// What was exported in the shell of this machine.
    exports: Vec<String>,
}

impl Node {
    pub fn data_dir(&self) -> PathBuf {
        self.root.join("var/lib/etcd")
    }

    fn manifest(&self) -> PathBuf {
        self.root.join("etc/kubernetes/manifests/etcd.yaml")
    }
}

/// All machines of a cluster.
pub struct Estate {
    pub line: Line,
    pub nodes: Vec<Node>,
    /// `127.A.B`, whose addresses nobody else uses.
    network: String,
    path: OsString,
    /// What stands in the guide as an example, and what stands for it.
    pub examples: BTreeMap<String, String>,
}

impl Estate {
    /// `size` machines of kubeadm that never ran.
    pub fn new(line: Line, size: usize, dir: &Path, rng: &mut Rng) -> Result<Self> {
        let bin = dir.join("bin");
        fs::create_dir_all(&bin)?;
        let programs = peers::programs(line)?;
        symlink(ours::command().get_program(), bin.join("etcdsnap"))?;
        symlink(&programs.etcdctl, bin.join("etcdctl"))?;
        for (name, body) in STAND_INS {
            let file = bin.join(name);
            fs::write(&file, format!("#!/bin/sh\n{body}"))?;
            fs::set_permissions(&file, fs::Permissions::from_mode(0o755))?;
        }
        let mut path = bin.into_os_string();
        path.push(":/usr/bin:/bin");
        let mut estate = Estate {
            line,
            nodes: Vec::new(),
            network: free_network(rng)?,
            path,
            examples: BTreeMap::new(),
        };
        let authority = Authority::new(dir)?;
        let cluster: Vec<String> =
            (1..=size).map(|n| format!("cp{n}=https://10.0.0.1{n}:2380")).collect();
        for number in 1..=size {
            let name = format!("cp{number}");
            let root = dir.join(&name);
            estate.nodes.push(Node { name, root, number, etcd: None, exports: Vec::new() });
            estate.furnish(number - 1, &cluster.join(","), &authority)?;
        }
        Ok(estate)
    }

    /// What a machine has when its kubelet runs for the first time.
    fn furnish(&self, n: usize, cluster: &str, authority: &Authority) -> Result<()> {
        let node = &self.nodes[n];
        for dir in ["etc/kubernetes/manifests", "etc/kubernetes/pki/etcd", "root", "var/lib"] {
            fs::create_dir_all(node.root.join(dir))?;
        }
        let number = node.number.to_string();
        let manifest = MANIFEST.replace("CLUSTER", cluster);
        let manifest = manifest.replace("cpN", &node.name).replace("1N", &format!("1{number}"));
        fs::write(node.manifest(), self.put(n, &manifest)?)?;
        fs::write(node.manifest().with_file_name("kube-apiserver.yaml"), "kind: Pod\n")?;
        // A server looks where a peer's connection comes from: on one machine, from here.
        let hosts = [self.host(node.number), self.loopback(node.number), "127.0.0.1".to_owned()];
        authority.issue(&node.root.join("etc/kubernetes/pki/etcd"), &hosts)
    }

    fn host(&self, number: usize) -> String {
        format!("{}.1{number}", self.network)
    }

    fn loopback(&self, number: usize) -> String {
        format!("{}.{number}", self.network)
    }

    /// Where clients without TLS reach the member of `n`.
    pub fn side_door(&self, n: usize) -> String {
        format!("http://{}:{SIDE_DOOR}", self.host(self.nodes[n].number))
    }

    pub fn member(&self, n: usize) -> Result<&Member> {
        self.nodes[n].etcd.as_ref().with_context(|| format!("no etcd runs on cp{}", n + 1))
    }

    /// `text` of the guide, as the machine `n` has it.
    pub fn put(&self, n: usize, text: &str) -> Result<String> {
        let mut text = text.to_owned();
        // Longer ones first: an example may be part of another one.
        let mut examples: Vec<_> = self.examples.iter().collect();
        examples.sort_by_key(|(example, _)| std::cmp::Reverse(example.len()));
        for (example, actual) in examples {
            text = text.replace(example, actual);
        }
        text = text.replace("10.0.0.", &format!("{}.", self.network));
        text = text.replace("127.0.0.1:", &format!("{}:", self.loopback(self.nodes[n].number)));
        let mut put = String::new();
        let mut rest = text.as_str();
        while let Some(at) = rest.find('/') {
            let (before, path) = rest.split_at(at);
            put.push_str(before);
            let len = path.find(|c: char| c.is_whitespace() || "'\",|".contains(c));
            let (path, after) = path.split_at(len.unwrap_or(path.len()));
            let new = before.ends_with(|c: char| c.is_whitespace() || "='\"".contains(c));
            let far = (1..=self.nodes.len()).find(|n| before.ends_with(&format!(" cp{n}:")));
            let root = match far {
                Some(n) => Some(&self.nodes[n - 1].root),
                None if new => Some(&self.nodes[n].root),
                None => None,
            };
            let is = |known: &str| {
                let below = path.strip_prefix(known);
                below.is_some_and(|below| below.is_empty() || below.starts_with(['/', '.']))
            };
            // What has no letter behind it is a key, or an address of sed.
            let named = path[1..].starts_with(|c: char| c.is_ascii_lowercase());
            if let Some(root) = root.filter(|_| named) {
                let known = OWN.iter().any(|own| is(own)) || is(RESTORED);
                ensure!(known, "nothing stands in for the path {path} in: {text}");
                put.push_str(&root.display().to_string());
            }
            put.push_str(path);
            rest = after;
        }
        put.push_str(rest);
        Ok(put)
    }

    /// Runs a command of the guide in the shell of machine `n`.
    pub fn run(&mut self, n: usize, command: &str) -> Result<Ran> {
        known(command)?;
        let put = self.put(n, command)?;
        let node = &mut self.nodes[n];
        let mut lines = node.exports.clone();
        lines.push(put.clone());
        if put.starts_with("export ") {
            node.exports.push(put);
        }
        let mut shell = Command::new("sh");
        shell.args(["-e", "-c", &lines.join("\n")]).current_dir(&node.root);
        shell.env_clear().env("PATH", &self.path).env("NODE", &node.root);
        let ran = run(&mut shell)?;
        self.kubelets()?;
        Ok(ran)
    }

    /// As [`Estate::run`], of a command that must be done.
    pub fn done(&mut self, n: usize, command: &str) -> Result<Ran> {
        let ran = self.run(n, command)?;
        ensure!(ran.code == Some(0), "on cp{}: {command}\n{ran}", n + 1);
        Ok(ran)
    }

    /// As [`Estate::run`], again and again until `enough` says so.
    pub fn until(&mut self, n: usize, command: &str, enough: impl Fn(&Ran) -> bool) -> Result<Ran> {
        let start = Instant::now();
        loop {
            let ran = self.run(n, command)?;
            if enough(&ran) {
                return Ok(ran);
            }
            let waited = start.elapsed();
            ensure!(waited < PATIENCE, "on cp{}, for {waited:?}: {command}\n{ran}", n + 1);
            std::thread::sleep(Duration::from_millis(300));
        }
    }

    /// What a kubelet does all the time: etcd runs while its manifest is there.
    pub fn kubelets(&mut self) -> Result<()> {
        for n in 0..self.nodes.len() {
            let wanted = self.nodes[n].manifest().is_file();
            if wanted && self.nodes[n].etcd.is_none() {
                let member = self.serve(n)?;
                self.nodes[n].etcd = Some(member);
            }
            if let Some(member) = self.nodes[n].etcd.take_if(|_| !wanted) {
                member.sigterm()?;
            }
            let running = if wanted { "0123 etcd\n" } else { "" };
            let api = self.nodes[n].manifest().with_file_name("kube-apiserver.yaml").is_file();
            let api = if api { "4567 kube-apiserver\n" } else { "" };
            fs::write(self.nodes[n].root.join("containers"), format!("{running}{api}"))?;
        }
        Ok(())
    }

    /// Starts the etcd of a manifest.
    fn serve(&self, n: usize) -> Result<Member> {
        let node = &self.nodes[n];
        let manifest = fs::read_to_string(node.manifest())?;
        let mut arguments: Vec<String> = Vec::new();
        let mut named = false;
        for line in manifest.lines() {
            let Some(word) = line.strip_prefix("    - ") else { continue };
            if named {
                arguments.push(word.to_owned());
            }
            named |= word == "etcd";
        }
        let mut spec = Spec::single(self.line, &node.data_dir(), &self.host(node.number));
        spec.name.clone_from(&node.name);
        let mut etcd = tied(&peers::programs(self.line)?.etcd);
        // Nothing is proved by waiting for the disk.
        etcd.args(arguments).env("ETCD_UNSAFE_NO_FSYNC", "true").current_dir(&node.root);
        Member::spawn_command(spec, self.side_door(n), etcd)
    }

    /// Waits for every member that runs.
    pub fn wait(&mut self) -> Result<()> {
        for node in &mut self.nodes {
            node.etcd.iter_mut().try_for_each(Member::wait_until_healthy)?;
        }
        Ok(())
    }

    /// All machines lose their power at one moment; from here on no kubelet runs before a person looks.
    pub fn power_cut(&mut self) -> Result<()> {
        for node in &self.nodes {
            node.etcd.iter().try_for_each(|member| member.signal(Signal::KILL))?;
        }
        let members = self.nodes.iter_mut().filter_map(|node| node.etcd.take());
        members.into_iter().try_for_each(Member::sigkill)
    }
}

/// Fails where `command` names a program that the test cannot run.
pub fn known(command: &str) -> Result<()> {
    for program in programs(command)? {
        let stands_in = STAND_INS.iter().any(|(name, _)| *name == program);
        ensure!(
            stands_in || AS_IT_IS.contains(&program.as_str()),
            "nothing stands in for {program} in: {command}"
        );
    }
    Ok(())
}

/// `127.A.B` where nobody listens at etcd's ports.
fn free_network(rng: &mut Rng) -> Result<String> {
    for _ in 0..100 {
        let network = format!("127.{}.{}", rng.u8(1..=254), rng.u8(..));
        let is_free = |number: usize| {
            let bound = |port: u16| TcpListener::bind((format!("{network}.1{number}"), port));
            bound(2379).is_ok() && bound(2380).is_ok() && bound(SIDE_DOOR).is_ok()
        };
        if (1..=3).all(is_free) {
            return Ok(network);
        }
    }
    anyhow::bail!("no network of 100 has its ports free")
}
