//! `members`: what the database says of the cluster.

use anyhow::Result;
use etcdsnap_engine::{
    finding::Finding,
    ids::MemberId,
    schema::{
        MetaRecords, Store,
        members::{Member, members, removed},
        meta::ConfState,
    },
};
use serde::Serialize;

use super::Context;
use crate::{
    args::{Format, Input},
    exit::{Answer, Exit, say},
    input::ask,
    output::{self, Table, escape},
};

#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
struct Json<'a> {
    members: Vec<MemberJson<'a>>,
    removed: Vec<String>,
    conf_state: Option<ConfStateJson>,
}

#[derive(Serialize)]
struct MemberJson<'a> {
    id: String,
    name: &'a str,
    #[serde(rename = "peerURLs")]
    peer_urls: &'a [String],
    #[serde(rename = "clientURLs")]
    client_urls: &'a [String],
    #[serde(rename = "isLearner")]
    is_learner: bool,
}

#[derive(Serialize)]
struct ConfStateJson {
    voters: Vec<String>,
    learners: Vec<String>,
}

struct Report {
    members: Vec<Member>,
    removed: Vec<MemberId>,
    conf_state: Option<ConfState>,
    findings: Vec<Finding>,
}

/// Shows members, removed members and raft's conf state.
pub fn run(context: &Context, args: &Input) -> Result<Answer> {
    let report = ask(context, &args.path, &args.reading, |input| {
        let store = Store::new(input.db()?);
        let (members, removed) = (members(&store)?, removed(&store)?);
        let (meta, _) = MetaRecords::read(&store)?;
        let mut findings = members.findings;
        findings.extend(removed.findings);
        Ok(Report {
            members: members.records,
            removed: removed.records,
            conf_state: meta.conf_state,
            findings,
        })
    })?;
    report.findings.iter().for_each(|finding| say(&output::finding(finding)));
    if context.global.format != Format::Json {
        beside(&report).iter().for_each(|line| context.warn(line));
    }
    let exit = if report.findings.is_empty() { Exit::Sound } else { Exit::Damage };
    Ok(Answer::new(render(context, &report)?, exit))
}

fn hex(ids: &[u64]) -> Vec<String> {
    ids.iter().map(|id| format!("{id:x}")).collect()
}

fn render(context: &Context, report: &Report) -> Result<String> {
    let conf = report.conf_state.as_ref();
    let conf_state =
        conf.map(|conf| ConfStateJson { voters: hex(&conf.voters), learners: hex(&conf.learners) });
    let removed: Vec<String> = report.removed.iter().map(ToString::to_string).collect();
    let cells = |member: &Member| {
        vec![
            member.id.to_string(),
            // What etcdctl says of a member that has not published its name yet.
            if member.name.is_empty() { "unstarted" } else { "started" }.to_owned(),
            escape(&member.name),
            escape(&member.peer_urls.join(",")),
            escape(&member.client_urls.join(",")),
            member.is_learner.to_string(),
        ]
    };
    Ok(match context.global.format {
        Format::Simple => {
            report.members.iter().map(|member| cells(member).join(", ") + "\n").collect()
        }
        Format::Table => {
            let mut table =
                Table::new(&["ID", "STATUS", "NAME", "PEER ADDRS", "CLIENT ADDRS", "IS LEARNER"]);
            report.members.iter().for_each(|member| table.row(cells(member)));
            table.render()
        }
        Format::Fields => report.members.iter().map(fields).collect(),
        Format::Json => output::json_of_state(
            &Json {
                members: report
                    .members
                    .iter()
                    .map(|member| MemberJson {
                        id: member.id.to_string(),
                        name: &member.name,
                        peer_urls: &member.peer_urls,
                        client_urls: &member.client_urls,
                        is_learner: member.is_learner,
                    })
                    .collect(),
                removed,
                conf_state,
            },
            context.committed(),
        )?,
    })
}

/// A member as `etcdctl member list -w fields` prints it: a line for each URL, an empty line behind.
fn fields(member: &Member) -> String {
    let quoted = |text: &String| format!("\"{}\"", escape(text));
    let mut pairs = vec![("ID", member.id.0.to_string()), ("Name", quoted(&member.name))];
    pairs.extend(member.peer_urls.iter().map(|url| ("PeerURL", quoted(url))));
    pairs.extend(member.client_urls.iter().map(|url| ("ClientURL", quoted(url))));
    pairs.push(("IsLearner", member.is_learner.to_string()));
    output::fields(&pairs) + "\n"
}

/// What etcdctl does not show: for people it goes to stderr.
fn beside(report: &Report) -> Vec<String> {
    let mut lines = Vec::new();
    if !report.removed.is_empty() {
        let removed: Vec<String> = report.removed.iter().map(ToString::to_string).collect();
        lines.push(format!("note: removed members: {}", removed.join(" ")));
    }
    if let Some(conf) = &report.conf_state {
        let (voters, learners) = (list(&hex(&conf.voters)), list(&hex(&conf.learners)));
        lines.push(format!("note: raft conf state: voters {voters}; learners {learners}"));
    }
    lines
}

fn list(ids: &[String]) -> String {
    if ids.is_empty() { "none".to_owned() } else { ids.join(" ") }
}
