//! `page`: one page, whatever it is and whatever state it is in.

use anyhow::{Result, anyhow};
use etcdsnap_engine::{
    bolt::{
        Bucket, Db, Error, Item, PageId,
        bucket::Root,
        freelist::Freelist,
        map::{PageMap, PageUse},
        meta::Meta,
        page::{Node, PageHeader},
    },
    mvcc::Record,
    schema::bucket,
};
use serde::Serialize;

use super::{
    Context,
    pages::{bucket_base64, mapped_or_bare, name, say_bare},
};
use crate::{
    args::{self, Format},
    exit::{Answer, Exit},
    output::{self, Table, escape, shown_key},
};

/// Bytes in a line of a dump.
const DUMPED: usize = 16;

#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
struct Json {
    id: u64,
    offset: u64,
    r#type: &'static str,
    bucket_base64: Option<Vec<String>>,
    /// The page that this one continues.
    continues: Option<u64>,
    header: HeaderJson,
    /// What cannot be read, and why.
    problems: Vec<String>,
    meta: Option<MetaJson>,
    freelist: Option<Vec<u64>>,
    elements: Vec<ElementJson>,
    hex: String,
}

/// As it stands in the page. Of continuations and free pages it may be anything.
#[derive(Serialize)]
struct HeaderJson {
    id: u64,
    flags: u16,
    count: u16,
    overflow: u32,
}

#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
struct MetaJson {
    page_size: u32,
    root: u64,
    freelist: Option<u64>,
    high_water_mark: u64,
    txid: u64,
    /// Whether it is the one in use.
    active: bool,
}

#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
struct ElementJson {
    index: usize,
    key_base64: String,
    /// Of a branch.
    #[serde(skip_serializing_if = "Option::is_none")]
    child: Option<u64>,
    #[serde(skip_serializing_if = "Option::is_none")]
    flags: Option<u32>,
    #[serde(skip_serializing_if = "Option::is_none")]
    value_bytes: Option<usize>,
    #[serde(skip_serializing_if = "Option::is_none")]
    value_base64: Option<String>,
    /// Of a bucket: its root page, 0 for one that stands here.
    #[serde(skip_serializing_if = "Option::is_none")]
    bucket_root: Option<u64>,
}

/// An element, borrowed.
enum Element<'a> {
    Child { key: &'a [u8], page: PageId },
    Entry { item: Item<'a>, bucket: Option<Option<PageId>> },
}

/// All that is known of a page.
struct Found<'a> {
    id: PageId,
    offset: u64,
    usage: Option<PageUse>,
    owner: Option<PageId>,
    header: PageHeader,
    /// The physical page alone, without continuations.
    bytes: &'a [u8],
    problems: Vec<String>,
    meta: Option<(Meta, bool)>,
    freelist: Option<Vec<PageId>>,
    elements: Vec<(usize, Element<'a>)>,
}

/// Shows it.
pub fn run(context: &Context, args: &args::Page) -> Result<Answer> {
    mapped_or_bare(context, &args.file.path, |db, map| {
        let found = look(db, map, PageId(args.id))?;
        let bare = say_bare(context, db, map);
        let damaged =
            bare || !found.problems.is_empty() || matches!(found.usage, Some(PageUse::Damaged(_)));
        let text = match context.global.format {
            Format::Json => output::json(&json(&found, map))?,
            Format::Simple => simple(&found, map, args.hex),
            Format::Table => table(&found, map, args.hex),
            Format::Fields => fields(&found, map, args.hex),
        };
        Ok(Answer::new(text, if damaged { Exit::Damage } else { Exit::Sound }))
    })
}

fn look<'a>(db: &Db<'a>, map: &PageMap, id: PageId) -> Result<Found<'a>> {
    let page = db.page_as_it_stands(id).ok_or_else(|| {
        anyhow!(
            "page {id} is not in the file: it has pages 0 to {}, of {} bytes each",
            (db.bytes().len() as u64 / db.page_size()).saturating_sub(1),
            db.page_size()
        )
    })?;
    let usage = map.usage(id);
    let physical = usize::try_from(db.page_size()).unwrap_or(usize::MAX);
    let mut found = Found {
        id,
        offset: id.0.saturating_mul(db.page_size()),
        usage,
        owner: map.owner(db, id),
        header: page.header,
        bytes: page.bytes().get(..physical).unwrap_or(page.bytes()),
        problems: Vec::new(),
        meta: None,
        freelist: None,
        elements: Vec::new(),
    };
    match usage {
        Some(PageUse::Meta) => meta(db, id, &mut found),
        Some(PageUse::Freelist) => match Freelist::read(db) {
            Ok(freelist) => found.freelist = freelist.map(|freelist| freelist.ids),
            Err(error) => found.problems.push(error.to_string()),
        },
        // The bytes of a value, where a header would be.
        Some(PageUse::Overflow(_)) => {}
        Some(PageUse::Branch(_) | PageUse::Leaf(_) | PageUse::Damaged(_)) => {
            if let Err(error) = db.page(id) {
                found.problems.push(error.to_string());
            }
            elements(db, &page.node(), &mut found);
        }
        // What it was before is shown as far as it goes, and nothing about it is wrong.
        Some(PageUse::Free | PageUse::Unreachable) | None => {
            elements(db, &page.node(), &mut found);
            found.problems.clear();
        }
    }
    Ok(found)
}

fn meta(db: &Db<'_>, id: PageId, found: &mut Found<'_>) {
    let slot = usize::try_from(id.0).ok().and_then(|slot| db.metas().slots.get(slot));
    match slot {
        Some(Ok(meta)) => found.meta = Some((*meta, meta.slot == db.meta().slot)),
        Some(Err(error)) => found.problems.push(format!("meta {id}: {error}")),
        None => {}
    }
}

fn elements<'a>(db: &Db<'a>, node: &Result<Node<'a>, Error>, found: &mut Found<'a>) {
    match node {
        Ok(Node::Branch(branch)) => {
            // Elements beyond that share bytes with others: showing them all could take the page's size squared.
            for index in 0..branch.disjoint() {
                match branch.child(index) {
                    Ok(child) => {
                        let element = Element::Child { key: child.key, page: child.page };
                        found.elements.push((index, element));
                    }
                    Err(error) => found.problems.push(error.to_string()),
                }
            }
            if branch.disjoint() < branch.count() {
                let (page, index) = (branch.page(), branch.disjoint());
                found.problems.push(Error::SharedBytes { page, index }.to_string());
            }
        }
        Ok(Node::Leaf(leaf)) => {
            for index in 0..leaf.disjoint() {
                match leaf.item(index) {
                    Ok(item) => {
                        let bucket = item.is_bucket().then(|| root_of(db, &item, found));
                        found
                            .elements
                            .push((index, Element::Entry { item, bucket: bucket.flatten() }));
                    }
                    Err(error) => found.problems.push(error.to_string()),
                }
            }
            if leaf.disjoint() < leaf.count() {
                let (page, index) = (leaf.page(), leaf.disjoint());
                found.problems.push(Error::SharedBytes { page, index }.to_string());
            }
        }
        Err(error) => found.problems.push(error.to_string()),
    }
    found.problems.dedup();
}

/// The root of the bucket an item names, `Some(None)` when it stands in the item.
fn root_of(db: &Db<'_>, item: &Item<'_>, found: &mut Found<'_>) -> Option<Option<PageId>> {
    match Bucket::from_item(*db, item) {
        Ok(bucket) => match bucket.root() {
            Root::Page(id) => Some(Some(id)),
            Root::Inline(_) => Some(None),
        },
        Err(error) => {
            found.problems.push(error.to_string());
            None
        }
    }
}

fn type_of(found: &Found<'_>) -> &'static str {
    found.usage.map_or("unallocated", PageUse::word)
}

fn json(found: &Found<'_>, map: &PageMap) -> Json {
    let header = &found.header;
    let base64 = |bytes: &[u8]| output::KeyJson::new(bytes).into_parts().1;
    Json {
        id: found.id.0,
        offset: found.offset,
        r#type: type_of(found),
        bucket_base64: found.usage.and_then(|usage| bucket_base64(map, usage)),
        continues: found.owner.map(|owner| owner.0),
        header: HeaderJson {
            id: header.id,
            flags: header.flags.0,
            count: header.count,
            overflow: header.overflow,
        },
        problems: found.problems.clone(),
        meta: found.meta.map(|(meta, active)| MetaJson {
            page_size: meta.page_size,
            root: meta.root.0,
            freelist: meta.freelist.map(|page| page.0),
            high_water_mark: meta.high_water_mark.0,
            txid: meta.txid.0,
            active,
        }),
        freelist: found.freelist.as_ref().map(|ids| ids.iter().map(|id| id.0).collect()),
        elements: found
            .elements
            .iter()
            .map(|(index, element)| match element {
                Element::Child { key, page } => ElementJson {
                    index: *index,
                    key_base64: base64(key),
                    child: Some(page.0),
                    flags: None,
                    value_bytes: None,
                    value_base64: None,
                    bucket_root: None,
                },
                Element::Entry { item, bucket } => ElementJson {
                    index: *index,
                    key_base64: base64(item.key),
                    child: None,
                    flags: Some(item.flags),
                    value_bytes: Some(item.value.len()),
                    value_base64: Some(base64(item.value)),
                    bucket_root: bucket.map(|root| root.map_or(0, |root| root.0)),
                },
            })
            .collect(),
        hex: found.bytes.iter().map(|byte| format!("{byte:02x}")).collect(),
    }
}

/// Whether the elements are records of the key space.
fn holds_records(found: &Found<'_>, map: &PageMap) -> bool {
    let of_key = |number: u16| {
        let found = map.buckets().get(usize::from(number));
        // Where no tree can be followed nobody knows either.
        map.buckets().is_empty()
            || found.is_some_and(|found| found.level == 1 && found.name == bucket::KEY.as_bytes())
    };
    // Of a page that is free nobody knows whose it was.
    found.usage.is_none_or(|usage| usage.bucket().is_none_or(of_key))
}

/// An element's key and what stands beside it.
fn shown(element: &Element<'_>, records: bool, hex: bool) -> (String, String) {
    match element {
        Element::Child { key, page } => (shown_key(key, hex), format!("page {page}")),
        Element::Entry { item, bucket: Some(root) } => {
            let root = root.map_or_else(|| "here".to_owned(), |root| format!("at page {root}"));
            (shown_key(item.key, hex), format!("bucket {root}"))
        }
        Element::Entry { item, bucket: None } => match Record::decode(item) {
            Ok(record) if records => {
                let what = if record.key.tombstone { "delete" } else { "put" };
                let key = shown_key(record.kv.key, hex);
                let value = record.kv.value.len();
                (
                    shown_key(item.key, true),
                    format!("{} {what} {key}, value {value} bytes", record.key.revision),
                )
            }
            _ => {
                const SHOWN: usize = 64;
                let short = item.value.get(..SHOWN).map_or(item.value, |short| short);
                let dots = if item.value.len() > SHOWN { "…" } else { "" };
                let bytes = item.value.len();
                let value = shown_key(short, hex);
                (shown_key(item.key, hex), format!("{bytes} bytes: {value}{dots}"))
            }
        },
    }
}

/// What is known of the page, a pair of words a line.
fn facts(found: &Found<'_>, map: &PageMap) -> Vec<(&'static str, String)> {
    let header = &found.header;
    let mut facts = vec![
        ("Page", found.id.to_string()),
        ("Offset", format!("{:#x}", found.offset)),
        ("Type", type_of(found).to_owned()),
    ];
    if let Some(bucket) = found.usage.and_then(PageUse::bucket) {
        facts.push(("Bucket", name(map, bucket)));
    }
    match found.usage {
        Some(PageUse::Overflow(_)) => {
            let owner = found.owner.map_or_else(|| "?".to_owned(), |owner| owner.to_string());
            facts.push(("Continues", format!("page {owner}")));
        }
        _ => facts.push((
            "Header",
            format!(
                "id {}, flags {:#x} ({}), count {}, overflow {}",
                header.id, header.flags.0, header.flags, header.count, header.overflow
            ),
        )),
    }
    if let Some((meta, active)) = &found.meta {
        let freelist = meta.freelist.map_or_else(|| "not stored".to_owned(), |id| id.to_string());
        facts.extend([
            ("PageSize", meta.page_size.to_string()),
            ("Root", meta.root.to_string()),
            ("Freelist", freelist),
            ("HighWaterMark", meta.high_water_mark.to_string()),
            ("Transaction", meta.txid.to_string()),
            ("InUse", active.to_string()),
        ]);
    }
    if let Some(ids) = &found.freelist {
        let ids: Vec<String> = ids.iter().map(PageId::to_string).collect();
        facts.push(("Free", ids.join(" ")));
    }
    facts.extend(found.problems.iter().map(|problem| ("Damage", escape(problem))));
    facts
}

fn simple(found: &Found<'_>, map: &PageMap, hex: bool) -> String {
    let mut text: String = facts(found, map)
        .into_iter()
        .map(|(what, value)| format!("{what:<13} {value}\n"))
        .collect();
    let records = holds_records(found, map);
    if !found.elements.is_empty() {
        let past = matches!(found.usage, Some(PageUse::Free | PageUse::Unreachable) | None);
        text += if past { "\nelements it had\n" } else { "\nelements\n" };
    }
    for (index, element) in &found.elements {
        let (key, value) = shown(element, records, hex);
        text += &format!("{index:>5}  {key}  {value}\n");
    }
    text + "\n" + &dump(found)
}

fn table(found: &Found<'_>, map: &PageMap, hex: bool) -> String {
    let mut about = Table::new(&["WHAT", "VALUE"]).left();
    for (what, value) in facts(found, map) {
        about.row(vec![what.to_owned(), value]);
    }
    let mut elements = Table::new(&["INDEX", "KEY", "VALUE"]).left();
    let records = holds_records(found, map);
    for (index, element) in &found.elements {
        let (key, value) = shown(element, records, hex);
        elements.row(vec![index.to_string(), key, value]);
    }
    about.render() + &elements.render() + &dump(found)
}

fn fields(found: &Found<'_>, map: &PageMap, hex: bool) -> String {
    let mut text = output::fields(&facts(found, map));
    let records = holds_records(found, map);
    for (index, element) in &found.elements {
        let (key, value) = shown(element, records, hex);
        text += &output::fields(&[
            ("Index", index.to_string()),
            ("Key", format!("\"{key}\"")),
            ("Value", format!("\"{value}\"")),
        ]);
    }
    text
}

/// Offset in the file, bytes, and the characters among them; equal lines once, as `hexdump -C` does.
fn dump(found: &Found<'_>) -> String {
    let mut text = String::new();
    let mut previous: Option<&[u8]> = None;
    let mut starred = false;
    for (number, line) in found.bytes.chunks(DUMPED).enumerate() {
        if previous == Some(line) {
            if !starred {
                text += "*\n";
            }
            starred = true;
            continue;
        }
        (previous, starred) = (Some(line), false);
        let offset = found.offset + (number * DUMPED) as u64;
        let hex: Vec<String> = line.iter().map(|byte| format!("{byte:02x}")).collect();
        let printable = |byte: &u8| {
            if byte.is_ascii_graphic() || *byte == b' ' { char::from(*byte) } else { '.' }
        };
        let characters: String = line.iter().map(printable).collect();
        text += &format!("{offset:08x}  {:<47}  |{characters}|\n", hex.join(" "));
    }
    text + &format!("{:08x}\n", found.offset + found.bytes.len() as u64)
}
