//! Files without a name: nothing is left of them, whatever happens.

use std::{fs::File, io, path::Path};

use etcdsnap_engine::staging::parent;

/// One on the filesystem where `output` will be.
///
/// # Errors
/// When it cannot be made.
pub fn unnamed(output: &Path) -> io::Result<File> {
    let existing =
        parent(output).ancestors().find(|above| above.is_dir()).unwrap_or(Path::new("."));
    let existing = if existing.as_os_str().is_empty() { Path::new(".") } else { existing };
    tempfile::tempfile_in(existing)
}

/// One for what would not fit into memory: beside `output`, or where temporary files go. `None` where none can be made.
pub fn scratch(output: Option<&Path>) -> Option<File> {
    output.map_or_else(tempfile::tempfile, unnamed).ok()
}
