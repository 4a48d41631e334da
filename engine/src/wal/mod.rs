//! etcd's write-ahead log, on one page.
//!
//! A log is a row of segment files ([`SegmentName`]). A segment is a row of frames ([`frame`]): a length
//! word, a protobuf, padding to 8 bytes. A frame holds a [`Record`]: a kind, a running checksum over the
//! data of every record since the log began, and data, whose meaning the kind tells ([`Payload`]).
//!
//! Each segment opens with a crc record that carries the running value on, so that segments can be read
//! apart; then come metadata (who writes this) and, in the first segment, a mark of snapshot 0.
//!
//! Incomplete is not invalid. A segment ends where its bytes or its non-zero length words end; when that
//! is inside a record the write was [torn](End::Torn), which a crash explains. A wrong checksum or an
//! undecodable record is an [`Error`], which nothing explains. The rules that tell the two apart are
//! those of etcd 3.5.5 and later, except that a length word is not believed where whole records stand behind
//! it. [`Log::behind`] tells what stands behind the end of a log.
//!
//! Nothing here opens files, applies requests or decides what is committed. Start reading at [`records`].

mod across;
mod behind;
mod collect;
mod damage;
mod encode;
mod error;
pub mod frame;
mod log;
mod origin;
mod read;
mod record;
mod search;
mod segment;
mod stretch;
mod summary;

pub use across::Entries;
pub use behind::{Behind, BehindFacts, Gap};
pub use damage::{Damage, LogEnd};
pub use encode::Encoder;
pub use error::Error;
pub use log::{At, IndexGap, Log, LoggedEntry, Oversized, Segment};
pub use record::{End, Kind, Payload, Record, Records, Tail, metadata, records};
pub use segment::{SEGMENT_BYTES, SegmentName};
pub use stretch::Stretch;
pub use summary::Summary;
