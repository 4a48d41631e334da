//! What hostile input may cost.

/// Bounds on work that a file's content could otherwise drive without end.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Limits {
    /// Greatest depth of a page tree and of buckets within buckets, in levels. A balanced tree of
    /// 2^64 pages with two children a page has 64.
    pub max_depth: usize,
    /// Findings kept of one kind; the rest are counted and said in one closing finding.
    pub max_findings: usize,
}

impl Default for Limits {
    fn default() -> Self {
        Self { max_depth: 128, max_findings: 100_000 }
    }
}
