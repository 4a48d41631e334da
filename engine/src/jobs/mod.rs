//! One function for each thing that a user asks for.
//!
//! A job takes a path and its `Options`, and returns an answer or the one [`Error`](crate::Error). An answer is plain
//! data; its JSON is the program's `-w json`. No answer leaves a job before the files are known to have held still.
//!
//! Start reading at [`ask`], by which every job reads its input, then at [`hashkv`](mod@hashkv), the shortest job.

pub mod alarms;
mod ask;
pub mod auth;
pub mod hashkv;
mod input;
mod key_name;
pub mod leases;
pub mod members;
pub mod status;

pub use ask::{Answered, StateRead, ask, ask_about_few};
pub use input::Input;
pub use key_name::KeyName;
