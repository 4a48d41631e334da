//! Which pages there are and what they hold: first by the tree, then by what stands in them.

use crate::{
    bolt::{
        Bucket, Db, Item, Leaf, PageId, ReadError,
        bucket::Root,
        layout,
        page::{Node, PageHeader},
    },
    limits::Limits,
    progress::{Interrupted, Progress},
    raw::Raw,
    schema::bucket,
};

/// What the records of a page are.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(u8)]
pub(super) enum Class {
    /// No tree reaches it.
    Unknown,
    /// The names of buckets.
    Buckets,
    Key,
    Meta,
    Cluster,
    Lease,
    Alarm,
    Auth,
    Users,
    Roles,
    Members,
    Removed,
    /// A bucket that is not etcd's.
    Other,
    Freelist,
}

impl Class {
    /// Of bucket `name` in a bucket of class `parent`.
    pub(super) fn of(parent: Class, name: &[u8]) -> Class {
        if !matches!(parent, Class::Buckets | Class::Unknown) {
            return Class::Other;
        }
        match std::str::from_utf8(name) {
            Ok(bucket::KEY) => Class::Key,
            Ok(bucket::META) => Class::Meta,
            Ok(bucket::CLUSTER) => Class::Cluster,
            Ok(bucket::LEASE) => Class::Lease,
            Ok(bucket::ALARM) => Class::Alarm,
            Ok(bucket::AUTH) => Class::Auth,
            Ok(bucket::AUTH_USERS) => Class::Users,
            Ok(bucket::AUTH_ROLES) => Class::Roles,
            Ok(bucket::MEMBERS) => Class::Members,
            Ok(bucket::MEMBERS_REMOVED) => Class::Removed,
            _ => Class::Other,
        }
    }
}

/// Pages that belong together, and how they are rendered.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Segment {
    /// The first of them.
    pub(super) first: u64,
    /// How many.
    pub(super) pages: u64,
    pub(super) view: View,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum View {
    /// A meta page.
    Meta,
    /// A branch, leaf or freelist page; its header names it.
    Tree(Class),
    /// A page that something refers to, or that names itself, and that is none of these.
    Header,
    /// Nothing that could be understood.
    Blank,
}

/// Longest run of pages taken as one page, in bytes: what a damaged header claims must not cost more.
const LONGEST: u64 = 1 << 30;

/// What is known of every page.
pub(super) struct Survey<'a> {
    file: &'a [u8],
    page_size: u64,
    /// Whole pages in the file, beyond the high water mark too.
    pages: u64,
    /// A class for each page that begins a page of a tree.
    classes: Vec<Class>,
    /// Pages that are referred to and cannot be read.
    suspects: Vec<PageId>,
}

impl<'a> Survey<'a> {
    /// Looks at every page that the trees of both metas reach.
    ///
    /// # Errors
    /// When this is no bbolt file, or the work was interrupted. A file whose metas are both gone is one as long as
    /// enough of its pages name themselves.
    pub(super) fn new(
        file: &'a [u8],
        limits: Limits,
        progress: &dyn Progress,
    ) -> Result<Self, ReadError> {
        let (db, page_size) = match Db::from_bytes(file, limits) {
            Ok(db) => (Some(db), db.page_size()),
            Err(error) => (None, guessed_page_size(file).ok_or(error)?),
        };
        let pages = file.len() as u64 / page_size;
        let classes = vec![Class::Unknown; usize::try_from(pages).unwrap_or(0)];
        let mut survey = Self { file, page_size, pages, classes, suspects: Vec::new() };
        if let Some(db) = db {
            let active = *db.meta();
            let older = db.metas().slots.iter().flatten().find(|meta| meta.slot != active.slot);
            for meta in [Some(&active), older].into_iter().flatten() {
                survey.walk(&db, meta.root, progress)?;
                if let Some(id) = meta.freelist {
                    match db.page(id) {
                        Ok(_) => survey.claim(id, Class::Freelist),
                        Err(_) => survey.suspects.push(id),
                    }
                }
            }
        }
        survey.suspects.sort_unstable();
        survey.suspects.dedup();
        Ok(survey)
    }

    /// Bytes of all whole pages.
    pub(super) fn paged_bytes(&self) -> u64 {
        self.pages.saturating_mul(self.page_size)
    }

    fn class(&self, id: u64) -> Class {
        let class = usize::try_from(id).ok().and_then(|id| self.classes.get(id));
        class.copied().unwrap_or(Class::Unknown)
    }

    fn claim(&mut self, id: PageId, class: Class) {
        if let Some(known) = usize::try_from(id.0).ok().and_then(|id| self.classes.get_mut(id))
            && *known == Class::Unknown
        {
            *known = class;
        }
    }

    /// Visits each page once: what two buckets share is the first one's.
    fn walk(
        &mut self,
        db: &Db<'a>,
        root: PageId,
        progress: &dyn Progress,
    ) -> Result<(), Interrupted> {
        let limit = db.limits().max_depth;
        let mut pending = vec![(root, Class::Buckets, 0)];
        while let Some((id, class, depth)) = pending.pop() {
            progress.go_on()?;
            if self.class(id.0) != Class::Unknown || depth > limit {
                continue;
            }
            let Ok(page) = db.page(id) else {
                // A damaged branch may name the same page thousands of times.
                if self.suspects.last() != Some(&id) && (self.suspects.len() as u64) < self.pages {
                    self.suspects.push(id);
                }
                continue;
            };
            self.claim(id, class);
            match page.node() {
                Ok(Node::Branch(branch)) => {
                    for index in (0..branch.count()).rev() {
                        let Ok(child) = branch.child_page(index) else { continue };
                        if self.class(child.0) == Class::Unknown {
                            pending.push((child, class, depth + 1));
                        }
                    }
                }
                Ok(Node::Leaf(leaf)) if matches!(class, Class::Buckets | Class::Other) => {
                    buckets(db, class, &leaf, 0, &mut |id, class| {
                        pending.push((id, class, depth + 1));
                    });
                }
                _ => {}
            }
        }
        Ok(())
    }

    /// The pages that begin at `page`.
    pub(super) fn segment(&self, page: u64) -> Segment {
        let one = |view| Segment { first: page, pages: 1, view };
        if page < 2 {
            return one(View::Meta);
        }
        let class = self.class(page);
        let header = self.header(page);
        let Some(header) = header else { return one(View::Blank) };
        if class == Class::Unknown && header.id != page {
            let suspect = self.suspects.binary_search(&PageId(page)).is_ok();
            return one(if suspect { View::Header } else { View::Blank });
        }
        let tree = matches!(
            header.flags.0,
            layout::FLAG_BRANCH | layout::FLAG_LEAF | layout::FLAG_FREELIST
        );
        if !tree {
            return one(View::Header);
        }
        let wanted = 1 + u64::from(header.overflow);
        let longest = (LONGEST / self.page_size).min(self.pages - page);
        let mut pages = 1;
        while pages < wanted.min(longest) && !self.begins(class, page + pages) {
            pages += 1;
        }
        Segment { first: page, pages, view: View::Tree(class) }
    }

    /// Whether a page of its own begins at `page`, within what a page of class `class` claims.
    fn begins(&self, class: Class, page: u64) -> bool {
        if self.class(page) != Class::Unknown {
            return true;
        }
        // What the tree does not reach may have been used again since; what it reaches is as it was written.
        class == Class::Unknown
            && self.header(page).is_some_and(|header| header.id == page && header.flags.is_known())
    }

    fn header(&self, page: u64) -> Option<PageHeader> {
        header(self.file, self.page_size, page)
    }

    /// The bytes of `segment`.
    pub(super) fn bytes(&self, segment: &Segment) -> &'a [u8] {
        let start = usize::try_from(segment.first.saturating_mul(self.page_size)).ok();
        let len = usize::try_from(segment.pages.saturating_mul(self.page_size)).ok();
        let slice = start.zip(len).and_then(|(start, len)| Raw::new(self.file).slice(start, len));
        slice.unwrap_or_default()
    }

    /// All pages of the file in order.
    pub(super) fn segments(&self) -> impl Iterator<Item = Segment> {
        let mut next = 0;
        std::iter::from_fn(move || {
            (next < self.pages).then(|| {
                let segment = self.segment(next);
                next = segment.first + segment.pages;
                segment
            })
        })
    }
}

fn header(file: &[u8], page_size: u64, page: u64) -> Option<PageHeader> {
    let offset = usize::try_from(page.checked_mul(page_size)?).ok()?;
    PageHeader::parse(Raw::new(Raw::new(file).slice(offset, layout::PAGE_HEADER)?))
}

/// Tells of the root pages of the buckets in `leaf`, and in the inline buckets among them.
fn buckets<'a>(
    db: &Db<'a>,
    class: Class,
    leaf: &Leaf<'a>,
    depth: usize,
    tell: &mut dyn FnMut(PageId, Class),
) {
    let nested = |item: &Item<'a>| Bucket::from_item(*db, item).ok().map(|found| found.root());
    for item in leaf.items().take(leaf.disjoint()).flatten().filter(Item::is_bucket) {
        let class = Class::of(class, item.key);
        match nested(&item) {
            Some(Root::Page(id)) => tell(id, class),
            Some(Root::Inline(leaf)) if depth < db.limits().max_depth => {
                buckets(db, class, &leaf, depth + 1, tell);
            }
            _ => {}
        }
    }
}

/// The page size under which most pages name themselves; `None` when hardly any does under any.
fn guessed_page_size(file: &[u8]) -> Option<u64> {
    let named = |size: u64| {
        let pages = file.len() as u64 / size;
        let own = |page: &u64| {
            header(file, size, *page)
                .is_some_and(|header| header.id == *page && header.flags.is_known())
        };
        ((2..pages).filter(own).count() as u64, size)
    };
    let sizes = (10..=16).map(|shift| 1_u64 << shift);
    let (count, size) = sizes.map(named).max_by_key(|(count, size)| (*count, *size))?;
    (count > 0 && count >= file.len() as u64 / size / 64).then_some(size)
}
