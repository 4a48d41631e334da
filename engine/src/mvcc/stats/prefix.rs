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
        [byte] => memchr::memchr(*byte, haystack),
        _ => haystack.windows(needle.len()).position(|window| window == needle),
    }
}

/// Prefixes, numbered, of which there are at most so many.
pub(super) struct Prefixes<'a> {
    grouping: Grouping,
    most: usize,
    depth: usize,
    numbers: HashMap<&'a [u8], u32>,
    /// Where each number ever given has moved when the depth was lowered; itself, where it has not.
    moved: Vec<u32>,
}

impl<'a> Prefixes<'a> {
    pub(super) fn new(grouping: &Grouping, most: usize) -> Self {
        let grouping = grouping.clone();
        let (numbers, moved) = (HashMap::new(), Vec::new());
        Self { depth: grouping.depth, grouping, most, numbers, moved }
    }

    /// How many numbers were given.
    pub(super) fn given(&self) -> usize {
        self.moved.len()
    }

    /// The number of the prefix that `key` is counted under; `None` when it is not asked for.
    pub(super) fn number(&mut self, key: &'a [u8]) -> Option<u32> {
        let prefix = self.grouping.prefix_of(key, self.depth)?;
        if let Some(number) = self.numbers.get(prefix) {
            return Some(*number);
        }
        let number = u32::try_from(self.moved.len()).ok()?;
        self.moved.push(number);
        self.numbers.insert(prefix, number);
        self.fit();
        Some(self.now(number))
    }

    /// What a number given earlier is now.
    pub(super) fn now(&self, mut number: u32) -> u32 {
        while let Some(next) = self.moved.get(number as usize).filter(|next| **next != number) {
            number = *next;
        }
        number
    }

    /// Takes in `other`; gives what each of its numbers is here.
    pub(super) fn join(&mut self, other: &Prefixes<'a>) -> Vec<u32> {
        self.lower(other.depth);
        let mut here = vec![0; other.given()];
        for (prefix, number) in &other.numbers {
            if let (Some(known), Some(place)) =
                (self.number(prefix), here.get_mut(*number as usize))
            {
                *place = known;
            }
        }
        (0..).zip(&other.moved).for_each(|(number, _): (u32, _)| {
            let known = here.get(other.now(number) as usize).copied().unwrap_or_default();
            here.get_mut(number as usize).into_iter().for_each(|place| *place = known);
        });
        here
    }

    /// Lowers the depth until there are few enough. How far depends on the prefixes alone: there are never fewer of
    /// them at a greater depth.
    fn fit(&mut self) {
        while self.numbers.len() > self.most
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
        for (prefix, number) in std::mem::take(&mut self.numbers) {
            // A prefix at a depth is a prefix of itself at a lesser one.
            let Some(shorter) = self.grouping.prefix_of(prefix, depth) else { continue };
            let first = *self.numbers.entry(shorter).or_insert(number);
            self.moved.get_mut(number as usize).into_iter().for_each(|moved| *moved = first);
        }
    }

    /// The tallies by number, added up by what those are now, in key order; and their depth.
    pub(super) fn finish(self, tallies: &[Tally]) -> (Vec<PrefixUse<'a>>, usize) {
        let mut sums = vec![Tally::default(); self.given()];
        for (number, tally) in (0..).zip(tallies) {
            sums.get_mut(self.now(number) as usize).into_iter().for_each(|sum| sum.add(tally));
        }
        let mut prefixes: Vec<PrefixUse<'a>> = self
            .numbers
            .into_iter()
            .filter_map(|(prefix, number)| {
                Some(PrefixUse { prefix, tally: *sums.get(number as usize)? })
            })
            .collect();
        prefixes.sort_unstable_by_key(|prefix| prefix.prefix);
        (prefixes, self.depth)
    }
}

/// Tallies by prefix.
pub(super) struct Table<'a> {
    prefixes: Prefixes<'a>,
    tallies: Vec<Tally>,
}

impl<'a> Table<'a> {
    pub(super) fn new(grouping: &Grouping, most: usize) -> Self {
        Self { prefixes: Prefixes::new(grouping, most), tallies: Vec::new() }
    }

    pub(super) fn add(&mut self, key: &'a [u8], tally: &Tally) {
        if let Some(number) = self.prefixes.number(key) {
            self.count(number, tally);
        }
    }

    fn count(&mut self, number: u32, tally: &Tally) {
        self.tallies.resize(self.prefixes.given(), Tally::default());
        self.tallies.get_mut(number as usize).into_iter().for_each(|sum| sum.add(tally));
    }

    pub(super) fn join(&mut self, other: &Table<'a>) {
        let here = self.prefixes.join(&other.prefixes);
        for (number, tally) in here.into_iter().zip(&other.tallies) {
            self.count(number, tally);
        }
    }

    pub(super) fn finish(self) -> (Vec<PrefixUse<'a>>, usize) {
        self.prefixes.finish(&self.tallies)
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
                all.join(&table);
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
