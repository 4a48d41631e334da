//! `leases`: times to live, and what hangs on them.

use std::collections::BTreeMap;

use anyhow::Result;
use etcdsnap_engine::{
    mvcc::{KeySpace, View},
    pb::leasepb::Lease,
    schema::{Store, small},
};
use serde::Serialize;

use super::{Context, sound};
use crate::{
    args::{Format, Input},
    exit::{Answer, Exit, say},
    input::ask,
    output::{self, KeyJson, Table},
};

#[derive(Serialize)]
struct Json {
    leases: Vec<LeaseJson>,
}

#[derive(Serialize)]
struct LeaseJson {
    /// Lower-case hex.
    id: String,
    ttl: i64,
    #[serde(rename = "remainingTTL")]
    remaining_ttl: i64,
    keys: Vec<KeyJson>,
}

/// Lists the leases by id.
pub fn run(context: &Context, args: &Input) -> Result<Answer> {
    let (listed, attached) = ask(context, &args.path, &args.reading, |input| {
        let store = Store::new(sound(context, input)?);
        let view = View::at(&KeySpace::open(&store)?, None, &context.ui)?;
        let mut attached: BTreeMap<i64, Vec<Vec<u8>>> = BTreeMap::new();
        for key in view.keys(b"") {
            if let Some(record) = view.get(key)?
                && record.kv.lease != 0
            {
                attached.entry(record.kv.lease).or_default().push(key.to_vec());
            }
        }
        Ok((small::leases(&store)?, attached))
    })?;
    listed.findings.iter().for_each(|finding| say(&output::finding(finding)));
    let keys = |lease: &Lease| attached.get(&lease.id).map_or(&[][..], Vec::as_slice);
    let id = |lease: &Lease| format!("{:x}", lease.id);
    let text = match context.global.format {
        Format::Simple => listed
            .records
            .iter()
            .map(|lease| {
                let remaining = match lease.remaining_ttl {
                    0 => String::new(),
                    seconds => format!(", remaining({seconds}s)"),
                };
                format!(
                    "lease {:016x} granted with TTL({}s){remaining}, attached keys({})\n",
                    lease.id,
                    lease.ttl,
                    keys(lease).len()
                )
            })
            .collect(),
        Format::Table => {
            let mut table = Table::new(&["ID", "TTL", "REMAINING TTL", "KEYS"]);
            for lease in &listed.records {
                table.row(vec![
                    id(lease),
                    lease.ttl.to_string(),
                    lease.remaining_ttl.to_string(),
                    keys(lease).len().to_string(),
                ]);
            }
            table.render()
        }
        Format::Fields => listed
            .records
            .iter()
            .map(|lease| {
                output::fields(&[
                    ("ID", lease.id.to_string()),
                    ("TTL", lease.ttl.to_string()),
                    ("RemainingTTL", lease.remaining_ttl.to_string()),
                    ("Keys", keys(lease).len().to_string()),
                ]) + "\n"
            })
            .collect(),
        Format::Json => output::json_of_state(
            &Json {
                leases: listed
                    .records
                    .iter()
                    .map(|lease| LeaseJson {
                        id: id(lease),
                        ttl: lease.ttl,
                        remaining_ttl: lease.remaining_ttl,
                        keys: keys(lease).iter().map(|key| KeyJson::new(key)).collect(),
                    })
                    .collect(),
            },
            context.committed(),
        )?,
    };
    let exit = if listed.findings.is_empty() { Exit::Sound } else { Exit::Damage };
    Ok(Answer::new(text, exit))
}
