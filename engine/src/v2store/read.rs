//! The v2 store of a member, from its snapfile and its log.

use super::{
    Error, Summary,
    apply::Applying,
    json,
    tree::{Content, Node, Tree},
};
use crate::{
    replay::{
        Line, ReadSnapfile,
        membership::{Roster, roster},
        v2_start,
    },
    wal::Log,
};

/// The v2 store as a server has it that has applied the log.
#[derive(Clone, Debug)]
pub struct V2Store {
    tree: Tree,
    requests: u64,
}

/// A key of the v2 API, or a directory.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct V2Key<'s> {
    /// As clients name it: `/foo`.
    pub path: &'s [u8],
    /// Its value; `None` of a directory.
    pub value: Option<&'s [u8]>,
    /// The store's index once the request that made it was applied.
    pub created_index: u64,
    /// The store's index once the last request that changed it was applied.
    pub modified_index: u64,
    /// When it ends, in nanoseconds since 1970; `None` for never.
    pub expires: Option<i64>,
}

impl V2Store {
    /// Reads the snapfile that a server up to 3.6 would start from, and applies the entries of `log` behind it by the
    /// rules of `line`; those up to raft index `to`, where that is given. A log that is damaged counts up to there.
    ///
    /// # Errors
    /// When the store's beginning or entries behind it are missing, or the snapfile holds no store.
    pub fn read(
        log: &Log<'_>,
        line: Line,
        snapfiles: &[ReadSnapfile],
        to: Option<u64>,
    ) -> Result<Self, Error> {
        let (start, stored) = v2_start(log, snapfiles);
        let (tree, members) = match stored {
            Some(stored) => {
                let tree =
                    json::read(stored).map_err(|source| Error::Json { index: start, source })?;
                (tree, roster(stored).unwrap_or_default())
            }
            None => {
                if let Some(first) = log.entries.first().map(|first| first.entry.index)
                    && first > 1
                {
                    return Err(Error::NoBeginning { first });
                }
                (Tree::default(), Roster::default())
            }
        };
        let mut applying = Applying { tree, roster: members, line, requests: 0 };
        // Updates of directories are refused since 3.5.
        applying.tree.set_updates_dirs(line < Line::V3_5);
        for logged in log.entries_behind(start)? {
            if to.is_some_and(|to| logged.entry.index > to) {
                break;
            }
            applying.apply(&logged);
        }
        Ok(Self { tree: applying.tree, requests: applying.requests })
    }

    /// Changes of the store since the cluster began: etcd's `X-Etcd-Index`.
    pub fn index(&self) -> u64 {
        self.tree.index()
    }

    /// Calls `each` with every key and directory of users, in the order of the paths' bytes.
    ///
    /// # Errors
    /// Those of `each`.
    pub fn for_each<E>(&self, mut each: impl FnMut(V2Key<'_>) -> Result<(), E>) -> Result<(), E> {
        self.tree.walk(b"/1", |path, node| {
            let value = match &node.content {
                Content::File(value) => Some(value.as_slice()),
                Content::Dir(_) => None,
            };
            let Node { created: created_index, modified: modified_index, expires, .. } = *node;
            each(V2Key { path, value, created_index, modified_index, expires })
        })
    }

    /// How much there is.
    pub fn summary(&self) -> Summary {
        let count = |path: &[u8], dirs: bool| {
            let mut count: u64 = 0;
            let Ok(()) = self.tree.walk(path, |_, node| -> Result<(), std::convert::Infallible> {
                count = count.saturating_add(u64::from(node.is_dir() == dirs));
                Ok(())
            });
            count
        };
        let auth = count(b"/2/users", false).saturating_add(count(b"/2/roles", false));
        Summary {
            keys: count(b"/1", false),
            directories: count(b"/1", true),
            auth,
            requests: self.requests,
        }
    }
}

#[cfg(test)]
mod tests {
    use prost::Message as _;

    use super::*;
    use crate::pb::{
        raftpb::{self, Entry},
        requestpb::V2Request,
        walpb,
    };
    use crate::snapfile::SnapfileName;
    use crate::wal::{Encoder, Segment, SegmentName};

    fn put(path: &str) -> Vec<u8> {
        let (method, path, val) = (b"PUT".to_vec(), path.into(), b"v".to_vec());
        V2Request { method, path, val, ..V2Request::default() }.encode_to_vec()
    }

    fn log(marks: &[u64], entries: &[(u64, &str)]) -> Vec<u8> {
        let mut encoder = Encoder::new(0);
        for index in marks {
            encoder.snapshot(&walpb::Snapshot {
                index: Some(*index),
                term: Some(1),
                ..walpb::Snapshot::default()
            });
        }
        for (index, path) in entries {
            let (term, index, data) = (Some(1), Some(*index), Some(put(path)));
            encoder.entry(&Entry { r#type: Some(0), term, index, data });
        }
        let commit = entries.last().map_or(0, |(index, _)| *index);
        let (term, vote, commit) = (Some(1), Some(0), Some(commit));
        encoder.state(&raftpb::HardState { term, vote, commit });
        encoder.finish().0
    }

    fn snapfile(index: u64, json: &str) -> ReadSnapfile {
        let data = Some(json.as_bytes().to_vec());
        let name = SnapfileName { term: 1, index };
        ReadSnapfile { name, content: Ok(raftpb::Snapshot { data, metadata: None }) }
    }

    fn paths(store: &V2Store) -> Vec<String> {
        let mut paths = Vec::new();
        let Ok(()) = store.for_each(|key| -> Result<(), std::convert::Infallible> {
            paths.push(String::from_utf8_lossy(key.path).into_owned());
            Ok(())
        });
        paths
    }

    fn read(bytes: &[u8], snapfiles: &[ReadSnapfile], to: Option<u64>) -> Result<V2Store, Error> {
        let name = SegmentName { sequence: 0, index: 0 };
        V2Store::read(&Log::read(&[Segment { name, bytes }]), Line::V3_5, snapfiles, to)
    }

    #[test]
    fn entries_behind_the_snapfile_are_applied() {
        let old =
            r#"{"Root":{"Children":{"1":{"Children":{"old":{"Value":"x"}}}}},"CurrentIndex":7}"#;
        let bytes = log(&[5], &[(6, "/1/a"), (7, "/1/b")]);
        let store = read(&bytes, &[snapfile(5, old)], None).unwrap();
        assert_eq!(
            (paths(&store), store.index()),
            (vec!["/a".into(), "/b".into(), "/old".into()], 9)
        );
        assert_eq!(store.summary(), Summary { keys: 3, directories: 0, auth: 0, requests: 2 });
        let store = read(&bytes, &[snapfile(5, old)], Some(6)).unwrap();
        assert_eq!(paths(&store), ["/a", "/old"]);
        // A snapfile that the log does not know is not used.
        let error = read(&bytes, &[snapfile(4, old)], None).unwrap_err();
        assert_eq!(error, Error::NoBeginning { first: 6 });
        let error = read(&bytes, &[snapfile(5, "{")], None).unwrap_err();
        assert!(matches!(error, Error::Json { index: 5, .. }), "{error:?}");
    }

    #[test]
    fn a_log_of_all_entries_needs_no_snapfile() {
        let bytes = log(&[], &[(1, "/1/a/b"), (2, "/1/a-b"), (3, "/2/users/root")]);
        let store = read(&bytes, &[], None).unwrap();
        assert_eq!(paths(&store), ["/a", "/a-b", "/a/b"], "in the order of bytes");
        assert_eq!(store.summary(), Summary { keys: 2, directories: 1, auth: 1, requests: 3 });
    }
}
