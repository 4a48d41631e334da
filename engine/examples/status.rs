//! Status, HashKV and verification of snapshots and db files: `cargo run --example status FILE…`.

use etcdsnap_engine::{
    limits::Limits,
    mvcc::{KeySpace, hash_kv},
    progress::Silent,
    schema::Store,
    snapshot::{Image, status, verify},
};

fn main() -> Result<(), Box<dyn std::error::Error>> {
    for path in std::env::args().skip(1) {
        let bytes = std::fs::read(&path)?;
        let image = Image::split(&bytes);
        let db = image.db(Limits::default())?;
        let space = KeySpace::open(&Store::new(db))?;
        println!("{path}: {:?}\n  {:?}", status(&db, &Silent)?, hash_kv(&space, None, &Silent)?);
        let verification = verify(&image, Limits::default(), &Silent)?;
        println!("  sound: {}", verification.is_sound());
        for finding in verification.findings {
            println!("  {} {}: {}", finding.severity, finding.place, finding.message);
        }
    }
    Ok(())
}
