//! `doctor`: one verdict, and the next command.

mod render;

use std::path::Path;

use anyhow::{Result, anyhow};
use etcdsnap_engine::{
    diagnose::cluster::{Again, Examined, answer},
    member,
};

use super::Context;
use crate::{
    args::{self, Reading},
    exit::{Answer, Exit, sentence},
    input::{Input, access, open},
};

/// Opens what was named, asks the engine, and makes sure that everything held still.
pub fn run(context: &Context, args: &args::Doctor) -> Result<Answer> {
    if args.paths.len() > 1 && args.wal_dir.is_some() {
        return Err(anyhow!("--wal-dir is for one member; there are {}", args.paths.len()));
    }
    let reading = Reading { wal_dir: args.wal_dir.clone(), ..Reading::default() };
    let options = reading.options(access(context)?);
    let mut examined = Vec::new();
    let mut errors = Vec::new();
    for path in &args.paths {
        match open_database(context, path, &reading) {
            Ok(input) => {
                let opened = input.into_opened();
                examined.push(Examined::new(path, opened, &options, &context.ui)?);
            }
            Err(error) => {
                examined.push(Examined::unreadable(path, sentence(&error)));
                errors.push(error);
            }
        }
    }
    if errors.len() == args.paths.len() {
        let last = errors.pop().unwrap_or_else(|| anyhow!("no path was named"));
        errors.iter().for_each(|error| context.warn(&format!("error: {}", sentence(error))));
        return Err(last);
    }
    let reopen = |again: &Again| -> Result<member::Opened> {
        let path = args.paths.get(again.place).ok_or_else(|| anyhow!("no such path"))?;
        let mut reading = reading.clone();
        reading.until.to = again.to;
        reading.wal_dir = again.wal_dir.clone().or(reading.wal_dir);
        Ok(open(context, path, &reading)?.into_opened())
    };
    let judged = answer(&examined, reopen, &context.ui)?;
    for opened in examined.into_iter().filter_map(|one| one.opened) {
        Input::from(opened).settle()?;
    }
    let text = render::render(context.global.format, &judged)?;
    Ok(Answer::new(text, if judged.sound { Exit::Sound } else { Exit::Damage }))
}

/// Opens a path; a file must be a database.
fn open_database(context: &Context, path: &Path, reading: &Reading) -> Result<Input> {
    let reading = if path.is_file() { Reading::default() } else { reading.clone() };
    let input = open(context, path, &reading)?;
    if input.files().is_none() {
        input.file_db()?;
    }
    Ok(input)
}
