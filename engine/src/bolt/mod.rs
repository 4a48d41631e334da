//! The bbolt file format: read, check and write. Knows no etcd.
//!
//! A file is an array of equal pages; the first two are metas, of which [`meta::choose`] picks one. It
//! names the root page of a bucket of buckets. Start at [`Db`]: it opens bytes, gives checked pages and
//! the root [`Bucket`]; [`Bucket::items`] walks in key order, [`Bucket::subtrees`] cuts a bucket for
//! parallel work. [`check`] looks at the whole file and reports every finding in bbolt's words.
//!
//! What is validated when: a meta when the file is opened; a page's id, kind and extent when it is
//! read; an element's bounds when it is looked at; order, single reference and the freelist only by
//! [`check`]. Nothing here can panic, loop without end or allocate beyond the file's own size.

pub mod bucket;
pub mod check;
pub mod db;
mod error;
pub mod freelist;
pub mod layout;
pub mod map;
pub mod meta;
pub mod page;
pub mod page_set;
pub mod patch;
pub mod salvage;
pub mod walk;
pub mod write;

pub use bucket::Bucket;
pub use db::Db;
pub(crate) use error::from_read_error;
pub use error::{Error, ReadError};
pub use page::{Item, Leaf, PageId, TxId};
