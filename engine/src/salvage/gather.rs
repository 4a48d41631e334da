//! Finds everything there is: the best tree, its gaps, and what can fill them.

use std::collections::BTreeMap;

use rayon::prelude::*;

use super::{
    Error,
    merge::{Adjacent, FoundLeaf, KeySpace},
    record::{record, revision},
    report::{BucketFrom, BucketReport, LostPages, Report, Tree, why},
    root::{Named, Root, recognised},
    small,
};
use crate::{
    bolt::{
        self, PageId, layout,
        page_set::PageSet,
        salvage::{self, Budget, Candidate, Found, Gap, NodeAt, Pages, Piece, scan, walk},
    },
    limits::Limits,
    progress::Progress,
    rewrite::Records,
    schema::{bucket, meta},
};

/// What may be asked of a salvage.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Options {
    /// Take records of free pages too, where no newer one of their key is known.
    pub include_freed: bool,
    /// A WAL goes on where a commit ended. Where one meta is lost, the commit of the other is enough then, and what may be
    /// newer is in the log.
    pub log_follows: bool,
    /// Bounds the lists of the report.
    pub limits: Limits,
}

/// Everything that can be saved of a file. The records stay in the file.
#[derive(Debug)]
pub struct Salvage<'a> {
    pub(super) pages: Pages<'a>,
    pub(super) keys: KeySpace<'a>,
    pub(super) small: BTreeMap<Vec<u8>, Records>,
    pub(super) report: Report,
    size_bytes: u64,
}

/// A tree that is followed, bucket by bucket.
struct Followed<'a> {
    root: Root<'a>,
    keys: salvage::Tree<'a>,
    inline_keys: Option<Found<'a>>,
    reached: PageSet,
    budget: Budget,
}

impl<'a> Salvage<'a> {
    /// Reads `bytes`, whatever they are.
    ///
    /// # Errors
    /// [`Error::Nothing`] when no record is recognised, [`Error::Bolt`] for a big-endian file or an interruption.
    pub fn read(bytes: &'a [u8], options: Options, progress: &dyn Progress) -> Result<Self, Error> {
        if let Err(error @ bolt::Error::BigEndian { .. }) =
            bolt::meta::choose(crate::raw::Raw::new(bytes))
        {
            return Err(error.into());
        }
        let pages = Pages::open(bytes);
        Gatherer { pages, progress }.gather(options)
    }

    /// What was read from where. What is lost and doubtful is known when it was written.
    pub fn report(&self) -> &Report {
        &self.report
    }

    /// About how many bytes will be written: those of the pages that records are read from. Less where pages have room,
    /// or copies of each other's records.
    pub fn size_bytes(&self) -> u64 {
        self.size_bytes
    }
}

/// What leaves that no tree leads to hold.
struct Recognised {
    found: Vec<FoundLeaf>,
    /// Records of buckets other than `key`.
    loose: BTreeMap<&'static str, Records>,
    /// Whether it is known of each what all of it is.
    intact: bool,
}

struct Gatherer<'p, 'a> {
    pages: Pages<'a>,
    progress: &'p dyn Progress,
}

impl<'a> Gatherer<'_, 'a> {
    fn gather(self, options: Options) -> Result<Salvage<'a>, Error> {
        let mut followed = Vec::new();
        // The meta that is lost may have been the newer one.
        let sure = self.pages.metas().len() > 1 || options.log_follows;
        for (at, meta) in self.pages.metas().iter().enumerate() {
            let tree = Tree::OfMeta { slot: meta.slot, txid: meta.txid.0, newest: at == 0 && sure };
            let budget = Budget::of(&self.pages);
            let high = meta.high_water_mark.0;
            let (root, reached) =
                Root::read(&self.pages, meta.root, high, tree, &budget, self.progress)?;
            if at == 0 || root.is_useful() {
                followed.push(self.follow(root, reached, budget)?);
            }
        }
        let mut lost_pages = Vec::new();
        let mut unusable = Vec::new();
        if let Some(first) = followed.first()
            && !first.root.is_useful()
        {
            lost_pages.extend(first.root.gaps.iter().map(|gap| lost(gap, "")));
            unusable.extend(first.root.gaps.iter().map(|gap| gap.page));
            followed.remove(0);
        }
        // Metas with one root are one tree.
        let roots =
            |followed: &Followed<'a>| followed.root.buckets.get(bucket::KEY.as_bytes()).copied();
        if let [first, second, ..] = followed.as_slice()
            && let (Some(Named::Tree(one)), Some(Named::Tree(other))) =
                (roots(first), roots(second))
            && one == other
            && first.is_whole()
        {
            followed.truncate(1);
        }
        let none = PageSet::new(self.pages.count());
        let mut candidates = None;
        if followed.is_empty() {
            let all = scan(&self.pages, &none, self.progress)?;
            for root in recognised(&self.pages, &all).into_iter().take(2) {
                followed.push(self.follow(
                    root,
                    PageSet::new(self.pages.count()),
                    Budget::of(&self.pages),
                )?);
            }
            candidates = Some(all);
        }
        let newest_is_whole =
            followed.first().is_some_and(|first| first.is_whole() && first.is_newest());
        let base = followed.first();
        let known = base.map_or(&none, |base| &base.reached);
        let candidates = match candidates {
            Some(all) if followed.is_empty() => all,
            _ if newest_is_whole && !options.include_freed => Vec::new(),
            _ => scan(&self.pages, known, self.progress)?,
        };
        let recognised = self.recognise(&candidates);
        self.assemble(options, followed, &candidates, recognised, lost_pages, &unusable)
    }

    fn follow(
        &self,
        root: Root<'a>,
        reached: PageSet,
        budget: Budget,
    ) -> Result<Followed<'a>, Error> {
        let mut keys = salvage::Tree::default();
        let mut inline_keys = None;
        match root.buckets.get(bucket::KEY.as_bytes()) {
            Some(Named::Tree(page)) => {
                let all = (&[][..], None);
                keys = walk(
                    &self.pages,
                    *page,
                    root.high_water_mark,
                    all,
                    &reached,
                    &budget,
                    self.progress,
                )?;
            }
            Some(Named::Inline(leaf)) => inline_keys = Some(*leaf),
            _ => {}
        }
        Ok(Followed { root, keys, inline_keys, reached, budget })
    }

    /// The leaves of bucket `key` among `candidates`, and the records of other buckets.
    fn recognise(&self, candidates: &[Candidate]) -> Recognised {
        let looked: Vec<_> = candidates
            .par_iter()
            .map(|candidate| {
                if self.progress.interrupted() {
                    return (None, Vec::new(), false);
                }
                let leaf = candidate.open(&self.pages);
                let whole = leaf.own_id && leaf.is_whole();
                let mut keys = leaf.pieces().filter_map(|piece| match piece {
                    Piece::Whole(item) => record(&item).map(|(key, _)| key),
                    _ => None,
                });
                if let Some(first) = keys.next() {
                    let (last, count) = keys.fold((first, 1), |(_, count), key| (key, count + 1));
                    let whole = whole && count == leaf.count();
                    let found = FoundLeaf { candidate: *candidate, first, last, whole };
                    return (Some(found), Vec::new(), whole);
                }
                let mut names_buckets = false;
                let items: Vec<_> = leaf
                    .pieces()
                    .filter_map(|piece| match piece {
                        Piece::Whole(item) => {
                            names_buckets |= item.is_bucket();
                            small::bucket_of(&item).map(|name| (name, item))
                        }
                        _ => None,
                    })
                    .collect();
                let explained = whole && (names_buckets || !items.is_empty());
                (None, items, explained)
            })
            .collect();
        let mut recognised = Recognised { found: Vec::new(), loose: BTreeMap::new(), intact: true };
        for (leaf, items, explained) in looked {
            recognised.intact &= explained;
            recognised.found.extend(leaf);
            for (name, item) in items {
                small::take(recognised.loose.entry(name).or_default(), &item);
            }
        }
        recognised
    }

    fn assemble(
        self,
        options: Options,
        mut followed: Vec<Followed<'a>>,
        candidates: &[Candidate],
        Recognised { found, loose, intact }: Recognised,
        mut lost_pages: Vec<LostPages>,
        unusable: &[PageId],
    ) -> Result<Salvage<'a>, Error> {
        let older = (followed.len() > 1).then(|| followed.remove(1));
        let base = followed.into_iter().next();
        let mut small = BTreeMap::new();
        let mut buckets = Vec::new();
        let mut names: Vec<Vec<u8>> =
            bucket::ALL.iter().map(|name| name.as_bytes().to_vec()).collect();
        names.extend(base.iter().flat_map(|base| base.root.buckets.keys().cloned()));
        names.sort();
        names.dedup();
        let mut marks_agree = older.is_some();
        let mut meta_from = BucketFrom::Lost;
        for name in names.iter().filter(|name| name.as_slice() != bucket::KEY.as_bytes()) {
            let text = String::from_utf8_lossy(name).into_owned();
            let (mut records, mut from) = (Records::new(), BucketFrom::Lost);
            if let Some(base) = &base {
                (records, from) = self.small_bucket(base, name, &text, &mut lost_pages)?;
            }
            let second = match &older {
                Some(older) => Some(self.small_bucket(older, name, &text, &mut Vec::new())?),
                None => None,
            };
            if name == bucket::META.as_bytes() {
                meta_from = from;
                let mark =
                    |records: &Records| records.get(meta::FINISHED_COMPACT.as_bytes()).cloned();
                marks_agree &= second.as_ref().is_some_and(|(second, from)| {
                    *from == BucketFrom::Tree && mark(second) == mark(&records)
                });
            }
            if from != BucketFrom::Tree {
                if let Some((second, BucketFrom::Tree)) = second {
                    records = second.into_iter().chain(records).collect();
                    from = BucketFrom::OlderTree;
                } else if let Some(loose) = loose.get(text.as_str()) {
                    let tree = !records.is_empty();
                    for (key, value) in loose {
                        records.entry(key.clone()).or_insert_with(|| value.clone());
                    }
                    from = if tree { BucketFrom::TreeAndContent } else { BucketFrom::Content };
                }
            }
            buckets.push(BucketReport { name: text, from, records: records.len() as u64 });
            small.insert(name.clone(), records);
        }
        let confirmed = base.as_ref().is_some_and(|base| base.is_newest() && base.root.is_useful());
        let mark = small.get(bucket::META.as_bytes()).and_then(|records| {
            let main = |key: &str| {
                records
                    .get(key.as_bytes())
                    .and_then(|value| revision(value))
                    .map(|key| key.revision.main)
            };
            main(meta::FINISHED_COMPACT).or_else(|| main(meta::SCHEDULED_COMPACT).map(|_| -1))
        });
        let adjacent =
            older.as_ref().map(|older| self.adjacent(older, base.as_ref())).unwrap_or_default();
        let mut misnamed = Vec::new();
        if let Some(base) = &base {
            lost_pages.extend(base.root.gaps.iter().map(|gap| lost(gap, "")));
            lost_pages.extend(base.keys.gaps.iter().map(|gap| lost(gap, bucket::KEY)));
            misnamed.extend(base.root.misnamed.iter().chain(&base.keys.misnamed).copied());
        }
        let unknown_pages = self.unknown(base.as_ref(), older.as_ref(), candidates, unusable);
        let high = base.as_ref().map_or(self.pages.count(), |base| base.root.high_water_mark);
        if high > self.pages.count() {
            let first = PageId(self.pages.count());
            let count = high - self.pages.count();
            lost_pages.push(LostPages {
                first,
                count,
                bucket: String::new(),
                why: "the file ends before them",
            });
        }
        lost_pages.sort_by_key(|lost| (lost.first, lost.count));
        lost_pages.dedup();
        misnamed.sort_unstable();
        let found = found
            .into_iter()
            .map(|leaf| {
                let in_older =
                    older.as_ref().is_some_and(|older| older.reached.contains(leaf.candidate.page));
                (leaf, in_older)
            })
            .collect();
        let tree = base.as_ref().map_or(Tree::None, |base| base.root.tree);
        // Without a meta the newest tree may be one that was never committed.
        let sure_until = matches!(tree, Tree::Recognised { .. }).then(|| {
            let older = older.as_ref();
            older.map(|older| self.last_of(older).unwrap_or(super::record::START))
        });
        let never_sure = sure_until == Some(None);
        let tree_leaves = base.as_ref().map_or(0, |base| base.keys.leaves.len() as u64);
        let tree_pages = base.as_ref().map_or(0, |base| base.reached.len());
        // Of a leaf that is damaged nobody knows what else it held.
        let intact = intact
            && base.as_ref().is_none_or(|base| {
                !base.keys.gaps.iter().any(|gap| gap.why == salvage::Why::Elements)
            });
        let keys = KeySpace::new(
            self.pages.clone(),
            base.map(|base| (base.keys, base.inline_keys, base.root.high_water_mark)),
            found,
            adjacent,
            super::merge::Trust {
                confirmed,
                mark,
                mark_certain: confirmed && meta_from == BucketFrom::Tree,
                marks_agree,
                nothing_unknown: unknown_pages == 0
                    && high <= self.pages.count()
                    && !never_sure
                    && intact,
                include_freed: options.include_freed,
                most_told: options.limits.max_findings,
                sure_until: sure_until.flatten(),
            },
        );
        // Metas, freelist and a root are always there.
        let pages = (tree_pages + keys.found_pages()).saturating_add(4);
        let size_bytes = pages.saturating_mul(self.pages.page_size() as u64);
        let report = Report {
            page_size: self.pages.page_size(),
            sizing: self.pages.sizing(),
            pages: self.pages.count(),
            metas: self.pages.metas().len(),
            tree,
            older_tree: older.map(|older| older.root.tree),
            lost_pages,
            misnamed,
            unknown_pages,
            tree_leaves,
            found_leaves: keys.found_leaves(),
            tree_records: 0,
            found_records: 0,
            superseded: 0,
            cut: Vec::new(),
            cut_records: 0,
            holes: Vec::new(),
            hole_count: 0,
            doubt_below: None,
            missing_below_mark: false,
            runs: Vec::new(),
            buckets,
            revision: 0,
            compact_revision: mark.unwrap_or(-1),
            compaction: -1,
            index_certain: confirmed && meta_from == BucketFrom::Tree,
        };
        Ok(Salvage { pages: self.pages, keys, small, report, size_bytes })
    }

    /// A small bucket of a tree, as far as it stands.
    fn small_bucket(
        &self,
        of: &Followed<'a>,
        name: &[u8],
        text: &str,
        lost_pages: &mut Vec<LostPages>,
    ) -> Result<(Records, BucketFrom), Error> {
        let mut records = Records::new();
        let mut whole = true;
        let mut take = |leaf: Found<'a>| {
            for piece in leaf.pieces() {
                match piece {
                    Piece::Whole(item) if small::fits(name, &item) => {
                        records.insert(item.key.to_vec(), item.value.to_vec());
                    }
                    _ => whole = false,
                }
            }
        };
        let mut gaps = 0;
        match of.root.buckets.get(name) {
            Some(Named::Inline(leaf)) => take(*leaf),
            Some(Named::Tree(page)) => {
                let all = (&[][..], None);
                let tree = walk(
                    &self.pages,
                    *page,
                    of.root.high_water_mark,
                    all,
                    &of.reached,
                    &of.budget,
                    self.progress,
                )?;
                lost_pages.extend(tree.gaps.iter().map(|gap| lost(gap, text)));
                gaps = tree.gaps.len();
                for leaf in tree.leaves {
                    if let Some(NodeAt::Leaf(leaf)) = self.pages.node(leaf, of.root.high_water_mark)
                    {
                        take(leaf);
                    }
                }
            }
            Some(Named::Damaged) => return Ok((records, BucketFrom::Lost)),
            // A root that is whole and does not name it: it was not there.
            None if of.root.is_whole() => return Ok((records, BucketFrom::Tree)),
            None => return Ok((records, BucketFrom::Lost)),
        }
        let from = if whole && gaps == 0 { BucketFrom::Tree } else { BucketFrom::PartOfTree };
        Ok((records, from))
    }

    /// What stands next to each other in the older tree, where that is not in the base as well.
    fn adjacent(&self, older: &Followed<'a>, base: Option<&Followed<'a>>) -> Adjacent {
        let mut adjacent = Adjacent::default();
        let leaf = |page: PageId| match self.pages.node(page, older.root.high_water_mark) {
            Some(NodeAt::Leaf(leaf)) => {
                leaf.ends().and_then(|(first, last)| Some((revision(first)?, revision(last)?)))
            }
            _ => None,
        };
        let gap_at = |at: usize| {
            let from = older.keys.gaps.partition_point(|gap| gap.at < at);
            older.keys.gaps.get(from).is_some_and(|gap| gap.at == at)
        };
        let shared = |page: PageId| base.is_some_and(|base| base.reached.contains(page));
        for (at, pair) in older.keys.leaves.windows(2).enumerate() {
            let [before, behind] = pair else { continue };
            if shared(*before) && shared(*behind) || gap_at(at + 1) {
                continue;
            }
            if let (Some((_, last)), Some((first, _))) = (leaf(*before), leaf(*behind)) {
                adjacent.add(last, first);
            }
        }
        adjacent.finish();
        adjacent
    }

    /// The last key of a tree, as far as it stands.
    fn last_of(&self, of: &Followed<'a>) -> Option<crate::schema::RecordKey> {
        let leaf = match (of.inline_keys, of.keys.leaves.last()) {
            (Some(leaf), _) => leaf,
            (None, Some(page)) => match self.pages.node(*page, of.root.high_water_mark) {
                Some(NodeAt::Leaf(leaf)) => leaf,
                _ => return None,
            },
            _ => return None,
        };
        leaf.ends().and_then(|(_, last)| revision(last))
    }

    /// Pages that may have been anything.
    fn unknown(
        &self,
        base: Option<&Followed<'a>>,
        older: Option<&Followed<'a>>,
        candidates: &[Candidate],
        explained: &[PageId],
    ) -> u64 {
        let high = base
            .map_or(self.pages.count(), |base| base.root.high_water_mark)
            .min(self.pages.count());
        let known = PageSet::new(high);
        let cover = |first: u64, count: u64| {
            for page in first..first.saturating_add(count).min(high) {
                known.insert(PageId(page));
            }
        };
        cover(0, 2);
        explained.iter().for_each(|page| cover(page.0, 1));
        candidates.iter().for_each(|found| cover(found.page.0, u64::from(found.pages)));
        let others = |page: &PageId| {
            let reached =
                |of: Option<&Followed<'a>>| of.is_some_and(|of| of.reached.contains(*page));
            reached(base) || reached(older)
        };
        let structural = |page: PageId| {
            let header = self.pages.header(page)?;
            let flags = header.flags.0;
            let kind = flags == layout::FLAG_FREELIST
                || flags == layout::FLAG_LEAF && header.count == 0
                || flags == layout::FLAG_BRANCH
                    && matches!(self.pages.node(page, high), Some(NodeAt::Branch(_)));
            (header.id == page.0 && kind).then_some(u64::from(header.overflow) + 1)
        };
        let mut page = 2;
        while page < high {
            let count = structural(PageId(page)).unwrap_or(0);
            let count = if count == 0 && others(&PageId(page)) { 1 } else { count };
            cover(page, count);
            page = page.saturating_add(count.max(1));
        }
        high - known.len().min(high)
    }
}

impl Followed<'_> {
    fn is_newest(&self) -> bool {
        matches!(self.root.tree, Tree::OfMeta { newest: true, .. })
    }

    fn is_whole(&self) -> bool {
        self.root.is_whole() && self.keys.gaps.is_empty() && self.root.is_useful()
    }
}

fn lost(gap: &Gap<'_>, bucket: &str) -> LostPages {
    LostPages { first: gap.page, count: 1, bucket: bucket.to_owned(), why: why(gap.why) }
}
