//! `hashkv`: etcd's HashKV.

use anyhow::Result;
use etcdsnap_engine::jobs::hashkv;

use super::Context;
use crate::{
    args::{Format, HashKv},
    exit::Answer,
    input,
    output::{self, Table},
};

/// Computes it on a sound page tree; damage is refused.
pub fn run(context: &Context, args: &HashKv) -> Result<Answer> {
    let path = &args.input.path;
    let mut options = hashkv::Options::default();
    options.reading = input::options(context, path, &args.input.reading)?;
    options.revision = args.rev;
    let answered = context.told(hashkv::hashkv(path, &options, &context.ui)?);
    let hash = &answered.answer;
    let (value, revision) = (hash.hash.to_string(), hash.hash_revision.to_string());
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
        Format::Json => output::json(&answered)?,
    };
    Ok(Answer::sound(text))
}
