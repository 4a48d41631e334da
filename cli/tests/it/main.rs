//! The program as people and scripts meet it, on real data and without any peer.
#![expect(clippy::unwrap_used, reason = "a test fails by panicking, its helpers too")]

mod crashed;
mod doctor;
mod downgrade;
mod facts;
mod few_records;
mod foreign;
mod golden;
mod hostile;
mod hostile_logs;
mod html;
mod inside;
mod judged;
mod looks;
mod mending;
mod odd_dirs;
mod outputs;
mod places;
mod redacting;
mod reporting;
mod salvage;
mod shell;
mod terminal;
mod v2_data;
mod wal;
