//! `hashkv`: etcd's HashKV.

use anyhow::{Result, anyhow};
use etcdsnap_engine::{
    mvcc::{KeySpace, hash_kv},
    schema::Store,
};
use serde::Serialize;

use super::{Context, sound};
use crate::{
    args::{Format, HashKv},
    exit::Answer,
    input::ask,
    output::{self, Table},
};

#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
struct Json {
    hash: u32,
    hash_revision: i64,
    compact_revision: i64,
}

/// Computes it on a sound page tree; damage is refused.
pub fn run(context: &Context, args: &HashKv) -> Result<Answer> {
    if args.rev < 0 {
        return Err(anyhow!("--rev {}: a revision is not negative", args.rev));
    }
    let hash = ask(context, &args.input.path, &args.input.reading, |input| {
        let db = sound(context, input)?;
        let space = KeySpace::open(&Store::new(db))?;
        Ok(hash_kv(&space, Some(args.rev), &context.ui)?)
    })?;
    let (value, revision) = (hash.hash.to_string(), hash.revision.to_string());
    let compact = hash.compact_revision.to_string();
    let text = match context.global.format {
        Format::Simple => format!("{value}, {revision}, {compact}\n"),
        Format::Table => {
            let mut table = Table::new(&["HASH", "HASH REVISION", "COMPACT REVISION"]);
            table.row(vec![value, revision, compact]);
            table.render()
        }
        Format::Fields => output::fields(&[
            ("Hash", value),
            ("Hash revision", revision),
            ("Compact revision", compact),
        ]),
        Format::Json => output::json_of_state(
            &Json {
                hash: hash.hash,
                hash_revision: hash.revision,
                compact_revision: hash.compact_revision,
            },
            context.committed(),
        )?,
    };
    Ok(Answer::sound(text))
}
