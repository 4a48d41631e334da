//! The keys a request is about.

/// One key or a range of keys.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Interval<'k> {
    from: &'k [u8],
    end: End<'k>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum End<'k> {
    Single,
    Open,
    Before(&'k [u8]),
}

impl<'k> Interval<'k> {
    /// The keys that `key` and `range_end` of a request mean: an empty end is the key alone, one zero byte
    /// everything from the key on, anything else the exclusive end.
    pub fn new(key: &'k [u8], range_end: &'k [u8]) -> Self {
        let end = match range_end {
            [] => End::Single,
            [0] => End::Open,
            end => End::Before(end),
        };
        Self { from: key, end }
    }

    /// The key, when it is only one.
    pub fn single(&self) -> Option<&'k [u8]> {
        (self.end == End::Single).then_some(self.from)
    }

    /// The first key that can be in it.
    pub fn from(&self) -> &'k [u8] {
        self.from
    }

    /// Whether its end is behind `key`, wherever it starts.
    pub(super) fn ends_behind(&self, key: &[u8]) -> bool {
        match self.end {
            End::Single => key <= self.from,
            End::Open => true,
            End::Before(end) => key < end,
        }
    }

    /// Whether `key` is in it.
    pub fn contains(&self, key: &[u8]) -> bool {
        key >= self.from && self.ends_behind(key)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_interval_is_what_etcd_means_by_key_and_range_end() {
        let single = Interval::new(b"b", b"");
        assert_eq!(
            (single.single(), single.contains(b"b"), single.contains(b"ba")),
            (Some(&b"b"[..]), true, false)
        );
        let open = Interval::new(b"b", b"\0");
        assert!(open.contains(b"b") && open.contains(b"\xff\xff") && !open.contains(b"a"));
        let range = Interval::new(b"b", b"d");
        assert!(range.contains(b"b") && range.contains(b"c\xff") && !range.contains(b"d"));
        // A range whose end is not behind its start is empty.
        assert!(!Interval::new(b"d", b"b").contains(b"d"));
    }
}
