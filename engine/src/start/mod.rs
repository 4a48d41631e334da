//! The command lines that start members.
//!
//! Only a start that etcd accepts is of use: it listens on IP addresses alone, and two members on one host need ports
//! of their own. Host names become addresses to listen on, certificates are placeholders below `/path/to`, and a database
//! above etcd's default quota gets a larger one.
//!
//! Start reading at [`Start`]. Nothing here knows where the data comes from.

mod line;
mod urls;

pub use line::{Node, Start};
