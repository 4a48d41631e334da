//! Integration tests of the engine.
#![expect(clippy::unwrap_used, reason = "a test fails by panicking, its helpers too")]

mod bombs;
mod broken;
mod buckets;
mod causes;
mod costly;
mod cut;
mod damage;
mod foreign;
mod hostile;
mod inside;
mod layering;
mod mapped;
mod members;
mod named;
mod patch;
mod readable;
mod redact;
mod replay;
mod restored;
mod rules;
mod salvage;
mod source;
mod stepwise;
mod wal;
mod write;
mod write_bbolt;
