//! Whose WAL it is.

use std::{
    fs::{self, File},
    io::Read as _,
    path::Path,
};

use crate::{
    ids::{ClusterId, MemberId},
    wal::{self, SegmentName},
};

/// Bytes of a segment that are read: its first records name member and cluster.
const HEAD: u64 = 64 << 10;

/// What the WAL's metadata record says.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct RaftIdentity {
    /// The member that writes the log.
    pub member: MemberId,
    /// Its cluster.
    pub cluster: ClusterId,
}

/// The identity that the WAL in `wal_dir` names; `None` when there is no readable WAL.
pub fn raft_identity(wal_dir: &Path) -> Option<RaftIdentity> {
    let mut segments: Vec<_> = fs::read_dir(wal_dir)
        .ok()?
        .flatten()
        .filter_map(|entry| Some((SegmentName::parse(entry.file_name().to_str()?)?, entry.path())))
        .collect();
    // Every segment repeats it; the newest is the one that the member itself would read last.
    segments.sort_by_key(|(name, _)| std::cmp::Reverse(name.sequence));
    segments.iter().find_map(|(_, path)| {
        let mut head = Vec::new();
        File::open(path).ok()?.take(HEAD).read_to_end(&mut head).ok()?;
        let metadata = wal::metadata(&head).ok()??;
        Some(RaftIdentity {
            member: MemberId(metadata.node_id()),
            cluster: ClusterId(metadata.cluster_id()),
        })
    })
}
