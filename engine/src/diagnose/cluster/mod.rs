//! Several members: one answer over what was gathered of each, as raft would decide.
//!
//! [`Facts`] is what is known of a path. [`Survey`] compares the logs: whether the paths belong together, who votes,
//! whose log is the most up-to-date, which entries a later term overruled. [`Contents`] compares the states that must
//! be the same, [`Held`] names what one path holds alone. [`judge`] makes one [`Answer`] of all of it.
//!
//! The two rules everything rests on are raft's: an entry is committed once a majority of the voters has it, and a
//! log is more up-to-date when its last entry has the higher term, or the same term and the higher index. So of a
//! majority's whole logs the most up-to-date holds every entry that was ever acknowledged, and what a leader of a
//! later term overruled was never acknowledged.
//!
//! Only [`Examined`] knows of opened files, and [`answer`] does all of it in order. Nothing here opens files.

mod answer;
mod contents;
mod facts;
mod gather;
mod history;
mod judge;
#[cfg(test)]
mod judged;
mod pair;
mod recover;
mod replace;
mod roster;
#[cfg(test)]
mod simulated;
mod steps;
mod survey;

pub use answer::{Answer, DifferenceAnswer, Key, LackingAnswer, MemberAnswer, QuorumAnswer, Step};
pub use contents::{Contents, Differing, Held};
pub use facts::{Conf, Facts, LastChange, LogFacts, Mark, Position, StateFacts};
pub use gather::{Examined, answer};
pub use history::{Relation, relate};
pub use judge::{FileStanding, Gathered, judge};
pub use pair::{Again, Pair};
pub use survey::{
    Alone, Comparable, Discount, Floor, Kinship, Parting, Quorum, Role, Standing, Survey,
};
