//! A person who walks the guide of README.md: what they paste, where, and what they wait for.

use std::collections::BTreeSet;
use std::fs;
use std::path::Path;

use anyhow::{Context, Result, bail, ensure};
use fastrand::Rng;

use crate::advice::doctor;
use crate::clients::while_writing;
use crate::estate::Estate;
use crate::gateway::Gateway;
use crate::handbook::{Block, Handbook, NIGHT};
use crate::ledger::{Keys, Ledger, View};
use crate::night::served;
use crate::run::Ran;

const LOOK: &str = "Look, then bring the API server back";

/// The guide's member list: what `member add` prints takes its place.
const CLUSTER: &str =
    "cp1=https://10.0.0.11:2380,cp2=https://10.0.0.12:2380,cp3=https://10.0.0.13:2380";

/// The guide's ids of the member that is lost and of the one that replaces it.
pub const LOST_ID: &str = "8211f1d0f64f3269";
const NEW_ID: &str = "91bc3c398fb3c146";

/// A person with the guide before the eyes.
pub struct Walk<'a> {
    pub handbook: &'a Handbook,
    pub estate: Estate,
    /// The blocks of the section that are to come, the next one last.
    pub blocks: Vec<Block>,
    pub walked: &'a mut BTreeSet<usize>,
    pub rng: Rng,
}

impl Walk<'_> {
    /// Goes to a section; the one before it was read to its end.
    pub fn open(&mut self, title: &str) -> Result<()> {
        ensure!(self.blocks.is_empty(), "{:?} before {title:?}", self.blocks);
        self.blocks.clone_from(&self.handbook.section(title)?.blocks);
        self.blocks.reverse();
        Ok(())
    }

    /// The next block, which begins with `start`.
    fn next(&mut self, start: &str) -> Result<Block> {
        let block = self.blocks.pop().with_context(|| format!("no block with {start:?}"))?;
        ensure!(block.commands[0].starts_with(start), "{start:?} was expected: {block:#?}");
        Ok(block)
    }

    /// The next block is not for this morning.
    pub fn skip(&mut self, start: &str) -> Result<()> {
        self.next(start).map(drop)
    }

    /// The next block, on each of these machines, as it stands there.
    pub fn paste(&mut self, nodes: &[usize], start: &str) -> Result<()> {
        let block = self.next(start)?;
        self.walked.insert(block.line);
        for n in nodes {
            for command in &block.commands {
                self.estate.done(*n, command)?;
            }
        }
        Ok(())
    }

    /// The commands of the next block; the caller runs them one by one.
    pub fn read(&mut self, start: &str) -> Result<Vec<String>> {
        let block = self.next(start)?;
        self.walked.insert(block.line);
        Ok(block.commands)
    }

    pub fn nodes(&self) -> Vec<usize> {
        (0..self.estate.nodes.len()).collect()
    }

    pub fn doors(&self) -> Vec<String> {
        self.nodes().into_iter().map(|n| self.estate.side_door(n)).collect()
    }

    /// Starts every member for the first time.
    pub fn boot(&mut self) -> Result<()> {
        self.estate.kubelets()?;
        self.estate.wait()
    }

    /// Clients write until all machines lose their power at once.
    pub fn power_cut(&mut self) -> Result<Ledger> {
        self.boot()?;
        let count = self.rng.u64(80..250);
        let (doors, seed) = (self.doors(), self.rng.u64(..));
        while_writing(doors, seed, |crowd| {
            crowd.wait_for(count)?;
            self.estate.power_cut()
        })
    }

    /// Steps 1 to 4. Returns what the last command said.
    pub fn opening(&mut self) -> Result<Ran> {
        self.open(NIGHT)?;
        self.stop()?;
        let copied = self.read("mkdir -p /backup")?;
        for command in &copied {
            // The data dir of every member that still has one.
            let source =
                self.nodes().into_iter().find(|n| command.contains(&format!(" cp{}:", n + 1)));
            let home = command.contains("/var/lib/etcd") && source.is_none();
            let is_there =
                |n: usize| self.estate.nodes.get(n).is_some_and(|node| node.data_dir().exists());
            let other = command.starts_with("rsync");
            if other && !source.is_some_and(is_there) || home && !other && !is_there(0) {
                continue;
            }
            self.estate.done(0, command)?;
        }
        let asked = self.read("etcdsnap doctor")?.concat();
        let (mut there, mut words) = (Vec::new(), Vec::new());
        for word in asked.split_whitespace() {
            if word.starts_with('/') {
                let copy = self.estate.put(0, &format!(" {word}"))?.trim_start().to_owned();
                if !Path::new(&copy).exists() {
                    continue;
                }
                there.push(copy);
            }
            words.push(word);
        }
        let ran = self.estate.run(0, &words.join(" "))?;
        let advice = doctor(&there)?;
        ensure!(ran.code == advice.ran.code && ran.code != Some(2), "{ran}");
        let verdict = advice.verdict.to_uppercase();
        ensure!(ran.stdout_text().contains(&verdict), "not {verdict}: {ran}");
        self.paste(&self.nodes(), "export ")?;
        Ok(ran)
    }

    pub fn stop(&mut self) -> Result<()> {
        let stop = self.read("mkdir -p /root/manifests")?;
        let (wait, stop) = stop.split_last().context("nothing is stopped")?;
        for n in self.nodes() {
            for command in stop {
                self.estate.done(n, command)?;
            }
            self.estate.until(n, wait, |ran| ran.code == Some(1) && ran.stdout.is_empty())?;
        }
        Ok(())
    }

    /// What a reader takes from the answer to `member add`: the id, and what the new member is told.
    fn added(&mut self, ran: &Ran) -> Result<()> {
        let said = ran.stdout_text();
        let mut words = said.split_whitespace().skip_while(|word| *word != "Member");
        let id = words.nth(1).with_context(|| format!("{ran}"))?;
        let cluster = said.lines().find_map(|line| line.strip_prefix("ETCD_INITIAL_CLUSTER="));
        let cluster = cluster.with_context(|| format!("{ran}"))?.trim_matches('"');
        self.estate.examples.insert(NEW_ID.into(), id.into());
        self.estate.examples.insert(CLUSTER.into(), cluster.into());
        Ok(())
    }

    /// From `member add` to `member promote`, of machine `n`; `remove` is what goes before.
    pub fn replace(&mut self, n: usize) -> Result<()> {
        // The guide's example is cp3.
        if n != 2 {
            self.estate.examples.insert("cp3".into(), format!("cp{}", n + 1));
            self.estate.examples.insert("10.0.0.13".into(), format!("10.0.0.1{}", n + 1));
        }
        let commands = self.read("etcdctl member remove")?;
        let [remove, add] = &commands[..] else { bail!("{commands:#?}") };
        if self.estate.examples.contains_key(LOST_ID) {
            self.estate.until(0, remove, is_done)?;
        }
        let added = self.estate.until(0, add, is_done)?;
        self.added(&added)?;
        let joins = self.read("mv /var/lib/etcd ")?;
        for command in &joins {
            if command.starts_with("mv /var/lib/etcd ") && !self.estate.nodes[n].data_dir().exists()
            {
                continue;
            }
            self.estate.done(n, command)?;
        }
        let promote = self.read("etcdctl member promote")?.concat();
        self.estate.until(0, &promote, is_done)?;
        self.estate.examples.clear();
        self.estate.wait()
    }

    /// The last section, and what the servers have then.
    pub fn look(&mut self, check: impl Fn(&Keys) -> Result<()>) -> Result<()> {
        self.estate.wait()?;
        self.open(LOOK)?;
        let size = self.nodes().len();
        for command in self.read("etcdctl endpoint health --cluster")? {
            let enough = |ran: &Ran| {
                let said = ran.stdout_text() + &ran.stderr_text();
                let right = if command.contains(" health ") {
                    said.matches("is healthy").count() == size
                } else if command.contains(" hashkv ") {
                    let hashes = said.lines().filter_map(|line| line.split_once(", "));
                    let hashes: Vec<&str> = hashes.map(|(_, hash)| hash).collect();
                    hashes.len() == size && hashes.iter().all(|hash| *hash == hashes[0])
                } else if command.contains(" list") && command.contains("member") {
                    said.matches(", started, ").count() == size && !said.contains(", true")
                } else {
                    true
                };
                ran.code == Some(0) && right
            };
            self.estate.until(0, &command, enough)?;
        }
        self.paste(&self.nodes(), "mv /root/manifests/kube-apiserver.yaml")?;
        ensure!(self.blocks.is_empty(), "nobody walks {:?}", self.blocks);
        for n in self.nodes() {
            let member = self.estate.member(n)?;
            let served = served(&Gateway::new(&member.client_url))?;
            check(&served).with_context(|| format!("cp{} serves", n + 1))?;
        }
        Ok(())
    }

    /// Takes a member's data dir away for good.
    pub fn lose(&self, n: usize) -> Result<()> {
        Ok(fs::remove_dir_all(self.estate.nodes[n].data_dir())?)
    }

    pub fn view(&self, n: usize) -> Result<View> {
        View::of(&self.estate.nodes[n].data_dir(), None)
    }
}

pub fn is_done(ran: &Ran) -> bool {
    ran.code == Some(0)
}
