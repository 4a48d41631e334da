//! Changes of membership that are in the log alone: a learner that was added, promoted and moved.
//!
//! The danger guarded against: a cluster of which one member is shown with the wrong vote, or at an
//! address where it no longer is.

use std::path::Path;
use std::time::{Duration, Instant};

use anyhow::{Result, bail, ensure};
use serde_json::json;

use crate::crash::LAZY;
use crate::facts;
use crate::gateway::{Reply, id, key};
use crate::ours;
use crate::peers::{Line, Needs};
use crate::server::{Member, Spec, free_url};
use crate::suite::Suite;

/// How long a learner may take to catch up.
const PATIENCE: Duration = Duration::from_secs(30);

pub fn trials(suite: &mut Suite) {
    for line in Line::ALL {
        suite.add(
            format!("promoted::a_learner_that_{}_promoted_votes", line.tag()),
            Needs::lines(&[line]),
            move |dir| promote(line, dir),
        );
    }
}

fn promote(line: Line, dir: &Path) -> Result<()> {
    let mut first = Spec::single(line, &dir.join("m1"), &free_url()?);
    first.extra = LAZY.map(String::from).to_vec();
    let second_url = free_url()?;
    let voter = Member::start(first.clone())?;
    let gateway = voter.gateway();
    gateway.call("kv/put", &json!({"key": key(b"before"), "value": key(b"v")}))?;
    let added = json!({"peerURLs": [second_url], "isLearner": true});
    let added = id(&gateway.call("cluster/member/add", &added)?["member"]["ID"])?;
    let mut second = Spec::single(line, &dir.join("m2"), &second_url);
    second.name = "m2".into();
    second.initial_cluster = format!("m1={},m2={second_url}", first.peer_url);
    second.extra = LAZY.map(String::from).to_vec();
    second.extra.extend(["--initial-cluster-state".into(), "existing".into()]);
    let learner = Member::spawn(second.clone())?;
    let start = Instant::now();
    let body = json!({"ID": added.to_string()});
    while let Reply::Refused(why) = gateway.send("cluster/member/promote", &body)? {
        if start.elapsed() > PATIENCE {
            bail!("{line} does not promote: {why}");
        }
        std::thread::sleep(Duration::from_millis(100));
    }
    let urls = json!({"ID": added.to_string(), "peerURLs": [second_url, free_url()?]});
    gateway.call("cluster/member/update", &urls)?;
    // Behind the change, so that its commit is known.
    for n in 0..3_u8 {
        gateway.call("kv/put", &json!({"key": key(b"after"), "value": key(&[n])}))?;
    }
    let (_, said) = facts::members(&gateway)?;
    ensure!(said.len() == 2 && said.iter().all(|member| !member.is_learner), "{said:?}");
    learner.sigkill()?;
    voter.sigkill()?;
    for commit in ["known", "all"] {
        let mut shown = ours::members(&first.data_dir, &["--commit", commit])?;
        shown.sort_by_key(|member| member.id);
        ensure!(shown == said, "--commit {commit}: {shown:?}, the server said {said:?}");
    }
    // The db has nothing of it: the comparison can fail.
    let alone = ours::members(&first.data_dir, &[ours::NO_WAL])?;
    ensure!(alone != said, "the db alone has everything: {alone:?}");
    Ok(())
}
