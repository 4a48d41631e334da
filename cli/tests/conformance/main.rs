//! Conformance: `etcdsnap` beside real etcd, etcdctl, etcdutl and bbolt.
//!
//! The danger guarded against: our reader and our writer agreeing with each other, and with
//! nobody else. Data is made by real servers during the run, answers are compared with those
//! of the real tools, and what we write is handed to real servers.
//!
//! A test whose peer is not here is ignored and says why on stderr; `testdata/peers/build`
//! makes the peers. Environment:
//!
//! | variable | meaning |
//! |---|---|
//! | `ETCDSNAP_PEERS` | where the peers are, instead of `target/peers` |
//! | `ETCDSNAP_REQUIRE_PEERS=1` | a missing peer or fixture is a failure |
//! | `ETCDSNAP_FIXTURES` | where the fixtures are, instead of `testdata/members` |
//! | `ETCDSNAP_PROGRAM` | another `etcdsnap` than the one just built, as from a package |
//! | `ETCDSNAP_SEED` | repeat a run's random choices |
//! | `ETCDSNAP_LONG=1` | every byte, every pair of versions |
//! | `ETCDSNAP_KEEP=1` | leave the files of failed tests where they are |
//!
//! Start reading at `suite.rs` (how a test is run) and `dataset.rs` (what most tests look at).

mod admin;
mod advice;
mod all_members;
mod authority;
mod boot;
#[path = "../../../engine/tests/it/broken.rs"]
#[expect(clippy::unwrap_used, reason = "it breaks files known to be sound")]
mod broken;
mod bumped;
mod carved;
mod clients;
mod compacted;
mod crash;
mod crashed;
mod damage;
mod dataset;
mod estate;
mod facts;
mod files;
mod filtered;
mod fixtures;
mod fleet;
mod foreign;
mod gateway;
mod guide;
mod handbook;
mod histories;
mod hot_copies;
mod inside;
mod judge;
mod killed;
mod ledger;
mod lent;
mod limited;
mod load;
mod locked;
mod logged;
mod memberships;
mod mended;
mod night;
mod nights;
mod numbers;
mod oracles;
mod ours;
mod peers;
mod places;
mod planned;
mod point_in_time;
mod power_cut;
mod promoted;
mod rebuilt;
mod records;
mod redacted;
mod restore_flags;
mod restoring;
mod run;
mod salvaged;
mod saving;
mod server;
mod starts;
mod steward;
mod story;
mod suite;
mod threads;
mod told;
mod torn;
mod unchanged;
mod uncommitted;
mod v2data;
mod versions;
mod walk;
mod writer;
mod written;

fn main() {
    let arguments = libtest_mimic::Arguments::from_args();
    let mut suite = suite::Suite::default();
    oracles::trials(&mut suite);
    numbers::trials(&mut suite);
    saving::trials(&mut suite);
    restoring::trials(&mut suite);
    bumped::trials(&mut suite);
    point_in_time::trials(&mut suite);
    filtered::trials(&mut suite);
    foreign::trials(&mut suite);
    compacted::trials(&mut suite);
    all_members::trials(&mut suite);
    planned::trials(&mut suite);
    places::trials(&mut suite);
    told::trials(&mut suite);
    starts::trials(&mut suite);
    damage::trials(&mut suite);
    unchanged::trials(&mut suite);
    locked::trials(&mut suite);
    threads::trials(&mut suite);
    killed::trials(&mut suite);
    written::trials(&mut suite);
    inside::trials(&mut suite);
    redacted::trials(&mut suite);
    fixtures::trials(&mut suite);
    crashed::trials(&mut suite);
    torn::trials(&mut suite);
    uncommitted::trials(&mut suite);
    promoted::trials(&mut suite);
    mended::trials(&mut suite);
    nights::trials(&mut suite);
    power_cut::trials(&mut suite);
    guide::trials(&mut suite);
    hot_copies::trials(&mut suite);
    histories::trials(&mut suite);
    memberships::trials(&mut suite);
    rebuilt::trials(&mut suite);
    lent::trials(&mut suite);
    salvaged::trials(&mut suite);
    carved::trials(&mut suite);
    versions::trials(&mut suite);
    v2data::trials(&mut suite);
    if !arguments.list {
        eprintln!("conformance: ETCDSNAP_SEED={}", dataset::seed());
    }
    let conclusion = libtest_mimic::run(&arguments, suite.into_trials());
    dataset::clean_up();
    conclusion.exit();
}
