//! Whose database a bbolt file is: etcd's, or another program's.

use std::fmt;

use prost::Message as _;

use super::{RecordKey, SETTINGS, bucket, meta};
use crate::{
    bolt::{Bucket, Db, Item},
    pb::{etcdserverpb::AlarmMember, leasepb::Lease},
};

/// Top-level buckets that are looked at. etcd has ten.
const BUCKETS: usize = 4096;
/// Elements of a bucket that are looked at.
const ELEMENTS: usize = 64;
/// As many of etcd's buckets, empty or unreadable, are no coincidence of names.
const ENOUGH: usize = 3;
/// Names of buckets that are kept to be shown, and bytes of each.
const SHOWN: (usize, usize) = (4, 64);

/// What a bbolt file holds.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Program {
    /// etcd's data, or what is left of it.
    Etcd,
    /// No bucket. A server leaves that when it is killed before its first commit; alone, such a file says nothing.
    Nobody,
    /// Another program's data.
    Other(NotEtcd),
}

/// What stands in a bbolt file instead of etcd's data.
#[derive(Clone, Debug, Default, PartialEq, Eq, thiserror::Error)]
pub struct NotEtcd {
    /// Names of its first buckets, cut to 64 bytes each; empty when the file has no bucket.
    pub buckets: Vec<Vec<u8>>,
    /// Whether it has more buckets than these.
    pub more: bool,
}

impl fmt::Display for NotEtcd {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if self.buckets.is_empty() {
            return f.write_str("a bbolt file without buckets: it holds nothing of etcd's");
        }
        let names: Vec<String> =
            self.buckets.iter().map(|name| format!("\"{}\"", name.escape_ascii())).collect();
        let plural = if names.len() > 1 { "s" } else { "" };
        let more = if self.more { " and more" } else { "" };
        write!(f, "a bbolt file, not etcd's: it has the bucket{plural} {}{more}", names.join(", "))
    }
}

/// What a bucket with one of etcd's names holds.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Content {
    /// Records as etcd writes them.
    Own,
    /// Nothing, or nothing that can be read.
    Silent,
    /// Something else.
    Foreign,
}

/// Whose database `db` is, by what stands in its buckets.
///
/// The one place that decides it. A damaged file is etcd's unless all of its top-level buckets can be read and are
/// another program's.
pub fn program(db: &Db<'_>) -> Program {
    let (mut silent, mut foreign, mut damaged, mut astray) = (0, Vec::new(), false, false);
    for item in db.root().items().take(BUCKETS) {
        let Ok(item) = item else {
            damaged = true;
            break;
        };
        let name = bucket::ALL.into_iter().find(|name| name.as_bytes() == item.key);
        let content = match name {
            // bbolt lets nobody put a pair beside the buckets: the page is another bucket's.
            _ if !item.is_bucket() => {
                astray = true;
                continue;
            }
            Some(name) => content(db, name, &item),
            None => Content::Foreign,
        };
        match content {
            Content::Own => return Program::Etcd,
            Content::Silent => silent += 1,
            Content::Foreign => foreign.push(item.key),
        }
    }
    if damaged || silent >= ENOUGH || (silent > 0 || astray) && foreign.is_empty() {
        return Program::Etcd;
    }
    if foreign.is_empty() {
        return Program::Nobody;
    }
    let (most, len) = SHOWN;
    let cut = |name: &&[u8]| name.get(..len).unwrap_or(name).to_vec();
    let buckets = foreign.iter().take(most).map(cut).collect();
    Program::Other(NotEtcd { buckets, more: foreign.len() > most })
}

/// What the bucket that `item` names holds. etcd's names are plain words that other programs use, too.
fn content(db: &Db<'_>, name: &str, item: &Item<'_>) -> Content {
    let Ok(found) = Bucket::from_item(*db, item) else { return Content::Silent };
    let mut elements = found.items().take(ELEMENTS).peekable();
    if !matches!(elements.peek(), Some(Ok(_))) {
        return Content::Silent;
    }
    if elements.flatten().any(|element| !element.is_bucket() && is_own(name, &element)) {
        Content::Own
    } else {
        Content::Foreign
    }
}

/// Whether `element` is a record that only etcd writes into a bucket of that name.
fn is_own(name: &str, element: &Item<'_>) -> bool {
    let Item { key, value, .. } = element;
    match name {
        bucket::KEY => RecordKey::parse(key).is_ok(),
        // Every raft has a term.
        bucket::META | bucket::CLUSTER | bucket::AUTH => {
            SETTINGS.iter().any(|known| known.as_bytes() == *key && *known != meta::TERM)
        }
        bucket::MEMBERS => value.starts_with(b"{\"id\":"),
        bucket::LEASE => {
            Lease::decode(*value).is_ok_and(|lease| lease.id != 0 && lease.id.to_be_bytes() == *key)
        }
        bucket::ALARM => AlarmMember::decode(*key).is_ok_and(|alarm| alarm.member_id != 0),
        // Names that nobody else has.
        bucket::AUTH_ROLES | bucket::AUTH_USERS | bucket::MEMBERS_REMOVED => true,
        _ => false,
    }
}
