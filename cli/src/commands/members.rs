//! `members`: what the database says of the cluster.

use anyhow::Result;
use etcdsnap_engine::{
    ids::MemberId,
    jobs::members::{Member, Members, members},
};

use super::{Context, say_findings};
use crate::{
    args::{Format, Input},
    exit::Answer,
    input,
    output::{self, Table, escape},
};

/// Shows members, removed members and raft's conf state.
pub fn run(context: &Context, args: &Input) -> Result<Answer> {
    let reading = input::options(context, &args.path, &args.reading)?;
    let answered = context.told(members(&args.path, &reading, &context.ui)?);
    let exit = say_findings(&answered.answer.findings);
    let listed = &answered.answer.members;
    if context.global.format != Format::Json {
        beside(&answered.answer).iter().for_each(|line| context.warn(line));
    }
    let text = match context.global.format {
        Format::Simple => listed.iter().map(|member| cells(member).join(", ") + "\n").collect(),
        Format::Table => {
            let mut table =
                Table::new(&["ID", "STATUS", "NAME", "PEER ADDRS", "CLIENT ADDRS", "IS LEARNER"]);
            listed.iter().for_each(|member| table.row(cells(member)));
            table.render()
        }
        Format::Fields => listed.iter().map(fields).collect(),
        Format::Json => output::json(&answered)?,
    };
    Ok(Answer::new(text, exit))
}

fn cells(member: &Member) -> Vec<String> {
    vec![
        member.id.to_string(),
        // What etcdctl says of a member that has not published its name yet.
        if member.name.is_empty() { "unstarted" } else { "started" }.to_owned(),
        escape(&member.name),
        escape(&member.peer_urls.join(",")),
        escape(&member.client_urls.join(",")),
        member.is_learner.to_string(),
    ]
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
fn beside(members: &Members) -> Vec<String> {
    let mut lines = Vec::new();
    if !members.removed.is_empty() {
        lines.push(format!("note: removed members: {}", list(&members.removed)));
    }
    if let Some(conf) = &members.conf_state {
        let (voters, learners) = (list(&conf.voters), list(&conf.learners));
        lines.push(format!("note: raft conf state: voters {voters}; learners {learners}"));
    }
    lines
}

fn list(ids: &[MemberId]) -> String {
    match ids {
        [] => "none".to_owned(),
        ids => ids.iter().map(ToString::to_string).collect::<Vec<_>>().join(" "),
    }
}
