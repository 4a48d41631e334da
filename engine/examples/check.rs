//! Checks the page tree of bbolt files: `cargo run -p etcdsnap-engine --example check FILE…`.

use etcdsnap_engine::{
    bolt::{Db, check},
    limits::Limits,
    progress::Silent,
};

fn main() -> Result<(), Box<dyn std::error::Error>> {
    for path in std::env::args().skip(1) {
        let bytes = std::fs::read(&path)?;
        let db = Db::from_bytes(&bytes, Limits::default())?;
        let findings = check::check(&db, &Silent)?;
        println!("{path}: {}, {} findings", db.meta(), findings.len());
        for finding in findings {
            println!("  {}: {}", finding.place, finding.message);
        }
    }
    Ok(())
}
