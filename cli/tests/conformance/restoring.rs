//! `restore`: real servers boot from it and serve what the snapshot held.

use std::fs;
use std::path::Path;

use anyhow::{Context, Result, ensure};

use crate::boot::{self, Expected};
use crate::dataset::{Dataset, loaded, with_auth};
use crate::files::{contents, names};
use crate::ours;
use crate::peers::{self, Line, Needs};
use crate::restore_flags::RestoreFlags;
use crate::run::Ran;
use crate::server::free_url;
use crate::suite::{Suite, is_long};

pub fn trials(suite: &mut Suite) {
    for data in Line::ALL {
        for server in Line::ALL {
            // Its own version and every later one; 3.6 data also on older servers.
            if server < data && data != Line::V36 {
                continue;
            }
            let (from, on) = (data.tag(), server.tag());
            suite.add(
                format!("restoring::one_member_of_{from}_data_serves_everything_on_{on}"),
                Needs::lines(&[data, server]),
                move |dir| one_member(&*loaded(data)?, server, dir),
            );
            if is_long() || server == data || server == Line::V37 {
                suite.add(
                    format!("restoring::three_members_of_{from}_data_serve_everything_on_{on}"),
                    Needs::lines(&[data, server]),
                    move |dir| three_members(&*loaded(data)?, server, dir),
                );
            }
        }
        suite.add(
            format!("restoring::bbolt_and_etcdutl_accept_the_restored_db_of_{}_data", data.tag()),
            Needs::lines(&[data, Line::V35, Line::V36, Line::V37]).and_bbolt(),
            move |dir| peers_accept_db(&*loaded(data)?, dir),
        );
    }
    for line in [Line::V35, Line::V36, Line::V37] {
        suite.add(
            format!("restoring::ids_and_wal_equal_those_of_etcdutl_{}", line.tag()),
            Needs::lines(&[line]),
            move |dir| same_wal_as_peer(&*loaded(line)?, dir),
        );
    }
    suite.add("restoring::a_separate_wal_dir_works", Needs::lines(&[Line::V36]), |dir| {
        let set = loaded(Line::V36)?;
        let mut flags = RestoreFlags::single(dir.join("data"), &free_url()?);
        flags.wal_dir = Some(dir.join("wal"));
        done(ours::restore(&set.snapshot, &flags, &[])?)?;
        ensure!(!dir.join("data/member/wal").exists(), "a second WAL dir");
        boot::single_member_serves(Line::V36, &flags, &Expected::from(&*set))
    });
    suite.add(
        "restoring::users_log_in_when_authentication_was_on",
        Needs::lines(&[Line::V36]),
        |dir| {
            let set = with_auth()?;
            let flags = RestoreFlags::single(dir.join("data"), &free_url()?);
            let ran = done(ours::restore(&set.snapshot, &flags, &[])?)?;
            let said = ran.stdout_text() + &ran.stderr_text();
            ensure!(said.contains("auth"), "authentication is not reported: {ran}");
            boot::single_member_serves(Line::V36, &flags, &Expected::from(&*set))
        },
    );
    suite.add("restoring::what_we_saved_boots", Needs::lines(&[Line::V37]), |dir| {
        let set = loaded(Line::V37)?;
        let saved = dir.join("saved.db");
        done(ours::save(&set.data_dir, &saved, &[ours::NO_WAL])?)?;
        let flags = RestoreFlags::single(dir.join("data"), &free_url()?);
        done(ours::restore(&saved, &flags, &[])?)?;
        boot::single_member_serves(Line::V37, &flags, &Expected::from(&*set))
    });
    suite.add("restoring::a_full_directory_is_left_alone", Needs::lines(&[Line::V36]), |dir| {
        full_directory_is_left_alone(&*loaded(Line::V36)?, dir)
    });
    suite.add(
        "restoring::a_db_without_digest_needs_no_flag_but_says_so",
        Needs::lines(&[Line::V36]),
        {
            |dir| {
                let set = loaded(Line::V36)?;
                let flags = RestoreFlags::single(dir.join("data"), &free_url()?);
                let ran = done(ours::restore(&set.db(), &flags, &[])?)?;
                let said = (ran.stdout_text() + &ran.stderr_text()).to_lowercase();
                ensure!(said.contains("digest") || said.contains("trailer"), "not said: {ran}");
                boot::single_member_serves(Line::V36, &flags, &Expected::from(&*set))
            }
        },
    );
}

/// The restore must have succeeded.
pub fn done(ran: Ran) -> Result<Ran> {
    ensure!(ran.code == Some(0), "{ran}");
    Ok(ran)
}

fn one_member(set: &Dataset, server: Line, dir: &Path) -> Result<()> {
    let flags = RestoreFlags::single(dir.join("data"), &free_url()?);
    done(ours::restore(&set.snapshot, &flags, &[])?)?;
    boot::single_member_serves(server, &flags, &Expected::from(set))
}

fn three_members(set: &Dataset, server: Line, dir: &Path) -> Result<()> {
    let all = three(dir)?;
    for flags in &all {
        done(ours::restore(&set.snapshot, flags, &[])?)?;
    }
    boot::members_serve(server, &all, &Expected::from(set))
}

/// The flags of three members of one cluster, by name.
pub fn three(dir: &Path) -> Result<Vec<RestoreFlags>> {
    let urls = [free_url()?, free_url()?, free_url()?];
    let cluster: Vec<String> =
        urls.iter().zip(1..).map(|(url, number)| format!("m{number}={url}")).collect();
    let one = |(url, number): (&String, usize)| RestoreFlags {
        name: format!("m{number}"),
        initial_cluster: cluster.join(","),
        ..RestoreFlags::single(dir.join(format!("data-{number}")), url)
    };
    Ok(urls.iter().zip(1..).map(one).collect())
}

fn peers_accept_db(set: &Dataset, dir: &Path) -> Result<()> {
    let flags = RestoreFlags::single(dir.join("data"), &free_url()?);
    done(ours::restore(&set.snapshot, &flags, &[])?)?;
    let db = flags.data_dir.join("member/snap/db");
    peers::bbolt_check(&db)?;
    for line in [Line::V35, Line::V36, Line::V37] {
        let status = peers::status(line, &db)?;
        ensure!(status.revision == set.content.revision, "{line}: {status:?}");
    }
    Ok(())
}

/// One member and three: the same files with the same modes, and the same WAL.
fn same_wal_as_peer(set: &Dataset, dir: &Path) -> Result<()> {
    fs::create_dir(dir.join("one"))?;
    let mut all = vec![RestoreFlags::single(dir.join("one/data"), &free_url()?)];
    all.extend(three(dir)?);
    for own in &all {
        done(ours::restore(&set.snapshot, own, &[])?)?;
        let peer = RestoreFlags { data_dir: own.data_dir.with_extension("peer"), ..own.clone() };
        let ran = peers::restore(set.line, &set.snapshot, &peer)?;
        ensure!(ran.code == Some(0), "{ran}");

        let listing = |root: &Path| -> Result<Vec<_>> {
            Ok(contents(root)?.into_iter().map(|(path, trace)| (path, trace.mode)).collect())
        };
        let (is, wanted) = (listing(&own.data_dir)?, listing(&peer.data_dir)?);
        ensure!(is == wanted, "paths and modes {is:?}, etcdutl's {wanted:?}");

        let segment = "member/wal/0000000000000000-0000000000000000.wal";
        let read = |root: &Path| fs::read(root.join(segment)).context("reading a WAL segment");
        let (is, wanted) = (read(&own.data_dir)?, read(&peer.data_dir)?);
        // The first record is 16 bytes long, the second carries the member and cluster ids
        // and takes less than 64. 3.7 leaves out zero fields in what follows.
        ensure!(
            is[..48] == wanted[..48],
            "ids {:02x?}, etcdutl's {:02x?}",
            &is[..80],
            &wanted[..80]
        );
        if set.line < Line::V37 {
            let differs = is.iter().zip(&wanted).position(|(is, wanted)| is != wanted);
            ensure!(is.len() == wanted.len(), "{} bytes, not {}", is.len(), wanted.len());
            ensure!(differs.is_none(), "the WAL differs from etcdutl's at {differs:?}");
        }
    }
    Ok(())
}

fn full_directory_is_left_alone(set: &Dataset, dir: &Path) -> Result<()> {
    fs::create_dir(dir.join("data"))?;
    fs::write(dir.join("data/precious"), "mine")?;
    let flags = RestoreFlags::single(dir.join("data"), &free_url()?);
    let ran = ours::restore(&set.snapshot, &flags, &[])?;
    ensure!(ran.code == Some(2), "{ran}");
    ensure!(names(&dir.join("data"))? == ["precious"], "{:?}", names(&dir.join("data"))?);
    ensure!(names(dir)? == ["data"], "remains: {:?}", names(dir)?);
    Ok(())
}
