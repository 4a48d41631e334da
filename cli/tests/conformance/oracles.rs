//! The peers among themselves: if they disagreed, or a restore of their own did not boot, the
//! comparisons with them would prove nothing.

use anyhow::{Context, Result, ensure};

use crate::boot::{self, Expected};
use crate::dataset::{Dataset, loaded};
use crate::peers::{self, Line, Needs};
use crate::restore_flags::RestoreFlags;
use crate::server::free_url;
use crate::suite::Suite;

pub fn trials(suite: &mut Suite) {
    for line in Line::ALL {
        suite.add(
            format!("oracles::peers_agree_on_{}_data", line.tag()),
            Needs::lines(&Line::ALL).and_bbolt(),
            move |_| peers_agree(&*loaded(line)?),
        );
    }
    for (data, server) in [(Line::V35, Line::V35), (Line::V36, Line::V34), (Line::V37, Line::V37)] {
        suite.add(
            format!("oracles::etcdutl_restore_of_{}_data_boots_{}", data.tag(), server.tag()),
            Needs::lines(&[data, server]),
            move |dir| {
                let set = loaded(data)?;
                let flags = RestoreFlags::single(dir.join("restored"), &free_url()?);
                let ran = peers::restore(data, &set.snapshot, &flags)?;
                ensure!(ran.code == Some(0), "{ran}");
                boot::single_member_serves(server, &flags, &Expected::from(&*set))
            },
        );
    }
}

fn peers_agree(set: &Dataset) -> Result<()> {
    let newest = peers::status(Line::V37, &set.snapshot)?;
    ensure!(newest.revision == set.content.revision, "{newest:?}");
    for line in [Line::V34, Line::V35, Line::V36] {
        let other = peers::status(line, &set.snapshot)?;
        ensure!(other.hash == newest.hash, "{line} {other:?}, 3.7 {newest:?}");
        ensure!(other.revision == newest.revision, "{line} {other:?}, 3.7 {newest:?}");
    }
    peers::bbolt_check(&set.snapshot)?;
    ensure!(set.hashes.len() >= 4, "too few revisions to compare: {:?}", set.hashes);
    ensure!(set.latest().compact_revision > 0, "never compacted: {:?}", set.latest());
    for live in &set.hashes {
        let offline = peers::hashkv(&set.snapshot, live.hash_revision)
            .with_context(|| format!("{live:?}"))?;
        ensure!(offline == *live, "live {live:?}, etcdutl {offline:?}");
    }
    Ok(())
}
