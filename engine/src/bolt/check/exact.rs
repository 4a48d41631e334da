//! What is wrong and where, in bbolt's order and words.
//!
//! bbolt walks each tree twice, once for references and once for key order; so does this. Where bbolt
//! would panic (a wrong page id, unknown flags, an element outside its page) the assertion's text is the
//! finding and the walk goes on beside it.
//!
//! bbolt lists findings without saying which of them explains which. Here the first finding of a page is the cause of
//! what is found later on that page and below it; pages that no tree leads to follow from the damage in the trees.

use std::{collections::BTreeMap, fmt::Write as _};

use crate::bolt::page_set::PageSet;
use crate::{
    bolt::{
        Db, Error, PageId,
        bucket::{Bucket, Root},
        freelist::Freelist,
        layout,
        page::{Item, Leaf, Node, Page, Unpacked},
    },
    finding::{Finding, Place},
    progress::{Interrupted, Progress},
};

pub(super) fn findings(
    db: &Db<'_>,
    freelist: Result<Option<Freelist>, Error>,
    progress: &dyn Progress,
) -> Result<Vec<Finding>, Interrupted> {
    let pages = db.pages_in_file();
    let mut walk = Exact {
        db: *db,
        reached: PageSet::new(pages),
        freed: PageSet::new(pages),
        leaves: PageSet::new(pages),
        budget: pages.saturating_mul(4).saturating_add(1024),
        findings: Vec::new(),
        dropped: 0,
        cause: None,
        causes: BTreeMap::new(),
        first_in_trees: None,
        first_freed: None,
        progress,
    };
    walk.run(freelist);
    progress.go_on()?;
    if walk.dropped > 0 {
        let message = format!("{} more findings are not listed", walk.dropped);
        walk.findings.push(Finding::damage("more-findings", Place::File, message));
    }
    Ok(walk.findings)
}

/// A bucket with pages of its own, and the cause of what is found in it.
type Nested<'a> = (Bucket<'a>, Option<Place>);

struct Exact<'a, 'p> {
    db: Db<'a>,
    reached: PageSet,
    freed: PageSet,
    /// Leaves whose buckets are known.
    leaves: PageSet,
    /// Physical pages left to visit: shared pages are walked again as bbolt does, circles must end.
    budget: u64,
    findings: Vec<Finding>,
    dropped: u64,
    /// Place of the finding that explains what is found now: on this page, or on a page above it.
    cause: Option<Place>,
    /// The first finding of each page that none above it explains.
    causes: BTreeMap<PageId, Place>,
    /// The first finding in a tree.
    first_in_trees: Option<Place>,
    /// The first finding about free pages.
    first_freed: Option<Place>,
    progress: &'p dyn Progress,
}

impl<'a> Exact<'a, '_> {
    fn run(&mut self, freelist: Result<Option<Freelist>, Error>) {
        self.reached.insert(PageId(0));
        self.reached.insert(PageId(1));
        let stored = match freelist {
            Ok(Some(freelist)) => {
                self.freelist(&freelist);
                true
            }
            Ok(None) => false,
            Err(error) => {
                self.freelist_error(&error);
                false
            }
        };
        self.first_freed = self.cause.take();
        self.buckets(self.db.root());
        if stored {
            // The pages below a page that cannot be read are unreachable.
            self.cause = self.first_in_trees.take().or(self.first_freed.take());
            for id in 0..self.db.pages_in_file() {
                let page = PageId(id);
                if !self.reached.contains(page) && !self.freed.contains(page) {
                    self.report(
                        "unreachable-unfreed",
                        Place::Page(id),
                        format!("page {id}: unreachable unfreed"),
                    );
                }
            }
        }
    }

    fn freelist(&mut self, freelist: &Freelist) {
        let high_water_mark = self.db.meta().high_water_mark;
        for id in &freelist.ids {
            if id.0 < 2 || *id >= high_water_mark {
                let message = format!(
                    "page {}: freelist names page {id}, which is not in [2, {high_water_mark})",
                    freelist.page
                );
                self.report("freelist-entry", Place::Page(freelist.page.0), message);
            } else if !self.freed.insert(*id) {
                self.report(
                    "already-freed",
                    Place::Page(id.0),
                    format!("page {id}: already freed"),
                );
            }
        }
        for id in 0..=u64::from(freelist.overflow) {
            self.reached.insert(PageId(freelist.page.0 + id));
        }
    }

    fn freelist_error(&mut self, error: &Error) {
        let message = match error {
            Error::WrongKind { page, found, .. } => {
                format!("invalid freelist page: {page}, page type is {found}")
            }
            other => format!("freelist: {other}"),
        };
        self.report("freelist", error.place(), message);
    }

    /// Adds a finding. The first one of a page becomes the cause of what follows there.
    fn report(&mut self, code: &'static str, place: Place, message: String) {
        self.add(code, place.clone(), message, self.cause.clone());
        self.cause.get_or_insert(place);
    }

    fn add(&mut self, code: &'static str, place: Place, message: String, follows: Option<Place>) {
        if self.findings.len() < self.db.limits().max_findings {
            self.findings.push(Finding { follows, ..Finding::damage(code, place, message) });
        } else {
            self.dropped += 1;
        }
    }

    fn error(&mut self, error: &Error) {
        if let (Error::BeyondEnd { .. }, Some(tail)) = (error, self.db.missing_tail()) {
            self.cause.get_or_insert(Place::Offset(tail.found));
        }
        self.report(error.code(), error.place(), error.to_string());
    }

    /// Looks at page `id`: what was found on it or above it explains what is found now.
    fn on_page<R>(&mut self, id: PageId, look: impl FnOnce(&mut Self) -> R) -> R {
        if self.cause.is_some() {
            return look(self);
        }
        self.cause = self.causes.get(&id).cloned();
        let result = look(self);
        if let Some(cause) = self.cause.take() {
            self.first_in_trees.get_or_insert_with(|| cause.clone());
            if self.causes.len() < self.db.limits().max_findings {
                self.causes.entry(id).or_insert(cause);
            }
        }
        result
    }

    /// All buckets, each before those in it. They nest without limit, and so without a stack of calls.
    fn buckets(&mut self, root: Bucket<'a>) {
        let mut pending = vec![(root, None)];
        while let Some((bucket, cause)) = pending.pop() {
            let Root::Page(root) = bucket.root() else { continue };
            self.cause = cause;
            let mut nested = Vec::new();
            self.references(root, &mut Vec::new(), &mut nested);
            self.order(root, None, None, &mut Vec::new());
            pending.extend(nested.into_iter().rev());
        }
        self.cause = None;
    }

    /// bbolt's `forEachPage` with `verifyPageReachable`; collects the buckets found in leaves.
    fn references(&mut self, id: PageId, stack: &mut Vec<PageId>, nested: &mut Vec<Nested<'a>>) {
        if self.spent(id, stack) {
            return;
        }
        let in_circle = stack.contains(&id);
        stack.push(id);
        self.on_page(id, |walk| walk.reference(id, stack, in_circle, nested));
        stack.pop();
    }

    fn reference(
        &mut self,
        id: PageId,
        stack: &mut Vec<PageId>,
        in_circle: bool,
        nested: &mut Vec<Nested<'a>>,
    ) {
        let high_water_mark = self.db.meta().high_water_mark;
        if id >= high_water_mark {
            let message =
                format!("page {id}: out of bounds: {high_water_mark} (stack: {})", list(stack));
            self.report("out-of-bounds", Place::Page(id.0), message);
            return;
        }
        let page = match self.db.page(id) {
            Ok(page) => page,
            Err(error @ Error::Overflow { .. }) => {
                self.error(&error);
                self.claim(id, 0, stack);
                return;
            }
            Err(error) => {
                self.error(&error);
                return;
            }
        };
        self.budget = self.budget.saturating_sub(u64::from(page.header.overflow));
        self.claim(id, page.header.overflow, stack);
        if self.freed.contains(id) {
            // The freelist is wrong, not the page.
            let message = format!("page {id}: reachable freed");
            let place = Place::Page(id.0);
            self.add("reachable-freed", place.clone(), message, self.first_freed.clone());
            self.first_freed.get_or_insert(place);
        } else if !matches!(page.header.flags.0, layout::FLAG_BRANCH | layout::FLAG_LEAF) {
            let message =
                format!("page {id}: invalid type: {} (stack: {})", page.header.flags, list(stack));
            self.report("page-type", Place::Page(id.0), message);
        }
        if !in_circle {
            let known = nested.len();
            self.descend(&page, stack, nested);
            // bbolt walks the buckets of a leaf again each time it meets the leaf, which in a circle has no end.
            if page.header.flags.0 == layout::FLAG_LEAF && !self.leaves.insert(id) {
                nested.truncate(known);
            }
        }
    }

    fn claim(&mut self, id: PageId, overflow: u32, stack: &[PageId]) {
        for page in id.0..=id.0.saturating_add(u64::from(overflow)) {
            if !self.reached.insert(PageId(page)) && page < self.db.pages_in_file() {
                let message = format!("page {page}: multiple references (stack: {})", list(stack));
                self.report("multiple-references", Place::Page(page), message);
            }
        }
    }

    fn descend(&mut self, page: &Page<'a>, stack: &mut Vec<PageId>, nested: &mut Vec<Nested<'a>>) {
        match page.node() {
            Ok(Node::Branch(branch)) => {
                self.unpacked(branch.unpacked(), branch.overdrawn());
                for index in 0..branch.count() {
                    match branch.child_page(index) {
                        Ok(child) => self.references(child, stack, nested),
                        Err(error) => self.error(&error),
                    }
                }
            }
            Ok(Node::Leaf(leaf)) => self.leaf(leaf, nested),
            Err(Error::WrongKind { .. }) => {}
            Err(error) => self.error(&error),
        }
    }

    /// Elements that stand elsewhere than bbolt puts them: once a page, at the first of them.
    /// Or, where all begin as they should, the one that claims more than is left of the page.
    fn unpacked(&mut self, found: Option<Unpacked>, overdrawn: Option<Error>) {
        if let Some(found) = found {
            let place = Place::Element { page: found.page.0, index: found.index };
            self.report("unpacked", place, found.to_string());
        } else if let Some(error) = overdrawn {
            self.error(&error);
        }
    }

    /// What bbolt does not look at: element bounds and flags, empty keys, bucket values. Elements for
    /// which no bytes are left are not looked at: reading them all could take the page's size squared.
    fn leaf(&mut self, leaf: Leaf<'a>, nested: &mut Vec<Nested<'a>>) {
        self.unpacked(leaf.unpacked(), leaf.overdrawn());
        for item in leaf.items().take(leaf.disjoint()) {
            let item = match item {
                Ok(item) => item,
                Err(error) => {
                    self.error(&error);
                    continue;
                }
            };
            self.element(&item);
            if item.is_bucket() {
                match Bucket::from_item(self.db, &item) {
                    Ok(bucket) => match bucket.root() {
                        Root::Inline(leaf) => self.inline(leaf, &item, nested),
                        Root::Page(_) => nested.push((bucket, self.cause.clone())),
                    },
                    Err(error) => self.error(&error),
                }
            }
        }
    }

    fn element(&mut self, item: &Item<'_>) {
        let place = || Place::Element { page: item.page.0, index: item.index };
        if item.key.is_empty() {
            let message = format!("page {} element {}: zero-length key", item.page, item.index);
            self.report("empty-key", place(), message);
        }
        let unknown = item.flags & !layout::LEAF_FLAG_BUCKET;
        if unknown != 0 {
            let message = format!(
                "page {} element {}: unknown element flags {:#x}",
                item.page, item.index, item.flags
            );
            self.report("element-flags", place(), message);
        }
    }

    /// An inline bucket and those in it, which bbolt does not check at all. Page buckets within them go to `nested`.
    fn inline(&mut self, leaf: Leaf<'a>, holder: &Item<'a>, nested: &mut Vec<Nested<'a>>) {
        // They nest as deep as the value is long.
        let mut pending = vec![(leaf, *holder)];
        let mut within = Vec::new();
        while let Some((leaf, holder)) = pending.pop() {
            self.inline_leaf(leaf, &holder, nested, &mut within);
            pending.extend(within.drain(..).rev());
        }
    }

    fn inline_leaf(
        &mut self,
        leaf: Leaf<'a>,
        holder: &Item<'a>,
        nested: &mut Vec<Nested<'a>>,
        within: &mut Vec<(Leaf<'a>, Item<'a>)>,
    ) {
        if let Some(found) = leaf.unpacked() {
            let message = format!("inline bucket {}: {found}", hex(holder.key));
            let place = Place::Element { page: holder.page.0, index: holder.index };
            self.report("unpacked", place, message);
        } else if let Some(error) = leaf.overdrawn() {
            let message = format!("inline bucket {}: {error}", hex(holder.key));
            self.report(error.code(), error.place(), message);
        }
        let mut previous: Option<&[u8]> = None;
        for item in leaf.items().take(leaf.disjoint()) {
            let item = match item {
                Ok(item) => item,
                Err(error) => {
                    let message = format!("inline bucket {}: {error}", hex(holder.key));
                    self.report(error.code(), error.place(), message);
                    continue;
                }
            };
            self.element(&item);
            if previous.is_some_and(|key| key >= item.key) {
                let message = format!(
                    "page {} element {}: inline bucket {}: key[{}]=(hex){} needs to be > than previous element (hex){}",
                    holder.page,
                    holder.index,
                    hex(holder.key),
                    item.index,
                    hex(item.key),
                    hex(previous.unwrap_or_default())
                );
                let place = Place::Element { page: holder.page.0, index: holder.index };
                self.report("key-order", place, message);
            }
            previous = Some(item.key);
            if item.is_bucket() {
                match Bucket::from_item(self.db, &item) {
                    Ok(bucket) => match bucket.root() {
                        Root::Inline(leaf) => within.push((leaf, item)),
                        Root::Page(_) => nested.push((bucket, self.cause.clone())),
                    },
                    Err(error) => self.error(&error),
                }
            }
        }
    }

    /// bbolt's `recursivelyCheckPageKeyOrder`; returns the last key below `id`.
    fn order(
        &mut self,
        id: PageId,
        from: Option<&'a [u8]>,
        to: Option<&'a [u8]>,
        stack: &mut Vec<PageId>,
    ) -> Option<&'a [u8]> {
        if stack.contains(&id) || stack.len() >= self.db.limits().max_depth || self.budget == 0 {
            return None;
        }
        self.budget -= 1;
        // What cannot be read was reported by the walk over references.
        let node = self.db.page(id).ok()?;
        self.budget = self.budget.saturating_sub(u64::from(node.header.overflow));
        stack.push(id);
        let last = self.on_page(id, |walk| walk.order_on(&node, from, to, stack));
        stack.pop();
        last
    }

    fn order_on(
        &mut self,
        page: &Page<'a>,
        from: Option<&'a [u8]>,
        to: Option<&'a [u8]>,
        stack: &mut Vec<PageId>,
    ) -> Option<&'a [u8]> {
        let id = page.id;
        let mut previous = from;
        let mut last = None;
        match page.node() {
            Ok(Node::Branch(branch)) => {
                let mut before = None;
                for index in 0..branch.disjoint() {
                    let child = match branch.child(index) {
                        Ok(child) => child,
                        Err(error) => {
                            self.error(&error);
                            continue;
                        }
                    };
                    if child.key.is_empty() {
                        let message = format!("page {id} element {index}: zero-length key");
                        self.report("empty-key", Place::Element { page: id.0, index }, message);
                    }
                    // A key is held against the last one below the child before: what is wrong there explains it.
                    let explained = before.and_then(|before| self.causes.get(&before).cloned());
                    let above = self.cause.is_none().then_some(explained).flatten();
                    let own = above.is_some().then(|| std::mem::replace(&mut self.cause, above));
                    self.key_order(child.page, "branch", index, child.key, previous, to, stack);
                    if let Some(own) = own {
                        self.cause = own;
                    }
                    let next = branch.child(index + 1).ok().filter(|_| index + 1 < branch.count());
                    let bound = next.map_or(to, |next| Some(next.key));
                    last = self.order(child.page, Some(child.key), bound, stack);
                    previous = last;
                    before = Some(child.page);
                }
            }
            Ok(Node::Leaf(leaf)) => {
                for item in leaf.items().take(leaf.disjoint()).flatten() {
                    self.key_order(id, "leaf", item.index, item.key, previous, to, stack);
                    previous = Some(item.key);
                    last = previous;
                }
            }
            Err(Error::WrongKind { .. }) => {
                let message = format!(
                    "unexpected page type (flags: {:x}) for pgId:{id}",
                    page.header.flags.0
                );
                self.report("page-type", Place::Page(id.0), message);
            }
            Err(_) => {}
        }
        last
    }

    #[expect(clippy::too_many_arguments, reason = "the facts of one message of bbolt's")]
    fn key_order(
        &mut self,
        page: PageId,
        kind: &str,
        index: usize,
        key: &[u8],
        previous: Option<&[u8]>,
        to: Option<&[u8]>,
        stack: &[PageId],
    ) {
        let subject = || format!("key[{index}]=(hex){} on {kind} page({page})", hex(key));
        let place = Place::Element { page: page.0, index };
        let before = previous.unwrap_or_default();
        if index == 0 && previous.is_some_and(|previous| previous > key) {
            let message = format!(
                "the first {} needs to be >= the key in the ancestor ({}). Stack: {}",
                subject(),
                hex(before),
                list(stack)
            );
            self.report("key-order", place.clone(), message);
        }
        if index > 0 && before >= key {
            let found = if before == key { "=" } else { "<" };
            let message = format!(
                "{} needs to be > (found {found}) than previous element (hex){}. Stack: {}",
                subject(),
                hex(before),
                list(stack)
            );
            self.report("key-order", place.clone(), message);
        }
        if to.is_some_and(|to| key >= to) {
            // bbolt prints the previous key here, not the bound; kept so that findings compare.
            let message = format!(
                "{} needs to be < than key of the next element in ancestor (hex){}. Pages stack: {}",
                subject(),
                hex(before),
                list(stack)
            );
            self.report("key-order", place, message);
        }
    }

    fn spent(&mut self, id: PageId, stack: &[PageId]) -> bool {
        if self.progress.interrupted() {
            return true;
        }
        let limit = self.db.limits().max_depth;
        if stack.len() >= limit {
            self.error(&Error::TooDeep { page: id, limit });
            return true;
        }
        if self.budget == 0 {
            self.error(&Error::TooManyPages { page: id, pages: self.db.pages_in_file() });
            return true;
        }
        self.budget -= 1;
        false
    }
}

/// Bytes of a key that a message shows: a finding must not cost as much memory as a page.
const SHOWN: usize = 256;

fn hex(bytes: &[u8]) -> String {
    let (shown, rest) = bytes.split_at(bytes.len().min(SHOWN));
    let mut text = String::with_capacity(shown.len() * 2);
    for byte in shown {
        // Writing to a String cannot fail.
        let _ = write!(text, "{byte:02x}");
    }
    if !rest.is_empty() {
        let _ = write!(text, "... ({} bytes)", bytes.len());
    }
    text
}

/// Page ids as Go prints a slice: `[3 7 9]`.
fn list(stack: &[PageId]) -> String {
    let ids: Vec<String> = stack.iter().map(ToString::to_string).collect();
    format!("[{}]", ids.join(" "))
}
