//! Paths of the v2 store, as Go's package `path` cleans them.

/// The names along `path`, as `path.Clean(path.Join("/", path))` leaves them; none for the root.
pub(super) fn names(path: &[u8]) -> Vec<&[u8]> {
    let mut names = Vec::new();
    for name in path.split(|byte| *byte == b'/') {
        match name {
            b"" | b"." => {}
            b".." => {
                names.pop();
            }
            name => names.push(name),
        }
    }
    names
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn paths_are_cleaned_as_go_does() {
        let clean = |path: &str| -> String {
            names(path.as_bytes())
                .iter()
                .map(|name| format!("/{}", String::from_utf8_lossy(name)))
                .collect()
        };
        assert_eq!(clean("/1/foo"), "/1/foo");
        assert_eq!(clean("1//foo/./bar/"), "/1/foo/bar");
        assert_eq!(clean("/1/a/../../.."), "");
        assert_eq!(clean("../1/..a/.b"), "/1/..a/.b");
    }
}
