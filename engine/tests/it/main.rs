//! Integration tests of the engine.
#![expect(clippy::unwrap_used, reason = "a test that unwraps what is not there has failed")]

mod hostile;
mod restored;
