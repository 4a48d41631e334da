//! Integration tests of the engine.
mod source;
