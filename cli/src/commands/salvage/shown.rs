//! The loss report, for people and for scripts.

use anyhow::Result;
use etcdsnap_engine::{
    bolt::{PageId, salvage::Sizing},
    finding::{Finding, Place, Severity},
    salvage::{BucketFrom, Doubt, Hole, Tree},
    schema::Revision,
    shell,
};
use serde::Serialize;

use super::{Applied, Done};
use crate::{
    args::Format,
    output::{self, FindingJson, KeyJson, PlannedJson, Table, escape, for_terminal},
};

/// Things of one kind that are shown to people; scripts get all.
const SHOWN: usize = 20;

#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
struct Json<'a> {
    dry_run: bool,
    output: String,
    replaced: bool,
    kind: &'static str,
    whole: bool,
    revision: i64,
    compact_revision: i64,
    source_compact_revision: i64,
    keys: KeysJson,
    records: RecordsJson,
    page_size: usize,
    page_size_from: &'static str,
    metas: usize,
    tree: Option<TreeJson>,
    older_tree: Option<TreeJson>,
    buckets: Vec<BucketJson<'a>>,
    lost_pages: Vec<PagesJson<'a>>,
    misnamed_pages: Vec<MisnamedJson>,
    unknown_pages: u64,
    lost_records: Vec<RecordJson>,
    holes: Vec<HoleJson>,
    hole_count: u64,
    doubtful: Vec<DoubtfulJson>,
    damaged_records: Vec<DamagedJson<'a>>,
    wal: WalJson<'a>,
    cluster_id: Option<String>,
    restored: Vec<MemberJson<'a>>,
    #[serde(flatten)]
    planned: PlannedJson,
    findings: Vec<FindingJson<'a>>,
}

#[derive(Serialize)]
struct KeysJson {
    live: u64,
    doubtful: u64,
}

#[derive(Serialize)]
struct RecordsJson {
    tree: u64,
    found: u64,
    superseded: u64,
    lost: u64,
}

#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
struct TreeJson {
    #[serde(skip_serializing_if = "Option::is_none")]
    meta: Option<u8>,
    #[serde(skip_serializing_if = "Option::is_none")]
    txid: Option<u64>,
    #[serde(skip_serializing_if = "Option::is_none")]
    root: Option<u64>,
    newest: bool,
}

#[derive(Serialize)]
struct BucketJson<'a> {
    name: &'a str,
    from: &'static str,
    records: u64,
}

#[derive(Serialize)]
struct PagesJson<'a> {
    first: u64,
    count: u64,
    #[serde(skip_serializing_if = "str::is_empty")]
    bucket: &'a str,
    why: &'a str,
}

#[derive(Serialize)]
struct MisnamedJson {
    page: u64,
    names: u64,
}

#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
struct RecordJson {
    page: u64,
    element: usize,
    #[serde(skip_serializing_if = "Option::is_none")]
    revision: Option<i64>,
    #[serde(skip_serializing_if = "Option::is_none")]
    sub: Option<i64>,
    #[serde(flatten)]
    key: Option<KeyJson>,
}

#[derive(Serialize)]
struct HoleJson {
    after: Option<String>,
    before: Option<String>,
    certain: bool,
}

#[derive(Serialize)]
struct DoubtfulJson {
    #[serde(flatten)]
    key: KeyJson,
    revision: i64,
    sub: i64,
    reason: &'static str,
}

#[derive(Serialize)]
struct DamagedJson<'a> {
    revision: i64,
    sub: i64,
    code: &'a str,
    message: &'a str,
    #[serde(flatten)]
    key: Option<KeyJson>,
}

#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
struct WalJson<'a> {
    entries_replayed: u64,
    #[serde(skip_serializing_if = "Option::is_none")]
    after_index: Option<u64>,
    #[serde(skip_serializing_if = "Option::is_none")]
    not_applied: Option<&'a str>,
}

#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
struct MemberJson<'a> {
    name: &'a str,
    member_id: String,
    data_dir: String,
    wal_dir: String,
    start: &'a [String],
}

/// The report in the form asked for.
pub fn render(format: Format, done: &Done) -> Result<String> {
    Ok(match format {
        Format::Json => output::json(&json(done))?,
        Format::Simple => simple(done),
        Format::Fields => output::fields(&rows(done)),
        Format::Table => Table::of_fields(rows(done)).render(),
    })
}

fn rows(done: &Done) -> Vec<(&'static str, String)> {
    let report = &done.report;
    vec![
        ("Output", escape(&done.output.display().to_string())),
        ("Whole", done.is_whole().to_string()),
        ("Revision", done.revision.to_string()),
        ("Compact revision", done.compact_revision.to_string()),
        ("Keys", done.live_keys.to_string()),
        ("Keys doubtful", done.doubtful.len().to_string()),
        ("Records from the tree", report.tree_records.to_string()),
        ("Records from loose pages", report.found_records.to_string()),
        ("Records damaged", done.damaged.len().to_string()),
        ("Records lost", report.cut_records.to_string()),
        ("Pages lost", report.lost_pages.iter().map(|lost| lost.count).sum::<u64>().to_string()),
        ("Entries replayed", done.wal.count().to_string()),
    ]
}

fn simple(done: &Done) -> String {
    let report = &done.report;
    let mut text = String::new();
    let verb = if done.dry_run { "would save" } else { "saved" };
    let state = if done.is_whole() {
        "nothing is lost"
    } else if report.is_whole() && done.doubtful.is_empty() && !done.wal.lost() {
        "DAMAGED AS ITS SOURCE IS"
    } else {
        "SOMETHING IS LOST OR DOUBTFUL"
    };
    text += &format!(
        "{verb} {} keys ({} of them doubtful) at revision {} to {}: {state}\n",
        done.live_keys,
        done.doubtful.len(),
        done.revision,
        escape(&done.output.display().to_string())
    );
    text += "read from:\n";
    text += &format!("  {}\n", tree(report.tree));
    if let Some(older) = report.older_tree {
        text += &format!("  beside it {}\n", tree(older));
    }
    text += &format!(
        "  key space: {} records from the tree, {} from pages recognised by content, {} superseded ones left out\n",
        report.tree_records, report.found_records, report.superseded
    );
    if report.sizing != Sizing::Meta {
        text += &format!("  page size {}: {}\n", report.page_size, sizing(report.sizing));
    }
    for bucket in report.buckets.iter().filter(|bucket| bucket.from != BucketFrom::Tree) {
        text += &format!(
            "  bucket {}: {} records, {}\n",
            for_terminal(bucket.name.as_bytes()),
            bucket.records,
            bucket.from.as_str()
        );
    }
    match &done.wal {
        Applied::None | Applied::Entries { count: 0, .. } => {}
        Applied::Entries { count, after } => {
            text += &format!("  WAL: {count} entries behind entry {after} were applied\n");
        }
        Applied::Not { why } => text += &format!("  WAL: NOT APPLIED: {}\n", escape(why)),
    }
    let lost = if done.is_whole() { String::new() } else { loss(done) };
    if !lost.is_empty() {
        text += "lost:\n";
        text += &lost;
    }
    if !done.damaged.is_empty() {
        text += "damaged in the source and saved as it stands there, which verify of the output finds:\n";
        let lines = done.damaged.iter().map(|one| format!("  {}\n", escape(&one.message)));
        text += &some(lines, done.damaged.len());
    }
    if report.compaction != report.compact_revision && report.compaction > 0 {
        text += &format!(
            "history may have holes: it is marked as compacted to {}, so that nobody takes it for whole\n",
            report.compaction
        );
    }
    if !done.doubtful.is_empty() {
        text += "doubtful keys:\n";
        let lines = done.doubtful.iter().map(|one| {
            format!("  {}  {} ({})\n", for_terminal(&one.key), one.revision, meaning(one.doubt))
        });
        text += &some(lines, done.doubtful.len());
    }
    for line in output::findings(&not_listed(done)) {
        text += &output::finding_line("", &line);
    }
    if done.dry_run {
        text += &output::planned(&done.files, &done.space);
    }
    if let Some(plan) = &done.plan {
        text += &format!("member ids are new, of cluster {}; start with:\n", plan.cluster.id);
        for (_, start) in done.members() {
            text += &format!("  {}\n", shell::line(start));
        }
    }
    if done.dry_run {
        text += "nothing was written: this was a dry run\n";
    }
    text
}

/// Findings that are not told record by record.
fn not_listed(done: &Done) -> Vec<Finding> {
    let is_told = |finding: &Finding| {
        finding.severity == Severity::Damage && matches!(finding.place, Place::Revision { .. })
    };
    done.findings.iter().filter(|finding| !is_told(finding)).cloned().collect()
}

fn loss(done: &Done) -> String {
    let report = &done.report;
    let mut text = String::new();
    let lines = report.lost_pages.iter().map(|lost| {
        let last = lost.first.0.saturating_add(lost.count - 1);
        let pages = if lost.count == 1 {
            format!("page {}", lost.first)
        } else {
            format!("pages {} to {last}", lost.first)
        };
        let bucket = if lost.bucket.is_empty() {
            String::new()
        } else {
            format!(" of bucket {}", for_terminal(lost.bucket.as_bytes()))
        };
        format!("  {pages}{bucket}: {}\n", lost.why)
    });
    text += &some(lines, report.lost_pages.len());
    let lines = report.misnamed.iter().map(|(page, names)| {
        format!("  page {page} says it is page {names}; its keys fit, it was read\n")
    });
    text += &some(lines, report.misnamed.len());
    if report.metas < 2 {
        text += &format!("  {} of 2 metas are valid\n", report.metas);
    }
    if report.unknown_pages > 0 && !report.keys_are_whole() {
        text +=
            &format!("  {} pages of which nobody can say what they were\n", report.unknown_pages);
    }
    let lines = report.cut.iter().map(|cut| {
        let revision = cut.revision.map_or_else(
            || "unknown revision".to_owned(),
            |revision| format!("revision {revision}"),
        );
        let key = cut
            .key
            .as_ref()
            .map_or_else(|| "unknown key".to_owned(), |key| format!("key {}", for_terminal(key)));
        format!("  page {} element {}: {revision}, {key}\n", cut.page, cut.index)
    });
    text += &some(lines, usize::try_from(report.cut_records).unwrap_or(usize::MAX));
    let lines = report.holes.iter().map(|hole| format!("  {}\n", describe(hole)));
    text += &some(lines, usize::try_from(report.hole_count).unwrap_or(usize::MAX));
    text
}

fn describe(hole: &Hole) -> String {
    let revision = |of: Option<Revision>, none: &str| {
        of.map_or_else(|| none.to_owned(), |revision| revision.to_string())
    };
    let may = if hole.certain { "are lost" } else { "may be lost" };
    match hole.before {
        Some(before) => format!(
            "revisions between {} and {before} {may}",
            revision(hole.after, "the beginning")
        ),
        None => format!("revisions behind {} {may}", revision(hole.after, "the beginning")),
    }
}

/// The first lines, and how many more there are.
fn some(lines: impl Iterator<Item = String>, count: usize) -> String {
    let mut text: String = lines.take(SHOWN).collect();
    if count > SHOWN {
        text += &format!("  … and {} more; -w json lists them\n", count - SHOWN);
    }
    text
}

fn meaning(doubt: Doubt) -> &'static str {
    match doubt {
        Doubt::LaterLost => {
            "later-lost: newer records are lost, it may have been changed or deleted"
        }
        Doubt::Unattached => {
            "unattached: from a page no tree leads to, it may have been compacted away"
        }
        Doubt::Freed => "freed: from a free page, it was superseded or deleted",
        Doubt::Conflict => "conflict: two copies of the record differ",
        Doubt::Zeros => "zeros: its value has zeros where a hole would be",
        Doubt::Replayed => "replayed: the WAL was applied to what is incomplete",
    }
}

fn tree(tree: Tree) -> String {
    match tree {
        Tree::OfMeta { slot, txid, newest: true } => {
            format!("the tree of meta {slot}, transaction {txid}")
        }
        Tree::OfMeta { slot, txid, newest: false } => {
            format!("the tree of meta {slot}, transaction {txid}, which may not be the newest")
        }
        Tree::Recognised { root } => {
            format!(
                "the tree below page {root}, a root recognised by its content: no meta says that it is the newest"
            )
        }
        Tree::None => "no tree: every page was recognised by its content".to_owned(),
    }
}

fn tree_json(tree: Tree) -> Option<TreeJson> {
    match tree {
        Tree::OfMeta { slot, txid, newest } => {
            Some(TreeJson { meta: Some(slot), txid: Some(txid), root: None, newest })
        }
        Tree::Recognised { root: PageId(root) } => {
            Some(TreeJson { meta: None, txid: None, root: Some(root), newest: false })
        }
        Tree::None => None,
    }
}

fn sizing(sizing: Sizing) -> &'static str {
    match sizing {
        Sizing::Meta => "meta",
        Sizing::Voted => "page-ids",
        Sizing::Assumed => "assumed",
    }
}

fn json(done: &Done) -> Json<'_> {
    let report = &done.report;
    let text = |revision: Option<Revision>| revision.map(|revision| revision.to_string());
    Json {
        dry_run: done.dry_run,
        output: done.output.display().to_string(),
        replaced: done.replaced,
        kind: if done.plan.is_some() { "data-dir" } else { "db" },
        whole: done.is_whole(),
        revision: done.revision,
        compact_revision: done.compact_revision,
        source_compact_revision: report.compact_revision,
        keys: KeysJson { live: done.live_keys, doubtful: done.doubtful.len() as u64 },
        records: RecordsJson {
            tree: report.tree_records,
            found: report.found_records,
            superseded: report.superseded,
            lost: report.cut_records,
        },
        page_size: report.page_size,
        page_size_from: sizing(report.sizing),
        metas: report.metas,
        tree: tree_json(report.tree),
        older_tree: report.older_tree.and_then(tree_json),
        buckets: report
            .buckets
            .iter()
            .map(|bucket| BucketJson {
                name: &bucket.name,
                from: bucket.from.as_str(),
                records: bucket.records,
            })
            .collect(),
        lost_pages: report
            .lost_pages
            .iter()
            .map(|lost| PagesJson {
                first: lost.first.0,
                count: lost.count,
                bucket: &lost.bucket,
                why: lost.why,
            })
            .collect(),
        misnamed_pages: report
            .misnamed
            .iter()
            .map(|(page, names)| MisnamedJson { page: page.0, names: *names })
            .collect(),
        unknown_pages: report.unknown_pages,
        lost_records: report
            .cut
            .iter()
            .map(|cut| RecordJson {
                page: cut.page.0,
                element: cut.index,
                revision: cut.revision.map(|revision| revision.main),
                sub: cut.revision.map(|revision| revision.sub),
                key: cut.key.as_deref().map(KeyJson::new),
            })
            .collect(),
        holes: report
            .holes
            .iter()
            .map(|hole| HoleJson {
                after: text(hole.after),
                before: text(hole.before),
                certain: hole.certain,
            })
            .collect(),
        hole_count: report.hole_count,
        doubtful: done
            .doubtful
            .iter()
            .map(|one| DoubtfulJson {
                key: KeyJson::new(&one.key),
                revision: one.revision.main,
                sub: one.revision.sub,
                reason: one.doubt.as_str(),
            })
            .collect(),
        damaged_records: done
            .damaged
            .iter()
            .map(|one| DamagedJson {
                revision: one.revision.main,
                sub: one.revision.sub,
                code: one.code,
                message: &one.message,
                key: one.key.as_deref().map(KeyJson::new),
            })
            .collect(),
        wal: WalJson {
            entries_replayed: done.wal.count(),
            after_index: match &done.wal {
                Applied::Entries { after, .. } => Some(*after),
                _ => None,
            },
            not_applied: match &done.wal {
                Applied::Not { why } => Some(why),
                _ => None,
            },
        },
        cluster_id: done.plan.as_ref().map(|plan| plan.cluster.id.to_string()),
        restored: done
            .members()
            .map(|(one, start)| MemberJson {
                name: &one.member.name,
                member_id: one.member.id.to_string(),
                data_dir: one.data_dir.display().to_string(),
                wal_dir: one.wal_dir().display().to_string(),
                start,
            })
            .collect(),
        planned: PlannedJson::new(&done.files, &done.space),
        findings: FindingJson::list(&done.findings),
    }
}
