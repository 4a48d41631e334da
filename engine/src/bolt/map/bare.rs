//! A map where no meta is valid: of each page what its own header says.

use super::{Code, PageMap, PageUse, walk::count};
use crate::bolt::{
    Db, Error, PageId,
    layout::{FLAG_BRANCH, FLAG_FREELIST, FLAG_LEAF},
};

/// Maps the pages of `db` by their headers; `why` is the reason, and the map's only problem.
pub(super) fn read(db: &Db<'_>, why: Error) -> PageMap {
    let pages = usize::try_from(db.pages_in_file()).unwrap_or(usize::MAX);
    let mut codes = vec![Code::UNCLAIMED.0; pages];
    // Continuations of the page before them, unless they name themselves.
    let mut continued = 0;
    for (id, code) in codes.iter_mut().enumerate() {
        let id = PageId(id as u64);
        let header = db.header(id).ok().filter(|header| header.id == id.0);
        let own = header.and_then(|header| match header.flags.0 {
            _ if id.0 < 2 => None,
            FLAG_BRANCH => Some(PageUse::Branch(Code::LAST_BUCKET)),
            FLAG_LEAF => Some(PageUse::Leaf(Code::LAST_BUCKET)),
            FLAG_FREELIST => Some(PageUse::Freelist),
            _ => None,
        });
        let usage = match own {
            _ if id.0 < 2 => PageUse::Meta,
            Some(usage) => {
                continued = header.map_or(0, |header| header.overflow);
                usage
            }
            None if continued > 0 => {
                continued -= 1;
                PageUse::Overflow(Code::LAST_BUCKET)
            }
            None => PageUse::Unreachable,
        };
        *code = Code::new(usage).0;
    }
    let counts = count(&codes);
    PageMap {
        codes,
        buckets: Vec::new(),
        problems: vec![why],
        problems_dropped: 0,
        shared: 0,
        counts,
    }
}
