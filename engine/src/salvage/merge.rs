//! The key space from a tree with gaps and from leaves that no tree leads to, merged in revision order.

use std::{
    cmp::Reverse,
    collections::{BinaryHeap, HashMap},
};

use super::{
    Error,
    record::{START, has_hole, is_bump, record, revision},
    report::{CutRecord, Doubt, Hole, Run},
};
use crate::{
    bolt::{
        Item,
        salvage::{self, Candidate, Found, NodeAt, Pages, Piece, Pieces},
    },
    pb::wire::KeyValueRef,
    progress::Progress,
    schema::{RecordKey, Revision},
};

/// What a hole in a file is at least: a sector, where something else is damaged as well, or a page.
const HOLES: (usize, usize) = (512, 4096);

/// A leaf of bucket `key` that was recognised by its content.
#[derive(Clone, Copy, Debug)]
pub(super) struct FoundLeaf {
    pub(super) candidate: Candidate,
    /// Its first and last record.
    pub(super) first: RecordKey,
    pub(super) last: RecordKey,
    /// Whether it stands where it says and all of it is there, each element a record: only then what it lacks proves
    /// anything.
    pub(super) whole: bool,
}

/// Records that are known to stand next to each other.
#[derive(Debug, Default)]
pub(super) struct Adjacent(Vec<(RecordKey, RecordKey)>);

impl Adjacent {
    pub(super) fn add(&mut self, before: RecordKey, behind: RecordKey) {
        self.0.push((before, behind));
    }

    pub(super) fn finish(&mut self) {
        self.0.sort_unstable();
    }

    fn contains(&self, before: RecordKey, behind: RecordKey) -> bool {
        self.0.binary_search(&(before, behind)).is_ok()
    }
}

/// What is known about the tree and what it rests on.
#[derive(Clone, Copy, Debug)]
pub(super) struct Trust {
    /// Whether the tree is that of the newest commit.
    pub(super) confirmed: bool,
    /// The greatest finished compaction that is known of; −1 when one was only begun.
    pub(super) mark: Option<i64>,
    /// Whether that is the newest commit's.
    pub(super) mark_certain: bool,
    /// Whether the older tree has the same one.
    pub(super) marks_agree: bool,
    /// Whether there is no page that may have held records and cannot be read, or not all of it.
    pub(super) nothing_unknown: bool,
    /// Whether records of free pages are wanted.
    pub(super) include_freed: bool,
    /// Records and holes that are told of one by one; the others are counted.
    pub(super) most_told: usize,
    /// Records of the tree behind this one may never have been committed.
    pub(super) sure_until: Option<RecordKey>,
}

#[derive(Clone, Copy, Debug)]
struct Range {
    from: RecordKey,
    to: Option<RecordKey>,
}

/// The sources of the key space.
#[derive(Debug)]
pub(super) struct KeySpace<'a> {
    pages: Pages<'a>,
    tree: salvage::Tree<'a>,
    inline: Option<Found<'a>>,
    high_water_mark: u64,
    gaps: Vec<Range>,
    /// By their first record; and whether the older tree leads to them.
    found: Vec<(FoundLeaf, bool)>,
    adjacent: Adjacent,
    trust: Trust,
}

/// A record as it stands in the file.
#[derive(Clone, Copy, Debug)]
pub(super) struct Rec<'a> {
    pub(super) key: RecordKey,
    pub(super) item: Item<'a>,
}

/// What a merge came to.
#[derive(Debug, Default)]
pub(super) struct Merged {
    pub(super) runs: Vec<Run>,
    pub(super) holes: Vec<Hole>,
    pub(super) hole_count: u64,
    pub(super) doubt_below: Option<RecordKey>,
    pub(super) cut: Vec<CutRecord>,
    pub(super) cut_records: u64,
    pub(super) tree_records: u64,
    pub(super) found_records: u64,
    pub(super) superseded: u64,
    pub(super) last: Option<RecordKey>,
    /// Whether records may be missing at or below the compaction mark, where nothing but they themselves is lost.
    pub(super) missing_below_mark: bool,
}

/// Greater than every record.
const END: RecordKey =
    RecordKey { revision: Revision { main: i64::MAX, sub: i64::MAX }, tombstone: true };

impl<'a> KeySpace<'a> {
    pub(super) fn new(
        pages: Pages<'a>,
        base: Option<(salvage::Tree<'a>, Option<Found<'a>>, u64)>,
        found: Vec<(FoundLeaf, bool)>,
        adjacent: Adjacent,
        trust: Trust,
    ) -> Self {
        let whole_gap = base.is_none();
        let (tree, inline, high_water_mark) = base.unwrap_or_default();
        let range = |gap: &salvage::Gap<'_>| Range {
            from: revision(gap.from).unwrap_or(START),
            to: gap.to.and_then(revision),
        };
        let mut gaps: Vec<Range> = tree.gaps.iter().map(range).collect();
        let mut space = Self {
            pages,
            tree,
            inline,
            high_water_mark,
            gaps: Vec::new(),
            found: Vec::new(),
            adjacent,
            trust,
        };
        if whole_gap {
            gaps.push(Range { from: START, to: None });
        } else if !trust.confirmed {
            // What the newest commit added is not in an older tree.
            let last = space.tree_end().unwrap_or(START);
            gaps.push(Range { from: RecordKey { tombstone: true, ..last }, to: None });
        }
        space.gaps = gaps;
        let wanted = |leaf: &FoundLeaf| {
            trust.include_freed
                || space
                    .gaps
                    .iter()
                    .any(|gap| gap.from <= leaf.last && gap.to.is_none_or(|to| leaf.first < to))
        };
        let mut found: Vec<_> = found.into_iter().filter(|(leaf, _)| wanted(leaf)).collect();
        found.sort_by_key(|(leaf, _)| (leaf.first, leaf.candidate.page));
        space.found = found;
        space
    }

    pub(super) fn found_leaves(&self) -> u64 {
        self.found.len() as u64
    }

    pub(super) fn found_pages(&self) -> u64 {
        self.found.iter().map(|(leaf, _)| u64::from(leaf.candidate.pages)).sum()
    }

    fn tree_end(&self) -> Option<RecordKey> {
        let leaf = match (self.inline, self.tree.leaves.last()) {
            (Some(leaf), _) => leaf,
            (None, Some(page)) => match self.pages.node(*page, self.high_water_mark)? {
                NodeAt::Leaf(leaf) => leaf,
                NodeAt::Branch(_) => return None,
            },
            (None, None) => return None,
        };
        leaf.ends().and_then(|(_, last)| revision(last))
    }

    /// Whether anything is known to be damaged.
    fn is_hurt(&self) -> bool {
        !self.gaps.is_empty() || !self.trust.confirmed || !self.tree.misnamed.is_empty()
    }

    /// Gives every record that is wanted, in order, to `each`.
    pub(super) fn merge(
        &self,
        progress: &dyn Progress,
        each: &mut dyn FnMut(&Rec<'a>) -> Result<(), Error>,
    ) -> Result<Merged, Error> {
        let mut merge = Merge {
            space: self,
            tree: TreeRecords::new(self),
            heap: BinaryHeap::new(),
            active: HashMap::new(),
            next_found: 0,
            begun: 0,
            gap: 0,
            before: None,
            run_open: false,
            unit: if self.is_hurt() { HOLES.0 } else { HOLES.1 },
            out: Merged::default(),
        };
        let mut steps = 0_u64;
        while merge.step(each)? {
            steps = steps.wrapping_add(1);
            if steps.is_multiple_of(4096) {
                progress.go_on()?;
            }
        }
        Ok(merge.finish())
    }
}

/// A leaf that is being read.
struct Cursor<'a> {
    pieces: Pieces<'a>,
    current: Rec<'a>,
    previous: Option<RecordKey>,
    whole: bool,
    own_id: bool,
    in_older: bool,
}

impl<'a> Cursor<'a> {
    fn open(pages: &Pages<'a>, (leaf, in_older): (FoundLeaf, bool)) -> Option<Self> {
        let mut pieces = leaf.candidate.open(pages).pieces();
        let current = next_record(&mut pieces, None)?;
        let own_id = leaf.candidate.own_id;
        Some(Self { pieces, current, previous: None, whole: leaf.whole, own_id, in_older })
    }

    /// Goes on to the next record; false at the end.
    fn advance(&mut self) -> bool {
        self.previous = Some(self.current.key);
        match next_record(&mut self.pieces, self.previous) {
            Some(next) => {
                self.current = next;
                true
            }
            None => false,
        }
    }
}

fn next_record<'a>(pieces: &mut Pieces<'a>, after: Option<RecordKey>) -> Option<Rec<'a>> {
    pieces.find_map(|piece| match piece {
        Piece::Whole(item) => {
            let (key, _) = record(&item)?;
            after.is_none_or(|after| after < key).then_some(Rec { key, item })
        }
        _ => None,
    })
}

/// The records of the tree, in order.
struct TreeRecords<'s, 'a> {
    space: &'s KeySpace<'a>,
    next_leaf: usize,
    inline: Option<Found<'a>>,
    pieces: Option<Pieces<'a>>,
    current: Option<Rec<'a>>,
    last: Option<RecordKey>,
    /// Whether a record was lost since the last one that could be read.
    broken: bool,
    cut: Vec<CutRecord>,
    cut_records: u64,
}

impl<'s, 'a> TreeRecords<'s, 'a> {
    fn new(space: &'s KeySpace<'a>) -> Self {
        let mut records = Self {
            space,
            next_leaf: 0,
            inline: space.inline,
            pieces: None,
            current: None,
            last: None,
            broken: false,
            cut: Vec::new(),
            cut_records: 0,
        };
        records.advance();
        records
    }

    fn next_leaf(&mut self) -> Option<Found<'a>> {
        if let Some(leaf) = self.inline.take() {
            return Some(leaf);
        }
        loop {
            let page = *self.space.tree.leaves.get(self.next_leaf)?;
            self.next_leaf += 1;
            if let Some(NodeAt::Leaf(leaf)) =
                self.space.pages.node(page, self.space.high_water_mark)
            {
                return Some(leaf);
            }
        }
    }

    fn advance(&mut self) {
        self.current = None;
        loop {
            let Some(piece) = self.pieces.as_mut().and_then(Iterator::next) else {
                match self.next_leaf() {
                    Some(leaf) => {
                        self.pieces = Some(leaf.pieces());
                        continue;
                    }
                    None => return,
                }
            };
            let Piece::Whole(item) = piece else {
                self.lose(&piece);
                continue;
            };
            let key = match record(&item) {
                Some((key, _)) => Some(key),
                None if is_bump(&item) && !self.has_message(&item) => revision(item.key),
                None => None,
            };
            match key {
                Some(key) if self.last.is_none_or(|last| last.revision < key.revision) => {
                    self.last = Some(key);
                    self.current = Some(Rec { key, item });
                    return;
                }
                _ => self.lose(&piece),
            }
        }
    }

    /// Whether a message begins where `item` says that its empty value stands: its size is damaged.
    fn has_message(&self, item: &Item<'a>) -> bool {
        let file = self.space.pages.bytes();
        let at = usize::try_from(offset_of(file, item.value)).unwrap_or(usize::MAX);
        file.get(at) == Some(&0x0a)
    }

    fn lose(&mut self, piece: &Piece<'a>) {
        self.broken = true;
        self.cut_records += 1;
        if self.cut.len() >= self.space.trust.most_told {
            return;
        }
        let lost = match piece {
            Piece::Whole(item) | Piece::Cut(item) => CutRecord {
                page: item.page,
                index: item.index,
                revision: revision(item.key).map(|key| key.revision),
                key: user_key(item.value),
            },
            Piece::Lost { index } => {
                let page = self.space.tree.leaves.get(self.next_leaf.saturating_sub(1));
                let page = page.copied().unwrap_or(crate::bolt::PageId(0));
                CutRecord { page, index: *index, revision: None, key: None }
            }
        };
        self.cut.push(lost);
    }
}

/// The user's key at the beginning of a record of which the rest may be missing.
pub(super) fn user_key(value: &[u8]) -> Option<Vec<u8>> {
    let kv = KeyValueRef::decode(value).map(|kv| kv.key).ok();
    let kv = kv.or_else(|| {
        let (tag, rest) = value.split_first()?;
        let (len, rest) = rest.split_first()?;
        // Keys of 128 bytes and more have a second byte of length.
        let (len, rest) = match (len, rest.split_first()) {
            (low, Some((high, rest))) if *low >= 0x80 && *high < 0x80 => {
                (usize::from(low & 0x7f) | usize::from(*high) << 7, rest)
            }
            (len, _) => (usize::from(*len), rest),
        };
        (*tag == 0x0a).then(|| rest.get(..len)).flatten()
    });
    kv.filter(|key| !key.is_empty()).map(<[u8]>::to_vec)
}

struct Merge<'s, 'a> {
    space: &'s KeySpace<'a>,
    tree: TreeRecords<'s, 'a>,
    heap: BinaryHeap<Reverse<(RecordKey, usize)>>,
    active: HashMap<usize, Cursor<'a>>,
    next_found: usize,
    /// Whole leaves that gave a record already and have more.
    begun: u64,
    gap: usize,
    /// The record before, taken or not, and whether the tree gave it.
    before: Option<(RecordKey, bool)>,
    run_open: bool,
    unit: usize,
    out: Merged,
}

impl<'a> Merge<'_, 'a> {
    fn step(&mut self, each: &mut dyn FnMut(&Rec<'a>) -> Result<(), Error>) -> Result<bool, Error> {
        let of_tree = self.tree.current;
        let bound = of_tree.map(|record| record.key);
        self.open_until(bound);
        let of_found = self.heap.peek().map(|Reverse((key, _))| *key);
        let key = match (bound, of_found) {
            (Some(tree), Some(found)) => tree.min(found),
            (Some(key), None) | (None, Some(key)) => key,
            (None, None) => return Ok(false),
        };
        let from_tree = bound == Some(key);
        let mut at: Vec<(usize, Cursor<'a>)> = Vec::new();
        while let Some(Reverse((found, index))) = self.heap.peek().copied()
            && found == key
        {
            self.heap.pop();
            if let Some(cursor) = self.active.remove(&index) {
                self.begun -= u64::from(cursor.whole && cursor.previous.is_some());
                at.push((index, cursor));
            }
        }
        let witness = self.begun > 0;
        self.prove(key, from_tree, &at);
        let repeated = self.out.last.is_some_and(|last| last.revision == key.revision);
        let chosen = match of_tree.filter(|_| from_tree) {
            Some(record) => {
                self.out.tree_records += 1;
                let unsure = self.space.trust.sure_until.is_some_and(|sure| key > sure);
                Some((record, unsure.then_some(Doubt::Unattached)))
            }
            None => self.judge(key, &at, witness, repeated),
        };
        if let Some((record, doubt)) = chosen {
            let offset = offset_of(self.space.pages.bytes(), record.item.value);
            let hole = has_hole(record.item.value, offset, self.unit).then_some(Doubt::Zeros);
            self.mark(key, doubt.or(hole));
            self.out.last = Some(key);
            each(&record)?;
        }
        if from_tree {
            self.tree.broken = false;
            self.tree.advance();
        }
        for (index, mut cursor) in at {
            if cursor.advance() {
                self.begun += u64::from(cursor.whole);
                self.heap.push(Reverse((cursor.current.key, index)));
                self.active.insert(index, cursor);
            }
        }
        Ok(true)
    }

    /// Opens the leaves that may hold the next record.
    fn open_until(&mut self, bound: Option<RecordKey>) {
        while let Some(next) = self.space.found.get(self.next_found) {
            let head = self.heap.peek().map(|Reverse((key, _))| *key);
            let nearest = [bound, head].into_iter().flatten().min();
            if nearest.is_some_and(|nearest| next.0.first > nearest) {
                return;
            }
            if let Some(cursor) = Cursor::open(&self.space.pages, *next) {
                self.heap.push(Reverse((cursor.current.key, self.next_found)));
                self.active.insert(self.next_found, cursor);
            }
            self.next_found += 1;
        }
    }

    /// The gap that `key` is in.
    fn gap_of(&mut self, key: RecordKey) -> Option<Range> {
        while let Some(gap) = self.space.gaps.get(self.gap)
            && gap.to.is_some_and(|to| to <= key)
        {
            self.gap += 1;
        }
        // The last one, to the end, may overlap those before it.
        let here = self.space.gaps.get(self.gap).copied().filter(|gap| gap.from <= key);
        here.or_else(|| {
            self.space.gaps.last().copied().filter(|gap| gap.from <= key && gap.to.is_none())
        })
    }

    /// Whether a record that only leaves without a tree have is taken.
    fn judge(
        &mut self,
        key: RecordKey,
        at: &[(usize, Cursor<'a>)],
        witness: bool,
        repeated: bool,
    ) -> Option<(Rec<'a>, Option<Doubt>)> {
        let trust = self.space.trust;
        let gap = self.gap_of(key);
        let rank = |cursor: &Cursor<'a>| (cursor.own_id, cursor.whole, cursor.in_older);
        // Of equals the first in the file.
        let (_, best) = at.iter().min_by_key(|(index, cursor)| (Reverse(rank(cursor)), *index))?;
        let record = best.current;
        let refuted = gap.is_none() || witness;
        if repeated || refuted && !trust.include_freed {
            self.out.superseded += 1;
            return None;
        }
        self.out.found_records += 1;
        let differs = at.iter().any(|(_, cursor)| cursor.current.item.value != record.item.value);
        let attached =
            at.iter().any(|(_, cursor)| cursor.in_older) && trust.marks_agree && trust.confirmed;
        let behind = trust.mark_certain && trust.mark.is_none_or(|mark| key.revision.main > mark);
        // At the end, what is in no tree may never have been committed.
        let inside = gap.is_some_and(|gap| gap.to.is_some());
        let sure = best.own_id && (attached || behind && inside);
        let doubt = if refuted {
            Some(Doubt::Freed)
        } else if differs {
            Some(Doubt::Conflict)
        } else {
            (!sure).then_some(Doubt::Unattached)
        };
        Some((record, doubt))
    }

    fn mark(&mut self, key: RecordKey, doubt: Option<Doubt>) {
        match (doubt, self.out.runs.last_mut()) {
            (None, _) => self.run_open = false,
            (Some(doubt), Some(run)) if self.run_open && run.doubt == doubt => run.last = key,
            (Some(doubt), _) => {
                self.out.runs.push(Run { first: key, last: key, doubt });
                self.run_open = true;
            }
        }
    }

    /// Looks for proof that nothing is missing between the record before and this one.
    fn prove(&mut self, key: RecordKey, from_tree: bool, at: &[(usize, Cursor<'a>)]) {
        let before = self.before.replace((key, from_tree));
        let trust = self.space.trust;
        let (last, of_tree) = before.unwrap_or((START, true));
        while let Some(gap) = self.space.gaps.get(self.gap)
            && gap.to.is_some_and(|to| to <= last)
        {
            self.gap += 1;
        }
        let gap =
            self.space.gaps.iter().skip(self.gap).find(|gap| gap.to.is_none_or(|to| to > last));
        let crosses = gap.is_some_and(|gap| gap.from < key);
        let broken = from_tree && self.tree.broken;
        let follows = key.revision.main == last.revision.main
            && last.revision.sub.checked_add(1) == Some(key.revision.sub);
        let counts =
            last.revision.main.checked_add(1) == Some(key.revision.main) && key.revision.sub == 0;
        let first = before.is_none() && key.revision == Revision { main: 2, sub: 0 };
        let proven = from_tree && of_tree && !crosses && !broken
            || follows
            || first
            || at.iter().any(|(_, cursor)| {
                cursor.whole && before.is_some() && cursor.previous == Some(last)
            })
            || self.space.adjacent.contains(last, key)
            || of_tree && !broken && gap.is_some_and(|gap| gap.from == key) && !crosses
            || trust.nothing_unknown && counts && !broken;
        if !proven && key.revision.main <= trust.mark.unwrap_or(-1) {
            self.out.missing_below_mark |= crosses || broken;
        } else if !proven {
            let after = before.map(|(last, _)| last.revision);
            self.hole(Hole { after, before: Some(key.revision), certain: !counts || broken }, key);
        }
    }

    fn hole(&mut self, hole: Hole, below: RecordKey) {
        self.out.hole_count += 1;
        self.out.doubt_below = self.out.doubt_below.max(Some(below));
        if self.out.holes.len() < self.space.trust.most_told {
            self.out.holes.push(hole);
        }
    }

    fn finish(mut self) -> Merged {
        let open_end = self.space.gaps.iter().any(|gap| gap.to.is_none());
        let broken = self.tree.broken;
        if open_end && !self.space.trust.nothing_unknown || broken {
            let after = self.before.map(|(last, _)| last.revision);
            self.hole(Hole { after, before: None, certain: broken }, END);
        }
        self.out.cut = std::mem::take(&mut self.tree.cut);
        self.out.cut_records = self.tree.cut_records;
        self.out
    }
}

/// Where `slice` stands in `file`.
pub(super) fn offset_of(file: &[u8], slice: &[u8]) -> u64 {
    slice.as_ptr().addr().wrapping_sub(file.as_ptr().addr()) as u64
}
