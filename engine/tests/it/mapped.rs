//! The page map. The dangers: a page with two uses or none, damage that hides behind a clean map, a map that depends on
//! threads, work without end on a file made for it.

use std::collections::BTreeMap;

use etcdsnap_engine::{
    bolt::{
        Bucket, Db, PageId,
        bucket::Root,
        check::check,
        map::{PageMap, PageUse},
        page::Node,
    },
    finding::Severity,
    limits::Limits,
    progress::Silent,
};
use proptest::prelude::*;

use crate::members::databases;

const PAGE: usize = 4096;

fn map_of(bytes: &[u8], threads: usize) -> Option<PageMap> {
    let pool = rayon::ThreadPoolBuilder::new().num_threads(threads).build().unwrap();
    pool.install(|| {
        let db = Db::from_bytes(bytes, Limits::default()).ok()?;
        Some(PageMap::read(&db, &Silent).unwrap())
    })
}

fn uses(map: &PageMap) -> Vec<PageUse> {
    (0..map.len()).map(|id| map.usage(PageId(id)).unwrap()).collect()
}

/// One page after the other, of a sound file without a stored freelist.
fn by_hand(db: &Db<'_>) -> Vec<PageUse> {
    fn tree<'a>(
        db: &Db<'a>,
        id: PageId,
        bucket: u16,
        uses: &mut [PageUse],
        found: &mut Vec<Bucket<'a>>,
    ) {
        let page = db.page(id).unwrap();
        let at = id.0 as usize;
        for overflow in 1..page.physical() as usize {
            uses[at + overflow] = PageUse::Overflow(bucket);
        }
        match page.node().unwrap() {
            Node::Branch(branch) => {
                uses[at] = PageUse::Branch(bucket);
                for child in branch.children() {
                    tree(db, child.unwrap().page, bucket, uses, found);
                }
            }
            Node::Leaf(leaf) => {
                uses[at] = PageUse::Leaf(bucket);
                for item in leaf.items().map(Result::unwrap).filter(|item| item.is_bucket()) {
                    found.push(Bucket::from_item(*db, &item).unwrap());
                }
            }
        }
    }
    let mut uses = vec![PageUse::Free; db.pages_in_file() as usize];
    uses[..2].fill(PageUse::Meta);
    let mut pending = vec![db.root()];
    let mut number = 0;
    while number < pending.len() {
        if let Root::Page(root) = pending[number].root() {
            let mut found = Vec::new();
            tree(db, root, number as u16, &mut uses, &mut found);
            pending.extend(found);
        }
        number += 1;
    }
    uses
}

#[test]
fn every_page_of_real_members_is_what_a_plain_walk_says() {
    for name in ["clean-34", "clean-35", "clean-36", "clean-37", "kube-36", "crashed-36"] {
        for (path, bytes) in databases(name) {
            let db = Db::from_bytes(&bytes, Limits::default()).unwrap();
            let expected = by_hand(&db);
            for threads in [1, 2, 8] {
                let map = map_of(&bytes, threads).unwrap();
                assert!(uses(&map) == expected, "{path}, {threads} threads");
                assert!(map.is_whole(), "{path}: {:?}", map.problems());
                assert_eq!(map.counts().total(), map.len());
            }
            let map = map_of(&bytes, 2).unwrap();
            let physical: u64 = map.buckets().iter().map(|bucket| bucket.physical()).sum();
            let counts = map.counts();
            assert_eq!(physical, counts.branch + counts.leaf + counts.overflow);
            let runs: u64 = map.runs().map(|run| run.pages).sum();
            assert_eq!(runs, map.len());
            for run in map.runs().filter(|run| matches!(run.usage, PageUse::Overflow(_))) {
                for id in (run.first.0..).take(run.pages as usize) {
                    let owner = map.owner(&db, PageId(id)).unwrap();
                    let page = db.page(owner).unwrap();
                    assert!(owner.0 < id && id < owner.0 + page.physical(), "{path}: page {id}");
                }
            }
        }
    }
}

#[test]
fn a_stored_freelist_tells_free_pages_from_lost_ones() {
    let file = concat!(env!("CARGO_MANIFEST_DIR"), "/../testdata/field/etcd-corrupted-backup.db");
    let mut bytes = std::fs::read(file).unwrap();
    let map = map_of(&bytes, 2).unwrap();
    // bbolt: "page 4: unreachable unfreed"; the freelist is page 3 and names itself twice.
    assert_eq!(map.usage(PageId(3)), Some(PageUse::Freelist));
    assert_eq!(map.usage(PageId(4)), Some(PageUse::Unreachable));
    bytes[3 * PAGE + 16] = 4;
    let map = map_of(&bytes, 2).unwrap();
    assert_eq!(map.usage(PageId(4)), Some(PageUse::Free));
}

/// Pages of the snapshot's trees, by what they are.
fn pages_of(bytes: &[u8]) -> BTreeMap<&'static str, Vec<u64>> {
    let map = map_of(bytes, 2).unwrap();
    let mut pages: BTreeMap<&'static str, Vec<u64>> = BTreeMap::new();
    for id in 0..map.len() {
        pages.entry(map.usage(PageId(id)).unwrap().word()).or_default().push(id);
    }
    pages
}

fn snapshot() -> Vec<u8> {
    let found = databases("clean-36").into_iter().find(|(path, _)| path.ends_with("snapshot.db"));
    found.unwrap().1
}

#[test]
fn a_page_that_cannot_be_read_is_damaged_and_what_hangs_on_it_is_not_called_free() {
    let sound = snapshot();
    let pages = pages_of(&sound);
    let free = pages["free"].len();
    for (kind, id) in [("leaf", pages["leaf"][7]), ("branch", pages["branch"][1])] {
        let mut bytes = sound.clone();
        // Its own id.
        bytes[id as usize * PAGE] ^= 0x55;
        let map = map_of(&bytes, 2).unwrap();
        assert!(matches!(map.usage(PageId(id)), Some(PageUse::Damaged(_))), "{kind}");
        assert_eq!((map.counts().free, map.counts().damaged), (0, 1), "{kind}");
        assert!(map.counts().unreachable >= free as u64, "{kind}");
        assert!(!map.is_whole());
        let said = map.problems()[0].to_string();
        assert!(said.contains(&format!("expected to be: {id},")), "{said}");
    }
}

#[test]
fn trees_that_share_a_page_or_run_in_a_circle_have_one_owner_a_page() {
    let sound = snapshot();
    let pages = pages_of(&sound);
    let branch = pages["branch"][0] as usize;
    for child in [branch as u64, pages["leaf"][3], 0, 1 << 40] {
        let mut bytes = sound.clone();
        let at = branch * PAGE + 16 + 8;
        bytes[at..at + 8].copy_from_slice(&child.to_le_bytes());
        let expected = map_of(&bytes, 1).unwrap();
        assert!(!expected.is_whole(), "child {child}");
        for threads in [2, 8] {
            let map = map_of(&bytes, threads).unwrap();
            assert_eq!(uses(&map), uses(&expected));
            assert_eq!((map.shared(), map.problems()), (expected.shared(), expected.problems()));
        }
    }
}

/// Each of these pages says that it goes on to the end of the file. Were all of it claimed for each, the work would be
/// the file's size squared.
#[test]
fn pages_that_claim_all_of_the_file_cost_no_more_than_others() {
    use etcdsnap_engine::bolt::{
        TxId,
        write::{BucketOptions, Options, PageSize, Writer},
    };
    const PAGE: usize = 1024;
    let options = Options { page_size: PageSize::new(PAGE as u32).unwrap(), ..Options::default() };
    let mut writer = Writer::new(std::io::Cursor::new(Vec::new()), options).unwrap();
    let mut bucket = writer.bucket(b"b", BucketOptions::default()).unwrap();
    for key in 0..120_000_u32 {
        bucket.put(&key.to_be_bytes(), &[7; 600]).unwrap();
    }
    bucket.close().unwrap();
    let (file, summary) = writer.finish().unwrap().seal(TxId(1)).unwrap();
    let mut bytes = file.into_inner();
    let pages = summary.size_bytes as usize / PAGE;
    for id in 2..pages {
        let overflow = (pages - id - 1) as u32;
        bytes[id * PAGE + 12..id * PAGE + 16].copy_from_slice(&overflow.to_le_bytes());
    }
    let start = std::time::Instant::now();
    let map = map_of(&bytes, 2).unwrap();
    assert!(start.elapsed().as_secs() < 5, "{:?}", start.elapsed());
    assert!(map.shared() as usize > pages / 2 && !map.is_whole());
    assert_eq!(map.counts().total(), pages as u64);
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(60))]

    /// Any bytes anywhere: the same map at any number of threads, a use for every page, and no damage to the tree
    /// that the check does not know of.
    #[test]
    fn a_map_of_damage_is_the_same_at_any_number_of_threads(
        hits in prop::collection::vec((any::<prop::sample::Index>(), 0usize..64, any::<u8>()), 1..6),
        cut in prop::option::weighted(0.2, any::<prop::sample::Index>()),
    ) {
        let mut bytes = snapshot();
        let pages = bytes.len() / PAGE;
        let branches = pages_of(&bytes)["branch"].clone();
        for (page, at, byte) in hits {
            // Headers and element tables are what a map looks at; metas have a checksum. Branches are few, and what
            // they point at is where trees meet.
            let page = match page.index(2 * pages) {
                any if any < pages => any.max(2),
                some => branches[some % branches.len()] as usize,
            };
            bytes[page * PAGE + at] = byte;
        }
        if let Some(cut) = cut {
            bytes.truncate(2 * PAGE + cut.index(bytes.len() - 2 * PAGE));
        }
        let expected = map_of(&bytes, 1).unwrap();
        prop_assert_eq!(expected.counts().total(), expected.len());
        for threads in [2, 8] {
            let map = map_of(&bytes, threads).unwrap();
            prop_assert_eq!(uses(&map), uses(&expected));
            prop_assert_eq!(map.buckets(), expected.buckets());
            prop_assert_eq!(map.problems(), expected.problems());
            prop_assert_eq!(map.shared(), expected.shared());
        }
        let db = Db::from_bytes(&bytes, Limits::default()).unwrap();
        let damage = check(&db, &Silent)
            .unwrap()
            .iter()
            .any(|finding| finding.severity == Severity::Damage);
        prop_assert!(expected.is_whole() || damage, "{:?}", expected.problems());
        for id in 0..expected.len() {
            // Looked up alone, whatever the headers say.
            let _ = expected.owner(&db, PageId(id));
            let _ = db.page_as_it_stands(PageId(id)).map(|page| page.node().is_ok());
        }
    }
}
