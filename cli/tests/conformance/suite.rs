//! How a test is run: ignored aloud without its peers, in a directory of its own, with the
//! servers' logs kept when it fails.

use std::panic::{AssertUnwindSafe, catch_unwind};
use std::path::{Path, PathBuf};

use anyhow::{Result, anyhow};
use libtest_mimic::{Failed, Trial};

use crate::fixtures;
use crate::peers::Needs;

/// Whether an environment variable is set to something but `0`.
pub fn flag(name: &str) -> bool {
    std::env::var(name).is_ok_and(|value| !value.is_empty() && value != "0")
}

/// The run that takes its time: every byte and every pair.
pub fn is_long() -> bool {
    flag("ETCDSNAP_LONG")
}

/// All tests of the binary.
#[derive(Default)]
pub struct Suite {
    trials: Vec<Trial>,
}

impl Suite {
    /// Adds a test; `body` gets an empty directory that is removed when it succeeds.
    pub fn add(
        &mut self,
        name: impl Into<String>,
        needs: Needs,
        body: impl FnOnce(&Path) -> Result<()> + Send + 'static,
    ) {
        let name = name.into();
        let mut missing: Vec<String> = needs.missing_peers().into_iter().collect();
        if needs.fixtures {
            missing.extend(fixtures::missing());
        }
        let trial = if missing.is_empty() {
            let title = name.clone();
            Trial::test(name, move || run(&title, body))
        } else {
            let reason = missing.join("; ");
            let required = flag("ETCDSNAP_REQUIRE_PEERS");
            if !required {
                eprintln!("conformance: SKIPPED {name}: {reason}");
            }
            Trial::test(name, move || Err(Failed::from(reason))).with_ignored_flag(!required)
        };
        self.trials.push(trial);
    }

    pub fn into_trials(self) -> Vec<Trial> {
        self.trials
    }
}

fn run(title: &str, body: impl FnOnce(&Path) -> Result<()>) -> Result<(), Failed> {
    let dir = tempfile::Builder::new().prefix("etcdsnap-test-").tempdir()?;
    let outcome = catch_unwind(AssertUnwindSafe(|| body(dir.path()))).unwrap_or_else(|panic| {
        let text = panic.downcast_ref::<String>().cloned();
        let text = text.or_else(|| panic.downcast_ref::<&str>().map(|text| (*text).to_owned()));
        Err(anyhow!("{}", text.unwrap_or_else(|| "panicked".to_owned())))
    });
    outcome.map_err(|error| {
        let kept = if flag("ETCDSNAP_KEEP") { dir.keep() } else { keep_logs(title, dir.path()) };
        Failed::from(format!(
            "{error:#}\nETCDSNAP_SEED={}; kept: {}",
            crate::dataset::seed(),
            kept.display()
        ))
    })
}

/// Copies the servers' logs out of the directory that is about to go.
fn keep_logs(title: &str, dir: &Path) -> PathBuf {
    let to = Path::new(env!("CARGO_TARGET_TMPDIR")).join("conformance-logs").join(title);
    let copy = || -> Result<()> {
        std::fs::create_dir_all(&to)?;
        for name in crate::files::names(dir)?.iter().filter(|name| name.ends_with(".log")) {
            std::fs::copy(dir.join(name), to.join(name))?;
        }
        Ok(())
    };
    if let Err(error) = copy() {
        eprintln!("conformance: the logs of {title} could not be kept: {error:#}");
    }
    to
}
