//! Records that are still in the file and not in its database: deleted, compacted, overwritten.
//!
//! Every page the newest tree does not lead to is looked at, and what is behind the last element of every page it does.
//! Leaves give whole records. Where a page is no leaf, and in slack, a record is known by its revision and by the message
//! behind it that names the same one.

use std::collections::HashMap;

use rayon::prelude::*;

use super::{
    Error,
    fragment::{fragment, next_revision, partial},
    merge::{offset_of, user_key},
    record::{record, revision},
};
use crate::{
    bolt::{
        self, Bucket, Db, Error as BoltError, Item, PageId,
        map::PageMap,
        page_set::PageSet,
        salvage::{Budget, Candidate, NodeAt, Pages, Piece, scan, walk},
    },
    limits::Limits,
    pb::wire::KeyValueRef,
    progress::Progress,
    schema::{RecordKey, Store, bucket},
};

/// Pages whose records are gathered before they are given away.
const PIECE: u64 = 2048;
/// Pieces under way at once, for each thread.
const AHEAD: usize = 4;

/// Where a record was found.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Origin {
    /// The older meta's tree leads to its page, the newest one's does not.
    OlderTree,
    /// A leaf that no tree leads to: a free page.
    FreePage,
    /// Within a page that is no leaf any more, such as the rest of one that was overwritten at its beginning.
    Fragment,
    /// Behind the last element of a page that is in use.
    Slack,
    /// Behind the database's last page.
    Tail,
}

impl Origin {
    /// The stable word for scripts.
    pub fn as_str(self) -> &'static str {
        match self {
            Origin::OlderTree => "older-tree",
            Origin::FreePage => "free-page",
            Origin::Fragment => "fragment",
            Origin::Slack => "slack",
            Origin::Tail => "tail",
        }
    }
}

/// How sure it is that a server once wrote this record.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Certainty {
    /// The leaf around it is whole, stands where it says, and the record agrees with itself.
    High,
    /// The record agrees with itself.
    Medium,
    /// Part of it is missing.
    Low,
}

impl Certainty {
    /// The stable word for scripts.
    pub fn as_str(self) -> &'static str {
        match self {
            Certainty::High => "high",
            Certainty::Medium => "medium",
            Certainty::Low => "low",
        }
    }
}

/// A record that is not in the database.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Carved<'a> {
    /// When it was written, and whether it is a deletion.
    pub revision: RecordKey,
    /// The user's key.
    pub key: Vec<u8>,
    /// The user's value, or what is there of it.
    pub value: &'a [u8],
    /// Of a record of which they are there: created, version, lease.
    pub fields: Option<(i64, i64, i64)>,
    /// The page its bytes begin in.
    pub page: PageId,
    /// Its element in a leaf; `None` where it was found without one.
    pub index: Option<usize>,
    /// Where its revision stands in the file.
    pub offset: u64,
    /// Where it was found.
    pub origin: Origin,
    /// Whether all of it is there.
    pub complete: bool,
    /// How sure it is.
    pub certainty: Certainty,
    /// Whether the database has another record at this revision: another history, or damage.
    pub conflicts: bool,
}

/// Finds records that are not in the database.
pub struct Carver<'a> {
    pages: Pages<'a>,
    live: PageSet,
    /// Pages of the older tree, and those of the newer.
    older: PageSet,
    candidates: Vec<Candidate>,
    /// Bucket `key`, where the database can be opened.
    keys: Option<Bucket<'a>>,
    high_water_mark: u64,
}

impl std::fmt::Debug for Carver<'_> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Carver").field("candidates", &self.candidates.len()).finish_non_exhaustive()
    }
}

impl<'a> Carver<'a> {
    /// Learns which pages of `bytes` are in use. A damaged database will do: what its tree leads to is in use.
    ///
    /// # Errors
    /// [`Error::Bolt`] for a big-endian file or an interruption.
    pub fn new(bytes: &'a [u8], progress: &dyn Progress) -> Result<Self, Error> {
        if let Err(error @ BoltError::BigEndian { .. }) =
            bolt::meta::choose(crate::raw::Raw::new(bytes))
        {
            return Err(error.into());
        }
        let pages = Pages::open(bytes);
        let metas = pages.metas().to_vec();
        let db = Db::from_bytes(bytes, Limits::default()).ok();
        let live = PageSet::new(pages.count());
        let whole = match &db {
            Some(db) => reach_whole(db, &live, progress)?,
            None => false,
        };
        if let Some(meta) = metas.first().filter(|_| !whole) {
            reach(&pages, meta.root, meta.high_water_mark.0, &live, progress)?;
        }
        // A page that both trees lead to has the same pages below it in both, and is not followed a second time.
        let older = live.clone();
        if let Some(meta) = metas.get(1) {
            reach(&pages, meta.root, meta.high_water_mark.0, &older, progress)?;
        }
        let keys = db.and_then(|db| Store::new(db).bucket(bucket::KEY).ok().flatten());
        let high_water_mark =
            metas.first().map_or(pages.count(), |meta| meta.high_water_mark.0).min(pages.count());
        let candidates = scan(&pages, &live, progress)?;
        Ok(Self { pages, live, older, candidates, keys, high_water_mark })
    }

    /// Gives every record to `each`, in the order of the file; `each` says whether to go on.
    ///
    /// # Errors
    /// When the work was interrupted.
    pub fn run(
        &self,
        progress: &dyn Progress,
        each: &mut dyn FnMut(&Carved<'a>) -> bool,
    ) -> Result<(), Error> {
        progress.begin("carve", self.pages.bytes().len() as u64);
        let pieces: Vec<u64> = (0..self.pages.count().div_ceil(PIECE)).collect();
        let wave = rayon::current_num_threads().max(1) * AHEAD;
        for wave in pieces.chunks(wave) {
            let found: Vec<Vec<Carved<'a>>> =
                wave.par_iter().map(|piece| self.piece(*piece, progress)).collect();
            progress.go_on()?;
            if !found.iter().flatten().all(&mut *each) {
                return Ok(());
            }
        }
        Ok(())
    }

    /// What begins in the pages of a piece, in their order.
    fn piece(&self, piece: u64, progress: &dyn Progress) -> Vec<Carved<'a>> {
        let (from, to) = (piece * PIECE, ((piece + 1) * PIECE).min(self.pages.count()));
        progress.advance((to - from) * self.pages.page_size() as u64);
        let mut found = Vec::new();
        let first = self.candidates.partition_point(|candidate| candidate.page.0 < from);
        // A leaf that begins in the piece before may go on into this one.
        let mut covered = first
            .checked_sub(1)
            .and_then(|before| self.candidates.get(before))
            .map_or(0, |before| before.page.0 + u64::from(before.pages));
        let mut candidates = self.candidates.iter().skip(first).peekable();
        let mut page = from;
        while page < to && !progress.interrupted() {
            let id = PageId(page);
            if let Some(candidate) = candidates.next_if(|candidate| candidate.page == id) {
                self.leaf(candidate, &mut found);
                covered = page + u64::from(candidate.pages);
            } else if self.live.contains(id) {
                if let Some(slack) = self.slack(id) {
                    self.fragments(slack, slack.len(), Origin::Slack, &mut found);
                }
            } else if page >= covered && page >= 2 {
                // All that follows up to the next page that is something, on into the next piece: a record may go on
                // over a page's end.
                let on = (to + PIECE).min(self.pages.count());
                let next = candidates.peek().map_or(on, |next| next.page.0).min(on);
                let end =
                    (page..next).find(|page| self.live.contains(PageId(*page))).unwrap_or(next);
                let bytes = self.pages.from(id, end - page);
                let origin =
                    if page >= self.high_water_mark { Origin::Tail } else { Origin::Fragment };
                let before = (end.min(to) - page) * self.pages.page_size() as u64;
                self.fragments(
                    bytes,
                    usize::try_from(before).unwrap_or(usize::MAX),
                    origin,
                    &mut found,
                );
                page = end.max(page + 1);
                continue;
            }
            page += 1;
        }
        found
    }

    /// What is behind the last element of a page in use.
    fn slack(&self, page: PageId) -> Option<&'a [u8]> {
        let header = self.pages.header(page)?;
        if header.id != page.0 || header.flags.0 != bolt::layout::FLAG_LEAF {
            return None;
        }
        let NodeAt::Leaf(leaf) = self.pages.node(page, self.high_water_mark)? else { return None };
        let pages = u64::from(header.overflow).saturating_add(1);
        let bytes = self.pages.from(page, pages.min(self.high_water_mark - page.0));
        bytes.get(leaf.end()..)
    }

    fn origin(&self, page: PageId) -> Origin {
        if page.0 >= self.high_water_mark {
            Origin::Tail
        } else if self.older.contains(page) {
            Origin::OlderTree
        } else {
            Origin::FreePage
        }
    }

    fn leaf(&self, candidate: &Candidate, found: &mut Vec<Carved<'a>>) {
        let leaf = candidate.open(&self.pages);
        let sure = leaf.own_id && leaf.is_whole();
        let origin = self.origin(candidate.page);
        let mut live = LiveRecords::new(self.keys);
        for piece in leaf.pieces() {
            match piece {
                Piece::Whole(item) => {
                    let Some((revision, kv)) = record(&item) else { continue };
                    let known = live.at(item.key);
                    if known == Some(item.value) {
                        continue;
                    }
                    found.push(Carved {
                        revision,
                        key: kv.key.to_vec(),
                        value: kv.value,
                        fields: fields(revision, &kv),
                        page: candidate.page,
                        index: Some(item.index),
                        offset: offset_of(self.pages.bytes(), item.key),
                        origin,
                        complete: true,
                        certainty: if sure { Certainty::High } else { Certainty::Medium },
                        conflicts: known.is_some(),
                    });
                }
                Piece::Cut(item) => self.cut(&item, origin, &mut live, found),
                Piece::Lost { .. } => {}
            }
        }
        let slack = leaf.bytes().get(leaf.end()..).unwrap_or_default();
        self.fragments(slack, slack.len(), origin_of_slack(origin), found);
    }

    fn cut(
        &self,
        item: &Item<'a>,
        origin: Origin,
        live: &mut LiveRecords<'a>,
        found: &mut Vec<Carved<'a>>,
    ) {
        let Some(revision) = revision(item.key) else { return };
        let Some(key) = user_key(item.value) else { return };
        if live.at(item.key).is_some() {
            return;
        }
        let value = partial(item.value).map_or(&[][..], |partial| partial.kv.value);
        found.push(Carved {
            revision,
            key,
            value,
            fields: partial(item.value).and_then(|partial| fields(revision, &partial.kv)),
            page: item.page,
            index: Some(item.index),
            offset: offset_of(self.pages.bytes(), item.key),
            origin,
            complete: false,
            certainty: Certainty::Low,
            conflicts: false,
        });
    }

    /// Records in bytes without a table of elements, that begin before the byte `before`.
    fn fragments(
        &self,
        bytes: &'a [u8],
        before: usize,
        origin: Origin,
        found: &mut Vec<Carved<'a>>,
    ) {
        let mut live = LiveRecords::new(self.keys);
        let mut from = 0;
        while let Some(at) = next_revision(bytes, from).filter(|at| *at < before) {
            from = at + 1;
            let rest = bytes.get(at..).unwrap_or_default();
            let Some((revision, len, partial)) = fragment(rest) else { continue };
            let stored = rest.get(..len).unwrap_or_default();
            from = at + len + partial.len;
            let known = live.at(stored);
            if known.is_some_and(|known| {
                !partial.complete || rest.get(len..len + known.len()) == Some(known)
            }) {
                continue;
            }
            let offset = offset_of(self.pages.bytes(), bytes) + at as u64;
            found.push(Carved {
                revision,
                key: partial.kv.key.to_vec(),
                value: partial.kv.value,
                fields: fields(revision, &partial.kv),
                page: PageId(offset / self.pages.page_size() as u64),
                index: None,
                offset,
                origin,
                complete: partial.complete,
                certainty: if partial.complete { Certainty::Medium } else { Certainty::Low },
                conflicts: known.is_some(),
            });
        }
    }
}

fn origin_of_slack(origin: Origin) -> Origin {
    if origin == Origin::Tail { Origin::Tail } else { Origin::Fragment }
}

fn fields(revision: RecordKey, kv: &KeyValueRef<'_>) -> Option<(i64, i64, i64)> {
    (!revision.tombstone && kv.version > 0).then_some((kv.create_revision, kv.version, kv.lease))
}

/// Adds all pages of the trees of `db` to `reached` and gives true, or gives false when they are damaged: then only keys
/// tell what belongs to them.
fn reach_whole(db: &Db<'_>, reached: &PageSet, progress: &dyn Progress) -> Result<bool, Error> {
    let map = PageMap::read(db, progress)?;
    if !map.is_whole() {
        return Ok(false);
    }
    for run in map.runs().filter(|run| run.usage.bucket().is_some()) {
        (0..run.pages).for_each(|more| {
            reached.insert(PageId(run.first.0 + more));
        });
    }
    Ok(true)
}

/// Adds all pages below `root`, of every bucket, to `reached`.
fn reach(
    pages: &Pages<'_>,
    root: PageId,
    high_water_mark: u64,
    reached: &PageSet,
    progress: &dyn Progress,
) -> Result<(), Error> {
    let budget = Budget::of(pages);
    let mut roots = vec![root];
    let mut seen: HashMap<u64, ()> = HashMap::new();
    while let Some(root) = roots.pop() {
        if seen.insert(root.0, ()).is_some() {
            continue;
        }
        let tree = walk(pages, root, high_water_mark, (&[], None), reached, &budget, progress)?;
        // Buckets stand in the root's few leaves; the leaves of the key space are not opened for that.
        for leaf in tree.leaves.iter().take(MOST_ROOT_LEAVES) {
            let Some(NodeAt::Leaf(leaf)) = pages.node(*leaf, high_water_mark) else { continue };
            roots.extend(leaf.pieces().filter_map(bucket_root));
        }
    }
    Ok(())
}

/// Leaves of a tree that are searched for buckets.
const MOST_ROOT_LEAVES: usize = 8;

fn bucket_root(piece: Piece<'_>) -> Option<PageId> {
    let Piece::Whole(item) = piece else { return None };
    let root = crate::raw::Raw::new(item.value).u64_le(bolt::layout::BUCKET_ROOT)?;
    (item.is_bucket() && root != 0).then_some(PageId(root))
}

/// Answers whether the database has a record, cheaply for one after the other.
struct LiveRecords<'a> {
    keys: Option<Bucket<'a>>,
}

impl<'a> LiveRecords<'a> {
    fn new(keys: Option<Bucket<'a>>) -> Self {
        Self { keys }
    }

    fn at(&mut self, key: &[u8]) -> Option<&'a [u8]> {
        self.keys.as_ref()?.get(key).ok().flatten()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::progress::Silent;

    /// The db of a real member.
    fn member(name: &str) -> Vec<u8> {
        use std::io::Read as _;
        let root = env!("CARGO_MANIFEST_DIR");
        let file =
            std::fs::File::open(format!("{root}/../testdata/members/{name}.tar.zst")).unwrap();
        let mut archive = tar::Archive::new(zstd::Decoder::new(file).unwrap());
        let is_db = |entry: &tar::Entry<'_, _>| entry.path().unwrap().ends_with("snap/db");
        let mut entry = archive.entries().unwrap().map(Result::unwrap).find(is_db).unwrap();
        let mut bytes = Vec::new();
        entry.read_to_end(&mut bytes).unwrap();
        bytes
    }

    fn members(set: &PageSet, pages: &Pages<'_>) -> Vec<u64> {
        (0..pages.count()).filter(|page| set.contains(PageId(*page))).collect()
    }

    /// The walk, which needs no tree to be whole, is the oracle.
    #[test]
    fn the_pages_of_whole_trees_are_those_that_a_walk_reaches() {
        let mut older_differs = false;
        for name in ["clean-34", "clean-37", "crashed-35", "crashed-36", "kube-36", "authon-36"] {
            let bytes = member(name);
            let pages = Pages::open(&bytes);
            let db = Db::from_bytes(&bytes, Limits::default()).unwrap();
            let mapped = PageSet::new(pages.count());
            assert!(reach_whole(&db, &mapped, &Silent).unwrap(), "{name}");
            let walked = PageSet::new(pages.count());
            let [newest, older] = pages.metas() else { panic!("{name} has two metas") };
            let high = newest.high_water_mark.0;
            reach(&pages, newest.root, high, &walked, &Silent).unwrap();
            assert_eq!(members(&mapped, &pages), members(&walked, &pages), "{name}");
            // From nothing, so that pages of both are followed in both.
            let alone = PageSet::new(pages.count());
            reach(&pages, older.root, older.high_water_mark.0, &alone, &Silent).unwrap();
            let of_older = members(&alone, &pages);
            let mut both = [members(&walked, &pages), of_older.clone()].concat();
            both.sort_unstable();
            both.dedup();
            let carver = Carver::new(&bytes, &Silent).unwrap();
            assert_eq!(members(&carver.live, &pages), members(&walked, &pages), "{name}");
            assert_eq!(members(&carver.older, &pages), both, "{name}");
            older_differs |= of_older.iter().any(|page| !walked.contains(PageId(*page)));
        }
        assert!(older_differs, "one of them has an older tree of its own");
    }

    #[test]
    fn of_damaged_trees_the_map_takes_no_page() {
        let mut bytes = member("crashed-36");
        let db = Db::from_bytes(&bytes, Limits::default()).unwrap();
        let keys = db.root().bucket(bucket::KEY.as_bytes()).unwrap().unwrap();
        let leaf = keys.leaves().next().unwrap().unwrap().page().0 as usize * 4096;
        bytes[leaf..leaf + 4096].fill(0x55);
        let db = Db::from_bytes(&bytes, Limits::default()).unwrap();
        let live = PageSet::new(Pages::open(&bytes).count());
        assert!(!reach_whole(&db, &live, &Silent).unwrap());
        assert!(live.is_empty());
    }
}
