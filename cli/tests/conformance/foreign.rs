//! Files that are not quite what they seem, with bbolt and etcdutl as the judges: meta pages whose headers no commit
//! wrote, bytes behind a digest, another program's buckets.

use std::{
    fs::{self, File},
    path::{Path, PathBuf},
    process::Command,
};

use anyhow::{Context, Result, ensure};

use crate::boot::{self, Expected};
use crate::dataset::{copy_to, loaded};
use crate::ours;
use crate::peers::{self, Line, Needs};
use crate::restore_flags::RestoreFlags;
use crate::run::run;
use crate::server::free_url;
use crate::suite::Suite;

/// Lines whose `snapshot status` runs bbolt's check first.
const CHECKING: [Line; 3] = [Line::V35, Line::V36, Line::V37];

/// A name, what is done to a page, and whether bbolt's check stops at it.
type Change = (&'static str, fn(&mut [u8]), bool);

/// What is done to one of the two meta pages, and whether bbolt's check stops at it.
const META_PAGES: [Change; 8] = [
    ("another id", |page| page[0] ^= 7, true),
    ("no flags", |page| page[8] = 0, true),
    ("two flags", |page| page[8] |= 1, true),
    ("a leaf's flags", |page| page[8] = 2, false),
    ("zeros", |page| page.fill(0), true),
    ("noise", |page| page.fill(0xa5), true),
    ("a wrong checksum", |page| page[16 + 56] ^= 1, false),
    ("a count", |page| page[10] = 7, false),
];

pub fn trials(suite: &mut Suite) {
    suite.add(
        "foreign::meta_page_headers_are_judged_as_bbolt_and_etcdutl_do",
        Needs::lines(&Line::ALL).and_bbolt(),
        meta_headers,
    );
    suite.add(
        "foreign::servers_start_on_any_meta_page_header_and_mend_it",
        Needs::lines(&CHECKING).and_bbolt(),
        servers_mend_headers,
    );
    suite.add(
        "foreign::of_padding_behind_a_digest_etcdutl_knows_nothing",
        Needs::lines(&Line::ALL),
        padding,
    );
    suite.add(
        "foreign::another_programs_files_are_sound_for_bbolt_and_for_us",
        Needs::default().and_bbolt(),
        another_programs,
    );
}

/// The meta pages of a snapshot, changed in all ways and signed anew.
fn meta_headers(dir: &Path) -> Result<()> {
    let sound = fs::read(&loaded(Line::V36)?.snapshot)?;
    let database = sound.len() - 32;
    for slot in [0, 1] {
        for (name, change, stops) in META_PAGES {
            let mut bytes = sound[..database].to_vec();
            change(&mut bytes[slot * 4096..(slot + 1) * 4096]);
            bytes.extend(etcdsnap_engine::snapshot::Digest::of(&bytes).0);
            let path = dir.join("changed.db");
            fs::write(&path, &bytes)?;
            let label = format!("meta page {slot}: {name}");
            let bbolt = peers::bbolt_check(&path);
            ensure!(bbolt.is_err() == stops, "{label}: {bbolt:?}");
            for line in CHECKING {
                let status = peers::status(line, &path);
                ensure!(status.is_err() == stops, "{label}: {line}: {status:?}");
            }
            peers::status(Line::V34, &path).with_context(|| label.clone())?;
            let (ran, verified) = ours::verify(&path, &[])?;
            let torn = matches!(name, "zeros" | "noise" | "a wrong checksum");
            let page = verified.findings.iter().find(|found| found.place == format!("page {slot}"));
            match page {
                None => ensure!(name == "a count", "{label}: {ran}"),
                Some(found) if torn => {
                    ensure!(found.severity == "warning" && verified.sound, "{label}: {ran}");
                    ensure!(found.message.contains("bbolt check") == stops, "{label}: {ran}");
                }
                Some(found) => {
                    ensure!(found.severity == "damage" && !verified.sound, "{label}: {ran}");
                }
            }
            if let (Err(bbolt), false) = (bbolt, torn) {
                let theirs = format!("{bbolt:#}");
                let said = page.map(|found| found.message.clone()).unwrap_or_default();
                ensure!(theirs.contains(&said), "{label}: {said:?}, bbolt {theirs}");
            }
        }
    }
    Ok(())
}

fn servers_mend_headers(dir: &Path) -> Result<()> {
    for line in CHECKING {
        let set = loaded(line)?;
        let flags = RestoreFlags::single(dir.join(line.tag()), &free_url()?);
        let ran = peers::restore(line, &set.snapshot, &flags)?;
        ensure!(ran.code == Some(0), "{ran}");
        let db = flags.data_dir.join("member/snap/db");
        let mut bytes = fs::read(&db)?;
        bytes[0] = 7;
        bytes[4096 + 8] = 0;
        fs::write(&db, &bytes)?;
        ensure!(peers::bbolt_check(&db).is_err(), "{line}: bbolt takes any header");
        boot::single_member_serves(line, &flags, &Expected::from(&*set))?;
        peers::bbolt_check(&db).with_context(|| format!("{line} did not mend the headers"))?;
    }
    Ok(())
}

/// etcdutl takes the last 32 bytes for the digest, by the file's length; we find it where it is.
fn padding(dir: &Path) -> Result<()> {
    let set = loaded(Line::V36)?;
    let sound = fs::read(&set.snapshot)?;
    for len in [480, 512, 4064, 100_000] {
        let path = dir.join(format!("padded-{len}.db"));
        fs::write(&path, [&sound[..], &vec![0; len]].concat())?;
        for line in Line::ALL {
            peers::status(line, &path)?;
            let flags =
                RestoreFlags::single(dir.join(format!("{}-{len}", line.tag())), &free_url()?);
            let ran = peers::restore(line, &path, &flags)?;
            ensure!(ran.code != Some(0), "{line} restores {len} bytes behind the digest: {ran}");
        }
        let (ran, verified) = ours::verify(&path, &[])?;
        ensure!(verified.sound, "{ran}");
        let note = verified.findings.iter().find(|found| found.code == "behind-digest");
        let note = note.with_context(|| format!("{ran}"))?;
        ensure!(note.message.starts_with(&format!("{len} bytes follow the digest")), "{ran}");
        // What is saved of it is the snapshot again, which every line restores.
        let saved = dir.join(format!("saved-{len}.db"));
        let ran = ours::etcdsnap(&[
            "save".as_ref(),
            "--data-dir".as_ref(),
            path.as_os_str(),
            saved.as_os_str(),
        ])?;
        ensure!(ran.code == Some(0), "{ran}");
        ensure!(fs::read(&saved)? == sound, "{len}: another snapshot than before");
    }
    Ok(())
}

fn another_programs(dir: &Path) -> Result<()> {
    for (case, file) in [
        ("plain-bbolt", "raft.db"),
        ("influx-like", "influx-like.db"),
        ("deep-buckets", "deep.db"),
        ("page-size-512", "ps512.db"),
    ] {
        let path = unpacked(case, file, dir)?;
        peers::bbolt_check(&path)?;
        let ran = ours::etcdsnap(&["check".as_ref(), path.as_os_str()])?;
        ensure!(ran.code == Some(0) && ran.stdout_text() == "OK\n", "{ran}");
        // bbolt names the top-level buckets, as we do.
        let copy = copy_to(&path, dir, "copy.db")?;
        let theirs = run(Command::new(peers::bbolt()?).arg("buckets").arg(&copy))?;
        let own = ours::etcdsnap(&["buckets".as_ref(), path.as_os_str()])?;
        ensure!(own.code == Some(0) && own.stdout == theirs.stdout, "{own}\n{theirs}");
        let ran = ours::etcdsnap(&["verify".as_ref(), path.as_os_str()])?;
        ensure!(ran.code == Some(2), "{ran}");
        ensure!(ran.stderr_text().contains("is a bbolt file, not etcd's"), "{ran}");
    }
    Ok(())
}

/// The file of a small input from `testdata/cases`.
fn unpacked(case: &str, file: &str, dir: &Path) -> Result<PathBuf> {
    let packed =
        Path::new(env!("CARGO_MANIFEST_DIR")).join(format!("../testdata/cases/{case}/{file}.zst"));
    let path = dir.join(file);
    let input = File::open(&packed).with_context(|| format!("opening {}", packed.display()))?;
    zstd::stream::copy_decode(input, File::create(&path)?)?;
    Ok(path)
}
