//! The store's nodes and operations. Source: etcd `api/v2store/{store,node}.go`, the same from 2.0 to 3.5.

use std::collections::{BTreeMap, BTreeSet};

use super::{error::Refused, path::names, time::EARLIEST};

/// Where a node is in the tree's list of nodes.
pub(super) type At = usize;

pub(super) const ROOT: At = 0;

/// A node: a file or a directory.
#[derive(Clone, Debug)]
pub struct Node {
    parent: At,
    /// Its name in its parent; empty for the root.
    name: Vec<u8>,
    /// Index of the request that made it.
    pub created: u64,
    /// Index of the last request that changed it.
    pub modified: u64,
    /// When it ends, in nanoseconds since 1970; `None` for never.
    pub expires: Option<i64>,
    /// What it holds.
    pub content: Content,
}

/// What a node holds.
#[derive(Clone, Debug)]
pub enum Content {
    /// A value.
    File(Vec<u8>),
    /// Nodes by name.
    Dir(BTreeMap<Vec<u8>, At>),
}

impl Node {
    /// Whether it is a directory.
    pub fn is_dir(&self) -> bool {
        matches!(self.content, Content::Dir(_))
    }

    fn child(&self, name: &[u8]) -> Option<At> {
        match &self.content {
            Content::Dir(children) => children.get(name).copied(),
            Content::File(_) => None,
        }
    }
}

/// What a request asks of the time a node ends.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Expiry {
    /// When it ends, in nanoseconds since 1970; `None` for never.
    pub at: Option<i64>,
    /// Whether the value stays as it is.
    pub refresh: bool,
}

/// The conditions of a compare-and-swap or compare-and-delete.
#[derive(Clone, Copy, Debug, Default)]
pub struct Condition<'r> {
    /// The old value; empty for any.
    pub value: &'r [u8],
    /// The index of the last change; 0 for any.
    pub index: u64,
}

/// The whole store. A list of nodes that name each other by place: neither a deep path nor a long one costs a stack.
#[derive(Clone, Debug)]
pub struct Tree {
    nodes: Vec<Node>,
    /// Places of nodes that were removed.
    free: Vec<At>,
    /// Nodes that end, by when.
    ending: BTreeSet<(i64, At)>,
    /// Requests that changed the store.
    index: u64,
    /// Whether an update of a directory sets when it ends. It is refused since 3.5.
    updates_dirs: bool,
}

impl Default for Tree {
    /// The store of a new cluster.
    fn default() -> Self {
        let root = Node {
            parent: ROOT,
            name: Vec::new(),
            created: 0,
            modified: 0,
            expires: None,
            content: Content::Dir(BTreeMap::new()),
        };
        let mut tree = Self {
            nodes: vec![root],
            free: Vec::new(),
            ending: BTreeSet::new(),
            index: 0,
            updates_dirs: true,
        };
        for name in [b"0", b"1"] {
            tree.add(ROOT, name, 0, 0, None, Content::Dir(BTreeMap::new()));
        }
        tree
    }
}

impl Tree {
    /// Requests that changed the store.
    pub fn index(&self) -> u64 {
        self.index
    }

    pub(super) fn set_index(&mut self, index: u64) {
        self.index = index;
    }

    /// Says whether the server is of 3.5 or later.
    pub(super) fn set_updates_dirs(&mut self, updates_dirs: bool) {
        self.updates_dirs = updates_dirs;
    }

    /// The node at `path`.
    #[cfg(test)]
    pub(super) fn get(&self, path: &[u8]) -> Option<&Node> {
        self.nodes.get(self.find(&names(path)).ok()?)
    }

    /// The value of the file at `path`.
    #[cfg(test)]
    pub(super) fn value(&self, path: &[u8]) -> Option<&[u8]> {
        match &self.get(path)?.content {
            Content::File(value) => Some(value),
            Content::Dir(_) => None,
        }
    }

    /// Calls `each` with path and node of everything below `path`, in the order of the paths' bytes.
    ///
    /// # Errors
    /// Those of `each`.
    pub fn walk<'t, E>(
        &'t self,
        path: &[u8],
        mut each: impl FnMut(&[u8], &'t Node) -> Result<(), E>,
    ) -> Result<(), E> {
        let Ok(start) = self.find(&names(path)) else { return Ok(()) };
        // What is to be visited: a node whose name goes to that place in the path, or what is below it.
        let mut path = Vec::new();
        let mut pending = vec![(start, 0, true)];
        while let Some((at, depth, below)) = pending.pop() {
            let Some(node) = self.nodes.get(at) else { continue };
            path.truncate(depth);
            if at != start {
                path.push(b'/');
                path.extend_from_slice(&node.name);
            }
            if !below {
                each(&path, node)?;
                continue;
            }
            let Content::Dir(children) = &node.content else { continue };
            let mut next: Vec<(&[u8], bool, At)> = Vec::with_capacity(children.len());
            for (name, child) in children {
                next.push((name, false, *child));
                let dir = self.nodes.get(*child).is_some_and(Node::is_dir);
                next.extend(dir.then_some((name.as_slice(), true, *child)));
            }
            // What is below `a` comes behind `a-b`, as `/` comes behind `-`.
            let bytes = |(name, below, _): &(&[u8], bool, At)| {
                let slash = below.then_some(&b'/');
                name.iter().chain(slash).copied().collect::<Vec<u8>>()
            };
            next.sort_by_cached_key(bytes);
            let depth = path.len();
            pending.extend(next.into_iter().rev().map(|(_, below, child)| (child, depth, below)));
        }
        Ok(())
    }

    fn node(&self, at: At) -> Result<&Node, Refused> {
        self.nodes.get(at).ok_or(Refused::KeyNotFound)
    }

    fn find(&self, names: &[&[u8]]) -> Result<At, Refused> {
        let mut at = ROOT;
        for name in names {
            let node = self.node(at)?;
            if !node.is_dir() {
                return Err(Refused::NotDir);
            }
            at = node.child(name).ok_or(Refused::KeyNotFound)?;
        }
        Ok(at)
    }

    pub(super) fn add(
        &mut self,
        parent: At,
        name: &[u8],
        created: u64,
        modified: u64,
        expires: Option<i64>,
        content: Content,
    ) -> At {
        let name = name.to_vec();
        let node = Node { parent, name: name.clone(), created, modified, expires, content };
        let free = self.free.pop();
        let at = match free.and_then(|at| Some((at, self.nodes.get_mut(at)?))) {
            Some((at, place)) => {
                *place = node;
                at
            }
            None => {
                self.nodes.push(node);
                self.nodes.len() - 1
            }
        };
        if let Some(Content::Dir(children)) =
            self.nodes.get_mut(parent).map(|node| &mut node.content)
        {
            children.insert(name, at);
        }
        self.ending.extend(expires.map(|time| (time, at)));
        at
    }

    /// An empty file below `parent`, in place of what has the name there.
    pub(super) fn adopt(&mut self, parent: At, name: &[u8]) -> At {
        if let Some(old) = self.nodes.get(parent).and_then(|node| node.child(name)) {
            self.remove(old);
        }
        self.add(parent, name, 0, 0, None, Content::File(Vec::new()))
    }

    /// Changes the node at `at`, but for when it ends.
    pub(super) fn edit(&mut self, at: At, change: impl FnOnce(&mut Node)) {
        if let Some(node) = self.nodes.get_mut(at) {
            change(node);
        }
    }

    /// Takes a node and all below it out of the tree.
    fn remove(&mut self, at: At) {
        if let Some((parent, name)) =
            self.nodes.get(at).map(|node| (node.parent, node.name.clone()))
            && let Some(Content::Dir(children)) =
                self.nodes.get_mut(parent).map(|node| &mut node.content)
        {
            children.remove(&name);
        }
        let mut pending = vec![at];
        while let Some(at) = pending.pop() {
            let Some(node) = self.nodes.get_mut(at) else { continue };
            if let Some(time) = node.expires.take() {
                self.ending.remove(&(time, at));
            }
            node.name = Vec::new();
            match std::mem::replace(&mut node.content, Content::File(Vec::new())) {
                Content::Dir(children) => pending.extend(children.into_values()),
                Content::File(_) => {}
            }
            self.free.push(at);
        }
    }

    /// Says when the node at `at` ends.
    pub(super) fn set_expiry(&mut self, at: At, expires: Option<i64>) {
        let Some(node) = self.nodes.get_mut(at) else { return };
        if let Some(time) = std::mem::replace(&mut node.expires, expires) {
            self.ending.remove(&(time, at));
        }
        self.ending.extend(expires.map(|time| (time, at)));
    }

    /// `/`, `/0` and `/1` are never changed themselves.
    fn writable(names: &[&[u8]]) -> Result<(), Refused> {
        match names {
            [] | [b"0" | b"1"] => Err(Refused::RootReadOnly),
            _ => Ok(()),
        }
    }

    /// Makes a node, with the directories above it; `replace` takes the place of a file.
    fn make(
        &mut self,
        names: &[&[u8]],
        content: Content,
        replace: bool,
        expires: Option<i64>,
    ) -> Result<(), Refused> {
        Self::writable(names)?;
        let expires = expires.filter(|time| *time >= EARLIEST);
        let next = self.index.saturating_add(1);
        let Some((name, above)) = names.split_last() else { return Err(Refused::RootReadOnly) };
        let mut parent = ROOT;
        for name in above {
            let node = self.node(parent)?;
            if !node.is_dir() {
                return Err(Refused::NotDir);
            }
            parent = match node.child(name) {
                Some(child) => child,
                None => self.add(parent, name, next, next, None, Content::Dir(BTreeMap::new())),
            };
        }
        let node = self.node(parent)?;
        if !node.is_dir() {
            return Err(Refused::NotDir);
        }
        if let Some(existing) = node.child(name) {
            if !replace {
                return Err(Refused::NodeExist);
            }
            if self.node(existing)?.is_dir() {
                return Err(Refused::NotFile);
            }
            self.remove(existing);
        }
        self.add(parent, name, next, next, expires, content);
        self.index = next;
        Ok(())
    }

    fn content(dir: bool, value: &[u8]) -> Content {
        if dir { Content::Dir(BTreeMap::new()) } else { Content::File(value.to_vec()) }
    }

    /// Makes the node at `path` anew, or in place of a file.
    ///
    /// # Errors
    /// As the server refuses it.
    pub fn set(
        &mut self,
        path: &[u8],
        dir: bool,
        value: &[u8],
        expiry: Expiry,
    ) -> Result<(), Refused> {
        let names = names(path);
        let old = self.find(&names);
        let kept = match old {
            Err(error @ Refused::NotDir) => return Err(error),
            Err(error) if expiry.refresh => return Err(error),
            Ok(at) if expiry.refresh => match &self.node(at)?.content {
                Content::File(value) => Some(value.clone()),
                Content::Dir(_) => None,
            },
            _ => None,
        };
        let value = kept.as_deref().unwrap_or(if expiry.refresh { b"" } else { value });
        self.make(&names, Self::content(dir, value), true, expiry.at)
    }

    /// Makes the node at `path`, which must not exist; `unique` makes one below it, named by the next index.
    ///
    /// # Errors
    /// As the server refuses it.
    pub fn create(
        &mut self,
        path: &[u8],
        dir: bool,
        value: &[u8],
        unique: bool,
        expiry: Expiry,
    ) -> Result<(), Refused> {
        let mut names = names(path);
        let own = format!("{:020}", self.index.saturating_add(1));
        if unique {
            names.push(own.as_bytes());
        }
        self.make(&names, Self::content(dir, value), false, expiry.at)
    }

    /// Gives a file another value and another end, or a directory another end.
    ///
    /// # Errors
    /// As the server refuses it.
    pub fn update(&mut self, path: &[u8], value: &[u8], expiry: Expiry) -> Result<(), Refused> {
        let names = names(path);
        Self::writable(&names)?;
        let at = self.find(&names)?;
        let next = self.index.saturating_add(1);
        let updates_dirs = self.updates_dirs;
        let node = self.nodes.get_mut(at).ok_or(Refused::KeyNotFound)?;
        match &mut node.content {
            Content::Dir(_) if !value.is_empty() || !updates_dirs => return Err(Refused::NotFile),
            Content::Dir(_) => {}
            Content::File(old) => {
                if !expiry.refresh {
                    *old = value.to_vec();
                }
                node.modified = next;
            }
        }
        self.set_expiry(at, expiry.at);
        self.index = next;
        Ok(())
    }

    fn compared(&self, names: &[&[u8]], condition: Condition<'_>) -> Result<At, Refused> {
        let at = self.find(names)?;
        let node = self.node(at)?;
        let Content::File(value) = &node.content else { return Err(Refused::NotFile) };
        let fits = (condition.index == 0 || condition.index == node.modified)
            && (condition.value.is_empty() || condition.value == value);
        if fits { Ok(at) } else { Err(Refused::TestFailed) }
    }

    /// Gives the file at `path` another value and another end if `condition` holds.
    ///
    /// # Errors
    /// As the server refuses it.
    pub fn compare_and_swap(
        &mut self,
        path: &[u8],
        condition: Condition<'_>,
        value: &[u8],
        expiry: Expiry,
    ) -> Result<(), Refused> {
        let names = names(path);
        Self::writable(&names)?;
        let at = self.compared(&names, condition)?;
        let next = self.index.saturating_add(1);
        if let Some(node) = self.nodes.get_mut(at) {
            if !expiry.refresh {
                node.content = Content::File(value.to_vec());
            }
            node.modified = next;
        }
        self.set_expiry(at, expiry.at);
        self.index = next;
        Ok(())
    }

    /// Deletes the node at `path`: a file, with `dir` an empty directory too, with `recursive` anything.
    ///
    /// # Errors
    /// As the server refuses it.
    pub fn delete(&mut self, path: &[u8], dir: bool, recursive: bool) -> Result<(), Refused> {
        let names = names(path);
        Self::writable(&names)?;
        let at = self.find(&names)?;
        if let Content::Dir(children) = &self.node(at)?.content {
            if !dir && !recursive {
                return Err(Refused::NotFile);
            }
            if !children.is_empty() && !recursive {
                return Err(Refused::DirNotEmpty);
            }
        }
        self.remove(at);
        self.index = self.index.saturating_add(1);
        Ok(())
    }

    /// Deletes the file at `path` if `condition` holds.
    ///
    /// # Errors
    /// As the server refuses it.
    pub fn compare_and_delete(
        &mut self,
        path: &[u8],
        condition: Condition<'_>,
    ) -> Result<(), Refused> {
        let at = self.compared(&names(path), condition)?;
        self.remove(at);
        self.index = self.index.saturating_add(1);
        Ok(())
    }

    /// Deletes what ends at `now`, in nanoseconds since 1970, or before, the oldest first.
    pub fn expire(&mut self, now: i64) {
        while let Some((time, at)) = self.ending.first().copied()
            && time <= now
        {
            self.ending.remove(&(time, at));
            self.remove(at);
            self.index = self.index.saturating_add(1);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const S: i64 = 1_000_000_000;
    const NOW: i64 = 1_800_000_000 * S;

    fn until(seconds: i64) -> Expiry {
        Expiry { at: Some(NOW + seconds * S), refresh: false }
    }

    fn listed(tree: &Tree) -> Vec<String> {
        let mut found = Vec::new();
        let Ok(()) = tree.walk(b"/1", |path, node| -> Result<(), std::convert::Infallible> {
            let mark = if node.is_dir() { "/" } else { "" };
            let (created, modified) = (node.created, node.modified);
            found.push(format!("{}{mark} {created} {modified}", String::from_utf8_lossy(path)));
            Ok(())
        });
        found
    }

    #[test]
    fn files_and_directories_are_made_changed_and_deleted() {
        let mut tree = Tree::default();
        let never = Expiry::default();
        tree.set(b"/1/a/b", false, b"x", never).unwrap();
        tree.set(b"/1/a/b", false, b"y", never).unwrap();
        assert_eq!(tree.value(b"/1/a/b"), Some(b"y".as_slice()));
        tree.update(b"/1/a/b", b"z", never).unwrap();
        assert_eq!(listed(&tree), ["/a/ 1 1", "/a/b 2 3"]);
        assert_eq!(tree.set(b"/1/a", false, b"x", never), Err(Refused::NotFile));
        assert_eq!(tree.set(b"/1/a/b/c", false, b"x", never), Err(Refused::NotDir));
        assert_eq!(tree.create(b"/1/a/b", false, b"", false, never), Err(Refused::NodeExist));
        assert_eq!(tree.set(b"/1", true, b"", never), Err(Refused::RootReadOnly));
        assert_eq!(tree.delete(b"/1/a", false, false), Err(Refused::NotFile));
        assert_eq!(tree.delete(b"/1/a", true, false), Err(Refused::DirNotEmpty));
        assert_eq!(tree.delete(b"/1/none", false, false), Err(Refused::KeyNotFound));
        assert_eq!(tree.index(), 3, "what is refused changes nothing");
        tree.create(b"/1/q", false, b"first", true, never).unwrap();
        tree.create(b"/1/q/", false, b"second", true, never).unwrap();
        assert_eq!(tree.value(b"/1/q/00000000000000000005"), Some(b"second".as_slice()));
        tree.delete(b"/1/a", false, true).unwrap();
        let left = ["/q/ 4 4", "/q/00000000000000000004 4 4", "/q/00000000000000000005 5 5"];
        assert_eq!(listed(&tree), left);
    }

    #[test]
    fn conditions_are_held_against_value_and_index() {
        let mut tree = Tree::default();
        let never = Expiry::default();
        let value = |value| Condition { value, index: 0 };
        tree.set(b"/1/a", false, b"x", never).unwrap();
        let refused = tree.compare_and_swap(b"/1/a", value(b"y"), b"z", never);
        assert_eq!(refused, Err(Refused::TestFailed));
        tree.compare_and_swap(b"/1/a", value(b"x"), b"z", never).unwrap();
        assert_eq!(listed(&tree), ["/a 1 2"]);
        let at = |index| Condition { value: b"", index };
        assert_eq!(tree.compare_and_delete(b"/1/a", at(1)), Err(Refused::TestFailed));
        tree.compare_and_delete(b"/1/a", at(2)).unwrap();
        assert_eq!((listed(&tree).len(), tree.index()), (0, 3));
    }

    #[test]
    fn what_ends_is_deleted_with_all_below_it() {
        let mut tree = Tree::default();
        tree.set(b"/1/d", true, b"", until(5)).unwrap();
        tree.set(b"/1/d/a", false, b"x", until(9)).unwrap();
        tree.set(b"/1/b", false, b"x", until(2)).unwrap();
        tree.set(b"/1/c", false, b"x", until(3)).unwrap();
        tree.set(b"/1/past", false, b"x", Expiry { at: Some(7), refresh: false }).unwrap();
        tree.update(b"/1/c", b"", Expiry { at: Some(NOW + 20 * S), refresh: true }).unwrap();
        assert_eq!(tree.value(b"/1/c"), Some(b"x".as_slice()));
        tree.expire(NOW + S);
        assert_eq!(tree.index(), 6);
        tree.expire(NOW + 5 * S);
        assert_eq!(listed(&tree), ["/c 4 6", "/past 5 5"]);
        assert_eq!(tree.index(), 8, "one for the file and one for the directory");
        tree.expire(NOW + 100 * S);
        assert_eq!(listed(&tree), ["/past 5 5"], "an end before 2000 is none");
    }

    #[test]
    fn a_directory_is_updated_up_to_3_4() {
        let mut tree = Tree::default();
        tree.set(b"/1/d", true, b"", Expiry::default()).unwrap();
        tree.update(b"/1/d", b"", until(1)).unwrap();
        assert_eq!(tree.update(b"/1/d", b"x", until(1)), Err(Refused::NotFile));
        tree.set_updates_dirs(false);
        assert_eq!(tree.update(b"/1/d", b"", until(9)), Err(Refused::NotFile));
        tree.expire(NOW + S);
        assert!(listed(&tree).is_empty());
    }

    #[test]
    fn a_path_of_a_million_names_costs_no_stack() {
        let mut tree = Tree::default();
        let deep = [b"/1".as_slice(), &b"/a".repeat(300_000)].concat();
        tree.set(&deep, false, b"x", Expiry::default()).unwrap();
        let mut count = 0;
        let Ok(()) = tree.walk(b"/1", |_, _| -> Result<(), std::convert::Infallible> {
            count += 1;
            Ok(())
        });
        assert_eq!(count, 300_000);
        tree.delete(b"/1/a", true, true).unwrap();
        assert_eq!(tree.value(&deep), None);
    }

    #[test]
    fn nodes_come_in_the_order_of_their_paths() {
        let mut tree = Tree::default();
        for path in ["a/b", "a-b", "a", "a.c/d", "a0", "a/b/c"] {
            let path = format!("/1/{path}");
            let _ = tree.set(path.as_bytes(), path.ends_with("b/c"), b"", Expiry::default());
        }
        let paths: Vec<String> = listed(&tree).iter().map(|line| line.replace("/ ", " ")).collect();
        let names: Vec<&str> = paths.iter().filter_map(|line| line.split(' ').next()).collect();
        assert_eq!(names, ["/a", "/a-b", "/a.c", "/a.c/d", "/a/b", "/a0"]);
        assert!(names.is_sorted());
    }

    #[test]
    fn what_is_removed_leaves_its_place() {
        let mut tree = Tree::default();
        for round in 0..1000 {
            tree.set(b"/1/d/a", false, b"x", until(round)).unwrap();
            tree.delete(b"/1/d", true, true).unwrap();
        }
        assert!(tree.nodes.len() < 8, "{}", tree.nodes.len());
        assert!(tree.ending.is_empty());
    }
}
