//! Buckets in memory: what the writer is given, and what readers must find again.

use std::{collections::BTreeMap, io::Cursor};

use etcdsnap_engine::{
    bolt::{
        Bucket, Db, TxId, bucket, check, layout,
        page::Node,
        write::{BucketOptions, BucketWriter, FreelistKind, Options, Writer},
    },
    limits::Limits,
    progress::Silent,
};

/// What stands beside a key.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Entry {
    Value(Vec<u8>),
    Bucket(Contents),
}

/// A bucket's contents.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Contents {
    pub sequence: u64,
    pub entries: BTreeMap<Vec<u8>, Entry>,
}

impl Contents {
    pub fn of(entries: impl IntoIterator<Item = (Vec<u8>, Entry)>) -> Self {
        Self { sequence: 0, entries: entries.into_iter().collect() }
    }

    pub fn values(entries: impl IntoIterator<Item = (Vec<u8>, Vec<u8>)>) -> Self {
        Self::of(entries.into_iter().map(|(key, value)| (key, Entry::Value(value))))
    }

    /// Puts these buckets into a file; panics on a plain value at the top, which bbolt cannot hold.
    pub fn write(&self, options: Options, bucket: BucketOptions, txid: u64) -> Vec<u8> {
        let mut writer = Writer::new(Cursor::new(Vec::new()), options).unwrap();
        for (name, entry) in &self.entries {
            let Entry::Bucket(contents) = entry else { panic!("value at the top") };
            let bucket = BucketOptions { sequence: contents.sequence, ..bucket };
            contents.fill(&mut writer.bucket(name, bucket).unwrap(), bucket);
        }
        let (file, summary) = writer.finish().unwrap().seal(TxId(txid)).unwrap();
        let bytes = file.into_inner();
        assert_eq!(summary.size_bytes, bytes.len() as u64);
        assert_sound(&bytes);
        bytes
    }

    fn fill(&self, writer: &mut BucketWriter<'_, Cursor<Vec<u8>>>, options: BucketOptions) {
        for (key, entry) in &self.entries {
            match entry {
                Entry::Value(value) => writer.put(key, value).unwrap(),
                Entry::Bucket(contents) => {
                    let options = BucketOptions { sequence: contents.sequence, ..options };
                    contents.fill(&mut writer.bucket(key, options).unwrap(), options);
                }
            }
        }
    }

    /// What `bucket` holds.
    pub fn read(bucket: &Bucket<'_>) -> Self {
        let entries = bucket.items().map(|item| {
            let item = item.unwrap();
            let entry = if item.is_bucket() {
                Entry::Bucket(Self::read(&Bucket::from_item(*bucket.db(), &item).unwrap()))
            } else {
                Entry::Value(item.value.to_vec())
            };
            (item.key.to_vec(), entry)
        });
        Self { sequence: bucket.sequence(), entries: entries.collect() }
    }

    /// What the file `bytes` holds.
    pub fn read_file(bytes: &[u8]) -> Self {
        Self::read(&Db::from_bytes(bytes, Limits::default()).unwrap().root())
    }

    /// The bucket at `path`, each step a name.
    pub fn at(&self, path: &[&[u8]]) -> &Contents {
        path.iter().fold(self, |contents, name| match &contents.entries[*name] {
            Entry::Bucket(inner) => inner,
            Entry::Value(_) => panic!("not a bucket"),
        })
    }
}

/// All choices of page size in `sizes`, inlining and freelist.
pub fn all_options(sizes: &[u32]) -> impl Iterator<Item = Options> {
    use etcdsnap_engine::bolt::write::PageSize;
    sizes.iter().flat_map(|&size| {
        [true, false].into_iter().flat_map(move |inline| {
            [FreelistKind::Absent, FreelistKind::Stored].map(|freelist| Options {
                page_size: PageSize::new(size).unwrap(),
                inline,
                freelist,
                ..Options::default()
            })
        })
    })
}

/// Our checker finds nothing, no branch that bbolt's rebalancing would panic on, no slack with bytes.
pub fn assert_sound(bytes: &[u8]) {
    let db = Db::from_bytes(bytes, Limits::default()).unwrap();
    assert_eq!(db.size_bytes(), bytes.len() as u64);
    assert_eq!(check::check(&db, &Silent).unwrap(), []);
    let txid = db.meta().txid.0;
    assert_eq!(u64::from(db.meta().slot), txid % 2);
    assert_eq!(db.metas().slots[1 - usize::from(db.meta().slot)].unwrap().txid.0, txid - 1);
    assert_tree(&db, &db.root());
}

fn assert_tree(db: &Db<'_>, bucket: &Bucket<'_>) {
    let mut pending = match bucket.root() {
        bucket::Root::Page(id) => vec![id],
        bucket::Root::Inline(_) => Vec::new(),
    };
    while let Some(id) = pending.pop() {
        let page = db.page(id).unwrap();
        let used = match page.node().unwrap() {
            Node::Branch(branch) => {
                assert!(branch.count() >= 2, "page {id} has one child");
                let children: Vec<_> = branch.children().map(Result::unwrap).collect();
                pending.extend(children.iter().map(|child| child.page));
                children.iter().map(|child| layout::ELEMENT + child.key.len()).sum::<usize>()
            }
            Node::Leaf(leaf) => {
                let items = leaf.items().map(Result::unwrap);
                items.map(|item| layout::ELEMENT + item.key.len() + item.value.len()).sum()
            }
        };
        let slack = &page.bytes()[layout::PAGE_HEADER + used..];
        assert!(slack.len() < db.page_size() as usize, "page {id} has a page too many");
        assert!(slack.iter().all(|byte| *byte == 0), "page {id} has bytes in its slack");
    }
    for item in bucket.items().map(Result::unwrap).filter(|item| item.is_bucket()) {
        assert_tree(db, &Bucket::from_item(*db, &item).unwrap());
    }
}
