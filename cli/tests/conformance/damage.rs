//! Damaged snapshots: found, named, and never taken for sound.

use std::fs;
use std::path::Path;

use anyhow::{Context, Result, ensure};
use etcdsnap_engine::bolt::Db;
use etcdsnap_engine::limits::Limits;
use fastrand::Rng;

use crate::dataset::{copy_to, loaded, seed, small};
use crate::files::names;
use crate::ours;
use crate::peers::{self, Line, Needs};
use crate::restore_flags::RestoreFlags;
use crate::server::free_url;
use crate::suite::{Suite, is_long};

/// The length of the SHA-256 behind the db.
const TRAILER: usize = 32;

pub fn trials(suite: &mut Suite) {
    let needs = || Needs::lines(&[Line::V36]);
    suite.add("damage::every_flipped_byte_of_a_small_snapshot_is_found", needs(), |dir| {
        let bytes = fs::read(&small()?.snapshot)?;
        let places: Vec<usize> = if is_long() {
            (0..bytes.len()).collect()
        } else {
            let mut rng = Rng::with_seed(seed());
            let mut places: Vec<usize> = (0..230).map(|_| rng.usize(..bytes.len())).collect();
            // Both metas and the trailer, where few random places fall.
            places.extend((0..80).step_by(3).chain((4096..4176).step_by(3)));
            places.extend(bytes.len() - TRAILER..bytes.len());
            places
        };
        flips_are_found(bytes, &places, dir)
    });
    for line in Line::ALL {
        suite.add(
            format!("damage::flipped_bytes_of_a_{}_snapshot_are_found", line.tag()),
            Needs::lines(&[line]),
            move |dir| {
                let bytes = fs::read(&loaded(line)?.snapshot)?;
                let mut rng = Rng::with_seed(seed() ^ 0xf11b);
                let places: Vec<usize> = (0..40).map(|_| rng.usize(..bytes.len())).collect();
                flips_are_found(bytes, &places, dir)
            },
        );
    }
    suite.add("damage::a_sound_snapshot_is_called_sound", Needs::lines(&Line::ALL), |_| {
        for line in Line::ALL {
            let (ran, verified) = ours::verify(&loaded(line)?.snapshot, &[])?;
            ensure!(ran.code == Some(0) && verified.sound, "{ran}");
            ensure!(!verified.checks.is_empty(), "no checks listed: {ran}");
            let bad = verified.findings.iter().find(|finding| finding.severity == "damage");
            ensure!(bad.is_none(), "{bad:?}: {ran}");
        }
        Ok(())
    });
    suite.add("damage::truncations_are_told_at_every_length", needs(), truncations_are_told);
    suite.add(
        "damage::without_its_trailer_a_snapshot_is_sound_and_said_to_lack_it",
        needs(),
        cut_at_the_trailer,
    );
    suite.add(
        "damage::a_flipped_value_that_peers_call_fine_is_called_damaged",
        Needs::lines(&[Line::V36, Line::V37]).and_bbolt(),
        flipped_value,
    );
    suite.add("damage::a_broken_page_is_named", needs(), broken_pages_are_named);
    suite.add("damage::of_a_bare_db_it_is_said_that_values_are_not_covered", needs(), |_| {
        let (ran, verified) = ours::verify(&loaded(Line::V36)?.db(), &[])?;
        ensure!(ran.code == Some(0) && verified.sound, "{ran}");
        let note = verified.findings.iter().find(|one| one.message.contains("a changed value"));
        let note = note.with_context(|| format!("not said: {ran}"))?;
        ensure!(note.severity == "note", "{note:?}");
        Ok(())
    });
    suite.add("damage::a_damaged_snapshot_is_not_restored", needs(), damaged_is_not_restored);
}

/// Flips one byte at a time; `verify` must answer 1 and say what it found.
fn flips_are_found(mut bytes: Vec<u8>, places: &[usize], dir: &Path) -> Result<()> {
    let mut rng = Rng::with_seed(seed() ^ 0x00da_3a9e);
    let path = dir.join("flipped.db");
    for &place in places {
        let mask = rng.u8(1..);
        bytes[place] ^= mask;
        fs::write(&path, &bytes)?;
        let flip = || format!("byte {place} flipped by {mask:#04x}");
        let (ran, verified) = ours::verify(&path, &[]).with_context(flip)?;
        ensure!(ran.code == Some(1) && !verified.sound, "{}: {ran}", flip());
        let found = verified.findings.iter().any(|finding| {
            finding.severity == "damage" && !finding.message.is_empty() && !finding.code.is_empty()
        });
        let failed = verified
            .checks
            .iter()
            .any(|check| !check.sound && !check.name.is_empty() && !check.detail.is_empty());
        ensure!(found && failed, "{}: nothing is named: {ran}", flip());
        bytes[place] ^= mask;
    }
    Ok(())
}

/// Every command on a cut file ends in an orderly way; `verify` never calls it sound.
fn truncations_are_told(dir: &Path) -> Result<()> {
    let bytes = fs::read(&small()?.snapshot)?;
    let db_len = bytes.len() - TRAILER;
    let mut lengths = vec![0, 1, 15, 16, 31, 32, 33, 79, 80, 511, 512, 544, 1024, 4095, 4096, 4128];
    lengths.extend([8191, 8192, 8224, 12_288, db_len - 4096, db_len - 512, db_len - 1]);
    lengths.extend([db_len + 1, db_len + 16, bytes.len() - 1]);
    let mut rng = Rng::with_seed(seed() ^ 0x7c7);
    lengths.extend((0..if is_long() { 500 } else { 30 }).map(|_| rng.usize(..db_len)));
    let path = dir.join("cut.db");
    for len in lengths {
        fs::write(&path, &bytes[..len])?;
        let cut = || format!("cut at {len} of {}", bytes.len());
        let ran = ours::etcdsnap(&ours::words(&["verify"], &path, &[])).with_context(cut)?;
        ensure!(ran.code != Some(0), "{}: {ran}", cut());
        for command in ["status", "hashkv", "check", "info", "members"] {
            let ran = ours::etcdsnap(&ours::words(&[command], &path, &[])).with_context(cut)?;
            // Inside the trailer the db is whole.
            let whole = len >= db_len || matches!(command, "info" | "members");
            ensure!(whole || ran.code != Some(0), "{}: {ran}", cut());
        }
        let flags = RestoreFlags::single(dir.join("data"), "http://127.0.0.1:2380");
        let ran = ours::restore(&path, &flags, &[]).with_context(cut)?;
        ensure!(ran.code != Some(0), "{}: {ran}", cut());
        ensure!(names(dir)? == ["cut.db"], "{}: remains {:?}", cut(), names(dir)?);
    }
    Ok(())
}

fn cut_at_the_trailer(dir: &Path) -> Result<()> {
    let bytes = fs::read(&loaded(Line::V36)?.snapshot)?;
    let path = dir.join("cut.db");
    fs::write(&path, &bytes[..bytes.len() - TRAILER])?;
    let ran = ours::etcdsnap(&ours::words(&["verify"], &path, &[]))?;
    ensure!(ran.code == Some(0), "{ran}");
    let said = (ran.stdout_text() + &ran.stderr_text()).to_lowercase();
    ensure!(said.contains("no digest"), "the missing digest is not named: {ran}");
    Ok(())
}

/// The damage no peer sees: a bit of a value, with the structure around it intact.
fn flipped_value(dir: &Path) -> Result<()> {
    let set = small()?;
    let good = peers::status(Line::V37, &set.snapshot)?;
    let mut bytes = fs::read(&set.snapshot)?;
    let path = dir.join("flipped.db");
    // The value of key-3. Older pages may hold it too; the one in use changes the hash.
    let value = [3u8; 9];
    let places: Vec<usize> =
        (0..bytes.len() - 9).filter(|at| bytes[*at..*at + 9] == value).collect();
    for place in places {
        bytes[place + 4] ^= 0x10;
        fs::write(&path, &bytes)?;
        let status = peers::status(Line::V37, &path)?;
        if status.hash != good.hash {
            peers::bbolt_check(&path)?;
            let (ran, verified) = ours::verify(&path, &[])?;
            ensure!(ran.code == Some(1) && !verified.sound, "{ran}");
            let damage: Vec<_> =
                verified.findings.iter().filter(|one| one.severity == "damage").collect();
            // All that can be known: the digest differs, and no structure says where.
            ensure!(damage.len() == 1 && damage[0].code == "digest", "{damage:?}");
            let said = &damage[0].message;
            ensure!(said.contains("digest differs, structure sound"), "{said}");
            return Ok(());
        }
        bytes[place + 4] ^= 0x10;
    }
    anyhow::bail!("the value is not in the snapshot")
}

/// Where structure can tell the place, it does: metas and the headers of pages in use.
fn broken_pages_are_named(dir: &Path) -> Result<()> {
    let mut bytes = fs::read(&loaded(Line::V36)?.snapshot)?;
    let mut places = vec![(0, 40), (0, 70), (1, 4096 + 40), (1, 4096 + 70)];
    let db = Db::from_bytes(&bytes, Limits::default())?;
    let keys = db.root().bucket(b"key")?.context("no bucket of keys")?;
    let leaves = keys.leaves().map(|leaf| Ok(leaf?.page().0)).collect::<Result<Vec<_>>>()?;
    let mut rng = Rng::with_seed(seed() ^ 0x1ead);
    for page in rng.choose_multiple(leaves, 12) {
        // The id and the flags in the page's header.
        let offset = usize::try_from(page)? * 4096;
        places.extend([(page, offset + rng.usize(0..8)), (page, offset + 8)]);
    }
    let path = dir.join("broken.db");
    for (page, place) in places {
        bytes[place] ^= 0x20;
        fs::write(&path, &bytes)?;
        let (ran, verified) = ours::verify(&path, &[])?;
        ensure!(ran.code == Some(1), "{ran}");
        let named = format!("page {page}");
        let found = verified.findings.iter().any(|one| {
            // "page 1" is not "page 10".
            let words = format!("{} {} ", one.place, one.message);
            words.split(&named).skip(1).any(|rest| !rest.starts_with(|c: char| c.is_ascii_digit()))
        });
        ensure!(found, "byte {place}: {named} is not named: {ran}");
        bytes[place] ^= 0x20;
    }
    Ok(())
}

fn damaged_is_not_restored(dir: &Path) -> Result<()> {
    let snapshot = copy_to(&loaded(Line::V36)?.snapshot, dir, "damaged.db")?;
    let mut bytes = fs::read(&snapshot)?;
    let middle = bytes.len() / 2;
    bytes[middle] ^= 1;
    fs::write(&snapshot, &bytes)?;
    let flags = RestoreFlags::single(dir.join("data"), &free_url()?);
    let ran = ours::restore(&snapshot, &flags, &[])?;
    ensure!(ran.code == Some(1), "{ran}");
    ensure!(names(dir)? == ["damaged.db"], "remains: {:?}", names(dir)?);
    Ok(())
}
