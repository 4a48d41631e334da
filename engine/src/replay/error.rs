//! What stops a replay, and what only stops one entry.

use crate::{
    bolt,
    bolt::patch::PatchError,
    finding::{Finding, counted},
    ids::MemberId,
    mvcc,
    progress::Interrupted,
    schema,
    schema::Listed,
};

/// Why the log could not be applied.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum Error {
    /// The caller stopped the operation.
    #[error(transparent)]
    Interrupted(#[from] Interrupted),
    /// A page of the db is damaged.
    #[error(transparent)]
    Bolt(#[from] bolt::Error),
    /// A record of the key space is damaged.
    #[error(transparent)]
    KeySpace(#[from] mvcc::Error),
    /// Another record is damaged.
    #[error(transparent)]
    Schema(#[from] schema::Error),
    /// Records of a bucket are damaged.
    #[error("{} of the db cannot be decoded, the first: {}: {}", counted(findings.len() as u64, "record", "records"), findings.first().map(|first| first.place.to_string()).unwrap_or_default(), findings.first().map(|first| first.message.as_str()).unwrap_or_default())]
    Records {
        /// One finding for each.
        findings: Vec<Finding>,
    },
    /// A server of this line ends itself at such an entry, so that none can have written more.
    #[error("entry {index} is {what}: a server of etcd {line} stops when it applies that")]
    ServerEnds {
        /// Raft index of the entry.
        index: u64,
        /// The release line.
        line: super::Line,
        /// What the entry is.
        what: &'static str,
    },
    /// Puts that keep the value of their key copy it, and together they copy more than is held in memory.
    #[error("puts that keep the old value add up to {bytes} bytes, more than the limit of {limit}")]
    Copies {
        /// Bytes of values copied.
        bytes: u64,
        /// How many may be.
        limit: u64,
    },
    /// The log cannot be applied to the db.
    #[error(transparent)]
    Boot(super::BootError),
    /// The changes could not be put into pages.
    #[error(transparent)]
    Patch(#[from] PatchError),
}

/// The records of a bucket, all of which must decode.
pub(super) fn all<T>(listed: Listed<T>) -> Result<Vec<T>, Error> {
    if listed.findings.is_empty() {
        Ok(listed.records)
    } else {
        Err(Error::Records { findings: listed.findings })
    }
}

/// Why an entry changes nothing. The client got etcd's error; the entry counts as applied.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum Refusal {
    /// A put that takes value or lease from a key that does not exist.
    #[error("key not found")]
    KeyNotFound,
    /// A lease that does not exist.
    #[error("requested lease not found: {lease:x}")]
    LeaseNotFound {
        /// Its id.
        lease: i64,
    },
    /// A lease that exists already.
    #[error("lease already exists: {lease:x}")]
    LeaseExists {
        /// Its id.
        lease: i64,
    },
    /// A time to live beyond what is granted.
    #[error("too large lease TTL: {ttl}")]
    LeaseTtl {
        /// Seconds asked for.
        ttl: i64,
    },
    /// A revision that is compacted.
    #[error("required revision has been compacted: {revision}")]
    Compacted {
        /// The revision asked for.
        revision: i64,
    },
    /// A revision that has not been.
    #[error("required revision is a future revision: {revision}")]
    FutureRevision {
        /// The revision asked for.
        revision: i64,
    },
    /// The backend is over its quota.
    #[error("database space exceeded")]
    NoSpace,
    /// Members disagree.
    #[error("corrupt cluster")]
    Corrupt,
    /// Auth is enabled and nobody asked.
    #[error("user name is empty")]
    UserEmpty,
    /// There is such a user.
    #[error("user name already exists")]
    UserExists,
    /// There is no such user.
    #[error("user name not found")]
    UserNotFound,
    /// Auth cannot be enabled without user root.
    #[error("root user does not exist")]
    RootUserNotFound,
    /// Auth cannot be enabled while user root lacks role root.
    #[error("root user does not have root role")]
    RootRoleNotFound,
    /// The password is not what a server writes.
    #[error("authentication failed, password was given for no password user")]
    Password,
    /// A role without a name.
    #[error("role name is empty")]
    RoleEmpty,
    /// There is such a role.
    #[error("role name already exists")]
    RoleExists,
    /// There is no such role.
    #[error("role name not found")]
    RoleNotFound,
    /// The user does not have the role.
    #[error("role is not granted to the user")]
    RoleNotGranted,
    /// The request names no permission.
    #[error("permission not given")]
    PermissionNotGiven,
    /// The role does not have the permission.
    #[error("permission is not granted to the role")]
    PermissionNotGranted,
    /// The user may not do that.
    #[error("permission denied")]
    PermissionDenied,
    /// Users or roles changed since the user signed in.
    #[error("revision in header is old")]
    OldRevision,
    /// Root must stay what it is while auth is enabled, and ranges must not be empty.
    #[error("invalid auth management")]
    AuthManagement,
    /// A change of a member that is not there.
    #[error("ID not found: {member}")]
    MemberNotFound {
        /// Its id.
        member: MemberId,
    },
    /// A member that was removed and cannot come back.
    #[error("ID removed: {member}")]
    MemberRemoved {
        /// Its id.
        member: MemberId,
    },
    /// A member that is there already.
    #[error("ID exists: {member}")]
    MemberExists {
        /// Its id.
        member: MemberId,
    },
    /// A peer URL that another member has.
    #[error("peer URL exists: {url}")]
    PeerUrlExists {
        /// The URL.
        url: String,
    },
    /// There are as many learners as there may be.
    #[error("too many learner members in cluster")]
    TooManyLearners,
    /// A member that cannot be promoted, because it votes.
    #[error("can only promote a learner member: {member}")]
    NotLearner {
        /// Its id.
        member: MemberId,
    },
    /// A change of membership whose member cannot be read.
    #[error("the member of a conf change cannot be read")]
    MemberContext,
}
