//! Pages without the tree: what a damaged file still holds. Knows no etcd.
//!
//! Start at [`Pages`]: it takes any bytes, finds the page size even where both metas are gone, and recognises leaves and
//! branches by what is in them, whatever their headers say. [`walk`] follows a tree as far as it stands and says
//! which ranges of keys are missing; [`scan`] finds the leaves that no tree led to. A leaf ([`Found`]) gives its
//! elements one by one: whole, cut short, or lost.
//!
//! Every page is looked at a bounded number of times, and no byte is read for more than one leaf, so that hostile files
//! take no longer than others of their size.

mod found;
mod pages;
mod scan;
mod walk;

pub use found::{Found, Piece, Pieces};
pub use pages::{Branches, NodeAt, Pages, Sizing};
pub use scan::{Candidate, scan};
pub use walk::{Budget, Gap, Tree, Why, walk};
