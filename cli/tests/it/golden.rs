//! Output kept in `tests/golden`, compared byte for byte.

use std::path::Path;

/// Compares with the file of this name, or writes it when `ETCDSNAP_BLESS` is set.
pub fn assert_golden(name: &str, found: &str) {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/golden").join(name);
    if std::env::var_os("ETCDSNAP_BLESS").is_some() {
        std::fs::create_dir_all(path.parent().unwrap()).unwrap();
        std::fs::write(&path, found).unwrap();
    }
    let expected = std::fs::read_to_string(&path).unwrap_or_default();
    assert!(
        expected == found,
        "{name} differs; ETCDSNAP_BLESS=1 rewrites it\nexpected:\n{expected}\nfound:\n{found}"
    );
}
