//! The program as people and scripts meet it.

#![expect(clippy::unwrap_used, reason = "a test fails by panicking, its helpers too")]

mod golden;
mod shell;
