//! From opened paths to facts, and from facts to the answer.

use std::{
    path::{Path, PathBuf},
    time::UNIX_EPOCH,
};

use super::{
    Again, Alone, Answer, Conf, Contents, Differing, Facts, FileStanding, Gathered, Held, LogFacts,
    Position, StateFacts, Survey, judge,
};
use crate::{
    bolt::{self, ReadError},
    datadir::{self, MemberFiles},
    diagnose::{
        AgainstError, Diagnosis, Evidence, Verdict, Way, against_log, compare, diagnose,
        member::advised,
    },
    ids::{ClusterId, MemberId},
    limits::Limits,
    member::{self, DbState, NotReplayed, Opened, Options},
    mvcc::{Error, KeySpace, View},
    pb::etcdserverpb::AlarmType,
    progress::Progress,
    replay::{Base, BootError, Line, membership::proven},
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
            wal_dir: None,
            stranger: false,
            state: None,
            judged: Err(problem),
            starts: None,
            running: false,
            modified: None,
        };
        Self { opened: None, verification: None, facts }
    }
}

/// Judges several paths. `reopen` opens one of them again in another way.
///
/// # Errors
/// When a page of a db that verification called sound is damaged, and what `reopen` says.
pub fn answer<E: From<AgainstError>>(
    examined: &[Examined],
    mut reopen: impl FnMut(&Again) -> Result<Opened, E>,
    progress: &dyn Progress,
) -> Result<Answer, E> {
    let failed = |error: Error| E::from(AgainstError::KeySpace(error));
    let moved = |error: member::Error| E::from(AgainstError::Open(error));
    let mut facts: Vec<Facts> = examined.iter().map(|one| one.facts.clone()).collect();
    assign(&mut facts);
    let mut survey = Survey::new(&facts);
    let mut compared = Vec::new();
    for comparable in survey.comparable(&facts) {
        let again = comparable
            .to
            .map(|to| reopen(&Again { place: comparable.place, wal_dir: None, to: Some(to) }));
        let again = again.transpose()?;
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
    let mut paired = None;
    for pair in survey.pairs(&facts) {
        let (Some(log), Some(db)) = (facts.get(pair.log), facts.get(pair.db)) else { continue };
        let again = Again { place: pair.db, wal_dir: log.wal_dir.clone(), to: None };
        let opened = reopen(&again)?;
        if let Some(both) = together(log, db, &opened, progress).map_err(failed)? {
            opened.check().map_err(moved)?;
            survey.take(&facts, pair);
            paired = Some((both, opened));
            break;
        }
    }
    let both = paired.as_ref().map(|(_, both)| both);
    let mut files = files(examined, &mut survey, both, progress).map_err(failed)?;
    for file in files.iter_mut().filter(|file| file.differing.is_some()) {
        // What the member's files do not prove to be committed may have been overruled before the snapshot was taken.
        let known = facts.get(file.beside).and_then(|one| Some(one.log.as_ref()?.known));
        let Some(to) = known.filter(|_| survey.pair.is_none()) else { continue };
        let committed = reopen(&Again { place: file.beside, wal_dir: None, to: Some(to) })?;
        let spaces = (space(&committed), opened(examined, file.place).map(space).transpose());
        let (one, other) = (spaces.0.map_err(failed)?, spaces.1.map_err(failed)?.flatten());
        let (Some(one), Some(other)) = (one, other) else { continue };
        if compare(&one, &other, progress).map_err(failed)?.is_none() {
            committed.check().map_err(moved)?;
            file.differing = None;
        }
    }
    let newer = files.iter().filter(|file| loses_less(&facts, file));
    if let Some(file) = newer.rev().max_by_key(|file| revision(&facts, file.place)) {
        survey.take_file(file.place);
    }
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
        paired: paired.as_ref().map(|(facts, _)| facts),
        files: &files,
    }))
}

/// What is known of the log of `log` on the db of `db`, which are `opened` together; `None` where they do not meet.
fn together(
    log: &Facts,
    db: &Facts,
    opened: &Opened,
    progress: &dyn Progress,
) -> Result<Option<Facts>, Error> {
    let (Some(report), Some(facts), Some(wal_dir)) = (opened.report(), &log.log, &log.wal_dir)
    else {
        return Ok(None);
    };
    let Ok(shown) = opened.database() else { return Ok(None) };
    if report.base != Base::Db || report.applied_to() < facts.last().index {
        return Ok(None);
    }
    let broken = report.broken.as_ref().filter(|broken| !broken.bridged);
    let to = broken.map(|broken| broken.good_to);
    let findings = log.judged.as_ref().map(|judged| judged.findings.clone()).unwrap_or_default();
    let verdict = match to {
        Some(_) => Verdict::RecoverableWithLoss,
        None => Verdict::Recoverable,
    };
    let ways = vec![Way::LogOf { wal_dir: wal_dir.clone(), to }];
    let store = Store::new(shown);
    let keys = View::at(&KeySpace::open(&store)?, None, progress)?.keys(b"").len() as u64;
    Ok(Some(Facts {
        path: db.path.clone(),
        state: Some(state(&store, opened, Some(keys))?),
        judged: Ok(Diagnosis { verdict, findings, ways }),
        ..log.clone()
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
    let damaged = |error: ReadError| AgainstError::KeySpace(error.into());
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
            .map_err(|error| AgainstError::KeySpace(error.into()))?
        }
        (None, Some(verification)) => {
            let sound = verification.is_usable();
            let verdict = if sound { Verdict::Recoverable } else { Verdict::SalvageOnly };
            let ways = if sound { vec![Way::Plain] } else { Vec::new() };
            let findings = verification.findings.iter().map(advised).collect();
            Diagnosis { verdict, findings, ways }
        }
        (None, None) => {
            Diagnosis { verdict: Verdict::SalvageOnly, findings: Vec::new(), ways: Vec::new() }
        }
    };
    let metadata = opened.wal().and_then(|wal| wal.metadata);
    let sound = judged.verdict < Verdict::SalvageOnly;
    let said = store.as_ref().filter(|_| sound).map(|store| said(store, opened));
    let said = said.transpose().map_err(|error| AgainstError::KeySpace(error.into()))?.flatten();
    let log = opened.raft_files().filter(|_| metadata.is_some()).map(|raft| {
        let db = said.as_ref().map(|(db, _)| *db).unwrap_or_default();
        let mut log = LogFacts::of(&raft.log(), &raft.snapfiles(), db);
        // Where the log does not meet a sound db, one of both is not what the member wrote, or the log lost its end.
        let meets = opened.not_replayed().is_none() || opened.db_state() != Some(DbState::Sound);
        log.whole &= meets;
        log.restored = opened.wal().and_then(|wal| wal.restored);
        if let Some((_, conf)) = said.as_ref().filter(|_| log.tip() > log.last()) {
            log.conf_by_db(conf);
        }
        log
    });
    let log = log.or_else(|| {
        let alone = opened.files().is_some_and(|files| files.segments.is_empty());
        let (db, conf) = said.filter(|(db, _)| alone && db.index > 0)?;
        Some(LogFacts::of_db(db, conf))
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
        wal_dir: files.map(|files| files.wal_dir.clone()),
        stranger: false,
        state,
        judged: Ok(judged),
        running: running == Some(true),
        modified: files.and_then(modified),
    };
    Ok((facts, verification))
}

/// The last entry that a member's sound db contains, and the members it lists; `None` where the db is not of the log's
/// history.
fn said(store: &Store<'_>, opened: &Opened) -> Result<Option<(Position, Conf)>, bolt::Error> {
    if opened.db_state() != Some(DbState::Sound) && opened.report().is_none() {
        return Ok(None);
    }
    let (meta, _) = MetaRecords::read(store)?;
    let by_db = meta.consistent_index.unwrap_or_default();
    let index = match (opened.report(), opened.not_replayed().and_then(NotReplayed::boot)) {
        (Some(report), _) => report.consistent_index,
        (None, Some(BootError::LogBehind { .. } | BootError::NoLog { .. })) => by_db,
        (None, _) => return Ok(None),
    };
    // What is shown may contain more than the db file: its term is that of its own last entry.
    let term = meta.term.filter(|_| index == by_db).unwrap_or_default();
    let listed = members(store)?.records;
    let ids = |learner: bool| {
        let of = listed.iter().filter(move |member| member.is_learner == learner);
        let mut ids: Vec<u64> = of.map(|member| member.id.0).collect();
        ids.sort_unstable();
        ids
    };
    Ok(Some((Position { term, index }, Conf { voters: ids(false), learners: ids(true) })))
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
        term: meta.term,
        bytes: opened.bytes().len() as u64,
        contained: meta.consistent_index.unwrap_or_default(),
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
    let report = opened.report().filter(|report| report.without_snapfile.is_none())?;
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

/// Says of dbs without a log whose they are, as far as their members tell: ids of members are those of one cluster.
fn assign(facts: &mut [Facts]) {
    let known = |facts: &[Facts]| {
        let logged = facts.iter().filter(|one| one.cluster.is_some());
        let conf = logged.filter_map(|one| Some((one.cluster?, &one.log.as_ref()?.conf)));
        let of = |(cluster, conf): (ClusterId, &Conf)| {
            let ids = conf.voters.iter().chain(&conf.learners).copied().collect::<Vec<u64>>();
            (cluster, ids)
        };
        conf.map(of).collect::<Vec<(ClusterId, Vec<u64>)>>()
    };
    let logged = known(facts);
    if logged.is_empty() {
        return;
    }
    let named: Vec<u64> = facts.iter().filter_map(|one| Some(one.member?.0)).collect();
    let mut alone = Vec::new();
    for (place, one) in facts.iter_mut().enumerate() {
        let Some(log) = one.log.as_ref().filter(|log| log.from_db) else { continue };
        let voters = &log.conf.voters;
        let shared = logged.iter().find(|(_, ids)| ids.iter().any(|id| voters.contains(id)));
        match shared {
            Some((cluster, _)) => {
                one.cluster = Some(*cluster);
                let left = voters.iter().copied().filter(|id| !named.contains(id));
                alone.push((place, left.collect::<Vec<u64>>()));
            }
            None => {
                one.stranger = true;
                (one.log, one.state) = (None, None);
            }
        }
    }
    // Several of them may be of one member.
    if let [(place, left)] = alone.as_slice()
        && let [left] = left.as_slice()
        && let Some(one) = facts.get_mut(*place)
    {
        one.member = Some(MemberId(*left));
    }
}

fn revision(facts: &[Facts], place: usize) -> Option<i64> {
    Some(facts.get(place)?.usable()?.revision)
}

/// Whether a snapshot file is of the history of the path that it is compared with, and holds more of it.
fn loses_less(facts: &[Facts], file: &FileStanding) -> bool {
    let state = |place: usize| facts.get(place).and_then(Facts::usable);
    let (Some(snapshot), Some(beside)) = (state(file.place), state(file.beside)) else {
        return false;
    };
    let listed = |id: MemberId| beside.members.iter().any(|member| member.id == id);
    let kin = snapshot.members.iter().any(|member| listed(member.id));
    // A restore begins its log anew: more revisions of fewer entries are another history.
    let known = facts.get(file.beside).and_then(|one| Some(one.log.as_ref()?.known));
    let later = snapshot.contained >= known.unwrap_or(beside.contained);
    kin && later && file.ahead.is_some() && file.differing.is_none()
}

/// Says what snapshot files hold beside the chosen state; chooses the newest where no member's dir can be used.
fn files(
    examined: &[Examined],
    survey: &mut Survey,
    paired: Option<&Opened>,
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
        let own = paired.or_else(|| opened(examined, chosen));
        let state = own.map(space).transpose()?.flatten();
        let (Some(file), Some(state)) = (file, state) else { continue };
        let (own, other) = (file.current_revision(), state.current_revision());
        let ahead = (own > other).then(|| Held::behind(&file, other)).transpose()?;
        let behind = (other > own).then(|| Held::behind(&state, own)).transpose()?;
        let differing = compare(&state, &file, progress)?.map(|difference| Differing {
            one: chosen,
            other: place,
            difference,
        });
        standings.push(FileStanding { place, beside: chosen, ahead, behind, differing });
    }
    Ok(standings)
}
