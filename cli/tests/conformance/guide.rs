//! The guide of README.md, walked: its commands in its order, with TLS, on real servers that died under load.
//!
//! The danger guarded against: at three in the morning somebody pastes a command that is missing, wrong, or
//! no longer what the program takes. `estate.rs` says what stands in for machines, paths, hosts and tools; a command
//! that it does not know fails by name.

use std::collections::BTreeSet;
use std::ffi::OsStr;
use std::fs;
use std::path::Path;
use std::time::Duration;

use anyhow::{Context, Result, bail, ensure};
use fastrand::Rng;

use crate::authority;
use crate::clients::while_writing;
use crate::dataset::seed;
use crate::estate::{Estate, known};
use crate::handbook::{Handbook, NIGHT};
use crate::ledger::Floor;
use crate::ours;
use crate::peers::{Line, Needs};
use crate::run::Ran;
use crate::suite::{Suite, flag, is_long};
use crate::walk::{LOST_ID, Walk, is_done};

const MAJORITY: &str = "A majority is intact";
const NO_MAJORITY: &str = "No majority is left";
const ONE_TO_THREE: &str = "From one restored member to three";
const BACKUP: &str = "A snapshot or the data dir?";
const SALVAGE: &str = "When the db is damaged";

pub fn trials(suite: &mut Suite) {
    suite.add("guide::every_command_is_known", Needs::default(), |_| {
        Handbook::read()?.commands().try_for_each(|(line, command)| {
            known(command).with_context(|| format!("README.md, the block in line {line}"))
        })
    });
    for line in Line::ALL {
        if !is_long() && !matches!(line, Line::V35 | Line::V36) {
            continue;
        }
        suite.add(format!("guide::walked_on_{}", line.tag()), Needs::lines(&[line]), move |dir| {
            match authority::missing() {
                Some(reason) if !flag("ETCDSNAP_REQUIRE_PEERS") => {
                    eprintln!("conformance: SKIPPED guide::walked_on_{}: {reason}", line.tag());
                    Ok(())
                }
                Some(reason) => Err(anyhow::anyhow!(reason)),
                None => walked(line, dir),
            }
        });
    }
}

/// A way through the guide, by what is left in the morning.
type Way = fn(&mut Walk<'_>) -> Result<()>;

const WAYS: [(&str, usize, Way); 6] = [
    ("a majority is intact", 3, majority),
    ("one of three is left", 3, no_majority),
    ("one of three is left, and one machine", 3, one_to_three),
    ("the only member has no db", 1, no_db),
    ("only a snapshot is left", 3, snapshot),
    ("the only db is damaged, and its log is gone", 1, salvaged),
];

/// Walks every way, and holds the guide to it: no block is left out by all of them.
fn walked(line: Line, dir: &Path) -> Result<()> {
    let handbook = Handbook::read()?;
    let mut rng = Rng::with_seed(seed().wrapping_mul(97).wrapping_add(line as u64));
    let mut walked = BTreeSet::new();
    for (number, (title, size, way)) in WAYS.into_iter().enumerate() {
        let place = dir.join(format!("way-{number}"));
        fs::create_dir(&place)?;
        let mut walk = Walk {
            handbook: &handbook,
            estate: Estate::new(line, size, &place, &mut rng)?,
            blocks: Vec::new(),
            walked: &mut walked,
            rng: rng.fork(),
        };
        way(&mut walk).with_context(|| title.to_owned())?;
        eprintln!("conformance: {line} walked the guide where {title}");
        drop(walk);
        fs::remove_dir_all(&place)?;
    }
    let all: BTreeSet<usize> = handbook.commands().map(|(line, _)| line).collect();
    let left: Vec<_> = all.difference(&walked).collect();
    ensure!(left.is_empty(), "nobody walks the blocks of README.md in the lines {left:?}");
    Ok(())
}

fn majority(walk: &mut Walk<'_>) -> Result<()> {
    let ledger = walk.power_cut()?;
    let member = walk.estate.nodes[2].data_dir().join("member");
    if walk.rng.bool() {
        walk.lose(2)?;
    } else {
        // A disk that gives zeros.
        fs::remove_dir_all(member.join("wal"))?;
        let db = member.join("snap/db");
        let mut bytes = fs::read(&db)?;
        bytes[..16384].fill(0);
        fs::write(&db, bytes)?;
    }
    let said = walk.opening()?;
    ensure!(said.stdout_text().contains("systemctl start etcd"), "{said}");
    walk.open(MAJORITY)?;
    walk.paste(&[0, 1], "mv /root/manifests/etcd.yaml")?;
    let commands = walk.read("etcdctl endpoint health --cluster")?;
    let [health, list] = &commands[..] else { bail!("{commands:#?}") };
    let healthy =
        |ran: &Ran| (ran.stdout_text() + &ran.stderr_text()).matches("is healthy").count() == 2;
    walk.estate.until(0, health, healthy)?;
    let listed = walk.estate.until(0, list, is_done)?;
    let said = listed.stdout_text();
    let lost = said.lines().find(|line| line.contains(", cp3, "));
    let (id, _) = lost.and_then(|line| line.split_once(',')).with_context(|| said.clone())?;
    walk.estate.examples.insert(LOST_ID.into(), id.into());
    walk.replace(2)?;
    walk.look(|keys| ledger.check(Floor::Everything, keys))
}

/// Steps 1 and 2 of the section.
fn saved(walk: &mut Walk<'_>) -> Result<()> {
    walk.open(NO_MAJORITY)?;
    let save = walk.read("etcdsnap save --data-dir")?.concat();
    let ran = walk.estate.done(0, &save)?;
    ensure!(ran.stdout_text().contains("sha256: "), "{ran}");
    walk.skip("etcdsnap verify")?;
    moved_away(walk)
}

fn moved_away(walk: &mut Walk<'_>) -> Result<()> {
    let away = walk.read("mv /var/lib/etcd ")?.concat();
    for n in walk.nodes() {
        if walk.estate.nodes[n].data_dir().exists() {
            walk.estate.done(n, &away)?;
        }
    }
    Ok(())
}

/// Steps 3 and 4, of all members.
fn restored(walk: &mut Walk<'_>) -> Result<()> {
    walk.paste(&[0], "etcdsnap restore")?;
    walk.paste(&walk.nodes(), "mv /root/manifests/etcd.yaml")
}

fn no_majority(walk: &mut Walk<'_>) -> Result<()> {
    let ledger = walk.power_cut()?;
    let view = walk.view(0)?;
    walk.lose(1)?;
    fs::remove_file(walk.estate.nodes[2].data_dir().join("member/snap/db"))?;
    fs::remove_dir_all(walk.estate.nodes[2].data_dir().join("member/wal"))?;
    walk.opening()?;
    saved(walk)?;
    restored(walk)?;
    walk.look(|keys| ledger.check(Floor::HeldBy(&[&view]), keys))
}

/// A cluster of one member, and then the others.
fn one_restored(walk: &mut Walk<'_>) -> Result<()> {
    walk.skip("etcdsnap restore")?;
    walk.skip("mv /root/manifests/etcd.yaml")?;
    walk.open(ONE_TO_THREE)?;
    walk.paste(&[0], "etcdsnap restore")?;
    for n in walk.nodes().into_iter().skip(1) {
        walk.open(MAJORITY)?;
        walk.skip("mv /root/manifests/etcd.yaml")?;
        walk.skip("etcdctl endpoint health --cluster")?;
        walk.replace(n)?;
    }
    Ok(())
}

fn one_to_three(walk: &mut Walk<'_>) -> Result<()> {
    let ledger = walk.power_cut()?;
    let view = walk.view(0)?;
    walk.lose(1)?;
    walk.lose(2)?;
    walk.opening()?;
    saved(walk)?;
    one_restored(walk)?;
    walk.look(|keys| ledger.check(Floor::HeldBy(&[&view]), keys))
}

fn no_db(walk: &mut Walk<'_>) -> Result<()> {
    let ledger = walk.power_cut()?;
    fs::remove_file(walk.estate.nodes[0].data_dir().join("member/snap/db"))?;
    let said = walk.opening()?;
    ensure!(said.stdout_text().contains(": RECOVERABLE\n"), "{said}");
    saved(walk)?;
    one_restored(walk)?;
    walk.look(|keys| ledger.check(Floor::Everything, keys))
}

fn snapshot(walk: &mut Walk<'_>) -> Result<()> {
    walk.boot()?;
    let (doors, seed) = (walk.doors(), walk.rng.u64(..));
    let ledger = while_writing(doors, seed, |crowd| crowd.wait_for(150))?;
    walk.open(NIGHT)?;
    let exports = walk.blocks.iter().position(|block| block.commands[0].starts_with("export "));
    let exports = walk.blocks.get(exports.context("no export")?).cloned().context("no export")?;
    for command in &exports.commands {
        walk.estate.done(0, command)?;
    }
    fs::create_dir_all(walk.estate.nodes[0].root.join("backup"))?;
    let night = std::mem::take(&mut walk.blocks);
    walk.open(BACKUP)?;
    walk.paste(&[0], "etcdctl snapshot save")?;
    walk.blocks = night;
    // It still runs, and its data dirs are lost while it is stopped.
    walk.stop()?;
    std::thread::sleep(Duration::from_millis(50));
    walk.nodes().into_iter().try_for_each(|n| walk.lose(n))?;
    for start in ["mkdir -p /backup", "etcdsnap doctor", "export "] {
        walk.skip(start)?;
    }
    walk.open(NO_MAJORITY)?;
    walk.skip("etcdsnap save")?;
    walk.paste(&[0], "etcdsnap verify")?;
    moved_away(walk)?;
    restored(walk)?;
    walk.look(|keys| ledger.check(Floor::Everything, keys))
}

fn salvaged(walk: &mut Walk<'_>) -> Result<()> {
    let ledger = walk.power_cut()?;
    let member = walk.estate.nodes[0].data_dir().join("member");
    fs::remove_dir_all(member.join("wal"))?;
    let db = member.join("snap/db");
    break_page(&db, &mut walk.rng)?;
    let said = walk.opening()?;
    ensure!(said.stdout_text().contains(": SALVAGE-ONLY"), "{said}");
    walk.open(SALVAGE)?;
    for command in walk.read("etcdsnap salvage")? {
        let ran = walk.estate.run(0, &command)?;
        ensure!(matches!(ran.code, Some(0 | 1)), "{ran}");
    }
    walk.open(NO_MAJORITY)?;
    walk.skip("etcdsnap save")?;
    walk.skip("etcdsnap verify")?;
    moved_away(walk)?;
    one_restored(walk)?;
    walk.look(|keys| {
        ensure!(!keys.is_empty(), "nothing is saved: {}", ledger.line());
        Ok(())
    })
}

/// Overwrites a page that the tree needs.
fn break_page(db: &Path, rng: &mut Rng) -> Result<()> {
    const PAGE: usize = 4096;
    let whole = fs::read(db)?;
    let mut pages: Vec<usize> = (4..whole.len() / PAGE).collect();
    rng.shuffle(&mut pages);
    for page in pages {
        let mut bytes = whole.clone();
        bytes[page * PAGE..(page + 1) * PAGE].fill(0x5a);
        fs::write(db, bytes)?;
        if ours::etcdsnap(&[OsStr::new("check"), db.as_os_str()])?.code == Some(1) {
            return Ok(());
        }
    }
    bail!("no page of {} is needed", db.display())
}
