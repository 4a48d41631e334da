//! `leases`: times to live, and the keys that are attached to them.

use anyhow::Result;
use etcdsnap_engine::jobs::leases::{Lease, leases};

use super::{Context, say_findings};
use crate::{
    args::{Format, Input},
    exit::Answer,
    input,
    output::{self, Table},
};

/// Lists the leases by id.
pub fn run(context: &Context, args: &Input) -> Result<Answer> {
    let reading = input::options(context, &args.path, &args.reading)?;
    let answered = context.told(leases(&args.path, &reading, &context.ui)?);
    let exit = say_findings(&answered.answer.findings);
    let leases = &answered.answer.leases;
    let text = match context.global.format {
        Format::Simple => leases.iter().map(line).collect(),
        Format::Fields => leases.iter().map(|lease| fields(lease) + "\n").collect(),
        Format::Table => {
            let mut table = Table::new(&["ID", "TTL", "REMAINING TTL", "KEYS"]);
            leases.iter().for_each(|lease| {
                let id = format!("{:x}", lease.id);
                let numbers = [lease.ttl, lease.remaining_ttl, lease.keys.len() as i64];
                table.row([vec![id], numbers.map(|number| number.to_string()).to_vec()].concat());
            });
            table.render()
        }
        Format::Json => output::json(&answered)?,
    };
    Ok(Answer::new(text, exit))
}

/// As `etcdctl lease timetolive` prints it.
fn line(lease: &Lease) -> String {
    let remaining = match lease.remaining_ttl {
        0 => String::new(),
        seconds => format!(", remaining({seconds}s)"),
    };
    format!(
        "lease {:016x} granted with TTL({}s){remaining}, attached keys({})\n",
        lease.id,
        lease.ttl,
        lease.keys.len()
    )
}

fn fields(lease: &Lease) -> String {
    output::fields(&[
        ("ID", lease.id.to_string()),
        ("TTL", lease.ttl.to_string()),
        ("RemainingTTL", lease.remaining_ttl.to_string()),
        ("Keys", lease.keys.len().to_string()),
    ])
}
