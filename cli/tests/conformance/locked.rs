//! A db that a running server holds locked can be read all the same.

use std::path::Path;
use std::time::{Duration, Instant};

use anyhow::{Result, ensure};
use serde_json::json;

use crate::dataset::copy_to;
use crate::gateway::key;
use crate::ours;
use crate::peers::{self, Line, Needs};
use crate::server::{Member, Spec, free_url};
use crate::suite::Suite;
use crate::unchanged::LOOKING;

pub fn trials(suite: &mut Suite) {
    for line in Line::ALL {
        suite.add(
            format!("locked::a_running_{}_server_does_not_keep_us_out", line.tag()),
            Needs::lines(&[line, Line::V37]),
            move |dir| read_beside_server(line, dir),
        );
    }
}

fn read_beside_server(line: Line, dir: &Path) -> Result<()> {
    let data_dir = dir.join("live");
    let member = Member::start(Spec::single(line, &data_dir, &free_url()?))?;
    for n in 0..50 {
        let body = json!({"key": key(format!("k{n}").as_bytes()), "value": key(b"v")});
        member.gateway().call("kv/put", &body)?;
    }
    member.wait_until_idle(&member.gateway())?;
    let start = Instant::now();
    for command in LOOKING {
        ours::succeed(&ours::words(&[command], &data_dir, &[ours::NO_WAL]))?;
    }
    // etcdutl would wait for the server's lock for ever; five seconds are ample for us.
    ensure!(start.elapsed() < Duration::from_secs(5), "waited {:?}", start.elapsed());
    let copy = copy_to(&data_dir.join("member/snap/db"), dir, "copy.db")?;
    let (own, peer) = (ours::status(&data_dir, &[ours::NO_WAL])?, peers::status(Line::V37, &copy)?);
    ensure!(own.hash == peer.hash && own.revision == peer.revision, "{own:?} {peer:?}");
    member.gateway().call("kv/put", &json!({"key": key(b"still"), "value": key(b"alive")}))?;
    Ok(())
}
