//! What is wrong and where, in bbolt's order and words.
//!
//! bbolt walks each tree twice, once for references and once for key order; so does this. Where bbolt
//! would panic (a wrong page id, unknown flags, an element outside its page) the assertion's text is the
//! finding and the walk goes on beside it.

use std::fmt::Write as _;

use crate::{
    bolt::{
        Db, Error, PageId,
        bucket::{Bucket, Root},
        freelist::Freelist,
        layout,
        page::{Item, Leaf, Node, Page, Unpacked},
        pages::PageSet,
    },
    finding::{Finding, Place},
    progress::Progress,
};

pub(super) fn findings(
    db: &Db<'_>,
    freelist: Result<Option<Freelist>, Error>,
    progress: &dyn Progress,
) -> Result<Vec<Finding>, Error> {
    let pages = db.pages_in_file();
    let mut walk = Exact {
        db: *db,
        reached: PageSet::new(pages),
        freed: PageSet::new(pages),
        budget: pages.saturating_mul(4).saturating_add(1024),
        findings: Vec::new(),
        dropped: 0,
        progress,
    };
    walk.run(freelist);
    if progress.interrupted() {
        return Err(Error::Interrupted);
    }
    if walk.dropped > 0 {
        let message = format!("{} more findings are not listed", walk.dropped);
        walk.findings.push(Finding::damage("more-findings", Place::File, message));
    }
    Ok(walk.findings)
}

struct Exact<'a, 'p> {
    db: Db<'a>,
    reached: PageSet,
    freed: PageSet,
    /// Physical pages left to visit: shared pages are walked again as bbolt does, circles must end.
    budget: u64,
    findings: Vec<Finding>,
    dropped: u64,
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
        self.bucket(&self.db.root(), 0);
        if stored {
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

    fn report(&mut self, code: &'static str, place: Place, message: String) {
        if self.findings.len() < self.db.limits().max_findings {
            self.findings.push(Finding::damage(code, place, message));
        } else {
            self.dropped += 1;
        }
    }

    fn error(&mut self, error: &Error) {
        self.report(error.code(), error.place(), error.to_string());
    }

    fn bucket(&mut self, bucket: &Bucket<'a>, depth: usize) {
        let Root::Page(root) = bucket.root() else {
            return;
        };
        if depth >= self.db.limits().max_depth {
            self.error(&Error::TooDeep { page: root, limit: self.db.limits().max_depth });
            return;
        }
        let mut nested = Vec::new();
        self.references(root, &mut Vec::new(), &mut nested);
        self.order(root, None, None, &mut Vec::new());
        for bucket in nested {
            self.bucket(&bucket, depth + 1);
        }
    }

    /// bbolt's `forEachPage` with `verifyPageReachable`; collects the buckets found in leaves.
    fn references(&mut self, id: PageId, stack: &mut Vec<PageId>, nested: &mut Vec<Bucket<'a>>) {
        if self.spent(id, stack) {
            return;
        }
        let in_circle = stack.contains(&id);
        stack.push(id);
        self.reference(id, stack, in_circle, nested);
        stack.pop();
    }

    fn reference(
        &mut self,
        id: PageId,
        stack: &mut Vec<PageId>,
        in_circle: bool,
        nested: &mut Vec<Bucket<'a>>,
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
            self.report(
                "reachable-freed",
                Place::Page(id.0),
                format!("page {id}: reachable freed"),
            );
        } else if !matches!(page.header.flags.0, layout::FLAG_BRANCH | layout::FLAG_LEAF) {
            let message =
                format!("page {id}: invalid type: {} (stack: {})", page.header.flags, list(stack));
            self.report("page-type", Place::Page(id.0), message);
        }
        if !in_circle {
            self.descend(&page, stack, nested);
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

    fn descend(&mut self, page: &Page<'a>, stack: &mut Vec<PageId>, nested: &mut Vec<Bucket<'a>>) {
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
    fn leaf(&mut self, leaf: Leaf<'a>, nested: &mut Vec<Bucket<'a>>) {
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
                        Root::Inline(leaf) => self.inline(leaf, &item, 0, nested),
                        Root::Page(_) => nested.push(bucket),
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

    /// An inline bucket, which bbolt does not check at all.
    ///
    /// Page buckets within it go to `nested`, so that buckets within buckets are counted as one depth.
    fn inline(
        &mut self,
        leaf: Leaf<'a>,
        holder: &Item<'a>,
        depth: usize,
        nested: &mut Vec<Bucket<'a>>,
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
                let limit = self.db.limits().max_depth;
                match Bucket::from_item(self.db, &item) {
                    Ok(bucket) => match bucket.root() {
                        Root::Inline(leaf) if depth + 1 < limit => {
                            self.inline(leaf, &item, depth + 1, nested);
                        }
                        Root::Inline(_) => self.error(&Error::TooDeep { page: item.page, limit }),
                        Root::Page(_) => nested.push(bucket),
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
        let last = match node.node() {
            Ok(Node::Branch(branch)) => {
                let mut previous = from;
                let mut last = None;
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
                    self.key_order(child.page, "branch", index, child.key, previous, to, stack);
                    let next = branch.child(index + 1).ok().filter(|_| index + 1 < branch.count());
                    let bound = next.map_or(to, |next| Some(next.key));
                    last = self.order(child.page, Some(child.key), bound, stack);
                    previous = last;
                }
                last
            }
            Ok(Node::Leaf(leaf)) => {
                let mut previous = from;
                let mut last = None;
                for item in leaf.items().take(leaf.disjoint()).flatten() {
                    self.key_order(id, "leaf", item.index, item.key, previous, to, stack);
                    previous = Some(item.key);
                    last = previous;
                }
                last
            }
            Err(Error::WrongKind { .. }) => {
                let message = format!(
                    "unexpected page type (flags: {:x}) for pgId:{id}",
                    node.header.flags.0
                );
                self.report("page-type", Place::Page(id.0), message);
                None
            }
            Err(_) => None,
        };
        stack.pop();
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
