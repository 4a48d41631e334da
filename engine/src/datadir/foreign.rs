//! Files that are handed in by mistake, or before they were unpacked.

/// A known format that is not etcd's.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Foreign {
    /// What it is.
    pub name: &'static str,
    /// The command that unpacks it, to be followed by the path.
    pub unpack: &'static str,
}

/// Names the format of a file that is no database; `None` when its first bytes say nothing.
pub fn foreign(bytes: &[u8]) -> Option<Foreign> {
    const MAGICS: [(&[u8], Foreign); 7] = [
        (b"\x1f\x8b", Foreign { name: "gzip-compressed", unpack: "gunzip -k" }),
        (b"PK\x03\x04", Foreign { name: "a zip archive", unpack: "unzip" }),
        (b"\x28\xb5\x2f\xfd", Foreign { name: "zstd-compressed", unpack: "zstd -dk" }),
        (b"\xfd7zXZ\0", Foreign { name: "xz-compressed", unpack: "xz -dk" }),
        (b"BZh", Foreign { name: "bzip2-compressed", unpack: "bzip2 -dk" }),
        (b"\x04\x22\x4d\x18", Foreign { name: "lz4-compressed", unpack: "lz4 -dk" }),
        (
            b"age-encryption.org/",
            Foreign { name: "age-encrypted", unpack: "age --decrypt -i KEY -o OUT" },
        ),
    ];
    const TAR_AT: usize = 257;
    if let Some((_, foreign)) = MAGICS.iter().find(|(magic, _)| bytes.starts_with(magic)) {
        return Some(*foreign);
    }
    bytes
        .get(TAR_AT..)
        .is_some_and(|rest| rest.starts_with(b"ustar"))
        .then_some(Foreign { name: "a tar archive", unpack: "tar -xf" })
}
