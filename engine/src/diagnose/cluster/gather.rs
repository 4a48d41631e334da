//! From opened paths to facts, and from facts to the answer.

use std::{
    path::{Path, PathBuf},
    time::UNIX_EPOCH,
};

use super::{
    Alone, Answer, Contents, Differing, Facts, FileStanding, Gathered, Held, LogFacts, StateFacts,
    Survey, judge,
};
use crate::{
    bolt,
    datadir::{self, MemberFiles},
    diagnose::{AgainstError, Diagnosis, Evidence, Verdict, Way, against_log, compare, diagnose},
    ids::{ClusterId, MemberId},
    limits::Limits,
    member::{self, DbState, Opened, Options},
    mvcc::{Error, KeySpace},
    pb::etcdserverpb::AlarmType,
    progress::Progress,
    replay::{Base, Line, membership::proven},
    schema::{
        MetaRecords, Store,
        members::{Member, members},
        small,
    },
    snapshot::{Verification, verify},
};

/// An opened path, and what is known of it.
#[derive(Debug)]
pub struct Examined {
    /// `None` where the path could not be opened.
    pub opened: Option<Opened>,
    /// What verification found in the state that is shown; `None` where it cannot be opened.
    pub verification: Option<Verification>,
    /// What is known of it.
    pub facts: Facts,
}

impl Examined {
    /// Examines what was opened at `path`, as `options` say, with every entry of its log.
    ///
    /// # Errors
    /// When the work was interrupted, or a page of a db that verification called sound is damaged.
    pub fn new(
        path: &Path,
        opened: Opened,
        options: &Options,
        progress: &dyn Progress,
    ) -> Result<Self, AgainstError> {
        let (facts, verification) = examine(path, &opened, options, progress)?;
        Ok(Self { opened: Some(opened), verification, facts })
    }

    /// A path that could not be opened, and why.
    pub fn unreadable(path: &Path, problem: String) -> Self {
        let facts = Facts {
            path: path.to_path_buf(),
            is_file: path.is_file(),
            member: None,
            cluster: None,
            log: None,
            state: None,
            judged: Err(problem),
            starts: None,
            running: false,
            modified: None,
        };
        Self { opened: None, verification: None, facts }
    }
}

/// Judges several paths. `reopen` opens the path at a place again with the entries up to a raft index.
///
/// # Errors
/// When a page of a db that verification called sound is damaged, and what `reopen` says.
pub fn answer<E: From<AgainstError>>(
    examined: &[Examined],
    mut reopen: impl FnMut(usize, u64) -> Result<Opened, E>,
    progress: &dyn Progress,
) -> Result<Answer, E> {
    let failed = |error: Error| E::from(AgainstError::KeySpace(error));
    let moved = |error: member::Error| E::from(AgainstError::Open(error));
    let facts: Vec<Facts> = examined.iter().map(|one| one.facts.clone()).collect();
    let mut survey = Survey::new(&facts);
    let mut compared = Vec::new();
    for comparable in survey.comparable(&facts) {
        let again = comparable.to.map(|to| reopen(comparable.place, to)).transpose()?;
        compared.push((comparable.place, again));
    }
    let mut spaces = Vec::new();
    for (place, again) in &compared {
        let opened = again.as_ref().or_else(|| opened(examined, *place));
        if let Some(space) = opened.map(space).transpose().map_err(failed)?.flatten() {
            spaces.push((*place, space));
        }
    }
    let contents = Contents::compare(&spaces, progress).map_err(failed)?;
    compared
        .iter()
        .filter_map(|(_, again)| again.as_ref())
        .try_for_each(Opened::check)
        .map_err(moved)?;
    survey.settle(&facts, &contents);
    let files = files(examined, &mut survey, progress).map_err(failed)?;
    let held = |alone: Alone| {
        let raft = opened(examined, alone.place)?.raft_files()?;
        Some((alone, Held::in_log(&raft.log(), alone.from, alone.to)))
    };
    let alone: Vec<(Alone, Held)> = survey.alone(&facts).into_iter().filter_map(held).collect();
    Ok(judge(&Gathered {
        facts: &facts,
        survey: &survey,
        contents: &contents,
        alone: &alone,
        files: &files,
    }))
}

fn opened(examined: &[Examined], place: usize) -> Option<&Opened> {
    examined.get(place)?.opened.as_ref()
}

fn space(opened: &Opened) -> Result<Option<KeySpace<'_>>, Error> {
    let Ok(db) = opened.database() else { return Ok(None) };
    KeySpace::open(&Store::new(db)).map(Some)
}

fn examine(
    path: &Path,
    opened: &Opened,
    options: &Options,
    progress: &dyn Progress,
) -> Result<(Facts, Option<Verification>), AgainstError> {
    let damaged = |error: bolt::Error| AgainstError::KeySpace(error.into());
    let store = opened.database().ok().map(Store::new);
    let verification = match store {
        Some(_) => Some(verify(&opened.image(), Limits::default(), progress).map_err(damaged)?),
        None => None,
    };
    let files = opened.files();
    let running = files.and_then(datadir::is_running);
    let judged = match (files, &verification) {
        (Some(_), _) => {
            let received = opened.received(options.access, progress)?;
            let against = against_log(opened, options, progress)?;
            diagnose(&Evidence {
                opened,
                verification: verification.as_ref(),
                store: store.as_ref(),
                running,
                against: against.as_ref(),
                received: &received,
            })
            .map_err(damaged)?
        }
        (None, Some(verification)) => {
            let sound = verification.is_sound();
            let verdict = if sound { Verdict::Recoverable } else { Verdict::SalvageOnly };
            let ways = if sound { vec![Way::Plain] } else { Vec::new() };
            Diagnosis { verdict, findings: verification.findings.clone(), ways }
        }
        (None, None) => {
            Diagnosis { verdict: Verdict::SalvageOnly, findings: Vec::new(), ways: Vec::new() }
        }
    };
    let metadata = opened.wal().and_then(|wal| wal.metadata);
    let consistent_index = opened.report().map_or(0, |report| report.consistent_index);
    let log = opened.raft_files().filter(|_| metadata.is_some()).map(|raft| {
        let mut log = LogFacts::of(&raft.log(), &raft.snapfiles(), consistent_index);
        // Where the log does not meet a sound db, one of both is not what the member wrote.
        let meets = opened.not_replayed().is_none() || opened.db_state() != Some(DbState::Sound);
        log.whole &= meets;
        log.restored = opened.wal().and_then(|wal| wal.restored);
        log
    });
    let keys = verification.as_ref().and_then(|found| found.live_keys);
    let state = match &store {
        Some(store) if judged.verdict < Verdict::SalvageOnly => Some(state(store, opened, keys)?),
        _ => None,
    };
    let starts =
        if judged.verdict <= Verdict::Recoverable { starts(opened, &judged.ways) } else { None };
    let facts = Facts {
        starts,
        path: path.to_path_buf(),
        is_file: files.is_none(),
        member: metadata.map(|metadata| MemberId(metadata.node_id())),
        cluster: metadata.map(|metadata| ClusterId(metadata.cluster_id())),
        log,
        state,
        judged: Ok(judged),
        running: running == Some(true),
        modified: files.and_then(modified),
    };
    Ok((facts, verification))
}

fn state(store: &Store<'_>, opened: &Opened, keys: Option<u64>) -> Result<StateFacts, Error> {
    let space = KeySpace::open(store)?;
    let (meta, _) = MetaRecords::read(store)?;
    let applied = match opened.report() {
        Some(report) => Some(report.applied_to()),
        None => meta.consistent_index,
    };
    let alarms = small::alarms(store)?.records;
    let committed = opened.committed();
    Ok(StateFacts {
        applied: applied.filter(|_| opened.files().is_some()),
        revision: space.current_revision(),
        revision_committed: committed.revision_committed,
        entries_uncommitted: committed.entries_uncommitted,
        compact_revision: space.compact_revision(),
        keys,
        members: listed(store, opened)?,
        nospace: alarms.iter().any(|alarm| alarm.alarm() == AlarmType::Nospace),
    })
}

/// Names and URLs of the members: as the log proves them, or as the db lists them.
fn listed(store: &Store<'_>, opened: &Opened) -> Result<Vec<Member>, bolt::Error> {
    let by_log = opened
        .report()
        .zip(opened.raft_files())
        .and_then(|(report, raft)| proven(&raft.log(), &raft.snapfiles(), report.applied_to()));
    let by_db = members(store)?.records;
    let Some(mut listed) = by_log else { return Ok(by_db) };
    // A name and client URLs reach the log only once a member publishes itself.
    for member in &mut listed {
        let Some(known) = by_db.iter().find(|known| known.id == member.id) else { continue };
        if member.name.is_empty() {
            member.name.clone_from(&known.name);
        }
        if member.client_urls.is_empty() {
            member.client_urls.clone_from(&known.client_urls);
        }
    }
    Ok(listed)
}

/// What is to be moved away before a server starts on the member's files; `None` where none does.
///
/// A server makes a db anew where there is none, and applies its log from the snapshot it starts from. Up to 3.6 that
/// is a snapfile; 3.7 takes it from the log, so that nothing helps there.
fn starts(opened: &Opened, ways: &[Way]) -> Option<Vec<PathBuf>> {
    let files = opened.files()?;
    let report = opened.report()?;
    let rebuilt = report.base == Base::Empty || ways.first() == Some(&Way::FromWal);
    let mut aside: Vec<PathBuf> = opened.strangers().to_vec();
    if rebuilt && opened.db_state() != Some(DbState::Missing) {
        aside.push(files.db.clone());
    }
    let reached = if rebuilt { 0 } else { report.consistent_index };
    let refused = report.refused_at.is_some();
    if report.line >= Line::V3_7 {
        let log = opened.raft_files()?.log();
        let marked = log.valid_snapshots().any(|mark| mark.index() > reached);
        return if refused || rebuilt && marked { None } else { Some(aside) };
    }
    if refused || rebuilt {
        let ahead = files.snapfiles.iter().filter(|(name, _)| name.index > reached);
        let known = aside.len();
        aside.extend(ahead.map(|(_, path)| path.clone()));
        if refused && aside.len() == known {
            return None;
        }
    }
    Some(aside)
}

/// When a member's files were last written, in seconds since 1970.
fn modified(files: &MemberFiles) -> Option<u64> {
    let segments = files.segments.iter().map(|(_, path)| path);
    let written = |path: &PathBuf| path.metadata().ok()?.modified().ok();
    let newest = segments.chain([&files.db]).filter_map(written).max()?;
    Some(newest.duration_since(UNIX_EPOCH).ok()?.as_secs())
}

/// Says what snapshot files hold beside the chosen state; chooses the newest where no member's dir can be used.
fn files(
    examined: &[Examined],
    survey: &mut Survey,
    progress: &dyn Progress,
) -> Result<Vec<FileStanding>, Error> {
    let revision = |place: &usize| {
        let facts = &examined.get(*place)?.facts;
        facts.usable().filter(|_| facts.is_file).map(|state| state.revision)
    };
    if survey.takes_file() {
        let usable = (0..examined.len()).filter(|place| revision(place).is_some());
        survey.chosen = usable.rev().max_by_key(revision);
    }
    let Some(chosen) = survey.chosen else { return Ok(Vec::new()) };
    let mut standings = Vec::new();
    for (place, one) in examined.iter().enumerate() {
        if place == chosen || !one.facts.is_file || one.facts.usable().is_none() {
            continue;
        }
        let file = opened(examined, place).map(space).transpose()?.flatten();
        let state = opened(examined, chosen).map(space).transpose()?.flatten();
        let (Some(file), Some(state)) = (file, state) else { continue };
        let (own, other) = (file.current_revision(), state.current_revision());
        let ahead = (own > other).then(|| Held::behind(&file, other)).transpose()?;
        let behind = (other > own).then(|| Held::behind(&state, own)).transpose()?;
        let differing = compare(&state, &file, progress)?.map(|difference| Differing {
            one: chosen,
            other: place,
            difference,
        });
        standings.push(FileStanding { place, ahead, behind, differing });
    }
    Ok(standings)
}
