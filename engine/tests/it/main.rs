//! Integration tests of the engine.

#![expect(clippy::unwrap_used, reason = "a test fails by panicking, its helpers too")]

mod source;
