//! Prefixes of keys, and what is added up by them in bounded memory.

use hashbrown::HashMap;

use super::{PrefixUse, Tally};

/// How keys are put together.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Grouping {
    /// Only keys that begin with this; the depth counts from its end.
    pub prefix: Vec<u8>,
    /// What separates the parts of a key. Empty: every byte is a part.
    pub separator: Vec<u8>,
    /// How many parts make up a prefix.
    pub depth: usize,
}

impl Grouping {
    /// The prefix that `key` is counted under at `depth`: up to and with that many separators, of which one at the
    /// very beginning does not count. A key with fewer of them is counted under all that it has.
    ///
    /// `None` when the key is not asked for.
    pub fn prefix_of<'k>(&self, key: &'k [u8], depth: usize) -> Option<&'k [u8]> {
        let rest = key.strip_prefix(self.prefix.as_slice())?;
        let begin = key.len() - rest.len();
        if self.separator.is_empty() {
            return key.get(..begin + depth.min(rest.len()));
        }
        let mut end = begin;
        let mut parts = 0;
        let mut at = 0;
        while parts < depth
            && let Some(found) = position(rest.get(at..).unwrap_or_default(), &self.separator)
        {
            // `/registry` has one part, as `registry` has.
            if at + found > 0 {
                parts += 1;
            }
            at += found + self.separator.len();
            end = begin + at;
        }
        key.get(..end)
    }
}

fn position(haystack: &[u8], needle: &[u8]) -> Option<usize> {
    match needle {
        [byte] => haystack.iter().position(|other| other == byte),
        _ => haystack.windows(needle.len()).position(|window| window == needle),
    }
}

/// Tallies by prefix, of which there are at most so many.
pub(super) struct Table<'a> {
    grouping: Grouping,
    most: usize,
    depth: usize,
    tallies: HashMap<&'a [u8], Tally>,
}

impl<'a> Table<'a> {
    pub(super) fn new(grouping: &Grouping, most: usize) -> Self {
        let grouping = grouping.clone();
        Self { depth: grouping.depth, grouping, most, tallies: HashMap::new() }
    }

    pub(super) fn add(&mut self, key: &'a [u8], tally: &Tally) {
        if let Some(prefix) = self.grouping.prefix_of(key, self.depth) {
            self.tallies.entry(prefix).or_default().add(tally);
            self.fit();
        }
    }

    pub(super) fn join(&mut self, other: Table<'a>) {
        self.lower(other.depth);
        for (prefix, tally) in other.tallies {
            self.add(prefix, &tally);
        }
    }

    /// Lowers the depth until there are few enough. How far depends on the prefixes alone: there are never fewer of
    /// them at a greater depth.
    fn fit(&mut self) {
        while self.tallies.len() > self.most
            && let Some(lower) = self.depth.checked_sub(1)
        {
            self.lower(lower);
        }
    }

    fn lower(&mut self, depth: usize) {
        if depth >= self.depth {
            return;
        }
        self.depth = depth;
        for (prefix, tally) in std::mem::take(&mut self.tallies) {
            // A prefix at a depth is a prefix of itself at a lesser one.
            if let Some(shorter) = self.grouping.prefix_of(prefix, depth) {
                self.tallies.entry(shorter).or_default().add(&tally);
            }
        }
    }

    /// The tallies in key order, and their depth.
    pub(super) fn finish(self) -> (Vec<PrefixUse<'a>>, usize) {
        let mut prefixes: Vec<PrefixUse<'a>> =
            self.tallies.into_iter().map(|(prefix, tally)| PrefixUse { prefix, tally }).collect();
        prefixes.sort_unstable_by_key(|prefix| prefix.prefix);
        (prefixes, self.depth)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn grouping(prefix: &str, separator: &str, depth: usize) -> Grouping {
        Grouping { prefix: prefix.into(), separator: separator.into(), depth }
    }

    #[test]
    fn prefixes_end_with_a_separator_and_a_first_one_does_not_count() {
        let cases = [
            ("", "/", 0, "/registry/pods/a", Some("")),
            ("", "/", 1, "/registry/pods/a", Some("/registry/")),
            ("", "/", 2, "/registry/pods/a", Some("/registry/pods/")),
            ("", "/", 9, "/registry/pods/a", Some("/registry/pods/")),
            ("", "/", 1, "registry/pods/a", Some("registry/")),
            ("", "/", 1, "plain", Some("")),
            ("", "/", 1, "/plain", Some("/")),
            ("", "/", 2, "a//b", Some("a//")),
            ("/registry/", "/", 1, "/registry/pods/a", Some("/registry/pods/")),
            ("/registry/", "/", 1, "/other/pods/a", None),
            ("", "::", 1, "a::b::c", Some("a::")),
            ("", "", 2, "plain", Some("pl")),
            ("pl", "", 2, "plain", Some("plai")),
            ("", "", 9, "plain", Some("plain")),
        ];
        for (prefix, separator, depth, key, expected) in cases {
            let is = grouping(prefix, separator, depth).prefix_of(key.as_bytes(), depth);
            assert_eq!(is, expected.map(str::as_bytes), "{prefix} {separator} {depth} {key}");
        }
    }

    #[test]
    fn a_prefix_counts_under_its_own_shorter_ones() {
        let keys = ["/a/b/c/d", "a/b/c", "/", "//a/b", "", "abc", "a/", "a//b/c"];
        for (separator, prefix) in [("/", ""), ("", ""), ("b", ""), ("/", "/"), ("/", "a")] {
            let grouping = grouping(prefix, separator, 0);
            for key in keys.map(str::as_bytes) {
                for depth in 0..5 {
                    let Some(long) = grouping.prefix_of(key, depth) else { continue };
                    for shorter in 0..=depth {
                        assert_eq!(
                            grouping.prefix_of(long, shorter),
                            grouping.prefix_of(key, shorter),
                            "{separator} {key:?} {depth} {shorter}"
                        );
                    }
                }
            }
        }
    }

    /// The order in which keys come must not matter, nor where tables are joined.
    #[test]
    fn the_depth_is_lowered_for_all_alike() {
        let keys: Vec<String> = (0..400).map(|n| format!("/{}/{}/{n}", n % 3, n % 40)).collect();
        let one = Tally { live: super::super::Amount { records: 1, bytes: 7 }, ..Tally::default() };
        let tally = |keys: &mut dyn Iterator<Item = &String>, parts: usize| {
            let keys: Vec<&String> = keys.collect();
            let mut all = Table::new(&grouping("", "/", 2), 50);
            for part in keys.chunks(keys.len().div_ceil(parts)) {
                let mut table = Table::new(&grouping("", "/", 2), 50);
                part.iter().for_each(|key| table.add(key.as_bytes(), &one));
                all.join(table);
            }
            let (prefixes, depth) = all.finish();
            let prefixes = prefixes.iter().map(|one| (one.prefix.to_vec(), one.tally));
            (prefixes.collect::<Vec<_>>(), depth)
        };
        let expected = tally(&mut keys.iter(), 1);
        assert_eq!((expected.0.len(), expected.1), (3, 1), "120 do not fit into 50");
        for parts in [1, 2, 7, 400] {
            assert_eq!(tally(&mut keys.iter(), parts), expected);
            assert_eq!(tally(&mut keys.iter().rev(), parts), expected);
        }
        assert_eq!(expected.0.iter().map(|(_, tally)| tally.live.records).sum::<u64>(), 400);
    }
}
