//! Integration tests of the engine.

mod buckets;
mod write;
mod write_bbolt;
