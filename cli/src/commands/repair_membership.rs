//! `repair-membership`: a data dir whose db lists the members that raft has.

use std::path::Path;

use anyhow::Result;
use etcdsnap_engine::mend::membership::{Change, Plan};
use serde::Serialize;

use super::{Context, target::new_directory};
use crate::{
    args::{Format, RepairMembership},
    exit::{Answer, Exit},
    input::access,
    output::{self, Table, escape},
};

#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
struct Json {
    dry_run: bool,
    path: String,
    changes: Vec<ChangeJson>,
}

#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
struct ChangeJson {
    member_id: String,
    change: &'static str,
}

/// Compares, writes unless nothing is wrong or it is a dry run, and says what was wrong.
pub fn run(context: &Context, args: &RepairMembership) -> Result<Answer> {
    let sources = [Some(args.path.as_path()), args.reading.wal_dir.as_deref()];
    let sources: Vec<&Path> = sources.into_iter().flatten().collect();
    let out = new_directory(context, &sources, &args.out)?;
    let options = args.reading.options(access(context)?);
    let plan = Plan::new(&args.path, &options, &context.ui)?;
    let changes: Vec<ChangeJson> = plan.changes().iter().map(json).collect();
    let write = !args.dry_run && !changes.is_empty();
    if write {
        plan.write(&out)?;
    }
    let path = args.out.display().to_string();
    let text = match context.global.format {
        Format::Json => output::json(&Json { dry_run: args.dry_run, path, changes })?,
        Format::Table => {
            let mut table = Table::new(&["MEMBER ID", "CHANGE"]).left();
            for change in &changes {
                table.row(vec![change.member_id.clone(), change.change.to_owned()]);
            }
            table.render()
        }
        Format::Fields => changes
            .iter()
            .map(|change| {
                output::fields(&[
                    ("MemberID", change.member_id.clone()),
                    ("Change", change.change.to_owned()),
                ])
            })
            .collect(),
        Format::Simple => {
            let mut text = String::new();
            for change in &changes {
                text += &format!("member {}: {}\n", change.member_id, sentence(change.change));
            }
            text + &match (changes.is_empty(), write) {
                (true, _) => "the db lists the members that raft has; nothing was written\n".into(),
                (false, true) => format!("mended data dir at {}\n", escape(&path)),
                (false, false) => "nothing was written: this was a dry run\n".into(),
            }
        }
    };
    Ok(Answer::new(text, Exit::Sound))
}

fn json(change: &Change) -> ChangeJson {
    let (id, change) = match change {
        Change::Votes(id) => (id, "voter"),
        Change::Learns(id) => (id, "learner"),
        Change::Removed(id) => (id, "removed"),
    };
    ChangeJson { member_id: id.to_string(), change }
}

fn sentence(change: &str) -> &'static str {
    match change {
        "voter" => "the db said that it is a learner, raft says that it votes",
        "learner" => "the db said that it votes, raft says that it is a learner",
        _ => "the db listed it, raft does not know it; it is left out",
    }
}
