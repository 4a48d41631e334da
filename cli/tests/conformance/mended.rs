//! Members whose db lost a promotion: refused by etcd 3.6 as they are, and started once they are mended.

use std::path::Path;
use std::time::Duration;

use anyhow::{Context, Result, ensure};

use crate::files::copy_tree;
use crate::ours;
use crate::peers::{Line, Needs};
use crate::server::{Member, Spec, free_url};
use crate::suite::Suite;

pub fn trials(suite: &mut Suite) {
    suite.add(
        "mended::etcd_3_6_starts_on_members_whose_promotion_was_lost",
        Needs::lines(&[Line::V36]),
        lost_promotion,
    );
}

fn lost_promotion(dir: &Path) -> Result<()> {
    let archive = Path::new(env!("CARGO_MANIFEST_DIR"))
        .join("../testdata/cases/learner-promotion-3515/learner-promotion-3515.tar.zst");
    let archive = zstd::Decoder::new(std::fs::File::open(archive)?)?;
    tar::Archive::new(archive).unpack(dir)?;
    let (data, mended) = (dir.join("n1"), dir.join("mended"));
    let refused = dir.join("refused");
    copy_tree(&data, &refused)?;
    let start = |data_dir: &Path| -> Result<Member> {
        Member::spawn(Spec { name: "n1".into(), ..Spec::single(Line::V36, data_dir, &free_url()?) })
    };
    let mut member = start(&refused)?;
    std::thread::sleep(Duration::from_secs(4));
    ensure!(member.has_ended()?, "etcd 3.6 starts on what it refused");
    let words =
        ["repair-membership", data.to_str().context("a path")?, mended.to_str().context("a path")?];
    let ran = ours::etcdsnap(&words)?;
    ensure!(ran.code == Some(0), "{ran}");
    let mut member = start(&mended)?;
    std::thread::sleep(Duration::from_secs(4));
    // Alone it waits for the others.
    ensure!(!member.has_ended()?, "etcd 3.6 refuses the mended dir");
    Ok(())
}
