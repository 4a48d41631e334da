//! One thing that is wrong is one finding. The danger: three hundred lines in the night for one broken page, or a
//! second damage that hides among them.

use std::sync::OnceLock;

use etcdsnap_engine::{
    bolt::{Db, PageId, bucket::Root, page::Node},
    finding::{self, Severity},
    limits::Limits,
    progress::Silent,
    snapshot::{Image, Verification, verify},
};

use crate::{broken::Damage, members::databases};

/// A db of a few hundred pages, with branches.
fn sound() -> &'static [u8] {
    static SOUND: OnceLock<Vec<u8>> = OnceLock::new();
    SOUND.get_or_init(|| databases("kube-36").into_iter().next().unwrap().1)
}

fn verified(bytes: &[u8]) -> Verification {
    verify(&Image::split(bytes), Limits::default(), &Silent).unwrap()
}

/// Damage that nothing else explains, with the number of its consequences.
fn damage(verification: &Verification) -> Vec<(String, usize)> {
    let causes = verification.causes().into_iter();
    let damage = causes.filter(|cause| cause.finding.severity == Severity::Damage);
    damage.map(|cause| (cause.finding.message.clone(), cause.consequences.len())).collect()
}

/// Leaves of bucket `key`, and the branches above them: the root first.
fn tree(db: &Db<'_>) -> (Vec<PageId>, Vec<PageId>) {
    let bucket = db.root().bucket(b"key").unwrap().unwrap();
    let Root::Page(root) = bucket.root() else { panic!("inline") };
    let (mut branches, mut leaves) = (Vec::new(), Vec::new());
    let mut stack = vec![root];
    while let Some(page) = stack.pop() {
        match db.node(page).unwrap() {
            Node::Leaf(_) => leaves.push(page),
            Node::Branch(branch) => {
                branches.push(page);
                stack.extend((0..branch.count()).rev().map(|at| branch.child_page(at).unwrap()));
            }
        }
    }
    (branches, leaves)
}

fn with_sound(change: impl FnOnce(&Db<'_>, &mut [u8])) -> Verification {
    let mut bytes = sound().to_vec();
    change(&Db::from_bytes(sound(), Limits::default()).unwrap(), &mut bytes);
    verified(&bytes)
}

#[test]
fn a_page_of_zeros_is_one_finding() {
    let db = Db::from_bytes(sound(), Limits::default()).unwrap();
    let (branches, leaves) = tree(&db);
    assert!(leaves.len() > 100, "{} leaves", leaves.len());
    for page in [branches[0], leaves[0], leaves[leaves.len() / 2], db.meta().root] {
        let verification = with_sound(|db, bytes| {
            let size = db.page_size() as usize;
            bytes[page.0 as usize * size..][..size].fill(0);
        });
        let found = damage(&verification);
        assert_eq!(found.len(), 1, "page {page}: {found:#?}");
        assert!(found[0].0.contains(&format!("Page expected to be: {page}")), "{found:#?}");
    }
}

#[test]
fn a_child_that_is_given_twice_is_one_finding_however_much_is_below_it() {
    let verification = with_sound(|db, bytes| {
        let (branches, leaves) = tree(db);
        // The first child of the root takes the place of the second.
        let element = branches[0].0 as usize * db.page_size() as usize + 16 + 16 + 8;
        bytes[element..element + 8].copy_from_slice(&leaves[0].0.to_le_bytes());
    });
    let found = damage(&verification);
    assert_eq!(found.len(), 1, "{found:#?}");
    assert!(found[0].0.contains("multiple references") && found[0].1 > 0, "{found:#?}");
}

#[test]
fn a_leaf_of_another_place_is_one_finding() {
    let verification = with_sound(|db, bytes| {
        let (_, leaves) = tree(db);
        let size = db.page_size() as usize;
        let (from, to) = (leaves[3].0 as usize * size, leaves[90].0 as usize * size);
        bytes.copy_within(from..from + size, to);
        let own = leaves[90].0.to_le_bytes();
        bytes[to..to + 8].copy_from_slice(&own);
    });
    let found = damage(&verification);
    assert_eq!(found.len(), 1, "{found:#?}");
    assert!(found[0].0.contains("needs to be >=") && found[0].1 > 1, "{found:#?}");
}

#[test]
fn two_broken_pages_are_two_findings() {
    let verification = with_sound(|db, bytes| {
        let (_, leaves) = tree(db);
        for leaf in [leaves[5], leaves[50]] {
            bytes[leaf.0 as usize * db.page_size() as usize] ^= 0x40;
        }
    });
    assert_eq!(damage(&verification).len(), 2);
}

#[test]
fn a_file_without_its_tail_is_one_finding() {
    let pages = Db::from_bytes(sound(), Limits::default()).unwrap().pages_in_file() as usize;
    let verification = verified(&sound()[..pages / 2 * 4096]);
    let found = damage(&verification);
    assert_eq!(found.len(), 1, "{found:#?}");
    assert!(found[0].0.contains("its tail is missing"), "{found:#?}");
}

#[test]
fn every_consequence_has_its_cause_and_nothing_is_lost_among_them() {
    let mut rng = fastrand::Rng::with_seed(7);
    let (mut all, mut causes) = (0, 0);
    for round in 0..12 {
        for kind in Damage::ALL {
            let bytes = kind.done_to(sound(), &mut rng);
            let Ok(verification) = verify(&Image::split(&bytes), Limits::default(), &Silent) else {
                continue;
            };
            let found = verification.causes();
            for cause in &found {
                let own = &cause.finding.follows;
                assert_eq!(*own, None, "{} in round {round}: {cause:#?}", kind.name());
                let worst = cause.consequences.iter().map(|one| one.severity).min();
                assert!(worst.is_none_or(|worst| worst >= cause.finding.severity), "{cause:#?}");
            }
            let listed: usize = found.iter().map(|one| 1 + one.consequences.len()).sum();
            assert_eq!(listed, verification.findings.len());
            let mut sorted = verification.findings.clone();
            finding::sort(&mut sorted);
            assert_eq!(sorted, verification.findings);
            all += listed;
            causes += found.len();
        }
    }
    assert!(all > causes && causes > 0, "{all} findings of {causes} causes");
}
