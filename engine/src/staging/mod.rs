//! Files and directories that appear whole or not at all, and where nothing is written at all.
//!
//! A thing is made under a temporary name beside its target, synced, and renamed last: [`Stage`]. What a killed run
//! leaves behind keeps its temporary name, is found by [`remains`], and is never mistaken for the target.
//!
//! [`Target`] is the one rule of what an output's name leads to: a place for a file, a stream to write into, or
//! something that is never written to. [`Stage::file`] asks it too, so that no caller gets round it.

mod error;
mod follow;
mod owner;
mod space;
mod stage;
mod staged;
mod target;

pub use error::{IoError, Refusal, TargetError};
pub use follow::followed;
pub use owner::Owner;
pub use space::{Filesystem, Space, SpaceError};
pub use stage::{Stage, is_mount_point, parent, remains, sync_directory};
pub use staged::Staged;
pub use target::{Target, check_parent};
