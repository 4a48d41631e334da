//! Whom files and directories belong to.

use std::{fs::File, io};

/// Whom files and directories belong to.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Owner {
    /// User id.
    pub uid: u32,
    /// Group id.
    pub gid: u32,
}

impl Owner {
    /// Gives `file` to this owner.
    ///
    /// # Errors
    /// When the system refuses, as it does to all but root for other users.
    pub fn take(self, file: &File) -> io::Result<()> {
        std::os::unix::fs::fchown(file, Some(self.uid), Some(self.gid))
    }
}
