//! Real members: started on free loopback ports, killed at the latest when dropped.

use std::fs::File;
use std::net::{Ipv4Addr, TcpListener};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::sync::atomic::{AtomicU16, Ordering};
use std::time::{Duration, Instant};

use anyhow::{Context, Result, bail};
use rustix::process::{Pid, Signal, kill_process};
use serde_json::{Value, json};

use crate::gateway::{Gateway, Reply, int};
use crate::load::ROOT_PASSWORD;
use crate::peers::{Line, programs};

/// How long a member may take to start or to settle before the test gives up.
const PATIENCE: Duration = Duration::from_secs(60);

/// A loopback URL nobody listens on. Ports come from below the range the kernel hands out
/// for outgoing connections, and are never given twice by this process.
pub fn free_url() -> Result<String> {
    static NEXT: AtomicU16 = AtomicU16::new(0);
    let count = first_ephemeral_port().saturating_sub(FIRST_PORT).max(1_000);
    // Two runs on one machine begin at different places.
    let start = (std::process::id() % 200) as u16 * 100 % count;
    for _ in 0..count {
        let offset = start.wrapping_add(NEXT.fetch_add(1, Ordering::Relaxed)) % count;
        let port = FIRST_PORT + offset;
        // A server may listen on every address: so the port must be free on every address.
        if TcpListener::bind((Ipv4Addr::UNSPECIFIED, port)).is_ok() {
            return Ok(format!("http://127.0.0.1:{port}"));
        }
    }
    bail!("no free port among the {count} from {FIRST_PORT} on")
}

/// The lowest port that [`free_url`] gives.
const FIRST_PORT: u16 = 10_000;

/// The lowest port that the kernel gives to an outgoing connection. A listener cannot have such a port on every
/// address while a connection uses it.
fn first_ephemeral_port() -> u16 {
    let range =
        std::fs::read_to_string("/proc/sys/net/ipv4/ip_local_port_range").unwrap_or_default();
    range.split_whitespace().next().and_then(|low| low.parse().ok()).unwrap_or(32_000)
}

/// etcd of `line`.
fn program(line: Line) -> Result<Command> {
    Ok(tied(&programs(line)?.etcd))
}

/// `program`, which the kernel ends should the runner itself be killed.
pub fn tied(program: &Path) -> Command {
    let setpriv = Path::new("/usr/bin/setpriv");
    if !setpriv.is_file() {
        return Command::new(program);
    }
    let mut command = Command::new(setpriv);
    command.args(["--pdeathsig", "KILL", "--"]).arg(program);
    command
}

/// How to start a member.
#[derive(Clone, Debug)]
pub struct Spec {
    pub line: Line,
    pub name: String,
    pub data_dir: PathBuf,
    pub wal_dir: Option<PathBuf>,
    pub peer_url: String,
    /// `name=url,…`; only looked at when the data dir is new.
    pub initial_cluster: String,
    pub extra: Vec<String>,
}

impl Spec {
    /// The only member of a cluster, called `m1`.
    pub fn single(line: Line, data_dir: &Path, peer_url: &str) -> Self {
        Spec {
            line,
            name: "m1".into(),
            data_dir: data_dir.into(),
            wal_dir: None,
            peer_url: peer_url.into(),
            initial_cluster: format!("m1={peer_url}"),
            extra: Vec::new(),
        }
    }

    /// Whether the backend hardly commits: then 3.6 and later find no storage version in it.
    fn is_lazy(&self) -> bool {
        self.extra.iter().any(|flag| flag.starts_with("--backend-batch-interval"))
    }
}

/// A running member.
pub struct Member {
    pub spec: Spec,
    pub client_url: String,
    child: Child,
    log: PathBuf,
}

impl Member {
    /// Starts the process; see [`Member::wait_until_healthy`].
    pub fn spawn(spec: Spec) -> Result<Self> {
        Self::spawn_at(spec, free_url()?)
    }

    /// As [`Member::spawn`], at a client URL of the caller's choice.
    pub fn spawn_at(spec: Spec, client_url: String) -> Result<Self> {
        let mut command = program(spec.line)?;
        command
            .args(["--name", &spec.name, "--data-dir"])
            .arg(&spec.data_dir)
            .args(["--listen-client-urls", &client_url, "--advertise-client-urls", &client_url])
            .args(["--listen-peer-urls", &spec.peer_url])
            .args(["--initial-advertise-peer-urls", &spec.peer_url])
            .args(["--initial-cluster", &spec.initial_cluster])
            .args(["--initial-cluster-token", "conformance"])
            // SIGKILL does not lose the page cache, so waiting for the disk would prove nothing.
            .args(["--unsafe-no-fsync", "--bcrypt-cost", "4"])
            .args(&spec.extra);
        if let Some(dir) = &spec.wal_dir {
            command.arg("--wal-dir").arg(dir);
        }
        Self::spawn_command(spec, client_url, command)
    }

    /// Starts the process with these arguments, but for the client addresses, which give way to a free
    /// one: another member of the same data may run beside it.
    pub fn spawn_as_told(spec: Spec, arguments: &[String]) -> Result<Self> {
        let client_url = free_url()?;
        let mut arguments = arguments.to_vec();
        for at in 1..arguments.len() {
            if arguments[at - 1].ends_with("-client-urls") {
                arguments[at].clone_from(&client_url);
            }
        }
        Self::spawn_exactly(spec, client_url, &arguments)
    }

    /// Starts the process with exactly these arguments, by which it serves clients at `client_url`.
    pub fn spawn_exactly(spec: Spec, client_url: String, arguments: &[String]) -> Result<Self> {
        let mut command = program(spec.line)?;
        command.args(arguments);
        Self::spawn_command(spec, client_url, command)
    }

    /// Starts the process that `command` describes. The caller has put the client URL into it.
    pub fn spawn_command(spec: Spec, client_url: String, mut command: Command) -> Result<Self> {
        let log = spec.data_dir.with_extension(format!("{}.log", spec.line.tag()));
        let file = File::options().create(true).append(true).open(&log)?;
        let child = command
            .stdin(Stdio::null())
            .stdout(file.try_clone()?)
            .stderr(file)
            .spawn()
            .with_context(|| format!("starting {}", spec.line))?;
        Ok(Member { spec, client_url, child, log })
    }

    /// Starts the member and waits for it.
    pub fn start(spec: Spec) -> Result<Self> {
        let mut member = Self::spawn(spec)?;
        member.wait_until_healthy()?;
        Ok(member)
    }

    pub fn gateway(&self) -> Gateway {
        Gateway::new(&self.client_url)
    }

    /// Waits for a leader and for the cluster version, which the leader proposes a moment after
    /// the start (and 3.6 and later their storage version, which no entry announces).
    pub fn wait_until_healthy(&mut self) -> Result<()> {
        let start = Instant::now();
        let agent: ureq::Agent = ureq::Agent::config_builder()
            .timeout_global(Some(Duration::from_secs(5)))
            .build()
            .into();
        while start.elapsed() < PATIENCE {
            if let Some(status) = self.child.try_wait()? {
                bail!("{} ended at once with {status}:\n{}", self.spec.line, self.log_tail());
            }
            if self.is_healthy(&agent) {
                return Ok(());
            }
            std::thread::sleep(Duration::from_millis(30));
        }
        bail!("{} is not healthy after {PATIENCE:?}:\n{}", self.spec.line, self.log_tail())
    }

    fn is_healthy(&self, agent: &ureq::Agent) -> bool {
        let get = |path: &str| -> Option<Value> {
            let mut answer = agent.get(format!("{}{path}", self.client_url)).call().ok()?;
            answer.body_mut().read_json().ok()
        };
        let version = get("/version").is_some_and(|version| {
            version["etcdcluster"].as_str().is_some_and(|text| text != "not_decided")
        });
        version
            && match self.gateway().send("maintenance/status", &json!({})) {
                Ok(Reply::Done(status)) => {
                    let leader = !status["leader"].is_null();
                    let storage = self.spec.line < Line::V36
                        || self.spec.is_lazy()
                        || status["storageVersion"].as_str().is_some_and(|text| !text.is_empty());
                    leader && storage
                }
                // With authentication on the status is for users only, and the health of a member
                // with an alarm is bad.
                Ok(Reply::Refused(message)) if message.contains("user name is empty") => {
                    get("/health").is_some_and(|health| health["health"] == json!("true"))
                        || self.gateway().log_in("root", ROOT_PASSWORD).is_ok()
                }
                _ => false,
            }
    }

    /// Waits until nothing has been applied for half a second: what is pending in the
    /// backend's batch is then in the file.
    pub fn wait_until_idle(&self, gateway: &Gateway) -> Result<()> {
        let start = Instant::now();
        let mut last = (-1, Instant::now());
        while start.elapsed() < PATIENCE {
            let applied =
                int(&gateway.call("maintenance/status", &json!({}))?["raftAppliedIndex"])?;
            if applied != last.0 {
                last = (applied, Instant::now());
            } else if last.1.elapsed() > Duration::from_millis(500) {
                return Ok(());
            }
            std::thread::sleep(Duration::from_millis(50));
        }
        bail!("{} does not come to rest", self.spec.line)
    }

    /// Whether the process has ended by itself.
    pub fn has_ended(&mut self) -> Result<bool> {
        Ok(self.child.try_wait()?.is_some())
    }

    /// Sends `signal` to the process and does not wait for what it does.
    pub fn signal(&self, signal: Signal) -> Result<()> {
        Ok(kill_process(Pid::from_child(&self.child), signal)?)
    }

    /// Ends the member without a chance to write anything more.
    pub fn sigkill(mut self) -> Result<()> {
        self.child.kill()?;
        self.child.wait()?;
        Ok(())
    }

    /// Asks the member to end, as an init system does.
    pub fn sigterm(mut self) -> Result<Spec> {
        let pid = Pid::from_child(&self.child);
        kill_process(pid, Signal::TERM)?;
        let start = Instant::now();
        while start.elapsed() < PATIENCE {
            if self.child.try_wait()?.is_some() {
                return Ok(self.spec.clone());
            }
            std::thread::sleep(Duration::from_millis(20));
        }
        bail!("{} does not end on SIGTERM:\n{}", self.spec.line, self.log_tail())
    }

    /// Stops the member and starts it again on the same files.
    pub fn restart(self) -> Result<Self> {
        Member::start(self.sigterm()?)
    }

    /// Everything the member logged.
    pub fn log(&self) -> Result<String> {
        Ok(String::from_utf8_lossy(&std::fs::read(&self.log)?).into_owned())
    }

    fn log_tail(&self) -> String {
        let text = std::fs::read(&self.log).unwrap_or_default();
        let text = String::from_utf8_lossy(&text);
        let lines: Vec<&str> = text.lines().collect();
        lines[lines.len().saturating_sub(15)..].join("\n")
    }
}

impl Drop for Member {
    fn drop(&mut self) {
        // Already gone is fine: then there is nothing to kill.
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// Starts all members of one cluster at once, because each waits for a majority.
pub fn start_cluster(specs: Vec<Spec>) -> Result<Vec<Member>> {
    let mut members = specs.into_iter().map(Member::spawn).collect::<Result<Vec<_>>>()?;
    for member in &mut members {
        member.wait_until_healthy()?;
    }
    Ok(members)
}
