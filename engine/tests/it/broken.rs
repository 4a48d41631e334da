//! Kinds of damage at random places of a database, for tests of the engine and of the program alike.

use std::collections::BTreeMap;

use etcdsnap_engine::{
    bolt::{Db, PageId, page::Node},
    limits::Limits,
    schema::Revision,
};
use fastrand::Rng;

/// What happens to a file.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Damage {
    /// Both metas are zeros or rubbish.
    Metas,
    /// The newer meta is zeros or rubbish.
    NewestMeta,
    /// The root of all buckets is rubbish.
    Root,
    /// A branch of the key space is rubbish.
    Branch,
    /// A few leaves name other pages.
    WrongIds,
    /// A branch leads back up, or to a sibling.
    Cycle,
    /// The file ends early.
    Truncated,
    /// A range of pages is zeros.
    Zeroed,
    /// Some sectors are zeros.
    Holes,
}

impl Damage {
    /// Every kind.
    pub const ALL: [Damage; 9] = [
        Damage::Metas,
        Damage::NewestMeta,
        Damage::Root,
        Damage::Branch,
        Damage::WrongIds,
        Damage::Cycle,
        Damage::Truncated,
        Damage::Zeroed,
        Damage::Holes,
    ];

    /// For names and tables.
    pub fn name(self) -> &'static str {
        match self {
            Damage::Metas => "both_metas",
            Damage::NewestMeta => "newest_meta",
            Damage::Root => "root",
            Damage::Branch => "branch",
            Damage::WrongIds => "wrong_ids",
            Damage::Cycle => "cycle",
            Damage::Truncated => "truncated",
            Damage::Zeroed => "zeroed",
            Damage::Holes => "holes",
        }
    }

    /// The sound database `bytes`, damaged.
    pub fn done_to(self, bytes: &[u8], rng: &mut Rng) -> Vec<u8> {
        let db = Db::from_bytes(bytes, Limits::default()).unwrap();
        let size = db.page_size() as usize;
        let pages = db.pages_in_file() as usize;
        let (branches, leaves) = tree(&db);
        let mut broken = bytes.to_vec();
        match self {
            Damage::Metas => {
                for slot in 0..2 {
                    rubbish(&mut broken[slot * size..slot * size + 80], rng);
                }
            }
            Damage::NewestMeta => {
                let slot = usize::from(db.meta().slot);
                rubbish(&mut broken[slot * size..slot * size + 80], rng);
            }
            Damage::Root => {
                let root = db.meta().root.0 as usize;
                rubbish(&mut broken[root * size..(root + 1) * size], rng);
            }
            Damage::Branch => {
                let page = pick(&branches, &leaves, rng);
                rubbish(&mut broken[page * size..(page + 1) * size], rng);
            }
            Damage::WrongIds => {
                for _ in 0..rng.usize(1..4) {
                    let page = leaves[rng.usize(..leaves.len())].0 as usize;
                    let id = rng.u64(..pages as u64 * 2);
                    broken[page * size..page * size + 8].copy_from_slice(&id.to_le_bytes());
                }
            }
            Damage::Cycle => {
                let page = pick(&branches, &leaves, rng);
                let count = usize::from(u16::from_le_bytes([
                    bytes[page * size + 10],
                    bytes[page * size + 11],
                ]));
                let to =
                    if rng.bool() { page } else { leaves[rng.usize(..leaves.len())].0 as usize };
                let at = page * size + 16 + 16 * rng.usize(..count.max(1)) + 8;
                broken[at..at + 8].copy_from_slice(&(to as u64).to_le_bytes());
            }
            Damage::Truncated => broken.truncate(rng.usize(size * 3..pages * size)),
            Damage::Zeroed => {
                let from = rng.usize(..pages);
                let to = (from + rng.usize(1..=32)).min(pages);
                broken[from * size..to * size].fill(0);
            }
            Damage::Holes => {
                for _ in 0..rng.usize(1..6) {
                    let from = rng.usize(..pages * size / 512);
                    let to = (from + rng.usize(1..=8)).min(pages * size / 512);
                    broken[from * 512..to * 512].fill(0);
                }
            }
        }
        broken
    }
}

fn pick(branches: &[PageId], leaves: &[PageId], rng: &mut Rng) -> usize {
    let from = if branches.is_empty() { leaves } else { branches };
    from[rng.usize(..from.len())].0 as usize
}

fn rubbish(bytes: &mut [u8], rng: &mut Rng) {
    if rng.bool() {
        bytes.fill(0);
    } else {
        bytes.iter_mut().for_each(|byte| *byte = rng.u8(..));
    }
}

/// Branches and leaves of bucket `key`.
fn tree(db: &Db<'_>) -> (Vec<PageId>, Vec<PageId>) {
    let (mut branches, mut leaves) = (Vec::new(), Vec::new());
    let bucket = db.root().bucket(b"key").unwrap().unwrap();
    let etcdsnap_engine::bolt::bucket::Root::Page(root) = bucket.root() else {
        return (branches, vec![db.meta().root]);
    };
    let mut stack = vec![root];
    while let Some(page) = stack.pop() {
        match db.node(page).unwrap() {
            Node::Leaf(leaf) => leaves.push(leaf.page()),
            Node::Branch(branch) => {
                branches.push(page);
                stack.extend((0..branch.count()).map(|at| branch.child_page(at).unwrap()));
            }
        }
    }
    (branches, leaves)
}

/// A record of the key space and the bytes of the file it lives on.
#[derive(Clone, Debug)]
pub struct Lives {
    /// Its value.
    pub value: Vec<u8>,
    /// First and last byte of its leaf.
    pub leaf: (usize, usize),
}

/// Every record of the key space of a sound database, by its stored key.
pub fn records(bytes: &[u8]) -> BTreeMap<Vec<u8>, Lives> {
    let db = Db::from_bytes(bytes, Limits::default()).unwrap();
    let bucket = db.root().bucket(b"key").unwrap().unwrap();
    let mut records = BTreeMap::new();
    for leaf in bucket.leaves() {
        let leaf = leaf.unwrap();
        let start = leaf.page().0 as usize * db.page_size() as usize;
        for item in leaf.items() {
            let item = item.unwrap();
            let end = start + leaf.len_bytes() as usize;
            let lives = Lives { value: item.value.to_vec(), leaf: (start, end) };
            records.insert(item.key.to_vec(), lives);
        }
    }
    records
}

/// The records of a sound database, by stored key, that stand on leaves `broken` has as `bytes` has them.
pub fn untouched(bytes: &[u8], broken: &[u8]) -> BTreeMap<Vec<u8>, Vec<u8>> {
    let intact = |(start, end): (usize, usize)| broken.get(start..end) == bytes.get(start..end);
    let records = records(bytes).into_iter();
    records.filter(|(_, lives)| intact(lives.leaf)).map(|(key, lives)| (key, lives.value)).collect()
}

/// Each key that exists with the revision of its newest record.
pub fn live(bytes: &[u8]) -> BTreeMap<Vec<u8>, Revision> {
    use etcdsnap_engine::{
        mvcc::{KeyIndex, KeySpace},
        progress::Silent,
        schema::Store,
    };
    let db = Db::from_bytes(bytes, Limits::default()).unwrap();
    let space = KeySpace::open(&Store::new(db)).unwrap();
    let index = KeyIndex::build(space.bucket(), i64::MAX, &Silent).unwrap();
    let mut keys = BTreeMap::new();
    index
        .for_each_live(|record| {
            keys.insert(record.kv.key.to_vec(), record.key.revision);
        })
        .unwrap();
    keys
}
