//! `top`: who fills the file, and what compaction and defragmentation would give back.

use std::os::unix::ffi::OsStrExt as _;

use anyhow::{Result, anyhow};
use etcdsnap_engine::{
    bolt::map::PageMap,
    finding::counted,
    mvcc::stats::{Amount, Grouping, KeyUse, Options, PrefixUse, Tally, Usage, usage},
    schema::{Store, bucket, compacted},
};
use serde::Serialize;

use super::{Context, sound};
use crate::{
    args::{Format, Top},
    exit::Answer,
    input::ask,
    output::{self, KeyJson, Table, bytes, shown_key},
};

#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
struct Json {
    revision: i64,
    compact_revision: i64,
    keys: u64,
    records: Records,
    bytes: Bytes,
    pages: Pages,
    depth: usize,
    prefixes: Vec<PrefixJson>,
    /// What the listed prefixes leave out.
    other_prefixes: Other,
    largest: Vec<KeyUseJson>,
    rewritten: Vec<KeyUseJson>,
    prediction: PredictionJson,
}

/// Records of bucket `key`.
#[derive(Serialize)]
struct Records {
    live: u64,
    superseded: u64,
    deleted: u64,
    later: u64,
}

impl From<&Tally> for Records {
    fn from(tally: &Tally) -> Self {
        Self {
            live: tally.live.records,
            superseded: tally.superseded.records,
            deleted: tally.deleted.records,
            later: tally.later.records,
        }
    }
}

/// Bytes of the database; all but the first add up to the first.
#[derive(Clone, Debug, Default, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct Bytes {
    pub total: u64,
    pub live: u64,
    pub superseded: u64,
    pub deleted: u64,
    pub later: u64,
    pub other_buckets: u64,
    /// Page headers, branches, metas and a stored freelist.
    pub structure: u64,
    /// What pages in use leave empty.
    pub slack: u64,
    pub free: u64,
    pub unreachable: u64,
}

#[derive(Serialize)]
struct Pages {
    size: u64,
    total: u64,
    meta: u64,
    freelist: u64,
    branch: u64,
    leaf: u64,
    overflow: u64,
    free: u64,
    unreachable: u64,
}

#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
struct PrefixJson {
    #[serde(skip_serializing_if = "Option::is_none")]
    prefix: Option<String>,
    prefix_base64: String,
    #[serde(flatten)]
    sums: Sums,
}

#[derive(Serialize)]
struct Other {
    prefixes: u64,
    #[serde(flatten)]
    sums: Sums,
}

#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
struct Sums {
    keys: u64,
    bytes: u64,
    live_bytes: u64,
    superseded_records: u64,
    superseded_bytes: u64,
    deleted_records: u64,
    deleted_bytes: u64,
    later_records: u64,
    later_bytes: u64,
}

impl From<&Tally> for Sums {
    fn from(tally: &Tally) -> Self {
        Self {
            keys: tally.live.records,
            bytes: tally.bytes(),
            live_bytes: tally.live.bytes,
            superseded_records: tally.superseded.records,
            superseded_bytes: tally.superseded.bytes,
            deleted_records: tally.deleted.records,
            deleted_bytes: tally.deleted.bytes,
            later_records: tally.later.records,
            later_bytes: tally.later.bytes,
        }
    }
}

#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
struct KeyUseJson {
    #[serde(flatten)]
    key: KeyJson,
    value_bytes: u64,
    version: i64,
    create_revision: i64,
    mod_revision: i64,
}

impl From<&KeyUse<'_>> for KeyUseJson {
    fn from(of: &KeyUse<'_>) -> Self {
        Self {
            key: KeyJson::new(of.key),
            value_bytes: of.value_bytes,
            version: of.version,
            create_revision: of.create_revision,
            mod_revision: of.mod_revision,
        }
    }
}

/// Bytes of the database afterwards.
#[derive(Serialize)]
struct PredictionJson {
    defragmentation: After,
    /// `null` when history is compacted to the newest revision already.
    compaction: Option<Compaction>,
}

#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
struct After {
    /// As etcd's defragmentation leaves it.
    defragmented_bytes: u64,
    /// As `compact` writes it.
    compacted_bytes: u64,
}

#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
struct Compaction {
    revision: i64,
    records_removed: u64,
    bytes_removed: u64,
    #[serde(flatten)]
    after: After,
}

/// Adds up and shows it.
pub fn run(context: &Context, args: &Top) -> Result<Answer> {
    if args.rev < 0 {
        return Err(anyhow!("--rev {}: a revision is not negative", args.rev));
    }
    let options = Options {
        grouping: Grouping {
            prefix: args.prefix.as_bytes().to_vec(),
            separator: args.separator.as_bytes().to_vec(),
            depth: args.depth,
        },
        revision: Some(args.rev),
        compaction: args.compaction,
        most: args.limit,
    };
    let text = ask(context, &args.input.path, &args.input.reading, |input| {
        let db = sound(context, input)?;
        let map = PageMap::read(&db, &context.ui)?;
        let usage = usage(&Store::new(db), &options, &context.ui)?;
        if usage.depth < args.depth {
            context.warn(&format!(
                "more than {} prefixes at depth {}: shown at depth {}; --prefix looks at a part",
                etcdsnap_engine::mvcc::stats::MAX_PREFIXES,
                args.depth,
                usage.depth
            ));
        }
        let top = Shown::new(&usage, &map, db.page_size(), args);
        Ok(match context.global.format {
            Format::Json => output::json_of_state(&top.json(), input.committed())?,
            Format::Fields => top.fields(),
            Format::Simple => top.simple(),
            Format::Table => top.table(),
        })
    })?;
    Ok(Answer::sound(text))
}

/// All that is shown.
struct Shown<'a> {
    usage: &'a Usage<'a>,
    map: &'a PageMap,
    page_size: u64,
    bytes: Bytes,
    hex: bool,
    /// The prefixes with most bytes.
    prefixes: Vec<PrefixUse<'a>>,
    others: Tally,
}

impl<'a> Shown<'a> {
    fn new(usage: &'a Usage<'a>, map: &'a PageMap, page_size: u64, args: &Top) -> Self {
        let mut prefixes = usage.prefixes.clone();
        prefixes.sort_by_key(|one| (std::cmp::Reverse(one.tally.bytes()), one.prefix));
        let mut others = Tally::default();
        let rest = prefixes.split_off(args.limit.min(prefixes.len()));
        rest.iter().for_each(|one| others.add(&one.tally));
        let bytes = account(usage, map, page_size);
        Self { usage, map, page_size, bytes, hex: args.hex, prefixes, others }
    }

    fn other_prefixes(&self) -> u64 {
        (self.usage.prefixes.len() - self.prefixes.len()) as u64
    }

    fn json(&self) -> Json {
        let (usage, counts) = (self.usage, self.map.counts());
        let prediction = &usage.prediction;
        let after = |after: etcdsnap_engine::mvcc::stats::Rewritten| After {
            defragmented_bytes: after.defragmented,
            compacted_bytes: after.compacted,
        };
        Json {
            revision: usage.revision,
            compact_revision: usage.compact_revision,
            keys: usage.total.live.records,
            records: Records::from(&usage.total),
            bytes: self.bytes.clone(),
            pages: Pages {
                size: self.page_size,
                total: self.map.len(),
                meta: counts.meta,
                freelist: counts.freelist,
                branch: counts.branch,
                leaf: counts.leaf,
                overflow: counts.overflow,
                free: counts.free,
                unreachable: counts.unreachable,
            },
            depth: usage.depth,
            prefixes: self.prefixes.iter().map(prefix_json).collect(),
            other_prefixes: Other {
                prefixes: self.other_prefixes(),
                sums: Sums::from(&self.others),
            },
            largest: usage.largest.iter().map(KeyUseJson::from).collect(),
            rewritten: usage.rewritten.iter().map(KeyUseJson::from).collect(),
            prediction: PredictionJson {
                defragmentation: after(prediction.rewritten),
                compaction: prediction.compaction.map(|revision| Compaction {
                    revision,
                    records_removed: prediction.removed.records,
                    bytes_removed: prediction.removed.bytes,
                    after: after(prediction.compacted),
                }),
            },
        }
    }

    /// What the bytes of the database are, in words.
    fn shares(&self) -> [(&'static str, u64, Option<u64>); 9] {
        let (of, total) = (&self.bytes, &self.usage.total);
        [
            ("live", of.live, Some(total.live.records)),
            ("superseded", of.superseded, Some(total.superseded.records)),
            ("deleted", of.deleted, Some(total.deleted.records)),
            ("later revisions", of.later, Some(total.later.records)),
            ("other buckets", of.other_buckets, None),
            ("structure", of.structure, None),
            ("slack", of.slack, None),
            ("free pages", of.free, None),
            ("unreachable pages", of.unreachable, None),
        ]
    }

    /// Sentences on what would be given back.
    fn predictions(&self) -> Vec<String> {
        let prediction = &self.usage.prediction;
        let line = |what: &str, after: etcdsnap_engine::mvcc::stats::Rewritten| {
            format!(
                "{what} leaves {} (gives back {}); etcdsnap compact: {}",
                bytes(after.defragmented),
                bytes(prediction.bytes.saturating_sub(after.defragmented)),
                bytes(after.compacted)
            )
        };
        let mut lines = vec![line("a defragmentation", prediction.rewritten)];
        match prediction.compaction {
            Some(revision) => lines.push(line(
                &format!(
                    "a compaction to revision {revision} removes {} ({}) and with a defragmentation",
                    counted(prediction.removed.records, "record", "records"),
                    bytes(prediction.removed.bytes)
                ),
                prediction.compacted,
            )),
            None => lines.push("history is compacted already".to_owned()),
        }
        lines
    }

    fn simple(&self) -> String {
        let total = format!(
            "{} in {}, {} at revision {}, {}",
            bytes(self.bytes.total),
            counted(self.map.len(), "page", "pages"),
            counted(self.usage.total.live.records, "key", "keys"),
            self.usage.revision,
            compacted(self.usage.compact_revision)
        );
        let mut text = output::wrapped("", &total);
        for (what, size, records) in self.shares() {
            if size > 0 {
                let records = records.map_or_else(String::new, |count| {
                    format!(" {}", counted(count, "record", "records"))
                });
                text += &format!("{:>10}  {what}{records}\n", bytes(size));
            }
        }
        for line in self.predictions() {
            text += &output::wrapped("", &line);
        }
        text += "\nby prefix: bytes, of them live, keys\n";
        for PrefixUse { prefix, tally } in &self.prefixes {
            text += &self.prefix_line(&shown_key(prefix, self.hex), tally);
        }
        if self.other_prefixes() > 0 {
            let others = format!("({} more prefixes)", self.other_prefixes());
            text += &self.prefix_line(&others, &self.others);
        }
        text += "\nlargest values\n";
        for of in &self.usage.largest {
            text += &format!("{:>10}  {}\n", bytes(of.value_bytes), shown_key(of.key, self.hex));
        }
        text += "\nwritten most since their creation\n";
        for of in &self.usage.rewritten {
            text += &format!("{:>10}  {}\n", of.version, shown_key(of.key, self.hex));
        }
        text
    }

    fn prefix_line(&self, name: &str, tally: &Tally) -> String {
        let name = if name.is_empty() { "(no prefix)" } else { name };
        format!(
            "{:>10} {:>10} {:>9}  {name}\n",
            bytes(tally.bytes()),
            bytes(tally.live.bytes),
            tally.live.records
        )
    }

    fn table(&self) -> String {
        let mut shares = Table::new(&["BYTES", "RECORDS", "WHAT"]);
        for (what, size, records) in self.shares() {
            let records = records.map(|count| count.to_string()).unwrap_or_default();
            shares.row(vec![size.to_string(), records, what.to_owned()]);
        }
        let mut prefixes = Table::new(&[
            "PREFIX",
            "KEYS",
            "BYTES",
            "LIVE BYTES",
            "HISTORY RECORDS",
            "HISTORY BYTES",
        ]);
        let mut row = |name: String, tally: &Tally| {
            let Amount { records, bytes } = tally.history();
            prefixes.row(vec![
                name,
                tally.live.records.to_string(),
                tally.bytes().to_string(),
                tally.live.bytes.to_string(),
                records.to_string(),
                bytes.to_string(),
            ]);
        };
        for PrefixUse { prefix, tally } in &self.prefixes {
            row(shown_key(prefix, self.hex), tally);
        }
        if self.other_prefixes() > 0 {
            row(format!("({} more prefixes)", self.other_prefixes()), &self.others);
        }
        let keys = |list: &[KeyUse<'_>]| {
            let headers = ["KEY", "VALUE BYTES", "VERSION", "CREATE REVISION", "MOD REVISION"];
            let mut table = Table::new(&headers);
            for of in list {
                table.row(vec![
                    shown_key(of.key, self.hex),
                    of.value_bytes.to_string(),
                    of.version.to_string(),
                    of.create_revision.to_string(),
                    of.mod_revision.to_string(),
                ]);
            }
            table.render()
        };
        let predictions: String =
            self.predictions().iter().map(|line| line.clone() + "\n").collect();
        shares.render()
            + &predictions
            + &prefixes.render()
            + &keys(&self.usage.largest)
            + &keys(&self.usage.rewritten)
    }

    fn fields(&self) -> String {
        let (usage, of) = (self.usage, &self.bytes);
        let prediction = &usage.prediction;
        let mut pairs = vec![
            ("Revision", usage.revision.to_string()),
            ("CompactRevision", usage.compact_revision.to_string()),
            ("Keys", usage.total.live.records.to_string()),
            ("Bytes", of.total.to_string()),
            ("LiveBytes", of.live.to_string()),
            ("SupersededBytes", of.superseded.to_string()),
            ("DeletedBytes", of.deleted.to_string()),
            ("LaterBytes", of.later.to_string()),
            ("OtherBuckets", of.other_buckets.to_string()),
            ("Structure", of.structure.to_string()),
            ("Slack", of.slack.to_string()),
            ("Free", of.free.to_string()),
            ("Unreachable", of.unreachable.to_string()),
            ("Defragmented", prediction.rewritten.defragmented.to_string()),
            ("Compacted", prediction.rewritten.compacted.to_string()),
        ];
        if let Some(revision) = prediction.compaction {
            pairs.extend([
                ("Compaction", revision.to_string()),
                ("RecordsRemoved", prediction.removed.records.to_string()),
                ("DefragmentedAfterCompaction", prediction.compacted.defragmented.to_string()),
                ("CompactedAfterCompaction", prediction.compacted.compacted.to_string()),
            ]);
        }
        let mut text = output::fields(&pairs);
        for PrefixUse { prefix, tally } in &self.prefixes {
            text += "\n";
            text += &output::fields(&[
                ("Prefix", format!("\"{}\"", shown_key(prefix, self.hex))),
                ("Keys", tally.live.records.to_string()),
                ("Bytes", tally.bytes().to_string()),
                ("LiveBytes", tally.live.bytes.to_string()),
            ]);
        }
        text
    }
}

fn prefix_json(one: &PrefixUse<'_>) -> PrefixJson {
    let (prefix, prefix_base64) = KeyJson::new(one.prefix).into_parts();
    PrefixJson { prefix, prefix_base64, sums: Sums::from(&one.tally) }
}

/// Every byte of the database, once.
pub fn account(usage: &Usage<'_>, map: &PageMap, page_size: u64) -> Bytes {
    let (total, counts) = (&usage.total, map.counts());
    let (mut used, mut allocated, mut other_buckets) = (0_u64, 0_u64, 0_u64);
    let mut records_inline = true;
    for bucket in map.buckets().iter().filter(|bucket| !bucket.is_inline()) {
        used += bucket.branch_used + bucket.leaf_used;
        allocated += bucket.physical() * page_size;
        if bucket.parent == Some(0) && bucket.name == bucket::KEY.as_bytes() {
            records_inline = false;
        } else {
            // Without the headers of its pages, which are structure.
            other_buckets += bucket.leaf_used.saturating_sub(bucket.leaf_pages * 16);
        }
    }
    if records_inline {
        other_buckets = other_buckets.saturating_sub(total.bytes());
    }
    let pages = |count: u64| count * page_size;
    Bytes {
        total: pages(map.len()),
        live: total.live.bytes,
        superseded: total.superseded.bytes,
        deleted: total.deleted.bytes,
        later: total.later.bytes,
        other_buckets,
        structure: used.saturating_sub(total.bytes() + other_buckets)
            + pages(counts.meta + counts.freelist),
        slack: allocated.saturating_sub(used),
        free: pages(counts.free),
        unreachable: pages(counts.unreachable),
    }
}
