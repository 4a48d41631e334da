//! `buckets`: the buckets with their pages.

use anyhow::Result;
use etcdsnap_engine::bolt::map::{BucketPages, PageMap};
use serde::Serialize;

use super::{
    Context,
    pages::{exit_of, mapped, path, say_problems},
};
use crate::{
    args::{File, Format},
    exit::Answer,
    output::{self, Table, shown_key},
};

#[derive(Serialize)]
struct Json {
    buckets: Vec<BucketJson>,
}

#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
struct BucketJson {
    /// When it is UTF-8.
    #[serde(skip_serializing_if = "Option::is_none")]
    name: Option<String>,
    name_base64: String,
    /// Buckets above it, itself counted: 1 for a top-level bucket.
    level: u64,
    /// Names of the buckets above it, in base64; fewer than `level` − 1 where the first of a long path are left out.
    within_base64: Vec<String>,
    /// `null` for a bucket that stands in the page that names it.
    root: Option<u64>,
    sequence: u64,
    depth: u64,
    elements: u64,
    buckets: u64,
    branch_pages: u64,
    branch_overflow: u64,
    branch_bytes: u64,
    branch_bytes_used: u64,
    leaf_pages: u64,
    leaf_overflow: u64,
    leaf_bytes: u64,
    leaf_bytes_used: u64,
    damaged_pages: u64,
}

/// Lists them.
pub fn run(context: &Context, args: &File) -> Result<Answer> {
    let (map, page_size, exit) =
        mapped(context, &args.path, |db, map| Ok((map.clone(), db.page_size(), exit_of(db, map))))?;
    say_problems(context, &map);
    // The first one holds the top-level ones and has no name.
    let named = || map.buckets().iter().enumerate().skip(1);
    let text = match context.global.format {
        Format::Json => output::json(&Json {
            buckets: named().map(|(number, of)| json(&map, number, of, page_size)).collect(),
        })?,
        Format::Simple => named()
            .filter(|(_, of)| of.parent == Some(0))
            .map(|(_, of)| shown_key(&of.name, false) + "\n")
            .collect(),
        Format::Table => {
            let mut table = Table::new(&[
                "NAME", "ROOT", "DEPTH", "ELEMENTS", "BRANCHES", "LEAVES", "OVERFLOW", "BYTES",
                "USED", "DAMAGED",
            ]);
            for (number, of) in named() {
                let (allocated, used) = bytes(of, page_size);
                table.row(vec![
                    path(&map, number),
                    of.root.map_or_else(|| "inline".to_owned(), |root| root.to_string()),
                    of.depth.to_string(),
                    of.elements.to_string(),
                    of.branch_pages.to_string(),
                    of.leaf_pages.to_string(),
                    (of.branch_overflow + of.leaf_overflow).to_string(),
                    allocated.to_string(),
                    used.to_string(),
                    of.damaged_pages.to_string(),
                ]);
            }
            table.render()
        }
        Format::Fields => named()
            .map(|(_, of)| {
                let (allocated, used) = bytes(of, page_size);
                output::fields(&[
                    ("Name", format!("\"{}\"", shown_key(&of.name, false))),
                    ("Root", of.root.map_or(0, |root| root.0).to_string()),
                    ("Sequence", of.sequence.to_string()),
                    ("Depth", of.depth.to_string()),
                    ("Elements", of.elements.to_string()),
                    ("Pages", of.physical().to_string()),
                    ("Bytes", allocated.to_string()),
                    ("BytesUsed", used.to_string()),
                ]) + "\n"
            })
            .collect(),
    };
    Ok(Answer::new(text, exit))
}

/// Bytes of its own pages, and how many of them are used.
fn bytes(of: &BucketPages, page_size: u64) -> (u64, u64) {
    (of.physical() * page_size, of.branch_used + of.leaf_used)
}

fn json(map: &PageMap, number: usize, of: &BucketPages, page_size: u64) -> BucketJson {
    let (name, name_base64) = output::KeyJson::new(&of.name).into_parts();
    let mut within = map.path(number);
    within.pop();
    BucketJson {
        name,
        name_base64,
        level: of.level,
        within_base64: within
            .iter()
            .map(|name| output::KeyJson::new(name).into_parts().1)
            .collect(),
        root: of.root.map(|root| root.0),
        sequence: of.sequence,
        depth: of.depth,
        elements: of.elements,
        buckets: of.buckets,
        branch_pages: of.branch_pages,
        branch_overflow: of.branch_overflow,
        branch_bytes: (of.branch_pages + of.branch_overflow) * page_size,
        branch_bytes_used: of.branch_used,
        leaf_pages: of.leaf_pages,
        leaf_overflow: of.leaf_overflow,
        leaf_bytes: (of.leaf_pages + of.leaf_overflow) * page_size,
        leaf_bytes_used: of.leaf_used,
        damaged_pages: of.damaged_pages,
    }
}
