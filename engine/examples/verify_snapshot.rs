//! Verifies snapshots and db files, as a backup job would; exits 1 when one is damaged.
//!
//! ```text
//! cargo run -p etcdsnap-engine --example verify_snapshot -- backups/*.db
//! ```

use std::{error::Error, path::Path, process::ExitCode};

use etcdsnap_engine::{
    limits::Limits,
    progress::Silent,
    snapshot::{Image, Verification, verify},
    source::{FaultGuard, Source},
};

fn main() -> Result<ExitCode, Box<dyn Error>> {
    let mut exit = ExitCode::SUCCESS;
    for path in std::env::args_os().skip(1) {
        let verification = verified(Path::new(&path))?;
        let verdict = if verification.is_sound() { "sound" } else { "DAMAGED" };
        println!("{}: {verdict}", path.display());
        for finding in &verification.findings {
            println!("  {}: {}: {}", finding.severity, finding.place, finding.message);
        }
        if !verification.is_sound() {
            exit = ExitCode::FAILURE;
        }
    }
    Ok(exit)
}

/// Work runs in the current rayon pool: install one of your own to bound the threads.
fn verified(path: &Path) -> Result<Verification, Box<dyn Error>> {
    // A map with a guard: a failing disk or a file cut short is an error of `check`, not a signal.
    let source = Source::map(path, FaultGuard::install()?)?;
    let verification = verify(&Image::split(source.bytes()), Limits::default(), &Silent)?;
    source.check()?;
    Ok(verification)
}
