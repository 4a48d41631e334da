//! The JSON of a v2 store, as a snapfile holds it. Read without recursion: directories nest to any depth.

use std::collections::BTreeMap;

use serde::{Deserialize, de::IgnoredAny};

use super::{
    time,
    tree::{At, Content, ROOT, Tree},
};

/// Why the JSON is no v2 store.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("at byte {offset} of its JSON: expected {expected}")]
pub struct NotAStore {
    /// Where, counted from the start of the JSON.
    pub offset: usize,
    /// What a server writes there.
    pub expected: &'static str,
}

/// Reads a store.
pub(super) fn read(json: &[u8]) -> Result<Tree, NotAStore> {
    let mut reader = Reader { json, offset: 0 };
    let mut tree = Tree::default();
    let mut found = false;
    reader.expect(b'{', "an object")?;
    let mut first = true;
    while let Some(field) = reader.next_name(&mut first)? {
        match field.as_str() {
            "Root" => {
                found = true;
                reader.nodes(&mut tree)?;
            }
            "CurrentIndex" => tree.set_index(reader.value("an index")?),
            _ => reader.skip()?,
        }
    }
    if found { Ok(tree) } else { Err(reader.error("a field Root")) }
}

struct Reader<'j> {
    json: &'j [u8],
    offset: usize,
}

impl Reader<'_> {
    /// Reads a node and all below it into the root of `tree`.
    fn nodes(&mut self, tree: &mut Tree) -> Result<(), NotAStore> {
        // The node, whether the reader stands among the nodes below it, and whether nothing was read there yet.
        let mut open: Vec<(At, bool, bool)> = vec![(ROOT, false, true)];
        self.expect(b'{', "a node")?;
        while let Some((at, within, first)) = open.last_mut() {
            let (at, within) = (*at, *within);
            let Some(name) = self.next_name(first)? else {
                open.pop();
                continue;
            };
            if within {
                self.expect(b'{', "a node")?;
                let child = tree.adopt(at, name.as_bytes());
                open.push((child, false, true));
                continue;
            }
            match name.as_str() {
                "CreatedIndex" => {
                    let index = self.value("an index")?;
                    tree.edit(at, |node| node.created = index);
                }
                "ModifiedIndex" => {
                    let index = self.value("an index")?;
                    tree.edit(at, |node| node.modified = index);
                }
                "ExpireTime" => {
                    let text: String = self.value("a time")?;
                    tree.set_expiry(at, time::parse(&text));
                }
                "Value" => {
                    let text: String = self.value("a text")?;
                    tree.edit(at, |node| {
                        if let Content::File(value) = &mut node.content {
                            *value = text.into_bytes();
                        }
                    });
                }
                // `null` in a file.
                "Children" if self.peek() == Some(b'{') => {
                    self.expect(b'{', "nodes")?;
                    tree.edit(at, |node| {
                        if !node.is_dir() {
                            node.content = Content::Dir(BTreeMap::new());
                        }
                    });
                    open.push((at, true, true));
                }
                _ => self.skip()?,
            }
        }
        Ok(())
    }

    fn error(&self, expected: &'static str) -> NotAStore {
        NotAStore { offset: self.offset, expected }
    }

    fn rest(&self) -> &[u8] {
        self.json.get(self.offset..).unwrap_or_default()
    }

    /// The next byte that is no white space.
    fn peek(&mut self) -> Option<u8> {
        let rest = self.rest();
        let blank = rest.iter().take_while(|byte| b" \t\r\n".contains(byte)).count();
        let next = rest.get(blank).copied();
        self.offset = self.offset.saturating_add(blank);
        next
    }

    fn expect(&mut self, byte: u8, expected: &'static str) -> Result<(), NotAStore> {
        if self.peek() != Some(byte) {
            return Err(self.error(expected));
        }
        self.offset = self.offset.saturating_add(1);
        Ok(())
    }

    /// The next name of an object, behind the comma that stands before it unless it is the `first`; `None` at the object's end.
    fn next_name(&mut self, first: &mut bool) -> Result<Option<String>, NotAStore> {
        if self.peek() == Some(b'}') {
            self.offset = self.offset.saturating_add(1);
            return Ok(None);
        }
        if !std::mem::replace(first, false) {
            self.expect(b',', "a comma or the end of the object")?;
        }
        let name = self.value("a name")?;
        self.expect(b':', "a colon")?;
        Ok(Some(name))
    }

    fn skip(&mut self) -> Result<(), NotAStore> {
        // The parser passes over what is ignored without recursion.
        self.value::<IgnoredAny>("a value").map(|_| ())
    }

    fn value<T: for<'de> Deserialize<'de>>(
        &mut self,
        expected: &'static str,
    ) -> Result<T, NotAStore> {
        let mut values = serde_json::Deserializer::from_slice(self.rest()).into_iter::<T>();
        let Some(Ok(value)) = values.next() else { return Err(self.error(expected)) };
        self.offset = self.offset.saturating_add(values.byte_offset());
        Ok(value)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_store_is_read_as_a_server_wrote_it() {
        let json = br#"{"Root":{"Path":"/","CreatedIndex":0,"ModifiedIndex":0,"ExpireTime":"0001-01-01T00:00:00Z",
            "Value":"","Children":{"1":{"Path":"/1","CreatedIndex":0,"ModifiedIndex":0,
            "ExpireTime":"0001-01-01T00:00:00Z","Value":"","Children":{
            "empty":{"CreatedIndex":4,"ModifiedIndex":4,"ExpireTime":"0001-01-01T00:00:00Z","Value":"","Children":{}},
            "k":{"CreatedIndex":5,"ModifiedIndex":6,"ExpireTime":"2026-11-28T07:15:02.5+01:00","Value":"\u003cv\u003e","Children":null}}}}},
            "WatcherHub":{"EventHistory":{"Queue":{"Events":[null,[[]]]}}},"CurrentIndex":9,"Stats":{},"CurrentVersion":2}"#;
        let mut tree = read(json).unwrap();
        assert_eq!((tree.index(), tree.value(b"/1/k")), (9, Some(b"<v>".as_slice())));
        assert!(tree.get(b"/1/empty").unwrap().is_dir());
        assert!(tree.get(b"/0").unwrap().is_dir(), "a server has it, whatever it reads");
        let node = tree.get(b"/1/k").unwrap();
        assert_eq!((node.created, node.modified), (5, 6));
        assert_eq!(node.expires.map(time::rfc3339).unwrap(), "2026-11-28T06:15:02.5Z");
        tree.expire(node.expires.unwrap());
        assert!(tree.get(b"/1/k").is_none());
    }

    #[test]
    fn what_is_no_store_is_told() {
        let expected = |json: &[u8]| read(json).unwrap_err().expected;
        assert_eq!(expected(b""), "an object");
        assert_eq!(expected(b"{}"), "a field Root");
        assert_eq!(expected(b"[1]"), "an object");
        assert_eq!(expected(br#"{"Root":7}"#), "a node");
        assert_eq!(expected(br#"{"Root":{"Children":{"1":null}}}"#), "a node");
        assert_eq!(expected(br#"{"Root":{"Value":{}}}"#), "a text");
        assert_eq!(expected(br#"{"Root":{"CreatedIndex":-1}}"#), "an index");
        assert_eq!(expected(br#"{"Root":{"CreatedIndex":1"#), "a comma or the end of the object");
        assert_eq!(expected(br#"{"Root":{},}"#), "a name");
    }

    #[test]
    fn directories_nest_to_any_depth() {
        let depth = 200_000;
        let json = [
            r#"{"Root":{"Children":{"1":"#,
            &r#"{"Children":{"d":"#.repeat(depth),
            "{}",
            &"}}".repeat(depth),
            "}}}",
        ]
        .concat();
        let tree = read(json.as_bytes()).unwrap();
        let mut deepest = 0;
        tree.walk(b"/1", |path, _| -> Result<(), ()> {
            deepest = deepest.max(path.len());
            Ok(())
        })
        .unwrap();
        assert_eq!(deepest, 2 * depth);
    }

    /// A name twice: the last one counts, as in Go, and what the first one said ends with it.
    #[test]
    fn of_two_nodes_of_one_name_the_last_one_counts() {
        let ending = r#"{"Value":"old","ExpireTime":"2026-11-28T07:15:02Z","Children":null}"#;
        let json = format!(
            r#"{{"Root":{{"Children":{{"1":{{"Children":{{"k":{ending},"k":{{"Value":"new"}}}}}}}}}}}}"#
        );
        let mut tree = read(json.as_bytes()).unwrap();
        tree.expire(i64::MAX);
        assert_eq!(tree.value(b"/1/k"), Some(b"new".as_slice()));
    }
}
