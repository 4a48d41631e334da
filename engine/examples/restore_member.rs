//! Restores a snapshot as the only member of a new cluster.
//!
//! ```text
//! cargo run -p etcdsnap-engine --example restore_member -- backup.db new-data-dir
//! ```
//!
//! The engine leaves two duties to its caller: to verify what is restored, and to say afterwards
//! whether the input held still; both are done here.

use std::{error::Error, path::PathBuf};

use etcdsnap_engine::{
    limits::Limits,
    progress::Silent,
    restore::{Contents, Options, Plan, Prepared, Target, warnings},
    schema::Store,
    snapshot::{Image, Trailer, verify},
    source::Source,
};

fn main() -> Result<(), Box<dyn Error>> {
    let mut args = std::env::args_os().skip(1).map(PathBuf::from);
    let (Some(snapshot), Some(data_dir)) = (args.next(), args.next()) else {
        return Err("usage: restore_member SNAPSHOT DATA-DIR".into());
    };

    // All that flags can get wrong is found before the input is read.
    let plan = Plan::new(&Options {
        initial_cluster: "m1=http://localhost:2380".to_owned(),
        // A token of its own keeps the new cluster apart from members of the old one.
        initial_cluster_token: "restored-1".to_owned(),
        target: Target::One {
            name: "m1".to_owned(),
            initial_advertise_peer_urls: "http://localhost:2380".to_owned(),
            data_dir,
            wal_dir: None,
        },
        contents: Contents::default(),
        bump_revision: 0,
        mark_compacted: false,
        owner: None,
    })?;

    let source = Source::read(&snapshot)?;
    let image = Image::split(source.bytes());
    let Trailer::Present(_) = image.trailer() else {
        return Err("no digest: nothing covers the values of this file".into());
    };
    let verification = verify(&image, Limits::default(), &Silent)?;
    if !verification.is_sound() {
        return Err(format!("damaged: {} findings", verification.findings.len()).into());
    }

    let db = image.db(Limits::default())?;
    let prepared = Prepared::new(&plan, &db, &Silent)?;
    let written = prepared.write(&Silent)?;
    source.check()?;
    let outcome = written.publish(&Silent)?;
    for finding in warnings(&Store::new(db), &plan, &outcome, None)? {
        eprintln!("{}: {}", finding.severity, finding.message);
    }
    for one in &plan.members {
        println!(
            "member {} of cluster {} at revision {} in {}",
            one.member.id,
            plan.cluster.id,
            outcome.revision,
            one.data_dir.display()
        );
    }
    Ok(())
}
