//! What is said of the keys of the v2 API.

use crate::finding::{Finding, Place, counted};

/// How much there is in a v2 store.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Summary {
    /// Keys that have a value.
    pub keys: u64,
    /// Directories.
    pub directories: u64,
    /// Users and roles of the v2 API.
    pub auth: u64,
    /// Requests in the log behind the snapfile that ask for a change, also those that were refused.
    pub requests: u64,
}

impl Summary {
    /// What the store holds, as in "2 keys and 1 directory"; `None` where it holds nothing of users.
    pub fn content(&self) -> Option<String> {
        let parts = [
            (self.keys, "key", "keys"),
            (self.directories, "directory", "directories"),
            (self.auth, "user or role", "users and roles"),
        ];
        let mut said: Vec<String> = parts
            .into_iter()
            .filter(|(count, ..)| *count > 0)
            .map(|(count, one, several)| counted(count, one, several))
            .collect();
        let last = said.pop()?;
        Some(if said.is_empty() { last } else { format!("{} and {last}", said.join(", ")) })
    }

    /// What is said of a member that has such data; `None` where it has none.
    pub fn finding(&self) -> Option<Finding> {
        let message = match self.content() {
            Some(content) => format!(
                "{content} of the v2 API are in the snapfile and the log, not in the db: save and restore leave them out, \
                 export-v2 lists them, and etcd 3.6.16 does not start on these files"
            ),
            None if self.requests > 0 => format!(
                "the v2 store is empty, but the log has {} of the v2 API: etcd 3.6.16 does not start on these files",
                counted(self.requests, "request", "requests")
            ),
            None => return None,
        };
        Some(Finding::warning("v2-data", Place::File, message))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn said(keys: u64, directories: u64, auth: u64, requests: u64) -> String {
        let summary = Summary { keys, directories, auth, requests };
        let message = summary.finding().map(|finding| finding.message).unwrap_or_default();
        message.split(':').next().unwrap_or_default().to_owned()
    }

    #[test]
    fn content_is_counted_in_words() {
        let where_they_are = "of the v2 API are in the snapfile and the log, not in the db";
        assert_eq!(said(1, 0, 0, 0), format!("1 key {where_they_are}"));
        assert_eq!(
            said(3, 1, 2, 9),
            format!("3 keys, 1 directory and 2 users and roles {where_they_are}")
        );
        assert_eq!(said(0, 2, 0, 0), format!("2 directories {where_they_are}"));
        assert_eq!(
            said(0, 0, 0, 1),
            "the v2 store is empty, but the log has 1 request of the v2 API"
        );
        assert_eq!(said(0, 0, 0, 0), "");
    }
}
