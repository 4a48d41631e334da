//! `info`: what a file or data dir is.

use anyhow::Result;
use etcdsnap_engine::{
    bolt::freelist::Freelist,
    datadir::{self, RaftIdentity},
    diagnose::{self, log_findings},
    finding::{Finding, Place, Severity},
    mvcc::{KeyIndex, KeySpace, Scan},
    schema::{MetaRecords, Store, auth, members, meta::Downgrade, servers::Server, small},
    snapshot::Trailer,
};
use serde::Serialize;

use super::{Context, save::v2_summary};
use crate::{
    args::{Format, Input as Args, Reading},
    exit::{Answer, Exit, say},
    input::{Input, ask_about_few},
    output::{self, Table, escape},
};

/// Whether a server starts.
#[derive(Debug, Serialize)]
struct ServerJson {
    version: &'static str,
    starts: bool,
    /// What keeps it from starting.
    why: Option<String>,
}

/// What is known. A field is null when the input does not say it.
#[derive(Debug, Serialize)]
#[serde(rename_all = "camelCase")]
struct Info {
    kind: &'static str,
    path: String,
    page_size: u32,
    txid: u64,
    revision: i64,
    compact_revision: i64,
    consistent_index: Option<u64>,
    term: Option<u64>,
    cluster_id: Option<String>,
    member_id: Option<String>,
    storage_version: Option<String>,
    cluster_version: Option<String>,
    /// Version that a downgrade under way goes to.
    downgrade: Option<String>,
    /// Those servers that were tried: whether they start on it as it stands, or on what a restore makes of a file.
    servers: Vec<ServerJson>,
    wal_first_index: Option<u64>,
    wal_last_index: Option<u64>,
    wal_commit: Option<u64>,
    entries_replayed: u64,
    entries_uncommitted: u64,
    revision_committed: Option<i64>,
    written_by: Option<String>,
    total_key: u64,
    total_size: u64,
    file_size: u64,
    trailer: &'static str,
    members: usize,
    leases: usize,
    alarms: usize,
    auth_enabled: bool,
    users: usize,
    /// Keys of the v2 API, which are in no db.
    v2_keys: u64,
    buckets: Vec<String>,
}

/// Shows it. Damage met on the way is said; what can be known is shown all the same.
pub fn run(context: &Context, args: &Args) -> Result<Answer> {
    let (info, findings) = ask_about_few(context, &args.path, &args.reading, |input| {
        gather(context, &args.reading, input)
    })?;
    findings.iter().for_each(|finding| say(&output::finding(finding)));
    // A db that its log replaces is said; what is shown is whole all the same.
    let replaced = ["db-missing", "db-blank", "db-unreadable", "db-damaged"];
    let damage = findings
        .iter()
        .any(|finding| finding.severity == Severity::Damage && !replaced.contains(&finding.code));
    let exit = if damage { Exit::Damage } else { Exit::Sound };
    Ok(Answer::new(render(context.global.format, &info)?, exit))
}

fn gather(context: &Context, reading: &Reading, input: &Input) -> Result<(Info, Vec<Finding>)> {
    // What a member is can be said even when its WAL is of no use.
    let db = input.file_db()?;
    let store = Store::new(db);
    let mut findings = Vec::new();
    if let Some(why) = input.not_replayed() {
        let message = format!("the WAL was not applied, this is the db alone: {why}");
        findings.push(if why.damage {
            Finding::damage("wal", Place::File, message)
        } else {
            Finding::warning("wal", Place::File, message)
        });
    }
    if input.not_replayed().is_none() {
        let of_log = log_findings(input).into_iter();
        // What of a log's end is uncertain is said of every answer.
        let said = ["wal-damaged", "unsynced-wal"];
        findings.extend(
            of_log.filter(|finding| {
                finding.severity != Severity::Note && !said.contains(&finding.code)
            }),
        );
    }
    if let Err(error) = Freelist::read(&db) {
        let message = format!("freelist: {error}; what is free is what the tree does not reach");
        findings.push(Finding::damage("freelist", error.place(), message));
    }
    let space = KeySpace::open(&store)?;
    let (meta, of_meta) = MetaRecords::read(&store)?;
    findings.extend(of_meta);
    findings.extend(diagnose::downgrade(&meta));
    // Side by side only over a sound tree: a page that many branches share would be read many times.
    let pages = input.page_findings(&db, &context.ui)?;
    let sound = pages.iter().all(|finding| finding.severity != Severity::Damage);
    let scan = if sound { Scan::Parallel } else { Scan::InOrder };
    let index = KeyIndex::build_scanned(space.bucket(), i64::MAX, scan, &context.ui)?;
    let raft = input.located().member.as_ref().and_then(|(_, member)| {
        let wal_dir = reading.wal_dir.clone().unwrap_or_else(|| member.join("wal"));
        datadir::raft_identity(&wal_dir)
    });
    let buckets = db
        .root()
        .items()
        .map(|item| item.map(|item| String::from_utf8_lossy(item.key).into_owned()))
        .collect::<Result<_, _>>()?;
    let committed = input.committed();
    let servers = servers(input, &meta);
    let info = Info {
        kind: input.kind().as_str(),
        path: input.located().path.display().to_string(),
        page_size: db.meta().page_size,
        txid: db.meta().txid.0,
        revision: space.last_record(),
        compact_revision: space.compact_revision(),
        consistent_index: meta.consistent_index,
        term: meta.term,
        cluster_id: raft.map(|RaftIdentity { cluster, .. }| cluster.to_string()),
        member_id: raft.map(|RaftIdentity { member, .. }| member.to_string()),
        storage_version: meta.storage_version,
        cluster_version: meta.cluster_version,
        servers,
        downgrade: meta.downgrade.as_ref().and_then(Downgrade::target).map(str::to_owned),
        wal_first_index: input.wal().and_then(|wal| wal.first_index),
        wal_last_index: input.wal().and_then(|wal| wal.last_index),
        wal_commit: input.wal().and_then(|wal| wal.commit),
        entries_replayed: input.report().map_or(0, |report| report.applied),
        entries_uncommitted: committed.entries_uncommitted,
        revision_committed: committed.revision_committed,
        written_by: input.report().map(|report| report.line.to_string()),
        total_key: index.live_keys(),
        total_size: db.size_bytes(),
        file_size: input.file_size(),
        trailer: match input.image().trailer() {
            Trailer::Present(_) => "present",
            Trailer::Absent => "absent",
            Trailer::Odd { .. } => "odd",
        },
        members: members::members(&store)?.records.len(),
        leases: small::leases(&store)?.records.len(),
        alarms: small::alarms(&store)?.records.len(),
        auth_enabled: auth::enabled(&store)?,
        users: auth::users(&store)?.records.len(),
        v2_keys: v2_summary(input).keys,
        buckets,
    };
    Ok((info, findings))
}

/// Of a member's files nothing is said where a server refuses them for another reason.
fn servers(input: &Input, meta: &MetaRecords) -> Vec<ServerJson> {
    let starts = match (input.wal(), input.report()) {
        (Some(_), Some(report)) if report.refused_at.is_none() => input.starts(),
        (Some(_), _) => Vec::new(),
        (None, _) => {
            let restored = Server::ALL.into_iter();
            restored.map(|server| (server, server.starts_on_restored(meta))).collect()
        }
    };
    let each = starts.into_iter().map(|(server, starts)| ServerJson {
        version: server.version(),
        starts: starts.is_ok(),
        why: starts.err().map(|obstacle| obstacle.to_string()),
    });
    each.collect()
}

/// As in "3.5.35, 3.6.16; not 3.4.23 (the cluster version is 3.5.0)".
fn started_by(servers: &[ServerJson]) -> String {
    if servers.is_empty() {
        return "-".to_owned();
    }
    let starting: Vec<&str> =
        servers.iter().filter(|server| server.starts).map(|server| server.version).collect();
    let refusing: Vec<String> = servers
        .iter()
        .filter_map(|server| Some(format!("{} ({})", server.version, server.why.as_ref()?)))
        .collect();
    match (starting.join(", "), refusing.join(", ")) {
        (starting, refusing) if refusing.is_empty() => starting,
        (starting, refusing) if starting.is_empty() => format!("not {refusing}"),
        (starting, refusing) => format!("{starting}; not {refusing}"),
    }
}

fn wal_entries(info: &Info) -> String {
    match (info.wal_first_index, info.wal_last_index, info.wal_commit) {
        (Some(first), Some(last), Some(commit)) => format!("{first} to {last}, commit {commit}"),
        _ => "-".to_owned(),
    }
}

fn render(format: Format, info: &Info) -> Result<String> {
    let or = |value: &Option<String>| value.clone().unwrap_or_else(|| "-".to_owned());
    let number =
        |value: Option<u64>| value.map_or_else(|| "-".to_owned(), |value| value.to_string());
    let size = format!("{} of {}", output::bytes(info.total_size), output::bytes(info.file_size));
    let compact_revision = match (info.compact_revision, format) {
        (..0, Format::Simple | Format::Table) => "never compacted".to_owned(),
        (revision, _) => revision.to_string(),
    };
    let rows = [
        ("Kind", info.kind.to_owned()),
        ("Path", escape(&info.path)),
        ("Revision", info.revision.to_string()),
        ("Compact revision", compact_revision),
        ("Keys", info.total_key.to_string()),
        ("Size", size),
        ("Page size", info.page_size.to_string()),
        ("Txid", info.txid.to_string()),
        ("Trailer", info.trailer.to_owned()),
        ("Consistent index", number(info.consistent_index)),
        ("Term", number(info.term)),
        ("Storage version", or(&info.storage_version)),
        ("Cluster version", or(&info.cluster_version)),
        ("Downgrade to", or(&info.downgrade)),
        ("Started by", started_by(&info.servers)),
        ("WAL entries", wal_entries(info)),
        ("Entries replayed", info.entries_replayed.to_string()),
        ("Not known to be committed", info.entries_uncommitted.to_string()),
        ("Cluster id", or(&info.cluster_id)),
        ("Member id", or(&info.member_id)),
        ("Members", info.members.to_string()),
        ("Leases", info.leases.to_string()),
        ("Alarms", info.alarms.to_string()),
        ("Auth enabled", info.auth_enabled.to_string()),
        ("Users", info.users.to_string()),
        ("Buckets", escape(&info.buckets.join(" "))),
    ];
    Ok(match format {
        Format::Json => output::json(info)?,
        Format::Fields => output::fields(&rows),
        Format::Table => Table::of_fields(rows).render(),
        Format::Simple => rows
            .iter()
            .map(|(name, value)| output::wrapped(&format!("{:<26} ", format!("{name}:")), value))
            .collect(),
    })
}
