//! Clusters of several members: started, stopped, killed together or one after the other, and
//! started again at the addresses they had.

use std::path::Path;
use std::time::{Duration, Instant};

use anyhow::{Context, Result, bail};
use rustix::process::Signal;
use serde_json::{Value, json};

use crate::gateway::{Gateway, id};
use crate::peers::Line;
use crate::server::{Member, Spec, free_url};

/// How long a cluster may take to elect a leader.
const PATIENCE: Duration = Duration::from_secs(60);

/// A machine under load must not depose leaders all the time, yet an election should be short.
const TICKS: [&str; 2] = ["--heartbeat-interval=50", "--election-timeout=500"];

/// The members of one cluster, by number.
pub struct Fleet {
    pub specs: Vec<Spec>,
    pub client_urls: Vec<String>,
    running: Vec<Option<Member>>,
}

impl Fleet {
    /// Starts a cluster of `size` members, `n1` and so on, in `dir`.
    pub fn start(line: Line, dir: &Path, size: usize, extra: &[String]) -> Result<Self> {
        let names: Vec<String> = (1..=size).map(|n| format!("n{n}")).collect();
        Self::start_named(line, dir, &names, extra)
    }

    /// As [`Fleet::start`], with names of the caller's choice.
    pub fn start_named(line: Line, dir: &Path, names: &[String], extra: &[String]) -> Result<Self> {
        let size = names.len();
        let urls = (0..size).map(|_| free_url()).collect::<Result<Vec<_>>>()?;
        let named: Vec<String> =
            names.iter().zip(&urls).map(|(name, url)| format!("{name}={url}")).collect();
        let mut fleet = Fleet { specs: Vec::new(), client_urls: Vec::new(), running: Vec::new() };
        for (n, url) in urls.iter().enumerate() {
            let name = names[n].clone();
            let mut flags = TICKS.map(String::from).to_vec();
            flags.extend_from_slice(extra);
            fleet.specs.push(Spec {
                initial_cluster: named.join(","),
                extra: flags,
                ..Spec::single(line, &dir.join(&name), url)
            });
            fleet.specs[n].name = name;
            fleet.client_urls.push(free_url()?);
            fleet.running.push(None);
        }
        fleet.start_again(&(0..size).collect::<Vec<_>>())?;
        Ok(fleet)
    }

    /// Starts members on what they left, and waits for them.
    pub fn start_again(&mut self, members: &[usize]) -> Result<()> {
        for n in members {
            self.spawn(*n)?;
        }
        for n in members {
            self.member_mut(*n)?.wait_until_healthy()?;
        }
        Ok(())
    }

    /// Starts a member and does not wait for it.
    pub fn spawn(&mut self, n: usize) -> Result<()> {
        self.running[n] =
            Some(Member::spawn_at(self.specs[n].clone(), self.client_urls[n].clone())?);
        Ok(())
    }

    /// Adds a learner to the running cluster, starts it, and waits until it has applied something.
    pub fn add_learner(&mut self, line: Line, dir: &Path) -> Result<usize> {
        let (n, url) = (self.specs.len(), free_url()?);
        let start = Instant::now();
        let leader = self.leader()?;
        self.change(leader, "cluster/member/add", &json!({"peerURLs": [url], "isLearner": true}))?;
        let name = format!("n{}", n + 1);
        let mut spec = Spec {
            initial_cluster: format!("{},{name}={url}", self.specs[0].initial_cluster),
            extra: self.specs[0].extra.clone(),
            ..Spec::single(line, &dir.join(&name), &url)
        };
        spec.name = name;
        spec.extra.push("--initial-cluster-state=existing".into());
        self.specs.push(spec);
        self.client_urls.push(free_url()?);
        self.running.push(None);
        self.spawn(n)?;
        while start.elapsed() < PATIENCE {
            let status = self.gateway(n).call("maintenance/status", &json!({}));
            if status.is_ok_and(|status| !status["leader"].is_null()) {
                return Ok(n);
            }
            std::thread::sleep(Duration::from_millis(50));
        }
        bail!("the learner does not join")
    }

    /// Asks the member `asked` to remove the one with the id `id`.
    pub fn remove(&mut self, asked: usize, id: &str) -> Result<()> {
        self.change(asked, "cluster/member/remove", &json!({"ID": id}))
    }

    /// Members of a young cluster refuse changes until all have been connected for some seconds.
    fn change(&self, asked: usize, path: &str, body: &Value) -> Result<()> {
        let start = Instant::now();
        while let Err(error) = self.gateway(asked).call(path, body) {
            if start.elapsed() > PATIENCE {
                return Err(error);
            }
            std::thread::sleep(Duration::from_millis(200));
        }
        Ok(())
    }

    fn member(&self, n: usize) -> Result<&Member> {
        self.running[n].as_ref().with_context(|| format!("n{} does not run", n + 1))
    }

    fn member_mut(&mut self, n: usize) -> Result<&mut Member> {
        self.running[n].as_mut().with_context(|| format!("n{} does not run", n + 1))
    }

    pub fn gateway(&self, n: usize) -> Gateway {
        Gateway::new(&self.client_urls[n])
    }

    /// The client URLs of these members.
    pub fn urls(&self, members: &[usize]) -> Vec<String> {
        members.iter().map(|n| self.client_urls[*n].clone()).collect()
    }

    /// The numbers of the members that run.
    pub fn running(&self) -> Vec<usize> {
        (0..self.running.len()).filter(|n| self.running[*n].is_some()).collect()
    }

    /// The leader that the running members agree on.
    pub fn leader(&self) -> Result<usize> {
        let start = Instant::now();
        while start.elapsed() < PATIENCE {
            for n in self.running() {
                let gateway = Gateway::with_timeout(&self.client_urls[n], Duration::from_secs(2));
                let Ok(status) = gateway.call("maintenance/status", &json!({})) else { continue };
                if id(&status["leader"])? == id(&status["header"]["member_id"])? {
                    return Ok(n);
                }
            }
            std::thread::sleep(Duration::from_millis(20));
        }
        bail!("no member leads")
    }

    /// Stops a member's process as a scheduler would: it neither answers nor writes until it goes on.
    pub fn freeze(&self, n: usize) -> Result<()> {
        self.member(n)?.signal(Signal::STOP)
    }

    pub fn thaw(&self, n: usize) -> Result<()> {
        self.member(n)?.signal(Signal::CONT)
    }

    pub fn kill(&mut self, n: usize) -> Result<()> {
        self.running[n].take().with_context(|| format!("n{} does not run", n + 1))?.sigkill()
    }

    /// Kills all members at one moment.
    pub fn kill_all(&mut self) -> Result<()> {
        for member in self.running.iter().flatten() {
            member.signal(Signal::KILL)?;
        }
        self.running.iter_mut().filter_map(Option::take).try_for_each(Member::sigkill)
    }
}
