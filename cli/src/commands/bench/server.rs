//! A server that runs on what is measured, so that its own way to a snapshot can be taken.

use std::{
    net::TcpListener,
    path::{Path, PathBuf},
    process::{Child, Command, Stdio},
    thread,
    time::{Duration, Instant},
};

use anyhow::{Context as _, Result, anyhow};

/// How long a server may take until it serves: it reads its whole key space first.
const PATIENCE: Duration = Duration::from_secs(300);

/// A server on loopback. Ends when dropped.
pub struct Server {
    child: Child,
    data: PathBuf,
    /// Its client address.
    pub endpoint: String,
}

impl Server {
    /// Restores `input` with `program` and starts `etcd` on it; `etcdctl` tells when it serves.
    ///
    /// # Errors
    /// When one of them fails, or it does not serve in time.
    pub fn start(
        program: &Path,
        etcd: &Path,
        etcdctl: &Path,
        input: &Path,
        work: &Path,
    ) -> Result<Self> {
        let data = work.join("served");
        let restored = Command::new(program)
            .arg("restore")
            .arg(input)
            .arg("--data-dir")
            .arg(&data)
            .args(["--quiet", "--skip-hash-check"])
            .stdout(Stdio::null())
            .status()
            .context("restore what is to be served")?;
        if !restored.success() {
            return Err(anyhow!("restore what is to be served: {restored}"));
        }
        let [client, peer] = addresses()?.map(|address| format!("http://{address}"));
        let mut child = Command::new(etcd);
        child.arg("--data-dir").arg(&data);
        for (flag, value) in [
            ("--listen-client-urls", client.as_str()),
            ("--advertise-client-urls", &client),
            ("--listen-peer-urls", &peer),
            ("--initial-advertise-peer-urls", &peer),
            ("--initial-cluster", &format!("default={peer}")),
            ("--quota-backend-bytes", "1099511627776"),
            ("--log-level", "fatal"),
        ] {
            child.args([flag, value]);
        }
        child.stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::null());
        let child = child.spawn().with_context(|| format!("run {}", etcd.display()))?;
        let mut server = Self { child, data, endpoint: client };
        server.wait(etcdctl)?;
        Ok(server)
    }

    fn wait(&mut self, etcdctl: &Path) -> Result<()> {
        let start = Instant::now();
        while start.elapsed() < PATIENCE {
            let health = Command::new(etcdctl)
                .args(["--endpoints", &self.endpoint, "endpoint", "health"])
                .stdin(Stdio::null())
                .stdout(Stdio::null())
                .stderr(Stdio::null())
                .status()
                .with_context(|| format!("run {}", etcdctl.display()))?;
            if health.success() {
                return Ok(());
            }
            if let Some(ended) = self.child.try_wait().context("wait for the server")? {
                return Err(anyhow!("the server ended with {ended} before it served"));
            }
            thread::sleep(Duration::from_millis(200));
        }
        Err(anyhow!("the server did not serve within {} s", PATIENCE.as_secs()))
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        // Gone already, or gone now; what is left of its files is in a temporary directory.
        let _ = self.child.kill();
        let _ = self.child.wait();
        let _ = std::fs::remove_dir_all(&self.data);
    }
}

/// Two addresses that are free now.
fn addresses() -> Result<[String; 2]> {
    let free = || TcpListener::bind("127.0.0.1:0").context("find a free port");
    let (first, second) = (free()?, free()?);
    let of = |listener: &TcpListener| listener.local_addr().map(|address| address.to_string());
    Ok([of(&first)?, of(&second)?])
}

/// A program on `PATH`.
pub fn on_path(name: &str) -> Option<PathBuf> {
    let path = std::env::var_os("PATH").unwrap_or_default();
    std::env::split_paths(&path).map(|dir| dir.join(name)).find(|file| file.is_file())
}
