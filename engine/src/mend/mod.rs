//! Mends a member's db where its raft log proves what is right, into a new data dir of the same member and cluster.
//!
//! Start at [`membership`]: bucket `members` against raft's configuration. The data dir that is read stays as it is.

pub mod membership;
