//! `pages`: every page of the file.

use std::path::Path;

use anyhow::Result;
use etcdsnap_engine::{
    bolt::{
        Db, PageId, layout,
        map::{PageMap, PageUse},
        page::PageHeader,
    },
    limits::Limits,
};
use serde::Serialize;

use super::Context;
use crate::{
    args::{File, Format, Reading},
    exit::{Answer, Exit},
    input::ask,
    output::{self, LongTable, Spool, escape, shown_key},
};

/// The head of the object; the pages follow one by one.
#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
struct Head {
    page_size: u64,
    total: u64,
    missing: u64,
    counts: Counts,
    shared: u64,
    problems: Vec<ProblemJson>,
}

#[derive(Serialize)]
struct Counts {
    meta: u64,
    freelist: u64,
    branch: u64,
    leaf: u64,
    overflow: u64,
    free: u64,
    unreachable: u64,
    damaged: u64,
}

#[derive(Serialize)]
struct ProblemJson {
    code: &'static str,
    r#where: String,
    message: String,
}

#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
struct PageJson {
    id: u64,
    r#type: &'static str,
    /// Names from the top down, in base64; `null` for what belongs to no bucket.
    bucket_base64: Option<Vec<String>>,
    items: Option<u64>,
    overflow: Option<u32>,
}

/// A page that is not the continuation of another one.
struct Row {
    id: PageId,
    usage: PageUse,
    header: Option<PageHeader>,
    items: Option<u64>,
}

/// Opens the file alone, without its WAL, and maps its pages, damaged or not.
pub fn mapped<T>(
    context: &Context,
    path: &Path,
    look: impl Fn(&Db<'_>, &PageMap) -> Result<T>,
) -> Result<T> {
    ask(context, path, &alone(), |input| {
        let db = input.file_db()?;
        let map = PageMap::read(&db, &context.ui)?;
        look(&db, &map)
    })
}

/// As [`mapped`]; where no meta is valid, each page is what its own header says.
pub fn mapped_or_bare<T>(
    context: &Context,
    path: &Path,
    look: impl Fn(&Db<'_>, &PageMap) -> Result<T>,
) -> Result<T> {
    ask(context, path, &alone(), |input| {
        let (db, map) = match input.database() {
            Ok(db) => {
                let map = PageMap::read(&db, &context.ui)?;
                (db, map)
            }
            Err(why) => {
                let Some(db) = Db::without_meta(input.bytes(), Limits::default(), &why) else {
                    return Err(input.explain(why).into());
                };
                (db, PageMap::by_headers(&db, why))
            }
        };
        look(&db, &map)
    })
}

fn alone() -> Reading {
    Reading { no_wal: true, any_program: true, ..Reading::default() }
}

/// Says why pages are shown by their headers alone, where that is so.
pub fn say_bare(context: &Context, db: &Db<'_>, map: &PageMap) -> bool {
    let bare = map.buckets().is_empty();
    if bare {
        for why in map.problems() {
            context.warn(&format!("damage: {}", escape(&why.to_string())));
        }
        context.warn(&format!(
            "warning: no tree can be followed: each page is shown as its own header says; pages of {} bytes is what most headers fit",
            db.page_size()
        ));
    }
    bare
}

/// Damage when a page could not be read, is missing or has two owners.
pub fn exit_of(db: &Db<'_>, map: &PageMap) -> Exit {
    if map.is_whole() && db.missing_tail().is_none() { Exit::Sound } else { Exit::Damage }
}

/// Names what could not be read.
pub fn say_problems(context: &Context, map: &PageMap) {
    const SAID: usize = 20;
    for problem in map.problems().iter().take(SAID) {
        context.warn(&format!("damage: {}", escape(&problem.to_string())));
    }
    let more = map.problems().len().saturating_sub(SAID) as u64 + map.problems_dropped();
    if more > 0 {
        context.warn(&format!("damage: {more} more; `etcdsnap check` lists them"));
    }
    if map.shared() > 0 {
        context.warn(&format!(
            "damage: {} references to pages that belong elsewhere; `etcdsnap check` lists them",
            map.shared()
        ));
    }
}

/// Lists them.
pub fn run(context: &Context, args: &File) -> Result<Answer> {
    mapped_or_bare(context, &args.path, |db, map| {
        let mut spool = Spool::default();
        match context.global.format {
            Format::Json => json(&mut spool, db, map)?,
            Format::Simple => simple(&mut spool, db, map)?,
            Format::Table => {
                let headers = ["ID", "TYPE", "BUCKET", "ITEMS", "OVERFLOW", "HEADER SAYS"];
                let mut table = LongTable::new(&headers, false);
                for row in rows(db, map) {
                    let bucket = row.usage.bucket().map(|bucket| name(map, bucket));
                    let cells = vec![
                        row.id.to_string(),
                        row.usage.word().to_owned(),
                        bucket.unwrap_or_default(),
                        row.items.map(|items| items.to_string()).unwrap_or_default(),
                        overflow(&row).map(|pages| pages.to_string()).unwrap_or_default(),
                        row.header.map(|header| header.flags.to_string()).unwrap_or_default(),
                    ];
                    table.row(&mut spool, cells)?;
                }
                table.finish(&mut spool)?;
            }
            Format::Fields => {
                let counts = counts(map);
                spool.push(
                    output::fields(&[
                        ("PageSize", db.page_size().to_string()),
                        ("Pages", map.len().to_string()),
                        ("Meta", counts.meta.to_string()),
                        ("Freelist", counts.freelist.to_string()),
                        ("Branch", counts.branch.to_string()),
                        ("Leaf", counts.leaf.to_string()),
                        ("Overflow", counts.overflow.to_string()),
                        ("Free", counts.free.to_string()),
                        ("Unreachable", counts.unreachable.to_string()),
                        ("Damaged", counts.damaged.to_string()),
                        ("Missing", missing(db, map).to_string()),
                    ])
                    .as_bytes(),
                )?;
            }
        }
        if !say_bare(context, db, map) {
            say_problems(context, map);
        }
        if let Some(tail) = db.missing_tail() {
            context.warn(&format!(
                "damage: the file ends at {} bytes of {}: {} pages are missing",
                tail.found,
                tail.expected,
                missing(db, map)
            ));
        }
        Ok(Answer::long(spool, exit_of(db, map)))
    })
}

/// Pages below the high water mark that the file does not have.
fn missing(db: &Db<'_>, map: &PageMap) -> u64 {
    db.meta().high_water_mark.0.saturating_sub(map.len())
}

fn counts(map: &PageMap) -> Counts {
    let counts = map.counts();
    Counts {
        meta: counts.meta,
        freelist: counts.freelist,
        branch: counts.branch,
        leaf: counts.leaf,
        overflow: counts.overflow,
        free: counts.free,
        unreachable: counts.unreachable,
        damaged: counts.damaged,
    }
}

/// All pages but continuations, as bbolt goes through them.
fn rows<'m>(db: &'m Db<'_>, map: &'m PageMap) -> impl Iterator<Item = Row> + 'm {
    map.runs()
        .filter(|run| !matches!(run.usage, PageUse::Overflow(_)))
        .flat_map(|run| (0..run.pages).map(move |at| (PageId(run.first.0 + at), run.usage)))
        .filter_map(|(id, usage)| {
            let header = db.header(id).ok();
            // The freelist's continuations are no pages of their own either.
            let bare = map.buckets().is_empty();
            if usage == PageUse::Freelist && !bare && db.meta().freelist != Some(id) {
                return None;
            }
            let items = header.and_then(|header| items(usage, &header, db, id));
            Some(Row { id, usage, header, items })
        })
}

/// Elements of a page; of a free one there are none.
pub fn items(usage: PageUse, header: &PageHeader, db: &Db<'_>, id: PageId) -> Option<u64> {
    match usage {
        PageUse::Free | PageUse::Overflow(_) => None,
        PageUse::Freelist if header.count == layout::FREELIST_COUNT_IN_BODY => {
            let page = db.page(id).ok()?;
            let body = page.bytes().get(layout::PAGE_HEADER..)?.first_chunk()?;
            Some(u64::from_le_bytes(*body))
        }
        _ => Some(u64::from(header.count)),
    }
}

fn overflow(row: &Row) -> Option<u32> {
    match row.usage {
        PageUse::Free => None,
        _ => row.header.map(|header| header.overflow),
    }
}

/// A bucket's name for people.
pub fn name(map: &PageMap, bucket: u16) -> String {
    let bucket = usize::from(bucket);
    if map.buckets().is_empty() {
        return String::new();
    }
    if bucket >= PageMap::NUMBERED_BUCKETS {
        return "(a later bucket)".to_owned();
    }
    if bucket == 0 { "(root)".to_owned() } else { path(map, bucket) }
}

/// The path of bucket number `bucket` for people; `…` where its beginning is left out.
pub fn path(map: &PageMap, bucket: usize) -> String {
    let names: Vec<String> = map.path(bucket).iter().map(|name| shown_key(name, false)).collect();
    let level = map.buckets().get(bucket).map_or(0, |bucket| bucket.level);
    let cut = if (names.len() as u64) < level { "…/" } else { "" };
    format!("{cut}{}", names.join("/"))
}

/// Names of a page's bucket from the top down, the last ones of a long path; `None` for what belongs to no bucket that has a number.
pub fn bucket_base64(map: &PageMap, usage: PageUse) -> Option<Vec<String>> {
    let bucket = usize::from(usage.bucket()?);
    let path = (bucket < PageMap::NUMBERED_BUCKETS).then(|| map.path(bucket))?;
    Some(path.iter().map(|name| output::KeyJson::new(name).into_parts().1).collect())
}

/// bbolt's list.
fn simple(spool: &mut Spool, db: &Db<'_>, map: &PageMap) -> Result<()> {
    spool.push(b"ID       TYPE       ITEMS  OVRFLW\n")?;
    spool.push(b"======== ========== ====== ======\n")?;
    for row in rows(db, map) {
        let items = row.items.map(|items| items.to_string()).unwrap_or_default();
        let overflow = overflow(&row).filter(|pages| *pages > 0);
        let overflow = overflow.map(|pages| pages.to_string()).unwrap_or_default();
        let line = format!("{:<8} {:<10} {items:<6} {overflow:<6}\n", row.id.0, row.usage.word());
        spool.push(line.as_bytes())?;
    }
    Ok(())
}

/// One object, written piece by piece.
fn json(spool: &mut Spool, db: &Db<'_>, map: &PageMap) -> Result<()> {
    let head = output::json(&Head {
        page_size: db.page_size(),
        total: map.len(),
        missing: missing(db, map),
        counts: counts(map),
        shared: map.shared(),
        problems: map
            .problems()
            .iter()
            .map(|problem| ProblemJson {
                code: problem.code(),
                r#where: problem.place().to_string(),
                message: problem.to_string(),
            })
            .collect(),
    })?;
    let head = head.trim_end();
    spool.push(head.strip_suffix('}').unwrap_or(head).as_bytes())?;
    spool.push(b",\"pages\":[")?;
    for (number, row) in rows(db, map).enumerate() {
        let page = output::json(&PageJson {
            id: row.id.0,
            r#type: row.usage.word(),
            bucket_base64: bucket_base64(map, row.usage),
            items: row.items,
            overflow: overflow(&row),
        })?;
        if number > 0 {
            spool.push(b",")?;
        }
        spool.push(page.trim_end().as_bytes())?;
    }
    spool.push(b"]}\n")
}
