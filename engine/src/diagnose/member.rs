//! One member.

use std::{
    error::Error as _,
    path::{Path, PathBuf},
};

use super::{Diagnosis, Verdict, Way, contents, leftovers, membership};
use crate::{
    bolt::{
        self,
        check::{META_HEADER, is_obstacle},
    },
    finding::{self, Finding, Place, Severity, counted},
    member::{DbState, Lacking, NotReplayed, Opened, ReceivedDb, WalFacts},
    replay::{Base, BootError, Error, Line, Report},
    schema::{Store, bucket},
    snapfile::SnapfileName,
    snapshot::Verification,
    v2store,
    wal::{At, LogEnd},
};

/// What was gathered about a member.
#[derive(Clone, Copy, Debug)]
pub struct Evidence<'e> {
    /// Its files, and what became of its log.
    pub opened: &'e Opened,
    /// What verification found in the state that is shown; `None` when it cannot be opened.
    pub verification: Option<&'e Verification>,
    /// The state that is shown.
    pub store: Option<&'e Store<'e>>,
    /// Whether a server has the files open; `None` when that is not known.
    pub running: Option<bool>,
    /// Where the db differs from the state that its log makes.
    pub against: Option<&'e Finding>,
    /// What the databases hold that a leader sent.
    pub received: &'e [ReceivedDb],
}

/// Judges a member.
///
/// # Errors
/// When a page of a db that verification called sound is damaged.
pub fn diagnose(evidence: &Evidence<'_>) -> Result<Diagnosis, bolt::Error> {
    let mut found =
        Found { findings: Vec::new(), verdict: Verdict::Healthy, ways: vec![Way::Plain] };
    if is_empty(evidence) {
        found.nothing_stored(evidence);
        return Ok(found.finish());
    }
    database(evidence, &mut found);
    log(evidence.opened, &mut found);
    if let Some(finding) = evidence.against {
        let changed = finding.severity == Severity::Damage;
        found.add(if changed { Verdict::Recoverable } else { Verdict::Healthy }, finding.clone());
        if changed {
            found.ways = vec![Way::FromWal];
        }
    }
    leftovers::files(evidence, &mut found);
    if let Some(store) = evidence.store
        && found.verdict < Verdict::SalvageOnly
    {
        contents::contents(evidence, store, &mut found)?;
        membership::membership(evidence, store, &mut found)?;
    }
    Ok(found.finish())
}

/// What is to be said of a member's log, and of a db that it replaces.
pub fn log_findings(opened: &Opened) -> Vec<Finding> {
    let mut found =
        Found { findings: Vec::new(), verdict: Verdict::Healthy, ways: vec![Way::Plain] };
    if opened.report().is_some_and(|report| report.base != Base::Db) {
        replaced(opened, &mut found);
    } else {
        found.findings.extend_from_slice(opened.file_findings());
    }
    log(opened, &mut found);
    found.finish().findings
}

/// What has been found so far.
pub(super) struct Found {
    findings: Vec<Finding>,
    verdict: Verdict,
    ways: Vec<Way>,
}

impl Found {
    pub(super) fn add(&mut self, verdict: Verdict, finding: Finding) {
        self.verdict = self.verdict.max(verdict);
        self.findings.push(finding);
    }

    pub(super) fn note(&mut self, code: &'static str, message: impl Into<String>) {
        self.add(Verdict::Healthy, Finding::note(code, Place::File, message));
    }

    pub(super) fn warn(
        &mut self,
        verdict: Verdict,
        code: &'static str,
        message: impl Into<String>,
    ) {
        self.add(verdict, Finding::warning(code, Place::File, message));
    }

    fn damage(&mut self, verdict: Verdict, code: &'static str, message: impl Into<String>) {
        self.add(verdict, Finding::damage(code, Place::File, message));
    }

    /// Drops what is told in other words.
    pub(super) fn drop(&mut self, code: &str) {
        self.findings.retain(|finding| finding.code != code);
    }

    fn finish(mut self) -> Diagnosis {
        finding::sort(&mut self.findings);
        Diagnosis { verdict: self.verdict, findings: self.findings, ways: self.ways }
    }
}

/// Whether nothing was ever stored: no entries, and a db without etcd's records or none at all.
///
/// A server that cannot join leaves such files, and one that was killed while its leader sent it the first snapshot.
fn is_empty(evidence: &Evidence<'_>) -> bool {
    let opened = evidence.opened;
    let no_entries = opened.wal().is_some_and(|wal| wal.last_index.is_none());
    let clean = opened.wal().is_some_and(|wal| !matches!(wal.end, Some(LogEnd::Damaged(..))));
    let without_records = match opened.db_state() {
        Some(DbState::Missing | DbState::Blank) => true,
        Some(DbState::Unreadable) | None => false,
        Some(DbState::Sound | DbState::Damaged) => {
            opened.database().is_ok_and(|db| is_bare(&Store::new(db)).unwrap_or(false))
        }
    };
    no_entries && clean && without_records
}

/// Whether a db has no record that an entry makes.
fn is_bare(store: &Store<'_>) -> Result<bool, bolt::Error> {
    for name in [bucket::KEY, bucket::LEASE, bucket::MEMBERS, bucket::AUTH_USERS] {
        if let Some(bucket) = store.bucket(name)?
            && bucket.items().next().transpose()?.is_some()
        {
            return Ok(false);
        }
    }
    Ok(true)
}

impl Found {
    fn nothing_stored(&mut self, evidence: &Evidence<'_>) {
        self.verdict = Verdict::Empty;
        self.ways.clear();
        self.note(
            "empty",
            "nothing was ever stored here: the db has no records, and the log has no entries",
        );
        leftovers::files(evidence, self);
    }
}

/// The db: what verification says, which meta is used.
fn database(evidence: &Evidence<'_>, found: &mut Found) {
    let opened = evidence.opened;
    let rebuilt = opened.report().is_some_and(|report| report.base != Base::Db);
    if rebuilt {
        replaced(opened, found);
    }
    let Some(verification) = evidence.verification else {
        found.ways.clear();
        // Entries that were written since a restore can be read from its log.
        let restored = opened.wal().is_some_and(|wal| wal.restored.is_some());
        let lost = if restored { Verdict::RecoverableWithLoss } else { Verdict::SalvageOnly };
        match opened.db_state() {
            Some(DbState::Missing) => found.damage(lost, "db-missing", "the db is missing"),
            Some(DbState::Blank) => {
                found.damage(lost, "db-blank", "the db is all zeros");
            }
            _ => {
                let (code, message) = unreadable(opened);
                found.damage(Verdict::SalvageOnly, code, message);
            }
        }
        return;
    };
    for finding in &verification.findings {
        let verdict = match finding.severity {
            Severity::Damage if !is_obstacle(finding) => Verdict::Recoverable,
            Severity::Damage => Verdict::SalvageOnly,
            Severity::Warning | Severity::Note => Verdict::Healthy,
        };
        // That a db has no digest is no news.
        if finding.code != "no-trailer" {
            found.add(verdict, advised(finding));
        }
    }
    if found.verdict == Verdict::SalvageOnly {
        found.ways.clear();
        // Pages of several transactions behind a valid meta are what a plain copy of a db in use gives.
        let message = "a copy that was made while the server ran looks like this: if this is one, take a snapshot from the server instead, or copy the files again after the server has stopped";
        found.warn(Verdict::SalvageOnly, "hot-copy", message);
    }
    if !rebuilt {
        for finding in opened.file_findings().iter().map(advised) {
            if !found.findings.contains(&finding) {
                let header = finding.code == META_HEADER;
                let verdict = if header { Verdict::Recoverable } else { Verdict::Healthy };
                found.add(verdict, finding);
            }
        }
    }
}

/// A finding with what to do, where the file is of use as it is.
pub(super) fn advised(finding: &Finding) -> Finding {
    let mut finding = finding.clone();
    if finding.code == META_HEADER {
        finding.message += ": a server starts on this file and writes the header anew with its next commits, and `save` and \
                            `restore` write both; until then `bbolt check` and `etcdutl snapshot status` refuse the file";
    }
    finding
}

/// A db that is not used, because another one or the log takes its place.
fn replaced(opened: &Opened, found: &mut Found) {
    let from = match opened.report().map(|report| report.base) {
        Some(Base::Received(_)) => "the db that the leader sent is used instead",
        _ => "the log has every entry since the first, so the state is rebuilt from it",
    };
    let causes = finding::causes(opened.file_findings()).into_iter();
    let damage = causes.map(|cause| cause.finding).filter(|f| f.severity == Severity::Damage);
    let damage: Vec<&Finding> = damage.collect();
    let (code, what) = match opened.db_state() {
        Some(DbState::Missing) => ("db-missing", "the db is missing".to_owned()),
        Some(DbState::Blank) => ("db-blank", "the db is all zeros".to_owned()),
        Some(DbState::Unreadable) => unreadable(opened),
        Some(DbState::Damaged) => {
            let places = counted(damage.len() as u64, "place", "places");
            let first = damage.first();
            let first = first.map(|f| format!(", the first at {}: {}", f.place, f.message));
            ("db-damaged", format!("the db is damaged in {places}{}", first.unwrap_or_default()))
        }
        // A sound db gives way to one that a leader sent, as on every server.
        Some(DbState::Sound) | None => return,
    };
    found.damage(Verdict::Recoverable, code, format!("{what}; {from}"));
}

/// Why the db cannot be opened. One of a big-endian machine is whole, and no salvage reads it.
fn unreadable(opened: &Opened) -> (&'static str, String) {
    match opened.db_error() {
        Some(error @ bolt::Error::BigEndian { .. }) => {
            (error.code(), format!("the db cannot be opened here: {error}"))
        }
        Some(error) => ("db-unreadable", format!("the db cannot be opened: {error}")),
        None => ("db-unreadable", "the db cannot be opened: no valid meta page".to_owned()),
    }
}

/// The log: whether it is whole, and whether it and the db belong together.
fn log(opened: &Opened, found: &mut Found) {
    match opened.wal().and_then(|wal| wal.end.as_ref()) {
        Some(LogEnd::Torn(at)) => torn(opened, at, found),
        Some(LogEnd::Damaged(at, damage)) => {
            let broken = opened.report().and_then(|report| report.broken.clone());
            let (verdict, message) = match broken {
                Some(broken) => {
                    found.ways = vec![Way::To(broken.good_to)];
                    let lost = if broken.bridged {
                        Verdict::Recoverable
                    } else {
                        Verdict::RecoverableWithLoss
                    };
                    (lost, Lacking(broken).to_string())
                }
                None => {
                    let message = format!("the WAL is damaged at {at}: {damage}");
                    (Verdict::RecoverableWithLoss, message)
                }
            };
            found.damage(verdict, "wal-damaged", message);
        }
        Some(LogEnd::Clean(_)) | None => {}
    }
    if let Some(oversized) = opened.wal().and_then(|wal| wal.oversized) {
        let message = format!(
            "the WAL record at {} is {} bytes long: etcd 3.4 does not start on a log with a record of 10 MiB or more, and \
             later releases do; everything in the log can be read here",
            oversized.at, oversized.bytes
        );
        let verdict = if opened.report().is_some_and(|report| report.line == Line::V3_4) {
            Verdict::Recoverable
        } else {
            Verdict::Healthy
        };
        found.warn(verdict, "oversized-record", message);
    }
    if let Some(summary) = opened.wal().and_then(|wal| wal.summary.as_ref()) {
        let message = if summary.is_v2() {
            format!(
                "log only, {summary}: these are files of etcd 2.x, or of a later release that was used through its v2 API; \
                 their keys are no part of the v3 key space"
            )
        } else {
            format!("log only, {summary}")
        };
        found.note("log-only", message);
    }
    let strangers: Vec<&PathBuf> =
        opened.strangers().iter().filter(|path| !is_own(opened, path)).collect();
    if !strangers.is_empty() {
        let paths: Vec<String> = strangers.iter().map(|path| path.display().to_string()).collect();
        let message = format!(
            "this directory holds files of two histories, as if one data dir had been copied over another. Move away these \
             files, which do not belong to the history that the log begins with: {}",
            paths.join(" ")
        );
        found.damage(Verdict::Recoverable, "mixed-histories", message);
    }
    match (opened.report(), opened.not_replayed()) {
        (Some(report), _) => replayed(opened, report, found),
        (None, Some(why)) => not_replayed(opened, why, found),
        (None, None) => {}
    }
    match opened.v2_summary() {
        Some(Ok(summary)) => found.findings.extend(summary.finding()),
        Some(Err(error @ v2store::Error::Json { .. })) => {
            let source = error.source().map(|source| format!(" {source}")).unwrap_or_default();
            let message =
                format!("{error},{source}; etcd up to 3.6 does not start from such a snapfile");
            found.warn(Verdict::Healthy, "v2-unreadable", message);
        }
        // That entries are missing is said already.
        Some(Err(_)) | None => {}
    }
}

/// Whether a file is a snapfile that only seems to be another history's, because the log lost its end: the db contains the
/// entry that it was written for.
fn is_own(opened: &Opened, path: &Path) -> bool {
    let committed = match opened.not_replayed().and_then(NotReplayed::boot) {
        Some(BootError::LogBehind { committed, .. }) => *committed,
        _ => return false,
    };
    let name = path.file_name().and_then(|name| SnapfileName::parse(name.to_str()?));
    let last = opened.wal().and_then(|wal| wal.last_index).unwrap_or_default();
    name.is_some_and(|name| last < name.index && name.index <= committed)
}

/// A last write that reached the disk in part.
fn torn(opened: &Opened, at: &At, found: &mut Found) {
    let unsynced = opened.report().map_or(0, |report| report.unsynced);
    if unsynced == 0 {
        let message = format!(
            "the last WAL record, at {at}, was torn by the crash; it was never acknowledged"
        );
        return found.note("torn-wal", message);
    }
    let (entries, them) = match unsynced {
        1 => ("1 entry follows".to_owned(), "it"),
        many => (format!("{many} entries follow"), "them"),
    };
    let message = format!(
        "only part of the last write to the WAL reached the disk: {entries} a sector of zeros at {at}. A server cuts {them} \
         off, and the member never acknowledged {them}"
    );
    found.warn(Verdict::Healthy, "unsynced-wal", message);
}

/// Why the log was not applied.
fn not_replayed(opened: &Opened, why: &NotReplayed, found: &mut Found) {
    let usable = matches!(opened.db_state(), Some(DbState::Sound));
    found.ways = if usable { vec![Way::NoWal] } else { Vec::new() };
    let (code, severity) = match &*why.error {
        Error::Boot(BootError::NoLog { .. }) => ("wal-missing", Severity::Warning),
        Error::Boot(BootError::Gap(_)) => ("wal-purged", Severity::Damage),
        Error::Boot(BootError::DbBehind { .. }) => ("snap-db-missing", Severity::Damage),
        Error::Boot(BootError::LogBehind { .. }) => ("wal-behind", Severity::Damage),
        Error::Boot(BootError::Foreign { .. }) => {
            if opened.wal().is_some_and(WalFacts::is_complete) {
                found.ways.push(Way::FromWal);
            }
            ("foreign-wal", Severity::Damage)
        }
        Error::Boot(BootError::OtherHistory { .. }) => {
            found.ways.push(Way::FromWal);
            ("restored-db", Severity::Damage)
        }
        Error::Boot(BootError::RestoredLog { .. }) => {
            found.ways = vec![Way::FromWal];
            ("restored-log", Severity::Damage)
        }
        Error::Boot(BootError::NoBase { .. }) => ("wal-purged", Severity::Damage),
        _ => ("replay", Severity::Damage),
    };
    let finding = Finding::new(severity, code, Place::File, why.to_string());
    found.add(Verdict::RecoverableWithLoss, finding);
}

fn replayed(opened: &Opened, report: &Report, found: &mut Found) {
    if report.applied > 0 && report.base == Base::Db {
        let entries = counted(report.applied, "entry", "entries");
        let them = if report.applied == 1 { "it" } else { "them" };
        let message = format!(
            "the db is {entries} behind its WAL; a server applies {them} when it starts, and so does every command here"
        );
        found.note("db-behind", message);
    }
    if let Some(index) = report.refused_at {
        let files = opened.files();
        let ahead: Vec<String> = files
            .iter()
            .flat_map(|files| &files.snapfiles)
            .filter(|(name, _)| name.index > report.consistent_index)
            .map(|(_, path)| path.display().to_string())
            .collect();
        let message = format!(
            "no server starts on these files: the newest raft snapshot is at entry {index}, and the db ends before that entry. \
             The log has every entry that is needed. A server starts once these files are moved away: {}",
            ahead.join(" ")
        );
        let message = if ahead.is_empty() {
            format!(
                "no server starts on these files: the log marks a snapshot at entry {index}, and the db ends before that entry. \
                 The log has every entry that is needed: save it and restore what was saved"
            )
        } else {
            message
        };
        found.warn(Verdict::Recoverable, "snapshot-ahead", message);
    }
    if let Some(index) = report.without_snapfile {
        let message = format!(
            "no server starts on these files: the log continues from the raft snapshot at entry {index}, whose snapfile is missing. \
             The db contains what came before, and the log has the rest: save it and restore what was saved"
        );
        found.damage(Verdict::Recoverable, "wal-purged", message);
    }
    if let Some(sentence) = report.uncommitted() {
        found.note("uncommitted", sentence);
    }
    for notable in &report.notable {
        found.note("uncommitted-change", notable.to_string());
    }
    if !report.resalted.is_empty() {
        found.note(
            "clear-passwords",
            format!(
                "the WAL has the passwords of {} in clear text, as etcd 3.4 writes them",
                counted(report.resalted.len() as u64, "user", "users")
            ),
        );
    }
}
