//! `bench`: every job on a real file or one made up, beside etcdutl and bbolt where they are.

mod jobs;
mod limits;
mod machine;
mod measure;
mod server;

use std::{fs::OpenOptions, io::Read as _, os::unix::fs::OpenOptionsExt as _, path::Path};

use anyhow::{Context as _, Result, anyhow};
use etcdsnap_engine::{
    finding::counted,
    mvcc::KeySpace,
    schema::{Store, compacted},
    snapshot,
    staging::{Filesystem, Space, Stage},
    synthetic::Workload,
};
use serde::Serialize;

use self::{
    jobs::{Job, NAMES, Peers},
    limits::Limits,
    machine::Machine,
    measure::Measured,
    server::Server,
};
use super::{
    Context,
    target::{file_target, name_replaced},
};
use crate::{
    args::{Bench, Format, Reading},
    exit::{Answer, Exit, fail_code, say_error},
    input::open,
    output::{self, Table},
};

#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
struct Json {
    machine: Machine,
    rounds: usize,
    files: Vec<FileJson>,
    load_average_after: Vec<f64>,
}

/// What was measured on one file.
#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
struct FileJson {
    /// `null` for a file that was made up.
    path: Option<String>,
    bytes: u64,
    revision: i64,
    compact_revision: i64,
    jobs: Vec<JobJson>,
}

/// What a job cannot be faster than on this machine.
#[derive(Serialize)]
struct LimitJson {
    what: &'static str,
    /// Median.
    seconds: f64,
    /// How many times as long our job takes.
    ratio: f64,
}

#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
struct JobJson {
    name: &'static str,
    #[serde(flatten)]
    ours: FiguresJson,
    bytes_per_second: f64,
    #[serde(skip_serializing_if = "Option::is_none")]
    limit: Option<LimitJson>,
    peers: Vec<PeerJson>,
}

#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
struct FiguresJson {
    median_seconds: f64,
    seconds: Vec<f64>,
    rss_anon_bytes: u64,
}

#[derive(Serialize)]
struct PeerJson {
    who: String,
    command: String,
    #[serde(flatten)]
    figures: FiguresJson,
    /// How many times as long the peer takes.
    ratio: f64,
}

impl From<Measured> for FiguresJson {
    fn from(measured: Measured) -> Self {
        Self {
            median_seconds: measured.median(),
            rss_anon_bytes: measured.memory(),
            seconds: measured.seconds,
        }
    }
}

/// Measures, or only makes a file.
pub fn run(context: &Context, args: &Bench) -> Result<Answer> {
    if let Some(target) = &args.make {
        let size = args.size.first().copied().unwrap_or(DEFAULT_SIZE);
        let to = file_target(context, &[], target)?;
        let bytes = make(context, args, size, target)?;
        name_replaced(context, &to, false);
        let (shown, replaced) = (target.display().to_string(), to.replaces());
        return Ok(Answer::sound(match context.global.format {
            Format::Json => output::json(
                &serde_json::json!({"path": shown, "replaced": replaced, "bytes": bytes}),
            )?,
            _ => format!("made {} of {}\n", output::escape(&shown), output::bytes(bytes)),
        }));
    }
    let unknown = args.job.iter().find(|job| !NAMES.contains(&job.as_str()));
    if let Some(job) = unknown {
        return Err(anyhow!("no job {job}; there are {}", NAMES.join(", ")));
    }
    let root = args.dir.clone().unwrap_or_else(std::env::temp_dir);
    let work = tempfile::Builder::new()
        .prefix("etcdsnap-bench-")
        .tempdir_in(&root)
        .with_context(|| format!("work in {}", root.display()))?;
    let peers = Peers::on_path();
    for (name, peer) in peers.named() {
        if peer.is_none() {
            context.warn(&format!("note: {name} not on PATH: nothing is compared with it"));
        }
    }
    let named: Vec<&Path> = peers.named().into_iter().filter_map(|(_, path)| path).collect();
    let machine = Machine::here(work.path(), &named);
    let mut files = Vec::new();
    let mut failed = None;
    let sizes = if args.size.is_empty() { vec![DEFAULT_SIZE] } else { args.size.clone() };
    match &args.path {
        Some(path) => {
            let (file, error) = measure(context, args, &peers, path, work.path(), true)?;
            files.push(file);
            failed = error;
        }
        None => {
            for size in sizes {
                let input = work.path().join("input.db");
                make(context, args, size, &input)?;
                let (file, error) = measure(context, args, &peers, &input, work.path(), false)?;
                files.push(file);
                failed = error;
                if failed.is_some() {
                    break;
                }
            }
        }
    }
    // What was measured before a job failed took hours, perhaps: it is shown.
    if let Some(error) = &failed {
        say_error(error);
    }
    let exit = failed.as_ref().map_or(Exit::Sound, fail_code);
    let answer = Json {
        machine,
        rounds: args.rounds.into(),
        files,
        load_average_after: machine::load_average(),
    };
    let text = match context.global.format {
        Format::Json => output::json(&answer)?,
        _ => render(&answer),
    };
    Ok(Answer::new(text, exit))
}

/// Size of a file that is made up when nothing else is said.
const DEFAULT_SIZE: u64 = 2 << 30;

/// Makes a snapshot up; its length in bytes.
fn make(context: &Context, args: &Bench, size: u64, target: &Path) -> Result<u64> {
    Space::of([(&Filesystem::of(target), size)]).iter().try_for_each(Space::check)?;
    let workload = Workload::of_size(size, args.keys, args.value_size.0, args.seed);
    let stage = Stage::file(target)?;
    let at = || format!("write {}", stage.path().display());
    let file = OpenOptions::new().read(true).write(true).mode(0o600).open(stage.path());
    let (mut file, summary) =
        workload.write(file.with_context(at)?, &context.ui).with_context(at)?;
    let bytes =
        snapshot::append_digest(&mut file, summary.size_bytes, &context.ui).with_context(at)?;
    file.sync_all().with_context(at)?;
    drop(file);
    stage.commit()?;
    Ok(bytes)
}

/// Runs every job on `input`, ours and theirs in turn; the first in one round is the last in the next. A job that fails
/// ends it: what was measured before is given beside the error.
fn measure(
    context: &Context,
    args: &Bench,
    peers: &Peers,
    input: &Path,
    work: &Path,
    given: bool,
) -> Result<(FileJson, Option<anyhow::Error>)> {
    let (bytes, revision, compact_revision) = {
        let opened = open(context, input, &Reading { no_wal: true, ..Reading::default() })?;
        let db = opened.db()?;
        let space = KeySpace::open(&Store::new(db))?;
        (db.size_bytes(), space.last_record(), space.compact_revision())
    };
    if std::fs::metadata(input)?.is_dir() {
        return Err(anyhow!(
            "{}: name a snapshot or a db file; `save` makes one of a data dir",
            input.display()
        ));
    }
    let program = std::env::current_exe().context("find this program")?;
    let wanted = |name: &str| args.job.is_empty() || args.job.iter().any(|job| job == name);
    let bare = work.join("bare.db");
    // A copy of the input takes time and room; not every job needs one.
    let needed = ["hashkv", "diff", "save", "compact"].into_iter().any(wanted);
    let db = if needed { bare_db(input, bytes, &bare)? } else { input };
    let input = jobs::Input { given: input, db };
    let file_json = |jobs| FileJson {
        path: given.then(|| input.given.display().to_string()),
        bytes,
        revision,
        compact_revision,
        jobs,
    };
    let mut measured_jobs = Vec::new();
    for Job { name, ours, peers: mut others } in jobs::jobs(&program, peers, input, work) {
        if !wanted(name) {
            continue;
        }
        // It runs as long as it is measured: others would share the machine with it.
        let server =
            if name == jobs::SAVE { serve(context, &program, peers, input, work) } else { None };
        others.extend(server.iter().map(|(server, etcdctl)| jobs::live(etcdctl, server, work)));
        let mut limits = Limits::default();
        let contenders: Vec<_> = std::iter::once(ours).chain(others).collect();
        let mut figures = vec![Measured::default(); contenders.len()];
        let mut failed = None;
        'rounds: for round in 0..usize::from(args.rounds) {
            let mut order: Vec<usize> = (0..contenders.len()).collect();
            if round % 2 == 1 {
                order.reverse();
            }
            for index in order {
                if let (Some(contender), Some(figures)) =
                    (contenders.get(index), figures.get_mut(index))
                {
                    context.warn(&format!("round {}: {name} by {}", round + 1, contender.who));
                    failed = contender.run(&[input.given, input.db], figures).err();
                    if failed.is_some() {
                        break 'rounds;
                    }
                }
            }
            limits.measure(name, input, work)?;
        }
        if figures.iter().any(|figures| figures.seconds.is_empty()) {
            let Some(error) = failed else { continue };
            return Ok((file_json(measured_jobs), Some(error)));
        }
        let mut all = contenders.into_iter().zip(figures);
        let Some((_, ours)) = all.next() else { continue };
        let median = ours.median();
        let peers = all.map(|(contender, figures)| PeerJson {
            who: contender.who,
            command: subcommand(&contender.commands),
            ratio: figures.median() / median,
            figures: figures.into(),
        });
        measured_jobs.push(JobJson {
            name,
            bytes_per_second: bytes as f64 / median,
            limit: limits.of(name).map(|(what, seconds)| LimitJson {
                what,
                seconds,
                ratio: median / seconds,
            }),
            peers: peers.collect(),
            ours: ours.into(),
        });
        if failed.is_some() {
            return Ok((file_json(measured_jobs), failed));
        }
    }
    Ok((file_json(measured_jobs), None))
}

/// A server on `input`, and its etcdctl. Whoever measures ours need not have one that takes these data.
fn serve<'p>(
    context: &Context,
    program: &Path,
    peers: &'p Peers,
    input: jobs::Input<'_>,
    work: &Path,
) -> Option<(Server, &'p Path)> {
    let (etcd, etcdctl) = peers.server.as_ref()?;
    context.warn("a server is started on it");
    match Server::start(program, etcd, etcdctl, input.given, work) {
        Ok(server) => Some((server, etcdctl)),
        Err(error) => {
            context.warn(&format!("note: save is compared with nothing: {error:#}"));
            None
        }
    }
}

/// The database of the file at `input`, which takes `bytes` of it: the file itself, or a copy at `bare` without the digest.
fn bare_db<'p>(input: &'p Path, bytes: u64, bare: &'p Path) -> Result<&'p Path> {
    if std::fs::metadata(input)?.len() <= bytes {
        return Ok(input);
    }
    let mut source = std::fs::File::open(input)?.take(bytes);
    let mut copy = std::fs::File::create(bare)?;
    std::io::copy(&mut source, &mut copy).with_context(|| format!("copy {}", input.display()))?;
    Ok(bare)
}

/// The words of a peer's command that say what it does.
fn subcommand(commands: &[Vec<std::ffi::OsString>]) -> String {
    let words = commands.first().into_iter().flatten().skip(1);
    let plain = words
        .map(|word| word.to_string_lossy().into_owned())
        .take_while(|word| !word.starts_with('-') && !word.contains('/'));
    plain.collect::<Vec<_>>().join(" ")
}

fn render(answer: &Json) -> String {
    let mut text = answer.machine.lines();
    for file in &answer.files {
        text += &format!(
            "\n{} of {}, revision {}, {}; {}, medians\n",
            output::bytes(file.bytes),
            file.path.as_deref().map_or_else(|| "a file made up".to_owned(), output::escape),
            file.revision,
            compacted(file.compact_revision),
            counted(answer.rounds as u64, "round", "rounds"),
        );
        let mut table = Table::new(&[
            "JOB", "SECONDS", "BYTES/S", "RSSANON", "PEER", "SECONDS", "RSSANON", "RATIO",
        ]);
        for job in &file.jobs {
            let own = [
                job.name.to_owned(),
                format!("{:.3}", job.ours.median_seconds),
                format!("{}/s", output::bytes(job.bytes_per_second as u64)),
                output::bytes(job.ours.rss_anon_bytes),
            ];
            let rows = job.peers.iter().map(|peer| {
                [
                    format!("{} {}", peer.who, peer.command),
                    format!("{:.3}", peer.figures.median_seconds),
                    output::bytes(peer.figures.rss_anon_bytes),
                    format!("{:.1}", peer.ratio),
                ]
            });
            let limit = job.limit.iter().map(|limit| {
                let words = [format!("limit: {}", limit.what), format!("{:.3}", limit.seconds)];
                let [what, seconds] = words;
                [what, seconds, String::new(), format!("{:.2}", 1.0 / limit.ratio)]
            });
            let mut rows = rows.chain(limit);
            let first = rows.next().unwrap_or_default();
            table.row(own.into_iter().chain(first).collect());
            for row in rows {
                table.row([const { String::new() }; 4].into_iter().chain(row).collect());
            }
        }
        text += &table.render();
    }
    text + &growth(&answer.files)
}

/// How each job's time grows with the file, when there are several.
fn growth(files: &[FileJson]) -> String {
    if files.len() < 2 {
        return String::new();
    }
    let sizes: Vec<String> = files.iter().map(|file| output::bytes(file.bytes)).collect();
    let header: Vec<&str> =
        ["SECONDS A GB"].into_iter().chain(sizes.iter().map(String::as_str)).collect();
    let mut table = Table::new(&header);
    for name in NAMES {
        let seconds = |file: &FileJson| {
            let job = file.jobs.iter().find(|job| job.name == name)?;
            Some(format!("{:.3}", job.ours.median_seconds * 1e9 / file.bytes as f64))
        };
        let row: Option<Vec<String>> = files.iter().map(seconds).collect();
        if let Some(row) = row {
            table.row([name.to_owned()].into_iter().chain(row).collect());
        }
    }
    format!("\n{}", table.render())
}
