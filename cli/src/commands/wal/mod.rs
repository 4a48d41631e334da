//! `wal`: the records of a member's log.

mod open;
mod request;
mod shown;

use anyhow::{Result, anyhow};
use etcdsnap_engine::wal::{At, Behind, Log, LogEnd, LoggedEntry, Record, Segment, Stretch};
use rayon::prelude::*;
use serde_json::json;

use super::Context;
use crate::{
    args::{Format, Wal},
    exit::{Answer, Exit, say},
    output::{Spool, for_terminal},
};
use open::Opened;
use shown::{TYPES, line, shown};

/// Records that are made into lines side by side, and bytes of them, as the lines are held until they are written.
const BATCH: (usize, usize) = (1024, 4 << 20);

/// Lists the records one after the other. Those behind damage follow it, marked.
pub fn run(context: &Context, args: &Wal) -> Result<Answer> {
    if let Some(unknown) = args.types.iter().find(|name| !TYPES.contains(&name.as_str())) {
        return Err(anyhow!(
            "--type {unknown}: there is no such type; there are: {}",
            TYPES.join(" ")
        ));
    }
    let opened = Opened::new(context, args)?;
    let segments = opened.segments();
    let log = Log::read(&segments);
    if !log.is_some()
        && let Some(why) = opened.not_a_log()
    {
        opened.check()?;
        return Err(anyhow!("{}: {why}", args.path.display()));
    }
    let lister = Lister { context, args, segments: &segments, newest: log.effective() };
    let mut spool = Spool::default();
    let exit = lister.list(&log, &mut spool)?;
    // Nothing is said of files that did not hold still.
    opened.check()?;
    if opened.is_alone() {
        context.warn(&format!("a log without a db: {}", log.summary()));
    }
    if let LogEnd::Damaged(at, damage) = &log.end {
        say(&for_terminal(format!("damage: {at}: {damage}; {}", damage.servers()).as_bytes()));
    } else if !log.is_some() {
        say("damage: the log holds no record");
        return Ok(Answer::new("", Exit::Damage));
    }
    Ok(Answer::long(spool, exit))
}

struct Lister<'a> {
    context: &'a Context,
    args: &'a Wal,
    segments: &'a [Segment<'a>],
    /// The last entry of each index, in order. Every other entry of that index, or of one that is not here, is
    /// overridden.
    newest: Vec<LoggedEntry<'a>>,
}

impl<'a> Lister<'a> {
    fn list(&self, log: &Log<'a>, spool: &mut Spool) -> Result<Exit> {
        for stretch in &log.stretches {
            self.stretch(stretch, false, spool)?;
        }
        let behind = log.behind.as_ref();
        let exit = match &log.end {
            LogEnd::Clean(_) => Exit::Sound,
            LogEnd::Torn(at) => {
                let what = "a record was cut short by a crash; a server cuts the segment here when it starts";
                let detail = match behind {
                    Some(behind) => format!("{what}; {}", follow(behind)),
                    None => what.to_owned(),
                };
                self.mark("torn", *at, &detail, spool)?;
                Exit::Sound
            }
            LogEnd::Damaged(at, damage) => {
                // People read what is wrong on stderr.
                let detail = match (self.context.global.format, behind) {
                    (Format::Json, _) => damage.to_string(),
                    (_, Some(behind)) => format!("the log is damaged here; {}", follow(behind)),
                    (_, None) => "the log is damaged here".to_owned(),
                };
                self.mark("damage", *at, &detail, spool)?;
                Exit::Damage
            }
        };
        let Some(behind) = behind else { return Ok(exit) };
        let mut gaps = behind.gaps.iter().enumerate().peekable();
        for (at, stretch) in behind.stretches.iter().enumerate() {
            while let Some((number, gap)) = gaps.next_if(|(_, gap)| gap.stretches_before <= at) {
                if number > 0 {
                    let detail = match gap.lost {
                        Some(0) => "no entry is lost here".to_owned(),
                        Some(1) => "1 entry is lost here".to_owned(),
                        Some(lost) => format!("{lost} entries are lost here"),
                        None => "entries may be lost here".to_owned(),
                    };
                    self.mark("gap", gap.from, &detail, spool)?;
                }
            }
            self.stretch(stretch, true, spool)?;
        }
        Ok(exit)
    }

    /// Lists the records of a stretch.
    fn stretch(&self, stretch: &Stretch<'a>, behind: bool, spool: &mut Spool) -> Result<()> {
        let mut records = stretch.records(self.segments);
        loop {
            let batch = batch(&mut records);
            if batch.is_empty() {
                return Ok(());
            }
            let texts: Vec<String> = batch
                .par_chunks(BATCH.0 / 16)
                .map(|records| {
                    let mut text = String::new();
                    let mut render =
                        |record| self.render(stretch.segment, record, behind, &mut text);
                    records.iter().for_each(&mut render);
                    text
                })
                .collect();
            texts.iter().try_for_each(|text| spool.push(text.as_bytes()))?;
        }
    }

    fn render(&self, number: u32, record: &Record<'_>, behind: bool, text: &mut String) {
        let segment = usize::try_from(number).ok().and_then(|at| self.segments.get(at));
        let Some(segment) = segment else { return };
        // What cannot be decoded is where a stretch ends.
        let Ok(Some(shown)) = shown(self.args, segment.name, record) else { return };
        let is_newest = |index: u64| {
            let found = self.newest.binary_search_by_key(&index, |logged| logged.entry.index);
            found
                .ok()
                .and_then(|at| self.newest.get(at))
                .is_some_and(|newest| (newest.segment, newest.offset) == (number, record.offset))
        };
        let overridden = shown.entry().is_some_and(|index| !is_newest(index));
        line(self.context.global.format, &shown.placed(overridden, behind), text);
    }

    /// A place that is no record.
    fn mark(&self, kind: &str, at: At, detail: &str, spool: &mut Spool) -> Result<()> {
        let At { segment, offset } = at;
        let text = match self.context.global.format {
            Format::Json => {
                json!({"segment": segment.to_string(), "offset": offset, "type": kind, "detail": detail})
                    .to_string()
            }
            _ => format!("{segment}+{offset:#x} {kind}: {detail}"),
        };
        spool.push(format!("{text}\n").as_bytes())
    }
}

/// That records follow which no server reads.
fn follow(behind: &Behind<'_>) -> String {
    let facts = behind.facts();
    let records = if facts.records == 1 {
        "1 whole record".into()
    } else {
        format!("{} whole records", facts.records)
    };
    let entries = match facts.indexes {
        None => String::new(),
        Some((first, last)) if first == last => format!(" with entry {first}"),
        Some((first, last)) => format!(" with entries {first} to {last}"),
    };
    let verb = if facts.records == 1 { "stands" } else { "stand" };
    format!("{records}{entries} {verb} behind it")
}

fn batch<'a>(records: &mut impl Iterator<Item = Record<'a>>) -> Vec<Record<'a>> {
    let (mut batch, mut bytes) = (Vec::new(), 0);
    while batch.len() < BATCH.0 && bytes < BATCH.1 {
        let Some(record) = records.next() else { break };
        bytes += record.data.unwrap_or_default().len();
        batch.push(record);
    }
    batch
}
