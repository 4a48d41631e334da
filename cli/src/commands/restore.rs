//! `restore`: a fresh data dir.

use std::path::{Path, PathBuf};

use anyhow::{Context as _, Result};
use etcdsnap_engine::{
    datadir,
    finding::{Finding, Severity},
    limits::Limits,
    restore::{self, Options, Plan, Restored, execute, warnings},
    schema::Store,
    snapshot::{Image, Trailer, verify},
    staging::remains,
};
use serde::Serialize;

use super::{Context, save::name_remains};
use crate::{
    args::{Format, Reading, Restore},
    exit::{Answer, say},
    input::Input,
    output::{self, FindingJson, Table, escape},
};

#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
struct Json<'a> {
    data_dir: String,
    wal_dir: String,
    name: &'a str,
    member_id: String,
    cluster_id: String,
    members: Vec<MemberJson<'a>>,
    revision: i64,
    verified: &'a str,
    findings: Vec<FindingJson<'a>>,
    start: Vec<String>,
}

#[derive(Serialize)]
struct MemberJson<'a> {
    id: String,
    name: &'a str,
    #[serde(rename = "peerURLs")]
    peer_urls: &'a [String],
}

/// A restore that was done.
pub struct Done {
    plan: Plan,
    restored: Restored,
    verified: String,
    findings: Vec<Finding>,
    start: Vec<String>,
}

/// Plans, verifies, restores, and prints how the member is started.
pub fn run(context: &Context, args: &Restore) -> Result<Answer> {
    let data_dir =
        args.data_dir.clone().unwrap_or_else(|| PathBuf::from(format!("{}.etcd", args.name)));
    let options = Options {
        name: args.name.clone(),
        initial_cluster: args.initial_cluster.clone(),
        initial_cluster_token: args.initial_cluster_token.clone(),
        initial_advertise_peer_urls: args.initial_advertise_peer_urls.clone(),
        data_dir,
        wal_dir: args.wal_dir.clone(),
        bump_revision: args.bump_revision,
        mark_compacted: args.mark_compacted,
    };
    let done = restore(context, &args.path, &args.reading(), &options, args.skip_hash_check)?;
    Ok(Answer::sound(render(context.global.format, &done)?))
}

/// Restores `source` as `options` say.
pub fn restore(
    context: &Context,
    source: &Path,
    reading: &Reading,
    options: &Options,
    skip_hash_check: bool,
) -> Result<Done> {
    name_remains(context, &options.data_dir);
    name_remains(context, &options.data_dir.join("member"));
    if let Some(wal_dir) = &options.wal_dir {
        name_remains(context, wal_dir);
    }
    let plan = Plan::new(options).with_context(|| half_done(options))?;
    let input = Input::open(context, source, reading)?;
    let db = input.db()?;
    let verified = verified(context, &input, skip_hash_check)?;
    let store = Store::new(db);
    let member = input
        .located()
        .member
        .as_ref()
        .map(|(_, member)| reading.wal_dir.clone().unwrap_or_else(|| member.join("wal")));
    let origin =
        member.as_deref().and_then(datadir::raft_identity).map(|identity| identity.cluster);
    let findings = warnings(&store, &plan, origin)?;
    context.say_replayed(&input);
    if member.is_some() && reading.no_wal {
        context.warn("note: the WAL was not applied: entries that the db does not contain yet are not restored");
    }
    let restored =
        execute(&plan, &db, &context.ui, || input.settle().map_err(std::io::Error::other))?;
    if context.global.format != Format::Simple {
        findings.iter().for_each(|finding| context.warn(&output::finding(finding)));
    }
    let start = start(&plan, options);
    Ok(Done { plan, restored, verified, findings, start })
}

/// A killed run can leave a finished WAL dir without its data dir: say so where that is the likely reason.
fn half_done(options: &Options) -> String {
    let killed = !remains(&options.data_dir).is_empty()
        || !remains(&options.data_dir.join("member")).is_empty();
    match &options.wal_dir {
        Some(wal_dir) if wal_dir.exists() && killed => format!(
            "nothing was written; {} may come from the restore that was killed: check and remove it",
            wal_dir.display()
        ),
        _ => "nothing was written".to_owned(),
    }
}

/// Verifies the input and says what that covers. The digest can be waived, structure never.
fn verified(context: &Context, input: &Input, skip_hash_check: bool) -> Result<String> {
    let image = input.image();
    let image = if skip_hash_check { Image::without_trailer(image.database()) } else { image };
    let verification =
        verify(&image, Limits::default(), &context.ui).map_err(|error| input.explain(error))?;
    input.settle()?;
    if !verification.is_sound() {
        for finding in
            verification.findings.iter().filter(|finding| finding.severity == Severity::Damage)
        {
            say(&output::finding(finding));
        }
        return Err(restore::Error::Damaged { findings: verification.findings }.into());
    }
    Ok(match (image.trailer(), skip_hash_check) {
        (Trailer::Present(digest), _) => format!("sha256 {digest} and structure: every byte is as it was saved"),
        (_, true) => "structure only, the digest was waived: pages, key space, records and members are sound; \
                      changed values would go unnoticed"
            .to_owned(),
        (_, false) => "structure only, there is no digest: pages, key space, records and members are sound; \
                       changed values, or a copy made while a server was writing, would go unnoticed"
            .to_owned(),
    })
}

/// The command line that starts the member.
fn start(plan: &Plan, options: &Options) -> Vec<String> {
    let mut words = vec!["etcd".to_owned()];
    let mut flag = |name: &str, value: &str| words.extend([name.to_owned(), value.to_owned()]);
    let peers = plan.own.peer_urls.join(",");
    flag("--name", &plan.own.name);
    flag("--data-dir", &plan.data_dir.display().to_string());
    if let Some(wal_dir) = &plan.wal_dir {
        flag("--wal-dir", &wal_dir.display().to_string());
    }
    flag("--initial-advertise-peer-urls", &peers);
    flag("--listen-peer-urls", &peers);
    flag("--listen-client-urls", "http://localhost:2379");
    flag("--advertise-client-urls", "http://localhost:2379");
    flag("--initial-cluster", &options.initial_cluster);
    flag("--initial-cluster-token", &options.initial_cluster_token);
    words
}

/// A word as a shell takes it.
fn quoted(word: &str) -> String {
    let plain = |byte: u8| byte.is_ascii_alphanumeric() || b"-_./:=,@%+".contains(&byte);
    if !word.is_empty() && word.bytes().all(plain) {
        word.to_owned()
    } else {
        format!("'{}'", word.replace('\'', r"'\''"))
    }
}

/// The report.
pub fn render(format: Format, done: &Done) -> Result<String> {
    let plan = &done.plan;
    let data_dir = plan.data_dir.display().to_string();
    let wal_dir = plan.wal_dir.clone().unwrap_or_else(|| plan.data_dir.join("member").join("wal"));
    let start = done.start.iter().map(|word| quoted(word)).collect::<Vec<_>>().join(" ");
    let rows = [
        ("Data dir", escape(&data_dir)),
        ("WAL dir", escape(&wal_dir.display().to_string())),
        ("Name", escape(&plan.own.name)),
        ("Member id", plan.own.id.to_string()),
        ("Cluster id", plan.cluster.id.to_string()),
        ("Revision", done.restored.revision.to_string()),
        ("Verified", done.verified.clone()),
        ("Start", escape(&start)),
    ];
    Ok(match format {
        Format::Json => output::json(&Json {
            data_dir,
            wal_dir: wal_dir.display().to_string(),
            name: &plan.own.name,
            member_id: plan.own.id.to_string(),
            cluster_id: plan.cluster.id.to_string(),
            members: plan
                .cluster
                .members
                .iter()
                .map(|member| MemberJson {
                    id: member.id.to_string(),
                    name: &member.name,
                    peer_urls: &member.peer_urls,
                })
                .collect(),
            revision: done.restored.revision,
            verified: &done.verified,
            findings: done.findings.iter().map(FindingJson::from).collect(),
            start: done.start.clone(),
        })?,
        Format::Fields => output::fields(&rows),
        Format::Table => {
            let mut table = Table::new(&["FIELD", "VALUE"]).left();
            rows.into_iter().for_each(|(name, value)| table.row(vec![name.to_owned(), value]));
            table.render()
        }
        Format::Simple => {
            let mut text = format!(
                "restored member {} ({}) of cluster {} to {} at revision {}\nverified: {}\n",
                escape(&plan.own.name),
                plan.own.id,
                plan.cluster.id,
                escape(&data_dir),
                done.restored.revision,
                done.verified
            );
            for finding in &done.findings {
                text += &format!("{}: {}\n", finding.severity, escape(&finding.message));
            }
            text + &format!("start it with:\n  {}\n", escape(&start))
        }
    })
}
